// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library's use of fronts against those who empty them: the kernel, or on the
 * anonymous backend the library itself.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

#include <stdatomic.h>

#define NR_THREADS	4
#define SIZE		(64 * KiB)

static struct bufpool *bp;
static atomic_int stop;
static atomic_ulong failed, pairs;

/* The first word of a buffer says who has it; zero: nobody, or newly attached. */
static void *use_the_front(void *arg)
{
	uint64_t me = (uintptr_t)arg, nobody;
	unsigned long nr = 0;
	atomic_ulong *owner;

	pin_to_cpu((me - 1) % sysconf(_SC_NPROCESSORS_ONLN));
	while (!atomic_load(&stop)) {
		owner = bufpool_alloc(bp, SIZE, 0);
		nobody = 0;
		if (!owner || !atomic_compare_exchange_strong(owner, &nobody, me) ||
		    !atomic_compare_exchange_strong(owner, &me, 0)) {
			atomic_fetch_add(&failed, 1);
			break;
		}
		bufpool_free(bp, owner);
		nr++;
	}
	atomic_fetch_add(&pairs, nr);
	return NULL;
}

static void run_threads(pthread_t *thread, int nr, uint32_t trim_period_ms)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uintptr_t i;

	cfg.trim_period_ms = trim_period_ms;
	bp = bufpool_create(&cfg);
	if (!bp)
		die("create: %s", strerror(errno));
	for (i = 0; i < (uintptr_t)nr; i++)
		if (pthread_create(&thread[i], NULL, use_the_front,
				   (void *)(i + 1)))
			die("a thread");
}

static void end_threads(pthread_t *thread, int nr)
{
	int i;

	atomic_store(&stop, 1);
	for (i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
}

/* No buffer is given to two, nor lost, while all memory is taken again and again. */
TEST(emptied_while_in_use)
{
	pthread_t thread[NR_THREADS];
	struct bufpool_stats st;
	int i;

	run_threads(thread, NR_THREADS, 0);
	for (i = 0; i < 3000 && !atomic_load(&failed); i++)
		ASSERT_LE(0, bufpool_release_retained(bp));
	end_threads(thread, NR_THREADS);
	EXPECT_EQ(0, atomic_load(&failed));
	EXPECT_LT(0, atomic_load(&pairs));

	bufpool_release_retained(bp);
	ASSERT_EQ(0, bufpool_get_stats(bp, &st));
	EXPECT_EQ(0, st.attached_bytes);
	EXPECT_EQ(0, st.corruptions);
	bufpool_destroy(bp);
}

/* The same for one that comes from other CPUs to take them. */
TEST(stolen_while_in_use)
{
	long nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread[NR_THREADS];
	void *taken[8];
	struct bufpool_stats st;
	size_t k;
	int i;

	/* A class that was stolen from has fronts again after a trim. */
	run_threads(thread, NR_THREADS, 1);
	for (i = 0; i < 500 && !atomic_load(&failed); i++) {
		pin_to_cpu(i % nr_cpus);
		for (k = 0; k < ARRAY_SIZE(taken); k++) {
			taken[k] = bufpool_alloc(bp, SIZE, 0);
			ASSERT_NE(NULL, taken[k]);
			if (*(uint64_t *)taken[k])
				atomic_fetch_add(&failed, 1);
			*(uint64_t *)taken[k] = NR_THREADS + 1;
		}
		for (k = 0; k < ARRAY_SIZE(taken); k++) {
			if (*(uint64_t *)taken[k] != NR_THREADS + 1)
				atomic_fetch_add(&failed, 1);
			*(uint64_t *)taken[k] = 0;
			bufpool_free(bp, taken[k]);
		}
	}
	end_threads(thread, NR_THREADS);
	EXPECT_EQ(0, atomic_load(&failed));

	/* What is being trimmed is neither idle nor gone for a moment. */
	do {
		bufpool_release_retained(bp);
		ASSERT_EQ(0, bufpool_get_stats(bp, &st));
	} while (st.attached_bytes);
	EXPECT_EQ(0, st.corruptions);
	bufpool_destroy(bp);
}

/* A buffer that was freed on one CPU is what another gets, whatever its size. */
TEST(follows_the_thread)
{
	long nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const size_t sizes[] = { 4 * KiB, SIZE, 16 * MiB };
	struct bufpool_config cfg = fixed_config(64 * MiB);
	void *first, *buf;
	size_t k;
	int i;

	bp = bufpool_create(&cfg);
	ASSERT_NE(NULL, bp);
	for (k = 0; k < ARRAY_SIZE(sizes); k++) {
		ASSERT_EQ(0, pin_to_cpu(0));
		first = bufpool_alloc(bp, sizes[k], 0);
		ASSERT_NE(NULL, first);
		bufpool_free(bp, first);
		for (i = 0; i < 40; i++) {
			ASSERT_EQ(0, pin_to_cpu(i % nr_cpus));
			buf = bufpool_alloc(bp, sizes[k], 0);
			ASSERT_EQ(first, buf);
			bufpool_free(bp, buf);
		}
	}
	bufpool_destroy(bp);
}

/* Where the library keeps a buffer: in a front, if its process has sequences. */
TEST(is_used)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	char line[256], name[256];
	unsigned long start = 0;
	struct pool p = { 0 };
	void *buf;
	FILE *maps;

	if (!on_device())
		SKIP(return, "not the device");
	ASSERT_EQ(0, pin_to_cpu(0));
	bp = bufpool_create(&cfg);
	ASSERT_NE(NULL, bp);
	maps = fopen("/proc/self/maps", "re");
	ASSERT_NE(NULL, maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%*x %*s %*s %*s %*s %255s", &start, name) == 2 &&
		    strstr(name, "bufpool") == name + 5)
			break;
	fclose(maps);
	p.base = (void *)start;
	p.setup.data_offset = pool_control(&p)->data_offset;
	ASSERT_EQ(BUFPOOL_ABI_VERSION, pool_control(&p)->abi_version);

	buf = bufpool_alloc(bp, SIZE, 0);
	ASSERT_NE(NULL, buf);
	bufpool_free(bp, buf);
	EXPECT_EQ(pool_page(&p, (unsigned char *)buf - p.base) + 1,
		  pool_stacks(&p, 0)->front[class_of(SIZE)]);
	EXPECT_EQ(0, BUFPOOL_LINK(pool_stacks(&p, 0)->head[class_of(SIZE)]));
	EXPECT_EQ(buf, bufpool_alloc(bp, SIZE, 0));
	EXPECT_EQ(0, pool_stacks(&p, 0)->front[class_of(SIZE)]);
	bufpool_destroy(bp);
}

TEST_HARNESS_MAIN
