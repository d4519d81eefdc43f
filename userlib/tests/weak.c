// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Weak buffers: intact, or taken; never both, and never somebody else's.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "memory.h"
#include "tap.h"

#define THREADS		3
#define ROUNDS		20000
#define CACHED		8

static size_t page;

static void test_intact(void)
{
	struct bufpool *bp = memory_pool(NULL);
	char *buf = bufpool_alloc(bp, 3 * page, 0);
	size_t bytes;

	memset(buf, 0x5a, 3 * page);
	errno = 0;
	check(bufpool_weaken(bp, buf) == 0 && errno == 0, "weaken: 0");
	check(pool_depot(bp)->nr_weak == 1 && pool_depot(bp)->weak_clock == 1,
	      "the depot counts it");
	check(bufpool_usable_size(bp, buf) == 3 * page,
	      "usable_size of a weak buffer");
	check(bufpool_count_live(bp, &bytes) == 1 && bytes == 3 * page,
	      "it counts as live");
	check(bufpool_weaken(bp, buf) == -EINVAL, "weaken again: EINVAL");
	check(bufpool_alloc(bp, 3 * page, 0) != buf, "nobody else gets it");
	check(bufpool_release_retained(bp) == 0 &&
	      bufpool_strengthen(bp, buf) == 1,
	      "strengthen: 1, also after release_retained");
	check(buf[0] == 0x5a && !memcmp(buf, buf + 1, 3 * page - 1),
	      "the contents are intact");
	check(pool_depot(bp)->nr_weak == 0, "the depot counts it no more");
	check(bufpool_strengthen(bp, buf) == -EINVAL, "strengthen again: EINVAL");
	check(memory_take_weak(bp, 10) == 0, "and there is nothing to take");
	check(bufpool_weaken(bp, NULL) == -EINVAL &&
	      bufpool_strengthen(bp, NULL) == -EINVAL, "NULL: EINVAL");
	check(errno == 0, "none of these sets errno");
	check(memory_counts(bp).allocs == 2 && memory_counts(bp).frees == 0,
	      "and none makes a request");
	bufpool_free(bp, buf);
	bufpool_destroy(bp);
}

static void test_taken(void)
{
	struct bufpool *bp = memory_pool(NULL);
	char *buf = bufpool_alloc(bp, 3 * page, 0), *again;
	size_t bytes;

	require(!bufpool_weaken(bp, buf));
	require(memory_take_weak(bp, 10) == 1);
	check(memory_counts(bp).attached_pages == 0, "taken: the memory is gone");
	check(bufpool_usable_size(bp, buf) == 3 * page,
	      "usable_size says what it held");
	check(bufpool_count_live(bp, &bytes) == 1 && bytes == 0,
	      "it counts, as holding nothing");
	check(bufpool_weaken(bp, buf) == -EINVAL, "weaken: EINVAL");
	again = bufpool_alloc(bp, 3 * page, 0);
	check(again && again != buf, "its address is not given out yet");
	errno = 0;
	check(bufpool_strengthen(bp, buf) == 0 && errno == 0, "strengthen: 0");
	check(bufpool_count_live(bp, NULL) == 1 && memory_counts(bp).frees == 1,
	      "and it is freed");
	check(bufpool_alloc(bp, 3 * page, 0) == buf, "its address is, from then on");
	buf[0] = 1;
	bufpool_free(bp, buf);
	bufpool_free(bp, again);
	check(bufpool_count_live(bp, NULL) == 0, "all freed");
	bufpool_destroy(bp);
}

static void test_free(void)
{
	struct bufpool *bp = memory_pool(NULL);
	void *a, *b;

	memory_pin(bp);
	a = bufpool_alloc(bp, page, 0);
	b = bufpool_alloc(bp, page, 0);
	require(!bufpool_weaken(bp, a) && !bufpool_weaken(bp, b));
	errno = 0;
	bufpool_free(bp, b);
	check(bufpool_alloc(bp, page, 0) == b && memory_counts(bp).frees == 0,
	      "free of an intact weak buffer: kept for reuse");
	require(memory_take_weak(bp, 1) == 1);
	bufpool_free(bp, a);
	check(memory_counts(bp).frees == 1 && bufpool_count_live(bp, NULL) == 1,
	      "free of a taken one: told to the kernel");
	check(errno == 0 && pool_depot(bp)->nr_weak == 0,
	      "errno is kept, and no weak buffer left");
	bufpool_free(bp, b);
	bufpool_destroy(bp);
}

/* Made weak after the clock was read, before the walk came by. */
static void test_weak_meanwhile(void)
{
	struct bufpool *bp = memory_pool(NULL);
	void *before = bufpool_alloc(bp, page, 0);
	void *after = bufpool_alloc(bp, page, 0);

	require(!bufpool_weaken(bp, before) && !bufpool_weaken(bp, after));
	pool_depot(bp)->weak_clock = memory_slot(bp, after)->depth - 1;
	require(memory_take_weak(bp, 1) == 1);
	check(bufpool_strengthen(bp, after) == 1 &&
	      bufpool_strengthen(bp, before) == 0,
	      "one that becomes weak meanwhile is the youngest");
	bufpool_free(bp, after);
	bufpool_destroy(bp);
}

static void test_oldest_first(void)
{
	struct bufpool *bp = memory_pool(NULL);
	void *bufs[3];
	int i;

	for (i = 0; i < 3; i++)
		bufs[i] = bufpool_alloc(bp, page, 0);
	require(!bufpool_weaken(bp, bufs[1]) && !bufpool_weaken(bp, bufs[2]) &&
		!bufpool_weaken(bp, bufs[0]));
	/* Used again, so the youngest. */
	require(bufpool_strengthen(bp, bufs[1]) == 1);
	require(!bufpool_weaken(bp, bufs[1]));
	require(memory_take_weak(bp, 2) == 2);
	check(bufpool_strengthen(bp, bufs[1]) == 1 &&
	      bufpool_strengthen(bp, bufs[2]) == 0 &&
	      bufpool_strengthen(bp, bufs[0]) == 0,
	      "those that were weak for longest are taken first");
	bufpool_free(bp, bufs[1]);
	bufpool_destroy(bp);
}

/*
 * A cache that threads share: each entry is used by one thread at a time, and
 * taken at any.
 */
struct entry {
	pthread_mutex_t lock;
	uint64_t *buf;
};

static struct bufpool *shared;
static struct entry cache[CACHED];
static unsigned long hits, misses;
static bool corrupted;

static void use(struct entry *entry, uint64_t key)
{
	int ret = entry->buf ? bufpool_strengthen(shared, entry->buf) : 0;

	if (ret == 1) {
		if (entry->buf[0] != key || entry->buf[page / 4 - 1] != key)
			__atomic_store_n(&corrupted, true, __ATOMIC_RELAXED);
		__atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
	} else {
		require(ret == 0);
		entry->buf = bufpool_alloc(shared, 2 * page, 0);
		require(entry->buf);
		__atomic_fetch_add(&misses, 1, __ATOMIC_RELAXED);
	}
	entry->buf[0] = key;
	entry->buf[page / 4 - 1] = key;
	require(bufpool_weaken(shared, entry->buf) == 0);
}

static void *use_cache(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	uint64_t key;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		key = seed >> 33;
		if (key % 64 == 0) {
			memory_take_weak(shared, 2);
			continue;
		}
		key %= CACHED;
		pthread_mutex_lock(&cache[key].lock);
		if (seed >> 33 & 0x80) {
			use(&cache[key], key);
		} else if (cache[key].buf && (seed >> 33) % 16 == 9) {
			bufpool_free(shared, cache[key].buf);
			cache[key].buf = NULL;
		}
		pthread_mutex_unlock(&cache[key].lock);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[THREADS];
	uintptr_t i;

	shared = memory_pool(NULL);
	for (i = 0; i < CACHED; i++)
		pthread_mutex_init(&cache[i].lock, NULL);
	for (i = 0; i < THREADS; i++)
		require(!pthread_create(&threads[i], NULL, use_cache,
					(void *)(i + 1)));
	for (i = 0; i < THREADS; i++)
		require(!pthread_join(threads[i], NULL));
	check(!corrupted, "threads: what is intact is intact");
	check(hits > 100 && misses > 100, "threads: %lu hits, %lu misses", hits,
	      misses);
	for (i = 0; i < CACHED; i++) {
		bufpool_free(shared, cache[i].buf);
		pthread_mutex_destroy(&cache[i].lock);
	}
	check(bufpool_count_live(shared, NULL) == 0 &&
	      pool_depot(shared)->nr_weak == 0, "threads: all are freed");
	check(memory_idle_pages(shared) == memory_counts(shared).attached_pages,
	      "threads: every buffer freed is on one stack, once");
	bufpool_destroy(shared);
}

int main(void)
{
	struct bufpool *bp = memory_pool(NULL);

	page = (size_t)1 << bp->page_shift;
	bufpool_destroy(bp);

	test_intact();
	test_taken();
	test_free();
	test_oldest_first();
	test_weak_meanwhile();
	test_threads();
	return tap_end();
}
