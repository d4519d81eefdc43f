// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reserve: filled in the background, taken zeroed, charged to the taker, and
 * given back to whoever is short of memory.
 *
 * checkpatch: PARENTHESIS_ALIGNMENT: in_child() is given statements
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <dirent.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#define HUGE	(2 * MiB)
#define NODES	"/sys/devices/system/node/"

/* What is said in the background is waited for; how long only a hang shows. */
#define WAIT_SECONDS	200

static uint64_t held(void)
{
	return sysfs_value("reserve_held_bytes");
}

static void moment(void)
{
	usleep(10 * 1000);
}

static bool wait_for(bool (*done)(uint64_t), uint64_t value)
{
	time_t end = time(NULL) + WAIT_SECONDS;

	while (!done(value)) {
		if (time(NULL) > end)
			return false;
		moment();
	}
	return true;
}

static bool holds(uint64_t bytes)
{
	return held() == bytes;
}

static bool holds_more(uint64_t bytes)
{
	return held() > bytes;
}

/* Set the reserve's size and wait until it is full; false: it does not fill. */
static bool fill(uint64_t bytes)
{
	return !sysfs_set("reserve_bytes", bytes) && wait_for(holds, bytes);
}

static void empty(void)
{
	do {
		shrink();
	} while (held());
}

/* Is there a task of this name? */
static bool task_runs(const char *name)
{
	DIR *dir = opendir("/proc");
	char path[300], comm[32];
	struct dirent *d;
	bool found = false;

	if (!dir)
		die("/proc: %s", strerror(errno));
	while (!found && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		if (read_file(path, comm, sizeof(comm)) <= 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		found = !strcmp(comm, name);
	}
	closedir(dir);
	return found;
}

#define MAX_NODES	64

/* The value of a line of a node's meminfo, in bytes. */
static uint64_t node_meminfo(int nid, const char *field)
{
	char path[128], text[4096], *at;

	snprintf(path, sizeof(path), NODES "node%d/meminfo", nid);
	if (read_file(path, text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, field);
	return at ? strtoull(at + strlen(field), NULL, 10) * KiB : 0;
}

/* The nodes that have memory; how many. */
static int memory_nodes(int *nodes)
{
	int nid, nr = 0;

	for (nid = 0; nid < MAX_NODES; nid++)
		if (node_meminfo(nid, "MemTotal:"))
			nodes[nr++] = nid;
	/* A kernel without NUMA has none of these files. */
	if (!nr)
		nodes[nr++] = 0;
	return nr;
}

/* Like fixed_config(), but nothing is kept: every allocation is a new one. */
static struct bufpool_config fresh_config(uint64_t pool_limit)
{
	struct bufpool_config cfg = fixed_config(pool_limit);

	cfg.max_pooled_bytes = 0;
	return cfg;
}

FIXTURE(reserve) {
	struct pool p;
	int nodes[MAX_NODES];
	int nr;			/* of these; each has its part of the reserve */
	uint64_t hits, misses, refilled;	/* the device's, before */
};

FIXTURE_SETUP(reserve)
{
	struct bufpool_config cfg = fresh_config(128 * MiB);

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		SKIP(return, "a kernel without transparent huge pages");
	ASSERT_EQ(0, sysfs_value("reserve_bytes"));
	write_file("/proc/sys/vm/compact_memory", "1");
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	self->nr = memory_nodes(self->nodes);
	self->hits = sysfs_value("reserve_hits");
	self->misses = sysfs_value("reserve_misses");
	self->refilled = sysfs_value("reserve_refilled");
}

FIXTURE_TEARDOWN_PARENT(reserve)
{
	EXPECT_EQ(0, sysfs_set("reserve_bytes", 0));
	EXPECT_EQ(0, held());
}

TEST_F(reserve, off)
{
	EXPECT_EQ(0, held());
	EXPECT_FALSE(task_runs("bufpool_reserve"));
	ASSERT_LE(0, pool_alloc(&self->p, 16 * MiB, 0, NULL));
	EXPECT_EQ(0, pool_stats(&self->p).reserve_hits);
	EXPECT_EQ(0, pool_stats(&self->p).reserve_misses);
	EXPECT_EQ(self->misses, sysfs_value("reserve_misses"));
	EXPECT_EQ(self->refilled, sysfs_value("reserve_refilled"));
}

TEST_F(reserve, fills_and_is_given_back)
{
	ASSERT_TRUE(fill(32 * MiB));
	EXPECT_TRUE(task_runs("bufpool_reserve"));
	EXPECT_EQ(self->refilled + 16, sysfs_value("reserve_refilled"));
	/* No buffer has it. */
	EXPECT_EQ(0, pool_attached(&self->p));

	ASSERT_EQ(0, sysfs_set("reserve_bytes", 8 * MiB));
	EXPECT_EQ(8 * MiB, held());
	ASSERT_TRUE(fill(16 * MiB));
	EXPECT_EQ(self->refilled + 20, sysfs_value("reserve_refilled"));

	ASSERT_EQ(0, sysfs_set("reserve_bytes", 0));
	EXPECT_EQ(0, held());
	EXPECT_FALSE(task_runs("bufpool_reserve"));
	EXPECT_EQ(self->refilled + 20, sysfs_value("reserve_refilled"));
}

TEST_F(reserve, whole_folios)
{
	static const struct {
		uint64_t set, read;
	} values[] = {
		{ 1, HUGE }, { HUGE - 1, HUGE }, { HUGE, HUGE },
		{ HUGE + 1, 2 * HUGE }, { 5 * MiB, 3 * HUGE },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		ASSERT_EQ(0, sysfs_set("reserve_bytes", values[i].set));
		EXPECT_EQ(values[i].read, sysfs_value("reserve_bytes"));
		EXPECT_TRUE(wait_for(holds, values[i].read));
	}
}

TEST_F(reserve, bad_values)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size();
	static const char * const bad[] = {
		"", "\n", "-1", "all", "2M", "0x200000", "2097152 0",
		"18446744073709551615", "18446744073709551616",
	};
	size_t i;

	ASSERT_TRUE(fill(8 * MiB));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		/* A write of nothing reaches no driver. */
		EXPECT_EQ(*bad[i] ? -EINVAL : 0,
			  sysfs_write("reserve_bytes", bad[i])) {
			TH_LOG("\"%s\"", bad[i]);
		}
	}
	EXPECT_EQ(-EINVAL, sysfs_set("reserve_bytes", ram + 1));
	EXPECT_EQ(-EINVAL, sysfs_set("reserve_bytes", ram + HUGE));
	EXPECT_EQ(8 * MiB, sysfs_value("reserve_bytes"));
	EXPECT_EQ(8 * MiB, held());
	EXPECT_EQ(self->refilled + 4, sysfs_value("reserve_refilled"));
}

/* Zeroed, mapped by PMDs, counted, replaced; also the second time. */
TEST_F(reserve, taken)
{
	uint64_t mapped = smaps_sum("FilePmdMapped");
	struct bufpool_stats st;
	int64_t offset;
	int i;

	ASSERT_TRUE(fill(self->nr * 32 * MiB));
	for (i = 1; i <= 4; i++) {
		offset = pool_alloc(&self->p, 32 * MiB, 0, NULL);
		ASSERT_LE(0, offset);
		st = pool_stats(&self->p);
		EXPECT_EQ(16 * i, st.reserve_hits);
		EXPECT_EQ(0, st.reserve_misses);
		EXPECT_EQ(16 * i, st.huge_attached);
		EXPECT_EQ(mapped + 32 * MiB, smaps_sum("FilePmdMapped"));
		EXPECT_TRUE(all_zero(self->p.base + offset, 32 * MiB));
		memset(self->p.base + offset, 0xff, 32 * MiB);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		EXPECT_EQ(0, pool_attached(&self->p));
		ASSERT_TRUE(wait_for(holds, self->nr * 32 * MiB));
		EXPECT_EQ(self->refilled + 16 * (self->nr + i),
			  sysfs_value("reserve_refilled"));
	}
	EXPECT_EQ(self->hits + 64, sysfs_value("reserve_hits"));
	EXPECT_EQ(self->misses, sysfs_value("reserve_misses"));
}

/* Asked for what is huge, and only for that. */
TEST_F(reserve, asked_for_huge_folios_only)
{
	struct bufpool_stats st;

	ASSERT_TRUE(fill(self->nr * 16 * MiB));
	ASSERT_LE(0, pool_alloc(&self->p, 4 * KiB, 0, NULL));
	ASSERT_LE(0, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	ASSERT_LE(0, pool_alloc(&self->p, 1 * MiB, 0, NULL));
	st = pool_stats(&self->p);
	EXPECT_EQ(0, st.reserve_hits + st.reserve_misses);
	EXPECT_EQ(self->nr * 16 * MiB, held());

	/* Four of them and some pages. */
	ASSERT_LE(0, pool_alloc(&self->p, 9 * MiB + 4096, 0, NULL));
	st = pool_stats(&self->p);
	EXPECT_EQ(4, st.reserve_hits);
	EXPECT_EQ(0, st.reserve_misses);
}

/* While it is empty, memory comes from elsewhere. */
TEST_F(reserve, missed)
{
	struct bufpool_stats st, before;
	int64_t offset;
	int tries;

	ASSERT_TRUE(fill(self->nr * 16 * MiB));
	/* Nothing is refilled for a while after this; but who knows how slow we are? */
	for (tries = 0; tries < 20; tries++) {
		empty();
		before = pool_stats(&self->p);
		offset = pool_alloc(&self->p, 16 * MiB, 0, NULL);
		ASSERT_LE(0, offset);
		st = pool_stats(&self->p);
		EXPECT_TRUE(all_zero(self->p.base + offset, 16 * MiB));
		memset(self->p.base + offset, 0xff, 16 * MiB);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		ASSERT_EQ(8, st.reserve_hits - before.reserve_hits +
			     st.reserve_misses - before.reserve_misses);
		if (st.reserve_hits == before.reserve_hits)
			break;
	}
	EXPECT_GT(20, tries);

	/* What there is, and then what there is not. */
	ASSERT_TRUE(wait_for(holds, self->nr * 16 * MiB));
	before = pool_stats(&self->p);
	ASSERT_LE(0, pool_alloc(&self->p, 64 * MiB, 0, NULL));
	st = pool_stats(&self->p);
	EXPECT_LE(8, st.reserve_hits - before.reserve_hits);
	EXPECT_EQ(32, st.reserve_hits - before.reserve_hits +
		      st.reserve_misses - before.reserve_misses);
}

/* It is the administrator's, not the pools'. */
TEST_F(reserve, beside_the_limits)
{
	uint64_t limit = sysfs_value("total_limit_bytes");

	ASSERT_EQ(0, sysfs_set("total_limit_bytes", 16 * MiB));
	EXPECT_TRUE(fill(self->nr * 32 * MiB));
	EXPECT_LE(0, pool_alloc(&self->p, 16 * MiB, 0, NULL));
	EXPECT_EQ(-EDQUOT, pool_alloc(&self->p, 2 * MiB, 0, NULL));
	EXPECT_EQ(8, pool_stats(&self->p).reserve_hits);
	ASSERT_EQ(0, sysfs_set("total_limit_bytes", limit));
}

/* A task that says where its memory is to be has it there. */
TEST_F(reserve, not_against_a_policy)
{
	unsigned long mask = 1UL << self->nodes[0];

	ASSERT_TRUE(fill(self->nr * 16 * MiB));
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask)))
		SKIP(return, "a kernel without memory policies");
	ASSERT_LE(0, pool_alloc(&self->p, 16 * MiB, 0, NULL));
	EXPECT_EQ(0, pool_stats(&self->p).reserve_hits);
	EXPECT_EQ(0, pool_stats(&self->p).reserve_misses);
	ASSERT_EQ(0, syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0));
	ASSERT_LE(0, pool_alloc(&self->p, 16 * MiB, 0, NULL));
	EXPECT_EQ(8, pool_stats(&self->p).reserve_hits);
}

/* --- who pays --- */

TEST_F(reserve, charged_to_the_taker)
{
	struct bufpool_config cfg = fresh_config(128 * MiB);
	uint64_t before, after;
	int64_t offset;
	struct pool p;
	int status;

	cgroup_make("taker");
	in_child(status,
		check(!cgroup_write("taker", "cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		/* Not even to who wants it filled. */
		before = cgroup_value("taker", "memory.current");
		check(fill(self->nr * 64 * MiB));
		after = cgroup_value("taker", "memory.current");
		check(after < before + CGROUP_SLACK);

		offset = pool_alloc(&p, 48 * MiB, 0, NULL);
		check(offset >= 0);
		check(pool_stats(&p).reserve_hits == 24);
		after = cgroup_value("taker", "memory.current");
		check(after + CGROUP_SLACK > before + 48 * MiB);
		check(after < before + 48 * MiB + CGROUP_SLACK);

		check(wait_for(holds, self->nr * 64 * MiB));
		check(!pool_free(&p, offset));
		after = cgroup_value("taker", "memory.current");
		check(after < before + CGROUP_SLACK));
	EXPECT_EQ(0, status);
	cgroup_remove("taker");
}

/* A group that cannot pay leaves it as it is. */
TEST_F(reserve, group_at_its_limit)
{
	struct bufpool_config cfg = fresh_config(128 * MiB);
	struct bufpool_stats st;
	char text[32];
	struct pool p;
	int status;

	cgroup_make("poor");
	ASSERT_TRUE(fill(self->nr * 64 * MiB));
	in_child(status,
		check(!cgroup_write("poor", "cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		/* The slot headers are there already. */
		check(!pool_free(&p, pool_alloc(&p, 2 * MiB, 0, NULL)));
		check(wait_for(holds, self->nr * 64 * MiB));
		snprintf(text, sizeof(text), "%llu", (unsigned long long)
			 cgroup_value("poor", "memory.current") + 1 * MiB);
		check(!cgroup_write("poor", "memory.max", text));

		check(pool_alloc(&p, 2 * MiB, 0, NULL) == -ENOMEM);
		st = pool_stats(&p);
		check(st.reserve_hits == 1);
		check(st.attached_bytes == 0);
		check(held() == self->nr * 64 * MiB);
		check(sysfs_value("reserve_refilled") ==
		      self->refilled + 32 * self->nr + 1);

		/* Some fit, all do not: none is attached, none is lost. */
		snprintf(text, sizeof(text), "%llu", (unsigned long long)
			 cgroup_value("poor", "memory.current") + 9 * MiB);
		check(!cgroup_write("poor", "memory.max", text));
		check(pool_alloc(&p, 32 * MiB, 0, NULL) == -ENOMEM);
		check(pool_attached(&p) == 0);
		check(wait_for(holds, self->nr * 64 * MiB));

		check(!cgroup_write("poor", "memory.max", "max"));
		st = pool_stats(&p);
		check(pool_alloc(&p, 32 * MiB, 0, NULL) >= 0);
		check(pool_stats(&p).reserve_hits == st.reserve_hits + 16));
	EXPECT_EQ(0, status);
	cgroup_remove("poor");
}

/* --- who else needs it --- */

TEST_F(reserve, shrunk_and_refilled)
{
	uint64_t refilled;

	ASSERT_TRUE(fill(64 * MiB));
	empty();
	EXPECT_EQ(64 * MiB, sysfs_value("reserve_bytes"));
	refilled = sysfs_value("reserve_refilled");
	EXPECT_LE(self->refilled + 32, refilled);
	EXPECT_TRUE(wait_for(holds, 64 * MiB));
	EXPECT_EQ(refilled + 32, sysfs_value("reserve_refilled"));
}

/* Free memory and the sum of the marks that the kernel wants to keep free. */
static void free_and_marks(uint64_t *free, uint64_t *low)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	unsigned long long pages;
	char line[256];

	if (!f)
		die("zoneinfo: %s", strerror(errno));
	*free = 0;
	*low = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " pages free %llu", &pages) == 1)
			*free += pages * page_size();
		else if (sscanf(line, " low %llu", &pages) == 1)
			*low += pages * page_size();
	}
	fclose(f);
}

/* All that is free is put by, and then a program needs it. */
TEST_F(reserve, under_pressure)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size();
	uint64_t all, free, low, i;
	int status;
	char *need;

	ASSERT_EQ(0, sysfs_set("reserve_bytes", ram));
	/* Until it does not grow any more: it tries again now and then. */
	do {
		all = held();
		sleep(2);
	} while (held() > all);
	all = held();
	free_and_marks(&free, &low);
	EXPECT_GT(ram, all);
	EXPECT_LT(low, free) {
		TH_LOG("free %ju low %ju held %ju", (uintmax_t)free,
		       (uintmax_t)low, (uintmax_t)all);
	}
	/* In a guest of the usual size; else the rest of this says nothing. */
	EXPECT_LT(free + 256 * MiB, all);

	in_child(status,
		need = mmap(NULL, free + 128 * MiB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(need != MAP_FAILED);
		for (i = 0; i < free + 128 * MiB; i += 4096)
			need[i] = 1);
	EXPECT_EQ(0, status);
	EXPECT_GT(all - 64 * MiB, held());

	/* It is free again, and in a while it is put by again. */
	EXPECT_TRUE(wait_for(holds_more, held()));
}

/* --- storms --- */

struct storm {
	struct pool p;
	bool stop;
	uint64_t bytes;		/* of one buffer */
	int failures;
};

static bool over(const struct storm *storm)
{
	return __atomic_load_n(&storm->stop, __ATOMIC_RELAXED);
}

static void fail(struct storm *storm)
{
	__atomic_fetch_add(&storm->failures, 1, __ATOMIC_RELAXED);
}

static bool failed(const struct storm *storm)
{
	return __atomic_load_n(&storm->failures, __ATOMIC_RELAXED);
}

static void *take_and_free(void *arg)
{
	struct storm *storm = arg;
	int64_t offset;

	while (!over(storm)) {
		offset = pool_alloc(&storm->p, storm->bytes, 0, NULL);
		if (offset < 0 ||
		    !all_zero(storm->p.base + offset, storm->bytes)) {
			fail(storm);
			break;
		}
		memset(storm->p.base + offset, 0xff, storm->bytes);
		if (pool_free(&storm->p, offset)) {
			fail(storm);
			break;
		}
	}
	return NULL;
}

static void *set_sizes(void *arg)
{
	static const uint64_t sizes[] = {
		0, 8 * MiB, 64 * MiB, 2 * MiB, 0, 32 * MiB,
	};
	struct storm *storm = arg;
	size_t i = (uintptr_t)&i / 64;

	while (!over(storm)) {
		if (sysfs_set("reserve_bytes", sizes[i++ % ARRAY_SIZE(sizes)]))
			fail(storm);
		moment();
	}
	return NULL;
}

#define NR_THREADS	4
#define NR_WRITERS	2

TEST_F(reserve, storm)
{
	struct storm storm = { .p = self->p, .bytes = 4 * MiB };
	pthread_t thread[NR_THREADS + NR_WRITERS];
	uint64_t hits;
	size_t i;
	int round;

	for (i = 0; i < ARRAY_SIZE(thread); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL,
					    i < NR_THREADS ? take_and_free :
					    set_sizes, &storm));
	/* After a shrink nothing is refilled for a while: one for some hits. */
	for (round = 0; round < 4; round++) {
		hits = pool_stats(&self->p).reserve_hits;
		while (!failed(&storm) &&
		       pool_stats(&self->p).reserve_hits < hits + 16)
			moment();
		shrink();
	}
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);

	EXPECT_EQ(0, storm.failures);
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
	EXPECT_TRUE(fill(64 * MiB));
	EXPECT_LE(0, pool_alloc(&self->p, 64 * MiB, 0, NULL));
	EXPECT_EQ(0, sysfs_set("reserve_bytes", 0));
	EXPECT_EQ(0, held());
}

/* Killed while it takes: what was taken goes, what was not stays. */
TEST_F(reserve, killed)
{
	struct bufpool_config cfg = fresh_config(256 * MiB);
	uint64_t before = device_attached();
	struct gate ready;
	pid_t child;
	int i, k;

	gate_init(&ready);
	ASSERT_TRUE(fill(64 * MiB));
	for (i = 0; i < 10; i++) {
		child = fork();
		if (!child) {
			struct storm storm = { .bytes = 32 * MiB };
			pthread_t thread;

			check(!pool_init(&storm.p, &cfg));
			for (k = 0; k < 3; k++)
				check(!pthread_create(&thread, NULL,
						      take_and_free, &storm));
			while (!pool_stats(&storm.p).reserve_hits)
				sched_yield();
			gate_pass(&ready);
			take_and_free(&storm);
			_exit(1);
		}
		ASSERT_TRUE(gate_wait(&ready));
		usleep(1000 * i);
		kill(child, SIGKILL);
		EXPECT_EQ(128 + SIGKILL, child_status(child));
		EXPECT_EQ(before, device_attached());
		ASSERT_TRUE(wait_for(holds, 64 * MiB));
	}
}

/* --- nodes --- */

static int node_of_cpu(int cpu)
{
	char path[128];
	int nid;

	for (nid = 0; nid < MAX_NODES; nid++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/cpu/cpu%d/node%d", cpu, nid);
		if (!access(path, F_OK))
			return nid;
	}
	return -1;
}

/* The node that the page at an address is on. */
static int node_of(void *at)
{
	int nid;

	if (syscall(SYS_get_mempolicy, &nid, NULL, 0, at,
		    MPOL_F_NODE | MPOL_F_ADDR))
		die("get_mempolicy: %s", strerror(errno));
	return nid;
}

static bool on_node(const unsigned char *buf, uint64_t bytes, int nid)
{
	uint64_t i;

	for (i = 0; i < bytes; i += HUGE)
		if (node_of((void *)(buf + i)) != nid)
			return false;
	return true;
}

TEST_F(reserve, spread_over_nodes)
{
	uint64_t free[MAX_NODES], now;
	int i;

	if (self->nr < 2)
		SKIP(return, "a machine with one node");
	for (i = 0; i < self->nr; i++)
		free[i] = node_meminfo(self->nodes[i], "MemFree:");
	ASSERT_TRUE(fill(self->nr * 64 * MiB));
	for (i = 0; i < self->nr; i++) {
		now = node_meminfo(self->nodes[i], "MemFree:");
		EXPECT_LT(now + 48 * MiB, free[i]);
		EXPECT_GT(now + 80 * MiB, free[i]);
	}
}

TEST_F(reserve, taken_from_the_own_node)
{
	int64_t offset;
	int cpu;

	if (self->nr < 2)
		SKIP(return, "a machine with one node");
	ASSERT_TRUE(fill(self->nr * 16 * MiB));
	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		ASSERT_EQ(0, pin_to_cpu(cpu));
		offset = pool_alloc(&self->p, 16 * MiB, 0, NULL);
		ASSERT_LE(0, offset);
		EXPECT_TRUE(on_node(self->p.base + offset, 16 * MiB,
				    node_of_cpu(cpu)));
		EXPECT_EQ(8 * (cpu + 1), pool_stats(&self->p).reserve_hits);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		ASSERT_TRUE(wait_for(holds, self->nr * 16 * MiB));
	}
	EXPECT_EQ(0, pool_stats(&self->p).reserve_misses);
}

/* A group of tasks that may have memory of @nid only. */
static int cpuset_make(const char *name, int nid)
{
	char mems[16];
	int ret = write_file(CGROUP "cgroup.subtree_control", "+cpuset");

	if (ret)
		return ret;
	cgroup_make(name);
	snprintf(mems, sizeof(mems), "%d", nid);
	return cgroup_write(name, "cpuset.mems", mems);
}

/* On one node, with memory of another only. */
TEST_F(reserve, not_against_a_cpuset)
{
	struct bufpool_config cfg = fresh_config(64 * MiB);
	int here = node_of_cpu(0), there, status;
	int64_t offset;
	struct pool p;

	if (self->nr < 2)
		SKIP(return, "a machine with one node");
	there = self->nodes[self->nodes[0] == here];
	if (cpuset_make("there", there))
		SKIP(return, "a kernel without cpusets");
	ASSERT_TRUE(fill(self->nr * 16 * MiB));
	in_child(status,
		check(!pin_to_cpu(0));
		check(!cgroup_write("there", "cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		offset = pool_alloc(&p, 16 * MiB, 0, NULL);
		check(offset >= 0);
		check(on_node(p.base + offset, 16 * MiB, there));
		check(pool_stats(&p).reserve_hits == 0);
		check(pool_stats(&p).reserve_misses == 8);
		check(held() == self->nr * 16 * MiB));
	EXPECT_EQ(0, status);
	cgroup_remove("there");
}

#define FAIL	"/sys/kernel/debug/fail_page_alloc/"

/* No task that asks for it gets a huge folio of the kernel. */
static bool no_huge_folios(bool none)
{
	static const struct {
		const char *file, *value;
	} knobs[] = {
		{ FAIL "verbose", "0" }, { FAIL "min-order", "9" },
		{ FAIL "ignore-gfp-wait", "N" },
		{ FAIL "ignore-gfp-highmem", "N" },
		{ FAIL "task-filter", "Y" }, { FAIL "times", "-1" },
		{ FAIL "probability", "100" },
	};
	size_t i;

	if (!none)
		return !write_file(FAIL "probability", "0") &&
		       !write_file(FAIL "task-filter", "N") &&
		       !write_file(FAIL "min-order", "1");
	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		if (write_file(knobs[i].file, knobs[i].value))
			return false;
	return true;
}

/* Where the kernel has none, what another allowed node has put by is used. */
TEST_F(reserve, last_resort)
{
	struct bufpool_config cfg = fresh_config(128 * MiB);
	int here = node_of_cpu(0), there, status;
	uint64_t before;
	int64_t offset;
	struct pool p;

	if (self->nr < 2)
		SKIP(return, "a machine with one node");
	there = self->nodes[self->nodes[0] == here];
	if (access(FAIL, F_OK))
		SKIP(return, "a kernel without fault injection");
	if (cpuset_make("there", there))
		SKIP(return, "a kernel without cpusets");
	ASSERT_TRUE(fill(self->nr * 16 * MiB));
	ASSERT_TRUE(no_huge_folios(true));
	in_child(status,
		check(!pin_to_cpu(0));
		check(!cgroup_write("there", "cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		check(!write_file("/proc/self/make-it-fail", "1"));
		before = sysfs_value("reserve_hits");
		offset = pool_alloc(&p, 16 * MiB, 0, NULL);
		check(offset >= 0);
		check(on_node(p.base + offset, 16 * MiB, there));
		check(all_zero(p.base + offset, 16 * MiB));
		check(pool_stats(&p).reserve_hits == 8);
		check(pool_stats(&p).reserve_misses == 0);
		check(sysfs_value("reserve_hits") == before + 8);
		check(pool_stats(&p).huge_attached == 8));
	EXPECT_TRUE(no_huge_folios(false));
	EXPECT_EQ(0, status);
	cgroup_remove("there");
}

TEST_HARNESS_MAIN
