// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The stacks' words, as the kernel will read them.
 */
#include "memory.h"
#include "stack.h"
#include "tap.h"

static uint32_t index_of(struct bufpool *bp, const void *buf)
{
	return (uint32_t)(memory_slot(bp, buf) - bp->slots);
}

int main(void)
{
	struct bufpool *bp = memory_pool(NULL);
	__u64 *head = &bp->stacks[0].head[2];
	uint32_t live = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, 2);
	uint32_t idle = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, 2);
	uint32_t slot[3];
	__u64 old;
	int i;

	for (i = 0; i < 3; i++) {
		void *buf = bufpool_alloc(bp, 3UL << bp->page_shift, 0);

		require(buf);
		slot[i] = index_of(bp, buf);
	}

	check(stack_pop(bp, head) == NO_SLOT && *head == 0,
	      "pop of an empty stack changes nothing");

	require(stack_push(bp, head, slot[0], 2, 2));
	check(*head == BUFPOOL_HEAD(1, slot[0] + 1), "push: link and tag");
	check(bp->slots[slot[0]].next == 0 && bp->slots[slot[0]].depth == 1,
	      "the lowest slot: no next, depth 1");
	check(bp->slots[slot[0]].state == idle, "a pushed slot is idle");

	require(stack_push(bp, head, slot[1], 2, 2));
	check(bp->slots[slot[1]].next == slot[0] + 1 &&
	      bp->slots[slot[1]].depth == 2,
	      "the next slot: links to the one below, depth 2");
	old = *head;
	check(!stack_push(bp, head, slot[2], 2, 2) && *head == old &&
	      bp->slots[slot[2]].state == live,
	      "push to a full stack fails, the slot stays live");

	check(stack_pop(bp, head) == slot[1], "pop: last in, first out");
	check(*head == BUFPOOL_HEAD(3, slot[0] + 1), "pop adds one to the tag");

	/* A pop that slept while the top was popped and pushed again. */
	old = stack_head(head);
	require(stack_pop(bp, head) == slot[0]);
	require(stack_push(bp, head, slot[0], 2, 2));
	check(BUFPOOL_LINK(old) == BUFPOOL_LINK(*head) &&
	      !stack_pop_top(bp, head, &old, slot[0]),
	      "a stale pop fails though the same slot is on top");
	check(old == *head, "and has the head of now");
	/* A weak exchange may also fail for nothing. */
	for (i = 0; i < 1000 && !stack_pop_top(bp, head, &old, slot[0]); i++)
		;
	check(i < 1000, "with which it succeeds");

	/* A pop that slept while the kernel took and detached everything. */
	require(stack_push(bp, head, slot[0], 2, 2));
	old = stack_head(head);
	require(bufpool_release_retained(bp) == 3 << bp->page_shift);
	check(!stack_pop_top(bp, head, &old, slot[0]) && BUFPOOL_LINK(old) == 0,
	      "a pop fails on a stack that was emptied meanwhile");

	*head = BUFPOOL_HEAD(0xffffffff, 0);
	require(stack_push(bp, head, slot[1], 2, 2));
	check(*head == BUFPOOL_HEAD(0, slot[1] + 1), "the tag wraps to 0");

	bufpool_destroy(bp);
	return tap_end();
}
