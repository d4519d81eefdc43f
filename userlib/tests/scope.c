// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Scopes: what is registered is freed at their end, the last one first.
 */
#include <errno.h>
#include <string.h>

#include "memory.h"
#include "tap.h"

#define MANY	1500

static struct bufpool *bp;
static size_t page;
static void *bufs[MANY];

static size_t live(void)
{
	return bufpool_count_live(bp, NULL);
}

static void test_order(void)
{
	struct bufpool_scope scope;
	void *a, *b, *c;

	bufpool_scope_begin(&scope, bp);
	a = bufpool_scope_alloc(&scope, page, 0);
	b = bufpool_alloc(bp, page, 0);
	check(bufpool_scope_add(&scope, b) == 0, "add: 0");
	c = bufpool_scope_alloc(&scope, page, BUFPOOL_ZERO);
	require(a && b && c && live() == 3);
	errno = EXDEV;
	bufpool_scope_end(&scope);
	check(live() == 0 && errno == EXDEV, "end frees all, and keeps errno");
	check(bufpool_alloc(bp, page, 0) == a && bufpool_alloc(bp, page, 0) == b &&
	      bufpool_alloc(bp, page, 0) == c, "the last one registered first");
	bufpool_scope_end(&scope);
	check(live() == 3, "a second end does nothing");
	bufpool_free(bp, c);
	bufpool_free(bp, b);
	require(bufpool_scope_add(&scope, a) == 0);
	bufpool_scope_end(&scope);
	check(live() == 0, "a scope can be used again");
}

static void test_many(void)
{
	struct bufpool_scope scope;
	int cap = (int)memory_defaults.percpu_cap, i;
	bool all = true, order = true;

	bufpool_scope_begin(&scope, bp);
	for (i = 0; i < BUFPOOL_SCOPE_FIRST; i++)
		all = all && bufpool_scope_alloc(&scope, page, 0);
	check(all && live() == BUFPOOL_SCOPE_FIRST,
	      "%d buffers need nothing else", BUFPOOL_SCOPE_FIRST);
	bufpool_scope_end(&scope);

	for (i = 0; i < MANY; i++) {
		bufs[i] = bufpool_scope_alloc(&scope, 2 * page, 0);
		all = all && bufs[i];
	}
	check(all && live() == MANY + 3, "%d need three more for pointers", MANY);
	bufpool_scope_end(&scope);
	check(live() == 0, "and all are freed");
	/* The class's depot stack is over the CPU's, which filled up first. */
	for (i = 0; i < MANY; i++)
		order = order && bufpool_alloc(bp, 2 * page, 0) ==
			bufs[i < cap ? MANY - cap + i : i - cap];
	check(order, "across blocks, too, the last one registered first");
	for (i = 0; i < MANY; i++)
		bufpool_free(bp, bufs[i]);
}

static void test_remove(void)
{
	struct bufpool_scope scope;
	struct memory_counts before;
	bool ok = true;
	int i, j;

	bufpool_scope_begin(&scope, bp);
	for (i = 0; i < 4; i++)
		bufs[i] = bufpool_scope_alloc(&scope, page, 0);
	check(bufpool_scope_remove(&scope, bufs[1]) == bufs[1],
	      "remove returns the buffer");
	errno = 0;
	check(!bufpool_scope_remove(&scope, bufs[1]) && errno == ENOENT,
	      "but once: ENOENT");
	errno = 0;
	check(!bufpool_scope_remove(&scope, NULL) && errno == 0,
	      "NULL: NULL, errno untouched");
	bufpool_scope_end(&scope);
	check(live() == 1 && bufpool_usable_size(bp, bufs[1]) == page,
	      "what was removed lives on");
	check(bufpool_alloc(bp, page, 0) == bufs[0] &&
	      bufpool_alloc(bp, page, 0) == bufs[2] &&
	      bufpool_alloc(bp, page, 0) == bufs[3],
	      "and the others were freed in order");
	for (i = 0; i < 4; i++)
		bufpool_free(bp, bufs[i]);

	/* From every place, over all the blocks. */
	for (i = 0; i < MANY; i++)
		bufs[i] = bufpool_scope_alloc(&scope, page, 0);
	for (i = 0; i < MANY; i++) {
		j = (int)((unsigned int)i * 997 % MANY);
		ok = ok && bufpool_scope_remove(&scope, bufs[j]) == bufs[j];
		bufpool_free(bp, bufs[j]);
	}
	check(ok && live() == 0, "%d removed in mixed order, no block is left",
	      MANY);
	before = memory_counts(bp);
	bufpool_scope_end(&scope);
	check(memory_counts(bp).frees == before.frees && live() == 0,
	      "which leaves nothing to end");
}

static void *make_frame(bool fail)
{
	BUFPOOL_SCOPE(scope, bp);
	void *scratch = bufpool_scope_alloc(&scope, 3 * page, 0);
	void *frame = bufpool_scope_alloc(&scope, page, 0);

	require(scratch && frame && live() == 2);
	if (fail)
		return NULL;
	return bufpool_scope_remove(&scope, frame);
}

static void test_cleanup(void)
{
	void *frame;
	int i;

	check(!make_frame(true) && live() == 0, "BUFPOOL_SCOPE: return frees all");
	frame = make_frame(false);
	check(frame && live() == 1, "but what was removed");
	bufpool_free(bp, frame);
	for (i = 0; i < 4; i++) {
		BUFPOOL_SCOPE(outer, bp);
		BUFPOOL_SCOPE(inner, bp);

		require(bufpool_scope_alloc(&outer, page, 0));
		if (i == 1)
			continue;
		require(bufpool_scope_alloc(&inner, page, 0));
		require(live() == 2);
		if (i == 3)
			break;
	}
	check(live() == 0, "BUFPOOL_SCOPE: so do continue, break and the end");
}

static void test_errors(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *whole = bp;
	struct bufpool_scope scope;
	void *buf;
	int i;

	t.limit_pages = BUFPOOL_SCOPE_FIRST + 1;
	bp = memory_pool(&t);
	memory_pin(bp);
	bufpool_scope_begin(&scope, bp);
	errno = 0;
	check(!bufpool_scope_alloc(&scope, 0, 0) && errno == EINVAL,
	      "alloc: bufpool_alloc()'s errors");
	errno = 0;
	check(bufpool_scope_add(&scope, NULL) == 0 && live() == 0,
	      "add of NULL: nothing");
	for (i = 0; i < BUFPOOL_SCOPE_FIRST; i++)
		require(bufpool_scope_alloc(&scope, page, 0));
	check(!bufpool_scope_alloc(&scope, page, 0) && errno == EDQUOT &&
	      live() == BUFPOOL_SCOPE_FIRST,
	      "alloc, but no room to register: EDQUOT, nothing allocated");
	errno = 0;
	buf = bufpool_alloc(bp, page, 0);
	check(buf && bufpool_scope_add(&scope, buf) == -EDQUOT && errno == 0,
	      "add, likewise: -EDQUOT, errno untouched");
	bufpool_scope_end(&scope);
	check(live() == 1 && bufpool_usable_size(bp, buf) == page,
	      "and the buffer is the caller's still");
	check(bufpool_scope_add(&scope, buf) == 0 &&
	      bufpool_weaken(bp, buf) == 0 && memory_take_weak(bp, 1) == 1,
	      "a buffer in a scope may be weak, and taken");
	bufpool_scope_end(&scope);
	check(live() == 0 && memory_counts(bp).attached_pages ==
			     memory_idle_pages(bp), "end frees it");
	bufpool_destroy(bp);
	bp = whole;
}

int main(void)
{
	bp = memory_pool(NULL);
	memory_pin(bp);
	page = (size_t)1 << bp->page_shift;

	test_order();
	test_many();
	test_remove();
	test_cleanup();
	test_errors();
	bufpool_destroy(bp);
	return tap_end();
}
