// SPDX-License-Identifier: GPL-2.0-only
/* RELEASE_RETAINED: all idle memory goes, all live memory stays. */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(release) {
	struct pool p;
};

FIXTURE_SETUP(release)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(release)
{
	pool_destroy(&self->p);
}

TEST_F(release, nothing_to_release)
{
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_LE(0, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_EQ(64 * KiB, pool_attached(&self->p));
}

TEST_F(release, live_buffers_are_untouched)
{
	static const uint64_t sizes[] = {
		4 * KiB, 64 * KiB, 1 * MiB, 3 * MiB, 9 * MiB,
	};
	uint64_t before = device_attached(), idle = 0, live = 0, usable;
	int64_t offset[2 * ARRAY_SIZE(sizes)];
	struct bufpool_stats st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		offset[i] = pool_alloc(&self->p, sizes[i / 2], 0, &usable);
		ASSERT_LE(0, offset[i]);
		ASSERT_EQ(sizes[i / 2], usable);
		stamp_range(self->p.base + offset[i], usable, i);
		*(i % 2 ? &idle : &live) += usable;
	}
	for (i = 1; i < ARRAY_SIZE(offset); i += 2) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	st = pool_stats(&self->p);
	EXPECT_EQ(idle + live, st.attached_bytes);
	EXPECT_EQ(idle, st.retained_bytes);
	EXPECT_EQ(before + idle + live, device_attached());

	EXPECT_EQ((int64_t)idle, pool_release(&self->p));

	st = pool_stats(&self->p);
	EXPECT_EQ(live, st.attached_bytes);
	EXPECT_EQ(0, st.retained_bytes);
	EXPECT_EQ(idle, st.released_bytes);
	EXPECT_EQ(before + live, device_attached());
	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		if (i % 2) {
			EXPECT_EQ(SIGBUS, read_signal(self->p.base + offset[i]));
		} else {
			EXPECT_TRUE(stamped(self->p.base + offset[i],
					    sizes[i / 2], i));
		}
	}

	/* What was live can be freed, kept, used again and released. */
	for (i = 0; i < ARRAY_SIZE(offset); i += 2) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	EXPECT_EQ(live, pool_retained(&self->p));
	EXPECT_EQ(offset[4], pool_alloc(&self->p, 1 * MiB, 0, NULL));
	ASSERT_EQ(0, pool_free(&self->p, offset[4]));
	EXPECT_EQ((int64_t)live, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(before, device_attached());
}

/* From the stacks of all CPUs and from the depot. */
TEST_F(release, from_every_cpu)
{
	long nr = sysconf(_SC_NPROCESSORS_ONLN);
	int64_t offset[24];
	long cpu;
	int i;

	for (cpu = 0; cpu < nr; cpu++) {
		ASSERT_EQ(0, pin_to_cpu(cpu));
		for (i = 0; i < 24; i++) {
			offset[i] = pool_alloc(&self->p, 16 * KiB, 0, NULL);
			ASSERT_LE(0, offset[i]);
		}
		/* More than percpu_cached: the rest goes to the depot. */
		for (i = 0; i < 24; i++) {
			ASSERT_EQ(0, pool_free(&self->p, offset[i]));
		}
	}
	ASSERT_EQ(0, pin_to_cpu(0));
	EXPECT_LE(24 * 16 * KiB, pool_attached(&self->p));
	EXPECT_EQ((int64_t)pool_attached(&self->p), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

/* Again and again: addresses come back to life, zeroed. */
TEST_F(release, and_allocate_again)
{
	uint64_t before = device_attached();
	int64_t offset[8];
	int round, i;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < 8; i++) {
			offset[i] = pool_alloc(&self->p, 20 * KiB << i, 0, NULL);
			ASSERT_LE(0, offset[i]);
			ASSERT_TRUE(all_zero(self->p.base + offset[i],
					     20 * KiB << i));
			stamp_range(self->p.base + offset[i], 20 * KiB << i, i);
		}
		for (i = 0; i < 8; i++) {
			ASSERT_EQ(0, pool_free(&self->p, offset[i]));
		}
		ASSERT_EQ((int64_t)(255 * 20 * KiB), pool_release(&self->p));
		ASSERT_EQ(before, device_attached());
	}
	EXPECT_EQ(50 * 255 * 20 * KiB, pool_stats(&self->p).released_bytes);
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

/* The administrator's way: all pools of all processes. */
TEST_F(release, through_sysfs)
{
	uint64_t released = sysfs_value("released_bytes");
	struct bufpool_config cfg = fixed_config(16 * MiB);
	struct gate ready, done;
	int64_t live, idle;
	pid_t pid;

	gate_init(&ready);
	gate_init(&done);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct pool q;

		check(!pool_init(&q, &cfg));
		live = pool_alloc(&q, 1 * MiB, 0, NULL);
		idle = pool_alloc(&q, 2 * MiB, 0, NULL);
		check(live > 0 && idle > 0);
		stamp_range(q.base + live, 1 * MiB, 5);
		check(!pool_free(&q, idle));
		gate_pass(&ready);
		gate_wait(&done);
		check(pool_attached(&q) == 1 * MiB);
		check(pool_retained(&q) == 0);
		check(pool_stats(&q).released_bytes == 2 * MiB);
		check(stamped(q.base + live, 1 * MiB, 5));
		check(read_signal(q.base + idle) == SIGBUS);
		check(!pool_free(&q, live));
		_exit(0);
	}
	close(ready.fd[1]);
	idle = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, idle);
	ASSERT_EQ(0, pool_free(&self->p, idle));
	ASSERT_TRUE(gate_wait(&ready));

	EXPECT_EQ(0, sysfs_write("release_retained", "1\n"));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(released + 2 * MiB + 64 * KiB, sysfs_value("released_bytes"));
	EXPECT_EQ(0, sysfs_value("retained_bytes"));
	gate_pass(&done);
	EXPECT_EQ(0, child_status(pid));
}

TEST_HARNESS_MAIN
