// SPDX-License-Identifier: GPL-2.0-only
/*
 * SETUP: once, with a configuration that holds water; before it nothing works.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/resource.h>

FIXTURE(setup) {
	int fd;
	struct bufpool_setup arg;
	struct bufpool_config cfg;
};

FIXTURE_SETUP(setup)
{
	self->fd = pool_open();
	ASSERT_LE(0, self->fd) TH_LOG("%s: %s", DEVICE, strerror(-self->fd));
	self->cfg = follow_device();
	self->arg.size = sizeof(self->arg);
	self->arg.config = (uintptr_t)&self->cfg;
}

FIXTURE_TEARDOWN(setup)
{
	close(self->fd);
}

TEST_F(setup, only_once)
{
	uint64_t pools = sysfs_value("pools");

	ASSERT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	EXPECT_EQ(pools + 1, sysfs_value("pools"));
	EXPECT_EQ(-EBUSY, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	EXPECT_EQ(pools + 1, sysfs_value("pools"));
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(pools, sysfs_value("pools"));
}

TEST_F(setup, without_configuration)
{
	struct bufpool_config cfg = { .size = sizeof(cfg) };
	struct bufpool_config want = follow_device();

	self->arg.config = 0;
	ASSERT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	ASSERT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_GET_CONFIG, &cfg));
	EXPECT_EQ(0, memcmp(&want, &cfg, sizeof(cfg)));
}

TEST_F(setup, nothing_works_before)
{
	struct bufpool_alloc alloc = { .size = sizeof(alloc), .bytes = 4096 };
	struct bufpool_free free_arg = { .size = sizeof(free_arg) };
	struct bufpool_release release = { .size = sizeof(release) };
	struct bufpool_config cfg = follow_device();
	struct bufpool_stats stats = { .size = sizeof(stats) };

	EXPECT_EQ(-ENXIO, pool_ioctl(self->fd, BUFPOOL_IOC_ALLOC, &alloc));
	EXPECT_EQ(-ENXIO, pool_ioctl(self->fd, BUFPOOL_IOC_FREE, &free_arg));
	EXPECT_EQ(-ENXIO, pool_ioctl(self->fd, BUFPOOL_IOC_RELEASE_RETAINED,
				     &release));
	EXPECT_EQ(-ENXIO, pool_ioctl(self->fd, BUFPOOL_IOC_GET_CONFIG, &cfg));
	EXPECT_EQ(-ENXIO, pool_ioctl(self->fd, BUFPOOL_IOC_SET_CONFIG, &cfg));
	EXPECT_EQ(-ENXIO, pool_ioctl(self->fd, BUFPOOL_IOC_STATS, &stats));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size(), PROT_READ, MAP_SHARED,
				   self->fd, 0));
	EXPECT_EQ(ENXIO, errno);
}

/* What was refused leaves the file as it was: a good SETUP still works. */
TEST_F(setup, refuses_reserved_bits)
{
	self->arg.flags = 1;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	self->arg.flags = 0;

	self->cfg.flags = 1U << 31;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	self->cfg.flags = BUFPOOL_CONFIG_EFFECTIVE;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	self->cfg.flags = 0;

	EXPECT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
}

TEST_F(setup, refuses_values_out_of_range)
{
	static const struct {
		size_t offset;
		uint64_t value;
	} bad[] = {
#define BAD(field, value) { offsetof(struct bufpool_config, field), value }
		BAD(max_pooled_bytes, BUFPOOL_FOLLOW - 1),
		BAD(large_threshold_bytes, 1ULL << 62),
		BAD(max_retained_bytes, 1ULL << 63),
		BAD(pool_limit_bytes, 0),
		/* More than page indices of 32 bits can name. */
		BAD(pool_limit_bytes, 1ULL << 45),
		BAD(pool_limit_bytes, 1ULL << 62),
		BAD(alloc_limit_bytes, 0),
		BAD(alloc_limit_bytes, 1ULL << 62),
		BAD(percpu_cached, 65537),
		BAD(large_cached, 65),
		BAD(trim_period_ms, 86400001),
		BAD(trim_percent, 101),
		BAD(trim_percent, BUFPOOL_FOLLOW32 - 1),
	};
	uint64_t pools = sysfs_value("pools");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		void *at = (char *)&self->cfg + bad[i].offset;

		if (bad[i].offset < offsetof(struct bufpool_config,
					     percpu_cached))
			memcpy(at, &bad[i].value, sizeof(uint64_t));
		else
			*(uint32_t *)at = bad[i].value;
		EXPECT_EQ(-EINVAL, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP,
					      &self->arg)) {
			TH_LOG("bad value %zu", i);
		}
		self->cfg = follow_device();
	}
	EXPECT_EQ(pools, sysfs_value("pools"));
	EXPECT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
}

TEST_F(setup, configuration_size)
{
	struct {
		struct bufpool_config cfg;
		uint64_t tail[4];
	} big = { .cfg = follow_device() };
	long page = page_size();
	unsigned char *huge;

	self->arg.config = (uintptr_t)&big;

	big.cfg.size = 0;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	big.cfg.size = sizeof(big.cfg) - 1;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));

	big.cfg.size = sizeof(big);
	big.tail[3] = 1;
	EXPECT_EQ(-E2BIG, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));

	/* A size that no structure will ever have. */
	huge = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)huge);
	memcpy(huge, &big.cfg, sizeof(big.cfg));
	((struct bufpool_config *)huge)->size = 0xffffffff;
	self->arg.config = (uintptr_t)huge;
	EXPECT_EQ(-E2BIG, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));

	big.tail[3] = 0;
	self->arg.config = (uintptr_t)&big;
	EXPECT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
}

TEST_F(setup, configuration_fault)
{
	self->arg.config = 1;
	EXPECT_EQ(-EFAULT, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	self->arg.config = ~0ULL;
	EXPECT_EQ(-EFAULT, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
	self->arg.config = (uintptr_t)&self->cfg;
	EXPECT_EQ(0, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
}

/* The process that calls SETUP owns the pool, whoever opened the file. */
TEST_F(setup, makes_the_caller_the_owner)
{
	struct bufpool_stats stats = { .size = sizeof(stats) };
	struct gate ready, done;
	pid_t pid;

	gate_init(&ready);
	gate_init(&done);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		check(!pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg));
		check(!pool_ioctl(self->fd, BUFPOOL_IOC_STATS, &stats));
		gate_pass(&ready);
		gate_wait(&done);
		_exit(0);
	}
	close(ready.fd[1]);
	ASSERT_TRUE(gate_wait(&ready));
	EXPECT_EQ(-EPERM, pool_ioctl(self->fd, BUFPOOL_IOC_STATS, &stats));
	EXPECT_EQ(-EPERM, pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg)) {
		TH_LOG("SETUP of another process's pool");
	}
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size(), PROT_READ, MAP_SHARED,
				   self->fd, 0));
	EXPECT_EQ(EPERM, errno);
	gate_pass(&done);
	EXPECT_EQ(0, child_status(pid));
	/* Its owner is gone: the pool is nobody's. */
	EXPECT_EQ(-EPERM, pool_ioctl(self->fd, BUFPOOL_IOC_STATS, &stats));
}

/*
 * A limit that the format could name but no address space can hold is refused
 * at the mapping at the latest, and says that it is about memory.
 */
TEST_F(setup, range_without_address_space)
{
	struct rlimit as = { .rlim_cur = 2 * GiB, .rlim_max = 2 * GiB };
	void *base;
	int ret;

	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &as));
	self->cfg.pool_limit_bytes = 4 * GiB;
	ret = pool_ioctl(self->fd, BUFPOOL_IOC_SETUP, &self->arg);
	if (ret) {
		EXPECT_EQ(-ENOMEM, ret);
		return;
	}
	base = mmap(NULL, self->arg.data_offset + self->arg.data_bytes,
		    PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	EXPECT_EQ(MAP_FAILED, base);
	EXPECT_EQ(ENOMEM, errno);
}

/*
 * The largest pool there can be is set up and mapped, or refused with ENOMEM or
 * EINVAL; in no case is it given less address space than it was promised.
 */
TEST_F(setup, enormous_pools)
{
	unsigned int shift;

	for (shift = 36; shift < 64; shift++) {
		struct bufpool_config cfg = follow_device();
		struct pool p;
		int ret;

		cfg.pool_limit_bytes = 1ULL << shift;
		ret = pool_init(&p, &cfg);
		if (ret) {
			EXPECT_TRUE(ret == -ENOMEM || ret == -EINVAL) {
				TH_LOG("limit 2^%u: %s", shift, strerror(-ret));
			}
			continue;
		}
		EXPECT_LE(cfg.pool_limit_bytes, p.setup.data_bytes);
		EXPECT_LE(0, pool_alloc(&p, 4096, 0, NULL));
		pool_destroy(&p);
	}
}

TEST_HARNESS_MAIN
