// SPDX-License-Identifier: GPL-2.0-only
/* The library on the device: what the kernel sees of it, and it of the kernel. */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

#include <sys/resource.h>

/* A pool that cannot be created leaves nothing behind. */
TEST(create_errors)
{
	struct bufpool_config cfg = fixed_config(4 * GiB);
	struct rlimit as = { .rlim_cur = 2 * GiB, .rlim_max = 2 * GiB };
	struct rlimit files = { .rlim_cur = 3, .rlim_max = 3 };
	uint64_t pools = sysfs_value("pools");

	cfg.trim_percent = 101;
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(EINVAL, errno);
	cfg.trim_percent = 50;
	EXPECT_EQ(pools, sysfs_value("pools"));

	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &as));
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(pools, sysfs_value("pools"));

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(NULL));
	EXPECT_EQ(EMFILE, errno);
}

/* What the library says a preset is, the kernel says, too. */
TEST(presets)
{
	static const char * const names[] = {
		"default", "minimal", "moderate", "aggressive",
	};
	struct bufpool_config cfg;
	struct settings saved;
	int i;

	settings_save(&saved);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, bufpool_config_init(&cfg, i));
		ASSERT_EQ(0, sysfs_write("preset", names[i]));
		EXPECT_EQ(sysfs_value("max_pooled_bytes"),
			  cfg.max_pooled_bytes);
		EXPECT_EQ(sysfs_value("large_threshold_bytes"),
			  cfg.large_threshold_bytes);
		EXPECT_EQ(sysfs_value("percpu_cached"), cfg.percpu_cached);
		EXPECT_EQ(sysfs_value("large_cached"), cfg.large_cached);
		EXPECT_EQ(sysfs_value("trim_percent"), cfg.trim_percent);
		EXPECT_EQ(sysfs_value("trim_period_ms"), cfg.trim_period_ms);
		if (cfg.max_retained_bytes != BUFPOOL_FOLLOW) {
			/* A share of RAM, where the two may round apart. */
			EXPECT_LT(sysfs_value("max_retained_bytes") * 15 / 16,
				  cfg.max_retained_bytes);
			EXPECT_GT(sysfs_value("max_retained_bytes") * 17 / 16,
				  cfg.max_retained_bytes);
		}
	}
	ASSERT_EQ(0, settings_restore(&saved));
}

TEST(all_goes_back)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct bufpool *bp = bufpool_create(&cfg);
	uint64_t before = device_attached();
	void *buf, *live;

	ASSERT_NE(NULL, bp);
	live = bufpool_alloc(bp, 1 * MiB, 0);
	buf = bufpool_alloc(bp, 9 * MiB, 0);
	ASSERT_TRUE(live && buf);
	EXPECT_EQ(before + 10 * MiB, device_attached());
	bufpool_free(bp, buf);
	EXPECT_EQ((int64_t)(9 * MiB), bufpool_release_retained(bp));
	EXPECT_EQ(before + 1 * MiB, device_attached());
	bufpool_destroy(bp);
	EXPECT_EQ(before, device_attached());
}

/* The file is close-on-exec: no program started from here inherits it. */
TEST(close_on_exec)
{
	struct bufpool *bp = bufpool_create(NULL);
	char link[64], target[256];
	int fd, found = 0;

	ASSERT_NE(NULL, bp);
	for (fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, DEVICE))
			continue;
		found++;
		EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	}
	EXPECT_EQ(1, found);
	bufpool_destroy(bp);
}

TEST_HARNESS_MAIN
