// SPDX-License-Identifier: GPL-2.0-only
/* Many pools: two in a process, hundreds of the default kind, a thousand small. */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/resource.h>

FIXTURE(pools) {
	uint64_t attached, control, pools;
};

FIXTURE_SETUP(pools)
{
	struct rlimit files = { .rlim_cur = 4096, .rlim_max = 4096 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	self->attached = device_attached();
	self->control = sysfs_value("control_bytes");
	self->pools = sysfs_value("pools");
}

FIXTURE_TEARDOWN(pools)
{
	EXPECT_EQ(self->attached, device_attached());
	EXPECT_EQ(self->control, sysfs_value("control_bytes"));
	EXPECT_EQ(self->pools, sysfs_value("pools"));
}

/* Each has its own buffers, configuration, counters and end. */
TEST_F(pools, two_in_a_process)
{
	struct bufpool_config cfg_a = fixed_config(16 * MiB);
	struct bufpool_config cfg_b = fixed_config(32 * MiB);
	struct bufpool_config got;
	struct bufpool_stats st;
	int64_t x, y, z;
	struct pool a, b;

	cfg_b.percpu_cached = 3;
	cfg_b.max_pooled_bytes = 128 * KiB;
	ASSERT_EQ(0, pool_init(&a, &cfg_a));
	ASSERT_EQ(0, pool_init(&b, &cfg_b));
	EXPECT_EQ(self->pools + 2, sysfs_value("pools"));
	ASSERT_EQ(0, pool_get_config(&a, 0, &got));
	EXPECT_EQ(16 * MiB, got.pool_limit_bytes);
	EXPECT_EQ(16, got.percpu_cached);
	ASSERT_EQ(0, pool_get_config(&b, 0, &got));
	EXPECT_EQ(32 * MiB, got.pool_limit_bytes);
	EXPECT_EQ(3, got.percpu_cached);

	x = pool_alloc(&a, 1 * MiB, 0, NULL);
	y = pool_alloc(&b, 1 * MiB, 0, NULL);
	z = pool_alloc(&b, 64 * KiB, 0, NULL);
	ASSERT_TRUE(x > 0 && y > 0 && z > 0);
	EXPECT_NE(a.base + x, b.base + y);
	stamp_range(a.base + x, 1 * MiB, 1);
	stamp_range(b.base + y, 1 * MiB, 2);
	EXPECT_TRUE(stamped(a.base + x, 1 * MiB, 1));

	/* 1 MiB is kept by one and not by the other. */
	ASSERT_EQ(0, pool_free(&a, x));
	ASSERT_EQ(0, pool_free(&b, y));
	ASSERT_EQ(0, pool_free(&b, z));
	EXPECT_EQ(1 * MiB, pool_retained(&a));
	EXPECT_EQ(64 * KiB, pool_retained(&b));
	EXPECT_EQ((int64_t)(64 * KiB), pool_release(&b));
	EXPECT_EQ(1 * MiB, pool_retained(&a));
	EXPECT_TRUE(stamped(a.base + x, 1 * MiB, 1));

	st = pool_stats(&b);
	EXPECT_EQ(2, st.allocs);
	EXPECT_EQ(1 * MiB, st.freed_bytes);
	st = pool_stats(&a);
	EXPECT_EQ(1, st.allocs);
	EXPECT_EQ(0, st.freed_bytes);

	pool_destroy(&b);
	EXPECT_EQ(self->attached + 1 * MiB, device_attached());
	EXPECT_EQ(x, pool_alloc(&a, 1 * MiB, 0, NULL));
	EXPECT_TRUE(stamped(a.base + x, 1 * MiB, 1));
	pool_destroy(&a);
}

/* Pools of the default kind are cheap until used: 300 fit one process. */
TEST_F(pools, hundreds_of_default_pools)
{
	enum { NR = 300 };
	struct pool *p = calloc(NR, sizeof(*p));
	int64_t offset[NR];
	int i;

	ASSERT_NE(NULL, (void *)p);
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_init(&p[i], NULL)) TH_LOG("pool %d", i);
		offset[i] = pool_alloc(&p[i], 64 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
		stamp_range(p[i].base + offset[i], 64 * KiB, i);
	}
	EXPECT_EQ(self->pools + NR, sysfs_value("pools"));
	EXPECT_EQ(self->attached + NR * 64 * KiB, device_attached());
	/* A pool that holds one buffer costs less than 128 KiB beside it. */
	EXPECT_GT(self->control + NR * 128 * KiB, sysfs_value("control_bytes"));
	for (i = 0; i < NR; i++) {
		EXPECT_TRUE(stamped(p[i].base + offset[i], 64 * KiB, i));
	}
	/* All of them idle, and released in one go. */
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&p[i], offset[i]));
	}
	EXPECT_EQ(0, sysfs_write("release_retained", "1"));
	EXPECT_EQ(self->attached, device_attached());
	for (i = 0; i < NR; i++)
		pool_destroy(&p[i]);
	free(p);
}

TEST_F(pools, a_thousand_small_ones)
{
	enum { NR = 1000 };
	struct bufpool_config cfg = fixed_config(1 * MiB);
	struct pool *p = calloc(NR, sizeof(*p));
	int64_t offset[NR];
	int i;

	ASSERT_NE(NULL, (void *)p);
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_init(&p[i], &cfg)) TH_LOG("pool %d", i);
		offset[i] = pool_alloc(&p[i], 4 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
		stamp_range(p[i].base + offset[i], 4 * KiB, i);
	}
	EXPECT_EQ(self->pools + NR, sysfs_value("pools"));
	EXPECT_EQ(self->attached + NR * 4 * KiB, device_attached());
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(stamped(p[i].base + offset[i], 4 * KiB, i));
	}
	/* Every second one goes; the others are as they were. */
	for (i = 0; i < NR; i += 2)
		pool_destroy(&p[i]);
	EXPECT_EQ(self->attached + NR / 2 * 4 * KiB, device_attached());
	for (i = 1; i < NR; i += 2) {
		ASSERT_TRUE(stamped(p[i].base + offset[i], 4 * KiB, i));
	}
	for (i = 1; i < NR; i += 2)
		pool_destroy(&p[i]);
	free(p);
}

/* Opening and closing over and over, in every state, leaves nothing behind. */
TEST_F(pools, come_and_go)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	struct pool p;
	int64_t a, b;
	int i;

	for (i = 0; i < 80; i++) {
		int fd = pool_open();

		ASSERT_LE(0, fd);
		close(fd);
		ASSERT_EQ(0, pool_init_unmapped(&p, &cfg));
		if (i % 4 == 1) {
			ASSERT_EQ(0, pool_map(&p));
		}
		if (i % 4 >= 1) {
			a = pool_alloc(&p, 64 * KiB, 0, NULL);
			b = pool_alloc(&p, 3 * MiB, 0, NULL);
			ASSERT_TRUE(a > 0 && b > 0);
			if (i % 4 == 3) {
				ASSERT_EQ(0, pool_free(&p, a));
			}
		}
		pool_destroy(&p);
	}
}

TEST_HARNESS_MAIN
