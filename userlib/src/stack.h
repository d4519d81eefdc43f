/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The stacks of idle slots, lock-free, shared with the kernel.  The protocol is
 * described in <linux/bufpool.h>.
 *
 * No function here waits for anybody: one that is interrupted, by a signal
 * handler that uses the same stack or by the kernel emptying it, fails its
 * compare-exchange because the head's tag has moved, and starts again.
 */
#ifndef BUFPOOL_STACK_H
#define BUFPOOL_STACK_H

#include "pool.h"

#define NO_SLOT		UINT32_MAX

/*
 * Acquire pairs with the release in stack_push(), and with the kernel's
 * exchanges, which are full barriers: whoever sees a slot on top also sees its
 * next, depth, state and pages, and what the last owner wrote into the buffer.
 * Heads change only by read-modify-write, so this also holds for a slot that
 * came to the top by a pop: the release of its push heads a release sequence
 * that all later exchanges continue.
 */
static inline uint64_t stack_head(const __u64 *head)
{
	return __atomic_load_n(head, __ATOMIC_ACQUIRE);
}

/* The slot on top of a stack whose head is @old: in bounds, or NO_SLOT. */
static inline uint32_t stack_top(const struct bufpool *bp, uint64_t old)
{
	/* The link is index + 1, so that of an empty stack wraps to NO_SLOT. */
	uint32_t top = BUFPOOL_LINK(old) - 1;

	if (unlikely(top >= bp->nr_pages)) {
		if (top != NO_SLOT)
			bufpool_abort_corrupted(bp);
		return NO_SLOT;
	}
	return top;
}

/* Number of slots on a stack whose head is @old. */
static inline uint32_t stack_depth(const struct bufpool *bp, uint64_t old)
{
	uint32_t top = stack_top(bp, old);

	return top == NO_SLOT ? 0 : load_relaxed(&bp->slots[top].depth);
}

/*
 * Pop @top, the top of *@head as of *@old, provided nothing has changed since.
 * If something has, false, and *@old is the head of now.
 *
 * The slot's next may be read after somebody else has popped it and even after
 * the kernel has detached it, when its header reads zero; the tag differs then.
 */
static inline bool stack_pop_top(struct bufpool *bp, __u64 *head, __u64 *old,
				 uint32_t top)
{
	uint32_t next = load_relaxed(&bp->slots[top].next);

	/* Acquire, also on failure: *old then is what stack_head() returns. */
	return __atomic_compare_exchange_n(head, old,
					   BUFPOOL_HEAD(BUFPOOL_TAG(*old) + 1,
							next),
					   true, __ATOMIC_ACQUIRE,
					   __ATOMIC_ACQUIRE);
}

/* Pop a slot, which is the caller's then.  NO_SLOT if there is none. */
static inline uint32_t stack_pop(struct bufpool *bp, __u64 *head)
{
	__u64 old = stack_head(head);
	uint32_t top;

	do {
		top = stack_top(bp, old);
		if (top == NO_SLOT)
			return NO_SLOT;
	} while (unlikely(!stack_pop_top(bp, head, &old, top)));

	return top;
}

/*
 * Push a live slot of the caller's, which is idle then and no longer his.  False,
 * and nothing done, if the stack already is @cap deep.
 */
static inline bool stack_push(struct bufpool *bp, __u64 *head, uint32_t index,
			      uint32_t class, uint32_t cap)
{
	struct bufpool_slot *slot = &bp->slots[index];
	__u64 old = stack_head(head);
	uint32_t depth;

	do {
		depth = stack_depth(bp, old);
		if (unlikely(depth >= cap)) {
			/* It may be marked idle if this is not the first try. */
			store_relaxed(&slot->state,
				      BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE,
							 class));
			return false;
		}
		store_relaxed(&slot->next, BUFPOOL_LINK(old));
		store_relaxed(&slot->depth, depth + 1);
		store_relaxed(&slot->state,
			      BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class));
		/*
		 * Release pairs with stack_head().  Acquire is for failure
		 * only: the depth of another top is read next.
		 */
	} while (unlikely(!__atomic_compare_exchange_n(head, &old,
				BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, index + 1),
				true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)));

	return true;
}

#endif /* BUFPOOL_STACK_H */
