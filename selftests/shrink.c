// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory pressure: idle memory goes, live memory stays, and nobody is killed.
 *
 * Reclaim is called for with drop_caches, which asks every shrinker for all it
 * has, with memory.reclaim, and by needing the memory in a group at its limit.
 *
 * checkpatch: PARENTHESIS_ALIGNMENT: in_child() is given statements
 */
#include "kselftest_harness.h"
#include "pool.h"

/* A scan passes a pool by whose lock is taken. */
static void shrink_all_of(const struct pool *p)
{
	do {
		shrink();
	} while (pool_retained(p));
}

FIXTURE(shrink) {
	struct pool p;
};

FIXTURE_SETUP(shrink)
{
	struct bufpool_config cfg = fixed_config(256 * MiB);

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(shrink)
{
	pool_destroy(&self->p);
}

TEST_F(shrink, idle_goes_live_stays)
{
	static const uint64_t sizes[] = {
		4 * KiB, 12 * KiB, 64 * KiB, 1 * MiB, 2 * MiB, 9 * MiB,
	};
	int64_t live[ARRAY_SIZE(sizes)], idle[ARRAY_SIZE(sizes)];
	uint64_t live_bytes = 0, idle_bytes = 0;
	struct bufpool_stats st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		live[i] = pool_alloc(&self->p, sizes[i], 0, NULL);
		idle[i] = pool_alloc(&self->p, sizes[i], 0, NULL);
		ASSERT_LE(0, live[i]);
		ASSERT_LE(0, idle[i]);
		stamp_range(self->p.base + live[i], sizes[i], i);
		stamp_range(self->p.base + idle[i], sizes[i], ~i);
		live_bytes += sizes[i];
		idle_bytes += sizes[i];
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		ASSERT_EQ(0, pool_free(&self->p, idle[i]));
	ASSERT_EQ(idle_bytes, pool_retained(&self->p));

	shrink_all_of(&self->p);

	/* Detached by a worker: a release waits for it. */
	pool_release(&self->p);
	st = pool_stats(&self->p);
	EXPECT_EQ(idle_bytes, st.shrunk_bytes);
	EXPECT_EQ(0, st.released_bytes);
	EXPECT_EQ(0, st.retained_bytes);
	EXPECT_EQ(live_bytes, st.attached_bytes);
	EXPECT_EQ(0, st.corruptions);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_TRUE(stamped(self->p.base + live[i], sizes[i], i));
		EXPECT_EQ(SIGBUS, read_signal(self->p.base + idle[i]));
		EXPECT_EQ(0, pool_free(&self->p, live[i]));
	}
	/* New memory where old was taken. */
	idle[0] = pool_alloc(&self->p, 3 * MiB, 0, NULL);
	ASSERT_LE(0, idle[0]);
	EXPECT_TRUE(all_zero(self->p.base + idle[0], 3 * MiB));
}

/* Memory that somebody else refers to leaves the pool, not this reader. */
TEST_F(shrink, memory_in_a_pipe)
{
	unsigned char *back = malloc(64 * KiB);
	struct iovec iov;
	int64_t offset;
	int fd[2];

	ASSERT_NE(NULL, back);
	offset = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, offset);
	stamp_range(self->p.base + offset, 64 * KiB, 3);
	ASSERT_EQ(0, pipe(fd));
	iov.iov_base = self->p.base + offset;
	iov.iov_len = 64 * KiB;
	ASSERT_EQ(64 * KiB, vmsplice(fd[1], &iov, 1, 0));
	ASSERT_EQ(0, pool_free(&self->p, offset));

	shrink_all_of(&self->p);
	pool_release(&self->p);
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + offset));

	ASSERT_EQ(64 * KiB, read(fd[0], back, 64 * KiB));
	EXPECT_TRUE(stamped(back, 64 * KiB, 3));
	close(fd[0]);
	close(fd[1]);
	free(back);
}

/* A child with 32 MiB idle in its pool, in a group; it ends when told. */
static pid_t idle_child(const char *group, struct gate *ready, struct gate *end)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct pool p;
	int64_t offset[8];
	char shrunk[1];
	pid_t pid = fork();
	size_t i;

	if (pid)
		return pid;
	check(!cgroup_write(group, "cgroup.procs", "0"));
	check(!pool_init(&p, &cfg));
	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		offset[i] = pool_alloc(&p, 4 * MiB, 0, NULL);
		check(offset[i] >= 0);
	}
	for (i = 0; i < ARRAY_SIZE(offset); i++)
		check(!pool_free(&p, offset[i]));
	check(pool_retained(&p) == 32 * MiB);
	gate_pass(ready);
	check(gate_wait(end));
	shrunk[0] = pool_stats(&p).shrunk_bytes != 0;
	_exit(shrunk[0] ? 10 : 11);
}

/* Reclaim of one group does not touch another one's pools. */
TEST(groups_are_kept_apart)
{
	struct gate ready, end_a, end_b;
	pid_t a, b;

	gate_init(&ready);
	gate_init(&end_a);
	gate_init(&end_b);
	cgroup_make("a");
	cgroup_make("b");
	a = idle_child("a", &ready, &end_a);
	b = idle_child("b", &ready, &end_b);
	ASSERT_TRUE(gate_wait(&ready));
	ASSERT_TRUE(gate_wait(&ready));

	/* EAGAIN: it found less than was asked for. */
	cgroup_write("a", "memory.reclaim", "32M");

	gate_pass(&end_a);
	gate_pass(&end_b);
	EXPECT_EQ(10, child_status(a));
	EXPECT_EQ(11, child_status(b));
	cgroup_remove("a");
	cgroup_remove("b");
}

/*
 * The reason for all this: a group at its limit gets its pool's idle memory when
 * it needs it, and nobody is killed.
 */
TEST(a_group_at_its_limit_survives)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);
	struct bufpool_stats st;
	int64_t live, idle[12];
	struct pool p;
	char *need;
	int status;
	size_t i;

	cgroup_make("limit");
	ASSERT_EQ(0, cgroup_write("limit", "memory.max", "80M"));
	/* Swap would hide what is tested; where there is none, so much the better. */
	cgroup_write("limit", "memory.swap.max", "0");
	in_child(status,
		check(!cgroup_write("limit", "cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		live = pool_alloc(&p, 8 * MiB, 0, NULL);
		check(live >= 0);
		stamp_range(p.base + live, 8 * MiB, 5);
		for (i = 0; i < ARRAY_SIZE(idle); i++) {
			idle[i] = pool_alloc(&p, 4 * MiB, 0, NULL);
			check(idle[i] >= 0);
		}
		for (i = 0; i < ARRAY_SIZE(idle); i++)
			check(!pool_free(&p, idle[i]));
		check(pool_retained(&p) == 48 * MiB);

		/* 56 MiB are taken, 48 are needed, 80 may be had. */
		need = mmap(NULL, 48 * MiB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(need != MAP_FAILED);
		for (i = 0; i < 48 * MiB; i += 4096)
			need[i] = 1;

		st = pool_stats(&p);
		check(st.shrunk_bytes >= 16 * MiB);
		check(st.attached_bytes >= 8 * MiB);
		check(stamped(p.base + live, 8 * MiB, 5)));
	EXPECT_EQ(0, status);
	cgroup_remove("limit");
}

/* Several pools in groups of their own, and the group above them is at its limit. */
TEST(pools_below_a_limit)
{
	static const char * const group[] = { "top/a", "top/b", "top/c" };
	struct gate ready, end[ARRAY_SIZE(group)];
	pid_t child[ARRAY_SIZE(group)];
	int status, shrunk = 0;
	char *need;
	size_t i;

	gate_init(&ready);
	cgroup_make("top");
	ASSERT_EQ(0, cgroup_write("top", "cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, cgroup_write("top", "memory.max", "128M"));
	cgroup_write("top", "memory.swap.max", "0");
	for (i = 0; i < ARRAY_SIZE(group); i++) {
		gate_init(&end[i]);
		cgroup_make(group[i]);
		child[i] = idle_child(group[i], &ready, &end[i]);
	}
	for (i = 0; i < ARRAY_SIZE(group); i++)
		ASSERT_TRUE(gate_wait(&ready));
	cgroup_make("top/d");

	/* 96 MiB are idle, 80 are needed. */
	in_child(status,
		check(!cgroup_write("top/d", "cgroup.procs", "0"));
		need = mmap(NULL, 80 * MiB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(need != MAP_FAILED);
		for (i = 0; i < 80 * MiB; i += 4096)
			need[i] = 1);
	EXPECT_EQ(0, status);
	for (i = 0; i < ARRAY_SIZE(group); i++) {
		gate_pass(&end[i]);
		status = child_status(child[i]);
		EXPECT_TRUE(status == 10 || status == 11);
		shrunk += status == 10;
		cgroup_remove(group[i]);
	}
	/* No pool alone had enough. */
	EXPECT_LE(2, shrunk);
	cgroup_remove("top/d");
	cgroup_remove("top");
}

/* --- storms --- */

#define NR_THREADS	4
#define NR_HELD		16

struct storm {
	struct pool p;
	volatile bool stop;
	volatile int failures;
};

/*
 * Allocate, stamp, hold, check, free.  What is allocated is this pool's old stamp,
 * or zero: of another buffer, or half gone, it never is.
 */
static void *storm_thread(void *arg)
{
	struct storm *storm = arg;
	uint64_t seed = (uintptr_t)&seed | 1, bytes[NR_HELD] = {};
	int64_t offset[NR_HELD];
	unsigned char *buf;
	size_t i;

	while (!storm->stop) {
		i = next_random(&seed) % NR_HELD;
		if (bytes[i]) {
			buf = storm->p.base + offset[i];
			if (!stamped(buf, bytes[i], offset[i]) ||
			    pool_free(&storm->p, offset[i])) {
				storm->failures++;
				break;
			}
			bytes[i] = 0;
			continue;
		}
		bytes[i] = 4 * KiB << next_random(&seed) % 8;
		offset[i] = pool_alloc(&storm->p, bytes[i], 0, NULL);
		if (offset[i] < 0) {
			storm->failures++;
			bytes[i] = 0;
			break;
		}
		buf = storm->p.base + offset[i];
		if (!stamped(buf, bytes[i], offset[i]) &&
		    !all_zero(buf, bytes[i])) {
			storm->failures++;
			break;
		}
		memset(buf, 0, bytes[i]);
		stamp_range(buf, bytes[i], offset[i]);
	}
	for (i = 0; i < NR_HELD; i++)
		if (bytes[i])
			pool_free(&storm->p, offset[i]);
	return NULL;
}

TEST(storm)
{
	struct bufpool_config cfg = fixed_config(256 * MiB);
	pthread_t thread[NR_THREADS];
	struct storm storm = {};
	struct bufpool_stats st;
	int i;

	ASSERT_EQ(0, pool_init(&storm.p, &cfg));
	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, storm_thread,
					    &storm));
	/* Until enough has happened on both sides. */
	do {
		shrink();
		if (pool_release(&storm.p) < 0)
			storm.failures++;
		st = pool_stats(&storm.p);
	} while (!storm.failures && (st.shrunk_bytes < 32 * MiB ||
				     st.allocs < 3000));
	storm.stop = true;
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);

	EXPECT_EQ(0, storm.failures);
	shrink_all_of(&storm.p);
	pool_release(&storm.p);
	st = pool_stats(&storm.p);
	EXPECT_EQ(0, st.attached_bytes);
	EXPECT_EQ(0, st.corruptions);
	pool_destroy(&storm.p);
}

/* Touching what is idle, while it is taken. */
static void *touch_thread(void *arg)
{
	struct storm *storm = arg;
	uint64_t at = 0;

	while (!storm->stop) {
		/* SIGBUS or not: either is right. */
		read_signal(storm->p.base + storm->p.setup.data_offset +
			    at % (8 * MiB));
		at += 4096;
	}
	return NULL;
}

TEST(faults_on_what_is_taken)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct storm storm = {};
	int64_t offset[64];
	pthread_t thread;
	size_t i, round;

	ASSERT_EQ(0, pool_init(&storm.p, &cfg));
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_thread, &storm));
	for (round = 0; round < 20; round++) {
		for (i = 0; i < ARRAY_SIZE(offset); i++) {
			offset[i] = pool_alloc(&storm.p, 64 * KiB, 0, NULL);
			ASSERT_LE(0, offset[i]);
		}
		for (i = 0; i < ARRAY_SIZE(offset); i++)
			ASSERT_EQ(0, pool_free(&storm.p, offset[i]));
		shrink();
	}
	storm.stop = true;
	pthread_join(thread, NULL);
	pool_release(&storm.p);
	EXPECT_EQ(0, pool_attached(&storm.p));
	pool_destroy(&storm.p);
}

/* Processes that come and go, with and without order, while reclaim looks. */
TEST(exit_during_scan)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t before = device_attached();
	struct pool p;
	int64_t offset;
	pid_t child[8];
	size_t i, round;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < ARRAY_SIZE(child); i++) {
			child[i] = fork();
			if (child[i])
				continue;
			check(!pool_init(&p, &cfg));
			offset = pool_alloc(&p, 4 * MiB, 0, NULL);
			check(offset >= 0);
			check(!pool_free(&p, offset));
			check(pool_alloc(&p, 256 * KiB, 0, NULL) >= 0);
			if (i % 2)
				pool_destroy(&p);
			if (i % 4 == 0)
				raise(SIGKILL);
			_exit(0);
		}
		for (i = 0; i < ARRAY_SIZE(child); i++) {
			while (child_runs(child[i]))
				shrink();
			EXPECT_EQ(i % 4 ? 0 : 128 + SIGKILL,
				  child_status(child[i]));
		}
	}
	EXPECT_EQ(before, device_attached());
}

/* A group goes away while its pool lives on elsewhere and is reclaimed. */
TEST(group_removed)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct pool p;
	int64_t offset;
	int status;

	cgroup_make("gone");
	cgroup_make("next");
	in_child(status,
		check(!cgroup_write("gone", "cgroup.procs", "0"));
		check(!pool_init(&p, &cfg));
		offset = pool_alloc(&p, 4 * MiB, 0, NULL);
		check(offset >= 0);
		check(!cgroup_write("next", "cgroup.procs", "0"));
		cgroup_remove("gone");
		check(!pool_free(&p, offset));
		shrink_all_of(&p);
		pool_release(&p);
		check(pool_stats(&p).shrunk_bytes == 4 * MiB);
		check(pool_attached(&p) == 0));
	EXPECT_EQ(0, status);
	cgroup_remove("next");
}

TEST_HARNESS_MAIN
