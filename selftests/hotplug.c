// SPDX-License-Identifier: GPL-2.0-only
/* The stacks of a CPU that is taken offline are still everybody's. */
#include "kselftest_harness.h"
#include "pool.h"

#define NR	8

FIXTURE(hotplug) {
	struct pool p;
	int64_t offset[NR];
	char online[64];	/* of the CPU that goes; empty if none can */
};

FIXTURE_SETUP(hotplug)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	long cpu = sysconf(_SC_NPROCESSORS_CONF) - 1;
	int i;

	snprintf(self->online, sizeof(self->online),
		 "/sys/devices/system/cpu/cpu%ld/online", cpu);
	if (cpu < 1 || access(self->online, W_OK)) {
		self->online[0] = '\0';
		SKIP(return, "no CPU that can be taken offline");
	}
	ASSERT_EQ(0, pin_to_cpu(cpu));
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	for (i = 0; i < NR; i++) {
		self->offset[i] = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, self->offset[i]);
		stamp_range(self->p.base + self->offset[i], 64 * KiB, i);
	}
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	/* On that CPU's stack, and not elsewhere. */
	ASSERT_NE(0, BUFPOOL_LINK(pool_stacks(&self->p, cpu)->
				  head[class_of(64 * KiB)]));
	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, write_file(self->online, "0"));
}

FIXTURE_TEARDOWN_PARENT(hotplug)
{
	if (self->online[0]) {
		EXPECT_EQ(0, write_file(self->online, "1"));
	}
}

TEST_F(hotplug, buffers_are_reused)
{
	bool mine[NR] = { false };
	int64_t offset;
	int i, k;

	EXPECT_EQ(NR * 64 * KiB, pool_retained(&self->p));
	for (i = 0; i < NR; i++) {
		offset = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		for (k = 0; k < NR && self->offset[k] != offset; k++)
			;
		ASSERT_GT(NR, k);
		EXPECT_FALSE(mine[k]);
		mine[k] = true;
		EXPECT_TRUE(stamped(self->p.base + offset, 64 * KiB, k));
	}
	EXPECT_EQ(NR * 64 * KiB, pool_attached(&self->p));
	pool_destroy(&self->p);
}

TEST_F(hotplug, buffers_are_released)
{
	EXPECT_EQ((int64_t)(NR * 64 * KiB), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	/* And the CPU's return changes nothing. */
	EXPECT_EQ(0, write_file(self->online, "1"));
	EXPECT_LE(0, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	EXPECT_EQ(64 * KiB, pool_attached(&self->p));
	pool_destroy(&self->p);
}

/* A limit reaches them, too. */
TEST_F(hotplug, buffers_make_room)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	cfg.pool_limit_bytes = NR * 64 * KiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	EXPECT_LE(0, pool_alloc(&self->p, 512 * KiB, 0, NULL));
	EXPECT_EQ(0, pool_stats(&self->p).limit_hits);
	pool_destroy(&self->p);
}

/* Reclaim finds them, while the CPU comes and goes. */
TEST_F(hotplug, buffers_are_shrunk)
{
	int round;

	for (round = 0; round < 4; round++)
		EXPECT_EQ(0, write_file(self->online, round % 2 ? "0" : "1")) {
			TH_LOG("round %d", round);
		}
	do {
		shrink();
	} while (pool_retained(&self->p));
	pool_release(&self->p);
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(NR * 64 * KiB, pool_stats(&self->p).shrunk_bytes);
	pool_destroy(&self->p);
}

TEST_HARNESS_MAIN
