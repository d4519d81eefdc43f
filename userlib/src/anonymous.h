/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The anonymous backend: a pool on private memory of the process, for machines
 * without /dev/bufpool.  One mapping is laid out as the device lays out a pool's
 * file, and what the kernel does there is done here, in the thread that asks.
 *
 * The data range is handed out in spans of 4 MiB.  A span is given to one size
 * class and cut into slots, or a run of spans holds one bigger slot.  A slot is
 *
 *	detached	used bit clear			an address, no memory
 *	in transit	used bit set, held 0		owned by one thread, which
 *							attaches or detaches it
 *	attached	used bit set, held > 0		live, or idle on a stack
 *	taken		used bit set, held HELD_TAKEN	was weak; no memory, and an
 *							address that stays the
 *							program's until it frees it
 *
 * Detached memory is accessible all the same, once its span has been used: to change
 * that for each buffer would make a mapping of each, of which a process can have only
 * so many.
 *
 * One mutex protects all of this.  It is not held while memory is populated or given
 * back.  Requests come from signal handlers, too, so all signals are blocked for as
 * long as one is carried out; and the thread cannot be cancelled.
 */
#ifndef BUFPOOL_ANONYMOUS_H
#define BUFPOOL_ANONYMOUS_H

#include <pthread.h>

#include "pool.h"

#define SPAN_SIZE	((uint64_t)4 << 20)
#define SPAN_SLOTS	1024	/* at most, of pages of 4 KiB */

/* From this size up slots are aligned to it, and huge pages are asked for. */
#define HUGE_SIZE	((uint64_t)2 << 20)

/* As the device: a link is 32 bits, and the range twice the limit and some. */
#define MAX_POOL_PAGES	((uint64_t)1 << 30)

/* Of a slot's entry in held[]. */
#define HELD_TAKEN	0x80000000	/* see above */
#define HELD_LEAVING	0x40000000	/* with HELD_TAKEN: the memory is there yet */

/**
 * struct span - a run of the data range that is given to one class
 * @class1: the class + 1; 0: none, or not the first span of its run
 * @nr_used: bits set in @used
 * @next: on the class's list of spans with a detached slot, number + 1
 * @prev: likewise
 * @accessible: it has been used before, and is accessible since then
 * @used: slots that are not detached
 */
struct span {
	uint32_t class1;
	uint32_t nr_used;
	uint32_t next;
	uint32_t prev;
	bool accessible;
	uint64_t used[SPAN_SLOTS / 64];
};

/**
 * struct slot_ref - a slot; valid under the lock or while in transit
 * @index: its first page
 * @pages: pages attached, or to be
 * @class: its class
 */
struct slot_ref {
	uint32_t index;
	uint32_t pages;
	uint32_t class;
};

/* Everything that is counted; pages, where the statistics have bytes. */
enum counter {
	COUNT_ALLOCS,
	COUNT_FREES,
	COUNT_REUSED,
	COUNT_GROWN,
	COUNT_ATTACHED,
	COUNT_RELEASED,
	COUNT_FREED,
	COUNT_TRIMMED,
	COUNT_RECLAIMED,
	COUNT_LIMIT_HITS,
	NR_COUNTERS,
};

/**
 * struct bufpool_anonymous - what the backend knows of a pool
 * @lock: protects all that follows, but for what says otherwise
 * @bp: the pool
 * @limit_pages: what the range was laid out for; constant
 * @nr_spans: spans of the data range; constant
 * @spans: one each
 * @span_map: which are in use
 * @nr_used_spans: how many
 * @partial: per class, the first span with a detached slot, number + 1
 * @held: per page of the data range: of a slot's first page the pages attached, or
 *	HELD_*
 * @huge: per HUGE_SIZE of the data range, whether huge pages are asked for there;
 *	belongs to whoever has the slot in transit, or creates the span
 * @own: the configuration, with BUFPOOL_FOLLOW
 * @config: the values in force
 * @attached_pages: attached or about to be
 * @leaving_pages: of these, those being given back without the lock
 * @dropped: signalled when that has been done
 * @peak_pages: the most there have been
 * @trim_due: CLOCK_MONOTONIC in ns; 0: never.  Read without the lock
 * @fronts: whether there can be fronts; constant
 * @steals: per class, how often the fronts were emptied for another CPU
 * @count: the counters
 */
struct bufpool_anonymous {
	pthread_mutex_t lock;
	struct bufpool *bp;
	uint64_t limit_pages;
	uint32_t nr_spans;
	struct span *spans;
	uint64_t *span_map;
	uint32_t nr_used_spans;
	uint32_t partial[BUFPOOL_MAX_CLASSES];
	uint32_t *held;
	unsigned char *huge;
	struct bufpool_config own;
	struct bufpool_config config;
	uint64_t attached_pages;
	uint64_t leaving_pages;
	pthread_cond_t dropped;
	uint64_t peak_pages;
	uint64_t trim_due;
	bool fronts;
	uint8_t steals[BUFPOOL_MAX_CLASSES];
	uint64_t count[NR_COUNTERS];
};

static inline uint64_t span_pages(const struct bufpool *bp)
{
	return SPAN_SIZE >> bp->page_shift;
}

/* anonymous.c */
noreturn void bufpool_anonymous_corrupted(struct bufpool_anonymous *anon);

/* anonymous_alloc.c */
int bufpool_anonymous_alloc(struct bufpool_anonymous *anon,
			    struct bufpool_alloc *arg);
int bufpool_anonymous_free(struct bufpool_anonymous *anon,
			   const struct bufpool_free *arg);

/* config.c */
int bufpool_config_read(struct bufpool_config *cfg,
			const struct bufpool_config *from);
void bufpool_config_effective(const struct bufpool_config *own,
			      uint64_t limit_pages,
			      struct bufpool_config *cfg);
void bufpool_config_publish(struct bufpool_anonymous *anon);

/* front.c: but for the first, under the lock */
bool bufpool_front_register(void);
uint32_t bufpool_front_flag(const struct bufpool_anonymous *anon,
			    uint32_t class);
bool bufpool_front_empty(struct bufpool_anonymous *anon);
bool bufpool_front_steal(struct bufpool_anonymous *anon, uint32_t class,
			 uint32_t here);
void bufpool_front_allow(struct bufpool_anonymous *anon);

/* span.c: all under the lock */
int bufpool_slot_reserve(struct bufpool_anonymous *anon, uint32_t class,
			 struct slot_ref *ref);
void bufpool_slot_unreserve(struct bufpool_anonymous *anon, uint32_t index);
bool bufpool_slot_find(const struct bufpool_anonymous *anon, uint64_t index,
		       struct slot_ref *ref);
void bufpool_slot_set(struct bufpool *bp, const struct slot_ref *ref,
		      uint32_t state);
void bufpool_slot_clear(struct bufpool *bp, uint32_t index);
uint32_t bufpool_span_next_slot(const struct bufpool_anonymous *anon,
				uint64_t index);

/* attach.c: without the lock */
int bufpool_attach(struct bufpool_anonymous *anon, const struct slot_ref *ref,
		   uint32_t had);
void bufpool_drop(struct bufpool_anonymous *anon, uint32_t index,
		  uint32_t pages);

/* reclaim.c: called and return with the lock held, drop it meanwhile */
uint64_t bufpool_idle_pages(struct bufpool_anonymous *anon);
void bufpool_detach(struct bufpool_anonymous *anon, const struct slot_ref *ref);
uint64_t bufpool_release(struct bufpool_anonymous *anon, uint64_t want,
			 enum counter why);
uint64_t bufpool_release_weak(struct bufpool_anonymous *anon, uint64_t want);
uint64_t bufpool_reclaim(struct bufpool_anonymous *anon, uint64_t want);
void bufpool_enforce(struct bufpool_anonymous *anon, enum counter why);
void bufpool_trim_arm(struct bufpool_anonymous *anon);
void bufpool_trim(struct bufpool_anonymous *anon);
bool bufpool_trim_is_due(const struct bufpool_anonymous *anon);

#endif /* BUFPOOL_ANONYMOUS_H */
