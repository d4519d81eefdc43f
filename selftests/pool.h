/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel ABI of /dev/bufpool in C, without the library, and what several
 * tests share: sysfs, stamps, children, faults.
 *
 * Functions return -errno, so that a test can say ASSERT_EQ(-EBUSY, ...).
 * Include kselftest_harness.h first.
 *
 * checkpatch: COMPLEX_MACRO, MACRO_ARG_REUSE: POOL_COUNTERS() makes list rows
 */
#ifndef SELFTESTS_POOL_H
#define SELFTESTS_POOL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <linux/bufpool.h>

#define DEVICE	"/dev/bufpool"
#define SYSFS	"/sys/class/misc/bufpool/"

#define KiB	1024ULL
#define MiB	(1024 * KiB)
#define GiB	(1024 * MiB)

/* Four emulated CPUs on a kernel with every check on are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

/* A test that cannot go on and is not in reach of ASSERT. */
#define die(fmt, ...) do {						\
	fprintf(stderr, "# %s:%d: " fmt "\n", __FILE__, __LINE__,	\
		##__VA_ARGS__);						\
	_exit(1);							\
} while (0)

/* --- the pool --- */

struct pool {
	int fd;
	unsigned char *base;		/* of the file's mapping */
	size_t length;
	struct bufpool_setup setup;
};

/* A configuration of which every field follows the device. */
static inline struct bufpool_config follow_device(void)
{
	struct bufpool_config cfg = {
		.size = sizeof(cfg),
		.max_pooled_bytes = BUFPOOL_FOLLOW,
		.large_threshold_bytes = BUFPOOL_FOLLOW,
		.max_retained_bytes = BUFPOOL_FOLLOW,
		.pool_limit_bytes = BUFPOOL_FOLLOW,
		.alloc_limit_bytes = BUFPOOL_FOLLOW,
		.percpu_cached = BUFPOOL_FOLLOW32,
		.large_cached = BUFPOOL_FOLLOW32,
		.trim_period_ms = BUFPOOL_FOLLOW32,
		.trim_percent = BUFPOOL_FOLLOW32,
	};

	return cfg;
}

/*
 * The configuration of a test that counts bytes: it depends on nobody's
 * settings, and no timer changes what it counts.
 */
static inline struct bufpool_config fixed_config(uint64_t pool_limit)
{
	struct bufpool_config cfg = {
		.size = sizeof(cfg),
		.max_pooled_bytes = 128 * MiB,
		.large_threshold_bytes = 8 * MiB,
		.max_retained_bytes = pool_limit,
		.pool_limit_bytes = pool_limit,
		.alloc_limit_bytes = pool_limit,
		.percpu_cached = 16,
		.large_cached = 8,
		.trim_period_ms = 0,
		.trim_percent = 50,
	};

	return cfg;
}

static inline int pool_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static inline int pool_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int pool_setup_fd(int fd, const struct bufpool_config *cfg,
				struct bufpool_setup *setup)
{
	memset(setup, 0, sizeof(*setup));
	setup->size = sizeof(*setup);
	setup->config = (uintptr_t)cfg;
	return pool_ioctl(fd, BUFPOOL_IOC_SETUP, setup);
}

/* Open and set up, but do not map. */
static inline int pool_init_unmapped(struct pool *p,
				     const struct bufpool_config *cfg)
{
	int ret;

	memset(p, 0, sizeof(*p));
	p->fd = pool_open();
	if (p->fd < 0)
		return p->fd;
	ret = pool_setup_fd(p->fd, cfg, &p->setup);
	if (ret) {
		close(p->fd);
		p->fd = -1;
		return ret;
	}
	p->length = p->setup.data_offset + p->setup.data_bytes;
	return 0;
}

static inline int pool_map(struct pool *p)
{
	void *base = mmap(NULL, p->length, PROT_READ | PROT_WRITE, MAP_SHARED,
			  p->fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	p->base = base;
	return 0;
}

static inline int pool_init(struct pool *p, const struct bufpool_config *cfg)
{
	int ret = pool_init_unmapped(p, cfg);

	if (ret)
		return ret;
	ret = pool_map(p);
	if (ret) {
		close(p->fd);
		p->fd = -1;
	}
	return ret;
}

static inline void pool_destroy(struct pool *p)
{
	if (p->base)
		munmap(p->base, p->length);
	if (p->fd >= 0)
		close(p->fd);
	p->base = NULL;
	p->fd = -1;
}

/* The offset of a buffer and the bytes it holds; or -errno, and none. */
static inline int64_t pool_alloc(const struct pool *p, uint64_t bytes,
				 uint32_t flags, uint64_t *usable)
{
	struct bufpool_alloc alloc = {
		.size = sizeof(alloc), .flags = flags, .bytes = bytes,
	};
	int ret = pool_ioctl(p->fd, BUFPOOL_IOC_ALLOC, &alloc);

	if (usable)
		*usable = ret ? 0 : alloc.usable_bytes;
	return ret ? ret : (int64_t)alloc.offset;
}

static inline int pool_free(const struct pool *p, uint64_t offset)
{
	struct bufpool_free arg = { .size = sizeof(arg), .offset = offset };

	return pool_ioctl(p->fd, BUFPOOL_IOC_FREE, &arg);
}

/* Bytes given back, or -errno. */
static inline int64_t pool_release(const struct pool *p)
{
	struct bufpool_release arg = { .size = sizeof(arg) };
	int ret = pool_ioctl(p->fd, BUFPOOL_IOC_RELEASE_RETAINED, &arg);

	return ret ? ret : (int64_t)arg.released_bytes;
}

static inline int pool_get_config(const struct pool *p, uint32_t flags,
				  struct bufpool_config *cfg)
{
	memset(cfg, 0, sizeof(*cfg));
	cfg->size = sizeof(*cfg);
	cfg->flags = flags;
	return pool_ioctl(p->fd, BUFPOOL_IOC_GET_CONFIG, cfg);
}

static inline int pool_set_config(const struct pool *p,
				  const struct bufpool_config *cfg)
{
	struct bufpool_config arg = *cfg;

	arg.size = sizeof(arg);
	return pool_ioctl(p->fd, BUFPOOL_IOC_SET_CONFIG, &arg);
}

static inline struct bufpool_stats pool_stats(const struct pool *p)
{
	struct bufpool_stats st = { .size = sizeof(st) };
	int ret = pool_ioctl(p->fd, BUFPOOL_IOC_STATS, &st);

	if (ret)
		die("STATS: %s", strerror(-ret));
	return st;
}

static inline uint64_t pool_attached(const struct pool *p)
{
	return pool_stats(p).attached_bytes;
}

static inline uint64_t pool_retained(const struct pool *p)
{
	return pool_stats(p).retained_bytes;
}

static inline struct bufpool_control *pool_control(const struct pool *p)
{
	return (void *)p->base;
}

/* The stacks of a CPU; CPU nr_cpus is the depot. */
static inline struct bufpool_stacks *pool_stacks(const struct pool *p,
						 unsigned int cpu)
{
	return (struct bufpool_stacks *)(p->base + pool_control(p)->cpu_offset) +
		cpu;
}

static inline struct bufpool_stacks *pool_depot(const struct pool *p)
{
	return pool_stacks(p, pool_control(p)->nr_cpus);
}

static inline uint32_t pool_page(const struct pool *p, uint64_t offset)
{
	return (offset - p->setup.data_offset) >> pool_control(p)->page_shift;
}

static inline struct bufpool_slot *pool_slot(const struct pool *p,
					     uint64_t offset)
{
	return (struct bufpool_slot *)(p->base + pool_control(p)->slot_offset) +
		pool_page(p, offset);
}

static inline size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static inline uint32_t class_of(uint64_t bytes)
{
	return bufpool_class((bytes + page_size() - 1) / page_size());
}

/*
 * The counters that STATS, fdinfo and sysfs have in common, and whether they
 * only ever grow.
 */
#define POOL_COUNTERS(row)			\
	row(attached_bytes, false)		\
	row(retained_bytes, false)		\
	row(control_bytes, false)		\
	row(allocs, true)			\
	row(frees, true)			\
	row(reused, true)			\
	row(grown, true)			\
	row(attached_total_bytes, true)		\
	row(huge_attached, true)		\
	row(released_bytes, true)		\
	row(freed_bytes, true)			\
	row(trimmed_bytes, true)		\
	row(shrunk_bytes, true)			\
	row(reclaimed_bytes, true)		\
	row(limit_hits, true)			\
	row(corruptions, true)			\
	row(reserve_hits, true)			\
	row(reserve_misses, true)

/* --- sysfs --- */

/* The file's text without its newline; 0 or -errno. */
static inline int sysfs_read(const char *name, char *text, size_t size)
{
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s%s", SYSFS, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0) {
		n = -errno;
		close(fd);
		return n;
	}
	close(fd);
	if (n && text[n - 1] == '\n')
		n--;
	memset(text + n, 0, size - n);
	return 0;
}

static inline uint64_t sysfs_value(const char *name)
{
	char text[64], *end;
	uint64_t value;
	int ret = sysfs_read(name, text, sizeof(text));

	if (ret)
		die("%s: %s", name, strerror(-ret));
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text)
		die("%s reads \"%s\", not a number", name, text);
	return value;
}

static inline int sysfs_write(const char *name, const char *text)
{
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s%s", SYSFS, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : n;
	close(fd);
	if (n < 0)
		return n;
	return n == (ssize_t)strlen(text) ? 0 : -EIO;
}

static inline int sysfs_set(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
	return sysfs_write(name, text);
}

/* Settings that a preset has, in the order of struct bufpool_config. */
static const char * const preset_settings[] = {
	"max_pooled_bytes", "large_threshold_bytes", "max_retained_bytes",
	"percpu_cached", "large_cached", "trim_period_ms", "trim_percent",
};

static const char * const limit_settings[] = {
	"pool_limit_bytes", "alloc_limit_bytes", "total_limit_bytes",
	"reserve_bytes",
};

#define NR_PRESET_SETTINGS	ARRAY_SIZE(preset_settings)
#define NR_LIMIT_SETTINGS	ARRAY_SIZE(limit_settings)

/* All of the device's settings, to be put back after a test. */
struct settings {
	char preset[32];
	uint64_t preset_value[NR_PRESET_SETTINGS];
	uint64_t limit[NR_LIMIT_SETTINGS];
};

static inline void settings_save(struct settings *s)
{
	size_t i;
	int ret;

	memset(s, 0, sizeof(*s));
	ret = sysfs_read("preset", s->preset, sizeof(s->preset));
	if (ret)
		die("preset: %s", strerror(-ret));
	for (i = 0; i < NR_PRESET_SETTINGS; i++)
		s->preset_value[i] = sysfs_value(preset_settings[i]);
	for (i = 0; i < NR_LIMIT_SETTINGS; i++)
		s->limit[i] = sysfs_value(limit_settings[i]);
}

/* 0, or -errno of the first setting that could not be put back. */
static inline int settings_restore(const struct settings *s)
{
	size_t i;
	int ret = 0, err;

	if (strcmp(s->preset, "custom")) {
		ret = sysfs_write("preset", s->preset);
	} else {
		for (i = 0; i < NR_PRESET_SETTINGS; i++) {
			err = sysfs_set(preset_settings[i], s->preset_value[i]);
			ret = ret ? ret : err;
		}
	}
	for (i = 0; i < NR_LIMIT_SETTINGS; i++) {
		err = sysfs_set(limit_settings[i], s->limit[i]);
		ret = ret ? ret : err;
	}
	return ret;
}

/* What all pools of the device hold; nobody else uses it during the tests. */
static inline uint64_t device_attached(void)
{
	return sysfs_value("attached_bytes");
}

/* Whether the library's pools are the device's: as the environment says, or can be. */
static inline bool on_device(void)
{
	const char *forced = getenv("BUFPOOL_BACKEND");

	return forced ? !strcmp(forced, "device") :
			!access(DEVICE, R_OK | W_OK);
}

/* A line of text into any file, as echo does it; 0 or -errno. */
static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* The start of a file as a string; its length or -errno. */
static inline ssize_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (have < size - 1) {
		n = read(fd, text + have, size - 1 - have);
		if (n < 0) {
			n = -errno;
			close(fd);
			return n;
		}
		if (!n)
			break;
		have += n;
	}
	close(fd);
	text[have] = '\0';
	return have;
}

/* Ask every shrinker for all that it has. */
static inline int drop_slab(void)
{
	return write_file("/proc/sys/vm/drop_caches", "2");
}

/* Call every shrinker for all it has. */
static inline void shrink(void)
{
	if (write_file("/proc/sys/vm/drop_caches", "2"))
		die("drop_caches: %s", strerror(errno));
}

/* --- control groups --- */

#define CGROUP	"/sys/fs/cgroup/"

static inline void cgroup_make(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUP "%s", name);
	write_file(CGROUP "cgroup.subtree_control", "+memory");
	if (mkdir(path, 0755))
		die("%s: %s", path, strerror(errno));
}

static inline int cgroup_write(const char *name, const char *file,
			       const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUP "%s/%s", name, file);
	return write_file(path, text);
}

/* The number that a file of a group starts with. */
static inline uint64_t cgroup_value(const char *name, const char *file)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), CGROUP "%s/%s", name, file);
	if (read_file(path, text, sizeof(text)) < 0)
		die("%s", path);
	return strtoull(text, NULL, 10);
}

/* Charges are batched by CPU: what memory.current shows may lag by this much. */
#define CGROUP_SLACK	(4 * MiB)

/* A group that is offline but not empty of charges may still be removed. */
static inline void cgroup_remove(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUP "%s", name);
	while (rmdir(path))
		if (errno != EBUSY)
			die("%s: %s", path, strerror(errno));
}

/* --- contents --- */

/* Every 512 bytes a word that depends on the place and on @stamp. */
#define STAMP_STEP	512

static inline void stamp_range(unsigned char *buf, uint64_t bytes, uint64_t stamp)
{
	uint64_t i;

	for (i = 0; i + sizeof(uint64_t) <= bytes; i += STAMP_STEP)
		*(volatile uint64_t *)(buf + i) = stamp ^ (i << 20);
}

/* True if [@buf, @buf + @bytes) holds what stamp_range() wrote there. */
static inline bool stamped(const unsigned char *buf, uint64_t bytes,
			   uint64_t stamp)
{
	uint64_t i;

	for (i = 0; i + sizeof(uint64_t) <= bytes; i += STAMP_STEP)
		if (*(volatile const uint64_t *)(buf + i) != (stamp ^ (i << 20)))
			return false;
	return true;
}

/* True if every byte is zero; both ends are multiples of eight. */
static inline bool all_zero(const unsigned char *buf, uint64_t bytes)
{
	uint64_t i;

	for (i = 0; i < bytes; i += sizeof(uint64_t))
		if (*(volatile const uint64_t *)(buf + i))
			return false;
	return true;
}

/* A small generator with a state of the caller's own: same seed, same run. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Bytes of the whole process's @field in smaps. */
static inline uint64_t smaps_sum(const char *field)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long long kib;
	uint64_t sum = 0;
	char line[512];
	size_t len = strlen(field);

	if (!f)
		die("smaps: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':' &&
		    sscanf(line + len + 1, "%llu", &kib) == 1)
			sum += kib * KiB;
	fclose(f);
	return sum;
}

/* --- faults --- */

static __thread sigjmp_buf fault_return;
static __thread volatile sig_atomic_t fault_expected;

static inline void fault_handler(int sig)
{
	if (!fault_expected) {
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	siglongjmp(fault_return, sig);
}

static inline int touch(volatile unsigned char *at, bool write)
{
	struct sigaction sa = { .sa_handler = fault_handler };
	struct sigaction old_bus, old_segv;
	int sig;

	sigaction(SIGBUS, &sa, &old_bus);
	sigaction(SIGSEGV, &sa, &old_segv);
	sig = sigsetjmp(fault_return, 1);
	if (!sig) {
		fault_expected = 1;
		if (write)
			*at = 1;
		else
			(void)*at;
	}
	fault_expected = 0;
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return sig;
}

/* The signal that reading a byte raises, or 0. */
static inline int read_signal(const unsigned char *at)
{
	return touch((volatile unsigned char *)at, false);
}

/* The signal that writing a byte raises, or 0. */
static inline int write_signal(unsigned char *at)
{
	return touch(at, true);
}

/* --- processes --- */

/* The exit status of a child, 128 + signal if a signal ended it. */
static inline int child_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid) {
		if (errno != EINTR)
			die("waitpid: %s", strerror(errno));
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

/* False once the child has ended, for whatever reason; it can be waited for. */
static inline bool child_runs(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid;
}

/* Run the statements in a child and set the variable to its child_status(). */
#define in_child(result, ...) do {					\
	pid_t __pid = fork();						\
									\
	if (__pid < 0)							\
		die("fork: %s", strerror(errno));			\
	if (!__pid) {							\
		__VA_ARGS__;						\
		_exit(0);						\
	}								\
	(result) = child_status(__pid);					\
} while (0)

/* In a child: leave with the source line, which the parent then reports. */
#define check(condition) do {						\
	if (!(condition))						\
		die("not so: %s (errno %d)", #condition, errno);	\
} while (0)

/* One process lets another pass. */
struct gate {
	int fd[2];
};

static inline void gate_init(struct gate *g)
{
	if (pipe(g->fd))
		die("pipe: %s", strerror(errno));
}

static inline void gate_pass(struct gate *g)
{
	if (write(g->fd[1], "", 1) != 1)
		die("gate: %s", strerror(errno));
}

/* False if nobody is left to let us pass. */
static inline bool gate_wait(struct gate *g)
{
	char c;
	ssize_t n;

	do {
		n = read(g->fd[0], &c, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Stay on one CPU; 0 or -errno. */
static inline int pin_to_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* And go anywhere again. */
static inline int unpin(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

#endif /* SELFTESTS_POOL_H */
