// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same program twice, in a control group at its limit: it frees what it had
 * and then needs memory of another kind.  With an allocator that retains what is
 * freed it is killed; with a pool it is not.
 *
 * The kernel logs the killing, so this runs in a guest of its own, where that is
 * expected.
 *
 * checkpatch: PARENTHESIS_ALIGNMENT: in_child() is given statements
 */
#include <malloc.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "pool.h"

#define GROUP	"/sys/fs/cgroup/retaining"
#define LIMIT	"80M"
#define BUFFER	(4 * MiB)
#define NR	12		/* 48 MiB are freed, 48 are needed, 80 may be had */

FIXTURE(retaining) {
};

FIXTURE_SETUP(retaining)
{
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	ASSERT_EQ(0, write_file(GROUP "/memory.max", LIMIT));
	/* Swap would save the hoarder; where there is none, so much the better. */
	write_file(GROUP "/memory.swap.max", "0");
}

FIXTURE_TEARDOWN(retaining)
{
	while (rmdir(GROUP) && errno == EBUSY)
		;
}

static void touch_new_memory(size_t bytes)
{
	char *need = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	check(need != MAP_FAILED);
	for (i = 0; i < bytes; i += page_size())
		need[i] = 1;
}

static uint64_t oom_kills(void)
{
	char text[256], *line;

	if (read_file(GROUP "/memory.events", text, sizeof(text)) < 0)
		die("memory.events: %s", strerror(errno));
	line = strstr(text, "oom_kill ");
	return line ? strtoull(line + strlen("oom_kill "), NULL, 10) : 0;
}

TEST_F(retaining, malloc_is_killed)
{
	void *buf[NR];
	int status, i;

	in_child(status,
		check(!write_file(GROUP "/cgroup.procs", "0"));
		/* As programs set it that want buffers without page faults. */
		check(mallopt(M_MMAP_THRESHOLD, 32 * MiB));
		check(mallopt(M_TRIM_THRESHOLD, 1 << 30));
		for (i = 0; i < NR; i++) {
			buf[i] = malloc(BUFFER);
			check(buf[i]);
			memset(buf[i], 1, BUFFER);
		}
		for (i = 0; i < NR; i++)
			free(buf[i]);
		touch_new_memory(NR * BUFFER));
	EXPECT_EQ(128 + SIGKILL, status);
	EXPECT_EQ(1, oom_kills());
}

TEST_F(retaining, pool_survives)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);
	int64_t live, buf[NR];
	struct pool p;
	int status, i;

	in_child(status,
		check(!write_file(GROUP "/cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		live = pool_alloc(&p, BUFFER, 0, NULL);
		check(live > 0);
		stamp_range(p.base + live, BUFFER, 1);
		for (i = 0; i < NR; i++) {
			buf[i] = pool_alloc(&p, BUFFER, 0, NULL);
			check(buf[i] > 0);
			memset(p.base + buf[i], 1, BUFFER);
		}
		for (i = 0; i < NR; i++)
			check(!pool_free(&p, buf[i]));
		check(pool_retained(&p) == NR * BUFFER);
		touch_new_memory(NR * BUFFER);
		check(stamped(p.base + live, BUFFER, 1));
		check(pool_stats(&p).shrunk_bytes));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, oom_kills());
}

TEST_HARNESS_MAIN
