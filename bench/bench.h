/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all benchmarks have in common: the clock, the output, the processes.
 *
 * A benchmark prints its raw measurements, one line each, and never a ratio:
 * summary.awk makes medians of them and compares.  Every line says how much work
 * was done, found afterwards where it can be, so that unlike work can be told.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <fcntl.h>
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

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define die(fmt, ...) do {						\
	fprintf(stderr, "%s:%d: " fmt "\n", __FILE__, __LINE__,		\
		##__VA_ARGS__);						\
	exit(1);							\
} while (0)

/* Where rows go; flushed before every fork. */
static FILE *rows;
static unsigned int this_round;

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/*
 * row_header - name the columns, once
 *
 * part, kind: what is measured; only rows that agree in both are compared
 * size: of the buffers, in bytes
 * contender: who did it
 * round: from 0
 * work: bytes given back, as found afterwards; or touched
 * ns: time it took
 * extra: a number of the part's own
 */
static inline void row_header(void)
{
	fputs("part,kind,size,contender,round,work,ns,extra\n", rows);
}

static inline void row(const char *part, const char *kind, size_t size,
		       const char *contender, uint64_t work, uint64_t ns,
		       uint64_t extra)
{
	fprintf(rows, "%s,%s,%zu,%s,%u,%llu,%llu,%llu\n", part, kind, size,
		contender, this_round, (unsigned long long)work,
		(unsigned long long)ns, (unsigned long long)extra);
	fflush(rows);
}

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

/* The process must have done well: half a measurement is none. */
static inline void finish(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("a process ended with wait status %#x", status);
}

#endif /* BENCH_H */
