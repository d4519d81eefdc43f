// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Where a buffer goes when it is freed and where the next one comes from: this
 * CPU's stack, the depot, other CPUs' stacks, and only then the kernel.
 */
#include <errno.h>
#include <string.h>

#include "memory.h"
#include "stack.h"
#include "tap.h"

#define MANY	100

static size_t page;

static bool all_zero(const char *buf, size_t bytes)
{
	return buf[0] == 0 && !memcmp(buf, buf + 1, bytes - 1);
}

static void test_lifo(void)
{
	struct bufpool *bp = memory_pool(NULL);
	void *a, *b;

	memory_pin(bp);
	a = bufpool_alloc(bp, 5 * page, 0);
	b = bufpool_alloc(bp, 5 * page, 0);
	check(a && b && a != b, "two buffers are two");
	bufpool_free(bp, a);
	bufpool_free(bp, b);
	check(bufpool_alloc(bp, 5 * page, 0) == b, "the last one freed is next");
	check(bufpool_alloc(bp, 4 * page + 1, 0) == a,
	      "then the one before, for any size of the class");
	check(memory_counts(bp).allocs == 2 && memory_counts(bp).frees == 0,
	      "reuse asks the backend for nothing");
	bufpool_destroy(bp);
}

static void test_burst(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;
	void *bufs[MANY];
	uint32_t cpu, i;

	t.percpu_cap = 10;
	bp = memory_pool(&t);
	cpu = memory_pin(bp);
	for (i = 0; i < MANY; i++)
		bufs[i] = bufpool_alloc(bp, 3 * page, 0);
	for (i = 0; i < MANY; i++)
		bufpool_free(bp, bufs[i]);

	check(stack_depth(bp, bp->stacks[cpu].head[2]) == 10,
	      "this CPU's stack fills up to its cap");
	check(stack_depth(bp, pool_depot(bp)->head[2]) == MANY - 10,
	      "the depot's takes the rest");
	check(pool_depot(bp)->idle_pages == 3 * (MANY - 10),
	      "which counts its pages");

	for (i = 0; i < MANY; i++)
		bufs[i] = bufpool_alloc(bp, 3 * page, 0);
	check(memory_counts(bp).allocs == MANY && memory_counts(bp).frees == 0,
	      "all are reused without the backend");
	check(pool_depot(bp)->idle_pages == 0, "and the depot counts none");
	bufpool_destroy(bp);
}

static void test_other_cpus(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;
	uint32_t here, cpu;
	bool all = true;
	void *buf;

	t.nr_cpus = 64;
	bp = memory_pool(&t);
	here = memory_pin(bp);
	buf = bufpool_alloc(bp, 2 * page, 0);
	for (cpu = 0; cpu < t.nr_cpus; cpu++) {
		uint32_t index = (uint32_t)(memory_slot(bp, buf) - bp->slots);

		if (cpu == here)
			continue;
		require(stack_push(bp, &bp->stacks[cpu].head[1], index, 1, 16));
		all = all && bufpool_alloc(bp, 2 * page, 0) == buf;
	}
	check(all && memory_counts(bp).allocs == 1,
	      "a buffer is found on the stack of any other CPU");
	bufpool_destroy(bp);
}

static void test_large(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;
	void *a, *b;

	t.large_threshold_pages = 16;
	bp = memory_pool(&t);
	memory_pin(bp);

	a = bufpool_alloc(bp, 33 * page, 0);
	b = bufpool_alloc(bp, 38 * page, 0);
	require(a && b);
	check(bufpool_usable_size(bp, a) == 33 * page,
	      "a large buffer has exactly the pages asked for");
	bufpool_free(bp, a);
	check(stack_depth(bp, pool_depot(bp)->head[bufpool_class(33)]) == 1,
	      "and goes to the depot");
	check(bufpool_alloc(bp, 33 * page, 0) == a, "the same size reuses it");
	bufpool_free(bp, a);

	bufpool_free(bp, b);

	/* The 38 are on top of the 33. */
	check(bufpool_alloc(bp, 33 * page, 0) == b &&
	      memory_counts(bp).allocs == 2,
	      "what is on top and fits is taken, if not the best");
	check(bufpool_usable_size(bp, b) == 38 * page, "as it is");
	check(pool_depot(bp)->idle_pages == 33, "the other one stays");
	check(bufpool_alloc(bp, 36 * page, 0) == a &&
	      memory_counts(bp).grown == 1 &&
	      bufpool_usable_size(bp, a) == 36 * page,
	      "one that is too small: the backend makes it bigger");
	check(pool_depot(bp)->idle_pages == 0, "the depot is empty again");
	bufpool_destroy(bp);
}

/* One large buffer stays on the CPU. */
static void test_large_on_cpu(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;
	void *a, *b;

	t.large_threshold_pages = 16;
	t.large_percpu_cap = 1;
	bp = memory_pool(&t);
	memory_pin(bp);

	a = bufpool_alloc(bp, 33 * page, 0);
	b = bufpool_alloc(bp, 38 * page, 0);
	require(a && b);
	bufpool_free(bp, b);
	check(pool_depot(bp)->idle_pages == 0, "a CPU keeps a large buffer");
	bufpool_free(bp, a);
	check(pool_depot(bp)->idle_pages == 33, "and only one");
	check(bufpool_alloc(bp, 36 * page, 0) == b, "it serves what it is big enough for");
	check(bufpool_alloc(bp, 33 * page, 0) == a, "then the depot does");

	bufpool_free(bp, a);
	bufpool_free(bp, b);
	check(bufpool_alloc(bp, 38 * page, 0) == b &&
	      pool_depot(bp)->idle_pages == 33,
	      "one that is too small is exchanged for one of the depot");
	check(memory_counts(bp).allocs == 2, "all that without the backend");

	/* Nothing but the 33. */
	check(bufpool_alloc(bp, 37 * page, 0) == a &&
	      memory_counts(bp).grown == 1, "or the backend makes it bigger");
	bufpool_free(bp, a);
	bufpool_free(bp, b);
	check(bufpool_release_retained(bp) == (int64_t)((37 + 38) * page),
	      "all of it can be given back");
	bufpool_destroy(bp);
}

/* The threshold rises over a buffer's class while the buffer is live. */
static void test_threshold_change(void)
{
	struct memory_tuning t = memory_defaults;
	unsigned int flags;
	struct bufpool *bp;
	void *a, *b;

	for (flags = 0; flags <= BUFPOOL_ZERO; flags++) {
		t.large_threshold_pages = 16;
		bp = memory_pool(&t);
		memory_pin(bp);
		a = bufpool_alloc(bp, 33 * page, 0);
		t.large_threshold_pages = 64;
		memory_tune(bp, &t);
		bufpool_free(bp, a);

		b = bufpool_alloc(bp, 34 * page, flags);
		check(b && bufpool_usable_size(bp, b) == 40 * page,
		      "%s: a kept buffer that is too small is not handed out",
		      flags ? "zeroed" : "as is");
		check(b == a && memory_counts(bp).grown == 1 &&
		      memory_counts(bp).attached_pages == 40,
		      "%s: but made bigger, to the class's size",
		      flags ? "zeroed" : "as is");
		bufpool_destroy(bp);
	}
}

static void test_zero(void)
{
	struct bufpool *bp = memory_pool(NULL);
	size_t bytes;
	char *buf;

	memory_pin(bp);
	buf = bufpool_alloc(bp, 9 * page, 0);
	bytes = bufpool_usable_size(bp, buf);
	check(bytes == 10 * page, "a buffer of 9 pages holds 10");
	memset(buf, 0x5a, bytes);
	bufpool_free(bp, buf);
	require(bufpool_alloc(bp, 9 * page, 0) == buf);
	check(buf[0] == 0x5a && !memcmp(buf, buf + 1, bytes - 1),
	      "a reused buffer holds what was left in it");
	bufpool_free(bp, buf);
	require(bufpool_alloc(bp, 9 * page, BUFPOOL_ZERO) == buf);
	check(all_zero(buf, bytes), "BUFPOOL_ZERO: all usable bytes are zero");
	check(memory_counts(bp).allocs == 1, "and it is reused nonetheless");
	bufpool_destroy(bp);
}

static void test_errors(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;
	void *buf;

	t.limit_pages = 8;
	bp = memory_pool(&t);
	memory_pin(bp);
	store_relaxed(&bp->control->alloc_limit_bytes, 8 * page - 10);

	errno = 0;
	check(!bufpool_alloc(bp, 0, 0) && errno == EINVAL, "size 0: EINVAL");
	errno = 0;
	check(!bufpool_alloc(bp, page, 2) && errno == EINVAL,
	      "unknown flag: EINVAL");
	errno = 0;
	check(!bufpool_alloc(bp, SIZE_MAX, 3) && errno == EINVAL,
	      "unknown flag beside a known one and any size: EINVAL");
	errno = 0;
	check(!bufpool_alloc(bp, 8 * page - 9, 0) && errno == EFBIG,
	      "one byte over the allocation limit: EFBIG");
	errno = 0;
	check(!bufpool_alloc(bp, SIZE_MAX, 0) && errno == EFBIG,
	      "the largest size: EFBIG");
	errno = 0;
	check(!bufpool_alloc(bp, SIZE_MAX, BUFPOOL_ZERO) && errno == EFBIG,
	      "the largest size, zeroed: EFBIG");
	check(memory_counts(bp).limit_hits == 0, "no request for any of these");

	errno = 0;
	buf = bufpool_alloc(bp, 8 * page - 10, 0);
	check(buf && errno == 0, "exactly the limit: a buffer, errno untouched");
	check(!bufpool_alloc(bp, 1, 0) && errno == EDQUOT,
	      "what the backend refuses: its errno");
	errno = 0;
	bufpool_free(bp, buf);
	check(bufpool_alloc(bp, 8 * page - 10, 0) == buf && errno == 0,
	      "free and reuse: errno untouched");
	bufpool_free(bp, buf);
	check(!bufpool_alloc(bp, 8 * page - 9, 0) && errno == EFBIG,
	      "one byte over the limit, though an idle buffer would do: EFBIG");
	require(bufpool_alloc(bp, 8 * page - 10, 0) == buf);

	store_relaxed(&bp->control->alloc_limit_bytes, UINT64_MAX);
	errno = 0;
	check(!bufpool_alloc(bp, page * 8 + 1, 0) && errno == EDQUOT,
	      "a class the pool has not: asks the backend");
	bufpool_free(bp, NULL);
	check(bufpool_usable_size(bp, NULL) == 0, "NULL: no-op, 0 usable bytes");
	bufpool_destroy(bp);
	bufpool_destroy(NULL);
}

int main(void)
{
	struct bufpool *bp = memory_pool(NULL);

	page = (size_t)1 << bp->page_shift;
	check(!strcmp(bufpool_backend(bp), "anonymous"), "the backend's name");
	bufpool_destroy(bp);

	test_lifo();
	test_burst();
	test_other_cpus();
	test_large();
	test_large_on_cpu();
	test_threshold_change();
	test_zero();
	test_errors();
	return tap_end();
}
