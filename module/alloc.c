// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocation and freeing, for whoever comes through the ioctls: a process whose
 * stacks are empty or full, or one that does not use them itself.
 *
 *	alloc:  this CPU's stack -> the depot's -> other CPUs', fronts too -> attach
 *	        large: the depot's best fit -> grow the nearest -> attach
 *	free:   this CPU's stack -> the depot's -> detach
 */
#include <linux/sched/signal.h>
#include <linux/smp.h>

#include "bufpool.h"
#include "trace.h"

/* How often to wait for what other processes give back, and look again. */
#define MAX_TURNS	4096

/* A buffer that no limit lets be, whatever is given up for it. */
static bool never_fits(const struct bufpool *pool, unsigned long pages)
{
	struct bufpool_config cfg;

	bufpool_config_effective(pool, &cfg);
	return pages > cfg.pool_limit_bytes >> PAGE_SHIFT ||
	       pages > READ_ONCE(bufpool_total_limit) >> PAGE_SHIFT;
}

/*
 * Charge what a buffer of @pages needs beside the @had that it has, giving up idle
 * memory as far as it takes: the pool's own, and for the device's limit the others'
 * too.  Somebody else may charge what was given up, so this goes on until there is
 * nothing left to give, and nothing on its way that another thread gives.
 *
 * What other threads of the process do is its own business.  Other processes could
 * go on for ever with taking and giving back, so for them there is an end.
 */
static int charge_or_reclaim(struct bufpool *pool, unsigned long had,
			     unsigned long pages)
{
	struct bufpool_outflow before[2] = {}, now[2];
	int err, spent = 0, turns = 0;
	unsigned long missing;

	lockdep_assert_held(&pool->lock);
	if (never_fits(pool, pages))
		return -EDQUOT;
	for (;;) {
		bool device;

		bufpool_outflow(pool, false, &now[false]);
		bufpool_outflow(pool, true, &now[true]);
		err = bufpool_charge(pool, pages - had, &missing);
		if (!err)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;
		device = err == -ENOSPC;
		if (spent == err && !now[device].busy &&
		    now[device].batches == before[device].batches)
			return -EDQUOT;
		if (spent == -ENOSPC && turns++ == MAX_TURNS)
			return -EDQUOT;

		mutex_unlock(&pool->lock);
		if (spent == err && now[device].busy) {
			bufpool_outflow_wait(pool, device, &now[device]);
		} else {
			memcpy(before, now, sizeof(before));
			spent = bufpool_reclaim(pool, missing, device) ? 0 : err;
		}
		mutex_lock(&pool->lock);
	}
}

/*
 * A slot of the range, giving up all idle slots if other classes have it all, or
 * some if there is no memory for its header.
 */
static int reserve_or_reclaim(struct bufpool *pool, u32 cls,
			      struct bufpool_ref *ref)
{
	unsigned long released;
	int err;

	do {
		err = bufpool_slot_reserve(pool, cls, ref);
		if (!err)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;
		mutex_unlock(&pool->lock);
		released = err == -ENOSPC ?
			   bufpool_release(pool, ULONG_MAX, BUFPOOL_RECLAIMED) :
			   bufpool_reclaim(pool, BUFPOOL_SPAN_HEADER_PAGES, false);
		mutex_lock(&pool->lock);
	} while (released);
	return -ENOMEM;
}

/*
 * Attach memory, giving up the pool's own idle memory if there is none: this
 * pool's may be all that a control group at its limit has left.  Called and
 * returns with the lock held, drops it meanwhile.
 */
static int attach_or_reclaim(struct bufpool *pool, u32 index, u32 pages)
{
	int err;

	mutex_unlock(&pool->lock);
	do {
		err = bufpool_attach(pool, index, pages);
	} while (err == -ENOMEM &&
		 bufpool_reclaim(pool, pages, false));
	mutex_lock(&pool->lock);
	return err;
}

/* A new buffer.  Called and returns with the lock held, drops it to attach. */
static int alloc_new(struct bufpool *pool, u32 cls, u32 pages,
		     struct bufpool_ref *ref)
{
	int err;

	err = charge_or_reclaim(pool, 0, pages);
	if (err)
		return err;
	err = reserve_or_reclaim(pool, cls, ref);
	if (err)
		goto uncharge;
	ref->pages = pages;

	err = attach_or_reclaim(pool, ref->index, pages);
	if (err)
		goto unreserve;
	bufpool_slot_give(ref);
	return 0;

unreserve:
	bufpool_slot_unreserve(pool, ref);
uncharge:
	bufpool_uncharge(pool, pages);
	return err;
}

/*
 * Attach the missing tail of a slot that was taken off its stack.  Called and
 * returns with the lock held, drops it to attach.  After an error the slot is
 * as it was, and in the depot.
 */
static int grow(struct bufpool *pool, struct bufpool_ref *ref, u32 pages)
{
	u32 had = ref->pages;
	int err;

	bufpool_slot_take(ref);
	err = charge_or_reclaim(pool, had, pages);
	if (err)
		goto restore;

	err = attach_or_reclaim(pool, ref->index + had, pages - had);
	if (err) {
		bufpool_uncharge(pool, pages - had);
		goto restore;
	}
	ref->pages = pages;
	bufpool_slot_give(ref);
	return 0;

restore:
	bufpool_slot_give(ref);
	bufpool_push(pool, pool->nr_cpus, ref->span->cls, ref);
	return err;
}

static bool pop_small(struct bufpool *pool, u32 cls, struct bufpool_ref *ref)
{
	u32 this_cpu = raw_smp_processor_id();
	u32 cpu;

	if (bufpool_pop(pool, this_cpu, cls, ref) ||
	    bufpool_pop(pool, pool->nr_cpus, cls, ref))
		return true;
	/* Also those of CPUs that are offline: memory there is not lost. */
	do {
		for (cpu = 0; cpu < pool->nr_cpus; cpu++)
			if (bufpool_pop(pool, cpu, cls, ref))
				return true;
	} while (bufpool_front_steal(pool, cls, this_cpu));
	return false;
}

/* A kept buffer serves a smaller request if at most a fifth of it is unused. */
static bool large_fits(u32 have, u32 want)
{
	return have >= want && have - want <= want / 4;
}

/* The best kept buffer found so far, off its stack. */
struct best {
	struct bufpool_ref	ref;
	u32			cpu;	/* whose stack it was on */
	bool			found;
};

/* The smallest that fits; or, to @grow, the largest that does not. */
static bool is_better(const struct best *best, u32 have, u32 want, bool grow)
{
	if (grow)
		return have < want && (!best->found || have > best->ref.pages);
	return large_fits(have, want) &&
	       (!best->found || have < best->ref.pages);
}

/*
 * Search one stack.  All are taken off, and all but the best put back in the same
 * order; a thread that finds the stack empty meanwhile comes here and waits for
 * the lock.
 */
static void search_stack(struct bufpool *pool, u32 cpu, u32 cls, u32 pages,
			 bool grow, struct best *best)
{
	u32 index[BUFPOOL_MAX_LARGE_CACHED];
	const struct best before = *best;
	struct bufpool_ref ref;
	int nr = 0;

	while (nr < BUFPOOL_MAX_LARGE_CACHED &&
	       bufpool_pop(pool, cpu, cls, &ref)) {
		index[nr++] = ref.index;
		if (!is_better(best, ref.pages, pages, grow))
			continue;
		best->ref = ref;
		best->cpu = cpu;
		best->found = true;
	}
	while (nr--) {
		if (best->found && index[nr] == best->ref.index)
			continue;
		/* It was attached a moment ago, under the same lock. */
		if (bufpool_slot_find(pool, index[nr], &ref))
			bufpool_push(pool, cpu, cls, &ref);
	}
	if (before.found && before.ref.index != best->ref.index)
		bufpool_push(pool, before.cpu, cls, &before.ref);
}

/* Search all stacks of one class, this CPU's first. */
static bool pop_best(struct bufpool *pool, u32 cls, u32 pages, bool grow,
		     struct bufpool_ref *ref)
{
	u32 cpu = raw_smp_processor_id();
	struct best best = {};
	u32 n;

	bufpool_front_steal(pool, cls, cpu);
	for (n = 0; n <= pool->nr_cpus; n++) {
		search_stack(pool, cpu, cls, pages, grow, &best);
		if (best.found && best.ref.pages == pages)
			break;
		if (++cpu > pool->nr_cpus)
			cpu = 0;
	}
	if (best.found)
		*ref = best.ref;
	return best.found;
}

static bool pop_large(struct bufpool *pool, u32 cls, u32 pages,
		      struct bufpool_ref *ref)
{
	return pop_best(pool, cls, pages, false, ref) ||
	       (cls + 1 < pool->nr_classes &&
		pop_best(pool, cls + 1, pages, false, ref)) ||
	       pop_best(pool, cls, pages, true, ref);
}

/**
 * bufpool_alloc - a buffer, reused, grown or new
 * @pool: the pool, its lock not held
 * @bytes: bytes wanted
 * @flags: 0 or BUFPOOL_ZERO
 * @ref: out: the buffer, live; its pages from @fresh on are new
 * @fresh: out: first page of the buffer that was attached by this call
 *
 * Return: 0; -EINVAL @bytes is 0 or a flag unknown; -EFBIG over the allocation
 * limit; -EDQUOT over the pool's or the device's; -ENOMEM; -EINTR.
 */
int bufpool_alloc(struct bufpool *pool, u64 bytes, u32 flags,
		  struct bufpool_ref *ref, u32 *fresh)
{
	struct bufpool_config cfg;
	struct bufpool_keep keep;
	u64 pages, hold;
	bool reused;
	u32 cls;
	int err = 0;

	if (!bytes || flags & ~BUFPOOL_ZERO)
		return -EINVAL;

	mutex_lock(&pool->lock);
	bufpool_config_effective(pool, &cfg);
	if (bytes > cfg.alloc_limit_bytes) {
		err = -EFBIG;
		goto unlock;
	}
	pages = DIV_ROUND_UP_ULL(bytes, PAGE_SIZE);
	if (pages > pool->limit_pages) {
		err = -EDQUOT;
		goto unlock;
	}

	cls = bufpool_class(pages);
	bufpool_config_keep(&cfg, cls, &keep);
	hold = keep.large ? pages : bufpool_class_pages(cls);
	reused = keep.large ? pop_large(pool, cls, pages, ref) :
			      pop_small(pool, cls, ref);
	*fresh = reused ? ref->pages : 0;
	if (!reused) {
		err = alloc_new(pool, cls, hold, ref);
	} else if (ref->pages < pages) {
		err = grow(pool, ref, hold);
		if (!err)
			bufpool_count(pool, BUFPOOL_GROWN, 1);
	}
	if (err)
		goto unlock;

	if (ref->pages != bufpool_class_pages(ref->span->cls))
		__set_bit(ref->span->cls, pool->uneven);
	bufpool_slot_set(ref, BUFPOOL_SLOT_LIVE);
	bufpool_count(pool, BUFPOOL_ALLOCS, 1);
	if (reused)
		bufpool_count(pool, BUFPOOL_REUSED, 1);
unlock:
	mutex_unlock(&pool->lock);

	if (!err && flags & BUFPOOL_ZERO)
		bufpool_zero(pool, ref->index, *fresh);
	if (err == -EFBIG || err == -EDQUOT) {
		bufpool_count(pool, BUFPOOL_LIMIT_HITS, 1);
		trace_bufpool_limit(pool->id, bytes, err);
	}
	trace_bufpool_alloc_slow(pool->id, bytes, err ? 0 : ref->index,
				 err ? 0 : ref->pages, err ? 0 : *fresh, err);
	return err;
}

/* Put a freed slot where it is wanted; false: nowhere. */
static bool keep_idle(struct bufpool *pool, const struct bufpool_ref *ref)
{
	u32 cls = ref->span->cls;
	struct bufpool_config cfg;
	struct bufpool_keep keep;
	u32 cpu = raw_smp_processor_id();

	bufpool_config_effective(pool, &cfg);
	bufpool_config_keep(&cfg, cls, &keep);
	if (ref->pages > cfg.max_pooled_bytes >> PAGE_SHIFT)
		return false;
	if ((keep.large || ref->pages == bufpool_class_pages(cls)) &&
	    bufpool_depth(pool, cpu, cls) + !!bufpool_front_pages(pool, cpu, cls) <
	    keep.percpu_cap)
		return bufpool_push(pool, cpu, cls, ref);
	if (bufpool_depth(pool, pool->nr_cpus, cls) < keep.depot_cap &&
	    bufpool_idle_pages(pool) + ref->pages <=
	    cfg.max_retained_bytes >> PAGE_SHIFT)
		return bufpool_push(pool, pool->nr_cpus, cls, ref);
	return false;
}

/**
 * bufpool_free - take a live buffer back: keep it, or give its memory back; or
 * take back the address of a weak one that was taken
 * @pool: the pool, its lock not held
 * @index: the buffer's first page, in the data range; any value
 *
 * Return: 0, or -EINVAL: not a live or taken buffer of this pool.
 */
int bufpool_free(struct bufpool *pool, u64 index)
{
	struct bufpool_ref ref;
	bool kept;

	mutex_lock(&pool->lock);
	if (bufpool_slot_free_hollow(pool, index)) {
		mutex_unlock(&pool->lock);
		bufpool_count(pool, BUFPOOL_FREES, 1);
		return 0;
	}
	if (!bufpool_slot_find(pool, index, &ref) ||
	    READ_ONCE(bufpool_slot_header(&ref)->state) !=
	    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, ref.span->cls)) {
		mutex_unlock(&pool->lock);
		return -EINVAL;
	}

	kept = keep_idle(pool, &ref);
	if (!kept)
		bufpool_detach(pool, &ref);
	mutex_unlock(&pool->lock);

	bufpool_count(pool, BUFPOOL_FREES, 1);
	bufpool_count(pool, BUFPOOL_FREED, kept ? 0 : ref.pages);
	trace_bufpool_free_slow(pool->id, ref.index, ref.pages, kept);
	return 0;
}
