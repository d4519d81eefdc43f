// SPDX-License-Identifier: GPL-2.0-only
/* Memory for slots: charged, allocated, put into the page cache, taken out. */
#include <linux/highmem.h>
#include <linux/log2.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "bufpool.h"
#include "trace.h"

/* Large folios in the page cache come with transparent huge pages. */
#define MAX_ATTACH_ORDER \
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? ilog2(BUFPOOL_HUGE_PAGES) : 0)

/* Never more than the limit, not for a moment: a small request would meet it. */
static bool charge_device(unsigned long pages, unsigned long *missing)
{
	unsigned long limit = READ_ONCE(bufpool_total_limit) >> PAGE_SHIFT;
	long attached = atomic_long_read(&bufpool_attached_pages);

	do {
		if (pages > limit || attached > limit - pages) {
			*missing = attached + pages - limit;
			return false;
		}
	} while (!atomic_long_try_cmpxchg(&bufpool_attached_pages, &attached,
					  attached + pages));
	return true;
}

/**
 * bufpool_charge - count pages against the pool's and the device's limit
 * @pool: the pool, its lock held
 * @pages: pages about to be attached
 * @missing: out, after an error: pages that have to go first
 *
 * Return: 0, or with nothing counted -EDQUOT: over the pool's limit, -ENOSPC:
 * over the device's.
 */
int bufpool_charge(struct bufpool *pool, unsigned long pages,
		   unsigned long *missing)
{
	struct bufpool_config cfg;
	unsigned long limit;

	lockdep_assert_held(&pool->lock);
	bufpool_config_effective(pool, &cfg);
	limit = cfg.pool_limit_bytes >> PAGE_SHIFT;
	if (pages > limit || pool->attached_pages > limit - pages) {
		*missing = pool->attached_pages + pages - limit;
		return -EDQUOT;
	}

	if (!charge_device(pages, missing))
		return -ENOSPC;
	if (!pool->attached_pages) {
		bufpool_trim_arm(pool, &cfg);
		bufpool_lru_add(pool);
	}
	WRITE_ONCE(pool->attached_pages, pool->attached_pages + pages);
	pool->peak_pages = max(pool->peak_pages, pool->attached_pages);
	return 0;
}

/**
 * bufpool_uncharge - undo bufpool_charge()
 * @pool: the pool, its lock held
 * @pages: pages that are not attached any more
 */
void bufpool_uncharge(struct bufpool *pool, unsigned long pages)
{
	lockdep_assert_held(&pool->lock);
	if (!pages)
		return;
	WRITE_ONCE(pool->attached_pages, pool->attached_pages - pages);
	if (!pool->attached_pages)
		bufpool_lru_del(pool);
	atomic_long_sub(pages, &bufpool_attached_pages);
}

/* The largest folio that fits at @pgoff, is aligned there and ends by @end. */
static unsigned int fitting_order(pgoff_t pgoff, pgoff_t end, unsigned int max)
{
	unsigned int order = min3(max, (unsigned int)__ffs(pgoff),
				  (unsigned int)ilog2(end - pgoff));

	/* The page cache of 6.1 takes no folio of two pages. */
	return order == 1 ? 0 : order;
}

/*
 * One zeroed folio at @pgoff.  A single page may take reclaim as far as it goes
 * short of the OOM killer: the caller can be told -ENOMEM.  Anything larger is
 * only worth having if it is to be had easily.
 */
static int attach_folio(struct bufpool *pool, pgoff_t pgoff, unsigned int order)
{
	struct address_space *mapping = pool->inode->i_mapping;
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_ZERO | __GFP_NOWARN |
		    (order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL);
	struct folio *folio;
	bool reserve = false;
	int err;

	if (order == BUFPOOL_HUGE_ORDER)
		folio = bufpool_reserve_alloc(pool, gfp, &reserve);
	else
		folio = folio_alloc(gfp, order);
	if (!folio)
		return -ENOMEM;
	__folio_mark_uptodate(folio);
	err = filemap_add_folio(mapping, folio, pgoff, gfp & ~__GFP_ZERO);
	if (!err)
		folio_unlock(folio);
	if (reserve)
		bufpool_reserve_settle(pool, folio, err);
	else
		folio_put(folio);
	return err;
}

/**
 * bufpool_attach - give part of a slot zeroed memory
 * @pool: the pool, its lock not held
 * @index: first page, in the data range
 * @pages: how many; the caller has charged them and owns the slot, in transit
 *
 * Allocates from the calling task's memory policy and charges its memory
 * cgroup.  After an error nothing of it is attached.
 *
 * Return: 0, -ENOMEM, or -EINTR if the task is being killed.
 */
int bufpool_attach(struct bufpool *pool, u32 index, u32 pages)
{
	pgoff_t start = bufpool_pgoff(pool, index);
	pgoff_t end = start + pages, pgoff = start;
	unsigned int max = MAX_ATTACH_ORDER;
	unsigned int huge = 0;
	int err = 0;

	while (pgoff < end) {
		unsigned int order = fitting_order(pgoff, end, max);

		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		err = attach_folio(pool, pgoff, order);
		if (err && !order)
			break;
		if (err) {
			max = order - 1;
			continue;
		}
		huge += order == ilog2(BUFPOOL_HUGE_PAGES);
		pgoff += 1UL << order;
		cond_resched();
	}

	trace_bufpool_attach(pool->id, index, pages, huge, err);
	if (err) {
		if (pgoff > start)
			bufpool_drop_pages(pool, start, pgoff - start);
		return err;
	}
	bufpool_count(pool, BUFPOOL_ATTACHED_TOTAL, pages);
	bufpool_count(pool, BUFPOOL_HUGE_ATTACHED, huge);
	return 0;
}

/**
 * bufpool_drop_pages - unmap pages of the pool's file and free them
 * @pool: the pool
 * @pgoff: first page of the file
 * @pages: how many
 *
 * A page that somebody else still refers to - direct I/O under way, a pipe -
 * leaves the file at once and is freed with that reference.
 */
void bufpool_drop_pages(struct bufpool *pool, pgoff_t pgoff, pgoff_t pages)
{
	struct address_space *mapping = pool->inode->i_mapping;

	unmap_mapping_pages(mapping, pgoff, pages, false);
	truncate_inode_pages_range(mapping, (loff_t)pgoff << PAGE_SHIFT,
				   ((loff_t)(pgoff + pages) << PAGE_SHIFT) - 1);
}

/**
 * bufpool_try_drop_pages - the same without waiting for any page
 * @pool: the pool
 * @pgoff: first page of the file
 * @pages: how many
 *
 * Unmaps all of them.  Does not free what is locked or referred to just now.
 * May be called from reclaim.
 *
 * Return: pages freed.
 */
unsigned long bufpool_try_drop_pages(struct bufpool *pool, pgoff_t pgoff,
				     pgoff_t pages)
{
	struct address_space *mapping = pool->inode->i_mapping;

	unmap_mapping_pages(mapping, pgoff, pages, false);
	return invalidate_mapping_pages(mapping, pgoff, pgoff + pages - 1);
}

/**
 * bufpool_zero - overwrite attached memory with zeroes
 * @pool: the pool, its lock not held
 * @index: first page, in the data range
 * @pages: how many
 *
 * Each folio under its lock: were it migrated meanwhile, its copy might have been
 * made before.  Stops when the task is being killed.
 */
void bufpool_zero(struct bufpool *pool, u32 index, u32 pages)
{
	struct address_space *mapping = pool->inode->i_mapping;
	pgoff_t pgoff = bufpool_pgoff(pool, index);
	pgoff_t end = pgoff + pages;

	while (pgoff < end && !fatal_signal_pending(current)) {
		struct folio *folio = bufpool_find_lock_folio(mapping, pgoff);
		pgoff_t next;

		/* Only if the process frees, from another thread, what it asks for. */
		if (!folio)
			return;
		next = min(end, folio_next_index(folio));
		for (; pgoff < next; pgoff++)
			clear_highpage(folio_page(folio, pgoff - folio->index));
		flush_dcache_folio(folio);
		folio_unlock(folio);
		folio_put(folio);
		cond_resched();
	}
}
