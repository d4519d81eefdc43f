// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many threads on one pool, through the ioctls: no buffer has two owners, no
 * contents change under their owner, and everything comes back.
 *
 * checkpatch: MACRO_WITH_FLOW_CONTROL, MACRO_ARG_REUSE: as the harness's own
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <stdatomic.h>

#define NR_THREADS	4
#define HELD		6	/* buffers a thread has at a time, at most */

static const uint64_t sizes[] = {
	4 * KiB, 4 * KiB, 8 * KiB, 60 * KiB, 64 * KiB, 300 * KiB, 1 * MiB,
};

/* Now and then a large one, which takes long to attach. */
static uint64_t random_size(uint64_t *seed)
{
	if (next_random(seed) % 64 == 0)
		return 9 * MiB;
	return sizes[next_random(seed) % ARRAY_SIZE(sizes)];
}

struct storm {
	struct pool p;
	atomic_uchar *owner;	/* by page: who has the buffer there */
	atomic_int stop;
	atomic_int failed;
	unsigned int rounds;
	pthread_barrier_t start;
};

struct worker {
	struct storm *s;
	unsigned int nr;
	pthread_t thread;
};

#define storm_check(s, condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "# %s:%d: not so: %s\n", __FILE__,	\
			__LINE__, #condition);				\
		atomic_store(&(s)->failed, 1);				\
		return NULL;						\
	}								\
} while (0)

struct held {
	int64_t offset;
	uint64_t usable;
	uint64_t stamp;
};

static bool take(struct storm *s, unsigned int nr, int64_t offset)
{
	atomic_uchar *owner = &s->owner[pool_page(&s->p, offset)];
	unsigned char nobody = 0;

	return atomic_compare_exchange_strong(owner, &nobody, nr + 1);
}

static bool give(struct storm *s, unsigned int nr, int64_t offset)
{
	atomic_uchar *owner = &s->owner[pool_page(&s->p, offset)];
	unsigned char me = nr + 1;

	return atomic_compare_exchange_strong(owner, &me, 0);
}

static void *allocate_and_free(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->s;
	struct held held[HELD] = { 0 };
	uint64_t seed = 77 + w->nr, size;
	unsigned int i, k;

	pthread_barrier_wait(&s->start);
	for (i = 0; i < s->rounds && !atomic_load(&s->failed); i++) {
		struct held *h = &held[next_random(&seed) % HELD];

		if (i % 16 == 0)
			storm_check(s, !pin_to_cpu(next_random(&seed) %
				sysconf(_SC_NPROCESSORS_ONLN)));
		if (h->offset) {
			storm_check(s, stamped(s->p.base + h->offset, h->usable,
					       h->stamp));
			storm_check(s, give(s, w->nr, h->offset));
			storm_check(s, !pool_free(&s->p, h->offset));
			h->offset = 0;
			continue;
		}
		size = random_size(&seed);
		h->offset = pool_alloc(&s->p, size, 0, &h->usable);
		if (h->offset == -EDQUOT) {
			h->offset = 0;
			continue;
		}
		storm_check(s, h->offset > 0);
		storm_check(s, h->usable >= size);
		storm_check(s, take(s, w->nr, h->offset));
		/* The big ones only in part: this is about owners. */
		if (h->usable > 256 * KiB)
			h->usable = 256 * KiB;
		h->stamp = (uint64_t)w->nr << 56 | i;
		stamp_range(s->p.base + h->offset, h->usable, h->stamp);
	}
	for (k = 0; k < HELD; k++) {
		if (!held[k].offset)
			continue;
		storm_check(s, stamped(s->p.base + held[k].offset,
				       held[k].usable, held[k].stamp));
		storm_check(s, give(s, w->nr, held[k].offset));
		storm_check(s, !pool_free(&s->p, held[k].offset));
	}
	return NULL;
}

/* Also a thread's start routine: until told to stop, take idle memory away. */
static void *release_in_a_loop(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		storm_check(s, pool_release(&s->p) >= 0);
		sched_yield();
	}
	return NULL;
}

static void *release_by_sysfs_in_a_loop(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		storm_check(s, !sysfs_write("release_retained", "1"));
		sched_yield();
	}
	return NULL;
}

static void *shrink_in_a_loop(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		storm_check(s, !drop_slab());
		sched_yield();
	}
	return NULL;
}

static void *reconfigure_in_a_loop(void *arg)
{
	struct bufpool_config cfg = fixed_config(64 * MiB), got;
	struct storm *s = arg;
	uint64_t seed = 5;

	while (!atomic_load(&s->stop)) {
		cfg.percpu_cached = next_random(&seed) % 8;
		cfg.large_cached = next_random(&seed) % 4;
		cfg.max_retained_bytes = next_random(&seed) % (64 * MiB);
		cfg.max_pooled_bytes = next_random(&seed) % (16 * MiB);
		cfg.large_threshold_bytes = 32 * KiB << next_random(&seed) % 10;
		storm_check(s, !pool_set_config(&s->p, &cfg));
		storm_check(s, !pool_get_config(&s->p, 0, &got));
		storm_check(s, got.percpu_cached == cfg.percpu_cached);
		storm_check(s, got.max_retained_bytes == cfg.max_retained_bytes);
		pool_stats(&s->p);
		sched_yield();
	}
	return NULL;
}

FIXTURE(threads) {
	struct storm s;
	struct worker worker[NR_THREADS];
	uint64_t before;
};

FIXTURE_SETUP(threads)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct storm *s = &self->s;

	self->before = device_attached();
	ASSERT_EQ(0, pool_init(&s->p, &cfg));
	s->owner = calloc(1, s->p.setup.data_bytes / page_size());
	ASSERT_NE(NULL, (void *)s->owner);
	s->rounds = 300;
	ASSERT_EQ(0, pthread_barrier_init(&s->start, NULL, NR_THREADS));
}

FIXTURE_TEARDOWN(threads)
{
	pool_destroy(&self->s.p);
	EXPECT_EQ(self->before, device_attached());
}

/* Run the workers, and beside them @disturb if there is one. */
static void run(struct storm *s, struct worker *worker,
		void *(*disturb)(void *))
{
	pthread_t disturber;
	unsigned int i;

	if (disturb && pthread_create(&disturber, NULL, disturb, s))
		die("pthread_create");
	for (i = 0; i < NR_THREADS; i++) {
		worker[i].s = s;
		worker[i].nr = i;
		if (pthread_create(&worker[i].thread, NULL, allocate_and_free,
				   &worker[i]))
			die("pthread_create");
	}
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	atomic_store(&s->stop, 1);
	if (disturb)
		pthread_join(disturber, NULL);
}

/* Afterwards nothing is live, and all that is idle can be found. */
#define expect_all_idle(s) do {						\
	EXPECT_FALSE(atomic_load(&(s)->failed));			\
	EXPECT_EQ(0, pool_stats(&(s)->p).corruptions);			\
	EXPECT_EQ((int64_t)pool_attached(&(s)->p), pool_release(&(s)->p)); \
	EXPECT_EQ(0, pool_attached(&(s)->p));				\
} while (0)

TEST_F(threads, storm)
{
	run(&self->s, self->worker, NULL);
	/* Undisturbed, the stacks' own idea of what is idle is exact. */
	EXPECT_EQ(pool_attached(&self->s.p), pool_retained(&self->s.p));
	expect_all_idle(&self->s);
}

TEST_F(threads, storm_while_releasing)
{
	run(&self->s, self->worker, release_in_a_loop);
	expect_all_idle(&self->s);
}

TEST_F(threads, storm_while_releasing_by_sysfs)
{
	run(&self->s, self->worker, release_by_sysfs_in_a_loop);
	expect_all_idle(&self->s);
}

TEST_F(threads, storm_while_shrinking)
{
	run(&self->s, self->worker, shrink_in_a_loop);
	/* What a scan began a worker ends: give it the time it takes. */
	while (pool_attached(&self->s.p) != pool_retained(&self->s.p))
		sched_yield();
	expect_all_idle(&self->s);
}

TEST_F(threads, storm_while_reconfiguring)
{
	run(&self->s, self->worker, reconfigure_in_a_loop);
	expect_all_idle(&self->s);
}

/* At its limit all the time: every allocation takes another's idle memory. */
TEST_F(threads, storm_at_the_limit)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	cfg.pool_limit_bytes = 12 * MiB;
	ASSERT_EQ(0, pool_set_config(&self->s.p, &cfg));
	run(&self->s, self->worker, NULL);
	EXPECT_GE(12 * MiB, pool_stats(&self->s.p).peak_attached_bytes);
	expect_all_idle(&self->s);
}

/* What one CPU allocates another frees, one buffer after the other. */
struct handover {
	struct pool p;
	int pipe[2];
	atomic_int failed;
};

static void *free_what_comes(void *arg)
{
	struct handover *h = arg;
	int64_t offset;

	if (pin_to_cpu(1))
		atomic_store(&h->failed, 1);
	while (read(h->pipe[0], &offset, sizeof(offset)) == sizeof(offset)) {
		if (*(volatile int64_t *)(h->p.base + offset) != offset ||
		    pool_free(&h->p, offset))
			atomic_store(&h->failed, 1);
	}
	return NULL;
}

TEST(freed_by_another_cpu)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	struct handover h = { .failed = 0 };
	pthread_t thread;
	int64_t offset;
	int i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU only");
	ASSERT_EQ(0, pipe(h.pipe));
	ASSERT_EQ(0, pool_init(&h.p, &cfg));
	ASSERT_EQ(0, pthread_create(&thread, NULL, free_what_comes, &h));
	ASSERT_EQ(0, pin_to_cpu(0));
	for (i = 0; i < 3000; i++) {
		offset = pool_alloc(&h.p, 16 * KiB, 0, NULL);
		ASSERT_LE(0, offset);
		*(volatile int64_t *)(h.p.base + offset) = offset;
		ASSERT_EQ((ssize_t)sizeof(offset),
			  write(h.pipe[1], &offset, sizeof(offset)));
	}
	close(h.pipe[1]);
	pthread_join(thread, NULL);
	EXPECT_FALSE(atomic_load(&h.failed));
	/* What the other freed was used again: not 3000 were attached. */
	EXPECT_GE(64 * MiB, pool_stats(&h.p).peak_attached_bytes);
	EXPECT_LT(1000, pool_stats(&h.p).reused);
	EXPECT_EQ(pool_attached(&h.p), pool_retained(&h.p));
	EXPECT_EQ((int64_t)pool_attached(&h.p), pool_release(&h.p));
	pool_destroy(&h.p);
}

/* One process ends, with threads in the middle of every call. */
static void *all_calls_forever(void *arg)
{
	const struct pool *p = arg;
	uint64_t seed = (uintptr_t)&seed;
	int64_t offset;

	for (;;) {
		offset = pool_alloc(p, random_size(&seed), 0, NULL);
		if (offset > 0 && next_random(&seed) % 4)
			pool_free(p, offset);
		if (next_random(&seed) % 16 == 0)
			pool_release(p);
	}
	return NULL;
}

TEST(exit_in_the_middle)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t before = device_attached();
	int round, status, i;

	for (round = 0; round < 8; round++) {
		in_child(status, {
			pthread_t thread;
			struct pool p;

			check(!pool_init(&p, &cfg));
			for (i = 0; i < NR_THREADS; i++)
				check(!pthread_create(&thread, NULL,
						      all_calls_forever, &p));
			while (pool_stats(&p).allocs < 50 * (unsigned int)round)
				sched_yield();
			if (round % 2)
				close(p.fd);
			if (round % 4 == 3)
				munmap(p.base, p.length);
			_exit(0);
		});
		EXPECT_EQ(0, status);
		EXPECT_EQ(before, device_attached());
	}
}

TEST_HARNESS_MAIN
