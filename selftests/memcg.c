// SPDX-License-Identifier: GPL-2.0-only
/* Attached memory is charged to the control group of the process that asks. */
#include "kselftest_harness.h"
#include "pool.h"

#define GROUP	CGROUP "bufpool-selftest"

FIXTURE(memcg) {
	bool made;
};

FIXTURE_SETUP(memcg)
{
	char text[256];

	if (read_file(CGROUP "cgroup.controllers", text, sizeof(text)) < 0 ||
	    !strstr(text, "memory"))
		SKIP(return, "no cgroup2 memory controller");
	ASSERT_EQ(0, write_file(CGROUP "cgroup.subtree_control", "+memory"));
	if (mkdir(GROUP, 0755)) {
		ASSERT_EQ(EEXIST, errno);
	}
	self->made = true;
	write_file(GROUP "/memory.max", "max");
}

FIXTURE_TEARDOWN_PARENT(memcg)
{
	if (self->made) {
		EXPECT_EQ(0, rmdir(GROUP)) {
			TH_LOG("%s: %s", GROUP, strerror(errno));
		}
	}
}

static void enter_group(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (write_file(GROUP "/cgroup.procs", pid))
		die("cannot enter the control group");
}

static uint64_t group_value(const char *name)
{
	return cgroup_value("bufpool-selftest", name);
}

static uint64_t group_event(const char *event)
{
	char text[512], *at;

	if (read_file(GROUP "/memory.events", text, sizeof(text)) < 0)
		die("memory.events");
	at = strstr(text, event);
	if (!at)
		die("no %s in memory.events", event);
	return strtoull(at + strlen(event), NULL, 10);
}

TEST_F(memcg, charged_while_attached)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);
	int status;

	in_child(status, {
		uint64_t before, with, idle, after;
		int64_t offset, small[256];
		struct pool p;
		int i;

		enter_group();
		check(!pool_init(&p, &cfg));
		before = group_value("memory.current");
		offset = pool_alloc(&p, 32 * MiB, 0, NULL);
		check(offset > 0);
		for (i = 0; i < 256; i++) {
			small[i] = pool_alloc(&p, 64 * KiB, 0, NULL);
			check(small[i] > 0);
		}
		with = group_value("memory.current");
		check(with + CGROUP_SLACK >= before + 48 * MiB);
		check(with <= before + 48 * MiB + CGROUP_SLACK);
		/* Idle memory is charged: it is in use, if by nobody. */
		check(!pool_free(&p, offset));
		idle = group_value("memory.current");
		check(idle + CGROUP_SLACK >= before + 48 * MiB);
		check(pool_release(&p) >= (int64_t)(32 * MiB));
		after = group_value("memory.current");
		check(after <= before + 16 * MiB + CGROUP_SLACK);
		pool_destroy(&p);
		after = group_value("memory.current");
		check(after <= before + CGROUP_SLACK);
	});
	EXPECT_EQ(0, status);
}

/* Where the group is full ALLOC says so, and nobody is killed for it. */
TEST_F(memcg, full)
{
	struct bufpool_config cfg = fixed_config(256 * MiB);
	uint64_t before = device_attached();
	int status;

	in_child(status, {
		int64_t offset, nr = 0;
		struct pool p;

		enter_group();
		check(!write_file(GROUP "/memory.max", "33554432"));
		check(!pool_init(&p, &cfg));
		check(pool_alloc(&p, 64 * MiB, 0, NULL) == -ENOMEM);
		check(pool_attached(&p) == 0);
		check(device_attached() == before);
		/* What fits is still to be had, and then no more. */
		for (;;) {
			offset = pool_alloc(&p, 1 * MiB, 0, NULL);
			if (offset < 0)
				break;
			stamp_range(p.base + offset, 1 * MiB, offset);
			check(stamped(p.base + offset, 1 * MiB, offset));
			nr++;
		}
		check(offset == -ENOMEM);
		check(nr >= 16);
		check(nr <= 32);
		check(pool_attached(&p) == nr * MiB);
		check(pool_stats(&p).limit_hits == 0);
		pool_destroy(&p);
		check(device_attached() == before);
		check(!pool_init(&p, &cfg));
		check(pool_alloc(&p, 8 * MiB, 0, NULL) > 0);
	});
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, group_event("oom_kill "));
	EXPECT_EQ(before, device_attached());
}

/* Growing that fails leaves the kept buffer as it was, and counts nothing. */
TEST_F(memcg, full_while_growing)
{
	struct bufpool_config cfg = fixed_config(256 * MiB);
	const uint64_t size = 8 * MiB + 4096;
	int status;

	in_child(status, {
		int64_t live, kept;
		char text[32];
		struct pool p;

		enter_group();
		check(!pool_init(&p, &cfg));
		live = pool_alloc(&p, 20 * MiB, 0, NULL);
		kept = pool_alloc(&p, size, 0, NULL);
		check(live > 0 && kept > 0);
		stamp_range(p.base + kept, size, 12);
		check(!pool_free(&p, kept));
		snprintf(text, sizeof(text), "%llu",
			 (unsigned long long)group_value("memory.current") +
			 MiB / 2);
		check(!write_file(GROUP "/memory.max", text));

		check(pool_alloc(&p, 10 * MiB, 0, NULL) == -ENOMEM);
		check(pool_attached(&p) == 20 * MiB + size);
		check(pool_retained(&p) == size);
		check(!write_file(GROUP "/memory.max", "max"));
		check(pool_alloc(&p, size, 0, NULL) == kept);
		check(stamped(p.base + kept, size, 12));
		check(!pool_free(&p, kept));
		check(pool_alloc(&p, 10 * MiB, 0, NULL) == kept);
		check(pool_attached(&p) == 30 * MiB);
	});
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, group_event("oom_kill "));
}

/* Processes that come and go leave no charge behind. */
TEST_F(memcg, many_processes)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t before;
	int status, i;

	before = group_value("memory.current");
	for (i = 0; i < 8; i++) {
		in_child(status, {
			struct pool p;

			enter_group();
			check(!pool_init(&p, &cfg));
			check(pool_alloc(&p, 24 * MiB, 0, NULL) > 0);
			check(group_value("memory.current") + CGROUP_SLACK >=
			      24 * MiB);
		});
		ASSERT_EQ(0, status);
	}
	/* Eight times 24 MiB came and went. */
	EXPECT_GE(before + CGROUP_SLACK, group_value("memory.current"));
}

TEST_HARNESS_MAIN
