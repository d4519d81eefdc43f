/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the benchmarks need of a guest: files that set it up, a look at what ran,
 * counting of system calls.
 */
#ifndef GUEST_H
#define GUEST_H

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "bench.h"

#define DEVICE	"/sys/class/misc/bufpool/"

/* --- files --- */

/* False, and errno, if it cannot be read. */
static inline bool file_try(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	int err;

	if (fd >= 0)
		n = read(fd, text, size - 1);
	err = errno;
	if (fd >= 0)
		close(fd);
	errno = err;
	if (n < 0)
		return false;
	text[n] = '\0';
	return true;
}

static inline void file_read(const char *path, char *text, size_t size)
{
	if (!file_try(path, text, size))
		die("%s: %s", path, strerror(errno));
}

static inline void file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0)
		n = write(fd, text, strlen(text));
	if (n < 0)
		die("%s = %s: %s", path, text, strerror(errno));
	close(fd);
}

static inline uint64_t file_get(const char *path)
{
	char text[64];

	file_read(path, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static inline void file_set(const char *path, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	file_write(path, text);
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	if (nanosleep(&ts, NULL))
		die("nanosleep: %s", strerror(errno));
}

/* Clock ticks that all CPUs together have been idle. */
static inline uint64_t idle_ticks(void)
{
	unsigned long long idle;
	char text[128];

	file_read("/proc/stat", text, sizeof(text));
	if (sscanf(text, "cpu %*u %*u %*u %llu", &idle) != 1)
		die("/proc/stat is not understood");
	return idle;
}

/*
 * Where the clock counts instructions everything counts that runs: wait until
 * nothing does that was begun by booting.
 */
static inline void settle(void)
{
	unsigned int ticks = sysconf(_SC_CLK_TCK) * nr_cpus();
	unsigned int tries;

	for (tries = 0; tries < 60; tries++) {
		uint64_t before = idle_ticks();

		sleep_ms(1000);
		if (idle_ticks() - before >= ticks * 98 / 100)
			return;
	}
	die("the guest does not come to rest");
}

/* --- what ran --- */

/**
 * struct ran - what the process has been through, so far or meanwhile
 * @ns: the clock
 * @faults: page faults
 */
struct ran {
	uint64_t ns;
	uint64_t faults;
};

static inline struct ran ran_begin(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		die("getrusage: %s", strerror(errno));
	return (struct ran) {
		.faults = usage.ru_minflt + usage.ru_majflt,
		/* Last, as it is first to be read at the end. */
		.ns = now_ns(),
	};
}

static inline struct ran ran_end(const struct ran *begin)
{
	uint64_t ns = now_ns();
	struct ran end = ran_begin();

	return (struct ran) {
		.ns = ns - begin->ns,
		.faults = end.faults - begin->faults,
	};
}

/* --- system calls --- */

/* Counts the system calls of the calling thread, from now on. */
static inline int calls_begin(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = file_get("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id"),
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		die("perf_event_open: %s", strerror(errno));
	return fd;
}

/* How many there were. */
static inline uint64_t calls_end(int fd)
{
	uint64_t calls;

	if (read(fd, &calls, sizeof(calls)) != sizeof(calls))
		die("perf event: %s", strerror(errno));
	close(fd);
	/* The last was the read itself. */
	if (!calls)
		die("the kernel does not count system calls");
	return calls - 1;
}

#endif /* GUEST_H */
