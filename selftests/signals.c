// SPDX-License-Identifier: GPL-2.0-only
/* Signals while the kernel is attaching: a deadly one, and many harmless ones. */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/time.h>

/* Killed while hundreds of MiB are being attached, at no special moment. */
TEST(killed_in_a_big_alloc)
{
	struct bufpool_config cfg = fixed_config(512 * MiB);
	uint64_t before = device_attached();
	struct gate ready;
	int round;
	pid_t pid;

	for (round = 0; round < 6; round++) {
		gate_init(&ready);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct pool p;

			check(!pool_init(&p, &cfg));
			gate_pass(&ready);
			for (;;) {
				int64_t at = pool_alloc(&p, 300 * MiB, 0, NULL);

				check(at > 0);
				check(!pool_free(&p, at));
				pool_release(&p);
			}
		}
		close(ready.fd[1]);
		ASSERT_TRUE(gate_wait(&ready));
		close(ready.fd[0]);
		/* The bytes are counted before they are attached. */
		while (device_attached() < before + 300 * MiB &&
		       child_runs(pid))
			sched_yield();
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(128 + SIGKILL, child_status(pid));
		EXPECT_EQ(before, device_attached());
	}
}

/* The same with other threads of the process in the same pool. */
static void *allocate_big(void *arg)
{
	const struct pool *p = arg;

	for (;;) {
		int64_t at = pool_alloc(p, 40 * MiB, BUFPOOL_ZERO, NULL);

		if (at > 0)
			pool_free(p, at);
		if (at > 0 && at / 4096 % 2)
			pool_release(p);
	}
	return NULL;
}

TEST(killed_with_threads_in_alloc)
{
	struct bufpool_config cfg = fixed_config(256 * MiB);
	uint64_t before = device_attached();
	struct gate ready;
	int round, i;
	pid_t pid;

	cfg.large_cached = 1;
	for (round = 0; round < 4; round++) {
		gate_init(&ready);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			pthread_t thread;
			struct pool p;

			check(!pool_init(&p, &cfg));
			for (i = 0; i < 3; i++)
				check(!pthread_create(&thread, NULL,
						      allocate_big, &p));
			gate_pass(&ready);
			allocate_big(&p);
		}
		close(ready.fd[1]);
		ASSERT_TRUE(gate_wait(&ready));
		close(ready.fd[0]);
		while (device_attached() < before + 80 * MiB && child_runs(pid))
			sched_yield();
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(128 + SIGKILL, child_status(pid));
		EXPECT_EQ(before, device_attached());
	}
}

static volatile sig_atomic_t signals_seen;

static void count_signal(int sig)
{
	(void)sig;
	signals_seen++;
}

/* A signal with a handler interrupts no ALLOC: EINTR is for the dying. */
TEST(handled_signals_do_not_interrupt)
{
	struct sigaction sa = { .sa_handler = count_signal };
	struct itimerval often = {
		.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000,
	};
	struct itimerval never = { 0 };
	struct bufpool_config cfg = fixed_config(128 * MiB);
	struct pool p;
	int64_t at;

	ASSERT_EQ(0, pool_init(&p, &cfg));
	ASSERT_EQ(0, sigaction(SIGPROF, &sa, NULL));
	/* Counts the time in the kernel, too. */
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &often, NULL));
	while (signals_seen < 50) {
		at = pool_alloc(&p, 64 * MiB, 0, NULL);
		ASSERT_LE(0, at) TH_LOG("%s", strerror(-at));
		ASSERT_EQ(0, pool_free(&p, at));
		ASSERT_EQ((int64_t)(64 * MiB), pool_release(&p));
	}
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &never, NULL));
	EXPECT_EQ(0, pool_attached(&p));
	pool_destroy(&p);
}

TEST_HARNESS_MAIN
