// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Weak buffers: whoever changes the state of one first has it, the program with
 * bufpool_strengthen() or the kernel.  The protocol is described in
 * <linux/bufpool.h>.
 */
#include <errno.h>

#include "pool.h"

/*
 * The slot of @buf, live, weak or taken.  Aborts, for @call, if there is none.
 */
uint32_t bufpool_slot_of(const struct bufpool *bp, const char *call,
			 const void *buf)
{
	size_t offset = (size_t)((uintptr_t)buf - (uintptr_t)bp->data);
	size_t page = offset >> bp->page_shift;
	uint32_t state;

	if (page >= bp->nr_pages || page << bp->page_shift != offset)
		bufpool_abort_buffer(bp, call, buf);
	state = load_relaxed(&bp->slots[page].state);
	if (!state_is_owned(state) || (state >> 8) - 1 >= bp->nr_classes)
		bufpool_abort_buffer(bp, call, buf);
	return (uint32_t)page;
}

static bool exchange_state(struct bufpool *bp, uint32_t index, uint32_t from,
			   uint32_t to)
{
	__u32 *state = &bp->slots[index].state;
	uint32_t class = (load_relaxed(state) >> 8) - 1;
	__u32 expected = BUFPOOL_SLOT_STATE(from, class);

	/*
	 * Release: what was written to the buffer is there for whoever makes it
	 * live again, with acquire.
	 */
	return __atomic_compare_exchange_n(state, &expected,
					   BUFPOOL_SLOT_STATE(to, class), false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static uint32_t slot_state(const struct bufpool *bp, uint32_t index)
{
	return load_relaxed(&bp->slots[index].state) & 0xff;
}

int bufpool_weaken(struct bufpool *bp, void *buf)
{
	struct bufpool_stacks *depot = pool_depot(bp);
	uint32_t index, now;

	if (!buf)
		return -EINVAL;
	index = bufpool_slot_of(bp, "weaken", buf);
	if (slot_state(bp, index) != BUFPOOL_SLOT_LIVE)
		return -EINVAL;

	now = __atomic_add_fetch(&depot->weak_clock, 1, __ATOMIC_RELAXED);
	store_relaxed(&bp->slots[index].depth, now);
	/* Before the state: the kernel takes one off for a slot that it takes. */
	__atomic_fetch_add(&depot->nr_weak, 1, __ATOMIC_RELAXED);
	if (!exchange_state(bp, index, BUFPOOL_SLOT_LIVE, BUFPOOL_SLOT_WEAK)) {
		__atomic_fetch_sub(&depot->nr_weak, 1, __ATOMIC_RELAXED);
		return -EINVAL;
	}
	return 0;
}

/* bufpool_strengthen(), with an abort being on behalf of @call. */
int bufpool_strengthen_for(struct bufpool *bp, const char *call, void *buf)
{
	uint32_t index = bufpool_slot_of(bp, call, buf);

	if (exchange_state(bp, index, BUFPOOL_SLOT_WEAK, BUFPOOL_SLOT_LIVE)) {
		__atomic_fetch_sub(&pool_depot(bp)->nr_weak, 1,
				   __ATOMIC_RELAXED);
		return 1;
	}
	if (slot_state(bp, index) != BUFPOOL_SLOT_TAKEN)
		return -EINVAL;
	if (bp->leaks)
		bufpool_leaks_forget(bp, index);
	bufpool_free_request(bp, call, index);
	return 0;
}

int bufpool_strengthen(struct bufpool *bp, void *buf)
{
	return buf ? bufpool_strengthen_for(bp, "strengthen", buf) : -EINVAL;
}
