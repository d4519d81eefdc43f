// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "anonymous.h"
#include "cpu.h"
#include "memory.h"
#include "tap.h"

const struct memory_tuning memory_defaults = {
	.limit_pages = 8192,
	.percpu_cap = 16,
	.depot_cap = UINT32_MAX,
	.large_threshold_pages = 256,
	.max_pooled_pages = 8192,
	.max_retained_pages = 8192,
};

void memory_tune(struct bufpool *bp, const struct memory_tuning *t)
{
	struct bufpool_control *control = bp->control;
	uint32_t class;

	for (class = 0; class < control->nr_classes; class++) {
		struct bufpool_class_tuning *tuning = &control->classes[class];
		uint64_t pages = bufpool_class_pages(class);
		bool large = pages > t->large_threshold_pages;

		store_relaxed(&tuning->percpu_cap,
			      large ? t->large_percpu_cap : t->percpu_cap);
		store_relaxed(&tuning->depot_cap, t->depot_cap);
		store_relaxed(&tuning->flags, large ? BUFPOOL_CLASS_LARGE : 0);
	}
	store_relaxed(&control->max_retained_pages, t->max_retained_pages);
	store_relaxed(&control->max_pooled_pages, t->max_pooled_pages);
}

struct bufpool *memory_pool(const struct memory_tuning *tuning)
{
	const struct memory_tuning *t = tuning ? tuning : &memory_defaults;
	uint32_t nr_cpus = t->nr_cpus ? t->nr_cpus :
			   (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	struct bufpool_config cfg;
	struct bufpool *bp;

	require(!bufpool_config_init(&cfg, BUFPOOL_PRESET_DEFAULT));
	cfg.pool_limit_bytes = t->limit_pages * (uint64_t)sysconf(_SC_PAGESIZE);
	cfg.trim_period_ms = 0;
	bp = bufpool_anonymous_create(&cfg, nr_cpus);
	require(bp);
	memory_tune(bp, t);
	require(!madvise(bp->control, bp->map_bytes, MADV_DOFORK));
	return bp;
}

struct bufpool_config memory_config(uint64_t limit_bytes)
{
	struct bufpool_config cfg;

	require(!bufpool_config_init(&cfg, BUFPOOL_PRESET_DEFAULT));
	cfg.max_pooled_bytes = limit_bytes;
	cfg.max_retained_bytes = limit_bytes;
	cfg.pool_limit_bytes = limit_bytes;
	cfg.trim_period_ms = 0;
	return cfg;
}

struct bufpool *memory_open(const struct bufpool_config *cfg)
{
	struct bufpool *bp = bufpool_anonymous_create(cfg, 2);

	require(bp);
	return bp;
}

struct bufpool_stats memory_stats(struct bufpool *bp)
{
	struct bufpool_stats st;

	require(!bufpool_get_stats(bp, &st));
	return st;
}

void memory_adopt(struct bufpool *bp)
{
	bp->creator = getpid();
}

struct memory_counts memory_counts(struct bufpool *bp)
{
	struct bufpool_stats st = memory_stats(bp);

	return (struct memory_counts) {
		.allocs = st.allocs,
		.frees = st.frees,
		.grown = st.grown,
		.limit_hits = st.limit_hits,
		.attached_pages = st.attached_bytes >> bp->page_shift,
	};
}

unsigned int memory_take_weak(struct bufpool *bp, unsigned int max)
{
	unsigned int taken = 0;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_mutex_lock(&bp->anon->lock);
	while (taken < max && bufpool_release_weak(bp->anon, 1))
		taken++;
	pthread_mutex_unlock(&bp->anon->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return taken;
}

uint64_t memory_idle_pages(struct bufpool *bp)
{
	uint32_t block, class, link, seen = 0;
	uint64_t pages = 0;

	for (block = 0; block <= bp->nr_cpus; block++) {
		for (class = 0; class < bp->nr_classes; class++) {
			link = bp->stacks[block].front[class];
			require(link <= bp->nr_pages);
			pages += link ? bp->slots[link - 1].pages : 0;
			link = BUFPOOL_LINK(bp->stacks[block].head[class]);
			for (; link; link = bp->slots[link - 1].next) {
				require(link <= bp->nr_pages);
				require(seen++ < bp->nr_pages);
				pages += bp->slots[link - 1].pages;
			}
		}
	}
	return pages;
}

size_t memory_resident_in(const void *start, size_t bytes)
{
	unsigned char vec[256];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = 0, at, n, i;

	for (at = 0; at < bytes; at += n * page) {
		n = (bytes - at) / page;
		if (n > sizeof(vec))
			n = sizeof(vec);
		require(!mincore((char *)(uintptr_t)start + at, n * page, vec));
		for (i = 0; i < n; i++)
			pages += vec[i] & 1;
	}
	return pages * page;
}

size_t memory_resident(struct bufpool *bp)
{
	return memory_resident_in(bp->data,
				  (size_t)bp->nr_pages << bp->page_shift);
}

uint32_t memory_pin(struct bufpool *bp)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	require(cpu >= 0);
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	require(!sched_setaffinity(0, sizeof(set), &set));
	return this_cpu(bp);
}

struct bufpool_slot *memory_slot(struct bufpool *bp, const void *buf)
{
	return &bp->slots[(size_t)((const char *)buf - bp->data) >>
			  bp->page_shift];
}
