// SPDX-License-Identifier: GPL-2.0-only
/* Which backend a pool gets: by itself, by the environment, without a device. */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#define NOBODY	65534

static bool is(const char *name)
{
	struct bufpool *bp = bufpool_create(NULL);
	bool same;
	void *buf;

	if (!bp)
		return false;
	same = !strcmp(bufpool_backend(bp), name);
	buf = bufpool_alloc(bp, 1, 0);
	bufpool_free(bp, buf);
	bufpool_destroy(bp);
	return same && buf;
}

static bool fails(int err)
{
	errno = 0;
	return !bufpool_create(NULL) && errno == err;
}

TEST(anonymous)
{
	setenv("BUFPOOL_BACKEND", "anonymous", 1);
	errno = 0;
	EXPECT_TRUE(is("anonymous"));
	EXPECT_EQ(0, errno);
}

TEST(device)
{
	setenv("BUFPOOL_BACKEND", "device", 1);
	EXPECT_TRUE(access(DEVICE, F_OK) ? fails(ENOENT) : is("device"));
}

TEST(neither)
{
	static const char * const names[] = {
		"", "memory", "Device", "device ", "anonymou", "anonymous,device",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		setenv("BUFPOOL_BACKEND", names[i], 1);
		EXPECT_TRUE(fails(EINVAL)) {
			TH_LOG("\"%s\"", names[i]);
		}
	}
}

TEST(automatic)
{
	const char *name = access(DEVICE, F_OK) ? "anonymous" : "device";

	unsetenv("BUFPOOL_BACKEND");
	errno = 0;
	EXPECT_TRUE(is(name));
	EXPECT_EQ(0, errno);
}

/* A configuration that is refused is refused, and not tried elsewhere. */
TEST(not_for_other_errors)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);

	unsetenv("BUFPOOL_BACKEND");
	cfg.trim_percent = 0;
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(EINVAL, errno);
}

/* A device there is, but not for everybody. */
TEST(without_permission)
{
	int status;

	if (access(DEVICE, F_OK))
		SKIP(return, "no device");
	in_child(status, {
		check(!setgid(NOBODY));
		check(!setuid(NOBODY));
		unsetenv("BUFPOOL_BACKEND");
		check(is("anonymous"));
		setenv("BUFPOOL_BACKEND", "device", 1);
		check(fails(EACCES));
	});
	EXPECT_EQ(0, status);
}

FIXTURE(elsewhere) {
	char root[32], dev[40], device[56];
};

/* Another root directory, with another /dev, for a child. */
FIXTURE_SETUP(elsewhere)
{
	snprintf(self->root, sizeof(self->root), "/tmp/backend-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->root));
	snprintf(self->dev, sizeof(self->dev), "%s/dev", self->root);
	snprintf(self->device, sizeof(self->device), "%s/bufpool", self->dev);
	ASSERT_EQ(0, mkdir(self->dev, 0755));
	unsetenv("BUFPOOL_BACKEND");
}

FIXTURE_TEARDOWN(elsewhere)
{
	if (rmdir(self->device))
		unlink(self->device);
	rmdir(self->dev);
	rmdir(self->root);
}

#define in_root(status, block) \
	in_child(status, {						\
		check(!chroot(self->root) && !chdir("/"));		\
		block							\
	})

TEST_F(elsewhere, no_such_file)
{
	int status;

	if (geteuid())
		SKIP(return, "needs root");
	in_root(status, {
		check(is("anonymous"));
		setenv("BUFPOOL_BACKEND", "device", 1);
		check(fails(ENOENT));
	});
	EXPECT_EQ(0, status);
}

TEST_F(elsewhere, no_module_behind_it)
{
	int status;

	if (geteuid())
		SKIP(return, "needs root");
	/* A major number for experiments: no driver has it. */
	ASSERT_EQ(0, mknod(self->device, S_IFCHR | 0666, makedev(60, 0)));
	in_root(status, {
		check(is("anonymous"));
		setenv("BUFPOOL_BACKEND", "device", 1);
		check(fails(ENXIO));
	});
	EXPECT_EQ(0, status);
}

TEST_F(elsewhere, something_else)
{
	int status;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, mkdir(self->device, 0755));
	in_root(status, {
		check(fails(EISDIR));
	});
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
