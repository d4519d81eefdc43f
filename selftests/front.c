// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fronts, as the kernel sees them: what the process has put there is idle memory like
 * that on the stacks, wherever the CPU, whatever it says.  Here it is put there by a
 * plain store, as nobody else uses the pool.
 */
#include "kselftest_harness.h"
#include "pool.h"

#define SIZE	(64 * KiB)
#define LARGE	(16 * MiB)

FIXTURE(front) {
	struct pool p;
	struct bufpool_config cfg;
	long nr_cpus;
};

FIXTURE_SETUP(front)
{
	self->nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	self->cfg = fixed_config(128 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
	ASSERT_EQ(0, pin_to_cpu(0));
}

FIXTURE_TEARDOWN(front)
{
	pool_destroy(&self->p);
}

static __u32 *front_of(const struct pool *p, uint32_t cpu, uint64_t size)
{
	return &pool_stacks(p, cpu)->front[class_of(size)];
}

static bool has_fronts(const struct pool *p, uint64_t size)
{
	return pool_control(p)->classes[class_of(size)].flags &
	       BUFPOOL_CLASS_FRONT;
}

/* Make a live buffer idle, in a CPU's front. */
static void put_there(const struct pool *p, uint32_t cpu, uint64_t size,
		      int64_t offset)
{
	pool_slot(p, offset)->state =
		BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class_of(size));
	*front_of(p, cpu, size) = pool_page(p, offset) + 1;
}

/* The same with a new one. */
static int64_t put(const struct pool *p, uint32_t cpu, uint64_t size)
{
	int64_t offset = pool_alloc(p, size, 0, NULL);

	if (offset < 0)
		die("alloc: %s", strerror(-offset));
	put_there(p, cpu, size, offset);
	return offset;
}

TEST_F(front, counts_as_idle)
{
	put(&self->p, 0, SIZE);
	put(&self->p, self->nr_cpus - 1, LARGE);
	EXPECT_EQ(SIZE + LARGE, pool_retained(&self->p));
	EXPECT_EQ(SIZE + LARGE, pool_attached(&self->p));
}

TEST_F(front, is_released)
{
	int64_t offset[64];
	long cpu;

	ASSERT_GE(64, self->nr_cpus);
	for (cpu = 0; cpu < self->nr_cpus; cpu++)
		offset[cpu] = pool_alloc(&self->p, SIZE, 0, NULL);
	for (cpu = 0; cpu < self->nr_cpus; cpu++)
		put_there(&self->p, cpu, SIZE, offset[cpu]);
	EXPECT_EQ((int64_t)(self->nr_cpus * SIZE), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	for (cpu = 0; cpu < self->nr_cpus; cpu++)
		EXPECT_EQ(0, *front_of(&self->p, cpu, SIZE));
	EXPECT_TRUE(has_fronts(&self->p, SIZE));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

TEST_F(front, is_trimmed)
{
	put(&self->p, self->nr_cpus - 1, SIZE);
	self->cfg.trim_period_ms = 10;
	self->cfg.trim_percent = 100;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	while (pool_attached(&self->p))
		sched_yield();
	EXPECT_EQ(SIZE, pool_stats(&self->p).trimmed_bytes);
}

TEST_F(front, is_shrunk)
{
	put(&self->p, self->nr_cpus - 1, SIZE);
	do {
		shrink();
	} while (pool_retained(&self->p));
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_EQ(SIZE, pool_stats(&self->p).shrunk_bytes);
	EXPECT_EQ(0, pool_attached(&self->p));
}

/* At the limit, what is in another CPU's front makes room for another class. */
TEST_F(front, makes_room)
{
	put(&self->p, self->nr_cpus - 1, LARGE);
	EXPECT_LE(0, pool_alloc(&self->p, 128 * MiB, 0, NULL));
	EXPECT_EQ(LARGE, pool_stats(&self->p).reclaimed_bytes);
}

/* An allocation has what is there before it attaches anything. */
TEST_F(front, is_used_by_others)
{
	const uint64_t sizes[] = { SIZE, LARGE };
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = put(&self->p, self->nr_cpus - 1, sizes[i]);
		EXPECT_EQ(offset, pool_alloc(&self->p, sizes[i], 0, NULL));
		EXPECT_EQ(0, *front_of(&self->p, self->nr_cpus - 1, sizes[i]));
		EXPECT_EQ(BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, class_of(sizes[i])),
			  pool_slot(&self->p, offset)->state);
		ASSERT_EQ(0, pool_free(&self->p, offset));
	}
	EXPECT_EQ(SIZE + LARGE, pool_stats(&self->p).attached_total_bytes);
}

/* A class whose buffers go from CPU to CPU does without fronts, until the next trim. */
TEST_F(front, is_given_up_when_others_want_it)
{
	int64_t offset;
	int nr = 0;

	if (self->nr_cpus < 2)
		SKIP(return, "one CPU");
	while (has_fronts(&self->p, SIZE)) {
		ASSERT_GT(1000, nr++);
		offset = put(&self->p, 1, SIZE);
		ASSERT_EQ(offset, pool_alloc(&self->p, SIZE, 0, NULL));
	}
	EXPECT_TRUE(has_fronts(&self->p, 2 * SIZE));
	/* What is set anew is the configuration, and not this. */
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	EXPECT_FALSE(has_fronts(&self->p, SIZE));

	self->cfg.trim_period_ms = 10;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	while (!has_fronts(&self->p, SIZE))
		sched_yield();
}

/* The CPU's own is no reason. */
TEST_F(front, is_not_given_up_for_its_own_cpu)
{
	int64_t offset;
	int i;

	for (i = 0; i < 1000; i++) {
		offset = put(&self->p, 0, SIZE);
		ASSERT_EQ(offset, pool_alloc(&self->p, SIZE, 0, NULL));
	}
	EXPECT_TRUE(has_fronts(&self->p, SIZE));
}

/* percpu_cached holds for front and stack together. */
TEST_F(front, counts_against_the_cap)
{
	int64_t offset[3];
	int i;

	self->cfg.percpu_cached = 2;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	for (i = 0; i < 3; i++)
		offset[i] = pool_alloc(&self->p, SIZE, 0, NULL);
	put(&self->p, 0, SIZE);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	EXPECT_EQ(pool_page(&self->p, offset[0]) + 1,
		  BUFPOOL_LINK(pool_stacks(&self->p, 0)->head[class_of(SIZE)]));
	EXPECT_EQ(2 * SIZE / page_size(), pool_depot(&self->p)->idle_pages);
}

TEST_F(front, none_where_nothing_is_kept)
{
	self->cfg.percpu_cached = 0;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	EXPECT_FALSE(has_fronts(&self->p, SIZE));
	self->cfg.percpu_cached = 1;
	self->cfg.max_pooled_bytes = SIZE;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	EXPECT_TRUE(has_fronts(&self->p, SIZE));
	EXPECT_FALSE(has_fronts(&self->p, 2 * SIZE));
}

/* Nonsense is found and counted, and a live buffer left alone. */
TEST_F(front, may_say_anything)
{
	int64_t live = pool_alloc(&self->p, SIZE, 0, NULL);
	uint32_t nr_pages = pool_control(&self->p)->nr_pages;
	const uint32_t links[] = {
		~0U, nr_pages, nr_pages + 1, nr_pages - 1, 1,
		pool_page(&self->p, live) + 1, pool_page(&self->p, live) + 2,
		pool_page(&self->p, live) + SIZE / page_size() + 1,
	};
	uint64_t found;
	size_t i;

	ASSERT_LE(0, live);
	stamp_range(self->p.base + live, SIZE, 5);
	for (i = 0; i < ARRAY_SIZE(links); i++) {
		found = pool_stats(&self->p).corruptions;
		*front_of(&self->p, i % self->nr_cpus, SIZE) = links[i];
		/* Of another class, too. */
		*front_of(&self->p, i % self->nr_cpus, 8 * SIZE) = links[i];
		EXPECT_EQ(0, pool_release(&self->p));
		EXPECT_EQ(found + 2, pool_stats(&self->p).corruptions) {
			TH_LOG("link %u", links[i]);
		}
	}
	EXPECT_TRUE(stamped(self->p.base + live, SIZE, 5));
	EXPECT_EQ(0, pool_free(&self->p, live));
	EXPECT_EQ((int64_t)SIZE, pool_release(&self->p));
}

/* One slot in all fronts, and on stacks as well, is given back once. */
TEST_F(front, a_slot_in_many_places)
{
	int64_t offset = put(&self->p, 0, SIZE);
	uint32_t link = *front_of(&self->p, 0, SIZE);
	long cpu;

	for (cpu = 0; cpu < self->nr_cpus; cpu++) {
		*front_of(&self->p, cpu, SIZE) = link;
		pool_stacks(&self->p, cpu)->head[class_of(SIZE)] =
			BUFPOOL_HEAD(1, link);
	}
	EXPECT_EQ((int64_t)SIZE, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(-EINVAL, pool_free(&self->p, offset));
	EXPECT_LT(0, pool_stats(&self->p).corruptions);
}

TEST_HARNESS_MAIN
