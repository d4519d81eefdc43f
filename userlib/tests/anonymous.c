// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend's own: configuration, limits, trimming by whoever comes along,
 * threads that allocate all sizes.
 *
 * checkpatch: MACRO_ARG_REUSE: FIELD() makes rows of a table
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "anonymous.h"
#include "memory.h"
#include "tap.h"

#define KIB		((size_t)1 << 10)
#define MIB		((size_t)1 << 20)

#define THREADS		4
#define ROUNDS		2000
#define HELD		6
#define SIGNALS		300

static size_t page;
static struct bufpool *bp;

static void test_limits(void)
{
	struct bufpool_config cfg = memory_config(16 * MIB);
	char *a, *b, *weak;

	cfg.alloc_limit_bytes = 12 * MIB;
	bp = memory_open(&cfg);
	errno = 0;
	check(!bufpool_alloc(bp, 12 * MIB + 1, 0) && errno == EFBIG,
	      "over the allocation limit: EFBIG");
	a = bufpool_alloc(bp, 12 * MIB, 0);
	b = bufpool_alloc(bp, 4 * MIB, 0);
	check(a && b, "exactly the pool's limit");
	errno = 0;
	check(!bufpool_alloc(bp, 1, 0) && errno == EDQUOT, "a page more: EDQUOT");
	/* The library saw the first of them. */
	check(memory_stats(bp).limit_hits == 1, "which is counted");

	bufpool_free(bp, b);
	errno = 0;
	b = bufpool_alloc(bp, 1 * MIB, 0);
	check(b && errno == 0 && memory_stats(bp).reclaimed_bytes == 4 * MIB,
	      "at the limit the pool's idle memory goes first");
	weak = bufpool_alloc(bp, 3 * MIB, 0);
	memset(weak, 1, 3 * MIB);
	require(!bufpool_weaken(bp, weak) && !bufpool_weaken(bp, b));
	b = bufpool_alloc(bp, 2 * MIB, 0);
	check(b && bufpool_strengthen(bp, weak) == 0,
	      "then the buffer that was weak for longest");
	check(memory_stats(bp).attached_bytes == 15 * MIB, "and no other");
	bufpool_free(bp, a);

	require(!bufpool_get_config(bp, &cfg));
	cfg.max_retained_bytes = 2 * MIB;
	check(bufpool_set_config(bp, &cfg) == 0 && memory_stats(bp).retained_bytes == 0 &&
	      memory_resident(bp) == 3 * MIB, "a lowered limit holds at once");
	cfg.pool_limit_bytes = 3 * MIB;
	errno = 0;
	check(bufpool_set_config(bp, &cfg) == 0 && !bufpool_alloc(bp, 4 * MIB, 0) &&
	      errno == EDQUOT, "the pool's, too: EDQUOT");
	cfg.pool_limit_bytes = 16 * MIB + page;
	check(bufpool_set_config(bp, &cfg) == -EINVAL,
	      "it cannot be raised over what it was: EINVAL");
	bufpool_destroy(bp);
}

/* What can never be had costs the pool nothing. */
static void test_hopeless(void)
{
	struct bufpool_config cfg = memory_config(16 * MIB);
	void *large, *other;

	cfg.large_threshold_bytes = 64 * page;
	bp = memory_open(&cfg);
	require(large = bufpool_alloc(bp, 930 * page, 0));
	require(other = bufpool_alloc(bp, 20 * page, 0));
	bufpool_free(bp, large);
	bufpool_free(bp, other);
	cfg.pool_limit_bytes = 960 * page;
	require(!bufpool_set_config(bp, &cfg));
	errno = 0;
	check(!bufpool_alloc(bp, 1100 * page, 0) && errno == EDQUOT &&
	      memory_stats(bp).retained_bytes == 950 * page,
	      "a new buffer over the limit: all that is idle stays");
	errno = 0;
	check(!bufpool_alloc(bp, 970 * page, 0) && errno == EDQUOT &&
	      memory_stats(bp).retained_bytes == 950 * page,
	      "one to be made bigger than it: likewise");
	bufpool_destroy(bp);
}

/*
 * As if another thread were giving back all but @pages of a full pool.  A trim that is
 * due is what the next request does first, see wait_for_request().
 */
static void begin_leaving(uint64_t pages)
{
	struct bufpool_anonymous *anon = bp->anon;

	anon->attached_pages = anon->limit_pages;
	anon->leaving_pages = anon->limit_pages - pages;
	store_relaxed(&anon->trim_due, 1);
}

/* From the trim on the lock is to be had only when the request is over, or waits. */
static void wait_for_request(void)
{
	while (load_relaxed(&bp->anon->trim_due) == 1)
		sched_yield();
}

/* With the lock, which is free then. */
static void end_leaving(void)
{
	struct bufpool_anonymous *anon = bp->anon;

	anon->attached_pages -= anon->leaving_pages;
	anon->leaving_pages = 0;
	pthread_cond_broadcast(&anon->dropped);
	pthread_mutex_unlock(&anon->lock);
}

static void *request_page(void *arg)
{
	struct bufpool_alloc alloc = { .size = sizeof(alloc), .bytes = page };

	*(int *)arg = bp->backend->request(bp, BUFPOOL_IOC_ALLOC, &alloc);
	return NULL;
}

/* What is on its way out will be enough: nothing else has to go. */
static void test_wait_for_leaving(void)
{
	struct bufpool_config cfg = memory_config(1 * MIB);
	pthread_t thread;
	int ret = 1;
	void *weak;

	cfg.trim_period_ms = 60000;
	bp = memory_open(&cfg);
	require(weak = bufpool_alloc(bp, page, 0));
	require(!bufpool_weaken(bp, weak));
	begin_leaving(1);
	require(!pthread_create(&thread, NULL, request_page, &ret));
	wait_for_request();
	pthread_mutex_lock(&bp->anon->lock);
	end_leaving();
	require(!pthread_join(thread, NULL));
	check(ret == 0 && bufpool_strengthen(bp, weak) == 1,
	      "no weak buffer goes while as much is on its way out");
	bufpool_destroy(bp);
}

static void test_lowered_limit(void)
{
	struct bufpool_config cfg = memory_config(16 * MIB);
	void *bufs[4], *weak;
	size_t i;

	bp = memory_open(&cfg);
	require(weak = bufpool_alloc(bp, 1 * MIB, 0));
	require(bufpool_alloc(bp, 2 * MIB, 0));
	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		require(bufs[i] = bufpool_alloc(bp, 1 * MIB, 0));
	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		bufpool_free(bp, bufs[i]);
	require(!bufpool_weaken(bp, weak));

	cfg.pool_limit_bytes = 5 * MIB;
	require(!bufpool_set_config(bp, &cfg));
	check(memory_stats(bp).attached_bytes == 5 * MIB &&
	      memory_stats(bp).reclaimed_bytes == 2 * MIB &&
	      memory_resident(bp) == 5 * MIB,
	      "a lowered limit: what is idle goes, as much as it takes");
	cfg.pool_limit_bytes = 1 * MIB;
	require(!bufpool_set_config(bp, &cfg));
	check(memory_stats(bp).attached_bytes == 3 * MIB &&
	      bufpool_strengthen(bp, weak) == 1, "or all of it, and no more");
	bufpool_destroy(bp);
}

/* Large buffers hold what was asked for, up to a fifth less than their class. */
static void test_idle_before_weak(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	void *bufs[7], *weak;
	size_t i;

	cfg.large_threshold_bytes = 1 * MIB;
	cfg.large_cached = ARRAY_SIZE(bufs);
	cfg.percpu_cached = 0;
	bp = memory_open(&cfg);
	require(weak = bufpool_alloc(bp, 4 * MIB, 0));
	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		require(bufs[i] = bufpool_alloc(bp, 4 * MIB + page, 0));
	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		bufpool_free(bp, bufs[i]);
	require(!bufpool_weaken(bp, weak));

	/* As much over the limit as two of the class have, and three of these. */
	require(bufpool_alloc(bp, 40 * MIB, 0));
	check(bufpool_strengthen(bp, weak) == 1,
	      "no weak buffer goes while large ones are idle");
	check(memory_stats(bp).retained_bytes == 4 * (4 * MIB + page),
	      "and of those no more than it takes");
	bufpool_destroy(bp);
}

/* More than are looked for at a time, in the order they were weakened in. */
static void test_many_weak(void)
{
	struct bufpool_config cfg = memory_config(1 * MIB);
	int n = (int)(MIB / page), i, taken = 0;
	bool oldest = true;
	char *bufs[256];

	require(n <= 256);
	bp = memory_open(&cfg);
	for (i = 0; i < n; i++)
		require(bufs[i] = bufpool_alloc(bp, page, 0));
	for (i = 0; i < n; i++)
		require(!bufpool_weaken(bp, bufs[i * 37 % n]));
	require(bufpool_alloc(bp, MIB / 2, 0));
	for (i = 0; i < n; i++) {
		bool gone = bufpool_strengthen(bp, bufs[i * 37 % n]) == 0;

		taken += gone;
		oldest = oldest && gone == (i < n / 2);
	}
	check(taken == n / 2 && oldest,
	      "half of %d weak buffers: those weak for longest", n);
	check(memory_stats(bp).attached_bytes == MIB && memory_resident(bp) == MIB,
	      "and as much as was needed");
	bufpool_destroy(bp);
}

/* A buffer that was taken keeps its address until its owner has been told. */
static void test_addresses(void)
{
	struct bufpool_config cfg = memory_config(16 * MIB);
	static char *bufs[1000];
	int n = 0, i, gone = 0;

	bp = memory_open(&cfg);
	errno = 0;
	while (n < 1000 && (bufs[n] = bufpool_alloc(bp, 4 * MIB, 0)))
		require(!bufpool_weaken(bp, bufs[n++]));
	check(n == (int)bp->anon->nr_spans && errno == ENOMEM,
	      "no address left: ENOMEM");
	for (i = 0; i < n; i++) {
		if (bufpool_strengthen(bp, bufs[i]) == 0)
			gone++;
		else
			bufpool_free(bp, bufs[i]);
	}
	/* One went for the allocation that failed. */
	check(gone == n - 3 && memory_stats(bp).attached_bytes == 12 * MIB,
	      "all but three were taken");
	for (i = 0; i < 4; i++)
		require(bufs[i] = bufpool_alloc(bp, 4 * MIB, 0));
	check(bufpool_count_live(bp, NULL) == 4,
	      "and when that is known, there is room again");
	bufpool_destroy(bp);
}

/* The large threshold changes while buffers of the class are live. */
static void test_mixed(void)
{
	struct bufpool_config cfg = memory_config(16 * MIB);
	void *bufs[4];
	size_t i;

	cfg.large_threshold_bytes = 16 * page;
	bp = memory_open(&cfg);
	for (i = 0; i < 4; i++)
		require(bufs[i] = bufpool_alloc(bp, (36 - i) * page, 0));
	cfg.large_threshold_bytes = 64 * page;
	require(!bufpool_set_config(bp, &cfg));
	for (i = 0; i < 4; i++)
		bufpool_free(bp, bufs[i]);
	check(memory_stats(bp).retained_bytes == (33 + 34 + 35 + 36) * page &&
	      memory_stats(bp).attached_bytes == memory_stats(bp).retained_bytes,
	      "idle buffers of one class, cut to different sizes: counted right");
	for (i = 0; i < 4; i++) {
		bufs[i] = bufpool_alloc(bp, 40 * page, 0);
		require(bufs[i] && bufpool_usable_size(bp, bufs[i]) == 40 * page);
	}
	check(memory_stats(bp).attached_bytes == 160 * page && memory_stats(bp).grown == 4,
	      "each is made whole when it is wanted");
	bufpool_destroy(bp);
}

static void test_config(void)
{
	static const struct {
		size_t offset, bytes;
		uint64_t bad[2];
	} fields[] = {
#define FIELD(name, a, b) { offsetof(struct bufpool_config, name), \
		sizeof(((struct bufpool_config *)NULL)->name), { a, b } }
		FIELD(flags, 1, 2),
		FIELD(max_pooled_bytes, 1ULL << 62, ~1ULL),
		FIELD(large_threshold_bytes, 1ULL << 62, ~1ULL),
		FIELD(max_retained_bytes, 1ULL << 62, ~1ULL),
		FIELD(pool_limit_bytes, 0, 1ULL << 62),
		FIELD(alloc_limit_bytes, 0, 1ULL << 62),
		FIELD(percpu_cached, 65537, ~1U),
		FIELD(large_cached, 65, ~1U),
		FIELD(trim_period_ms, 24 * 60 * 60 * 1000 + 1, ~1U),
		FIELD(trim_percent, 0, 101),
	};
	struct bufpool_config cfg = memory_config(16 * MIB), now = { .size = 0 };
	struct { struct bufpool_config cfg; uint64_t more; } newer;
	bool refused = true;
	size_t i, k;

	bp = memory_open(&cfg);
	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		for (k = 0; k < 2; k++) {
			struct bufpool_config bad = cfg;

			memcpy((char *)&bad + fields[i].offset, &fields[i].bad[k],
			       fields[i].bytes);
			errno = 0;
			if (bufpool_set_config(bp, &bad) != -EINVAL ||
			    bufpool_anonymous_create(&bad, 2) ||
			    errno != EINVAL) {
				printf("# field %zu, value %zu\n", i, k);
				refused = false;
			}
		}
	}
	check(refused, "values out of range: EINVAL");
	check(bufpool_get_config(bp, &now) == 0 && !memcmp(&now, &cfg, sizeof(cfg)),
	      "and nothing has changed");
	newer.cfg = cfg;
	newer.cfg.size = sizeof(newer);
	newer.more = 0;
	check(bufpool_set_config(bp, &newer.cfg) == 0,
	      "a newer program's configuration is taken");
	newer.more = 1;
	check(bufpool_set_config(bp, &newer.cfg) == -E2BIG,
	      "unless it sets what is not known: E2BIG");
	newer.cfg.size = 8;
	check(bufpool_set_config(bp, &newer.cfg) == -EINVAL,
	      "one that was not initialized: EINVAL");
	now.flags = 2;
	check(bufpool_get_config(bp, &now) == -EINVAL,
	      "get_config, unknown flag: EINVAL");
	bufpool_destroy(bp);
}

/* A pool that follows has the default preset, and half of RAM. */
static void test_follow(void)
{
	struct bufpool_config own = { .flags = 0 }, got, def;
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * page;

	bp = memory_open(NULL);
	require(!bufpool_get_config(bp, &own));
	check(own.pool_limit_bytes == BUFPOOL_FOLLOW &&
	      own.trim_percent == BUFPOOL_FOLLOW32, "NULL follows in every field");
	got.flags = BUFPOOL_CONFIG_EFFECTIVE;
	require(!bufpool_get_config(bp, &got));
	require(!bufpool_config_init(&def, BUFPOOL_PRESET_DEFAULT));
	def.flags = got.flags;
	def.pool_limit_bytes = ram / 2 / page * page;
	if (def.pool_limit_bytes > (uint64_t)128 << 30)
		def.pool_limit_bytes = (uint64_t)128 << 30;
	def.alloc_limit_bytes = def.pool_limit_bytes;
	check(!memcmp(&got, &def, sizeof(def)), "the default preset's values");
	bufpool_destroy(bp);
}

static void pause_a_while(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 2000000 }, NULL);
}

static uint64_t trimmed(void)
{
	return load_relaxed(&bp->anon->count[COUNT_TRIMMED]);
}

static void fill(size_t size, int n)
{
	void *bufs[32];
	int i;

	for (i = 0; i < n; i++)
		require(bufs[i] = bufpool_alloc(bp, size, 0));
	for (i = 0; i < n; i++)
		bufpool_free(bp, bufs[i]);
}

static void test_trim(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	uint64_t allocs;
	void *live;

	cfg.trim_period_ms = 20;
	cfg.trim_percent = 50;
	cfg.percpu_cached = 4;
	bp = memory_open(&cfg);
	live = bufpool_alloc(bp, 64 * KIB, 0);
	fill(64 * KIB, 32);
	fill(9 * MIB, 2);
	while (memory_stats(bp).attached_bytes > 64 * KIB)
		pause_a_while();
	check(memory_stats(bp).trimmed_bytes == 32 * 64 * KIB + 18 * MIB &&
	      memory_resident(bp) == 64 * KIB,
	      "any request trims, until nothing is idle");
	require(live);

	/* The slow paths of alloc and free that make no request. */
	fill(64 * KIB, 8);
	allocs = memory_stats(bp).allocs;
	while (trimmed() * page < 40 * 64 * KIB + 18 * MIB) {
		bufpool_free(bp, bufpool_alloc(bp, 64 * KIB, BUFPOOL_ZERO));
		pause_a_while();
	}
	check(memory_stats(bp).allocs < allocs + 8,
	      "an allocation that looks beyond its CPU's stack trims");

	cfg.percpu_cached = 0;
	require(!bufpool_set_config(bp, &cfg));
	fill(64 * KIB, 8);
	live = bufpool_alloc(bp, 128 * KIB, 0);
	allocs = trimmed();
	while (trimmed() == allocs) {
		bufpool_free(bp, live);
		pause_a_while();
		live = bufpool_alloc(bp, 128 * KIB, 0);
	}
	check(true, "so does a free");

	/* Off, and on again. */
	cfg.trim_period_ms = 0;
	require(!bufpool_set_config(bp, &cfg));
	fill(64 * KIB, 8);
	allocs = memory_stats(bp).trimmed_bytes;
	while (nanosleep(&(struct timespec) { .tv_nsec = 60000000 }, NULL))
		;
	check(memory_stats(bp).trimmed_bytes == allocs, "period 0: never");
	cfg.trim_period_ms = 1;
	require(!bufpool_set_config(bp, &cfg));
	while (memory_stats(bp).retained_bytes)
		pause_a_while();
	check(true, "and a new period counts at once");
	bufpool_destroy(bp);
}

/* Each period that nobody came in is made up for. */
static void test_trim_late(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	uint64_t due;

	cfg.trim_period_ms = 10000;
	cfg.trim_percent = 25;
	bp = memory_open(&cfg);
	memory_pin(bp);
	fill(64 * KIB, 16);
	require(memory_stats(bp).retained_bytes == 16 * 64 * KIB);
	due = bp->anon->trim_due;
	/* As if the first trim had been due two periods and a bit ago. */
	bp->anon->trim_due -= 3 * (uint64_t)cfg.trim_period_ms * 1000000;
	check(memory_stats(bp).retained_bytes == 6 * 64 * KIB,
	      "three periods late: 16, less a quarter, three times");
	check(bp->anon->trim_due == due, "and the next one is due as ever");
	bufpool_destroy(bp);
}

/*
 * Threads and buffers of all sizes, against a limit that they hit, with stamps all
 * over each buffer.
 */
static bool corrupted;
static unsigned long refused, handled;
static bool signals, storm_over;

struct thread {
	pthread_t id;
	uint64_t seed;
};

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static size_t random_size(uint64_t *seed)
{
	size_t limit = page << next_random(seed) % 12;

	return next_random(seed) % limit + 1;
}

static void stamp(uint64_t *buf, uint64_t mark)
{
	size_t words = bufpool_usable_size(bp, buf) / sizeof(*buf), i;

	for (i = 0; i < words; i += 512)
		buf[i] = mark + i;
	buf[words - 1] = mark;
}

static void check_stamp(uint64_t *buf, uint64_t mark)
{
	size_t words = bufpool_usable_size(bp, buf) / sizeof(*buf), i;
	bool ok = buf[words - 1] == mark;

	for (i = 0; i < words; i += 512)
		ok = ok && buf[i] == mark + i;
	if (!ok)
		__atomic_store_n(&corrupted, true, __ATOMIC_RELAXED);
}

/* After so many rounds, and so many signals if there are any. */
static bool is_over(int round)
{
	if (!signals)
		return round >= ROUNDS;
	return round >= ROUNDS / 4 &&
	       __atomic_load_n(&handled, __ATOMIC_RELAXED) >= SIGNALS;
}

static void *storm(void *arg)
{
	struct thread *self = arg;
	uint64_t *held[HELD] = { NULL }, mark[HELD];
	int round, k;

	for (round = 0; !is_over(round); round++) {
		k = (int)(next_random(&self->seed) % HELD);
		if (held[k]) {
			check_stamp(held[k], mark[k]);
			bufpool_free(bp, held[k]);
		}
		held[k] = bufpool_alloc(bp, random_size(&self->seed),
					next_random(&self->seed) % 8 ?
					0 : BUFPOOL_ZERO);
		if (!held[k]) {
			if (errno != EDQUOT)
				__atomic_store_n(&corrupted, true,
						 __ATOMIC_RELAXED);
			__atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
			continue;
		}
		mark[k] = self->seed;
		stamp(held[k], mark[k]);
		if (next_random(&self->seed) % 64 == 0 &&
		    bufpool_weaken(bp, held[k]) == 0 &&
		    bufpool_strengthen(bp, held[k]) == 0)
			held[k] = NULL;
		if (next_random(&self->seed) % 256 == 0)
			bufpool_release_retained(bp);
	}
	for (k = 0; k < HELD; k++) {
		if (!held[k])
			continue;
		check_stamp(held[k], mark[k]);
		bufpool_free(bp, held[k]);
	}
	return NULL;
}

/* A handler's requests, while the threads it interrupts make theirs. */
static void on_alarm(int sig)
{
	int err = errno;
	uint64_t seed = __atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
	uint64_t *buf = bufpool_alloc(bp, random_size(&seed) / 32 + 1, 0);

	(void)sig;
	if (buf) {
		stamp(buf, seed);
		check_stamp(buf, seed);
		bufpool_free(bp, buf);
	}
	errno = err;
}

static void *reconfigure(void *arg)
{
	struct bufpool_config cfg = memory_config(24 * MIB);
	uint64_t seed = 5;

	while (!__atomic_load_n(&storm_over, __ATOMIC_RELAXED)) {
		cfg.percpu_cached = next_random(&seed) % 8;
		cfg.large_cached = next_random(&seed) % 4;
		cfg.max_retained_bytes = next_random(&seed) % (24 * MIB);
		cfg.max_pooled_bytes = next_random(&seed) % (8 * MIB);
		cfg.large_threshold_bytes = page << next_random(&seed) % 10;
		cfg.trim_period_ms = next_random(&seed) % 3;
		require(!bufpool_set_config(bp, &cfg));
		pause_a_while();
	}
	return arg;
}

static void test_threads(void)
{
	struct itimerval timer = {
		.it_interval = { .tv_usec = 1000 }, .it_value = { .tv_usec = 1000 },
	};
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	const char *name = signals ? "threads and handlers" : "threads";
	struct bufpool_config cfg = memory_config(24 * MIB);
	struct thread threads[THREADS];
	pthread_t disturber;
	sigset_t alarms;
	int i;

	storm_over = false;
	refused = 0;
	bp = memory_open(&cfg);
	require(!sigaction(SIGALRM, &action, NULL));
	/* To the threads that allocate, that is, and not to this one. */
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	require(!pthread_sigmask(SIG_BLOCK, &alarms, NULL));
	require(!pthread_create(&disturber, NULL, reconfigure, NULL));
	require(!pthread_sigmask(SIG_UNBLOCK, &alarms, NULL));
	for (i = 0; i < THREADS; i++) {
		threads[i].seed = (uint64_t)i + 1;
		require(!pthread_create(&threads[i].id, NULL, storm,
					&threads[i]));
	}
	require(!pthread_sigmask(SIG_BLOCK, &alarms, NULL));
	if (signals)
		require(!setitimer(ITIMER_REAL, &timer, NULL));
	for (i = 0; i < THREADS; i++)
		require(!pthread_join(threads[i].id, NULL));
	timer = (struct itimerval) { .it_value = { .tv_usec = 0 } };
	require(!setitimer(ITIMER_REAL, &timer, NULL));
	__atomic_store_n(&storm_over, true, __ATOMIC_RELAXED);
	require(!pthread_join(disturber, NULL));

	check(!corrupted, "%s: no buffer had two owners", name);
	check(refused, "%s: the limit was met %lu times", name, refused);
	check(memory_stats(bp).attached_bytes == memory_stats(bp).retained_bytes &&
	      memory_idle_pages(bp) * page == memory_stats(bp).attached_bytes,
	      "%s: every buffer freed is on one stack, once", name);
	bufpool_release_retained(bp);
	check(memory_stats(bp).attached_bytes == 0 && memory_resident(bp) == 0 &&
	      bp->anon->nr_used_spans == 0, "%s: and all of it goes back", name);
	bufpool_destroy(bp);
}

/* What is on its way out at the limit is waited for, not refused. */
static void *take_all(void *arg)
{
	int i;

	for (i = 0; i < 400; i++) {
		void *buf = bufpool_alloc(bp, i % 2 ? 8 * MIB : 7 * MIB, 0);

		if (!buf)
			return arg;
		bufpool_free(bp, buf);
	}
	return NULL;
}

static void test_limit_race(void)
{
	struct bufpool_config cfg = memory_config(16 * MIB);
	pthread_t threads[2];
	bool all = true;
	void *failed;
	int i;

	/* Two at a time just fit, if nothing but they is attached. */
	bp = memory_open(&cfg);
	for (i = 0; i < 2; i++)
		require(!pthread_create(&threads[i], NULL, take_all, &cfg));
	for (i = 0; i < 2; i++) {
		require(!pthread_join(threads[i], &failed));
		all = all && !failed;
	}
	check(all, "memory on its way out is no reason for EDQUOT");
	bufpool_destroy(bp);
}

/* Waits at the limit, cancelled already.  Returns its argument if that may act again. */
static void *request_cancelled(void *arg)
{
	int state;

	require(!pthread_cancel(pthread_self()));
	request_page(arg);
	/* AddressSanitizer does not see a thread off that ends so. */
	require(!pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state));
	return state == PTHREAD_CANCEL_ENABLE ? arg : NULL;
}

static void test_cancel(void)
{
	struct bufpool_config cfg = memory_config(1 * MIB);
	pthread_t thread;
	void *end = NULL;
	bool ended;
	int ret = 1;

	cfg.trim_period_ms = 60000;
	bp = memory_open(&cfg);
	begin_leaving(0);
	require(!pthread_create(&thread, NULL, request_cancelled, &ret));
	wait_for_request();
	while (!(ended = !pthread_tryjoin_np(thread, &end)) &&
	       pthread_mutex_trylock(&bp->anon->lock))
		sched_yield();
	check(!ended, "a thread that is cancelled waits for memory all the same");
	if (!ended) {
		end_leaving();
		require(!pthread_join(thread, &end));
		check(ret == 0 && end == &ret, "gets it, and may end then");
	}
	bufpool_destroy(bp);
}

/* A program that wants all it has in memory does not mean what it might have. */
static void test_mlockall(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	size_t before;

	bp = memory_open(&cfg);
	require(bufpool_alloc(bp, page, 0));
	if (mlockall(MCL_CURRENT)) {
		tap_skip("mlockall", "not permitted");
		bufpool_destroy(bp);
		return;
	}
	before = memory_resident(bp);
	check(before <= SPAN_SIZE, "mlockall: what was never used stays absent");
	require(bufpool_alloc(bp, MIB, 0));
	check(memory_resident(bp) == before + MIB,
	      "mlockall: a buffer is had as ever, and no more than that");
	require(!munlockall());
	bufpool_destroy(bp);
}

int main(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);

	test_limits();
	test_hopeless();
	test_wait_for_leaving();
	test_lowered_limit();
	test_idle_before_weak();
	test_many_weak();
	test_addresses();
	test_mixed();
	test_config();
	test_follow();
	test_trim();
	test_threads();
	signals = true;
	test_threads();
	test_limit_race();
	test_cancel();
	test_mlockall();
	test_trim_late();
	return tap_end();
}
