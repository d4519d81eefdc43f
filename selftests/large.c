// SPDX-License-Identifier: GPL-2.0-only
/*
 * The large path: exactly the memory asked for, few kept, the best fit reused
 * or grown.
 */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(large) {
	struct bufpool_config cfg;
	struct pool p;
};

FIXTURE_SETUP(large)
{
	self->cfg = fixed_config(512 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
}

FIXTURE_TEARDOWN(large)
{
	pool_destroy(&self->p);
}

TEST_F(large, exact)
{
	uint64_t before = device_attached(), usable;
	int64_t offset;

	offset = pool_alloc(&self->p, 90 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_EQ(90 * MiB, usable);
	EXPECT_EQ(90 * MiB, pool_attached(&self->p));
	EXPECT_EQ(before + 90 * MiB, device_attached());
	EXPECT_EQ(0, write_signal(self->p.base + offset + usable - 1));
	EXPECT_EQ(SIGBUS, write_signal(self->p.base + offset + usable));

	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(90 * MiB, pool_retained(&self->p));
	EXPECT_EQ((int64_t)(90 * MiB), pool_release(&self->p));
	EXPECT_EQ(before, device_attached());

	/* To the page. */
	offset = pool_alloc(&self->p, 9 * MiB + 1, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_EQ(9 * MiB + page_size(), usable);
	EXPECT_EQ(9 * MiB + page_size(), pool_attached(&self->p));
}

/* Kept 70 MiB, wanted 75: five are attached, and seventy are as they were. */
TEST_F(large, growing)
{
	struct bufpool_stats before, after;
	uint64_t usable;
	int64_t offset;

	offset = pool_alloc(&self->p, 70 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	ASSERT_EQ(70 * MiB, usable);
	stamp_range(self->p.base + offset, 70 * MiB, 1);
	ASSERT_EQ(0, pool_free(&self->p, offset));

	before = pool_stats(&self->p);
	EXPECT_EQ(offset, pool_alloc(&self->p, 75 * MiB, 0, &usable));
	after = pool_stats(&self->p);
	EXPECT_EQ(75 * MiB, usable);
	EXPECT_EQ(5 * MiB, after.attached_bytes - before.attached_bytes);
	EXPECT_EQ(5 * MiB,
		  after.attached_total_bytes - before.attached_total_bytes);
	EXPECT_EQ(1, after.grown);
	EXPECT_TRUE(stamped(self->p.base + offset, 70 * MiB, 1));
	EXPECT_TRUE(all_zero(self->p.base + offset + 70 * MiB, 5 * MiB));
	EXPECT_EQ(0, write_signal(self->p.base + offset + 75 * MiB - 1));
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + offset + 75 * MiB));

	/* It is a buffer of 75 MiB from now on. */
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(75 * MiB, pool_retained(&self->p));
	EXPECT_EQ((int64_t)(75 * MiB), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

TEST_F(large, growing_zeroed)
{
	uint64_t usable;
	int64_t offset;

	offset = pool_alloc(&self->p, 9 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	memset(self->p.base + offset, 0xff, usable);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(offset, pool_alloc(&self->p, 9 * MiB + 20000, BUFPOOL_ZERO,
				     &usable));
	EXPECT_TRUE(all_zero(self->p.base + offset, usable));
	EXPECT_EQ(1, pool_stats(&self->p).grown);
}

/* Growing page by page, through every alignment of the tail. */
TEST_F(large, growing_by_little)
{
	uint64_t page = page_size(), size = 8 * MiB + page, usable;
	int64_t offset, first = -1;
	int i;

	for (i = 0; i < 100; i++) {
		offset = pool_alloc(&self->p, size, 0, &usable);
		ASSERT_LE(0, offset);
		if (!i)
			first = offset;
		ASSERT_EQ(first, offset);
		ASSERT_EQ(size, usable);
		ASSERT_EQ(size, pool_attached(&self->p));
		ASSERT_EQ(0, write_signal(self->p.base + offset + usable - 1));
		ASSERT_EQ(0, pool_free(&self->p, offset));
		size += page * (1 + i % 7);
	}
	EXPECT_EQ(99, pool_stats(&self->p).grown);
	ASSERT_LE(0, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

/* Keep one of each size, freed in the given order. */
static void keep(const struct pool *p, const uint64_t *mib, size_t nr,
		 int64_t *offset)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		offset[i] = pool_alloc(p, mib[i] * MiB, 0, NULL);
		if (offset[i] < 0)
			die("ALLOC: %s", strerror(-offset[i]));
	}
	for (i = 0; i < nr; i++)
		if (pool_free(p, offset[i]))
			die("FREE");
}

/* 81 to 96 MiB are one class; the smallest that is large enough serves. */
TEST_F(large, best_fit)
{
	static const uint64_t up[] = { 90, 95 }, down[] = { 95, 90 };
	int64_t offset[2], got;
	uint64_t usable;

	keep(&self->p, up, 2, offset);
	got = pool_alloc(&self->p, 90 * MiB, 0, &usable);
	EXPECT_EQ(offset[0], got);
	EXPECT_EQ(90 * MiB, usable);
	ASSERT_EQ(0, pool_free(&self->p, got));
	got = pool_alloc(&self->p, 95 * MiB, 0, &usable);
	EXPECT_EQ(offset[1], got);
	ASSERT_EQ(0, pool_free(&self->p, got));
	ASSERT_EQ((int64_t)(185 * MiB), pool_release(&self->p));

	keep(&self->p, down, 2, offset);
	got = pool_alloc(&self->p, 90 * MiB, 0, &usable);
	EXPECT_EQ(offset[1], got);
	EXPECT_EQ(90 * MiB, usable);
	ASSERT_EQ(0, pool_free(&self->p, got));

	/* 93 fits into the 95: nothing needs to grow. */
	got = pool_alloc(&self->p, 93 * MiB, 0, &usable);
	EXPECT_EQ(offset[0], got);
	EXPECT_EQ(95 * MiB, usable);
	EXPECT_EQ(185 * MiB, pool_attached(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).grown);
	ASSERT_EQ(0, pool_free(&self->p, got));

	/* 96 fits into none: the nearest grows, by the least. */
	got = pool_alloc(&self->p, 96 * MiB, 0, &usable);
	EXPECT_EQ(offset[0], got);
	EXPECT_EQ(186 * MiB, pool_attached(&self->p));
	EXPECT_EQ(1, pool_stats(&self->p).grown);
	ASSERT_EQ(0, pool_free(&self->p, got));

	/* Nothing was lost while looking. */
	EXPECT_EQ(186 * MiB, pool_retained(&self->p));
	EXPECT_EQ((int64_t)(186 * MiB), pool_release(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

/* Among many: with 14 kept, each request gets its own size back. */
TEST_F(large, best_fit_among_many)
{
	int64_t offset[14];
	uint64_t usable;
	int i;

	self->cfg.large_cached = 16;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	/* 14 to 16 MiB are one class. */
	for (i = 0; i < 14; i++) {
		offset[i] = pool_alloc(&self->p, 14 * MiB + (i + 1) * 64 * KiB,
				       0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 14; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i * 5 % 14]));
	}
	for (i = 0; i < 14; i++) {
		int k = i * 3 % 14;
		uint64_t size = 14 * MiB + (k + 1) * 64 * KiB;

		EXPECT_EQ(offset[k], pool_alloc(&self->p, size, 0, &usable));
		EXPECT_EQ(size, usable);
	}
	EXPECT_EQ(0, pool_stats(&self->p).grown);
	EXPECT_EQ(0, pool_retained(&self->p));
}

/* In the depot large_cached of each class, and one on each CPU. */
TEST_F(large, few_are_kept)
{
	struct bufpool_stats st;
	int64_t offset[5];
	int i;

	ASSERT_EQ(0, pin_to_cpu(0));
	self->cfg.large_cached = 2;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	for (i = 0; i < 5; i++) {
		offset[i] = pool_alloc(&self->p, 9 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	st = pool_stats(&self->p);
	EXPECT_EQ(27 * MiB, st.retained_bytes);
	EXPECT_EQ(27 * MiB, st.attached_bytes);
	EXPECT_EQ(18 * MiB, st.freed_bytes);

	/* Per class: another class keeps its own three. */
	for (i = 0; i < 4; i++) {
		offset[i] = pool_alloc(&self->p, 13 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	EXPECT_EQ(66 * MiB, pool_retained(&self->p));
	EXPECT_EQ(66 * MiB, pool_attached(&self->p));

	self->cfg.large_cached = 0;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	offset[0] = pool_alloc(&self->p, 11 * MiB, 0, NULL);
	ASSERT_LE(0, offset[0]);
	ASSERT_EQ(0, pool_free(&self->p, offset[0]));
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + offset[0]));
}

/* What one CPU keeps, another one uses, and makes bigger if need be. */
TEST_F(large, kept_on_another_cpu)
{
	struct bufpool_stats before;
	int64_t offset;
	uint64_t usable;

	ASSERT_EQ(0, pin_to_cpu(0));
	offset = pool_alloc(&self->p, 20 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	before = pool_stats(&self->p);

	if (pin_to_cpu(1))
		SKIP(return, "one CPU");
	EXPECT_EQ(offset, pool_alloc(&self->p, 19 * MiB, 0, &usable));
	EXPECT_EQ(20 * MiB, usable);
	ASSERT_EQ(0, pool_free(&self->p, offset));

	ASSERT_EQ(0, pin_to_cpu(0));
	EXPECT_EQ(offset, pool_alloc(&self->p, 20 * MiB, 0, NULL));
	EXPECT_EQ(before.attached_total_bytes,
		  pool_stats(&self->p).attached_total_bytes);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(20 * MiB, pool_retained(&self->p));

	/* 18 MiB and 20 are of one class. */
	ASSERT_EQ((int64_t)(20 * MiB), pool_release(&self->p));
	offset = pool_alloc(&self->p, 18 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ(0, pin_to_cpu(1));
	EXPECT_EQ(offset, pool_alloc(&self->p, 20 * MiB, 0, &usable));
	EXPECT_EQ(20 * MiB, usable);
	EXPECT_EQ(1, pool_stats(&self->p).grown);
	EXPECT_EQ(20 * MiB, pool_attached(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

/* The best of all stacks: of this CPU's, of another's, of the depot. */
TEST_F(large, best_fit_on_all_stacks)
{
	static const uint64_t mib[] = { 95, 93, 91 };
	int64_t offset[3];
	uint64_t usable;
	int i;

	/* A share of a CPU's that these fit into. */
	pool_destroy(&self->p);
	self->cfg = fixed_config(2048 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
	for (i = 0; i < 3; i++) {
		offset[i] = pool_alloc(&self->p, mib[i] * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, pool_free(&self->p, offset[0]));
	ASSERT_EQ(0, pool_free(&self->p, offset[1]));
	if (pin_to_cpu(1))
		SKIP(return, "one CPU");
	ASSERT_EQ(0, pool_free(&self->p, offset[2]));
	EXPECT_EQ(279 * MiB, pool_retained(&self->p));

	EXPECT_EQ(offset[1], pool_alloc(&self->p, 92 * MiB, 0, &usable));
	EXPECT_EQ(93 * MiB, usable);
	EXPECT_EQ(offset[0], pool_alloc(&self->p, 94 * MiB, 0, &usable));
	EXPECT_EQ(95 * MiB, usable);
	EXPECT_EQ(91 * MiB, pool_retained(&self->p));
	EXPECT_EQ(offset[2], pool_alloc(&self->p, 96 * MiB, 0, &usable));
	EXPECT_EQ(96 * MiB, usable);
	EXPECT_EQ(1, pool_stats(&self->p).grown);
	EXPECT_EQ(0, pool_retained(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

/* max_retained bounds the large ones as well. */
TEST_F(large, within_max_retained)
{
	int64_t offset[4];
	int i;

	self->cfg.max_retained_bytes = 20 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	for (i = 0; i < 4; i++) {
		offset[i] = pool_alloc(&self->p, 9 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	EXPECT_EQ(18 * MiB, pool_retained(&self->p));
	EXPECT_EQ(18 * MiB, pool_attached(&self->p));
}

TEST_F(large, over_max_pooled_is_never_kept)
{
	int64_t offset;

	self->cfg.max_pooled_bytes = 16 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	offset = pool_alloc(&self->p, 16 * MiB + 1, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + offset));

	offset = pool_alloc(&self->p, 16 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(16 * MiB, pool_retained(&self->p));
}

/* One byte over the threshold is still pooled, and not rounded to its class. */
TEST_F(large, one_byte_over_the_threshold)
{
	struct bufpool_stats st;
	int64_t offset, again;
	uint64_t usable;
	int i;

	offset = pool_alloc(&self->p, 8 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_EQ(8 * MiB, usable);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ((int64_t)(8 * MiB), pool_release(&self->p));

	offset = pool_alloc(&self->p, 8 * MiB + 1, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_EQ(8 * MiB + page_size(), usable);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset));
		again = pool_alloc(&self->p, 8 * MiB + 1, 0, &usable);
		ASSERT_EQ(offset, again);
	}
	st = pool_stats(&self->p);
	EXPECT_EQ(10, st.reused);
	EXPECT_EQ(16 * MiB + page_size(), st.attached_total_bytes);
}

TEST_HARNESS_MAIN
