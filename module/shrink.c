// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory pressure: idle memory goes, and then weak buffers, before anything has to
 * be written, swapped or killed for.
 *
 * A pool is one object on a list_lru, filed by the memory control group of the
 * task that opened it and by the node its struct is on, while it has memory
 * attached.  Reclaim of that group, or of all, finds it there.
 *
 * The shrinker is called in the middle of somebody's allocation, with whatever
 * locks that task holds.  So:
 *
 * - pool->lock is only tried, a few times.
 * - No folio is waited for.  A fault holds the folio lock while it allocates a
 *   page table, and the folio may be one of an idle slot: a process may touch
 *   what it has freed.  Memory that is not locked, mapped by then, or referred to
 *   is removed at once; a slot of which something is left keeps it for a worker.
 * - No slot headers are freed, for the same reason: the slot is marked leaving,
 *   and the worker detaches it.  Until then it counts against the limits.
 * - No pool is destroyed: the last reference goes to the worker.
 *
 * i_mmap_rwsem is taken, as all of reclaim does, and nothing allocates under it.
 */
#include <linux/list_lru.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/swap.h>

#include "bufpool.h"

/* Pools that one call looks at. */
#define MAX_POOLS	16

/* Weak buffers that are taken in one go. */
#define WEAK_BATCH	16

/* Ticks to wait for a pool's lock, or for the worker, if nothing else is found. */
#define MAX_WAITS	3

/* Pages to scan in one go; larger than the default, as buffers are. */
#define SCAN_BATCH	1024

struct list_lru bufpool_lru;
static struct shrinker *shrinker;
static bool ready;

/* Pools on the list, for the average that is the count's unit. */
static atomic_long_t nr_pools;

/**
 * bufpool_lru_add - let reclaim find a pool
 * @pool: the pool, its lock held, with its first memory
 */
void bufpool_lru_add(struct bufpool *pool)
{
	if (list_lru_add_obj(&bufpool_lru, &pool->lru))
		atomic_long_inc(&nr_pools);
}

/**
 * bufpool_lru_del - it has no memory any more
 * @pool: the pool, its lock held
 */
void bufpool_lru_del(struct bufpool *pool)
{
	if (list_lru_del_obj(&bufpool_lru, &pool->lru))
		atomic_long_dec(&nr_pools);
}

/*
 * How much is idle only a walk over shared stacks could tell.  What is attached
 * is known without any lock, and a scan that finds nothing says so.
 */
static unsigned long shrink_count(struct shrinker *self,
				  struct shrink_control *sc)
{
	unsigned long here, all;

	if (!READ_ONCE(ready))
		return 0;
	here = list_lru_shrink_count(&bufpool_lru, sc);
	if (!here)
		return SHRINK_EMPTY;
	all = max(atomic_long_read(&nr_pools), 1L);
	return mult_frac((unsigned long)atomic_long_read(&bufpool_attached_pages),
			 min(here, all), all);
}

struct found {
	unsigned int	nr;
	struct bufpool	*pool[MAX_POOLS];
};

/*
 * A pool with memory has a reference that is not dropped before bufpool_lru_del(),
 * which takes the lock that is held here.
 */
static BUFPOOL_LRU_WALK_CB(find_pool)
{
	struct bufpool *pool = container_of(item, struct bufpool, lru);
	struct found *found = arg;
	unsigned int i;

	/* A list shorter than the walk comes round again. */
	for (i = 0; i < found->nr; i++)
		if (found->pool[i] == pool)
			return LRU_SKIP;
	refcount_inc(&pool->ref);
	found->pool[found->nr++] = pool;
	return LRU_ROTATE;
}

/* Slots side by side that are leaving and whose memory is still there. */
struct row {
	u32	start;
	u32	end;
};

/* Free what memory of a row can be had without waiting. */
static unsigned long drop_row(struct bufpool *pool, struct row *row)
{
	unsigned long freed;

	if (row->start == row->end)
		return 0;
	freed = bufpool_try_drop_pages(pool, bufpool_pgoff(pool, row->start),
				       row->end - row->start);
	row->end = row->start;
	return freed;
}

/* From attached to leaving.  Returns pages freed of the row before this one. */
static unsigned long leave(struct bufpool *pool, const struct bufpool_ref *ref,
			   struct row *row)
{
	unsigned long freed = 0;

	if (!test_bit(ref->slot, ref->span->hollow))
		bufpool_slot_set(ref, BUFPOOL_SLOT_DETACHED);
	__set_bit(ref->slot, ref->span->leaving);
	pool->nr_leaving++;
	if (row->start != row->end && ref->index == row->end) {
		row->end += ref->pages;
	} else if (row->start != row->end &&
		   ref->index + ref->pages == row->start) {
		row->start = ref->index;
	} else {
		freed = drop_row(pool, row);
		row->start = ref->index;
		row->end = ref->index + ref->pages;
	}
	return freed;
}

/* Take idle slots, @want pages or some more.  Adds to *@freed what is freed. */
static unsigned long take_idle(struct bufpool *pool, unsigned long want,
			       struct row *row, unsigned long *freed)
{
	unsigned long taken = 0;
	struct bufpool_ref ref;
	u32 cpu, cls;

	for (cpu = pool->nr_cpus + 1; cpu-- && taken < want;) {
		for (cls = pool->nr_classes; cls-- && taken < want;) {
			u32 link = bufpool_cut_pages(pool, cpu, cls,
						     want - taken);

			while (bufpool_chain_next(pool, cpu, cls, &link, &ref)) {
				taken += ref.pages;
				*freed += leave(pool, &ref, row);
			}
		}
	}
	return taken;
}

static unsigned long shrink_pool(struct bufpool *pool, unsigned long want)
{
	struct bufpool_ref weak[WEAK_BATCH];
	struct bufpool_weak_walk walk;
	unsigned long taken, freed = 0;
	struct row row = {};
	unsigned int nr, i;

	lockdep_assert_held(&pool->lock);
	bufpool_walk_begin(pool);
	taken = take_idle(pool, want, &row, &freed);
	if (taken < want && bufpool_front_empty(pool))
		taken += take_idle(pool, want - taken, &row, &freed);
	if (taken < want && bufpool_weak_begin(pool, want - taken, &walk)) {
		while ((nr = bufpool_take_weak(pool, &walk, weak, WEAK_BATCH))) {
			for (i = 0; i < nr; i++) {
				taken += weak[i].pages;
				freed += leave(pool, &weak[i], &row);
			}
		}
	}
	freed += drop_row(pool, &row);
	bufpool_count_back(pool, BUFPOOL_SHRUNK, taken);
	return freed;
}

/*
 * Reclaim of a control group does not see what shrinkers free: it goes on through
 * all its priorities, and would have all the memory there is for the sake of one
 * page.  So enough is decided here, for one such reclaim: a batch, or a sixteenth,
 * which is how often those who want much come back.
 */
static bool enough(struct shrinker *self, struct shrink_control *sc)
{
	return sc->memcg && bufpool_reclaimed() >=
	       max(shrink_count(self, sc) / 16, (unsigned long)SCAN_BATCH);
}

/* One look at some pools; @later: one of them has memory that will come. */
static unsigned long scan_pools(struct shrink_control *sc, bool *later)
{
	unsigned long walk = MAX_POOLS, freed = 0;
	struct found found = {};
	bool leaving = false;
	unsigned int i;

	*later = false;
	list_lru_walk_one(&bufpool_lru, sc->nid, sc->memcg, find_pool, &found,
			  &walk);
	for (i = 0; i < found.nr; i++) {
		struct bufpool *pool = found.pool[i];

		if (freed < sc->nr_to_scan) {
			if (mutex_trylock(&pool->lock)) {
				freed += shrink_pool(pool, sc->nr_to_scan - freed);
				leaving |= pool->nr_leaving;
				mutex_unlock(&pool->lock);
			} else {
				*later = true;
			}
		}
		bufpool_put_later(pool);
	}
	if (leaving)
		bufpool_finish_later();
	*later |= leaving;
	return freed;
}

static unsigned long shrink_scan(struct shrinker *self,
				 struct shrink_control *sc)
{
	unsigned long freed;
	int waits = 0;
	bool later;

	if (!READ_ONCE(ready) || !(sc->gfp_mask & __GFP_FS) || enough(self, sc))
		return SHRINK_STOP;

	for (;;) {
		freed = scan_pools(sc, &later);
		if (freed || !later || waits++ == MAX_WAITS || current_is_kswapd())
			break;
		/*
		 * Whoever has the lock is most likely giving memory back, and is
		 * not this task: nothing allocates with __GFP_FS under it.  A
		 * group without anything else to reclaim would be through with
		 * all its retries, and kill, before that one is scheduled.
		 */
		schedule_timeout_uninterruptible(1);
	}
	bufpool_account_reclaimed(freed);
	return freed ?: SHRINK_STOP;
}

/**
 * bufpool_shrink_init - make the list and the shrinker, and start it
 *
 * Return: 0 or -ENOMEM.
 */
int __init bufpool_shrink_init(void)
{
	int err;

	shrinker = bufpool_shrinker_alloc(SHRINKER_NUMA_AWARE |
					  SHRINKER_MEMCG_AWARE, "bufpool",
					  shrink_count, shrink_scan);
	if (!shrinker)
		return -ENOMEM;
	err = list_lru_init_memcg(&bufpool_lru, shrinker);
	if (err) {
		bufpool_shrinker_free(shrinker);
		return err;
	}
	/* Idle memory costs nothing to write back: half of it at any priority. */
	shrinker->seeks = 0;
	shrinker->batch = SCAN_BATCH;
	bufpool_shrinker_start(shrinker);
	WRITE_ONCE(ready, true);
	return 0;
}

/** bufpool_shrink_stop - no call of the shrinker is under way after this */
void bufpool_shrink_stop(void)
{
	bufpool_shrinker_free(shrinker);
}

/** bufpool_shrink_exit - no pool is left */
void bufpool_shrink_exit(void)
{
	list_lru_destroy(&bufpool_lru);
}
