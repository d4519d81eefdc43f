// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trimming: each period the configured share of every stack goes, cold end
 * first, until nothing is idle; and what may be retained is enforced.
 *
 * checkpatch: SPACING: FIXTURE_DATA() is a type
 */
#include "kselftest_harness.h"
#include "pool.h"

#define NR		10
#define PERIOD_MS	50

FIXTURE(trim) {
	struct bufpool_config cfg;
	struct pool p;
	int64_t offset[NR];
};

FIXTURE_SETUP(trim)
{
	int i;

	/* One CPU's stack holds all: the order is known. */
	ASSERT_EQ(0, pin_to_cpu(0));
	self->cfg = fixed_config(128 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
	for (i = 0; i < NR; i++) {
		self->offset[i] = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, self->offset[i]);
	}
}

FIXTURE_TEARDOWN(trim)
{
	pool_destroy(&self->p);
	unpin();
}

static void free_all(struct __test_metadata *_metadata,
		     FIXTURE_DATA(trim) *self)
{
	int i;

	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	ASSERT_EQ(NR * 64 * KiB, pool_retained(&self->p));
}

/* Wait until at least @bytes were trimmed; the runner's timeout ends it. */
static struct bufpool_stats wait_trimmed(const struct pool *p, uint64_t bytes)
{
	struct bufpool_stats st;

	do {
		usleep(PERIOD_MS * 1000 / 10);
		st = pool_stats(p);
	} while (st.trimmed_bytes < bytes);
	return st;
}

static void start(struct __test_metadata *_metadata, FIXTURE_DATA(trim) *self,
		  uint32_t period_ms, uint32_t percent)
{
	self->cfg.trim_period_ms = period_ms;
	self->cfg.trim_percent = percent;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
}

TEST_F(trim, an_untouched_pool_ends_with_nothing)
{
	struct bufpool_stats st;

	free_all(_metadata, self);
	start(_metadata, self, PERIOD_MS, 50);
	st = wait_trimmed(&self->p, NR * 64 * KiB);
	EXPECT_EQ(NR * 64 * KiB, st.trimmed_bytes);
	EXPECT_EQ(0, st.attached_bytes);
	EXPECT_EQ(0, st.retained_bytes);
	EXPECT_EQ(0, st.released_bytes);
	EXPECT_EQ(0, st.reclaimed_bytes);
	EXPECT_EQ(0, st.corruptions);
}

TEST_F(trim, cold_end_first)
{
	uint64_t gone;
	int i;

	free_all(_metadata, self);
	/* Long enough for what follows to be done before the second one. */
	start(_metadata, self, 2000, 30);
	gone = wait_trimmed(&self->p, 1).trimmed_bytes / (64 * KiB);
	self->cfg.trim_period_ms = 0;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	ASSERT_EQ(3, gone);

	/* Freed first is coldest. */
	for (i = 0; i < NR; i++) {
		EXPECT_EQ(i < 3 ? SIGBUS : 0,
			  read_signal(self->p.base + self->offset[i]));
	}
	/* The rest is as it was: the last freed comes first. */
	for (i = NR - 1; i >= 3; i--) {
		EXPECT_EQ(self->offset[i],
			  pool_alloc(&self->p, 64 * KiB, 0, NULL));
	}
	EXPECT_EQ(0, pool_retained(&self->p));
}

TEST_F(trim, live_and_large_buffers)
{
	struct bufpool_stats st;
	int64_t large;

	large = pool_alloc(&self->p, 9 * MiB, 0, NULL);
	ASSERT_LE(0, large);
	ASSERT_EQ(0, pool_free(&self->p, large));
	ASSERT_EQ(9 * MiB, pool_retained(&self->p));
	stamp_range(self->p.base + self->offset[0], 64 * KiB, 7);

	start(_metadata, self, PERIOD_MS, 100);
	st = wait_trimmed(&self->p, 9 * MiB);
	EXPECT_EQ(9 * MiB, st.trimmed_bytes);
	EXPECT_EQ(NR * 64 * KiB, st.attached_bytes);
	EXPECT_TRUE(stamped(self->p.base + self->offset[0], 64 * KiB, 7));
}

/* The depot, too, and a stack deeper than one batch of the kernel's. */
TEST_F(trim, a_deep_depot)
{
	int64_t offset[200];
	size_t i;

	self->cfg.percpu_cached = 2;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		offset[i] = pool_alloc(&self->p, 8 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}

	start(_metadata, self, PERIOD_MS, 25);
	wait_trimmed(&self->p, ARRAY_SIZE(offset) * 8 * KiB);
	EXPECT_EQ(0, pool_retained(&self->p));
	EXPECT_EQ(NR * 64 * KiB, pool_attached(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

TEST_F(trim, follows_the_device)
{
	struct settings saved;

	self->cfg.trim_period_ms = BUFPOOL_FOLLOW32;
	self->cfg.trim_percent = BUFPOOL_FOLLOW32;
	settings_save(&saved);
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	free_all(_metadata, self);
	EXPECT_EQ(0, sysfs_set("trim_percent", 100));
	EXPECT_EQ(0, sysfs_set("trim_period_ms", PERIOD_MS));
	wait_trimmed(&self->p, NR * 64 * KiB);
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(0, settings_restore(&saved));
}

/* Lowering what may be retained acts at once. */
TEST_F(trim, lower_max_retained)
{
	struct bufpool_stats st;

	free_all(_metadata, self);
	self->cfg.max_retained_bytes = 3 * 64 * KiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	st = pool_stats(&self->p);
	EXPECT_EQ(3 * 64 * KiB, st.retained_bytes);
	EXPECT_EQ(7 * 64 * KiB, st.reclaimed_bytes);
	/* The hot ones stay. */
	EXPECT_EQ(self->offset[NR - 1],
		  pool_alloc(&self->p, 64 * KiB, 0, NULL));
}

/* So does lowering what may be held, as far as it is idle. */
TEST_F(trim, lower_the_pool_limit)
{
	struct settings saved;
	int64_t live;

	settings_save(&saved);
	free_all(_metadata, self);
	live = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, live);
	self->cfg.pool_limit_bytes = 6 * 64 * KiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	EXPECT_EQ(6 * 64 * KiB, pool_attached(&self->p));
	EXPECT_EQ(5 * 64 * KiB, pool_retained(&self->p));
	EXPECT_EQ(4 * 64 * KiB, pool_stats(&self->p).reclaimed_bytes);

	self->cfg.pool_limit_bytes = BUFPOOL_FOLLOW;
	ASSERT_EQ(0, pool_set_config(&self->p, &self->cfg));
	EXPECT_EQ(0, sysfs_set("pool_limit_bytes", 3 * 64 * KiB));
	EXPECT_EQ(3 * 64 * KiB, pool_attached(&self->p));
	EXPECT_EQ(0, settings_restore(&saved));
}

TEST_F(trim, lower_the_device_limit)
{
	struct settings saved;

	settings_save(&saved);
	free_all(_metadata, self);
	EXPECT_EQ(0, sysfs_set("total_limit_bytes", 64 * KiB));
	EXPECT_EQ(64 * KiB, pool_attached(&self->p));
	EXPECT_EQ(0, settings_restore(&saved));
}

/* For the device's limit other pools give up their idle memory. */
TEST_F(trim, others_give_way)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);
	struct settings saved;
	struct pool other;

	settings_save(&saved);
	free_all(_metadata, self);
	ASSERT_EQ(0, pool_init(&other, &cfg));
	EXPECT_EQ(0, sysfs_set("total_limit_bytes", NR * 64 * KiB));
	EXPECT_LE(0, pool_alloc(&other, 256 * KiB, 0, NULL));
	EXPECT_EQ(6 * 64 * KiB, pool_retained(&self->p));
	EXPECT_EQ(-EDQUOT, pool_alloc(&other, 1 * MiB, 0, NULL));
	EXPECT_EQ(0, settings_restore(&saved));
	pool_destroy(&other);
}

TEST_HARNESS_MAIN
