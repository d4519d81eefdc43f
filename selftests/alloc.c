// SPDX-License-Identifier: GPL-2.0-only
/* ALLOC: what it hands out, and what it refuses. */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(alloc) {
	struct pool p;
};

FIXTURE_SETUP(alloc)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	cfg.alloc_limit_bytes = 16 * MiB;
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(alloc)
{
	pool_destroy(&self->p);
}

TEST_F(alloc, size_zero)
{
	EXPECT_EQ(-EINVAL, pool_alloc(&self->p, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, pool_alloc(&self->p, 0, BUFPOOL_ZERO, NULL));
	EXPECT_EQ(0, pool_attached(&self->p));
}

TEST_F(alloc, unknown_flag)
{
	EXPECT_EQ(-EINVAL, pool_alloc(&self->p, 4096, 1U << 1, NULL));
	EXPECT_EQ(-EINVAL, pool_alloc(&self->p, 4096, 1U << 31, NULL));
	EXPECT_EQ(-EINVAL, pool_alloc(&self->p, 4096, ~0U, NULL));
	EXPECT_EQ(0, pool_attached(&self->p));
}

TEST_F(alloc, over_the_allocation_limit)
{
	struct bufpool_stats before = pool_stats(&self->p);

	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, 16 * MiB + 1, 0, NULL));
	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, 1ULL << 40, 0, NULL));
	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, ~0ULL, 0, NULL));
	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, ~0ULL - 4096, 0, NULL));
	/* Rounding up to pages wraps. */
	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, ~0ULL - 4094, 0, NULL));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(before.allocs, pool_stats(&self->p).allocs);
	EXPECT_LE(0, pool_alloc(&self->p, 16 * MiB, 0, NULL));
}

/* The limit is in bytes, also where its pages would hold a little more. */
TEST(allocation_limit_in_bytes)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct pool p;

	cfg.alloc_limit_bytes = 10000;
	ASSERT_EQ(0, pool_init(&p, &cfg));
	EXPECT_LE(0, pool_alloc(&p, 10000, 0, NULL));
	EXPECT_EQ(-EFBIG, pool_alloc(&p, 10001, 0, NULL));
}

/* Every size: inside the range, aligned, as large as said, and there. */
TEST_F(alloc, buffers_are_what_they_say)
{
	static const uint64_t sizes[] = {
		1, 2, 4095, 4096, 4097, 8192, 12288, 16384, 16385, 20480,
		28672, 32768, 32769, 65536, 100000, 262144, 1000000, 1048576,
		2097151, 2097152, 2097153, 3000000, 4194304, 5000000, 8388608,
		8388609, 10000000, 16777215, 16777216,
	};
	struct bufpool_setup *s = &self->p.setup;
	uint64_t usable, before, bytes;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		before = pool_attached(&self->p);
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset) TH_LOG("%ju bytes", sizes[i]);
		ASSERT_LE(s->data_offset, offset);
		ASSERT_GE(s->data_offset + s->data_bytes, offset + usable);
		EXPECT_EQ(0, offset % page_size());
		if (sizes[i] >= 2 * MiB) {
			EXPECT_EQ(0, offset % (2 * MiB));
		}
		EXPECT_LE(sizes[i], usable);
		bytes = bufpool_class_pages(class_of(sizes[i])) * page_size();
		if (bytes > 8 * MiB)	/* large: exactly the pages asked for */
			bytes = (sizes[i] + page_size() - 1) & -page_size();
		EXPECT_EQ(bytes, usable);
		EXPECT_EQ(before + usable, pool_attached(&self->p));

		ASSERT_EQ(0, read_signal(self->p.base + offset));
		ASSERT_EQ(0, write_signal(self->p.base + offset + usable - 1));
		self->p.base[offset + usable - 1] = 0;
		EXPECT_TRUE(all_zero(self->p.base + offset, usable));
		ASSERT_EQ(0, pool_free(&self->p, offset));
		ASSERT_LE(0, pool_release(&self->p));
	}
}

/* Live buffers never overlap, whatever their classes. */
TEST_F(alloc, buffers_do_not_overlap)
{
	struct { int64_t offset; uint64_t usable; } buf[256];
	uint64_t seed = 1;
	size_t nr = 0, i;

	while (nr < ARRAY_SIZE(buf)) {
		uint64_t size = 1 + next_random(&seed) % (nr % 8 ? 32 * KiB : MiB);

		buf[nr].offset = pool_alloc(&self->p, size, 0, &buf[nr].usable);
		if (buf[nr].offset == -EDQUOT)
			break;
		ASSERT_LE(0, buf[nr].offset);
		stamp_range(self->p.base + buf[nr].offset, buf[nr].usable, nr);
		nr++;
	}
	for (i = 0; i < nr; i++) {
		EXPECT_TRUE(stamped(self->p.base + buf[i].offset,
				    buf[i].usable, i));
	}
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, pool_free(&self->p, buf[i].offset));
	}
	EXPECT_EQ(pool_attached(&self->p), pool_retained(&self->p));
}

/* A pool that is set up and not mapped yet can allocate. */
TEST(before_the_mapping)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	uint64_t usable;
	struct pool p;
	int64_t offset;

	ASSERT_EQ(0, pool_init_unmapped(&p, &cfg));
	offset = pool_alloc(&p, 3 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_map(&p));
	EXPECT_TRUE(all_zero(p.base + offset, usable));
	stamp_range(p.base + offset, usable, 1);
	EXPECT_TRUE(stamped(p.base + offset, usable, 1));
	EXPECT_EQ(0, pool_free(&p, offset));
	pool_destroy(&p);
}

/* One thread's copy of the arguments does not leak into the next call's. */
TEST_F(alloc, output_is_not_input)
{
	struct bufpool_alloc arg = {
		.size = sizeof(arg), .bytes = 4096,
		.offset = ~0ULL, .usable_bytes = ~0ULL,
	};

	ASSERT_EQ(0, pool_ioctl(self->p.fd, BUFPOOL_IOC_ALLOC, &arg));
	EXPECT_EQ(4096, arg.bytes);
	EXPECT_EQ(4096, arg.usable_bytes);
	EXPECT_EQ(0, pool_free(&self->p, arg.offset));
}

TEST_HARNESS_MAIN
