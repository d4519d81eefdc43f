// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counting and reporting.  Each event is counted twice, for its pool and for
 * the device, so that the device's figures survive the pool.
 */
#include <linux/fs.h>
#include <linux/seq_file.h>

#include "bufpool.h"
#include "trace.h"

atomic_long_t bufpool_attached_pages;
static atomic64_t device_count[BUFPOOL_NR_COUNTERS];

/**
 * bufpool_count - count an event
 * @pool: where it happened
 * @what: the event
 * @n: how often, or how many pages
 */
void bufpool_count(struct bufpool *pool, enum bufpool_counter what, u64 n)
{
	if (!n)
		return;
	atomic64_add(n, &pool->count[what]);
	atomic64_add(n, &device_count[what]);
}

/**
 * bufpool_count_back - count and trace memory that was given back
 * @pool: whose it was
 * @why: BUFPOOL_RELEASED, _TRIMMED, _SHRUNK or _RECLAIMED
 * @pages: how much; nothing is traced for 0
 */
void bufpool_count_back(struct bufpool *pool, enum bufpool_counter why,
			unsigned long pages)
{
	if (!pages)
		return;
	bufpool_count(pool, why, pages);
	switch (why) {
	case BUFPOOL_RELEASED:
		trace_bufpool_release(pool->id, pages);
		break;
	case BUFPOOL_TRIMMED:
		trace_bufpool_trim(pool->id, pages);
		break;
	case BUFPOOL_SHRUNK:
		trace_bufpool_shrink(pool->id, pages);
		break;
	default:
		trace_bufpool_reclaim(pool->id, pages);
		break;
	}
}

static void fill_counters(struct bufpool_stats *st, atomic64_t *count)
{
	st->allocs = atomic64_read(&count[BUFPOOL_ALLOCS]);
	st->frees = atomic64_read(&count[BUFPOOL_FREES]);
	st->reused = atomic64_read(&count[BUFPOOL_REUSED]);
	st->grown = atomic64_read(&count[BUFPOOL_GROWN]);
	st->attached_total_bytes =
		atomic64_read(&count[BUFPOOL_ATTACHED_TOTAL]) << PAGE_SHIFT;
	st->huge_attached = atomic64_read(&count[BUFPOOL_HUGE_ATTACHED]);
	st->released_bytes = atomic64_read(&count[BUFPOOL_RELEASED]) << PAGE_SHIFT;
	st->freed_bytes = atomic64_read(&count[BUFPOOL_FREED]) << PAGE_SHIFT;
	st->trimmed_bytes = atomic64_read(&count[BUFPOOL_TRIMMED]) << PAGE_SHIFT;
	st->shrunk_bytes = atomic64_read(&count[BUFPOOL_SHRUNK]) << PAGE_SHIFT;
	st->reclaimed_bytes =
		atomic64_read(&count[BUFPOOL_RECLAIMED]) << PAGE_SHIFT;
	st->limit_hits = atomic64_read(&count[BUFPOOL_LIMIT_HITS]);
	st->corruptions = atomic64_read(&count[BUFPOOL_CORRUPTIONS]);
	st->reserve_hits = atomic64_read(&count[BUFPOOL_RESERVE_HITS]);
	st->reserve_misses = atomic64_read(&count[BUFPOOL_RESERVE_MISSES]);
}

/* What is in the file and is no buffer; too little while one is being attached. */
static u64 control_bytes(struct bufpool *pool)
{
	unsigned long pages = READ_ONCE(pool->inode->i_mapping->nrpages);

	return (u64)(pages - min(pages, pool->attached_pages)) << PAGE_SHIFT;
}

/**
 * bufpool_stats - what a pool holds and has done
 * @pool: the pool, its lock not held
 * @st: filled in, but for size and flags
 */
void bufpool_stats(struct bufpool *pool, struct bufpool_stats *st)
{
	mutex_lock(&pool->lock);
	st->attached_bytes = (u64)pool->attached_pages << PAGE_SHIFT;
	st->peak_attached_bytes = (u64)pool->peak_pages << PAGE_SHIFT;
	st->retained_bytes = (u64)bufpool_idle_pages(pool) << PAGE_SHIFT;
	st->control_bytes = control_bytes(pool);
	fill_counters(st, pool->count);
	mutex_unlock(&pool->lock);
}

/**
 * bufpool_device_stats - the same for all pools together
 * @st: filled in, but for size, flags and peak_attached_bytes
 *
 * The counters include pools that are closed by now.
 */
void bufpool_device_stats(struct bufpool_stats *st)
{
	struct bufpool_stats one = {};
	struct bufpool *pool;
	unsigned long id;

	bufpool_for_each(pool, id) {
		bufpool_stats(pool, &one);
		st->retained_bytes += one.retained_bytes;
		st->control_bytes += one.control_bytes;
	}
	st->attached_bytes = (u64)atomic_long_read(&bufpool_attached_pages)
			     << PAGE_SHIFT;
	fill_counters(st, device_count);
}

/**
 * bufpool_show_fdinfo - a pool in /proc/PID/fdinfo/FD
 * @m: where to
 * @file: an open /dev/bufpool
 */
void bufpool_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct bufpool *pool = file->private_data;
	struct bufpool_stats st = {};
	struct bufpool_config cfg;

	/* Pairs with bufpool_setup(). */
	if (!smp_load_acquire(&pool->mm))
		return;
	bufpool_stats(pool, &st);
	mutex_lock(&pool->lock);
	bufpool_config_effective(pool, &cfg);
	mutex_unlock(&pool->lock);

	seq_printf(m, "bufpool_id:\t%u\n", pool->id);
#define SHOW(from, field) \
	seq_printf(m, #field ":\t%llu\n", (u64)(from).field)
	SHOW(st, attached_bytes);
	SHOW(st, retained_bytes);
	SHOW(st, control_bytes);
	SHOW(st, peak_attached_bytes);
	SHOW(st, allocs);
	SHOW(st, frees);
	SHOW(st, reused);
	SHOW(st, grown);
	SHOW(st, attached_total_bytes);
	SHOW(st, huge_attached);
	SHOW(st, released_bytes);
	SHOW(st, freed_bytes);
	SHOW(st, trimmed_bytes);
	SHOW(st, shrunk_bytes);
	SHOW(st, reclaimed_bytes);
	SHOW(st, limit_hits);
	SHOW(st, corruptions);
	SHOW(st, reserve_hits);
	SHOW(st, reserve_misses);
	SHOW(cfg, max_pooled_bytes);
	SHOW(cfg, large_threshold_bytes);
	SHOW(cfg, max_retained_bytes);
	SHOW(cfg, pool_limit_bytes);
	SHOW(cfg, alloc_limit_bytes);
	SHOW(cfg, percpu_cached);
	SHOW(cfg, large_cached);
	SHOW(cfg, trim_period_ms);
	SHOW(cfg, trim_percent);
#undef SHOW
}
