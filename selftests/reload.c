// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module goes when no pool is left and not before; a new one starts afresh.
 * BUFPOOL_KO names its file.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/syscall.h>

#define MODULE	"bufpool"

FIXTURE(reload) {
	char file[256];
};

static int insert(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0))
		ret = -errno;
	close(fd);
	return ret;
}

static int remove_module(void)
{
	return syscall(SYS_delete_module, MODULE, O_NONBLOCK) ? -errno : 0;
}

FIXTURE_SETUP(reload)
{
	const char *file = getenv("BUFPOOL_KO");

	if (!file || access(file, R_OK))
		SKIP(return, "BUFPOOL_KO does not name the module's file");
	if (access("/sys/module/" MODULE "/refcnt", F_OK))
		SKIP(return, "built in, or a kernel that unloads no modules");
	snprintf(self->file, sizeof(self->file), "%s", file);
}

FIXTURE_TEARDOWN_PARENT(reload)
{
	/* Others need it, whatever happened here. */
	if (access(DEVICE, F_OK)) {
		EXPECT_EQ(0, insert(self->file));
	}
}

TEST_F(reload, busy_while_a_pool_is_open)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int64_t offset;
	struct pool p;
	int fd;

	/* An open file is enough, */
	fd = pool_open();
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EWOULDBLOCK, remove_module());
	close(fd);

	/* a pool, */
	ASSERT_EQ(0, pool_init(&p, &cfg));
	offset = pool_alloc(&p, 3 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	EXPECT_EQ(-EWOULDBLOCK, remove_module());
	EXPECT_EQ(0, pool_free(&p, offset));

	/* and a mapping alone. */
	close(p.fd);
	p.fd = -1;
	EXPECT_EQ(-EWOULDBLOCK, remove_module());
	EXPECT_EQ(0, write_signal(p.base + offset));
	pool_destroy(&p);

	ASSERT_EQ(0, remove_module());
	EXPECT_EQ(-1, access(DEVICE, F_OK));
	EXPECT_EQ(-1, access(SYSFS "preset", F_OK));
	EXPECT_EQ(0, insert(self->file));
	EXPECT_EQ(0, access(DEVICE, F_OK));
}

TEST_F(reload, starts_with_the_defaults)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	struct settings first, again;
	char name[32];
	struct pool p;

	ASSERT_EQ(0, remove_module());
	ASSERT_EQ(0, insert(self->file));
	settings_save(&first);
	EXPECT_STREQ("default", first.preset);

	ASSERT_EQ(0, sysfs_write("preset", "minimal"));
	ASSERT_EQ(0, sysfs_set("trim_percent", 77));
	ASSERT_EQ(0, sysfs_set("alloc_limit_bytes", 5 * MiB));
	ASSERT_EQ(0, sysfs_set("total_limit_bytes", 50 * MiB));
	ASSERT_EQ(0, pool_init(&p, &cfg));
	EXPECT_LE(0, pool_alloc(&p, 1 * MiB, 0, NULL));
	pool_destroy(&p);
	EXPECT_LT(0, sysfs_value("allocs"));

	ASSERT_EQ(0, remove_module());
	ASSERT_EQ(0, insert(self->file));
	settings_save(&again);
	EXPECT_EQ(0, memcmp(&first, &again, sizeof(first)));
	ASSERT_EQ(0, sysfs_read("preset", name, sizeof(name)));
	EXPECT_STREQ("default", name);
	EXPECT_EQ(0, sysfs_value("allocs"));
	EXPECT_EQ(0, sysfs_value("attached_bytes"));
	EXPECT_EQ(0, sysfs_value("pools"));
}

/* Free memory in bytes. */
static int64_t mem_free(void)
{
	char text[4096], *at;

	if (read_file("/proc/meminfo", text, sizeof(text)) < 0)
		die("meminfo");
	at = strstr(text, "MemFree:");
	if (!at)
		die("no MemFree");
	return strtoll(at + strlen("MemFree:"), NULL, 10) * KiB;
}

/* The reserve holds memory but not the module, and goes with it. */
TEST_F(reload, with_a_full_reserve)
{
	const int64_t size = 128 * MiB, slack = 64 * MiB;
	int64_t before = 0, full;
	int i, fd;

	for (i = 0; i < 6; i++) {
		EXPECT_EQ(0, sysfs_value("reserve_bytes"));
		EXPECT_EQ(0, sysfs_value("reserve_held_bytes"));
		if (!i)
			before = mem_free();
		if (sysfs_set("reserve_bytes", size) == -EOPNOTSUPP)
			SKIP(return, "a kernel without transparent huge pages");
		/* Also while it is being filled. */
		while (sysfs_value("reserve_held_bytes") <
		       (uint64_t)size / (i % 3 + 1))
			usleep(10 * 1000);
		if (!i) {
			full = mem_free();
			EXPECT_GT(before - size + slack, full);
			fd = pool_open();
			ASSERT_LE(0, fd);
			EXPECT_EQ(-EWOULDBLOCK, remove_module());
			EXPECT_EQ((uint64_t)size,
				  sysfs_value("reserve_held_bytes"));
			close(fd);
		}
		ASSERT_EQ(0, remove_module());
		EXPECT_LT(before - slack, mem_free());
		ASSERT_EQ(0, insert(self->file));
	}
}

/* Over and over, right after pools have been closed by all means. */
TEST_F(reload, again_and_again)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	int i, status;

	for (i = 0; i < 10; i++) {
		in_child(status, {
			struct pool p;
			int64_t at;

			check(!pool_init(&p, &cfg));
			at = pool_alloc(&p, 64 * KiB << i % 8, 0, NULL);
			check(at > 0);
			if (i % 2)
				check(!pool_free(&p, at));
			if (i % 3 == 0)
				raise(SIGKILL);
		});
		ASSERT_EQ(i % 3 ? 0 : 128 + SIGKILL, status);
		ASSERT_EQ(0, remove_module());
		ASSERT_EQ(0, insert(self->file));
	}
}

TEST_HARNESS_MAIN
