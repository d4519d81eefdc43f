// SPDX-License-Identifier: GPL-2.0-only
/*
 * Weak buffers: kept while nobody needs the memory, taken after all that is idle,
 * longest weak first, and never given to anybody else behind their owner's back.
 *
 * checkpatch: PARENTHESIS_ALIGNMENT: in_child() is given statements
 */
#include "kselftest_harness.h"
#include "pool.h"

#define NR	6

FIXTURE(weak) {
	struct pool p;
	int64_t offset[NR];
};

FIXTURE_SETUP(weak)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int i;

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	for (i = 0; i < NR; i++) {
		self->offset[i] = pool_alloc(&self->p, 1 * MiB, 0, NULL);
		ASSERT_LE(0, self->offset[i]);
		stamp_range(self->p.base + self->offset[i], 1 * MiB, i);
	}
}

FIXTURE_TEARDOWN(weak)
{
	pool_destroy(&self->p);
}

static uint32_t state_of(const struct pool *p, int64_t offset, uint32_t state)
{
	return BUFPOOL_SLOT_STATE(state, (pool_slot(p, offset)->state >> 8) - 1);
}

/* As <linux/bufpool.h> says; false if the slot is not live. */
static bool weaken(const struct pool *p, int64_t offset)
{
	struct bufpool_slot *slot = pool_slot(p, offset);
	uint32_t live = state_of(p, offset, BUFPOOL_SLOT_LIVE);

	slot->depth = __atomic_add_fetch(&pool_depot(p)->weak_clock, 1,
					 __ATOMIC_RELAXED);
	__atomic_add_fetch(&pool_depot(p)->nr_weak, 1, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n(&slot->state, &live,
					   state_of(p, offset, BUFPOOL_SLOT_WEAK),
					   false, __ATOMIC_RELEASE,
					   __ATOMIC_RELAXED);
}

/* True if it is live again; false if it was taken, then it is freed. */
static bool strengthen(const struct pool *p, int64_t offset)
{
	struct bufpool_slot *slot = pool_slot(p, offset);
	uint32_t weak = state_of(p, offset, BUFPOOL_SLOT_WEAK);

	if (__atomic_compare_exchange_n(&slot->state, &weak,
					state_of(p, offset, BUFPOOL_SLOT_LIVE),
					false, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED)) {
		__atomic_sub_fetch(&pool_depot(p)->nr_weak, 1, __ATOMIC_RELAXED);
		return true;
	}
	if ((weak & 0xff) != BUFPOOL_SLOT_TAKEN || pool_free(p, offset))
		die("neither weak nor taken: state %#x", weak);
	return false;
}

static bool is_taken(const struct pool *p, int64_t offset)
{
	return (__atomic_load_n(&pool_slot(p, offset)->state, __ATOMIC_RELAXED) &
		0xff) == BUFPOOL_SLOT_TAKEN;
}

TEST_F(weak, untouched_without_need)
{
	int i;

	for (i = 0; i < NR; i++)
		ASSERT_TRUE(weaken(&self->p, self->offset[i]));
	/* Not idle: a release leaves it alone. */
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_EQ(0, pool_retained(&self->p));
	for (i = 0; i < NR; i++) {
		EXPECT_TRUE(strengthen(&self->p, self->offset[i]));
		EXPECT_TRUE(stamped(self->p.base + self->offset[i], 1 * MiB, i));
		EXPECT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
}

TEST_F(weak, taken_under_pressure)
{
	struct bufpool_stats st;
	int64_t again;
	int i;

	for (i = 1; i < NR; i++)
		ASSERT_TRUE(weaken(&self->p, self->offset[i]));
	do {
		shrink();
		for (i = 1; i < NR && is_taken(&self->p, self->offset[i]); i++)
			;
	} while (i < NR);
	pool_release(&self->p);

	st = pool_stats(&self->p);
	EXPECT_EQ((NR - 1) * MiB, st.shrunk_bytes);
	EXPECT_EQ(1 * MiB, st.attached_bytes);
	EXPECT_EQ(0, st.corruptions);
	EXPECT_TRUE(stamped(self->p.base + self->offset[0], 1 * MiB, 0));
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + self->offset[1]));

	/* Until its owner knows, a taken buffer's address is nobody else's. */
	again = pool_alloc(&self->p, 1 * MiB, 0, NULL);
	ASSERT_LE(0, again);
	for (i = 1; i < NR; i++) {
		EXPECT_NE(self->offset[i], again);
		EXPECT_FALSE(strengthen(&self->p, self->offset[i]));
		EXPECT_EQ(-EINVAL, pool_free(&self->p, self->offset[i]));
	}
	EXPECT_EQ(0, pool_free(&self->p, again));
	EXPECT_EQ(0, pool_free(&self->p, self->offset[0]));
	EXPECT_EQ(2 * MiB, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

/* A limit takes idle memory first, then what has been weak for longest. */
TEST_F(weak, idle_first_then_oldest)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int i;

	cfg.pool_limit_bytes = NR * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	ASSERT_EQ(0, pool_free(&self->p, self->offset[0]));
	for (i = 1; i < NR; i++)
		ASSERT_TRUE(weaken(&self->p, self->offset[i]));
	/* Number 1 was the first, but has been used since. */
	ASSERT_TRUE(strengthen(&self->p, self->offset[1]));
	ASSERT_TRUE(weaken(&self->p, self->offset[1]));

	EXPECT_LE(0, pool_alloc(&self->p, 512 * KiB, 0, NULL));
	for (i = 1; i < NR; i++)
		EXPECT_FALSE(is_taken(&self->p, self->offset[i]));
	EXPECT_LE(0, pool_alloc(&self->p, 2 * MiB, 0, NULL));
	EXPECT_TRUE(is_taken(&self->p, self->offset[2]));
	EXPECT_TRUE(is_taken(&self->p, self->offset[3]));
	EXPECT_FALSE(is_taken(&self->p, self->offset[4]));
	EXPECT_FALSE(is_taken(&self->p, self->offset[5]));
	EXPECT_FALSE(is_taken(&self->p, self->offset[1]));
	EXPECT_TRUE(strengthen(&self->p, self->offset[1]));
	EXPECT_TRUE(stamped(self->p.base + self->offset[1], 1 * MiB, 1));
}

/* One that is made weak while the kernel looks is ahead of the clock: the youngest. */
TEST_F(weak, ahead_of_the_clock)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int i;

	cfg.pool_limit_bytes = NR * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	for (i = 0; i < 4; i++)
		ASSERT_TRUE(weaken(&self->p, self->offset[i]));
	pool_slot(&self->p, self->offset[0])->depth =
		pool_depot(&self->p)->weak_clock + 2;

	EXPECT_LE(0, pool_alloc(&self->p, 2 * MiB, 0, NULL));
	EXPECT_FALSE(is_taken(&self->p, self->offset[0]));
	EXPECT_TRUE(is_taken(&self->p, self->offset[1]));
	EXPECT_TRUE(is_taken(&self->p, self->offset[2]));
	EXPECT_FALSE(is_taken(&self->p, self->offset[3]));
}

#define NR_OLD	128

/* The order holds where there are more than the kernel takes in one go. */
TEST(old_before_young)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int64_t offset[4 * NR_OLD];
	struct pool p;
	int i;

	cfg.pool_limit_bytes = ARRAY_SIZE(offset) * 16 * KiB;
	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 4 * NR_OLD; i++) {
		offset[i] = pool_alloc(&p, 16 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	/* The old ones are every fourth, and many times as old as any other. */
	for (i = 0; i < 4 * NR_OLD; i += 4)
		ASSERT_TRUE(weaken(&p, offset[i]));
	pool_depot(&p)->weak_clock += 8 * NR_OLD;
	for (i = 0; i < 4 * NR_OLD; i++)
		if (i % 4)
			ASSERT_TRUE(weaken(&p, offset[i]));

	EXPECT_LE(0, pool_alloc(&p, NR_OLD * 16 * KiB, 0, NULL));
	EXPECT_EQ(NR_OLD * 16 * KiB, pool_stats(&p).reclaimed_bytes);
	for (i = 0; i < 4 * NR_OLD; i++) {
		EXPECT_EQ(i % 4 == 0, is_taken(&p, offset[i])) {
			TH_LOG("number %d", i);
		}
	}
	pool_destroy(&p);
}

/* Idle buffers that are smaller than their class are enough if they are many. */
TEST(idle_of_exact_sizes_first)
{
	const uint64_t exact = 8 * MiB + page_size();
	struct bufpool_config cfg = fixed_config(8 * MiB + 5 * exact);
	int64_t offset[5], weak;
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	weak = pool_alloc(&p, 8 * MiB, 0, NULL);
	ASSERT_LE(0, weak);
	ASSERT_TRUE(weaken(&p, weak));
	for (i = 0; i < 5; i++) {
		offset[i] = pool_alloc(&p, exact, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, pool_free(&p, offset[i]));
	ASSERT_EQ(5 * exact, pool_retained(&p));

	EXPECT_LE(0, pool_alloc(&p, 40 * MiB, 0, NULL));
	EXPECT_FALSE(is_taken(&p, weak));
	EXPECT_EQ(5 * exact, pool_stats(&p).reclaimed_bytes);
	pool_destroy(&p);
}

TEST_F(weak, free_wants_a_live_one)
{
	ASSERT_TRUE(weaken(&self->p, self->offset[0]));
	EXPECT_EQ(-EINVAL, pool_free(&self->p, self->offset[0]));
	EXPECT_FALSE(weaken(&self->p, self->offset[0]));
	EXPECT_TRUE(strengthen(&self->p, self->offset[0]));
	EXPECT_EQ(0, pool_free(&self->p, self->offset[0]));
}

/* The process ends with taken, weak and live buffers. */
TEST_F(weak, exit_with_all_kinds)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	uint64_t before = device_attached();
	int64_t offset[4];
	struct pool p;
	int status;
	size_t i;

	in_child(status,
		check(!pool_init(&p, &cfg));
		for (i = 0; i < ARRAY_SIZE(offset); i++) {
			offset[i] = pool_alloc(&p, 1 * MiB, 0, NULL);
			check(offset[i] >= 0);
		}
		check(weaken(&p, offset[0]));
		while (!is_taken(&p, offset[0]))
			shrink();
		check(weaken(&p, offset[1]));
		check(!pool_free(&p, offset[2])));
	EXPECT_EQ(0, status);
	EXPECT_EQ(before, device_attached());
}

/* --- all at once --- */

#define NR_THREADS	4
#define NR_CACHED	8

struct storm {
	struct pool p;
	volatile bool stop;
	volatile int failures;
	uint64_t hits, misses;
};

/* A cache of its own: entries are weak, a hit is intact, a miss is made anew. */
static void *cache_thread(void *arg)
{
	struct storm *storm = arg;
	uint64_t seed = (uintptr_t)&seed | 1;
	int64_t offset[NR_CACHED];
	bool there[NR_CACHED] = {};
	unsigned char *buf;
	size_t i;

	while (!storm->stop && !storm->failures) {
		i = next_random(&seed) % NR_CACHED;
		if (there[i] && strengthen(&storm->p, offset[i])) {
			__atomic_add_fetch(&storm->hits, 1, __ATOMIC_RELAXED);
			if (!stamped(storm->p.base + offset[i], 64 * KiB,
				     offset[i] + i))
				storm->failures++;
			if (next_random(&seed) % 4 == 0) {
				there[i] = false;
				if (pool_free(&storm->p, offset[i]))
					storm->failures++;
				continue;
			}
		} else {
			__atomic_add_fetch(&storm->misses, 1, __ATOMIC_RELAXED);
			offset[i] = pool_alloc(&storm->p, 64 * KiB, 0, NULL);
			if (offset[i] < 0) {
				storm->failures++;
				break;
			}
			buf = storm->p.base + offset[i];
			stamp_range(buf, 64 * KiB, offset[i] + i);
		}
		there[i] = weaken(&storm->p, offset[i]);
		if (!there[i])
			storm->failures++;
	}
	return NULL;
}

TEST(storm)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	pthread_t thread[NR_THREADS];
	struct storm storm = {};
	struct bufpool_stats st;
	int i;

	ASSERT_EQ(0, pool_init(&storm.p, &cfg));
	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, cache_thread,
					    &storm));
	do {
		shrink();
		if (pool_release(&storm.p) < 0)
			storm.failures++;
		st = pool_stats(&storm.p);
	} while (!storm.failures &&
		 (st.shrunk_bytes < 4 * MiB ||
		  __atomic_load_n(&storm.hits, __ATOMIC_RELAXED) < 1000));
	storm.stop = true;
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, storm.failures);
	EXPECT_EQ(0, pool_stats(&storm.p).corruptions);
	pool_destroy(&storm.p);
	EXPECT_EQ(0, device_attached());
}

TEST_HARNESS_MAIN
