// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the paths of an allocation cost, beside the alternatives.  Meant for one
 * CPU and a clock that counts instructions: see bench/run.
 *
 *	part		kind		contenders
 *	pairs		"N live"	allocators; instructions of one free and one
 *					alloc, while N buffers live; extra: system
 *					calls, counted in as many pairs once more
 *	cold		"first use"	ways; from asking for a buffer to the last of
 *					its pages written to; extra: page faults
 *	cold		"refill"	"bufpool reserve": what the kernel's thread needs
 *					to fill the reserve which that then takes
 *	cold		"set-up"	"bufpool": what comes before the first buffer
 *	cycle		"steady"	allocators and "mmap"; allocate, write to each
 *					page, free; extra: page faults
 *	threshold	"PRESET",	"at", "over": a pair of exactly the preset's
 *			"PRESET		large threshold, and of one byte more;
 *			touched"	"touched": each page is written to
 *	unlike sizes	"PRESET"	"at", "over": pairs of four sizes in turn, a page
 *					apart, up to the threshold and above it,
 *					while four such buffers are idle
 *	short-lived	"process"	ways, and allocators; a process is started that
 *					allocates 64 MiB, writes to each page and ends
 *	thumbnail	"first",	allocators; thumbnails made of photographs, once
 *			"again"		and once more by the same process
 *	footprint	"at once",	allocators; what the control group of that
 *			"idle"		process holds right after that, and after two
 *					trim periods in which it slept
 *
 * Allocators are those of contend.h.  Ways are
 *
 *	"bufpool reserve"	with the memory ready in the module's reserve
 *	"bufpool"		with the reserve empty
 *	"mmap", "mmap populate"	as the system is set up: huge pages "always"
 *	"mmap 4 KiB", "mmap 4 KiB populate"	with MADV_NOHUGEPAGE
 *	"THP", "THP populate"	with MADV_HUGEPAGE
 *	"memfd", "memfd THP"	without and with MADV_HUGEPAGE, allowed for the latter
 *	"hugetlbfs"		a memfd of huge pages, set aside before
 *	"dma-heap"		the system heap
 *	"udmabuf"		over a memfd
 *
 * "populate" is MADV_POPULATE_WRITE.  Everything is measured in a process of its
 * own, "cold" and "short-lived" while nobody else may run: the thread that fills
 * the reserve again does so later.
 *
 * checkpatch: VOLATILE: memory is touched for the sake of it
 */
#include "contend.h"
#include "guest.h"

#include <glob.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HUGE	(2 * MiB)

#define HUGETLB	"/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define HEAP	"/dev/dma_heap/system"
#define UDMABUF	"/dev/udmabuf"
#define SHMEM	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* --- the memory is there --- */

/* The same lean loop for all: four instructions for each page. */
static void write_pages(char *buf, size_t size)
{
	char *end = buf + size;

	for (; buf < end; buf += 4 * KiB)
		*(char * volatile *)buf = buf;
}

/* Bytes in pages that are there, each of them another one. */
static uint64_t written_bytes(char *buf, size_t size)
{
	uint64_t pages = 0;
	char *end = buf + size;

	for (; buf < end; buf += 4 * KiB)
		pages += *(char * volatile *)buf == buf;
	return pages * 4 * KiB;
}

/* --- ways to get memory --- */

static void config_init(struct bufpool_config *cfg)
{
	bufpool_config_init(cfg, BUFPOOL_PRESET_AGGRESSIVE);
	cfg->pool_limit_bytes = 1 * GiB;
	cfg->max_retained_bytes = 1 * GiB;
	cfg->trim_period_ms = 0;
}

static void pool_begin(void)
{
	struct bufpool_config cfg;

	config_init(&cfg);
	pool_open(&cfg, "device");
}

static char *pool_get(size_t size)
{
	return bufpool_alloc(pool, size, 0);
}

static char *map_fd(int fd, size_t size)
{
	char *buf = MAP_FAILED;

	if (fd >= 0)
		buf = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return buf == MAP_FAILED ? NULL : buf;
}

static char *map_advised(size_t size, int advice, bool populate)
{
	char *buf = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		return NULL;
	/* Where it is not aligned to huge pages, less of it would be huge. */
	buf = (char *)(((uintptr_t)buf + HUGE - 1) & -HUGE);
	if (advice && madvise(buf, size, advice))
		return NULL;
	if (populate && madvise(buf, size, MADV_POPULATE_WRITE))
		return NULL;
	return buf;
}

static char *mmap_get(size_t size)
{
	char *buf = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return buf == MAP_FAILED ? NULL : buf;
}

static char *mmap_populate_get(size_t size)
{
	char *buf = mmap_get(size);

	return buf && madvise(buf, size, MADV_POPULATE_WRITE) ? NULL : buf;
}

static char *small_get(size_t size)
{
	return map_advised(size, MADV_NOHUGEPAGE, false);
}

static char *small_populate_get(size_t size)
{
	return map_advised(size, MADV_NOHUGEPAGE, true);
}

static char *thp_get(size_t size)
{
	return map_advised(size, MADV_HUGEPAGE, false);
}

static char *thp_populate_get(size_t size)
{
	return map_advised(size, MADV_HUGEPAGE, true);
}

static int memfd(size_t size, unsigned int flags)
{
	int fd = memfd_create("bench", MFD_CLOEXEC | flags);

	return fd >= 0 && ftruncate(fd, size) ? -1 : fd;
}

static char *memfd_get(size_t size)
{
	return map_fd(memfd(size, 0), size);
}

static char *memfd_thp_get(size_t size)
{
	char *buf = map_fd(memfd(size, 0), size);

	return buf && madvise(buf, size, MADV_HUGEPAGE) ? NULL : buf;
}

static void memfd_thp_prepare(size_t size)
{
	file_write(SHMEM, size ? "advise" : "never");
}

static void hugetlb_prepare(size_t size)
{
	file_set(HUGETLB "nr_hugepages", size / HUGE);
	if (file_get(HUGETLB "free_hugepages") != size / HUGE)
		die("not enough huge pages for hugetlbfs");
}

static char *hugetlb_get(size_t size)
{
	return map_fd(memfd(size, MFD_HUGETLB), size);
}

static int device;

static void heap_begin(void)
{
	device = open(HEAP, O_RDWR | O_CLOEXEC);
	if (device < 0)
		die(HEAP ": %s", strerror(errno));
}

static char *heap_get(size_t size)
{
	struct dma_heap_allocation_data alloc = {
		.len = size, .fd_flags = O_RDWR | O_CLOEXEC,
	};

	return ioctl(device, DMA_HEAP_IOCTL_ALLOC, &alloc) ? NULL :
		map_fd(alloc.fd, size);
}

static void udmabuf_begin(void)
{
	device = open(UDMABUF, O_RDWR | O_CLOEXEC);
	if (device < 0)
		die(UDMABUF ": %s", strerror(errno));
}

static char *udmabuf_get(size_t size)
{
	struct udmabuf_create create = {
		.flags = UDMABUF_FLAGS_CLOEXEC, .size = size,
	};
	int fd = memfd(size, MFD_ALLOW_SEALING);

	if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		return NULL;
	create.memfd = fd;
	return map_fd(ioctl(device, UDMABUF_CREATE, &create), size);
}

static char *malloc_get(size_t size)
{
	return malloc(size);
}

static void reserve_prepare(size_t size);

/**
 * struct way - to get memory
 * @name: of the contender
 * @prepare: make the system ready for so many bytes; 0: undo it; may be NULL
 * @begin: what a process does once; may be NULL
 * @get: so many bytes; NULL and errno
 * @needs: a file that is only there if this way is; may be NULL
 * @missing: it is not
 */
static struct way {
	const char *name;
	void (*prepare)(size_t size);
	void (*begin)(void);
	char *(*get)(size_t size);
	const char *needs;
	bool missing;
} ways[] = {
	/* The first of all: the others are compared with it. */
	{ .name = "bufpool reserve", .get = pool_get,
	  .prepare = reserve_prepare, .begin = pool_begin,
	  .needs = DEVICE "reserve_bytes" },
	{ .name = "bufpool", .get = pool_get,
	  .begin = pool_begin },
	{ .name = "mmap", .get = mmap_get },
	{ .name = "mmap populate", .get = mmap_populate_get },
	{ .name = "mmap 4 KiB", .get = small_get },
	{ .name = "mmap 4 KiB populate", .get = small_populate_get },
	{ .name = "THP", .get = thp_get },
	{ .name = "THP populate", .get = thp_populate_get },
	{ .name = "memfd", .get = memfd_get },
	{ .name = "memfd THP", .get = memfd_thp_get,
	  .prepare = memfd_thp_prepare,
	  .needs = SHMEM },
	{ .name = "hugetlbfs", .get = hugetlb_get,
	  .prepare = hugetlb_prepare,
	  .needs = HUGETLB "nr_hugepages" },
	{ .name = "dma-heap", .get = heap_get,
	  .begin = heap_begin,
	  .needs = HEAP },
	{ .name = "udmabuf", .get = udmabuf_get,
	  .begin = udmabuf_begin,
	  .needs = UDMABUF },
};

static void prepare(const struct way *way, size_t size)
{
	if (way->prepare)
		way->prepare(size);
}

/* --- the reserve --- */

#define RESERVE_THREAD	"bufpool_reserve"

/* Where /proc says what the thread that fills the reserve has run for. */
static bool reserve_thread(char *path, size_t size)
{
	bool there = false;
	glob_t found;
	size_t i;

	if (glob("/proc/[0-9]*/comm", 0, NULL, &found))
		die("/proc: %s", strerror(errno));
	for (i = 0; i < found.gl_pathc && !there; i++) {
		const char *comm = found.gl_pathv[i];
		char text[64];

		/* One that was there a moment ago may have ended. */
		if (!file_try(comm, text, sizeof(text)))
			continue;
		there = !strcmp(text, RESERVE_THREAD "\n");
		snprintf(path, size, "%.*s/schedstat",
			 (int)(strlen(comm) - strlen("/comm")), comm);
	}
	globfree(&found);
	return there;
}

/* In all of its life, which begins with the reserve; by the scheduler's account. */
static uint64_t reserve_thread_ns(void)
{
	char path[64];

	if (!reserve_thread(path, sizeof(path)))
		die("nobody fills the reserve");
	return file_get(path);
}

static void reserve_prepare(size_t size)
{
	unsigned int tries;
	char path[64];

	file_set(DEVICE "reserve_bytes", size);
	for (tries = 0; tries < 1000; tries++) {
		if (file_get(DEVICE "reserve_held_bytes") == size &&
		    reserve_thread(path, sizeof(path)) == !!size)
			return;
		sleep_ms(10);
	}
	die("the reserve does not hold what it is told to");
}

static void refill_one(const struct way *way, size_t size)
{
	struct measured m = { .count = 1, .work = size };

	prepare(way, size);
	m.cost = reserve_thread_ns();
	prepare(way, 0);
	row("cold", "refill", size, way->name, "kinstr", &m);
}

/* --- cold --- */

static const size_t cold_sizes[] = { 64 * MiB, 2 * MiB, 8 * MiB };

/*
 * Nobody else runs until the processes that @on is called in, and their children,
 * are done: neither does the thread that replaces what they take from the reserve.
 * That has a figure of its own.
 */
static void realtime(bool on)
{
	struct sched_param param = { .sched_priority = on };

	if (sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &param))
		die("sched_setscheduler: %s", strerror(errno));
}

static void cold_one(const struct way *way, size_t size)
{
	pid_t pid;

	prepare(way, size);
	pid = start();
	if (!pid) {
		struct ran begin, ran;
		struct measured m = { .count = 1, .extra_unit = "faults" };
		uint64_t reserve_ns = 0;
		char *buf;

		if (way->begin)
			way->begin();
		if (way->prepare == reserve_prepare)
			reserve_ns = reserve_thread_ns();
		realtime(true);
		begin = ran_begin();
		buf = way->get(size);
		if (!buf)
			die("%s: no buffer of %zu bytes: %s", way->name, size,
			    strerror(errno));
		write_pages(buf, size);
		ran = ran_end(&begin);
		begin = ran_begin();
		m.work = written_bytes(buf, size);
		if (ran_end(&begin).faults)
			die("%s: not all of the memory was there", way->name);
		if (reserve_ns && reserve_thread_ns() != reserve_ns)
			die("the reserve was refilled meanwhile");
		if (reserve_ns && file_get(DEVICE "reserve_held_bytes"))
			die("the reserve was not used");
		m.cost = ran.ns;
		m.extra = ran.faults;
		row("cold", "first use", size, way->name, "kinstr", &m);
		rows_close();
		_exit(0);
	}
	finish(pid);
	prepare(way, 0);
}

static void setup_one(void)
{
	pid_t pid = start();

	if (!pid) {
		/* No bytes that anybody asked for. */
		struct measured m = { .count = 1, .work = 1 };
		uint64_t begin = now_ns();

		pool_begin();
		m.cost = now_ns() - begin;
		row("cold", "set-up", 0, "bufpool", "kinstr", &m);
		rows_close();
		_exit(0);
	}
	finish(pid);
}

static void cold_round(void)
{
	size_t i, size;

	for (size = 0; size < (quick ? 2 : ARRAY_SIZE(cold_sizes)); size++)
		for (i = 0; i < ARRAY_SIZE(ways); i++)
			if (!ways[i].missing)
				cold_one(&ways[i], cold_sizes[size]);
	setup_one();
	if (!ways[0].missing)
		for (size = 0; size < (quick ? 1 : ARRAY_SIZE(cold_sizes)); size++)
			refill_one(&ways[0], cold_sizes[size]);
}

/* --- pairs --- */

static const size_t pair_sizes[] = { 4 * KiB, 64 * KiB, 1 * MiB, 8 * MiB, 64 * MiB };
static const size_t live_sets[] = { 1, 10, 1000, 10000 };

/* What may live at a time; the guest has 2 GiB. */
#define MAX_LIVE_BYTES	(640 * MiB)

#define CALLS	"calls per 1000 pairs"

/* Rounded up: none are none. */
static uint64_t per_thousand(uint64_t calls, uint64_t pairs)
{
	return (calls * 1000 + pairs - 1) / pairs;
}

/* As many pairs as told: one of the live buffers goes, another comes. */
static void run_pairs(void **live, size_t n, size_t size, size_t pairs)
{
	size_t k = 0;

	for (; pairs; pairs--) {
		buf_free(live[k]);
		live[k] = buf_alloc(size);
		if (++k == n)
			k = 0;
	}
}

static void pairs_child(size_t size, size_t n)
{
	struct measured m = { .work = size, .extra_unit = CALLS };
	void **live = calloc(n, sizeof(*live));
	uint64_t begin;
	char kind[32];
	size_t i;
	int calls;

	if (!live)
		die("no memory");
	for (i = 0; i < n; i++)
		live[i] = buf_alloc(size);
	/* Who maps and unmaps takes long. */
	begin = now_ns();
	run_pairs(live, n, size, 100);
	m.count = 100;
	while (m.count < 10000 && (now_ns() - begin) * m.count < 1000000000)
		m.count *= 10;
	run_pairs(live, n, size, m.count);
	begin = now_ns();
	run_pairs(live, n, size, m.count);
	m.cost = now_ns() - begin;
	calls = calls_begin();
	run_pairs(live, n, size, m.count);
	m.extra = per_thousand(calls_end(calls), m.count);
	snprintf(kind, sizeof(kind), "%zu live", n);
	row("pairs", kind, size, me, "instr", &m);
}

/* --- cycle --- */

static const size_t cycle_sizes[] = { 64 * MiB, 1 * MiB, 8 * MiB };

static void cycle_child(size_t size)
{
	struct measured m = { .extra_unit = "faults" };
	struct ran begin, ran;
	unsigned int i;
	char *buf;

	m.count = quick ? 2 : 10;
	for (i = 0; i < 3; i++) {
		buf = buf_alloc(size);
		write_pages(buf, size);
		buf_free(buf);
	}
	begin = ran_begin();
	for (i = 0; i < m.count; i++) {
		buf = buf_alloc(size);
		write_pages(buf, size);
		buf_free(buf);
	}
	ran = ran_end(&begin);
	m.cost = ran.ns;
	m.extra = ran.faults;
	buf = buf_alloc(size);
	write_pages(buf, size);
	m.work = written_bytes(buf, size);
	row("cycle", "steady", size, me, "kinstr", &m);
}

/* The same without an allocator: mapped for each use. */
static void cycle_mmap(size_t size)
{
	pid_t pid = start();

	if (!pid) {
		struct measured m = { .extra_unit = "faults" };
		struct ran begin, ran;
		unsigned int i;
		char *buf = NULL;

		m.count = quick ? 2 : 10;
		begin = ran_begin();
		for (i = 0; i < m.count; i++) {
			buf = mmap_get(size);
			if (!buf)
				die("mmap: %s", strerror(errno));
			write_pages(buf, size);
			if (munmap(buf, size))
				die("munmap: %s", strerror(errno));
		}
		ran = ran_end(&begin);
		m.cost = ran.ns;
		m.extra = ran.faults;
		buf = mmap_get(size);
		write_pages(buf, size);
		m.work = written_bytes(buf, size);
		row("cycle", "steady", size, "mmap", "kinstr", &m);
		rows_close();
		_exit(0);
	}
	finish(pid);
}

/* --- threshold --- */

static const struct {
	const char *name;
	enum bufpool_preset preset;
} presets[] = {
	{ "default",	BUFPOOL_PRESET_DEFAULT },
	{ "moderate",	BUFPOOL_PRESET_MODERATE },
	{ "aggressive",	BUFPOOL_PRESET_AGGRESSIVE },
};

/* Sizes in turn. */
#define UNLIKE	4

/*
 * Pairs of the preset's threshold, or @over more bytes.  With @sizes, in turn of
 * so many, a page apart, to either side.  As much is touched of all of them: what
 * the smallest has.
 */
static void threshold_one(size_t which, size_t over, bool touching, size_t sizes)
{
	pid_t pid = start();

	if (!pid) {
		struct measured m = { .extra_unit = CALLS };
		size_t size[UNLIKE], i, k, threshold, touched;
		struct bufpool_config cfg;
		void *warm[UNLIKE];
		uint64_t begin;
		char kind[32];
		int calls;

		me = "bufpool";
		if (bufpool_config_init(&cfg, presets[which].preset))
			die("no such preset");
		cfg.trim_period_ms = 0;
		pool_open(&cfg, "device");
		threshold = cfg.large_threshold_bytes;
		for (k = 0; k < sizes; k++)
			size[k] = over ? threshold + over + k * 4 * KiB :
					 threshold - k * 4 * KiB;
		touched = threshold - (sizes - 1) * 4 * KiB;
		m.count = touching ? 10 * sizes : 4000;
		m.work = threshold;
		/* All of them at a time: so many are idle from then on. */
		for (k = 0; k < sizes; k++)
			warm[k] = buf_alloc(size[k]);
		for (k = 0; k < sizes; k++)
			buf_free(warm[k]);
		begin = now_ns();
		for (i = 0; i < m.count; i += sizes) {
			for (k = 0; k < sizes; k++) {
				char *buf = buf_alloc(size[k]);

				if (touching)
					write_pages(buf, touched);
				buf_free(buf);
			}
		}
		m.cost = now_ns() - begin;
		calls = calls_begin();
		for (i = 0; i < m.count; i++)
			buf_free(buf_alloc(size[i % sizes]));
		m.extra = per_thousand(calls_end(calls), m.count);
		if (touching)
			m.work = written_bytes(buf_alloc(size[0]), size[0]);
		snprintf(kind, sizeof(kind), "%s%s", presets[which].name,
			 touching ? " touched" : "");
		row(sizes > 1 ? "unlike sizes" : "threshold", kind, threshold,
		    over ? "over" : "at", "instr", &m);
		rows_close();
		_exit(0);
	}
	finish(pid);
}

static void threshold_round(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(presets); i++) {
		threshold_one(i, 0, false, 1);
		threshold_one(i, 1, false, 1);
		threshold_one(i, 0, true, 1);
		threshold_one(i, 1, true, 1);
	}
	for (i = 0; i < ARRAY_SIZE(presets); i++) {
		threshold_one(i, 0, false, UNLIKE);
		threshold_one(i, 1, false, UNLIKE);
	}
}

/* --- short-lived --- */

#define SHORT		"--short"
#define SHORT_BYTES	(64 * MiB)

static struct contender *allocator(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(allocators); i++)
		if (!strcmp(allocators[i].name, name))
			return &allocators[i];
	die("%s: no such contender", name);
}

/* All that such a process does. */
static int short_main(const char *name)
{
	struct way way = { .get = malloc_get };
	char *buf;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i].name, name))
			way = ways[i];
	if (way.begin)
		way.begin();
	buf = way.get(SHORT_BYTES);
	if (!buf)
		die("%s: no buffer: %s", name, strerror(errno));
	write_pages(buf, SHORT_BYTES);
	return 0;
}

static void short_one(const struct contender *c, const struct way *way)
{
	struct measured m = { .count = 1, .work = SHORT_BYTES };
	const char *name = way ? way->name : c->name;
	uint64_t begin;
	pid_t pid;

	if (way)
		prepare(way, SHORT_BYTES);
	realtime(true);
	begin = now_ns();
	pid = start();
	if (!pid) {
		contend_preload(c);
		execl("/proc/self/exe", "paths", SHORT, name, NULL);
		die("/proc/self/exe: %s", strerror(errno));
	}
	finish(pid);
	m.cost = now_ns() - begin;
	realtime(false);
	row("short-lived", "process", SHORT_BYTES, name, "kinstr", &m);
	if (way)
		prepare(way, 0);
}

static void short_round(void)
{
	static const char * const some[] = {
		"bufpool reserve", "bufpool", "mmap", "mmap 4 KiB", "THP",
		"hugetlbfs",
	};
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(some); i++)
		for (k = 0; k < ARRAY_SIZE(ways); k++)
			if (!strcmp(ways[k].name, some[i]) && !ways[k].missing)
				short_one(allocator("glibc"), &ways[k]);
	for (i = 0; i < ARRAY_SIZE(allocators); i++)
		if (strcmp(allocators[i].name, "bufpool") &&
		    !allocators[i].missing)
			short_one(&allocators[i], NULL);
}

/* --- thumbnail --- */

#define GROUP		"/sys/fs/cgroup/bufpool-paths"
#define TRIM_PERIOD_MS	1000

static struct {
	char **path;
	size_t nr;
	uint64_t bytes;
} photos;

static off_t file_size(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		die("%s: %s", path, strerror(errno));
	return st.st_size;
}

static int compare_sizes(const void *a, const void *b)
{
	off_t left = file_size(*(char * const *)a);
	off_t right = file_size(*(char * const *)b);

	return (left > right) - (left < right);
}

/* The smallest ones: an emulated processor is slow. */
static void find_photos(void)
{
	static glob_t found;
	size_t i, want = quick ? 1 : 6;

	if (access("thumbnail", X_OK) || glob("photos/*.jpg", 0, NULL, &found))
		return;
	qsort(found.gl_pathv, found.gl_pathc, sizeof(*found.gl_pathv),
	      compare_sizes);
	photos.path = found.gl_pathv;
	photos.nr = found.gl_pathc < want ? found.gl_pathc : want;
	for (i = 0; i < photos.nr; i++)
		photos.bytes += file_size(photos.path[i]);
}

static void run_thumbnail(const struct contender *c, int in, int out)
{
	char *argv[32] = {
		"thumbnail", "--report", "line", "--wait", "--allocator",
		strcmp(c->name, "bufpool") ? "malloc" : "bufpool",
	};

	file_set(GROUP "/cgroup.procs", getpid());
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0)
		die("dup2: %s", strerror(errno));
	memcpy(argv + 6, photos.path, photos.nr * sizeof(*argv));
	if (setenv("BUFPOOL_BACKEND", "device", 1))
		die("setenv: %s", strerror(errno));
	contend_preload(c);
	execv("./thumbnail", argv);
	die("thumbnail: %s", strerror(errno));
}

/* Wait for its report: how long the thumbnails took, and not the report itself. */
static uint64_t await_report(FILE *from)
{
	unsigned int made, failed;
	double seconds;

	if (fscanf(from, "%*s %*s %u %u %lf %*[^\n]", &made, &failed,
		   &seconds) != 3 || fgetc(from) != '\n')
		die("thumbnail does not report");
	if (failed || made != photos.nr)
		die("thumbnail has failed to make some");
	return seconds * 1e9;
}

static void footprint_row(const char *kind, const char *name)
{
	row("footprint", kind, 0, name, "MiB", &(struct measured) {
		.count = 1,
		.work = photos.bytes,
		.cost = file_get(GROUP "/memory.current"),
	});
}

static void thumbnail_one(const struct contender *c)
{
	struct measured m = {
		.count = photos.nr, .work = photos.bytes / photos.nr,
	};
	uint64_t period = file_get(DEVICE "trim_period_ms");
	struct gate in, out;
	FILE *reports;
	pid_t pid;

	if (mkdir(GROUP, 0755))
		die(GROUP ": %s", strerror(errno));
	gate_init(&in);
	gate_init(&out);
	pid = start();
	if (!pid) {
		close(in.fd[1]);
		run_thumbnail(c, in.fd[0], out.fd[1]);
	}
	reports = fdopen(out.fd[0], "r");
	if (!reports)
		die("fdopen: %s", strerror(errno));
	close(out.fd[1]);
	m.cost = await_report(reports);
	row("thumbnail", "first", 0, c->name, "Minstr/thumbnail", &m);

	if (write(in.fd[1], "\n", 1) != 1)
		die("write: %s", strerror(errno));
	m.cost = await_report(reports);
	row("thumbnail", "again", 0, c->name, "Minstr/thumbnail", &m);

	footprint_row("at once", c->name);
	/* The pool follows the device's settings, at once. */
	file_set(DEVICE "trim_period_ms", TRIM_PERIOD_MS);
	sleep_ms(2 * TRIM_PERIOD_MS + TRIM_PERIOD_MS / 4);
	footprint_row("idle", c->name);
	file_set(DEVICE "trim_period_ms", period);

	close(in.fd[1]);
	close(in.fd[0]);
	finish(pid);
	fclose(reports);
	if (rmdir(GROUP))
		die(GROUP ": %s", strerror(errno));
}

static void thumbnail_round(void)
{
	size_t i;

	for (i = 0; photos.nr && i < ARRAY_SIZE(allocators); i++)
		if (!allocators[i].missing)
			thumbnail_one(&allocators[i]);
}

/* --- all of it --- */

static size_t number(const char *text)
{
	return strtoull(text, NULL, 10);
}

static void child(int argc, char **argv)
{
	if (!strcmp(me, "bufpool"))
		pool_begin();
	if (argc == 3 && !strcmp(argv[0], "pairs"))
		pairs_child(number(argv[1]), number(argv[2]));
	else if (argc == 2 && !strcmp(argv[0], "cycle"))
		cycle_child(number(argv[1]));
	else
		die("not told what to do");
}

static void pairs_one(size_t size, size_t live)
{
	char text[2][32];
	size_t i;

	if (size * live > (quick ? MAX_LIVE_BYTES / 8 : MAX_LIVE_BYTES))
		return;
	snprintf(text[0], sizeof(text[0]), "%zu", size);
	snprintf(text[1], sizeof(text[1]), "%zu", live);
	for (i = 0; i < ARRAY_SIZE(allocators); i++)
		contend(&allocators[i], "pairs", text[0], text[1], NULL);
}

static void cycle_one(size_t size)
{
	char text[32];
	size_t i;

	snprintf(text, sizeof(text), "%zu", size);
	for (i = 0; i < ARRAY_SIZE(allocators); i++)
		contend(&allocators[i], "cycle", text, NULL);
	cycle_mmap(size);
}

static void begin(void)
{
	size_t i;

	settle();
	contend_look(allocators, ARRAY_SIZE(allocators));
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		ways[i].missing = ways[i].needs && access(ways[i].needs, F_OK);
		if (ways[i].missing)
			row_missing(ways[i].name, ways[i].needs);
	}
	find_photos();
	if (!photos.nr)
		row_missing("thumbnail", "no program or no photographs");
}

static void warm_up(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].missing)
			cold_one(&ways[i], 2 * MiB);
	pairs_one(4 * KiB, 1);
	cycle_one(1 * MiB);
	threshold_round();
}

static void round_of_all(void)
{
	size_t size, live, i;

	for (size = 0; size < ARRAY_SIZE(pair_sizes); size++)
		for (live = 0; live < ARRAY_SIZE(live_sets); live++)
			pairs_one(pair_sizes[size], live_sets[live]);
	cold_round();
	for (i = 0; i < (quick ? 1 : ARRAY_SIZE(cycle_sizes)); i++)
		cycle_one(cycle_sizes[i]);
	threshold_round();
	short_round();
	thumbnail_round();
}

static const struct bench bench = {
	.name = "paths",
	.what = "what the paths of an allocation cost",
	.rounds = 5,
	.begin = begin,
	.warm_up = warm_up,
	.round = round_of_all,
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], SHORT))
		return short_main(argv[2]);
	contend_child(argc, argv, child);
	return bench_main(argc, argv, &bench);
}
