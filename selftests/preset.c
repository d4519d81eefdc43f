// SPDX-License-Identifier: GPL-2.0-only
/* Presets, and pools that follow the device's settings while they change. */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/sysinfo.h>

static const struct preset {
	const char *name;
	uint64_t max_pooled, threshold;
	uint32_t percpu, large;
	uint64_t max_retained;
	unsigned int ram_share;		/* of RAM, if max_retained is 0 */
	uint32_t percent, period_ms;
} presets[] = {
	{ "default", 24 * MiB, 8 * MiB, 16, 6, 0, 8, 50, 60000 },
	{ "minimal", 64 * KiB, 32 * KiB, 24, 8, 16 * MiB, 0, 50, 10000 },
	{ "moderate", 1 * MiB, 32 * KiB, 24, 16, 64 * MiB, 0, 50, 30000 },
	{ "aggressive", 128 * MiB, 32 * MiB, 32, 16, 0, 4, 25, 120000 },
};

FIXTURE(preset) {
	struct settings saved;
};

FIXTURE_SETUP(preset)
{
	settings_save(&self->saved);
}

FIXTURE_TEARDOWN_PARENT(preset)
{
	EXPECT_EQ(0, settings_restore(&self->saved));
}

/* RAM as sysinfo() tells it may differ from the kernel's idea by a little. */
static bool is_share_of_ram(uint64_t value, unsigned int share)
{
	struct sysinfo info;
	uint64_t want;

	if (sysinfo(&info))
		die("sysinfo");
	want = (uint64_t)info.totalram * info.mem_unit / share;
	return value > want - want / 16 && value < want + want / 16;
}

TEST_F(preset, values)
{
	uint64_t retained;
	char name[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(presets); i++) {
		const struct preset *w = &presets[i];

		ASSERT_EQ(0, sysfs_write("preset", w->name));
		ASSERT_EQ(0, sysfs_read("preset", name, sizeof(name)));
		EXPECT_STREQ(w->name, name);
		EXPECT_EQ(w->max_pooled, sysfs_value("max_pooled_bytes"));
		EXPECT_EQ(w->threshold, sysfs_value("large_threshold_bytes"));
		EXPECT_EQ(w->percpu, sysfs_value("percpu_cached"));
		EXPECT_EQ(w->large, sysfs_value("large_cached"));
		EXPECT_EQ(w->percent, sysfs_value("trim_percent"));
		EXPECT_EQ(w->period_ms, sysfs_value("trim_period_ms"));
		if (w->ram_share) {
			retained = sysfs_value("max_retained_bytes");
			EXPECT_TRUE(is_share_of_ram(retained, w->ram_share));
		} else {
			EXPECT_EQ(w->max_retained,
				  sysfs_value("max_retained_bytes"));
		}
	}
}

/* The limits are the administrator's, not a preset's. */
TEST_F(preset, leaves_the_limits_alone)
{
	uint64_t total = self->saved.limit[2] / 2;

	ASSERT_EQ(0, sysfs_set("total_limit_bytes", total));
	ASSERT_EQ(0, sysfs_set("alloc_limit_bytes", 5 * MiB));
	ASSERT_EQ(0, sysfs_set("pool_limit_bytes", 77 * MiB));
	ASSERT_EQ(0, sysfs_write("preset", "aggressive\n"));
	EXPECT_EQ(total, sysfs_value("total_limit_bytes"));
	EXPECT_EQ(5 * MiB, sysfs_value("alloc_limit_bytes"));
	EXPECT_EQ(77 * MiB, sysfs_value("pool_limit_bytes"));
}

TEST_F(preset, is_custom_after_a_change_of_one_field)
{
	char name[32];
	size_t i;

	for (i = 0; i < NR_PRESET_SETTINGS; i++) {
		uint64_t value;

		ASSERT_EQ(0, sysfs_write("preset", "moderate"));
		value = sysfs_value(preset_settings[i]);
		ASSERT_EQ(0, sysfs_set(preset_settings[i], value - 1));
		ASSERT_EQ(0, sysfs_read("preset", name, sizeof(name)));
		EXPECT_STREQ("custom", name) {
			TH_LOG("after %s", preset_settings[i]);
		}
	}
	/* A limit is in no preset. */
	ASSERT_EQ(0, sysfs_write("preset", "moderate"));
	ASSERT_EQ(0, sysfs_set("alloc_limit_bytes", 5 * MiB));
	ASSERT_EQ(0, sysfs_read("preset", name, sizeof(name)));
	EXPECT_STREQ("moderate", name);
}

TEST_F(preset, seen_by_an_open_pool)
{
	struct bufpool_config cfg;
	struct pool p;
	size_t i;

	ASSERT_EQ(0, pool_init(&p, NULL));
	for (i = 0; i < ARRAY_SIZE(presets); i++) {
		const struct preset *w = &presets[i];

		ASSERT_EQ(0, sysfs_write("preset", w->name));
		ASSERT_EQ(0, pool_get_config(&p, BUFPOOL_CONFIG_EFFECTIVE,
					     &cfg));
		EXPECT_EQ(w->max_pooled, cfg.max_pooled_bytes);
		EXPECT_EQ(w->threshold, cfg.large_threshold_bytes);
		EXPECT_EQ(w->percpu, cfg.percpu_cached);
		EXPECT_EQ(w->large, cfg.large_cached);
		EXPECT_EQ(w->percent, cfg.trim_percent);
		EXPECT_EQ(w->period_ms, cfg.trim_period_ms);
		EXPECT_EQ(sysfs_value("max_retained_bytes"),
			  cfg.max_retained_bytes);
		/* Also where the process looks without asking. */
		EXPECT_EQ(w->max_pooled / page_size(),
			  pool_control(&p)->max_pooled_pages);
		EXPECT_EQ(w->percpu, pool_control(&p)->classes[0].percpu_cap);
	}
	ASSERT_EQ(0, pool_get_config(&p, 0, &cfg));
	EXPECT_EQ(BUFPOOL_FOLLOW, cfg.max_pooled_bytes);
	EXPECT_EQ(BUFPOOL_FOLLOW32, cfg.percpu_cached);
	pool_destroy(&p);
}

/* What a pool set itself it keeps, field by field. */
TEST_F(preset, own_fields_do_not_follow)
{
	struct bufpool_config cfg = follow_device();
	struct pool p;

	cfg.max_pooled_bytes = 3 * MiB;
	cfg.percpu_cached = 9;
	ASSERT_EQ(0, pool_init(&p, &cfg));
	ASSERT_EQ(0, sysfs_write("preset", "minimal"));
	ASSERT_EQ(0, pool_get_config(&p, BUFPOOL_CONFIG_EFFECTIVE, &cfg));
	EXPECT_EQ(3 * MiB, cfg.max_pooled_bytes);
	EXPECT_EQ(9, cfg.percpu_cached);
	EXPECT_EQ(32 * KiB, cfg.large_threshold_bytes);
	EXPECT_EQ(8, cfg.large_cached);

	/* A pool may come back to following, and then does. */
	cfg = follow_device();
	cfg.pool_limit_bytes = 16 * MiB;
	ASSERT_EQ(0, pool_set_config(&p, &cfg));
	ASSERT_EQ(0, pool_get_config(&p, BUFPOOL_CONFIG_EFFECTIVE, &cfg));
	EXPECT_EQ(64 * KiB, cfg.max_pooled_bytes);
	EXPECT_EQ(24, cfg.percpu_cached);
	pool_destroy(&p);
}

/* Not only reported: acted upon. */
TEST_F(preset, changes_what_an_open_pool_does)
{
	int64_t offset;
	struct pool p;

	ASSERT_EQ(0, sysfs_write("preset", "default"));
	ASSERT_EQ(0, pool_init(&p, NULL));
	offset = pool_alloc(&p, 1 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&p, offset));
	EXPECT_EQ(1 * MiB, pool_retained(&p));
	ASSERT_EQ((int64_t)(1 * MiB), pool_release(&p));

	ASSERT_EQ(0, sysfs_write("preset", "minimal"));
	offset = pool_alloc(&p, 1 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&p, offset));
	EXPECT_EQ(0, pool_attached(&p));

	ASSERT_EQ(0, sysfs_set("alloc_limit_bytes", 1 * MiB));
	EXPECT_EQ(-EFBIG, pool_alloc(&p, 1 * MiB + 1, 0, NULL));
	ASSERT_EQ(0, sysfs_set("pool_limit_bytes", 2 * MiB));
	EXPECT_LE(0, pool_alloc(&p, 1 * MiB, 0, NULL));
	EXPECT_LE(0, pool_alloc(&p, 1 * MiB, 0, NULL));
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, 4096, 0, NULL));
	pool_destroy(&p);
}

/* A device limit that grows cannot make an open pool's address range grow. */
TEST_F(preset, following_limit_stays_within_the_range)
{
	struct bufpool_config cfg;
	struct pool p;

	ASSERT_EQ(0, sysfs_set("pool_limit_bytes", 16 * MiB));
	ASSERT_EQ(0, pool_init(&p, NULL));
	ASSERT_EQ(0, sysfs_set("pool_limit_bytes", 256 * MiB));
	ASSERT_EQ(0, pool_get_config(&p, BUFPOOL_CONFIG_EFFECTIVE, &cfg));
	EXPECT_GE(p.setup.data_bytes, cfg.pool_limit_bytes);
	EXPECT_LE(16 * MiB, cfg.pool_limit_bytes);
	EXPECT_EQ(-EDQUOT, pool_alloc(&p, cfg.pool_limit_bytes + page_size(),
				      0, NULL));
	pool_destroy(&p);
}

TEST_HARNESS_MAIN
