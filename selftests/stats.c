// SPDX-License-Identifier: GPL-2.0-only
/* STATS and the device's counters, after operations whose effect is known. */
#include "kselftest_harness.h"
#include "pool.h"

static const struct {
	const char *name;
	size_t offset;
	bool cumulative;
} counters[] = {
#define COUNTER(name, cumulative) \
	{ #name, offsetof(struct bufpool_stats, name), cumulative },
	POOL_COUNTERS(COUNTER)
};

#define NR_COUNTERS	ARRAY_SIZE(counters)

static uint64_t counter(const struct bufpool_stats *st, size_t i)
{
	uint64_t value;

	memcpy(&value, (const char *)st + counters[i].offset, sizeof(value));
	return value;
}

static void device_counters(uint64_t *value)
{
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++)
		value[i] = sysfs_value(counters[i].name);
}

TEST(of_a_new_pool)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	struct bufpool_stats st;
	struct pool p;
	size_t i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	st = pool_stats(&p);
	for (i = 0; i < NR_COUNTERS; i++) {
		if (strcmp(counters[i].name, "control_bytes")) {
			EXPECT_EQ(0, counter(&st, i)) {
				TH_LOG("%s", counters[i].name);
			}
		}
	}
	EXPECT_EQ(0, st.peak_attached_bytes);
	EXPECT_EQ(sizeof(st), st.size);
	EXPECT_EQ(0, st.flags);
	pool_destroy(&p);
}

TEST(of_known_operations)
{
	struct bufpool_config cfg = fixed_config(32 * MiB);
	uint64_t before[NR_COUNTERS], during[NR_COUNTERS], after[NR_COUNTERS];
	struct bufpool_stats st;
	int64_t a, b, c, d;
	struct pool p;
	size_t i;

	device_counters(before);
	ASSERT_EQ(0, pool_init(&p, &cfg));

	a = pool_alloc(&p, 64 * KiB, 0, NULL);		/* new */
	b = pool_alloc(&p, 1 * MiB, 0, NULL);		/* new */
	c = pool_alloc(&p, 9 * MiB, 0, NULL);		/* new, large */
	ASSERT_TRUE(a > 0 && b > 0 && c > 0);
	st = pool_stats(&p);
	EXPECT_EQ(3, st.allocs);
	EXPECT_EQ(0, st.reused);
	EXPECT_EQ(10 * MiB + 64 * KiB, st.attached_bytes);
	EXPECT_EQ(10 * MiB + 64 * KiB, st.attached_total_bytes);
	EXPECT_EQ(10 * MiB + 64 * KiB, st.peak_attached_bytes);
	EXPECT_EQ(0, st.retained_bytes);
	EXPECT_LT(0, st.control_bytes);

	ASSERT_EQ(0, pool_free(&p, a));
	ASSERT_EQ(0, pool_free(&p, c));
	st = pool_stats(&p);
	EXPECT_EQ(2, st.frees);
	EXPECT_EQ(0, st.freed_bytes);
	EXPECT_EQ(9 * MiB + 64 * KiB, st.retained_bytes);
	EXPECT_EQ(10 * MiB + 64 * KiB, st.attached_bytes);

	d = pool_alloc(&p, 60 * KiB, 0, NULL);		/* reuses a */
	EXPECT_EQ(a, d);
	c = pool_alloc(&p, 10 * MiB, 0, NULL);		/* grows c */
	ASSERT_LT(0, c);
	st = pool_stats(&p);
	EXPECT_EQ(5, st.allocs);
	EXPECT_EQ(1, st.grown);
	EXPECT_LE(1, st.reused);
	EXPECT_GE(2, st.reused);
	EXPECT_EQ(11 * MiB + 64 * KiB, st.attached_total_bytes);
	EXPECT_EQ(0, st.retained_bytes);

	/* What fails is no allocation and no free. */
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 32 * MiB, 0, NULL));
	EXPECT_EQ(-EFBIG, pool_alloc(&p, 33 * MiB, 0, NULL));
	EXPECT_EQ(-EINVAL, pool_alloc(&p, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, pool_free(&p, a + 1));
	st = pool_stats(&p);
	EXPECT_EQ(5, st.allocs);
	EXPECT_EQ(2, st.frees);
	EXPECT_EQ(2, st.limit_hits);

	ASSERT_EQ(0, pool_free(&p, b));
	EXPECT_EQ((int64_t)(1 * MiB), pool_release(&p));
	st = pool_stats(&p);
	EXPECT_EQ(3, st.frees);
	EXPECT_EQ(1 * MiB, st.released_bytes);
	EXPECT_EQ(10 * MiB + 64 * KiB, st.attached_bytes);
	EXPECT_EQ(11 * MiB + 64 * KiB, st.peak_attached_bytes);
	EXPECT_EQ(0, st.corruptions);

	/* The device's are the sum over its pools; here one is alone. */
	device_counters(during);
	for (i = 0; i < NR_COUNTERS; i++) {
		EXPECT_EQ(before[i] + counter(&st, i), during[i]) {
			TH_LOG("%s", counters[i].name);
		}
	}
	/* And keep what pools did that are no more, but not what they held. */
	pool_destroy(&p);
	device_counters(after);
	for (i = 0; i < NR_COUNTERS; i++) {
		EXPECT_EQ(counters[i].cumulative ? during[i] : before[i],
			  after[i]) {
			TH_LOG("%s", counters[i].name);
		}
	}
}

/* Everything that was attached went one way or is still there. */
TEST(add_up)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int64_t offset[64] = { 0 };
	struct bufpool_stats st;
	uint64_t seed = 7;
	struct pool p;
	int i, k;

	cfg.max_retained_bytes = 4 * MiB;
	cfg.percpu_cached = 2;
	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 2000; i++) {
		k = next_random(&seed) % ARRAY_SIZE(offset);
		if (offset[k] > 0) {
			ASSERT_EQ(0, pool_free(&p, offset[k]));
			offset[k] = 0;
		} else {
			offset[k] = pool_alloc(&p, 1 + next_random(&seed) % MiB,
					       0, NULL);
			if (offset[k] < 0) {
				ASSERT_EQ(-EDQUOT, offset[k]);
			}
		}
		if (i % 500 == 499) {
			ASSERT_LE(0, pool_release(&p));
		}
		if (i % 100 == 0) {
			st = pool_stats(&p);
			ASSERT_EQ(st.attached_total_bytes,
				  st.attached_bytes + st.freed_bytes +
				  st.released_bytes + st.trimmed_bytes +
				  st.shrunk_bytes + st.reclaimed_bytes);
			ASSERT_GE(16 * MiB, st.attached_bytes);
			ASSERT_LE(st.retained_bytes, st.attached_bytes);
			ASSERT_LE(st.attached_bytes, st.peak_attached_bytes);
		}
	}
	st = pool_stats(&p);
	EXPECT_EQ(0, st.corruptions);
	EXPECT_LE(st.reused, st.allocs);
	pool_destroy(&p);
}

TEST_HARNESS_MAIN
