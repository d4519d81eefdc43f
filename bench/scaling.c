// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several threads at a time, each on a CPU of its own.  Meant for a guest with
 * four CPUs: see bench/run.  Where these are emulated by fewer real ones, the
 * times are an emulation's: compare contenders within a table, and with nothing
 * else.
 *
 *	part		kind			size
 *	pairs		"N threads"		each thread allocates a buffer and frees
 *						it, again and again
 *	cross-CPU	"N threads"		every other thread allocates, and passes
 *						the buffers to the next, which frees them
 *	attach		"N threads"		a process's first buffers: each thread
 *						allocates some, and writes to each page
 *
 * Contenders are the allocators of contend.h, and "mmap".  All threads run for
 * the same time, or for "attach" until each has its share; what counts is what
 * all of them have done together.  For "attach" every round is a new process,
 * which has all memory still to get.
 */
#include "contend.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#define MAX_THREADS	4
/* The machine may be busy: of several short slices the best is the round's. */
#define SLICE_NS	20000000ULL
#define SLICES		(quick ? 2 : 5)
#define SHARE_BYTES	(quick ? 8 * MiB : 16 * MiB)

/* The first is who the others are compared with. */
static struct contender contenders[ARRAY_SIZE(allocators) + 1] = {
	[ARRAY_SIZE(allocators)] = { .name = "mmap", .library = "libc.so.6" },
};

static const size_t all_sizes[] = { 64 * KiB, 4 * KiB, 1 * MiB, 8 * MiB };

/* --- buffers --- */

static bool by_mmap;

static void *get(size_t size)
{
	void *buf;

	if (!by_mmap)
		return buf_alloc(size);
	buf = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return buf;
}

static void put(void *buf, size_t size)
{
	if (!by_mmap)
		buf_free(buf);
	else if (munmap(buf, size))
		die("munmap: %s", strerror(errno));
}

/* --- threads --- */

/**
 * struct job - what threads do at a time
 * @run: what thread @thread does until @deadline; returns how much
 * @size: of the buffers
 * @threads: how many
 * @deadline: of this time
 * @line: where they start
 * @allowed: CPUs
 */
struct job {
	uint64_t (*run)(struct job *job, unsigned int thread);
	size_t size;
	unsigned int threads;
	uint64_t deadline;
	struct starting_line line;
	cpu_set_t allowed;
};

/**
 * struct worker - one of the threads
 * @done: what it has done, in number
 * @end: when it had done it
 */
struct worker {
	struct job *job;
	unsigned int thread;
	pthread_t id;
	uint64_t done;
	uint64_t end;
} __attribute__((aligned(128)));

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct job *job = worker->job;

	pin(&job->allowed, worker->thread);
	start_together(&job->line, job->threads);
	worker->done = job->run(job, worker->thread);
	worker->end = now_ns();
	return NULL;
}

/* Who comes last to the starting line sets off the time. */
static void run(struct job *job, uint64_t ns, struct measured *m)
{
	struct worker workers[MAX_THREADS];
	uint64_t begin;
	unsigned int i;
	int err;

	if (sched_getaffinity(0, sizeof(job->allowed), &job->allowed))
		die("sched_getaffinity: %s", strerror(errno));
	for (i = 1; i < job->threads; i++) {
		workers[i] = (struct worker){ .job = job, .thread = i };
		err = pthread_create(&workers[i].id, NULL, work, &workers[i]);
		if (err)
			die("pthread_create: %s", strerror(err));
	}
	workers[0] = (struct worker){ .job = job };
	while (__atomic_load_n(&job->line.waiting, __ATOMIC_ACQUIRE) <
	       job->threads - 1)
		sched_yield();
	begin = now_ns();
	job->deadline = begin + ns;
	work(&workers[0]);
	*m = (struct measured){ .work = job->size };
	for (i = 0; i < job->threads; i++) {
		if (i)
			pthread_join(workers[i].id, NULL);
		m->count += workers[i].done;
		if (workers[i].end - begin > m->cost)
			m->cost = workers[i].end - begin;
	}
	if (sched_setaffinity(0, sizeof(job->allowed), &job->allowed))
		die("sched_setaffinity: %s", strerror(errno));
}

/* --- pairs --- */

/* Between two looks at the clock. */
#define BATCH	32

static uint64_t pairs(struct job *job, unsigned int thread)
{
	uint64_t done = 0;
	unsigned int i;

	(void)thread;
	do {
		for (i = 0; i < BATCH; i++)
			put(get(job->size), job->size);
		done += BATCH;
	} while (now_ns() < job->deadline);
	return done;
}

/* --- cross-CPU --- */

/*
 * Buffers are passed on by the dozen, and who has to wait sleeps: an emulated CPU
 * that spins keeps the real one from those it waits for.
 */
#define PARCELS		4
#define PARCEL		16

static struct ring {
	void *parcel[PARCELS][PARCEL];
	sem_t empty;
	sem_t full;
} rings[MAX_THREADS / 2] __attribute__((aligned(128)));

/* Buffers in a parcel: fewer large ones, for the sake of memory. */
static size_t parcel_size(const struct job *job)
{
	return job->size > 1 * MiB ? PARCEL / 4 : PARCEL;
}

static void wait_on(sem_t *sem)
{
	while (sem_wait(sem))
		if (errno != EINTR)
			die("sem_wait: %s", strerror(errno));
}

/* An empty parcel ends it. */
static uint64_t produce(struct job *job, struct ring *ring)
{
	size_t n = parcel_size(job), in = 0, i;

	do {
		wait_on(&ring->empty);
		for (i = 0; i < n; i++)
			ring->parcel[in % PARCELS][i] = get(job->size);
		in++;
		sem_post(&ring->full);
	} while (now_ns() < job->deadline);
	wait_on(&ring->empty);
	ring->parcel[in % PARCELS][0] = NULL;
	sem_post(&ring->full);
	return 0;
}

static uint64_t consume(struct job *job, struct ring *ring)
{
	size_t n = parcel_size(job), out = 0, i;

	for (;; out++) {
		void **parcel = ring->parcel[out % PARCELS];

		wait_on(&ring->full);
		if (!*parcel)
			break;
		for (i = 0; i < n; i++)
			put(parcel[i], job->size);
		sem_post(&ring->empty);
	}
	sem_post(&ring->empty);
	return out * n;
}

/* Have as many buffers as can be under way at a time, and one parcel more. */
static void rings_init(const struct job *job)
{
	size_t n = (PARCELS + 1) * parcel_size(job) * job->threads / 2, i;
	void *buf[(PARCELS + 1) * PARCEL * ARRAY_SIZE(rings)];

	for (i = 0; i < n; i++)
		buf[i] = get(job->size);
	while (n--)
		put(buf[n], job->size);
	for (i = 0; i < ARRAY_SIZE(rings); i++)
		if (sem_init(&rings[i].empty, 0, PARCELS) ||
		    sem_init(&rings[i].full, 0, 0))
			die("sem_init: %s", strerror(errno));
}

static uint64_t pass(struct job *job, unsigned int thread)
{
	struct ring *ring = &rings[thread / 2];

	return thread % 2 ? consume(job, ring) : produce(job, ring);
}

/* --- attach --- */

static uint64_t attach(struct job *job, unsigned int thread)
{
	size_t n = SHARE_BYTES / job->size, i;

	(void)thread;
	for (i = 0; i < n; i++)
		touch(get(job->size), job->size);
	return n;
}

/* --- all of it --- */

/* Whether @a was faster than @b. */
static bool faster(const struct measured *a, const struct measured *b)
{
	return (double)a->count * b->cost > (double)b->count * a->cost;
}

static void run_row(struct job *job, const char *part, const char *unit)
{
	struct measured m, best;
	unsigned int i;
	char kind[32];

	run(job, SLICE_NS, &best);
	/* The first time is another matter, and all there is of "attach". */
	for (i = 0; job->run != attach && i < SLICES; i++) {
		run(job, SLICE_NS, &m);
		if (!i || faster(&m, &best))
			best = m;
	}
	snprintf(kind, sizeof(kind), "%u thread%s", job->threads,
		 job->threads > 1 ? "s" : "");
	row(part, kind, job->size, me, unit, &best);
}

static void child(int argc, char **argv)
{
	struct bufpool_config config;
	struct job job = { 0 };

	if (argc != 3)
		die("not told what to do");
	by_mmap = !strcmp(me, "mmap");
	if (!strcmp(me, "bufpool")) {
		bufpool_config_init(&config, BUFPOOL_PRESET_DEFAULT);
		config.trim_period_ms = 0;
		config.max_retained_bytes = 1 * GiB;
		pool_open(&config, "device");
	}
	job.size = strtoull(argv[1], NULL, 10);
	job.threads = strtoul(argv[2], NULL, 10);
	if (!strcmp(argv[0], "pairs")) {
		job.run = pairs;
		run_row(&job, argv[0], "pairs/ms");
	} else if (!strcmp(argv[0], "cross-CPU")) {
		rings_init(&job);
		job.run = pass;
		run_row(&job, argv[0], "buffers/ms");
	} else {
		job.run = attach;
		run_row(&job, argv[0], "MiB/ms");
	}
}

static void one(const char *part, size_t size, unsigned int threads)
{
	char text[2][32];
	size_t i;

	if (threads > nr_cpus())
		return;
	snprintf(text[0], sizeof(text[0]), "%zu", size);
	snprintf(text[1], sizeof(text[1]), "%u", threads);
	for (i = 0; i < ARRAY_SIZE(contenders); i++)
		contend(&contenders[i], part, text[0], text[1], NULL);
}

static void one_size(size_t size)
{
	unsigned int threads;

	for (threads = 1; threads <= MAX_THREADS; threads *= 2) {
		one("pairs", size, threads);
		if (threads > 1)
			one("cross-CPU", size, threads);
		one("attach", size, threads);
	}
}

static void begin(void)
{
	memcpy(contenders, allocators, sizeof(allocators));
	contend_look(contenders, ARRAY_SIZE(contenders));
	if (nr_cpus() < MAX_THREADS)
		row_missing("4 threads", "fewer CPUs");
}

static void warm_up(void)
{
	one("pairs", 64 * KiB, 2);
	one("attach", 64 * KiB, 2);
}

static void round_of_all(void)
{
	size_t i;

	for (i = 0; i < (quick ? 1 : ARRAY_SIZE(all_sizes)); i++)
		one_size(all_sizes[i]);
}

static const struct bench bench = {
	.name = "scaling",
	.what = "threads on several CPUs",
	.rounds = 5,
	.begin = begin,
	.warm_up = warm_up,
	.round = round_of_all,
};

int main(int argc, char **argv)
{
	contend_child(argc, argv, child);
	return bench_main(argc, argv, &bench);
}
