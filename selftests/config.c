// SPDX-License-Identifier: GPL-2.0-only
/* GET_CONFIG and SET_CONFIG: a pool's own tuning, changed as a whole or not. */
#include "kselftest_harness.h"
#include "pool.h"

FIXTURE(config) {
	struct pool p;
	struct bufpool_config cfg;
};

FIXTURE_SETUP(config)
{
	self->cfg = fixed_config(64 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
}

FIXTURE_TEARDOWN(config)
{
	pool_destroy(&self->p);
}

static bool same(const struct bufpool_config *a, const struct bufpool_config *b)
{
	struct bufpool_config x = *a, y = *b;

	x.flags = 0;
	y.flags = 0;
	return !memcmp(&x, &y, sizeof(x));
}

TEST_F(config, as_set_up)
{
	struct bufpool_config cfg;

	ASSERT_EQ(0, pool_get_config(&self->p, 0, &cfg));
	EXPECT_TRUE(same(&self->cfg, &cfg));
	ASSERT_EQ(0, pool_get_config(&self->p, BUFPOOL_CONFIG_EFFECTIVE, &cfg));
	EXPECT_TRUE(same(&self->cfg, &cfg));
}

TEST_F(config, round_trip)
{
	struct bufpool_config want = {
		.size = sizeof(want),
		.max_pooled_bytes = 3 * MiB,
		.large_threshold_bytes = 1 * MiB,
		.max_retained_bytes = 5 * MiB,
		.pool_limit_bytes = 40 * MiB,
		.alloc_limit_bytes = 7 * MiB,
		.percpu_cached = 3,
		.large_cached = 2,
		.trim_period_ms = 1234,
		.trim_percent = 100,
	};
	struct bufpool_config cfg;

	ASSERT_EQ(0, pool_set_config(&self->p, &want));
	ASSERT_EQ(0, pool_get_config(&self->p, 0, &cfg));
	EXPECT_TRUE(same(&want, &cfg));
	/* What GET_CONFIG gives, SET_CONFIG takes. */
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	ASSERT_EQ(0, pool_get_config(&self->p, 0, &cfg));
	EXPECT_TRUE(same(&want, &cfg));
}

TEST_F(config, follow_is_kept_and_resolved)
{
	struct bufpool_config want = follow_device(), cfg;

	want.percpu_cached = 5;
	want.max_pooled_bytes = 2 * MiB;
	/* The range was laid out for less than the device's limit. */
	want.pool_limit_bytes = 64 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &want));

	ASSERT_EQ(0, pool_get_config(&self->p, 0, &cfg));
	EXPECT_TRUE(same(&want, &cfg));

	ASSERT_EQ(0, pool_get_config(&self->p, BUFPOOL_CONFIG_EFFECTIVE, &cfg));
	EXPECT_EQ(5, cfg.percpu_cached);
	EXPECT_EQ(2 * MiB, cfg.max_pooled_bytes);
	EXPECT_EQ(64 * MiB, cfg.pool_limit_bytes);
	EXPECT_EQ(sysfs_value("large_threshold_bytes"), cfg.large_threshold_bytes);
	EXPECT_EQ(sysfs_value("max_retained_bytes"), cfg.max_retained_bytes);
	EXPECT_EQ(sysfs_value("large_cached"), cfg.large_cached);
	EXPECT_EQ(sysfs_value("trim_period_ms"), cfg.trim_period_ms);
	EXPECT_EQ(sysfs_value("trim_percent"), cfg.trim_percent);
}

/* A configuration with one bad field changes none of the others. */
TEST_F(config, nothing_half_applied)
{
	struct bufpool_config good = self->cfg, cfg;
	struct bufpool_config bad[8];
	size_t i;

	/* All of them differ from what is set in every other field. */
	good.max_pooled_bytes = 1 * MiB;
	good.large_threshold_bytes = 512 * KiB;
	good.max_retained_bytes = 2 * MiB;
	good.pool_limit_bytes = 32 * MiB;
	good.alloc_limit_bytes = 16 * MiB;
	good.percpu_cached = 1;
	good.large_cached = 1;
	good.trim_period_ms = 1;
	good.trim_percent = 1;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].trim_percent = 101;
	bad[1].trim_percent = 1U << 31;
	bad[2].pool_limit_bytes = 64 * MiB + page_size();
	bad[3].pool_limit_bytes = 1ULL << 62;
	bad[4].pool_limit_bytes = 0;
	bad[5].flags = 1;
	bad[6].flags = 1U << 31;
	bad[7].percpu_cached = BUFPOOL_FOLLOW32 - 1;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, pool_set_config(&self->p, &bad[i])) {
			TH_LOG("bad configuration %zu", i);
		}
		ASSERT_EQ(0, pool_get_config(&self->p, 0, &cfg));
		EXPECT_TRUE(same(&self->cfg, &cfg));
		EXPECT_EQ(64 * MiB, pool_control(&self->p)->alloc_limit_bytes);
		EXPECT_EQ(16, pool_control(&self->p)->classes[0].percpu_cap);
	}
	EXPECT_EQ(0, pool_set_config(&self->p, &good));
}

TEST_F(config, get_knows_its_flags)
{
	struct bufpool_config cfg;

	EXPECT_EQ(-EINVAL, pool_get_config(&self->p, 2, &cfg));
	EXPECT_EQ(-EINVAL, pool_get_config(&self->p, ~0U, &cfg));
}

/* The limit the range was laid out for can be lowered and raised again. */
TEST_F(config, pool_limit)
{
	struct bufpool_config cfg = self->cfg;

	cfg.pool_limit_bytes = 1 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	EXPECT_EQ(-EDQUOT, pool_alloc(&self->p, 2 * MiB, 0, NULL));
	cfg.pool_limit_bytes = 64 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	EXPECT_LE(0, pool_alloc(&self->p, 2 * MiB, 0, NULL));
	cfg.pool_limit_bytes = 64 * MiB + page_size();
	EXPECT_EQ(-EINVAL, pool_set_config(&self->p, &cfg));

	/* Lowered below what is live: the live stays, new is refused. */
	cfg.pool_limit_bytes = 1 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	EXPECT_EQ(2 * MiB, pool_attached(&self->p));
	EXPECT_EQ(-EDQUOT, pool_alloc(&self->p, 1, 0, NULL));
}

TEST_F(config, alloc_limit_takes_effect)
{
	struct bufpool_config cfg = self->cfg;

	cfg.alloc_limit_bytes = 1 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, 1 * MiB + 1, 0, NULL));
	EXPECT_LE(0, pool_alloc(&self->p, 1 * MiB, 0, NULL));
	cfg.alloc_limit_bytes = 2 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	EXPECT_LE(0, pool_alloc(&self->p, 2 * MiB, 0, NULL));
}

TEST_F(config, max_pooled_takes_effect)
{
	struct bufpool_config cfg = self->cfg;
	int64_t offset = pool_alloc(&self->p, 1 * MiB, 0, NULL);

	ASSERT_LE(0, offset);
	cfg.max_pooled_bytes = 1 * MiB - 1;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	/* It was handed out when it would have been kept. */
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(0, pool_attached(&self->p));

	cfg.max_pooled_bytes = 1 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	offset = pool_alloc(&self->p, 1 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(1 * MiB, pool_retained(&self->p));
}

/* A class that turns large while its buffers are idle: none is lost. */
TEST_F(config, threshold_moves_over_idle_buffers)
{
	struct bufpool_config cfg = self->cfg;
	int64_t offset[4];
	int i;

	for (i = 0; i < 4; i++) {
		offset[i] = pool_alloc(&self->p, 1 * MiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	cfg.large_threshold_bytes = 512 * KiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	for (i = 0; i < 4; i++) {
		offset[i] = pool_alloc(&self->p, 1 * MiB - 5000, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	EXPECT_EQ(pool_attached(&self->p), pool_retained(&self->p));

	/* And back, with buffers that are smaller than their class. */
	EXPECT_EQ((int64_t)pool_attached(&self->p), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	for (i = 0; i < 4; i++) {
		offset[i] = pool_alloc(&self->p, 900 * KiB, 0, NULL);
		ASSERT_LE(0, offset[i]);
	}
	EXPECT_EQ(4 * 900 * KiB, pool_attached(&self->p));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	cfg.large_threshold_bytes = 8 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	for (i = 0; i < 4; i++) {
		uint64_t usable;

		offset[i] = pool_alloc(&self->p, 1 * MiB, 0, &usable);
		ASSERT_LE(0, offset[i]);
		EXPECT_LE(1 * MiB, usable);
		EXPECT_EQ(0, write_signal(self->p.base + offset[i] + MiB - 1));
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_free(&self->p, offset[i]));
	}
	ASSERT_LE(0, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

TEST_HARNESS_MAIN
