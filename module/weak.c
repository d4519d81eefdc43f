// SPDX-License-Identifier: GPL-2.0-only
/*
 * Weak buffers: the contents may go, and the process finds out when it asks.
 *
 * A weak slot's state is changed by one compare-exchange, by the process to live
 * or by the kernel to taken; whoever comes first has it.  A taken slot's memory
 * goes like any other's, but its address is not given to anyone until the process
 * has been told and has freed it.  Were it, the process could find there another
 * thread's weak buffer and take it for its own.
 *
 * Which slots are weak only their headers say.  They are searched only when memory
 * is short and nothing is idle, and only if the depot says that there are any: a
 * process that lies about that keeps its weak buffers, as it keeps live ones.  The
 * search takes two walks over all slots, however many are taken: the first adds up
 * what there is of each age, the second takes.
 */
#include <linux/atomic.h>
#include <linux/minmax.h>
#include <linux/sched.h>

#include "bufpool.h"

/*
 * How long a slot has been weak, in classes as sizes have them.  One that is made
 * weak while somebody looks may be ahead of the clock that was read before.
 */
static u32 age_class(const struct bufpool_weak_walk *walk,
		     const struct bufpool_slot *header)
{
	s32 age = walk->now - READ_ONCE(header->depth);

	return bufpool_class(max(age, 0) + 1ULL);
}

/* The next weak slot of any age; only who looks at it knows whether it still is. */
static bool weak_next(struct bufpool *pool, struct bufpool_weak_walk *walk,
		      struct bufpool_ref *ref)
{
	struct bufpool_span *span;
	unsigned long nr;

	xa_for_each_start(&pool->spans, nr, span, walk->nr) {
		if (nr != walk->nr) {
			walk->nr = nr;
			walk->slot = 0;
			cond_resched();
		}
		while (walk->slot < span->nr_slots) {
			ref->span = span;
			ref->slot = walk->slot++;
			ref->index = nr * BUFPOOL_SPAN_PAGES +
				     ref->slot * span->stride;
			ref->pages = span->slot_pages[ref->slot];
			if (ref->pages && !test_bit(ref->slot, span->leaving) &&
			    READ_ONCE(bufpool_slot_header(ref)->state) ==
			    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_WEAK, span->cls))
				return true;
		}
	}
	return false;
}

static void rewind(struct bufpool_weak_walk *walk)
{
	walk->nr = 0;
	walk->slot = 0;
}

/**
 * bufpool_weak_begin - find out which slots have been weak for longest
 * @pool: the pool, its lock held
 * @want: pages
 * @walk: out: for bufpool_take_weak()
 *
 * Ages are told apart to a fourth; of those that are the same, any may be taken.
 *
 * Return: whether there are any.
 */
bool bufpool_weak_begin(struct bufpool *pool, unsigned long want,
			struct bufpool_weak_walk *walk)
{
	struct bufpool_stacks *depot = bufpool_stacks(pool, pool->nr_cpus, false);
	u32 pages[BUFPOOL_MAX_CLASSES] = {};
	struct bufpool_ref ref;
	u32 cls;

	lockdep_assert_held(&pool->lock);
	if (!depot || READ_ONCE(depot->nr_weak) <= 0)
		return false;

	walk->now = READ_ONCE(depot->weak_clock);
	rewind(walk);
	while (weak_next(pool, walk, &ref))
		pages[age_class(walk, bufpool_slot_header(&ref))] += ref.pages;

	/* All of the classes above the youngest that is needed, and some of that. */
	for (cls = BUFPOOL_MAX_CLASSES - 1; cls && pages[cls] < want; cls--)
		want -= pages[cls];
	walk->youngest = cls;
	walk->of_youngest = want;
	rewind(walk);
	return true;
}

static bool take(struct bufpool_stacks *depot, struct bufpool_weak_walk *walk,
		 const struct bufpool_ref *ref)
{
	struct bufpool_slot *header = bufpool_slot_header(ref);
	u32 weak = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_WEAK, ref->span->cls);
	u32 cls = age_class(walk, header);

	if (cls < walk->youngest ||
	    (cls == walk->youngest && !walk->of_youngest))
		return false;
	/* Orders the process's use of the buffer before its removal. */
	if (cmpxchg(&header->state, weak,
		    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_TAKEN, ref->span->cls)) != weak)
		return false;

	if (cls == walk->youngest)
		walk->of_youngest -= min_t(unsigned long, walk->of_youngest,
					   ref->pages);
	atomic64_dec((atomic64_t *)&depot->nr_weak);
	__set_bit(ref->slot, ref->span->hollow);
	__set_bit(ref->slot, ref->span->leaving);
	return true;
}

/**
 * bufpool_take_weak - take the next of the slots that have been weak for longest
 * @pool: the pool, its lock held; it may have been dropped since the last call
 * @walk: from bufpool_weak_begin(), updated
 * @ref: out: the slots, attached, hollow and leaving: the caller detaches them
 * @max: how many slots there is room for
 *
 * All calls together take as much as was wanted, or a little more; less if the
 * process makes them live meanwhile.
 *
 * Return: how many were taken; 0: there are no more.
 */
unsigned int bufpool_take_weak(struct bufpool *pool,
			       struct bufpool_weak_walk *walk,
			       struct bufpool_ref *ref, unsigned int max)
{
	struct bufpool_stacks *depot = bufpool_stacks(pool, pool->nr_cpus, false);
	unsigned int taken = 0;

	lockdep_assert_held(&pool->lock);
	while (taken < max && weak_next(pool, walk, &ref[taken]))
		if (take(depot, walk, &ref[taken]))
			taken++;
	return taken;
}
