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
 * process that lies about that keeps its weak buffers, as it keeps live ones.
 */
#include <linux/atomic.h>

#include "bufpool.h"

/* Insert into a list of at most @max by age, the oldest first. */
static unsigned int insert_by_age(struct bufpool_ref *ref, u32 *age,
				  unsigned int nr, unsigned int max,
				  const struct bufpool_ref *new, u32 new_age)
{
	unsigned int i;

	if (nr == max && new_age <= age[nr - 1])
		return nr;
	if (nr < max)
		nr++;
	for (i = nr - 1; i && age[i - 1] < new_age; i--) {
		ref[i] = ref[i - 1];
		age[i] = age[i - 1];
	}
	ref[i] = *new;
	age[i] = new_age;
	return nr;
}

static unsigned int oldest_weak(struct bufpool *pool, u32 now,
				struct bufpool_ref *ref, u32 *age,
				unsigned int max)
{
	struct bufpool_span *span;
	struct bufpool_ref one;
	unsigned int found = 0;
	unsigned long nr;
	u32 slot;

	xa_for_each(&pool->spans, nr, span) {
		for (slot = 0; slot < span->nr_slots; slot++) {
			struct bufpool_slot *header;

			if (!bufpool_slot_find(pool, nr * BUFPOOL_SPAN_PAGES +
						     slot * span->stride, &one))
				continue;
			header = bufpool_slot_header(&one);
			if (READ_ONCE(header->state) ==
			    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_WEAK, span->cls))
				found = insert_by_age(ref, age, found, max, &one,
						      now - READ_ONCE(header->depth));
		}
	}
	return found;
}

/**
 * bufpool_take_weak - take the slots that have been weak for longest
 * @pool: the pool, its lock held
 * @want: pages
 * @ref: out: the slots, attached, hollow and leaving: the caller detaches them
 * @max: how many slots there is room for, BUFPOOL_BATCH at most
 *
 * Return: how many were taken; 0: none is weak.
 */
unsigned int bufpool_take_weak(struct bufpool *pool, unsigned long want,
			       struct bufpool_ref *ref, unsigned int max)
{
	struct bufpool_stacks *depot = bufpool_stacks(pool, pool->nr_cpus, false);
	unsigned int nr, i, taken = 0;
	u32 age[BUFPOOL_BATCH];
	unsigned long pages = 0;

	lockdep_assert_held(&pool->lock);
	if (!depot || READ_ONCE(depot->nr_weak) <= 0)
		return 0;

	nr = oldest_weak(pool, READ_ONCE(depot->weak_clock), ref, age,
			 min_t(unsigned int, max, BUFPOOL_BATCH));
	for (i = 0; i < nr && pages < want; i++) {
		struct bufpool_slot *header = bufpool_slot_header(&ref[i]);
		u32 cls = ref[i].span->cls;
		u32 weak = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_WEAK, cls);

		/* Orders the process's use of the buffer before its removal. */
		if (cmpxchg(&header->state, weak,
			    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_TAKEN, cls)) != weak)
			continue;
		atomic64_dec((atomic64_t *)&depot->nr_weak);
		__set_bit(ref[i].slot, ref[i].span->hollow);
		__set_bit(ref[i].slot, ref[i].span->leaving);
		pages += ref[i].pages;
		ref[taken++] = ref[i];
	}
	return taken;
}
