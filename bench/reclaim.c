// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory comes back: what that costs the kernel, the one who waits for it, and
 * the program it is taken from.  Beside each figure those of the other ways to do
 * the same.
 *
 *	return		idle buffers are given back: time, per byte
 *	pressure	another program touches memory where a control group is at
 *			its limit: time, per byte, and how much was taken away
 *	refill		buffers are allocated, touched and freed: time, per buffer
 *
 * Everything runs in a process and a state of its own, inside one control group
 * whose memory.current says what was given back.  Meant for one CPU and a clock
 * that counts instructions: see bench/run.
 */
#include "bench.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bufpool.h>

#define GROUP	"/sys/fs/cgroup/bufpool-bench"

/* Clean page cache without a file system: the guest's scratch disk. */
#define DISK	"/dev/vda"

static const size_t all_sizes[] = { 4 * KiB, 64 * KiB, 1 * MiB, 8 * MiB };
static const size_t few_sizes[] = { 64 * KiB, 1 * MiB };

static size_t idle_bytes = 48 * MiB;	/* less than the disk has */
static size_t touch_bytes = 24 * MiB;	/* half of it */
static size_t set_bytes = 8 * MiB;	/* the working set of "refill" */

/* --- the control group --- */

static int group_write(const char *name, const char *text)
{
	char path[128];
	int fd, err = 0;

	snprintf(path, sizeof(path), GROUP "/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	return err;
}

static void group_set(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	if (group_write(name, text))
		die("%s = %s: %s", name, text, strerror(errno));
}

static uint64_t group_current(void)
{
	char text[32] = "";
	int fd = open(GROUP "/memory.current", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die("memory.current: %s", strerror(errno));
	close(fd);
	return strtoull(text, NULL, 10);
}

static void group_enter(void)
{
	group_set("cgroup.procs", getpid());
}

/*
 * EAGAIN says only that the kernel did not count as much as was asked for:
 * memory that a shrinker frees is not counted for a control group.  What went,
 * memory.current tells.
 */
static void group_reclaim(uint64_t bytes)
{
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	err = group_write("memory.reclaim", text);
	if (err && err != EAGAIN)
		die("memory.reclaim: %s", strerror(err));
}

/* --- idle memory, in several ways --- */

struct idle {
	size_t size;
	size_t nr;
	unsigned char **buf;
	struct bufpool *pool;
};

static void idle_init(struct idle *idle, size_t size, size_t bytes)
{
	idle->size = size;
	idle->nr = bytes / size;
	idle->buf = calloc(idle->nr, sizeof(*idle->buf));
	if (!idle->buf)
		die("no memory");
	/* Its own page faults belong to nobody's measurement. */
	memset(idle->buf, 0xff, idle->nr * sizeof(*idle->buf));
}

static void pool_init(struct idle *idle)
{
	struct bufpool_config cfg;

	bufpool_config_init(&cfg, BUFPOOL_PRESET_DEFAULT);
	cfg.max_pooled_bytes = 64 * MiB;
	cfg.max_retained_bytes = 256 * MiB;
	cfg.pool_limit_bytes = 256 * MiB;
	cfg.trim_period_ms = 0;
	idle->pool = bufpool_create(&cfg);
	if (!idle->pool)
		die("bufpool_create: %s", strerror(errno));
}

static struct bufpool_stats pool_stats(struct idle *idle)
{
	struct bufpool_stats stats;
	int err = bufpool_get_stats(idle->pool, &stats);

	if (err)
		die("bufpool_get_stats: %s", strerror(-err));
	return stats;
}

static void pool_alloc(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++) {
		idle->buf[i] = bufpool_alloc(idle->pool, idle->size, 0);
		if (!idle->buf[i])
			die("bufpool_alloc: %s", strerror(errno));
		touch(idle->buf[i], idle->size);
	}
}

static void pool_free(struct idle *idle)
{
	size_t i;

	for (i = idle->nr; i--;)
		bufpool_free(idle->pool, idle->buf[i]);
}

static void pool_fill(struct idle *idle)
{
	pool_init(idle);
	pool_alloc(idle);
	pool_free(idle);
	if (pool_stats(idle).retained_bytes != idle->nr * idle->size)
		die("the pool did not retain everything");
}

static void pool_release(struct idle *idle)
{
	if (bufpool_release_retained(idle->pool) < 0)
		die("bufpool_release_retained failed");
}

/*
 * What the shrinker leaves to its worker is waited for, and counted: until then it
 * is attached.  What was not taken stays.
 */
static void pool_reclaim(struct idle *idle)
{
	const uint64_t deadline = now_ns() + 60000000000ULL;
	struct bufpool_stats stats;

	group_reclaim(idle->nr * idle->size);
	for (;;) {
		stats = pool_stats(idle);
		if (stats.attached_bytes + stats.shrunk_bytes <= idle->nr * idle->size)
			break;
		if (now_ns() > deadline)
			die("the module's worker does not come to an end");
		sched_yield();
	}
}

static void mmap_alloc(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++) {
		idle->buf[i] = mmap(NULL, idle->size, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (idle->buf[i] == MAP_FAILED)
			die("mmap: %s", strerror(errno));
		touch(idle->buf[i], idle->size);
	}
}

static void mmap_free(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++)
		if (munmap(idle->buf[i], idle->size))
			die("munmap: %s", strerror(errno));
}

static void advise(struct idle *idle, int advice)
{
	size_t i;

	for (i = 0; i < idle->nr; i++)
		if (madvise(idle->buf[i], idle->size, advice))
			die("madvise: %s", strerror(errno));
}

static void mmap_dontneed(struct idle *idle)
{
	advise(idle, MADV_DONTNEED);
}

/* Memory that may go, as allocators leave it that defer to the kernel. */
static void lazy_fill(struct idle *idle)
{
	mmap_alloc(idle);
	advise(idle, MADV_FREE);
}

static void any_reclaim(struct idle *idle)
{
	group_reclaim(idle->nr * idle->size);
}

/* Keep everything on the heap until told otherwise. */
static void malloc_init(struct idle *idle)
{
	(void)idle;
	if (!mallopt(M_MMAP_THRESHOLD, 32 * MiB) ||
	    !mallopt(M_TRIM_THRESHOLD, 1024 * MiB))
		die("mallopt failed");
}

static void malloc_alloc(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++) {
		idle->buf[i] = malloc(idle->size);
		if (!idle->buf[i])
			die("no memory");
		touch(idle->buf[i], idle->size);
	}
}

static void malloc_free(struct idle *idle)
{
	size_t i;

	for (i = idle->nr; i--;)
		free(idle->buf[i]);
}

static void malloc_fill(struct idle *idle)
{
	malloc_init(idle);
	malloc_alloc(idle);
	malloc_free(idle);
}

static void malloc_give(struct idle *idle)
{
	(void)idle;
	malloc_trim(0);
}

/* Clean page cache.  It goes with the last who has the disk open: stay so. */
static void cache_fill(struct idle *idle)
{
	static unsigned char block[64 * KiB];
	size_t left = idle->nr * idle->size;
	int fd = open(DISK, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(DISK ": %s", strerror(errno));
	for (; left; left -= sizeof(block))
		if (read(fd, block, sizeof(block)) != sizeof(block))
			die(DISK ": too small");
}

/* --- return --- */

/* No function to give it back: the process ends. */
static const struct {
	const char *name;
	void (*fill)(struct idle *idle);
	void (*give)(struct idle *idle);
} returns[] = {
	{ "pool: RELEASE_RETAINED",	pool_fill,	pool_release },
	{ "pool: memory.reclaim",	pool_fill,	pool_reclaim },
	{ "pool: process exit",		pool_fill,	NULL },
	{ "mmap: munmap",		mmap_alloc,	mmap_free },
	{ "mmap: MADV_DONTNEED",	mmap_alloc,	mmap_dontneed },
	{ "mmap: process exit",		mmap_alloc,	NULL },
	{ "malloc: malloc_trim",	malloc_fill,	malloc_give },
	{ "MADV_FREE: memory.reclaim",	lazy_fill,	any_reclaim },
	{ "page cache: memory.reclaim",	cache_fill,	any_reclaim },
};

/* A group that has grown has given nothing back. */
static uint64_t gone(uint64_t before, uint64_t after)
{
	return before > after ? before - after : 0;
}

static void return_row(size_t size, size_t which, uint64_t before, uint64_t ns)
{
	row("return", "idle", size, returns[which].name, "MiB/Minstr",
	    &(struct measured){
		.count = 1,
		.work = gone(before, group_current()),
		.cost = ns,
	    });
}

static void return_one(size_t size, size_t which)
{
	uint64_t before, begin, end;
	struct gate ready, go;
	struct idle idle;
	pid_t pid;

	gate_init(&ready);
	gate_init(&go);
	pid = start();
	if (!pid) {
		group_enter();
		idle_init(&idle, size, idle_bytes);
		returns[which].fill(&idle);
		if (returns[which].give) {
			before = group_current();
			begin = now_ns();
			returns[which].give(&idle);
			end = now_ns();
			return_row(size, which, before, end - begin);
		}
		gate_pass(&ready);
		gate_wait(&go);
		_exit(0);
	}
	gate_wait(&ready);
	before = group_current();
	begin = now_ns();
	gate_pass(&go);
	finish(pid);
	end = now_ns();
	if (!returns[which].give)
		return_row(size, which, before, end - begin);
	gate_close(&ready);
	gate_close(&go);
}

/* --- pressure --- */

static const struct {
	const char *name;
	void (*fill)(struct idle *idle);
	bool limit;
} holders[] = {
	{ "pool",		pool_fill,	true },
	{ "no limit",		pool_fill,	false },
	{ "MADV_FREE",		lazy_fill,	true },
	{ "page cache",		cache_fill,	true },
};

/* The other program: how long all of it took, and the worst single page. */
struct touched {
	uint64_t ns;
	uint64_t worst_ns;
};

static struct touched touch_timed(unsigned char *buf)
{
	struct touched touched = { 0 };
	uint64_t begin = now_ns(), last = begin, now;
	size_t i;

	for (i = 0; i < touch_bytes; i += 4 * KiB) {
		touch(buf + i, 1);
		now = now_ns();
		if (now - last > touched.worst_ns)
			touched.worst_ns = now - last;
		last = now;
	}
	touched.ns = last - begin;
	return touched;
}

static void pressure_one(size_t size, size_t which, int advice, const char *kind)
{
	struct gate ready, go, stay;
	struct touched touched;
	pid_t holder, other;
	uint64_t before, after;
	int result[2];

	gate_init(&ready);
	gate_init(&go);
	gate_init(&stay);
	if (pipe(result))
		die("pipe: %s", strerror(errno));

	holder = start();
	if (!holder) {
		struct idle idle;

		group_enter();
		idle_init(&idle, size, idle_bytes);
		holders[which].fill(&idle);
		gate_pass(&ready);
		gate_wait(&stay);
		_exit(0);
	}
	gate_wait(&ready);

	other = start();
	if (!other) {
		unsigned char *buf;

		group_enter();
		buf = mmap(NULL, touch_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (buf == MAP_FAILED || madvise(buf, touch_bytes, advice))
			die("mmap: %s", strerror(errno));
		gate_pass(&ready);
		gate_wait(&go);
		touched = touch_timed(buf);
		if (write(result[1], &touched, sizeof(touched)) != sizeof(touched))
			die("write: %s", strerror(errno));
		gate_wait(&stay);
		_exit(0);
	}
	close(result[1]);
	gate_wait(&ready);

	before = group_current();
	if (holders[which].limit)
		group_set("memory.max", before);
	gate_pass(&go);
	if (read(result[0], &touched, sizeof(touched)) != sizeof(touched))
		die("the other program did not survive");
	after = group_current();
	if (group_write("memory.max", "max"))
		die("memory.max");
	row("pressure", kind, size, holders[which].name, "kinstr/MiB",
	    &(struct measured){
		.count = 1,
		.work = touch_bytes,
		.cost = touched.ns,
		.extra = gone(before + touch_bytes, after),
		.extra_unit = "MiB lost",
	    });
	row("worst page", kind, size, holders[which].name, "kinstr",
	    &(struct measured){
		.count = 1,
		.work = touch_bytes,
		.cost = touched.worst_ns,
	    });

	gate_pass(&stay);
	gate_pass(&stay);
	finish(other);
	finish(holder);
	gate_close(&ready);
	gate_close(&go);
	gate_close(&stay);
	close(result[0]);
}

/* --- refill --- */

static void nothing(struct idle *idle)
{
	(void)idle;
}

/* Each way once per buffer: allocated, touched, freed, given back. */
static void pool_cycle(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++) {
		unsigned char *buf = bufpool_alloc(idle->pool, idle->size, 0);

		if (!buf)
			die("bufpool_alloc: %s", strerror(errno));
		touch(buf, idle->size);
		bufpool_free(idle->pool, buf);
		pool_release(idle);
	}
}

static void mmap_cycle(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++) {
		unsigned char *buf = mmap(NULL, idle->size,
					  PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (buf == MAP_FAILED)
			die("mmap: %s", strerror(errno));
		touch(buf, idle->size);
		munmap(buf, idle->size);
	}
}

static void malloc_cycle(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++) {
		unsigned char *buf = malloc(idle->size);

		if (!buf)
			die("no memory");
		touch(buf, idle->size);
		free(buf);
		malloc_trim(0);
	}
}

/* The set again, with idle memory kept. */
static void pool_again(struct idle *idle)
{
	pool_alloc(idle);
	pool_free(idle);
}

static void malloc_again(struct idle *idle)
{
	malloc_alloc(idle);
	malloc_free(idle);
}

/* Buffers that stay mapped: the cheapest cache with memory that may go. */
static void lazy_again(struct idle *idle)
{
	size_t i;

	for (i = 0; i < idle->nr; i++)
		touch(idle->buf[i], idle->size);
	advise(idle, MADV_FREE);
}

static void malloc_empty(struct idle *idle)
{
	malloc_fill(idle);
	malloc_give(idle);
}

static void pool_empty(struct idle *idle)
{
	pool_fill(idle);
	pool_release(idle);
}

static void pool_taken(struct idle *idle)
{
	pool_fill(idle);
	pool_reclaim(idle);
	/* Buffers that are there still are no refill. */
	pool_release(idle);
}

static void lazy_taken(struct idle *idle)
{
	lazy_fill(idle);
	any_reclaim(idle);
}

static const struct {
	const char *kind;
	const char *name;
	void (*fill)(struct idle *idle);
	void (*run)(struct idle *idle);
} refills[] = {
	{ "kept",	"pool",			pool_fill,	pool_again },
	{ "kept",	"malloc",		malloc_fill,	malloc_again },
	{ "kept",	"MADV_FREE",		lazy_fill,	lazy_again },
	{ "gone",	"pool: released",	pool_empty,	pool_again },
	{ "gone",	"pool: reclaimed",	pool_taken,	pool_again },
	{ "gone",	"malloc: trimmed",	malloc_empty,	malloc_again },
	{ "gone",	"MADV_FREE: reclaimed",	lazy_taken,	lazy_again },
	{ "each",	"pool: release",	pool_init,	pool_cycle },
	{ "each",	"mmap: munmap",		nothing,	mmap_cycle },
	{ "each",	"malloc: trim",		malloc_init,	malloc_cycle },
};

static void refill_one(size_t size, size_t which)
{
	pid_t pid = start();

	if (!pid) {
		uint64_t begin, end;
		struct idle idle;

		group_enter();
		idle_init(&idle, size, set_bytes);
		refills[which].fill(&idle);
		begin = now_ns();
		refills[which].run(&idle);
		end = now_ns();
		row("refill", refills[which].kind, size, refills[which].name,
		    "kinstr/buffer", &(struct measured){
			.count = idle.nr,
			.work = size,
			.cost = end - begin,
		    });
		_exit(0);
	}
	finish(pid);
}

/* --- all of it, interleaved --- */

static void one_size(size_t size)
{
	size_t which;

	for (which = 0; which < ARRAY_SIZE(returns); which++)
		return_one(size, which);
	for (which = 0; which < ARRAY_SIZE(holders); which++)
		pressure_one(size, which, MADV_NOHUGEPAGE, "4 KiB pages");
	for (which = 0; which < ARRAY_SIZE(holders); which++)
		pressure_one(size, which, MADV_HUGEPAGE, "huge pages");
	for (which = 0; which < ARRAY_SIZE(refills); which++)
		refill_one(size, which);
}

static void begin(void)
{
	if (quick) {
		idle_bytes = 16 * MiB;
		touch_bytes = 8 * MiB;
		set_bytes = 4 * MiB;
	}
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		die(GROUP ": %s", strerror(errno));
}

static void warm_up(void)
{
	one_size(64 * KiB);
}

static void round_of_all(void)
{
	const size_t *sizes = quick ? few_sizes : all_sizes;
	size_t nr = quick ? ARRAY_SIZE(few_sizes) : ARRAY_SIZE(all_sizes);
	size_t i;

	for (i = 0; i < nr; i++)
		one_size(sizes[i]);
}

static const struct bench bench = {
	.name = "reclaim",
	.what = "what giving memory back costs",
	.rounds = 5,
	.begin = begin,
	.warm_up = warm_up,
	.round = round_of_all,
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, &bench);
}
