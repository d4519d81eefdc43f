// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Threads that allocate, hand buffers to each other and free them, while idle
 * memory is taken away under them: a buffer has one owner at a time.
 *
 * Buffers are written with plain stores, so under ThreadSanitizer this also
 * checks that a push and the pop that follows it order them.
 */
#include <pthread.h>
#include <string.h>

#include "memory.h"
#include "stack.h"
#include "tap.h"

#define THREADS		4
#define ROUNDS		50000
#define HELD		8
#define HANDOVER	16

/* Pages: three classes that are kept per CPU, and sizes of two that are large. */
static const uint32_t sizes[] = { 1, 1, 1, 2, 3, 21, 23, 24, 25 };

static struct bufpool *bp;
static uint64_t *handover[HANDOVER];
static bool corrupted;

struct thread {
	pthread_t id;
	uint64_t seed;
	unsigned long allocated;
	unsigned long released;
};

static uint32_t next_random(struct thread *self)
{
	self->seed = self->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(self->seed >> 33);
}

/* The first and the last word of a buffer name it and its owner's mark. */
static uint64_t *last_word(uint64_t *buf)
{
	return buf + bufpool_usable_size(bp, buf) / sizeof(*buf) - 1;
}

static uint64_t *take(struct thread *self)
{
	uint32_t pages = sizes[next_random(self) % ARRAY_SIZE(sizes)];
	unsigned int flags = next_random(self) % 16 ? 0 : BUFPOOL_ZERO;
	uint64_t *buf = bufpool_alloc(bp, (size_t)pages << bp->page_shift, flags);

	require(buf);
	if (flags && (buf[0] || *last_word(buf)))
		__atomic_store_n(&corrupted, true, __ATOMIC_RELAXED);
	buf[0] = (uintptr_t)buf ^ self->seed;
	buf[1] = self->seed;
	*last_word(buf) = self->seed;
	self->allocated++;
	return buf;
}

static void give(uint64_t *buf)
{
	uint64_t seed = buf[1];

	if (buf[0] != ((uintptr_t)buf ^ seed) || *last_word(buf) != seed)
		__atomic_store_n(&corrupted, true, __ATOMIC_RELAXED);
	buf[0] = 0;
	bufpool_free(bp, buf);
}

static void *storm(void *arg)
{
	struct thread *self = arg;
	uint64_t *held[HELD] = { NULL };
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		uint64_t **mine = &held[next_random(self) % HELD];

		if (*mine)
			give(*mine);
		*mine = take(self);
		if (next_random(self) % 4 == 0)
			*mine = __atomic_exchange_n(&handover[next_random(self) %
							      HANDOVER],
						    *mine, __ATOMIC_ACQ_REL);
		if (next_random(self) % 512 == 0) {
			int64_t released = bufpool_release_retained(bp);

			require(released >= 0);
			self->released += (unsigned long)released;
		}
	}
	for (i = 0; i < HELD; i++)
		if (held[i])
			give(held[i]);
	return NULL;
}

int main(void)
{
	struct memory_tuning t = memory_defaults;
	struct thread threads[THREADS] = { { .seed = 0 } };
	unsigned long allocated = 0, released = 0;
	struct memory_counts counts;
	uint64_t depot_pages = 0;
	uint32_t link;
	int i;

	/* Small enough for every path to be taken. */
	t.percpu_cap = 3;
	t.depot_cap = 8;
	t.large_threshold_pages = 16;
	t.max_retained_pages = 200;
	bp = memory_pool(&t);

	for (i = 0; i < THREADS; i++) {
		threads[i].seed = (uint64_t)i + 1;
		require(!pthread_create(&threads[i].id, NULL, storm,
					&threads[i]));
	}
	for (i = 0; i < THREADS; i++) {
		require(!pthread_join(threads[i].id, NULL));
		allocated += threads[i].allocated;
		released += threads[i].released;
	}
	for (i = 0; i < HANDOVER; i++)
		if (handover[i])
			give(handover[i]);

	check(!corrupted, "no buffer had two owners");
	counts = memory_counts(bp);
	check(memory_idle_pages(bp) == counts.attached_pages,
	      "every buffer freed is on one stack, once");
	for (i = 0; i < (int)bp->nr_classes; i++) {
		link = BUFPOOL_LINK(pool_depot(bp)->head[i]);
		for (; link; link = bp->slots[link - 1].next)
			depot_pages += bp->slots[link - 1].pages;
	}
	check(pool_depot(bp)->idle_pages == (int64_t)depot_pages,
	      "the depot counted its pages right");

	/* That the storm went where it was meant to. */
	check(counts.allocs < allocated && counts.allocs > THREADS,
	      "of %lu buffers, %lu were attached", allocated, counts.allocs);
	check(counts.frees > 0, "%lu were given back by a full stack",
	      counts.frees);
	check(released > 0, "%lu bytes by release_retained", released);
	bufpool_destroy(bp);
	return tap_end();
}
