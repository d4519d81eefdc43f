/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all benchmarks have in common: the clock, the output, the rounds, the
 * processes and threads.
 *
 * A benchmark prints its raw measurements, one line each, and never a ratio:
 * summary.awk makes medians of them and compares.  Every line says how much work
 * was done, found afterwards where it can be, so that unlike work can be told.
 *
 * checkpatch: VOLATILE: memory is touched for the sake of it
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

#define KiB	1024UL
#define MiB	(1024 * KiB)
#define GiB	(1024 * MiB)

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define die(fmt, ...) do {						\
	fprintf(stderr, "%s:%d: " fmt "\n", __FILE__, __LINE__,		\
		##__VA_ARGS__);						\
	exit(1);							\
} while (0)

/* Where rows go, by name and opened; flushed before every fork. */
static const char *rows_path;
static FILE *rows;
static unsigned int this_round;
static bool quick;

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline void touch(void *buf, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i += 4 * KiB)
		*(volatile unsigned char *)((char *)buf + i) = 1;
}

/* --- rows --- */

#define ROW_HEADER \
	"part,kind,size,contender,round,unit,count,work,cost,extra,extra_unit\n"

/**
 * struct measured - what a row says
 * @count: operations done
 * @work: what each of them did: bytes, as found afterwards where they can be;
 *	rows whose work is not alike are not compared
 * @cost: of all of them: nanoseconds; or bytes, for a unit of bytes alone
 * @extra: a number of the part's own
 * @extra_unit: its unit, "MiB ..." for bytes; NULL: there is no such number
 */
struct measured {
	uint64_t count;
	uint64_t work;
	uint64_t cost;
	uint64_t extra;
	const char *extra_unit;
};

/**
 * row - print a measurement
 * @part: what is measured
 * @kind: and how; only rows that agree in both and in the size are compared
 * @size: of the buffers, in bytes
 * @contender: who did it; the first of a part and kind is what the others are
 *	compared with
 * @unit: of the figure to be made of it.  Times are ns, us, ms and s, or where
 *	the clock counts instructions instr, kinstr and Minstr.  Alone, it is cost
 *	per operation; "time/thing" is cost, and "thing/time" speed: the thing is
 *	MiB for the bytes of work, anything else for the operations.  "MiB" alone
 *	is a cost in bytes.
 * @m: the numbers
 *
 * No text may have a comma.
 */
static inline void row(const char *part, const char *kind, size_t size,
		       const char *contender, const char *unit,
		       const struct measured *m)
{
	fprintf(rows, "%s,%s,%zu,%s,%u,%s,%llu,%llu,%llu,%llu,%s\n", part, kind,
		size, contender, this_round, unit, (unsigned long long)m->count,
		(unsigned long long)m->work, (unsigned long long)m->cost,
		(unsigned long long)m->extra,
		m->extra_unit ? m->extra_unit : "");
	fflush(rows);
}

/* A contender that is not there is said to be missing, by whoever looks for it. */
static inline void row_missing(const char *contender, const char *why)
{
	fprintf(stderr, "%s is missing: %s\n", contender, why);
	fprintf(rows, "missing,%s,0,%s,%u,,0,0,0,0,\n", why, contender,
		this_round);
	fflush(rows);
}

/* --- the program --- */

/**
 * struct bench - a benchmark
 * @name: of the program
 * @what: what it measures, to end a sentence with
 * @rounds: how many, unless quick or told otherwise
 * @begin: once, before anything else; may write rows; or NULL
 * @warm_up: once, not recorded; NULL: a round
 * @round: measures everything, one contender after the other
 * @end: once, after the rounds; may write rows; or NULL
 */
struct bench {
	const char *name;
	const char *what;
	unsigned int rounds;
	void (*begin)(void);
	void (*warm_up)(void);
	void (*round)(void);
	void (*end)(void);
};

static inline void rows_open(const char *path, const char *mode)
{
	rows_path = path;
	rows = fopen(path, mode);
	if (!rows)
		die("%s: %s", path, strerror(errno));
}

static inline void rows_close(void)
{
	if (fclose(rows))
		die("%s: %s", rows_path, strerror(errno));
}

static inline void bench_usage(const struct bench *bench, FILE *to)
{
	fprintf(to,
		"Usage: %s [-q] [-r ROUNDS] FILE\n"
		"Measures %s and writes it to FILE, as CSV.\n"
		"  -q  quick: less memory, fewer sizes, two rounds\n"
		"  -r  rounds, default %u\n", bench->name, bench->what,
		bench->rounds);
}

/* The whole of main(). */
static inline int bench_main(int argc, char **argv, const struct bench *bench)
{
	unsigned int rounds = 0;
	bool wrong = false;
	int opt;

	while ((opt = getopt(argc, argv, "hqr:")) != -1) {
		switch (opt) {
		case 'q':
			quick = true;
			break;
		case 'r':
			rounds = strtoul(optarg, NULL, 10);
			wrong = wrong || !rounds;
			break;
		case 'h':
			bench_usage(bench, stdout);
			return 0;
		default:
			wrong = true;
		}
	}
	if (wrong || optind + 1 != argc) {
		bench_usage(bench, stderr);
		return 2;
	}
	if (!rounds)
		rounds = quick ? 2 : bench->rounds;

	rows_open(argv[optind], "we");
	fputs(ROW_HEADER, rows);
	fflush(rows);
	if (bench->begin)
		bench->begin();
	rows_close();

	/* What is done for the first time, in the guest as a whole, costs more. */
	fprintf(stderr, "%s: warming up\n", bench->name);
	rows_open("/dev/null", "we");
	(bench->warm_up ? bench->warm_up : bench->round)();
	rows_close();

	rows_open(argv[optind], "ae");
	for (this_round = 0; this_round < rounds; this_round++) {
		fprintf(stderr, "%s: round %u of %u\n", bench->name,
			this_round + 1, rounds);
		bench->round();
	}
	if (bench->end)
		bench->end();
	rows_close();
	return 0;
}

/* --- processors --- */

/* How many the process may use. */
static inline unsigned int nr_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity: %s", strerror(errno));
	return CPU_COUNT(&set);
}

/* Keep the calling thread on the one CPU that is @which of those of @allowed. */
static inline void pin(const cpu_set_t *allowed, unsigned int which)
{
	cpu_set_t set;
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, allowed) && !which--)
			break;
	if (cpu == CPU_SETSIZE)
		die("too few CPUs");
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity: %s", strerror(errno));
}

/*
 * Threads that start together, again and again.  They spin: who sleeps starts
 * late.  Zero it before use.
 */
struct starting_line {
	unsigned int waiting;
	unsigned int starts;
};

static inline void start_together(struct starting_line *line,
				  unsigned int threads)
{
	unsigned int starts = __atomic_load_n(&line->starts, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&line->waiting, 1, __ATOMIC_ACQ_REL) == threads) {
		__atomic_store_n(&line->waiting, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&line->starts, starts + 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&line->starts, __ATOMIC_ACQUIRE) == starts)
		__builtin_ia32_pause();
}

/* --- processes --- */

/* One process lets another pass. */
struct gate {
	int fd[2];
};

static inline void gate_init(struct gate *gate)
{
	if (pipe(gate->fd))
		die("pipe: %s", strerror(errno));
}

static inline void gate_close(struct gate *gate)
{
	close(gate->fd[0]);
	close(gate->fd[1]);
}

static inline void gate_pass(struct gate *gate)
{
	if (write(gate->fd[1], "", 1) != 1)
		die("gate: %s", strerror(errno));
}

static inline void gate_wait(struct gate *gate)
{
	char c;

	if (read(gate->fd[0], &c, 1) != 1)
		die("gate: nobody is left to open it");
}

static inline pid_t start(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	return pid;
}

static inline int wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	return status;
}

/* The process must have done well: half a measurement is none. */
static inline void finish(pid_t pid)
{
	int status = wait_for(pid);

	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("a process ended with wait status %#x", status);
}

#endif /* BENCH_H */
