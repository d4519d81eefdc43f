// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Saying what is wrong, and aborting.  Callable from a signal handler: nothing
 * but write(2) and abort(3), the message formatted on the stack.
 */
#include <stdlib.h>

#include "message.h"
#include "pool.h"

static noreturn void say_and_abort(const struct message *msg)
{
	message_write(msg);
	abort();
}

static const char *reason(const struct bufpool *bp, const void *buf)
{
	size_t offset = (size_t)((uintptr_t)buf - (uintptr_t)bp->data);
	size_t page = offset >> bp->page_shift;
	uint32_t state;

	if (page >= bp->nr_pages)
		return "not a buffer of this pool";
	if (page << bp->page_shift != offset)
		return "not a buffer of this pool (not page-aligned)";

	state = load_relaxed(&bp->slots[page].state);
	if (state >> 8 > bp->nr_classes)
		return "its slot header is corrupted";
	switch (state & 0xff) {
	case BUFPOOL_SLOT_DETACHED:
		return "not a buffer of this pool (none starts there now)";
	case BUFPOOL_SLOT_IDLE:
		return "already free";
	case BUFPOOL_SLOT_LIVE:
	case BUFPOOL_SLOT_WEAK:
	case BUFPOOL_SLOT_TAKEN:
		return "not a buffer of this pool (none was allocated there)";
	default:
		return "its slot header is corrupted";
	}
}

/*
 * @call was given @buf, which is no live buffer of @bp.
 */
void bufpool_abort_buffer(const struct bufpool *bp, const char *call,
			  const void *buf)
{
	struct message msg = { .length = 0 };

	add_string(&msg, "bufpool: ");
	add_string(&msg, call);
	add_string(&msg, " of ");
	add_pointer(&msg, buf);
	add_string(&msg, ": ");
	add_string(&msg, reason(bp, buf));
	add_string(&msg, "\n");
	say_and_abort(&msg);
}

/*
 * A stack links to what is no idle slot: a stray write, or two frees of one
 * buffer at the same time.
 */
void bufpool_abort_corrupted(const struct bufpool *bp)
{
	struct message msg = { .length = 0 };

	add_string(&msg, "bufpool: the control region at ");
	add_pointer(&msg, bp->control);
	add_string(&msg, " is corrupted\n");
	say_and_abort(&msg);
}
