// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library's lock-free paths against the backend's: threads that allocate and
 * free without a system call while others have the idle memory taken away, by the
 * kernel if it is the device, and signal handlers in the middle of all of it.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

#include <stdatomic.h>
#include <sys/time.h>

#define NR_THREADS	4
#define HELD		8

static const size_t sizes[] = {
	4 * KiB, 4 * KiB, 16 * KiB, 60 * KiB, 64 * KiB, 200 * KiB,
};

static struct bufpool *bp;
static atomic_int stop, failed;
static unsigned int rounds;

#define storm_check(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "# %s:%d: not so: %s\n", __FILE__,	\
			__LINE__, #condition);				\
		atomic_store(&failed, 1);				\
	}								\
} while (0)

/*
 * The first word of a buffer says who has it.  A buffer that is free has no
 * owner; it may also have been attached anew, and be zero.
 */
static void take(unsigned char *buf, uint64_t me)
{
	atomic_ulong *owner = (void *)buf;
	uint64_t nobody = 0;

	storm_check(atomic_compare_exchange_strong(owner, &nobody, me));
}

static void give(unsigned char *buf, uint64_t me)
{
	atomic_ulong *owner = (void *)buf;

	storm_check(atomic_compare_exchange_strong(owner, &me, 0));
}

/* Behind the first word, up to 64 KiB. */
static size_t stamped_bytes(size_t size)
{
	return (size < 64 * KiB ? size : 64 * KiB) - STAMP_STEP;
}

static void *allocate_and_free(void *arg)
{
	uint64_t nr = (uintptr_t)arg, seed = nr * 1237;
	struct {
		unsigned char *buf;
		size_t size;
		uint64_t me;
	} held[HELD] = { 0 };
	unsigned int i, k;

	for (i = 1; i <= rounds && !atomic_load(&failed); i++) {
		k = next_random(&seed) % HELD;
		if (i % 64 == 0)
			pin_to_cpu(next_random(&seed) %
				   sysconf(_SC_NPROCESSORS_ONLN));
		if (held[k].buf) {
			storm_check(stamped(held[k].buf + STAMP_STEP,
					    stamped_bytes(held[k].size),
					    held[k].me));
			give(held[k].buf, held[k].me);
			bufpool_free(bp, held[k].buf);
			held[k].buf = NULL;
			continue;
		}
		held[k].size = sizes[next_random(&seed) % ARRAY_SIZE(sizes)];
		/* Now and then a large one, which takes long to attach. */
		if (next_random(&seed) % 64 == 0)
			held[k].size = 9 * MiB;
		held[k].buf = bufpool_alloc(bp, held[k].size, 0);
		if (!held[k].buf) {
			storm_check(errno == EDQUOT);
			continue;
		}
		held[k].me = nr << 32 | i;
		take(held[k].buf, held[k].me);
		stamp_range(held[k].buf + STAMP_STEP,
			    stamped_bytes(held[k].size), held[k].me);
	}
	for (k = 0; k < HELD; k++) {
		if (!held[k].buf)
			continue;
		give(held[k].buf, held[k].me);
		bufpool_free(bp, held[k].buf);
	}
	return NULL;
}

static void *release_in_a_loop(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		storm_check(bufpool_release_retained(bp) >= 0);
		sched_yield();
	}
	return NULL;
}

static void *release_by_sysfs_in_a_loop(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		storm_check(!sysfs_write("release_retained", "1"));
		sched_yield();
	}
	return NULL;
}

static void *shrink_in_a_loop(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		storm_check(!drop_slab());
		sched_yield();
	}
	return NULL;
}

static void *reconfigure_in_a_loop(void *arg)
{
	struct bufpool_config cfg = fixed_config(96 * MiB);
	uint64_t seed = 3;

	(void)arg;
	while (!atomic_load(&stop)) {
		cfg.percpu_cached = next_random(&seed) % 20;
		cfg.large_cached = next_random(&seed) % 4;
		cfg.max_retained_bytes = next_random(&seed) % (32 * MiB);
		cfg.max_pooled_bytes = next_random(&seed) % (16 * MiB);
		cfg.large_threshold_bytes = 32 * KiB << next_random(&seed) % 10;
		storm_check(!bufpool_set_config(bp, &cfg));
		sched_yield();
	}
	return NULL;
}

/* What all pools of the machine have; of others than the device's, nobody knows. */
static uint64_t attached_by_all(void)
{
	return on_device() ? device_attached() : 0;
}

FIXTURE(library_threads) {
	uint64_t before;
};

FIXTURE_SETUP(library_threads)
{
	struct bufpool_config cfg = fixed_config(96 * MiB);

	self->before = attached_by_all();
	bp = bufpool_create(&cfg);
	ASSERT_NE(NULL, bp);
	rounds = 1000;
}

FIXTURE_TEARDOWN(library_threads)
{
	struct bufpool_stats st;

	EXPECT_FALSE(atomic_load(&failed));
	/* Nothing is live: all that is attached can be found and released. */
	ASSERT_EQ(0, bufpool_get_stats(bp, &st));
	EXPECT_EQ(st.attached_bytes, st.retained_bytes);
	EXPECT_EQ(0, st.corruptions);
	EXPECT_EQ((int64_t)st.attached_bytes, bufpool_release_retained(bp));
	EXPECT_EQ(self->before, attached_by_all());
	bufpool_destroy(bp);
}

static void run(void *(*disturb)(void *))
{
	pthread_t thread[NR_THREADS], disturber;
	uintptr_t i;

	if (disturb && pthread_create(&disturber, NULL, disturb, NULL))
		die("pthread_create");
	for (i = 0; i < NR_THREADS; i++)
		if (pthread_create(&thread[i], NULL, allocate_and_free,
				   (void *)(i + 1)))
			die("pthread_create");
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&stop, 1);
	if (disturb)
		pthread_join(disturber, NULL);
}

TEST_F(library_threads, storm)
{
	run(NULL);
}

TEST_F(library_threads, storm_while_releasing)
{
	run(release_in_a_loop);
}

TEST_F(library_threads, storm_while_releasing_by_sysfs)
{
	if (!on_device())
		SKIP(return, "what only the kernel does");
	run(release_by_sysfs_in_a_loop);
}

TEST_F(library_threads, storm_while_shrinking)
{
	struct bufpool_stats st;

	if (!on_device())
		SKIP(return, "what only the kernel does");
	run(shrink_in_a_loop);
	/* What a scan began a worker ends: give it the time it takes. */
	do {
		ASSERT_EQ(0, bufpool_get_stats(bp, &st));
	} while (st.attached_bytes != st.retained_bytes);
}

TEST_F(library_threads, storm_while_reconfiguring)
{
	run(reconfigure_in_a_loop);
}

/*
 * Weak buffers under pressure: what is strengthened intact is as it was, what
 * was taken is freed, and nobody else gets either in the meantime.
 */
static void *weaken_and_strengthen(void *arg)
{
	uint64_t nr = (uintptr_t)arg, seed = nr * 99, me;
	unsigned char *buf;
	unsigned int i;
	size_t size;
	int ret;

	for (i = 1; i <= rounds / 4 && !atomic_load(&failed); i++) {
		size = sizes[next_random(&seed) % ARRAY_SIZE(sizes)];
		buf = bufpool_alloc(bp, size, 0);
		if (!buf) {
			storm_check(errno == EDQUOT);
			continue;
		}
		me = nr << 32 | i;
		take(buf, me);
		stamp_range(buf + STAMP_STEP, stamped_bytes(size), me);
		storm_check(!bufpool_weaken(bp, buf));
		sched_yield();
		ret = bufpool_strengthen(bp, buf);
		storm_check(ret >= 0);
		if (ret != 1)
			continue;
		storm_check(stamped(buf + STAMP_STEP, stamped_bytes(size), me));
		give(buf, me);
		bufpool_free(bp, buf);
	}
	return NULL;
}

TEST_F(library_threads, weak_while_shrinking)
{
	pthread_t thread[NR_THREADS], disturber;
	struct bufpool_stats st;
	uintptr_t i;

	if (!on_device())
		SKIP(return, "what only the kernel does");
	ASSERT_EQ(0, pthread_create(&disturber, NULL, shrink_in_a_loop, NULL));
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, i % 2 ?
					    weaken_and_strengthen :
					    allocate_and_free, (void *)(i + 1)));
	}
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&stop, 1);
	pthread_join(disturber, NULL);
	do {
		ASSERT_EQ(0, bufpool_get_stats(bp, &st));
	} while (st.attached_bytes != st.retained_bytes);
}

/* One allocates, the other frees: buffers must wander back between the CPUs. */
static int handover[2];

static void *free_what_comes(void *arg)
{
	unsigned char *buf;

	(void)arg;
	pin_to_cpu(1);
	while (read(handover[0], &buf, sizeof(buf)) == sizeof(buf)) {
		storm_check(*(volatile uintptr_t *)buf == (uintptr_t)buf);
		*(volatile uintptr_t *)buf = 0;
		bufpool_free(bp, buf);
	}
	return NULL;
}

TEST_F(library_threads, freed_by_another_cpu)
{
	struct bufpool_stats st;
	unsigned char *buf;
	pthread_t thread;
	int i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU only");
	ASSERT_EQ(0, pipe(handover));
	ASSERT_EQ(0, pthread_create(&thread, NULL, free_what_comes, NULL));
	ASSERT_EQ(0, pin_to_cpu(0));
	for (i = 0; i < 3000; i++) {
		buf = bufpool_alloc(bp, 16 * KiB, 0);
		ASSERT_NE(NULL, buf);
		*(volatile uintptr_t *)buf = (uintptr_t)buf;
		ASSERT_EQ((ssize_t)sizeof(buf),
			  write(handover[1], &buf, sizeof(buf)));
	}
	close(handover[1]);
	pthread_join(thread, NULL);
	/* A pipe holds no more than 64 KiB of pointers. */
	ASSERT_EQ(0, bufpool_get_stats(bp, &st));
	EXPECT_LT(st.attached_total_bytes, 3000 * 16 * KiB);
}

/* --- signal handlers --- */

static volatile sig_atomic_t handled;

static void allocate_in_handler(int sig)
{
	static const size_t size[] = { 4 * KiB, 64 * KiB, 200 * KiB };
	unsigned char *buf[3];
	int err = errno, i;

	(void)sig;
	for (i = 0; i < 3; i++) {
		buf[i] = bufpool_alloc(bp, size[i], 0);
		if (!buf[i]) {
			atomic_store(&failed, 1);
			continue;
		}
		take(buf[i], 0xdead0000 + i);
	}
	for (i = 0; i < 3; i++) {
		if (!buf[i])
			continue;
		give(buf[i], 0xdead0000 + i);
		bufpool_free(bp, buf[i]);
	}
	handled++;
	errno = err;
}

TEST_F(library_threads, signal_handlers)
{
	struct sigaction sa = {
		.sa_handler = allocate_in_handler, .sa_flags = SA_RESTART,
	};
	struct itimerval often = {
		.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000,
	};
	struct itimerval never = { 0 };
	pthread_t disturber;
	sigset_t set;

	/* All signals to this thread, which does nothing but allocate. */
	sigemptyset(&set);
	sigaddset(&set, SIGPROF);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, pthread_create(&disturber, NULL, release_in_a_loop, NULL));
	ASSERT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &set, NULL));

	ASSERT_EQ(0, sigaction(SIGPROF, &sa, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &often, NULL));
	rounds = 200;
	while (handled < 60 && !atomic_load(&failed))
		allocate_and_free((void *)1);
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &never, NULL));
	atomic_store(&stop, 1);
	pthread_join(disturber, NULL);
}

/* Ended in the middle of it all. */
TEST_F(library_threads, killed)
{
	struct gate ready;
	int round;
	pid_t pid;

	for (round = 0; round < 5; round++) {
		gate_init(&ready);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct bufpool_config cfg = fixed_config(64 * MiB);
			pthread_t thread;
			uintptr_t i;

			bp = bufpool_create(&cfg);
			check(bp);
			rounds = ~0U;
			for (i = 0; i < NR_THREADS; i++)
				check(!pthread_create(&thread, NULL,
						      allocate_and_free,
						      (void *)(i + 1)));
			while (bufpool_release_retained(bp) < 1)
				sched_yield();
			gate_pass(&ready);
			for (;;)
				bufpool_release_retained(bp);
		}
		close(ready.fd[1]);
		ASSERT_TRUE(gate_wait(&ready));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(128 + SIGKILL, child_status(pid));
		EXPECT_EQ(self->before, attached_by_all());
	}
}

TEST_HARNESS_MAIN
