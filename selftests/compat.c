// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls as a 32-bit program makes them: the structures are the same, the
 * pointer comes through the compat entry.
 */
#include "kselftest_harness.h"
#include "pool.h"

#ifdef __x86_64__

/* ioctl() is call number 54 there. */
static int ioctl32(int fd, uint32_t cmd, void *arg)
{
	int ret;

	asm volatile("int $0x80"
		     : "=a" (ret)
		     : "a" (54), "b" (fd), "c" (cmd), "d" ((uint32_t)(uintptr_t)arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

/* Where a 32-bit pointer reaches. */
union argument {
	struct bufpool_alloc alloc;
	struct bufpool_free free;
	struct bufpool_release release;
	struct bufpool_stats stats;
	struct {
		struct bufpool_setup setup;
		struct bufpool_config config;
	};
};

static void try_int80(void)
{
	/* Of no open file: anything but EBADF is no ioctl(). */
	_exit(ioctl32(-1, 0, NULL) == -EBADF ? 0 : 1);
}

TEST(all_calls)
{
	union argument *arg;
	struct pool p = { 0 };
	uint64_t usable;
	int64_t offset;
	int status;

	in_child(status, try_int80());
	if (status)
		SKIP(return, "a kernel that runs no 32-bit programs");
	arg = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)arg);

	p.fd = pool_open();
	ASSERT_LE(0, p.fd);
	arg->setup.size = sizeof(arg->setup);
	arg->setup.config = (uintptr_t)&arg->config;
	arg->config = fixed_config(16 * MiB);
	ASSERT_EQ(0, ioctl32(p.fd, BUFPOOL_IOC_SETUP, arg));
	p.setup = arg->setup;
	p.length = p.setup.data_offset + p.setup.data_bytes;
	ASSERT_EQ(0, pool_map(&p));

	memset(arg, 0, sizeof(*arg));
	arg->alloc.size = sizeof(arg->alloc);
	arg->alloc.bytes = 3 * MiB;
	ASSERT_EQ(0, ioctl32(p.fd, BUFPOOL_IOC_ALLOC, arg));
	offset = arg->alloc.offset;
	usable = arg->alloc.usable_bytes;
	EXPECT_EQ(3 * MiB, usable);
	EXPECT_TRUE(all_zero(p.base + offset, usable));

	memset(arg, 0, sizeof(*arg));
	arg->stats.size = sizeof(arg->stats);
	EXPECT_EQ(0, ioctl32(p.fd, BUFPOOL_IOC_STATS, arg));
	EXPECT_EQ(3 * MiB, arg->stats.attached_bytes);

	memset(arg, 0, sizeof(*arg));
	arg->config.size = 0;
	arg->free.size = sizeof(arg->free);
	arg->free.offset = offset;
	EXPECT_EQ(0, ioctl32(p.fd, BUFPOOL_IOC_FREE, arg));
	EXPECT_EQ(-EINVAL, ioctl32(p.fd, BUFPOOL_IOC_FREE, arg));

	memset(arg, 0, sizeof(*arg));
	arg->release.size = sizeof(arg->release);
	EXPECT_EQ(0, ioctl32(p.fd, BUFPOOL_IOC_RELEASE_RETAINED, arg));
	EXPECT_EQ(3 * MiB, arg->release.released_bytes);
	EXPECT_EQ(-EFAULT, ioctl32(p.fd, BUFPOOL_IOC_STATS, NULL));
	EXPECT_EQ(-ENOTTY, ioctl32(p.fd, _IO(BUFPOOL_IOC_MAGIC, 0xff), arg));
	pool_destroy(&p);
}

#else

TEST(all_calls)
{
	SKIP(return, "an architecture without a 32-bit entry to try");
}

#endif

TEST_HARNESS_MAIN
