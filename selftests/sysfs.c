// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every file of the device's sysfs directory: reading, writing, nonsense.
 *
 * checkpatch: COMPLEX_MACRO, MACRO_ARG_UNUSED: NAME() makes a list of names
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <dirent.h>
#include <sys/stat.h>

static const struct {
	const char *name;
	uint64_t good, other;
	const char *too_big;	/* for this file, though it is a number */
} settings[] = {
	{ "max_pooled_bytes", 5 * MiB, 0, NULL },
	{ "large_threshold_bytes", 3 * MiB, 0, NULL },
	{ "percpu_cached", 11, 0, "65537" },
	{ "large_cached", 7, 0, "65" },
	{ "max_retained_bytes", 70 * MiB, 0, NULL },
	{ "pool_limit_bytes", 300 * MiB, 1 * MiB, "9223372036854775808" },
	{ "alloc_limit_bytes", 30 * MiB, 1 * MiB, NULL },
	{ "total_limit_bytes", 900 * MiB, 1 * MiB, NULL },
	{ "reserve_bytes", 4 * MiB, 0, "4398046511105" },
	{ "trim_period_ms", 5000, 0, "86400001" },
	{ "trim_percent", 33, 100, "101" },
};

static const char * const counters[] = {
	"pools", "reserve_held_bytes", "reserve_refilled",
#define NAME(name, cumulative) #name,
	POOL_COUNTERS(NAME)
};

/* No number at all, or none that any of these files can hold. */
static const char * const nonsense[] = {
	"\n", " ", "-1", "-1\n", "--1", "x", "max", "1x", "1 2", "1\n2\n", "1.5",
	"1,000", "1k", "0x", "18446744073709551616", "99999999999999999999999",
	"-9223372036854775808", "1;", "\t", "one\n", "1\n\n\n", "0x10",
};

FIXTURE(sysfs) {
	struct settings saved;
};

FIXTURE_SETUP(sysfs)
{
	settings_save(&self->saved);
}

FIXTURE_TEARDOWN_PARENT(sysfs)
{
	EXPECT_EQ(0, settings_restore(&self->saved));
}

static mode_t mode_of(const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s%s", SYSFS, name);
	return stat(path, &st) ? 0 : st.st_mode & 0777;
}

/* The files are those documented; nothing more, nothing less. */
TEST_F(sysfs, files)
{
	static const char * const generic[] = {
		".", "..", "dev", "uevent", "power", "subsystem",
	};
	size_t seen = 0, i;
	struct dirent *d;
	DIR *dir = opendir(SYSFS);

	ASSERT_NE(NULL, (void *)dir);
	while ((d = readdir(dir))) {
		bool known = !strcmp(d->d_name, "preset") ||
			     !strcmp(d->d_name, "release_retained");

		for (i = 0; i < ARRAY_SIZE(settings); i++)
			known |= !strcmp(d->d_name, settings[i].name);
		for (i = 0; i < ARRAY_SIZE(counters); i++)
			known |= !strcmp(d->d_name, counters[i]);
		seen += known;
		for (i = 0; i < ARRAY_SIZE(generic); i++)
			known |= !strcmp(d->d_name, generic[i]);
		EXPECT_TRUE(known) {
			TH_LOG("%s", d->d_name);
		}
	}
	closedir(dir);
	EXPECT_EQ(2 + ARRAY_SIZE(settings) + ARRAY_SIZE(counters), seen);
}

TEST_F(sysfs, modes)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		EXPECT_EQ(0644, mode_of(settings[i].name));
	}
	EXPECT_EQ(0644, mode_of("preset"));
	EXPECT_EQ(0200, mode_of("release_retained"));
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		EXPECT_EQ(0444, mode_of(counters[i])) {
			TH_LOG("%s", counters[i]);
		}
	}
}

TEST_F(sysfs, counters_are_read_only)
{
	char path[256];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		snprintf(path, sizeof(path), "%s%s", SYSFS, counters[i]);
		sysfs_value(counters[i]);	/* a number, or the test ends */
		/* Root may open it, and then cannot write. */
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			EXPECT_EQ(-1, write(fd, "0", 1)) {
				TH_LOG("%s", counters[i]);
			}
			close(fd);
		}
	}
}

TEST_F(sysfs, settings_take_good_values)
{
	char text[64], want[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		const char *name = settings[i].name;
		uint64_t good = settings[i].good;

		/* With a newline, without one, and read back as one line. */
		snprintf(text, sizeof(text), "%ju\n", (uintmax_t)good);
		EXPECT_EQ(0, sysfs_write(name, text)) {
			TH_LOG("%s", name);
		}
		EXPECT_EQ(good, sysfs_value(name));
		snprintf(text, sizeof(text), "%ju",
			 (uintmax_t)settings[i].other);
		EXPECT_EQ(0, sysfs_write(name, text)) {
			TH_LOG("%s: %s", name, text);
		}
		EXPECT_EQ(settings[i].other, sysfs_value(name));
		snprintf(want, sizeof(want), "%ju",
			 (uintmax_t)settings[i].other);
		ASSERT_EQ(0, sysfs_read(name, text, sizeof(text)));
		EXPECT_STREQ(want, text);
		ASSERT_EQ(0, sysfs_set(name, good));
	}
}

TEST_F(sysfs, settings_refuse_nonsense)
{
	uint64_t before;
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		const char *name = settings[i].name;

		before = sysfs_value(name);
		for (k = 0; k < ARRAY_SIZE(nonsense); k++) {
			EXPECT_EQ(-EINVAL, sysfs_write(name, nonsense[k])) {
				TH_LOG("%s: \"%s\"", name, nonsense[k]);
			}
			EXPECT_EQ(before, sysfs_value(name));
		}
		if (settings[i].too_big) {
			EXPECT_EQ(-EINVAL,
				  sysfs_write(name, settings[i].too_big)) {
				TH_LOG("%s: %s", name, settings[i].too_big);
			}
			EXPECT_EQ(before, sysfs_value(name));
		}
	}
}

/* What means "follow the device" in a pool means nothing for the device. */
TEST_F(sysfs, settings_refuse_follow)
{
	static const char * const bytes[] = {
		"max_pooled_bytes", "large_threshold_bytes",
		"max_retained_bytes", "pool_limit_bytes", "alloc_limit_bytes",
	};
	static const char * const counts[] = {
		"percpu_cached", "large_cached", "trim_period_ms",
		"trim_percent",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bytes); i++) {
		EXPECT_EQ(-EINVAL, sysfs_set(bytes[i], BUFPOOL_FOLLOW)) {
			TH_LOG("%s", bytes[i]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		EXPECT_EQ(-EINVAL, sysfs_set(counts[i], BUFPOOL_FOLLOW32)) {
			TH_LOG("%s", counts[i]);
		}
	}
}

/* More text than any number has: a page of digits. */
TEST_F(sysfs, settings_refuse_long_text)
{
	size_t page = page_size(), i;
	char *text = malloc(page);

	ASSERT_NE(NULL, text);
	memset(text, '1', page - 1);
	text[page - 1] = '\0';
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		uint64_t before = sysfs_value(settings[i].name);

		EXPECT_EQ(-EINVAL, sysfs_write(settings[i].name, text));
		EXPECT_EQ(before, sysfs_value(settings[i].name));
	}
	free(text);
}

TEST_F(sysfs, preset_names)
{
	static const char * const bad[] = {
		"\n", "Default", "def", "defaults", "default x", "minimal\n\n",
		"custom", "0", "-1", " minimal", "moderate\nminimal",
		"aggressive,",
	};
	char name[32];
	size_t i;

	ASSERT_EQ(0, sysfs_write("preset", "moderate\n"));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, sysfs_write("preset", bad[i])) {
			TH_LOG("\"%s\"", bad[i]);
		}
		ASSERT_EQ(0, sysfs_read("preset", name, sizeof(name)));
		EXPECT_STREQ("moderate", name);
		EXPECT_EQ(64 * MiB, sysfs_value("max_retained_bytes"));
	}
}

TEST_F(sysfs, release_action)
{
	static const char * const bad[] = {
		"0", "0\n", "2", "-1", "\n", "yes", "1x", "11",
	};
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int64_t offset;
	char text[8];
	struct pool p;
	size_t i;

	/* Not readable; root gets past the mode, but to no contents. */
	EXPECT_GT(0, sysfs_read("release_retained", text, sizeof(text)));

	ASSERT_EQ(0, pool_init(&p, &cfg));
	offset = pool_alloc(&p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&p, offset));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, sysfs_write("release_retained", bad[i])) {
			TH_LOG("\"%s\"", bad[i]);
		}
		EXPECT_EQ(64 * KiB, pool_retained(&p));
	}
	EXPECT_EQ(0, sysfs_write("release_retained", "1"));
	EXPECT_EQ(0, pool_attached(&p));
	EXPECT_EQ(0, sysfs_write("release_retained", "1\n"));
	pool_destroy(&p);
}

/* The device node: its owner and its group only. */
TEST_F(sysfs, device_node)
{
	struct stat st;

	ASSERT_EQ(0, stat(DEVICE, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0660, st.st_mode & 07777);
}

TEST_HARNESS_MAIN
