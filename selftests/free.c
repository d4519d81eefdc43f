// SPDX-License-Identifier: GPL-2.0-only
/* FREE takes live buffers of this pool, named by their start, and nothing else. */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(free) {
	struct pool p;
};

FIXTURE_SETUP(free)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(free)
{
	pool_destroy(&self->p);
}

TEST_F(free, twice)
{
	static const uint64_t sizes[] = { 1, 64 * KiB, 3 * MiB, 9 * MiB };
	struct bufpool_stats before, after;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, NULL);
		ASSERT_LE(0, offset);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		before = pool_stats(&self->p);
		EXPECT_EQ(-EINVAL, pool_free(&self->p, offset));
		after = pool_stats(&self->p);
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
		/* And not after its memory has gone either. */
		ASSERT_LE(0, pool_release(&self->p));
		EXPECT_EQ(-EINVAL, pool_free(&self->p, offset));
		EXPECT_EQ(0, pool_attached(&self->p));
	}
}

/* Freed twice it must not be handed out twice. */
TEST_F(free, twice_does_not_make_two)
{
	int64_t a, b, c;

	a = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_EQ(0, pool_free(&self->p, a));
	EXPECT_EQ(-EINVAL, pool_free(&self->p, a));
	b = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	c = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, b);
	ASSERT_LE(0, c);
	EXPECT_NE(b, c);
}

TEST_F(free, inside_a_buffer)
{
	static const uint64_t sizes[] = { 12 * KiB, 64 * KiB, 3 * MiB, 9 * MiB };
	struct bufpool_stats before, after;
	uint64_t usable, at;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		before = pool_stats(&self->p);
		EXPECT_EQ(-EINVAL, pool_free(&self->p, offset + 1));
		EXPECT_EQ(-EINVAL, pool_free(&self->p, offset + 8));
		EXPECT_EQ(-EINVAL, pool_free(&self->p, offset + 4095));
		for (at = page_size(); at < usable; at *= 2) {
			EXPECT_EQ(-EINVAL, pool_free(&self->p, offset + at));
		}
		EXPECT_EQ(-EINVAL, pool_free(&self->p,
					     offset + usable - page_size()));
		after = pool_stats(&self->p);
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
		EXPECT_EQ(0, pool_free(&self->p, offset));
	}
}

TEST_F(free, never_a_buffer)
{
	struct bufpool_setup *s = &self->p.setup;
	uint64_t end = s->data_offset + s->data_bytes;
	int64_t offset = pool_alloc(&self->p, 4096, 0, NULL);
	const uint64_t bad[] = {
		0, 1, 4096, s->control_bytes - 4096, s->control_bytes,
		s->data_offset - 4096, s->data_offset - 1,
		end - 4096, end - 1, end, end + 4096,
		1ULL << 32, 1ULL << 44, 1ULL << 63, ~0ULL, ~0ULL - 4095,
		/* The right page index in the wrong 2^32 pages. */
		offset + (1ULL << 44), offset + (1ULL << 32),
		offset + 4096, offset + 4 * MiB,
	};
	size_t i;

	ASSERT_LE(0, offset);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, pool_free(&self->p, bad[i])) {
			TH_LOG("offset %#jx", bad[i]);
		}
	}
	EXPECT_EQ(4096, pool_attached(&self->p));
	EXPECT_EQ(0, pool_retained(&self->p));
	EXPECT_EQ(0, pool_free(&self->p, offset));
}

/* An offset that is live in one pool is not in another. */
TEST_F(free, of_another_pool)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	int64_t offset;
	struct pool q;

	ASSERT_EQ(0, pool_init(&q, &cfg));
	offset = pool_alloc(&q, 64 * KiB, 0, NULL);
	ASSERT_LE(0, offset);
	EXPECT_EQ(-EINVAL, pool_free(&self->p, offset));
	EXPECT_EQ(0, pool_free(&q, offset));
	EXPECT_EQ(-EINVAL, pool_free(&self->p, offset));
	pool_destroy(&q);
}

/* In any order; all of it comes back. */
TEST_F(free, in_any_order)
{
	int64_t offset[96];
	uint64_t seed = 42;
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		offset[i] = pool_alloc(&self->p, 4096ULL << i % 8, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = ARRAY_SIZE(offset); i; i--) {
		k = next_random(&seed) % i;
		ASSERT_EQ(0, pool_free(&self->p, offset[k]));
		offset[k] = offset[i - 1];
	}
	EXPECT_EQ(pool_attached(&self->p), pool_retained(&self->p));
	ASSERT_LE(0, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

/*
 * A pool keeps what its caps allow, first the CPU's stack, then the depot's; the
 * rest goes back at once.
 */
TEST(beyond_the_caps)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct bufpool_stats st;
	int64_t offset[40];
	struct pool p;
	int i;

	cfg.percpu_cached = 4;
	cfg.max_retained_bytes = 640 * KiB;
	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 40; i++) {
		offset[i] = pool_alloc(&p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 40; i++) {
		ASSERT_EQ(0, pool_free(&p, offset[i]));
	}
	st = pool_stats(&p);
	EXPECT_GE(640 * KiB, st.retained_bytes);
	EXPECT_LE(4 * 64 * KiB, st.retained_bytes);
	EXPECT_EQ(st.attached_bytes, st.retained_bytes);
	EXPECT_EQ(40 * 64 * KiB - st.attached_bytes, st.freed_bytes);
	pool_destroy(&p);
}

/* With nothing to be kept, FREE gives everything back. */
TEST(nothing_kept)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	int64_t offset;
	struct pool p;

	cfg.max_retained_bytes = 0;
	ASSERT_EQ(0, pool_init(&p, &cfg));
	offset = pool_alloc(&p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&p, offset));
	EXPECT_EQ(0, pool_attached(&p));
	EXPECT_EQ(64 * KiB, pool_stats(&p).freed_bytes);
	EXPECT_EQ(SIGBUS, read_signal(p.base + offset));
	EXPECT_EQ(0, pool_release(&p));
	pool_destroy(&p);
}

TEST_HARNESS_MAIN
