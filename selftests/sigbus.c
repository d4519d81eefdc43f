// SPDX-License-Identifier: GPL-2.0-only
/* A detached address is SIGBUS to the process and EFAULT to the kernel. */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(sigbus) {
	struct pool p;
	unsigned char *data;
};

FIXTURE_SETUP(sigbus)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	self->data = self->p.base + self->p.setup.data_offset;
}

FIXTURE_TEARDOWN(sigbus)
{
	pool_destroy(&self->p);
}

TEST_F(sigbus, never_attached)
{
	uint64_t bytes = self->p.setup.data_bytes, before = device_attached();
	uint64_t seed = 3;
	int i;

	EXPECT_EQ(SIGBUS, read_signal(self->data));
	EXPECT_EQ(SIGBUS, write_signal(self->data));
	EXPECT_EQ(SIGBUS, read_signal(self->data + bytes - 1));
	EXPECT_EQ(SIGBUS, write_signal(self->data + bytes - page_size()));
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(SIGBUS,
			  read_signal(self->data + next_random(&seed) % bytes));
	}
	/* And brings nothing into being. */
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(before, device_attached());
}

/* The neighbours of an attached slot have no memory, whatever its folios. */
TEST_F(sigbus, around_a_buffer)
{
	static const uint64_t sizes[] = {
		4 * KiB, 20 * KiB, 64 * KiB, 1 * MiB, 2 * MiB, 3 * MiB,
		9 * MiB + 12345,
	};
	uint64_t usable;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		EXPECT_EQ(0, read_signal(self->p.base + offset));
		EXPECT_EQ(0, write_signal(self->p.base + offset + usable - 1));
		EXPECT_EQ(SIGBUS, read_signal(self->p.base + offset + usable));
		if (offset > (int64_t)self->p.setup.data_offset) {
			EXPECT_EQ(SIGBUS,
				  read_signal(self->p.base + offset - 1));
		}
		ASSERT_EQ(0, pool_free(&self->p, offset));
		ASSERT_LE(0, pool_release(&self->p));
	}
}

TEST_F(sigbus, after_a_release)
{
	static const uint64_t sizes[] = {
		4 * KiB, 64 * KiB, 1 * MiB, 2 * MiB, 9 * MiB,
	};
	uint64_t usable, at;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		memset(self->p.base + offset, 1, usable);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		/* Idle is not detached. */
		EXPECT_EQ(0, read_signal(self->p.base + offset));
		ASSERT_EQ((int64_t)usable, pool_release(&self->p));
		for (at = 0; at < usable; at += page_size()) {
			ASSERT_EQ(SIGBUS,
				  read_signal(self->p.base + offset + at));
		}
	}
}

TEST_F(sigbus, between_the_ranges)
{
	uint64_t end = self->p.setup.control_bytes;

	if (end == self->p.setup.data_offset)
		SKIP(return, "the ranges touch each other");
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + end));
	EXPECT_EQ(SIGBUS, read_signal(self->data - 1));
}

/* The control region has memory where it is touched, and only there. */
TEST_F(sigbus, not_in_the_control_region)
{
	uint64_t bytes = self->p.setup.control_bytes, at;
	uint64_t before = pool_stats(&self->p).control_bytes;

	for (at = 0; at < bytes; at += page_size()) {
		ASSERT_EQ(0, read_signal(self->p.base + at));
	}
	EXPECT_LE(before, pool_stats(&self->p).control_bytes);
	EXPECT_GE(bytes, pool_stats(&self->p).control_bytes);
	EXPECT_EQ(0, pool_attached(&self->p));
}

TEST_F(sigbus, is_efault_for_the_kernel)
{
	uint64_t usable;
	int64_t offset;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	EXPECT_EQ(-1, write(fd[1], self->data, 100));
	EXPECT_EQ(EFAULT, errno);

	offset = pool_alloc(&self->p, 9 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	/* Up to where there is memory, and no further. */
	EXPECT_EQ(-1, write(fd[1], self->p.base + offset + usable - 100, 200));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(100, write(fd[1], self->p.base + offset + usable - 100, 100));
	EXPECT_EQ(-1, read(fd[0], self->p.base + offset + usable, 100));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_LE(0, pool_release(&self->p));
	EXPECT_EQ(-1, write(fd[1], self->p.base + offset, 100));
	EXPECT_EQ(EFAULT, errno);
	/* Advice may be refused or ignored; it attaches nothing. */
	madvise(self->p.base + offset, 4 * page_size(), MADV_WILLNEED);
	madvise(self->p.base + offset, 4 * page_size(), MADV_POPULATE_WRITE);
	EXPECT_EQ(0, pool_attached(&self->p));
}

TEST_HARNESS_MAIN
