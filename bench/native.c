// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library on a real CPU, without the module: allocators side by side.
 *
 *	pair		a buffer is allocated and freed, again and again
 *	threads		the same by one thread, and by two at a time
 *	pass		one thread allocates and touches, another one frees
 *	live set	of many live buffers a random one is replaced
 *	zeroed		a buffer used before is wanted zeroed, and touched
 *	thumbnails	a program that scales photographs
 *	footprint	memory that program holds when its work is done
 *
 * The machine may be busy with other things.  So everything is done in short
 * slices, the best of which is the round's; the spread over the rounds tells
 * whether that was enough.
 */
#include "contend.h"

#include <glob.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

static struct contender contenders[ARRAY_SIZE(allocators) + 2] = {
	[ARRAY_SIZE(allocators)] = { .name = "bufpool: default", .library = "libc.so.6" },
	/* What the hardware needs at least: no allocator. */
	{ .name = "limit", .library = "libc.so.6" },
};

/* For the program, which has its presets as they are. */
static struct contender presets[] = {
	{ .name = "bufpool: default", .library = "libc.so.6" },
	{ .name = "bufpool: aggressive", .library = "libc.so.6" },
};

static bool is_limit(void)
{
	return !strcmp(me, "limit");
}

/*
 * Two configurations.  "bufpool" is the aggressive preset, told that buffers of
 * up to 1 GiB are to be kept, as malloc() of most contenders keeps them without
 * being told.  "bufpool: default" is the default preset as it is, which keeps
 * nothing above 24 MiB.
 */
static void open_ours(void)
{
	struct bufpool_config config;

	if (!strcmp(me, "bufpool")) {
		bufpool_config_init(&config, BUFPOOL_PRESET_AGGRESSIVE);
		config.max_pooled_bytes = 1 * GiB;
		config.max_retained_bytes = 2 * GiB;
		config.pool_limit_bytes = 4 * GiB;
		config.alloc_limit_bytes = 1 * GiB;
		pool_open(&config, "anonymous");
	} else if (!strcmp(me, "bufpool: default")) {
		bufpool_config_init(&config, BUFPOOL_PRESET_DEFAULT);
		pool_open(&config, "anonymous");
	}
}

/* --- slices --- */

#define MAX_THREADS	2

/* Bytes that keep words of two threads out of each other's way. */
#define APART		128

/**
 * struct job - what is done again and again, by one thread or two at a time
 * @run: do it @n times, as thread @thread
 * @size: of the buffers
 * @n: in a slice; found out by timing
 * @threads: how many
 * @slices: how many at most
 * @more: there is another one
 * @line: where they start
 * @best: the least time that the slowest thread has needed
 * @ns: each thread's time
 * @allowed: CPUs
 */
struct job {
	void (*run)(struct job *job, unsigned int thread, size_t n);
	size_t size;
	size_t n;
	unsigned int threads;
	unsigned int slices;
	bool more;
	struct starting_line line;
	uint64_t best;
	uint64_t ns[MAX_THREADS];
	cpu_set_t allowed;
};

#define SLICE_NS	(quick ? 400000 : 1000000)
#define MAX_SLICES	20
/* On a busy machine threads wait for each other most of the time. */
#define ALL_SLICES_NS	(100 * SLICE_NS)

struct worker {
	struct job *job;
	unsigned int thread;
	pthread_t id;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct job *job = worker->job;
	unsigned int slice, i;
	uint64_t all, begin, slowest;

	pin(&job->allowed, worker->thread);
	all = now_ns();
	for (slice = 1;; slice++) {
		start_together(&job->line, job->threads);
		if (!job->more)
			return NULL;
		begin = now_ns();
		job->run(job, worker->thread, job->n);
		job->ns[worker->thread] = now_ns() - begin;
		start_together(&job->line, job->threads);
		if (worker->thread)
			continue;
		for (slowest = 0, i = 0; i < job->threads; i++)
			if (job->ns[i] > slowest)
				slowest = job->ns[i];
		if (slowest < job->best)
			job->best = slowest;
		job->more = slice < job->slices && now_ns() - all < ALL_SLICES_NS;
	}
}

static void run_slices(struct job *job, unsigned int slices)
{
	struct worker workers[MAX_THREADS];
	unsigned int i;
	int err;

	job->slices = slices;
	job->more = true;
	for (i = 1; i < job->threads; i++) {
		workers[i] = (struct worker){ .job = job, .thread = i };
		err = pthread_create(&workers[i].id, NULL, work, &workers[i]);
		if (err)
			die("pthread_create: %s", strerror(err));
	}
	workers[0] = (struct worker){ .job = job };
	work(&workers[0]);
	for (i = 1; i < job->threads; i++)
		pthread_join(workers[i].id, NULL);
	if (sched_setaffinity(0, sizeof(job->allowed), &job->allowed))
		die("sched_setaffinity: %s", strerror(errno));
}

/* Find out how many operations a slice takes, and time slices of them. */
static void measure(struct job *job)
{
	if (sched_getaffinity(0, sizeof(job->allowed), &job->allowed))
		die("sched_getaffinity: %s", strerror(errno));
	/* The first time is another matter. */
	job->n = 1;
	run_slices(job, 1);
	for (;;) {
		/* Twice: a slice in which somebody else runs takes long. */
		job->best = UINT64_MAX;
		run_slices(job, 2);
		if (job->best >= SLICE_NS / 2)
			break;
		job->n *= job->best > SLICE_NS / 16 ? 2 : 8;
	}
	/* One that takes long need not be repeated as often. */
	run_slices(job, job->best < 2 * SLICE_NS ? MAX_SLICES :
		   1 + MAX_SLICES * SLICE_NS / job->best);
}

static void measure_row(struct job *job, const char *part, const char *kind,
			const char *unit)
{
	measure(job);
	row(part, kind, job->size, me, unit, &(struct measured){
		.count = job->n,
		.work = job->size,
		.cost = job->best,
	    });
}

/* --- pairs --- */

static void pair_untouched(struct job *job, unsigned int thread, size_t n)
{
	(void)thread;
	while (n--)
		buf_free(buf_alloc(job->size));
}

static void pair_touched(struct job *job, unsigned int thread, size_t n)
{
	(void)thread;
	while (n--) {
		void *buf = buf_alloc(job->size);

		touch(buf, job->size);
		buf_free(buf);
	}
}

/*
 * What a pair cannot be without where threads share the lists: an atomic
 * operation to take the buffer and one to give it back, each on a word that this
 * CPU has in its cache.
 */
static void limit_untouched(struct job *job, unsigned int thread, size_t n)
{
	static struct {
		uint64_t word;
		char apart[APART];
	} own[MAX_THREADS];
	uint64_t *word = &own[thread].word, old = *word;

	(void)job;
	for (n *= 2; n--;)
		if (__atomic_compare_exchange_n(word, &old, old + 1, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			old++;
}

/* A buffer that is had already, touched. */
static void *limit_buffer;

static void limit_touched(struct job *job, unsigned int thread, size_t n)
{
	(void)thread;
	while (n--)
		touch(keep(limit_buffer), job->size);
}

static void limit_zeroed(struct job *job, unsigned int thread, size_t n)
{
	(void)thread;
	while (n--)
		memset(keep(limit_buffer), 0, job->size);
}

static void limit_open(size_t size)
{
	limit_buffer = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (limit_buffer == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}

static void untouched(size_t size)
{
	struct job job = {
		.run = is_limit() ? limit_untouched : pair_untouched,
		.size = size,
		.threads = 1,
	};

	measure_row(&job, "pair", "untouched", "ns/pair");
}

static void touched(size_t size)
{
	struct job job = {
		.run = is_limit() ? limit_touched : pair_touched,
		.size = size,
		.threads = 1,
	};

	if (is_limit())
		limit_open(size);
	measure_row(&job, "pair", "touched", "us/pair");
}

static void threads(size_t size)
{
	struct job job = {
		.run = is_limit() ? limit_untouched : pair_untouched,
		.size = size,
	};

	for (job.threads = 1; job.threads <= MAX_THREADS; job.threads++)
		measure_row(&job, "threads",
			    job.threads == 1 ? "one alone" : "each of two",
			    "ns/pair");
}

/* --- producer and consumer --- */

#define RING		16

static struct {
	void *slot[RING];
	char apart_in[APART];
	size_t in;
	char apart_out[APART];
	size_t out;
} ring;

static size_t ring_used(void)
{
	return __atomic_load_n(&ring.in, __ATOMIC_ACQUIRE) -
		__atomic_load_n(&ring.out, __ATOMIC_ACQUIRE);
}

static void pass(struct job *job, unsigned int thread, size_t n)
{
	while (n--) {
		if (!thread) {
			void *buf = is_limit() ? limit_buffer : buf_alloc(job->size);

			touch(buf, job->size);
			while (ring_used() == RING)
				__builtin_ia32_pause();
			ring.slot[ring.in % RING] = buf;
			__atomic_store_n(&ring.in, ring.in + 1, __ATOMIC_RELEASE);
		} else {
			while (!ring_used())
				__builtin_ia32_pause();
			if (!is_limit())
				buf_free(ring.slot[ring.out % RING]);
			__atomic_store_n(&ring.out, ring.out + 1, __ATOMIC_RELEASE);
		}
	}
}

static void passed(size_t size)
{
	struct job job = { .run = pass, .size = size, .threads = 2 };

	if (is_limit())
		limit_open(size);
	measure_row(&job, "pass", "producer and consumer", "ns/buffer");
}

/* --- live sets --- */

static struct {
	void **buf;
	size_t nr;
	uint64_t random;
} live;

static void *live_alloc(size_t size)
{
	void *buf = buf_alloc(size);

	/* Who allocates a buffer begins to use it. */
	touch(buf, 1);
	return buf;
}

/* xorshift64 */
static uint64_t next_random(void)
{
	live.random ^= live.random << 13;
	live.random ^= live.random >> 7;
	live.random ^= live.random << 17;
	return live.random;
}

static void replace(struct job *job, unsigned int thread, size_t n)
{
	(void)thread;
	while (n--) {
		void **buf = &live.buf[(next_random() >> 32) * live.nr >> 32];

		buf_free(*buf);
		*buf = live_alloc(job->size);
	}
}

static void live_set(size_t size)
{
	struct job job = { .run = replace, .size = size, .threads = 1 };
	char kind[32];
	size_t i;

	if (is_limit())
		return;
	live.nr = size == 1 * MiB ? 10 : size == 64 * KiB ? 1000 : 100000;
	live.random = 88172645463325252ULL;
	live.buf = calloc(live.nr, sizeof(*live.buf));
	if (!live.buf)
		die("no memory");
	for (i = 0; i < live.nr; i++)
		live.buf[i] = live_alloc(size);
	snprintf(kind, sizeof(kind), "%zu buffers", live.nr);
	measure_row(&job, "live set", kind, "ns/replaced");
}

/* --- zeroed --- */

static void zeroed(struct job *job, unsigned int thread, size_t n)
{
	(void)thread;
	while (n--) {
		void *buf = buf_alloc_zeroed(job->size);

		/* What is zeroed when it is touched is zeroed as well. */
		touch(buf, job->size);
		buf_free(buf);
	}
}

static void reused_zeroed(size_t size)
{
	struct job job = {
		.run = is_limit() ? limit_zeroed : zeroed,
		.size = size,
		.threads = 1,
	};

	if (is_limit())
		limit_open(size);
	measure_row(&job, "zeroed", "reused and touched", "MiB/ms");
}

/* --- thumbnails --- */

/* From where the program itself is. */
#define THUMBNAIL	"../bin/thumbnail"

/* Instead of the preset's minute or two: seconds. */
#define TRIM_PERIOD	(quick ? 4 : 15)

/* The programs of the first rounds stay, for what they hold when idle. */
#define STAYING_ROUNDS	2

/**
 * struct run - a thumbnail program that is waiting for orders
 * @name: of the contender
 * @kind: for the rows
 * @round: it belongs to
 * @pid: the process
 * @clock: of its CPU time
 * @to: orders
 * @from: reports
 * @images: it makes each time
 * @seconds: it took the last time
 * @cpu_ns: CPU time of the same
 * @kept: bytes it has resident
 */
struct run {
	const char *name;
	const char *kind;
	unsigned int round;
	pid_t pid;
	clockid_t clock;
	FILE *to;
	FILE *from;
	unsigned int images;
	double seconds;
	uint64_t cpu_ns;
	unsigned long long kept;
};

static struct run runs[64];
static size_t nr_runs;
static glob_t photos;

static void run_exec(const char *contender, const char *nr_threads,
		     const char *dir)
{
	bool ours = !strncmp(contender, "bufpool", strlen("bufpool"));
	const char *colon = strchr(contender, ':');
	char *argv[32 + photos.gl_pathc];
	char self[4096] = "", program[4200], period[16];
	size_t n = 0, i;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		die("/proc/self/exe: %s", strerror(errno));
	*strrchr(self, '/') = 0;
	snprintf(program, sizeof(program), "%s/" THUMBNAIL, self);
	snprintf(period, sizeof(period), "%u", TRIM_PERIOD);

	argv[n++] = program;
	argv[n++] = "--allocator";
	argv[n++] = ours ? "bufpool" : "malloc";
	if (ours) {
		argv[n++] = "--preset";
		argv[n++] = (char *)colon + 2;
		argv[n++] = "--trim-period";
		argv[n++] = period;
	}
	argv[n++] = "--threads";
	argv[n++] = (char *)nr_threads;
	argv[n++] = "--output";
	argv[n++] = (char *)dir;
	argv[n++] = "--report";
	argv[n++] = "line";
	argv[n++] = "--wait";
	for (i = 0; i < photos.gl_pathc; i++)
		argv[n++] = photos.gl_pathv[i];
	argv[n] = NULL;
	execv(program, argv);
	die("%s: %s", program, strerror(errno));
}

static void run_report(struct run *run)
{
	unsigned int failed;

	if (fscanf(run->from, "%*s %*s %u %u %lf %*d %*d %llu %*s",
		   &run->images, &failed, &run->seconds, &run->kept) != 4 ||
	    failed)
		die("thumbnail, %s: it failed", run->name);
}

static void run_order(struct run *run, const char *order)
{
	if (fputs(order, run->to) < 0 || fflush(run->to))
		die("thumbnail, %s: %s", run->name, strerror(errno));
}

static uint64_t run_cpu_ns(struct run *run)
{
	struct timespec ts;

	if (clock_gettime(run->clock, &ts))
		die("thumbnail, %s: clock_gettime: %s", run->name, strerror(errno));
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void run_again(struct run *run)
{
	uint64_t cpu_ns = run_cpu_ns(run);

	run_order(run, "again\n");
	run_report(run);
	run->cpu_ns = run_cpu_ns(run) - cpu_ns;
}

static void run_start(struct run *run, const struct contender *c,
		      const char *nr_threads, const char *dir)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	fflush(rows);
	run->pid = start();
	if (!run->pid) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		contend_preload(c);
		if (setenv("BUFPOOL_BACKEND", "anonymous", 1))
			die("setenv: %s", strerror(errno));
		run_exec(c->name, nr_threads, dir);
	}
	close(to[0]);
	close(from[1]);
	run->to = fdopen(to[1], "w");
	run->from = fdopen(from[0], "r");
	if (!run->to || !run->from)
		die("fdopen: %s", strerror(errno));
	if (clock_getcpuclockid(run->pid, &run->clock))
		die("clock_getcpuclockid failed");
	run_report(run);
	run->cpu_ns = run_cpu_ns(run);
}

static void run_end(struct run *run)
{
	fclose(run->to);
	finish(run->pid);
	fclose(run->from);
}

/* By the clock; and by CPU time, which other programs disturb less. */
static void run_row(const struct run *run, const char *kind)
{
	struct measured m = {
		.count = run->images,
		.work = 1,
		.cost = run->seconds * 1e9,
	};

	row("thumbnails", kind, 0, run->name, "images/s", &m);
	m.cost = run->cpu_ns;
	row("thumbnails (CPU time)", kind, 0, run->name, "images/s", &m);
}

/* The first time and the best of the others. */
static void run_all(const struct contender *c, const char *nr_threads,
		    const char *kind)
{
	static char reference[4096];
	unsigned int i, times = quick ? 1 : 2;
	char text[64], dir[4096], command[9000];
	struct run *run = &runs[nr_runs];
	struct run best;

	if (nr_runs == ARRAY_SIZE(runs))
		die("too many programs");
	snprintf(dir, sizeof(dir), "%s.thumbnails", rows_path);
	mkdir(dir, 0777);
	snprintf(dir, sizeof(dir), "%s.thumbnails/%s", rows_path, c->name);
	if (mkdir(dir, 0777) && errno != EEXIST)
		die("%s: %s", dir, strerror(errno));

	*run = (struct run){ .name = c->name, .kind = kind, .round = this_round };
	run_start(run, c, nr_threads, dir);
	snprintf(text, sizeof(text), "%s: first time", kind);
	run_row(run, text);
	best = *run;
	for (i = 0; i < times; i++) {
		run_again(run);
		if (!i || run->seconds < best.seconds)
			best.seconds = run->seconds;
		if (!i || run->cpu_ns < best.cpu_ns)
			best.cpu_ns = run->cpu_ns;
	}
	run_row(&best, kind);

	if (!*reference)
		snprintf(reference, sizeof(reference), "%s", dir);
	snprintf(command, sizeof(command), "diff -rq '%s' '%s' >&2", reference, dir);
	if (system(command))
		die("thumbnail, %s: other thumbnails", c->name);
	if (this_round < STAYING_ROUNDS)
		nr_runs++;
	else
		run_end(run);
}

static void footprint_rows(const char *when)
{
	char kind[128];
	size_t i;

	for (i = 0; i < nr_runs; i++) {
		this_round = runs[i].round;
		snprintf(kind, sizeof(kind), "%s: %s", runs[i].kind, when);
		row("footprint", kind, 0, runs[i].name, "MiB", &(struct measured){
			.count = 1,
			.work = photos.gl_pathc,
			.cost = runs[i].kept,
		    });
	}
}

static void order_all(const char *order)
{
	size_t i;

	for (i = 0; i < nr_runs; i++)
		run_order(&runs[i], order);
	for (i = 0; i < nr_runs; i++)
		run_report(&runs[i]);
}

/*
 * All programs that stay do their work once more, and are idle at the same time.
 * Now and then each has a byte to allocate, the occasion for what an allocator
 * does by the way.  That is none for a pool: an idle buffer is at hand, and nobody
 * looks at the clock.  So in the end each does once what an idle program is told to
 * do: bufpool_get_stats(), see bufpool_backend(3), or malloc_trim().
 */
static void footprints(void)
{
	uint64_t end;
	size_t i;

	order_all("again\n");
	footprint_rows("after the work");
	end = now_ns() + (2 * TRIM_PERIOD + 1) * 1000000000ULL;
	do {
		sleep(1);
		order_all("idle\n");
	} while (now_ns() < end);
	footprint_rows("after two trim periods");
	order_all("poll\n");
	footprint_rows("then polled");
	for (i = 0; i < nr_runs; i++)
		run_end(&runs[i]);
}

/* --- all of it, interleaved --- */

static const struct {
	void (*measure)(size_t size);
	size_t size;
} parts[] = {
	{ untouched,	4 * KiB },
	{ untouched,	16 * KiB },
	{ untouched,	64 * KiB },
	{ untouched,	256 * KiB },
	{ untouched,	1 * MiB },
	{ untouched,	4 * MiB },
	{ untouched,	16 * MiB },
	{ untouched,	64 * MiB },
	{ untouched,	256 * MiB },
	{ untouched,	1 * GiB },
	{ touched,	4 * KiB },
	{ touched,	16 * KiB },
	{ touched,	64 * KiB },
	{ touched,	256 * KiB },
	{ touched,	1 * MiB },
	{ touched,	4 * MiB },
	{ touched,	16 * MiB },
	{ touched,	64 * MiB },
	{ touched,	256 * MiB },
	{ touched,	1 * GiB },
	{ threads,	4 * KiB },
	{ threads,	64 * KiB },
	{ threads,	1 * MiB },
	{ passed,	64 * KiB },
	{ passed,	1 * MiB },
	{ live_set,	1 * MiB },
	{ live_set,	64 * KiB },
	{ live_set,	4 * KiB },
	{ reused_zeroed,	1 * MiB },
	{ reused_zeroed,	16 * MiB },
	{ reused_zeroed,	64 * MiB },
};

static void child(int argc, char **argv)
{
	size_t i = strtoul(argv[0], NULL, 10);

	(void)argc;
	open_ours();
	parts[i].measure(parts[i].size);
}

/* Where every page is zeroed each time, a gigabyte takes most of the time. */
#define SLOW_ROUNDS	3

static void each_contender(size_t i)
{
	bool slow = parts[i].measure == touched && parts[i].size > 64 * MiB;
	bool two = parts[i].measure == threads || parts[i].measure == passed;
	char part[16];
	size_t c;

	if ((slow && (quick || this_round >= SLOW_ROUNDS)) ||
	    (two && nr_cpus() < 2))
		return;
	snprintf(part, sizeof(part), "%zu", i);
	for (c = 0; c < ARRAY_SIZE(contenders); c++)
		contend(&contenders[c], part, NULL);
}

static void each_program(const char *nr_threads, const char *kind)
{
	size_t c;

	for (c = 0; c < ARRAY_SIZE(presets); c++)
		run_all(&presets[c], nr_threads, kind);
	for (c = 0; c < ARRAY_SIZE(allocators); c++)
		if (c && !contenders[c].missing)
			run_all(&contenders[c], nr_threads, kind);
}

static void begin(void)
{
	const char *dir = getenv("PHOTOS");
	char pattern[4096];

	memcpy(contenders, allocators, sizeof(allocators));
	contend_look(contenders, ARRAY_SIZE(contenders));
	if (nr_cpus() < 2)
		row_missing("a second thread", "there is one CPU");
	if (dir)
		snprintf(pattern, sizeof(pattern), "%s/*.jpg", dir);
	if (!dir || glob(pattern, 0, NULL, &photos))
		row_missing("thumbnails", "there are no photographs in PHOTOS");
	if (quick)
		photos.gl_pathc /= 2;
}

static void warm_up(void)
{
	each_contender(0);
}

static void round_of_all(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parts); i++)
		each_contender(i);
	if (photos.gl_pathc) {
		each_program("1", "1 thread");
		if (!quick)
			each_program("2", "2 threads");
	}
}

static void end(void)
{
	if (nr_runs)
		footprints();
}

static const struct bench bench = {
	.name = "native",
	.what = "allocators on this machine",
	.rounds = 5,
	.begin = begin,
	.warm_up = warm_up,
	.round = round_of_all,
	.end = end,
};

int main(int argc, char **argv)
{
	contend_child(argc, argv, child);
	return bench_main(argc, argv, &bench);
}
