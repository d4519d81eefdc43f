// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: of a pool and of the device.  At a limit a pool gives up its idle
 * memory first, and fails only if that was not enough.
 */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(limits) {
	struct settings saved;
};

FIXTURE_SETUP(limits)
{
	settings_save(&self->saved);
}

FIXTURE_TEARDOWN_PARENT(limits)
{
	EXPECT_EQ(0, settings_restore(&self->saved));
}

TEST_F(limits, of_the_pool)
{
	struct bufpool_config cfg = fixed_config(1 * MiB);
	uint64_t hits = sysfs_value("limit_hits");
	int64_t offset[16];
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 16; i++) {
		offset[i] = pool_alloc(&p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	EXPECT_EQ(1 * MiB, pool_attached(&p));
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 64 * KiB, 0, NULL));
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 1, 0, NULL));
	EXPECT_EQ(1 * MiB, pool_attached(&p));
	EXPECT_EQ(1 * MiB, pool_stats(&p).peak_attached_bytes);
	EXPECT_EQ(2, pool_stats(&p).limit_hits);
	EXPECT_EQ(hits + 2, sysfs_value("limit_hits"));

	/* One comes back, one can go out. */
	ASSERT_EQ(0, pool_free(&p, offset[7]));
	EXPECT_LE(0, pool_alloc(&p, 64 * KiB, 0, NULL));
	EXPECT_EQ(2, pool_stats(&p).limit_hits);
	pool_destroy(&p);
	EXPECT_EQ(hits + 2, sysfs_value("limit_hits"));
}

/* Idle buffers of other classes do not stand in the way of a live one. */
TEST_F(limits, pool_gives_up_its_idle_memory)
{
	struct bufpool_config cfg = fixed_config(8 * MiB);
	struct bufpool_stats st;
	int64_t offset[4], big;
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 4; i++) {
		offset[i] = pool_alloc(&p, 2 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&p, offset[i]));
	}
	ASSERT_EQ(8 * MiB, pool_retained(&p));

	big = pool_alloc(&p, 8 * MiB, 0, NULL);
	EXPECT_LE(0, big);
	st = pool_stats(&p);
	EXPECT_EQ(8 * MiB, st.attached_bytes);
	EXPECT_EQ(0, st.retained_bytes);
	EXPECT_EQ(8 * MiB, st.reclaimed_bytes);
	EXPECT_EQ(0, st.limit_hits);
	/* What it gave up is detached. */
	for (i = 0; i < 4; i++) {
		if (offset[i] < big || offset[i] >= big + (int64_t)(8 * MiB)) {
			EXPECT_EQ(SIGBUS, read_signal(p.base + offset[i]));
		}
	}
	pool_destroy(&p);
}

/* It gives up no more than it must, give or take one buffer. */
TEST_F(limits, pool_keeps_the_idle_memory_it_can)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int64_t offset[16];
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 16; i++) {
		offset[i] = pool_alloc(&p, 1 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pool_free(&p, offset[i]));
	}
	EXPECT_LE(0, pool_alloc(&p, 2 * MiB, 0, NULL));
	EXPECT_GE(16 * MiB, pool_attached(&p));
	EXPECT_LE(5 * MiB, pool_retained(&p));
	pool_destroy(&p);
}

/* Nor what the limit has room for beside it. */
TEST_F(limits, pool_gives_up_what_is_missing)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int64_t offset[10];
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 10; i++) {
		offset[i] = pool_alloc(&p, 1 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, pool_free(&p, offset[i]));
	}
	EXPECT_LE(0, pool_alloc(&p, 8 * MiB, 0, NULL));
	EXPECT_EQ(8 * MiB, pool_retained(&p));
	pool_destroy(&p);
}

/* Nor anything for a buffer that can never be. */
TEST_F(limits, nothing_is_given_up_in_vain)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	uint64_t before = device_attached();
	struct pool p, other;
	int64_t offset;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	ASSERT_EQ(0, pool_init(&other, &cfg));
	offset = pool_alloc(&other, 2 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&other, offset));

	/* Its own limit has been lowered since it was set up. */
	cfg.pool_limit_bytes = 4 * MiB;
	ASSERT_EQ(0, pool_set_config(&p, &cfg));
	offset = pool_alloc(&p, 2 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&p, offset));
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 5 * MiB, 0, NULL));
	EXPECT_EQ(2 * MiB, pool_retained(&p));

	ASSERT_EQ(0, sysfs_set("total_limit_bytes", before + 4 * MiB));
	EXPECT_EQ(-EDQUOT, pool_alloc(&other, before + 5 * MiB, 0, NULL));
	EXPECT_EQ(2 * MiB, pool_retained(&p));
	EXPECT_EQ(2 * MiB, pool_retained(&other));
	EXPECT_EQ(1, pool_stats(&p).limit_hits);
	EXPECT_EQ(1, pool_stats(&other).limit_hits);
	pool_destroy(&p);
	pool_destroy(&other);
}

/* Live memory is never taken, however much is asked for. */
TEST_F(limits, live_buffers_stay)
{
	struct bufpool_config cfg = fixed_config(8 * MiB);
	int64_t live, idle;
	struct pool p;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	live = pool_alloc(&p, 4 * MiB, 0, NULL);
	ASSERT_LE(0, live);
	stamp_range(p.base + live, 4 * MiB, 7);
	idle = pool_alloc(&p, 2 * MiB, 0, NULL);
	ASSERT_LE(0, idle);
	ASSERT_EQ(0, pool_free(&p, idle));
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 6 * MiB, 0, NULL));
	EXPECT_EQ(1, pool_stats(&p).limit_hits);
	EXPECT_TRUE(stamped(p.base + live, 4 * MiB, 7));
	EXPECT_LE(0, pool_alloc(&p, 4 * MiB, 0, NULL));
	EXPECT_TRUE(stamped(p.base + live, 4 * MiB, 7));
	pool_destroy(&p);
}

#define NR_SHARERS	4

struct sharer {
	pthread_t thread;
	const struct pool *pool;
	unsigned int nr;
	int64_t error;
};

/* Never more than 2 MiB at a time, of sizes that the others do not use just then. */
static void *share(void *arg)
{
	struct sharer *s = arg;
	int64_t offset;
	int i;

	for (i = 0; i < 2000 && !s->error; i++) {
		offset = pool_alloc(s->pool, 2 * MiB - (i + s->nr) % 3 * 256 * KiB,
				    0, NULL);
		s->error = offset < 0 ? offset : pool_free(s->pool, offset);
	}
	return NULL;
}

/* What one thread is giving back is waited for by another that needs it. */
TEST_F(limits, threads_that_stay_within_it)
{
	struct bufpool_config cfg = fixed_config(NR_SHARERS * 2 * MiB);
	struct sharer sharer[NR_SHARERS] = {};
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < NR_SHARERS; i++) {
		sharer[i].pool = &p;
		sharer[i].nr = i;
		ASSERT_EQ(0, pthread_create(&sharer[i].thread, NULL, share,
					    &sharer[i]));
	}
	for (i = 0; i < NR_SHARERS; i++) {
		ASSERT_EQ(0, pthread_join(sharer[i].thread, NULL));
		EXPECT_EQ(0, sharer[i].error);
	}
	EXPECT_EQ(0, pool_stats(&p).limit_hits);
	pool_destroy(&p);
}

TEST_F(limits, of_the_device)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t before = device_attached();
	struct pool a, b;
	int64_t offset;

	ASSERT_EQ(0, sysfs_set("total_limit_bytes", before + 8 * MiB));
	ASSERT_EQ(0, pool_init(&a, &cfg));
	ASSERT_EQ(0, pool_init(&b, &cfg));

	offset = pool_alloc(&a, 6 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	EXPECT_EQ(-EDQUOT, pool_alloc(&b, 4 * MiB, 0, NULL));
	EXPECT_EQ(1, pool_stats(&b).limit_hits);
	EXPECT_EQ(0, pool_stats(&a).limit_hits);
	EXPECT_EQ(0, pool_attached(&b));
	EXPECT_LE(0, pool_alloc(&b, 2 * MiB, 0, NULL));
	EXPECT_EQ(before + 8 * MiB, device_attached());
	EXPECT_EQ(-EDQUOT, pool_alloc(&b, 1, 0, NULL));

	/* Also a limit that has been lowered below what is held. */
	ASSERT_EQ(0, sysfs_set("total_limit_bytes", before + 1 * MiB));
	EXPECT_EQ(-EDQUOT, pool_alloc(&a, 1, 0, NULL));
	stamp_range(a.base + offset, 6 * MiB, 3);
	EXPECT_TRUE(stamped(a.base + offset, 6 * MiB, 3));

	/* Memory that is given back can be used again, by anybody. */
	ASSERT_EQ(0, sysfs_set("total_limit_bytes", before + 8 * MiB));
	ASSERT_EQ(0, pool_free(&a, offset));
	ASSERT_EQ((int64_t)(6 * MiB), pool_release(&a));
	EXPECT_LE(0, pool_alloc(&b, 6 * MiB, 0, NULL));
	pool_destroy(&a);
	pool_destroy(&b);
	EXPECT_EQ(before, device_attached());
}

TEST_F(limits, device_limit_takes_own_idle_memory)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t before = device_attached();
	int64_t offset[3];
	struct pool p;
	int i;

	ASSERT_EQ(0, sysfs_set("total_limit_bytes", before + 6 * MiB));
	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (i = 0; i < 3; i++) {
		offset[i] = pool_alloc(&p, 2 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pool_free(&p, offset[i]));
	}
	EXPECT_LE(0, pool_alloc(&p, 5 * MiB, 0, NULL));
	EXPECT_EQ(0, pool_stats(&p).limit_hits);
	EXPECT_LE(4 * MiB, pool_stats(&p).reclaimed_bytes);
	EXPECT_GE(before + 6 * MiB, device_attached());
	pool_destroy(&p);
}

/* Growing a kept buffer counts its tail against the limit, not all of it. */
TEST_F(limits, growing_at_the_limit)
{
	struct bufpool_config cfg = fixed_config(24 * MiB);
	struct bufpool_stats st;
	int64_t offset;
	struct pool p;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	offset = pool_alloc(&p, 18 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&p, offset));
	ASSERT_EQ(18 * MiB, pool_retained(&p));
	EXPECT_LE(0, pool_alloc(&p, 20 * MiB, 0, NULL));
	st = pool_stats(&p);
	EXPECT_EQ(20 * MiB, st.attached_bytes);
	EXPECT_EQ(1, st.grown);
	EXPECT_EQ(0, st.reclaimed_bytes);

	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 5 * MiB, 0, NULL));
	EXPECT_EQ(20 * MiB, pool_attached(&p));
	pool_destroy(&p);
}

/* A small limit does not mean few sizes: one buffer of each class fits. */
TEST_F(limits, many_classes_under_a_small_limit)
{
	struct bufpool_config cfg = fixed_config(1 * MiB);
	uint64_t sum = 0, bytes;
	struct pool p;
	uint32_t c;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (c = 0; ; c++) {
		bytes = bufpool_class_pages(c) * page_size();
		if (sum + bytes > 1 * MiB)
			break;
		EXPECT_LE(0, pool_alloc(&p, bytes, 0, NULL)) {
			TH_LOG("class %u, %ju of 1 MiB live", c, sum);
		}
		sum += bytes;
	}
	EXPECT_EQ(sum, pool_attached(&p));
	pool_destroy(&p);
}

/* The whole limit can be had in buffers of any one size, and again in another. */
TEST_F(limits, all_of_it_in_one_class)
{
	struct bufpool_config cfg = fixed_config(32 * MiB);
	struct pool p;
	uint32_t c;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	for (c = class_of(256 * KiB); c <= class_of(32 * MiB); c++) {
		uint64_t bytes = bufpool_class_pages(c) * page_size();
		int64_t offset[128];
		int nr = 32 * MiB / bytes, i;

		for (i = 0; i < nr; i++) {
			offset[i] = pool_alloc(&p, bytes, 0, NULL);
			ASSERT_LE(0, offset[i]) {
				TH_LOG("%d of %d buffers of %ju bytes: %s", i,
				       nr, bytes, strerror(-offset[i]));
			}
		}
		while (nr--) {
			ASSERT_EQ(0, pool_free(&p, offset[nr]));
		}
		/* Every other time the next class finds it all idle. */
		if (c % 2) {
			ASSERT_LE(0, pool_release(&p));
		}
	}
	pool_destroy(&p);
}

/* Failing at a limit over and over loses nothing. */
TEST_F(limits, failures_leak_nothing)
{
	struct bufpool_config cfg = fixed_config(4 * MiB);
	uint64_t before = device_attached();
	int64_t live;
	struct pool p;
	int i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	live = pool_alloc(&p, 3 * MiB, 0, NULL);
	ASSERT_LE(0, live);
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(-EDQUOT, pool_alloc(&p, 2 * MiB, 0, NULL));
	}
	EXPECT_EQ(3 * MiB, pool_attached(&p));
	EXPECT_EQ(before + 3 * MiB, device_attached());
	ASSERT_EQ(0, pool_free(&p, live));
	EXPECT_LE(0, pool_alloc(&p, 4 * MiB, 0, NULL));
	pool_destroy(&p);
	EXPECT_EQ(before, device_attached());
}

TEST_HARNESS_MAIN
