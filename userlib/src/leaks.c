// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * BUFPOOL_DEBUG=leaks: who allocated the buffers that were not freed.
 *
 * A pool created with that set has a table with a trace for each page of the
 * data range, of which a buffer uses that of its first page, as with the slots'
 * headers.  So a trace belongs to whom the slot belongs to, and like the slot
 * needs no lock: it is written before the buffer is handed out, cleared before
 * it is given back, and a signal handler in between works on other slots.
 *
 * To report what is left when the process ends there is a list of these tables,
 * empty unless the variable is set.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifdef __GLIBC__
#include <execinfo.h>
#define HAVE_BACKTRACE
#endif

#include "message.h"
#include "pool.h"

/* Frames of the caller's that are kept. */
#define MAX_FRAMES	16
/* And how many of the library's own may come before them. */
#define OWN_FRAMES	6

/**
 * struct trace - how a buffer came to be
 * @bytes: as asked for; 0: not allocated, or not by this library
 * @time_ns: when, CLOCK_MONOTONIC
 * @nr_frames: number of @frames
 * @frames: return addresses, the innermost caller's first
 */
struct trace {
	uint64_t bytes;
	uint64_t time_ns;
	uint64_t nr_frames;
	void *frames[MAX_FRAMES];
};

/**
 * struct bufpool_leaks - the traces of one pool
 * @next: another pool's; does not change once this is on the list
 * @owner: the pool; NULL: there is none, and the next pool takes this one over;
 *	BUSY: somebody is changing or reading it.  Changes atomically
 * @creator: the owner's process.  A child has a copy of the list, in which only
 *	the pools it created itself are its own
 * @traces: one per page of the data range
 * @bytes: size of @traces
 */
struct bufpool_leaks {
	struct bufpool_leaks *next;
	struct bufpool *owner;
	pid_t creator;
	struct trace *traces;
	size_t bytes;
};

#define BUSY	((struct bufpool *)1)

/* Grows at its head, and never shrinks. */
static struct bufpool_leaks *all_leaks;

/* Whether BUFPOOL_DEBUG, a comma-separated list, contains @word. */
static bool debug_wants(const char *word)
{
	const char *s = secure_getenv("BUFPOOL_DEBUG");
	size_t length;

	while (s && *s) {
		length = strcspn(s, ",");
		if (length == strlen(word) && !strncmp(s, word, length))
			return true;
		s += length;
		s += *s == ',';
	}
	return false;
}

static bool take(struct bufpool_leaks *leaks, struct bufpool *owner)
{
	return __atomic_compare_exchange_n(&leaks->owner, &owner, BUSY, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void put(struct bufpool_leaks *leaks, struct bufpool *owner)
{
	__atomic_store_n(&leaks->owner, owner, __ATOMIC_RELEASE);
}

/* An entry of the list, taken: one that is free, or a new one. */
static struct bufpool_leaks *take_entry(void)
{
	struct bufpool_leaks *leaks;

	leaks = __atomic_load_n(&all_leaks, __ATOMIC_ACQUIRE);
	for (; leaks; leaks = leaks->next)
		if (take(leaks, NULL))
			return leaks;

	leaks = malloc(sizeof(*leaks));
	if (!leaks)
		return NULL;
	*leaks = (struct bufpool_leaks) { .owner = BUSY };
	leaks->next = load_relaxed(&all_leaks);
	while (!__atomic_compare_exchange_n(&all_leaks, &leaks->next, leaks,
					    true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	return leaks;
}

/*
 * Trace @bp's allocations from now on if the environment says so.  A pool that
 * cannot be traced works as if it were not set.
 */
void bufpool_leaks_open(struct bufpool *bp)
{
	struct message msg = { .length = 0 };
	struct bufpool_leaks *leaks;
	int err = errno;
	void *map;

	if (!debug_wants("leaks"))
		return;

	leaks = take_entry();
	if (!leaks)
		goto no_memory;
	leaks->creator = bp->creator;
	leaks->bytes = (size_t)bp->nr_pages * sizeof(struct trace);
	map = mmap(NULL, leaks->bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		goto put_entry;
	/* It is sparse; and a child has no more use for it than for the pool. */
	madvise(map, leaks->bytes, MADV_NOHUGEPAGE);
	madvise(map, leaks->bytes, MADV_DONTFORK);
	leaks->traces = map;

#ifdef HAVE_BACKTRACE
	/* The first call loads what it needs, and allocates. */
	backtrace(&(void *) { NULL }, 1);
#endif
	bp->leaks = leaks;
	bp->fast_cpus = 0;
	put(leaks, bp);
	errno = err;
	return;

put_entry:
	put(leaks, NULL);
no_memory:
	add_string(&msg, "bufpool: no memory to trace leaks with\n");
	message_write(&msg);
	errno = err;
}

static uint64_t now_ns(void)
{
	struct timespec now = { .tv_sec = 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool is_own(const void *frame)
{
	/* A return address may be just behind its function. */
	return (uintptr_t)frame - 1 >= (uintptr_t)__start_bufpool_text &&
	       (uintptr_t)frame - 1 < (uintptr_t)__stop_bufpool_text;
}

/*
 * How many frames the library has depends on what the compiler has inlined and
 * made tail calls of, but all of them are in one section.
 */
static ALLOC_TEXT void record_frames(struct trace *trace)
{
	void *frames[OWN_FRAMES + MAX_FRAMES];
	int n = 0, own = 0, i;

#ifdef HAVE_BACKTRACE
	n = backtrace(frames, ARRAY_SIZE(frames));
#endif
	for (i = 0; i < n && i < OWN_FRAMES; i++)
		if (is_own(frames[i]))
			own = i + 1;
	n -= own;
	if (n > MAX_FRAMES)
		n = MAX_FRAMES;
	for (i = 0; i < n; i++)
		store_relaxed(&trace->frames[i], frames[own + i]);
	store_relaxed(&trace->nr_frames, (uint64_t)n);
}

/* The caller's slot @index, live, was allocated for @size bytes just now. */
ALLOC_TEXT
void bufpool_leaks_record(struct bufpool *bp, uint32_t index, size_t size)
{
	struct trace *trace = &bp->leaks->traces[index];
	int err = errno;

	record_frames(trace);
	store_relaxed(&trace->time_ns, now_ns());
	store_relaxed(&trace->bytes, size);
	errno = err;
}

/* The caller's slot @index is about to be freed. */
void bufpool_leaks_forget(struct bufpool *bp, uint32_t index)
{
	store_relaxed(&bp->leaks->traces[index].bytes, 0);
}

static void print_frames(const struct trace *trace)
{
#ifdef HAVE_BACKTRACE
	uint64_t nr_frames = load_relaxed(&trace->nr_frames), i;

	for (i = 0; i < nr_frames && i < MAX_FRAMES; i++) {
		struct message indent = { .length = 0 };
		void *frame = load_relaxed(&trace->frames[i]);

		add_string(&indent, "    ");
		message_write(&indent);
		backtrace_symbols_fd(&frame, 1, STDERR_FILENO);
	}
#else
	(void)trace;
#endif
}

struct report {
	uint64_t now_ns;
	size_t buffers;
	size_t bytes;
};

static void report_one(struct bufpool *bp, uint32_t index, void *arg)
{
	const struct trace *trace = &bp->leaks->traces[index];
	uint64_t bytes = load_relaxed(&trace->bytes);
	size_t held = slot_bytes(bp, index);
	struct message msg = { .length = 0 };
	struct report *report = arg;
	uint64_t age_ms;

	report->buffers++;
	report->bytes += held;

	add_string(&msg, "bufpool: leak of ");
	add_number(&msg, bytes ? bytes : held);
	add_string(&msg, " bytes at ");
	add_pointer(&msg, slot_address(bp, index));
	if (bytes) {
		age_ms = (report->now_ns - load_relaxed(&trace->time_ns)) /
			 1000000;
		add_string(&msg, ", allocated ");
		add_number(&msg, age_ms / 1000);
		add_string(&msg, ".");
		add_digits(&msg, age_ms % 1000, 10, 3);
		add_string(&msg, " s ago by\n");
	} else {
		add_string(&msg, ", not allocated through the library\n");
	}
	message_write(&msg);
	if (bytes)
		print_frames(trace);
}

static void report(struct bufpool *bp, const char *when)
{
	struct report report = { .now_ns = now_ns() };
	struct message msg = { .length = 0 };

	bufpool_walk_live(bp, report_one, &report);
	if (!report.buffers)
		return;
	add_string(&msg, "bufpool: not freed when ");
	add_string(&msg, when);
	add_string(&msg, ": ");
	add_number(&msg, report.buffers);
	add_string(&msg, report.buffers == 1 ? " buffer that holds " :
					       " buffers that hold ");
	add_number(&msg, report.bytes);
	add_string(&msg, " bytes\n");
	message_write(&msg);
}

/*
 * Report what is live in @bp, which is about to be destroyed, by the process
 * that created it.  False if the process is ending and about to do the same;
 * then it needs @bp.
 */
bool bufpool_leaks_close(struct bufpool *bp)
{
	struct bufpool_leaks *leaks = bp->leaks;

	if (!leaks)
		return true;
	if (!take(leaks, bp))
		return false;
	report(bp, "the pool was destroyed");
	munmap(leaks->traces, leaks->bytes);
	put(leaks, NULL);
	return true;
}

/* After all that the program itself does at its end. */
__attribute__((destructor))
static void report_at_exit(void)
{
	struct bufpool_leaks *leaks;
	struct bufpool *bp;

	leaks = __atomic_load_n(&all_leaks, __ATOMIC_ACQUIRE);
	for (; leaks; leaks = leaks->next) {
		bp = load_relaxed(&leaks->owner);
		/* Who takes it then is not let in any more. */
		if (bp && bp != BUSY && take(leaks, bp) &&
		    leaks->creator == getpid())
			report(bp, "the process ended");
	}
}
