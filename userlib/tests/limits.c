// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What is kept and what goes back to the kernel at once.
 */
#include "memory.h"
#include "stack.h"
#include "tap.h"

#define MANY	200

static size_t page;
static void *bufs[MANY];

static void alloc_all(struct bufpool *bp, size_t size, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		bufs[i] = bufpool_alloc(bp, size, 0);
		require(bufs[i]);
	}
}

static void free_all(struct bufpool *bp, int n)
{
	int i;

	for (i = 0; i < n; i++)
		bufpool_free(bp, bufs[i]);
}

static void test_max_pooled(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;

	t.large_threshold_pages = 16;
	t.max_pooled_pages = 38;
	bp = memory_pool(&t);
	alloc_all(bp, 38 * page, 1);
	free_all(bp, 1);
	check(memory_counts(bp).frees == 0, "max_pooled: this much is kept");
	alloc_all(bp, 39 * page, 1);
	free_all(bp, 1);
	check(memory_counts(bp).frees == 1, "max_pooled: a page more is not");
	bufpool_destroy(bp);
}

static void test_depot_cap(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;

	t.large_threshold_pages = 16;
	t.depot_cap = 6;
	bp = memory_pool(&t);
	alloc_all(bp, 20 * page, 10);
	free_all(bp, 10);
	check(memory_counts(bp).frees == 4 && memory_idle_pages(bp) == 6 * 20,
	      "large_cached: six of ten large buffers are kept");
	bufpool_destroy(bp);

	t.percpu_cap = 0;
	t.depot_cap = 0;
	bp = memory_pool(&t);
	alloc_all(bp, page, 1);
	free_all(bp, 1);
	alloc_all(bp, 20 * page, 1);
	free_all(bp, 1);
	check(memory_counts(bp).frees == 2, "all caps 0: none is kept");
	bufpool_destroy(bp);
}

static void test_max_retained(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;

	t.percpu_cap = 10;
	t.max_retained_pages = 100;
	bp = memory_pool(&t);
	memory_pin(bp);
	alloc_all(bp, page, MANY);
	free_all(bp, MANY);
	/*
	 * The 64th push to the depot counts the CPU's 10 pages.  Up to then they
	 * are not known of, and there is room for them.
	 */
	check(memory_idle_pages(bp) == 100,
	      "max_retained: exactly as much is kept");
	check(memory_counts(bp).frees == MANY - 100,
	      "max_retained: the rest goes back");
	check(pool_depot(bp)->idle_pages == 90 &&
	      pool_depot(bp)->cpu_pages == 10,
	      "the depot counts its own and the CPUs' pages");

	/* The CPU's stack is emptied, which the estimate does not know. */
	alloc_all(bp, page, 10);
	require(pool_depot(bp)->cpu_pages == 10);
	alloc_all(bp, 2 * page, 15);
	free_all(bp, 15);
	check(memory_idle_pages(bp) == 90 + 20 && pool_depot(bp)->cpu_pages == 20,
	      "at the limit the CPUs' pages are counted afresh");
	check(memory_counts(bp).frees == MANY - 100 + 5,
	      "and then the limit holds for what comes to the depot");
	bufpool_destroy(bp);

	t.max_retained_pages = 0;
	t.percpu_cap = 0;
	bp = memory_pool(&t);
	alloc_all(bp, page, 1);
	free_all(bp, 1);
	check(memory_counts(bp).frees == 1, "max_retained 0: none is kept");
	bufpool_destroy(bp);
}

/* A count that is too high must not cause a release. */
static void test_stale_estimate(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;

	t.percpu_cap = 0;
	bp = memory_pool(&t);
	alloc_all(bp, page, 1);
	pool_depot(bp)->cpu_pages = 1 << 30;
	free_all(bp, 1);
	check(memory_counts(bp).frees == 0 && pool_depot(bp)->cpu_pages == 0,
	      "a stale estimate is refreshed before memory goes back");

	alloc_all(bp, page, 1);
	pool_depot(bp)->idle_pages = -5;
	free_all(bp, 1);
	check(memory_counts(bp).frees == 0 && pool_depot(bp)->idle_pages == -4,
	      "idle_pages may be negative for a moment");
	bufpool_destroy(bp);
}

/*
 * The slot on top of a CPU's stack leaves it while its depth is read: it is 0 if the
 * slot is detached, and a time if it is weak.
 */
static void test_stale_depth(void)
{
	struct memory_tuning t = memory_defaults;
	uint32_t depths[] = { 0, 5000, UINT32_MAX };
	struct bufpool *bp;
	uint32_t other, i;

	t.nr_cpus = 64;
	t.percpu_cap = 4;
	t.max_retained_pages = 100;
	for (i = 0; i < ARRAY_SIZE(depths); i++) {
		bp = memory_pool(&t);
		other = memory_pin(bp) ? 0 : 1;
		alloc_all(bp, 2 * page, 6);
		require(stack_push(bp, &bp->stacks[other].head[1],
				   slot_index(bp, bufs[5]), 1, 16));
		memory_slot(bp, bufs[5])->depth = depths[i];
		/* The fifth goes to the depot, and the CPUs' pages are counted. */
		pool_depot(bp)->cpu_pages = 1 << 30;
		free_all(bp, 5);
		check(memory_counts(bp).frees == 0 &&
		      pool_depot(bp)->cpu_pages >= 8 + 2 &&
		      pool_depot(bp)->cpu_pages <= 8 + 8,
		      "a depth of %u counts for no more than the CPU's cap",
		      depths[i]);
		bufpool_destroy(bp);
	}
}

/* Pushes and pops of the depot alternate; some push must refresh the count. */
static void test_periodic_count(void)
{
	struct memory_tuning t = memory_defaults;
	struct bufpool *bp;
	int i;

	t.percpu_cap = 0;
	bp = memory_pool(&t);
	pool_depot(bp)->cpu_pages = 7;
	for (i = 0; i < 64; i++) {
		alloc_all(bp, page, 1);
		free_all(bp, 1);
	}
	check(pool_depot(bp)->cpu_pages == 0,
	      "64 pushes to the depot refresh the estimate");
	bufpool_destroy(bp);
}

static void test_release(void)
{
	struct bufpool *bp = memory_pool(NULL);
	void *live;

	memory_pin(bp);
	live = bufpool_alloc(bp, 3 * page, 0);
	alloc_all(bp, 3 * page, 40);
	free_all(bp, 40);
	check(bufpool_release_retained(bp) == (int64_t)(120 * page),
	      "release_retained gives all idle bytes back");
	check(memory_counts(bp).attached_pages == 3, "live buffers stay");
	*(char *)live = 1;
	bufpool_free(bp, live);
	check(bufpool_alloc(bp, 3 * page, 0) == live,
	      "and can be freed and reused");
	check(bufpool_release_retained(bp) == 0, "nothing idle: 0 bytes");
	bufpool_destroy(bp);
}

int main(void)
{
	struct bufpool *bp = memory_pool(NULL);

	page = (size_t)1 << bp->page_shift;
	bufpool_destroy(bp);

	test_max_pooled();
	test_depot_cap();
	test_max_retained();
	test_stale_estimate();
	test_stale_depth();
	test_periodic_count();
	test_release();
	return tap_end();
}
