// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reused memory is unclean and of this pool; new memory is zero, whoever had it
 * before.
 */
#include "kselftest_harness.h"
#include "pool.h"

static const uint64_t sizes[] = {
	4 * KiB, 12 * KiB, 64 * KiB, 100000, 1 * MiB, 3 * MiB, 9 * MiB + 5,
};

FIXTURE(reuse) {
	struct pool p;
};

FIXTURE_SETUP(reuse)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(reuse)
{
	pool_destroy(&self->p);
}

TEST_F(reuse, same_buffer_same_contents)
{
	uint64_t usable, total;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		stamp_range(self->p.base + offset, usable, i);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		total = pool_stats(&self->p).attached_total_bytes;
		/* While it is idle its memory is still there. */
		EXPECT_TRUE(stamped(self->p.base + offset, usable, i));
		EXPECT_EQ(offset, pool_alloc(&self->p, sizes[i], 0, &usable));
		EXPECT_TRUE(stamped(self->p.base + offset, usable, i));
		EXPECT_EQ(total, pool_stats(&self->p).attached_total_bytes);
		EXPECT_EQ(i + 1, pool_stats(&self->p).reused);
	}
}

TEST_F(reuse, zeroed_if_asked_for)
{
	uint64_t usable, again;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], BUFPOOL_ZERO, &usable);
		ASSERT_LE(0, offset);
		EXPECT_TRUE(all_zero(self->p.base + offset, usable));
		memset(self->p.base + offset, 0xa5, usable);
		ASSERT_EQ(0, pool_free(&self->p, offset));

		EXPECT_EQ(offset, pool_alloc(&self->p, sizes[i], BUFPOOL_ZERO,
					     &again));
		EXPECT_EQ(usable, again);
		EXPECT_TRUE(all_zero(self->p.base + offset, again));
	}
}

/* Zeroing one buffer must not reach into its neighbours. */
TEST_F(reuse, zeroing_stays_inside)
{
	uint64_t usable;
	int64_t offset[5];
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(sizes) - 1; i++) {
		for (k = 0; k < 5; k++) {
			offset[k] = pool_alloc(&self->p, sizes[i], 0, &usable);
			ASSERT_LE(0, offset[k]);
			memset(self->p.base + offset[k], 0xff, usable);
			stamp_range(self->p.base + offset[k], usable, k);
		}
		ASSERT_EQ(0, pool_free(&self->p, offset[2]));
		ASSERT_EQ(offset[2], pool_alloc(&self->p, sizes[i],
						BUFPOOL_ZERO, &usable));
		for (k = 0; k < 5; k++) {
			if (k == 2)
				continue;
			EXPECT_TRUE(stamped(self->p.base + offset[k], usable,
					    k));
			EXPECT_EQ(0xff, self->p.base[offset[k] + usable - 1]);
		}
		for (k = 0; k < 5; k++) {
			ASSERT_EQ(0, pool_free(&self->p, offset[k]));
		}
		ASSERT_LE(0, pool_release(&self->p));
	}
}

/* After a release the same address has other, zeroed memory. */
TEST_F(reuse, nothing_survives_a_release)
{
	uint64_t usable;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		memset(self->p.base + offset, 0xff, usable);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		ASSERT_EQ((int64_t)usable, pool_release(&self->p));
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		EXPECT_TRUE(all_zero(self->p.base + offset, usable));
	}
}

/* LIFO: the buffer freed last, still warm, is the first to go out again. */
TEST_F(reuse, last_freed_first)
{
	int64_t offset[8];
	int i;

	ASSERT_EQ(0, pin_to_cpu(0));
	for (i = 0; i < 8; i++) {
		offset[i] = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	for (i = 7; i >= 0; i--) {
		EXPECT_EQ(offset[i], pool_alloc(&self->p, 64 * KiB, 0, NULL));
	}
}

/* A buffer left idle by another CPU is better than a new one. */
TEST_F(reuse, from_another_cpu)
{
	long nr = sysconf(_SC_NPROCESSORS_ONLN);
	int64_t offset;

	if (nr < 2)
		SKIP(return, "one CPU only");
	ASSERT_EQ(0, pin_to_cpu(1));
	offset = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ(0, pin_to_cpu(0));
	EXPECT_EQ(offset, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	EXPECT_EQ(64 * KiB, pool_attached(&self->p));
}

/* Write @bytes of ones into buffers of a pool, and leave it. */
static void soil(const struct bufpool_config *cfg, uint64_t size,
		 unsigned int nr)
{
	uint64_t usable;
	int64_t offset;
	struct pool p;

	if (pool_init(&p, cfg))
		die("no pool");
	while (nr--) {
		offset = pool_alloc(&p, size, 0, &usable);
		if (offset < 0)
			die("ALLOC: %s", strerror(-offset));
		memset(p.base + offset, 0xff, usable);
		if (nr % 2 && pool_free(&p, offset))
			die("FREE");
	}
	pool_destroy(&p);
}

/* All that a pool hands out at first is zero. */
static bool pool_is_clean(const struct bufpool_config *cfg, uint64_t size,
			  unsigned int nr)
{
	uint64_t usable;
	bool clean = true;
	int64_t offset;
	struct pool p;

	if (pool_init(&p, cfg))
		die("no pool");
	while (nr--) {
		offset = pool_alloc(&p, size, 0, &usable);
		if (offset < 0)
			die("ALLOC: %s", strerror(-offset));
		clean = clean && all_zero(p.base + offset, usable);
	}
	pool_destroy(&p);
	return clean;
}

TEST(nothing_passes_between_pools)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned int nr = 24 * MiB / sizes[i];

		if (nr > 256)
			nr = 256;
		soil(&cfg, sizes[i], nr);
		EXPECT_TRUE(pool_is_clean(&cfg, sizes[i], nr)) {
			TH_LOG("%ju bytes", sizes[i]);
		}
	}
}

TEST(nothing_passes_between_processes)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	int status;

	in_child(status, soil(&cfg, 2 * MiB, 24));
	ASSERT_EQ(0, status);
	in_child(status, check(pool_is_clean(&cfg, 2 * MiB, 24)));
	EXPECT_EQ(0, status);
	in_child(status, soil(&cfg, 4 * KiB, 1024));
	ASSERT_EQ(0, status);
	in_child(status, check(pool_is_clean(&cfg, 64 * KiB, 64)));
	EXPECT_EQ(0, status);
}

/* Not even between two pools of a process that are open at the same time. */
TEST_F(reuse, open_pools_do_not_share)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t usable;
	int64_t offset;
	struct pool q;

	ASSERT_EQ(0, pool_init(&q, &cfg));
	offset = pool_alloc(&self->p, 64 * KiB, 0, &usable);
	ASSERT_LE(0, offset);
	memset(self->p.base + offset, 0xff, usable);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	offset = pool_alloc(&q, 64 * KiB, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_TRUE(all_zero(q.base + offset, usable));
	EXPECT_EQ(64 * KiB, pool_retained(&self->p));
	pool_destroy(&q);
}

TEST_HARNESS_MAIN
