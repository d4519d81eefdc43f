/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Pools on the anonymous backend, with the stacks' caps set to the slot and words of
 * theirs to look at.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "pool.h"

struct memory_tuning {
	uint64_t limit_pages;
	uint32_t nr_cpus;
	uint32_t percpu_cap;
	uint32_t large_percpu_cap;
	uint32_t depot_cap;
	uint64_t large_threshold_pages;
	uint64_t max_pooled_pages;
	uint64_t max_retained_pages;
};

/* Requests that the backend carried out, and pages attached now. */
struct memory_counts {
	unsigned long allocs;
	unsigned long frees;
	unsigned long grown;
	unsigned long limit_hits;
	uint64_t attached_pages;
};

/* NULL for @tuning: values that keep everything, on as many CPUs as there are. */
struct bufpool *memory_pool(const struct memory_tuning *tuning);
struct memory_counts memory_counts(struct bufpool *bp);

/* A pool as programs have it, on two CPUs. */
struct bufpool *memory_open(const struct bufpool_config *cfg);

/* A configuration without trimming that keeps everything; large from 8 MiB. */
struct bufpool_config memory_config(uint64_t limit_bytes);
struct bufpool_stats memory_stats(struct bufpool *bp);

/* Rewrite the class tuning and limits as SET_CONFIG does. */
void memory_tune(struct bufpool *bp, const struct memory_tuning *tuning);
extern const struct memory_tuning memory_defaults;

/*
 * Take up to @max weak buffers, those weak for longest first, as the kernel does
 * when memory is short.  Returns how many.
 */
unsigned int memory_take_weak(struct bufpool *bp, unsigned int max);

/*
 * In a child, which has a copy of these pools unlike of others: make it a pool of the
 * child's own.
 */
void memory_adopt(struct bufpool *bp);

/* Idle pages, counted by walking all stacks; nobody may be using the pool. */
uint64_t memory_idle_pages(struct bufpool *bp);

/* Bytes of whole pages at @start that are resident, and of the whole data range. */
size_t memory_resident_in(const void *start, size_t bytes);
size_t memory_resident(struct bufpool *bp);

/* Keep the calling thread on the CPU it is on; returns its number. */
uint32_t memory_pin(struct bufpool *bp);

/* The slot header of a buffer. */
struct bufpool_slot *memory_slot(struct bufpool *bp, const void *buf);

#endif /* MEMORY_H */
