// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/PID/fdinfo/FD shows a pool, to its owner and to the administrator.
 *
 * checkpatch: MACRO_ARG_UNUSED: FIELD() takes what it needs of a row
 */
#include "kselftest_harness.h"
#include "pool.h"

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
#define FIELD(name, cumulative) { #name, offsetof(struct bufpool_stats, name) },
	POOL_COUNTERS(FIELD)
	FIELD(peak_attached_bytes, true)
};

/* The number after "NAME:" at the start of a line; false if there is none. */
static bool field(const char *text, const char *name, uint64_t *value)
{
	size_t len = strlen(name);
	char *end;

	while (text) {
		if (!strncmp(text, name, len) && text[len] == ':') {
			*value = strtoull(text + len + 1, &end, 10);
			return *end == '\n';
		}
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return false;
}

static ssize_t read_fdinfo(pid_t pid, int fd, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	return read_file(path, text, size);
}

TEST(same_as_stats)
{
	struct bufpool_config cfg = fixed_config(32 * MiB);
	struct bufpool_stats st;
	int64_t a, b, c;
	char text[4096];
	uint64_t value;
	struct pool p;
	size_t i;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	a = pool_alloc(&p, 64 * KiB, 0, NULL);
	b = pool_alloc(&p, 3 * MiB, 0, NULL);
	c = pool_alloc(&p, 9 * MiB, 0, NULL);
	ASSERT_TRUE(a > 0 && b > 0 && c > 0);
	ASSERT_EQ(0, pool_free(&p, b));
	ASSERT_EQ((int64_t)(3 * MiB), pool_release(&p));
	ASSERT_EQ(0, pool_free(&p, c));
	ASSERT_EQ(c, pool_alloc(&p, 10 * MiB, 0, NULL));
	ASSERT_EQ(0, pool_free(&p, a));
	ASSERT_EQ(-EDQUOT, pool_alloc(&p, 30 * MiB, 0, NULL));

	st = pool_stats(&p);
	ASSERT_LT(0, read_fdinfo(getpid(), p.fd, text, sizeof(text)));
	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		ASSERT_TRUE(field(text, fields[i].name, &value)) {
			TH_LOG("no %s in fdinfo", fields[i].name);
		}
		EXPECT_EQ(*(uint64_t *)((char *)&st + fields[i].offset),
			  value) {
			TH_LOG("%s", fields[i].name);
		}
	}
	pool_destroy(&p);
}

/* Before SETUP there is nothing to show, and that is no error. */
TEST(before_setup)
{
	char text[4096];
	int fd = pool_open();

	ASSERT_LE(0, fd);
	EXPECT_LT(0, read_fdinfo(getpid(), fd, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "pos:"));
	close(fd);
}

/* From another process, while the owner allocates and when it is gone. */
TEST(of_another_process)
{
	struct bufpool_config cfg = fixed_config(32 * MiB);
	volatile int *stop;
	struct gate ready;
	char text[4096];
	uint64_t value;
	struct pool p;
	pid_t pid;
	int i;

	stop = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)stop);
	gate_init(&ready);
	p.fd = pool_open();
	ASSERT_LE(0, p.fd);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int64_t at;

		check(!pool_setup_fd(p.fd, &cfg, &p.setup));
		p.length = p.setup.data_offset + p.setup.data_bytes;
		check(!pool_map(&p));
		check(pool_alloc(&p, 1 * MiB, 0, NULL) > 0);
		gate_pass(&ready);
		for (i = 0; !*stop; i++) {
			at = pool_alloc(&p, 64 * KiB << i % 6, 0, NULL);
			check(at > 0);
			check(!pool_free(&p, at));
			if (i % 10 == 0)
				check(pool_release(&p) >= 0);
		}
		_exit(0);
	}
	close(ready.fd[1]);
	ASSERT_TRUE(gate_wait(&ready));
	for (i = 0; i < 100; i++) {
		ASSERT_LT(0, read_fdinfo(pid, p.fd, text, sizeof(text)));
		ASSERT_TRUE(field(text, "attached_bytes", &value));
		EXPECT_LE(1 * MiB, value);
		EXPECT_GE(32 * MiB, value);
		/* The same file, seen as our own. */
		ASSERT_LT(0, read_fdinfo(getpid(), p.fd, text, sizeof(text)));
	}
	*stop = 1;
	EXPECT_EQ(0, child_status(pid));
	ASSERT_LT(0, read_fdinfo(getpid(), p.fd, text, sizeof(text)));
	if (field(text, "attached_bytes", &value)) {
		EXPECT_EQ(0, value);
	}
	close(p.fd);
}

TEST_HARNESS_MAIN
