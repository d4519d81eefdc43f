// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A timer's signal handler allocates and frees on the pool that the interrupted
 * threads work on.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "memory.h"
#include "tap.h"

#define THREADS		2
#define SIGNALS		3000

static struct bufpool *bp;
static unsigned long handled;
static bool corrupted;
static void *parked;

static void mark(void *buf)
{
	*(uintptr_t *)buf = (uintptr_t)buf;
}

static void unmark(void *buf)
{
	if (*(uintptr_t *)buf != (uintptr_t)buf)
		__atomic_store_n(&corrupted, true, __ATOMIC_RELAXED);
	*(uintptr_t *)buf = 0;
}

static bool done(void)
{
	return __atomic_load_n(&handled, __ATOMIC_RELAXED) >= SIGNALS;
}

/* Allocates one buffer and frees another, that an earlier signal allocated. */
static void on_alarm(int sig)
{
	int err = errno;
	void *buf = bufpool_alloc(bp, 1, 0);

	(void)sig;
	if (buf) {
		mark(buf);
		buf = __atomic_exchange_n(&parked, buf, __ATOMIC_ACQ_REL);
	}
	if (buf) {
		unmark(buf);
		bufpool_free(bp, buf);
	}
	__atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
	errno = err;
}

static void *work(void *arg)
{
	void *bufs[6];
	int i;

	while (!done()) {
		for (i = 0; i < 6; i++) {
			bufs[i] = bufpool_alloc(bp, 1, 0);
			require(bufs[i]);
			mark(bufs[i]);
		}
		for (i = 0; i < 6; i++) {
			unmark(bufs[i]);
			bufpool_free(bp, bufs[i]);
		}
	}
	return arg;
}

int main(void)
{
	struct itimerval timer = {
		.it_interval = { .tv_usec = 100 }, .it_value = { .tv_usec = 100 },
	};
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct memory_tuning t = memory_defaults;
	pthread_t threads[THREADS];
	int i;

	/* The work needs the CPU's stack, the depot and the backend. */
	t.percpu_cap = 2;
	t.max_retained_pages = 5;
	bp = memory_pool(&t);
	require(!sigaction(SIGALRM, &action, NULL));
	for (i = 0; i < THREADS; i++)
		require(!pthread_create(&threads[i], NULL, work, NULL));
	require(!setitimer(ITIMER_REAL, &timer, NULL));
	work(NULL);
	for (i = 0; i < THREADS; i++)
		require(!pthread_join(threads[i], NULL));
	timer = (struct itimerval) { .it_value = { .tv_usec = 0 } };
	require(!setitimer(ITIMER_REAL, &timer, NULL));
	bufpool_free(bp, parked);

	check(!corrupted, "no buffer had two owners in %lu signals", handled);
	check(memory_idle_pages(bp) == memory_counts(bp).attached_pages,
	      "every buffer freed is on one stack, once");
	bufpool_destroy(bp);
	return tap_end();
}
