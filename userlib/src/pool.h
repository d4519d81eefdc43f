/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * A pool as this process sees it, and what the files of the library share.
 */
#ifndef BUFPOOL_POOL_H
#define BUFPOOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

/* What the header declares is exported; the rest of the library is hidden. */
#pragma GCC visibility push(default)
#include <bufpool.h>
#pragma GCC visibility pop

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define noinline	__attribute__((noinline))

/* Functions to be left out of the trace of an allocation, see leaks.c. */
#define ALLOC_TEXT	__attribute__((section("bufpool_text")))
/* Where they begin and end; the linker makes these names from the section's. */
extern const char __start_bufpool_text[] __attribute__((visibility("hidden")));
extern const char __stop_bufpool_text[] __attribute__((visibility("hidden")));

/*
 * Words of the control region are plain integers in the ABI and change under
 * the reader, so each access to one is an atomic access.
 */
#define load_relaxed(p)		__atomic_load_n(p, __ATOMIC_RELAXED)
#define store_relaxed(p, v)	__atomic_store_n(p, v, __ATOMIC_RELAXED)

/**
 * struct bufpool_backend - what attaches and detaches a pool's buffers
 * @name: what bufpool_backend() returns
 * @request: carries out one of the ioctls BUFPOOL_IOC_ALLOC to _STATS on its
 *	structure.  Called from signal handlers too.  Returns 0 or -errno.
 * @poll: does what is due, on the slow paths of bufpool_alloc() and bufpool_free();
 *	keeps errno.  NULL: nothing ever is
 * @headers: says which of @n pages of slot headers, the first one that of slot
 *	@first, may have any that are not zero
 * @close: the pool is destroyed, and its mapping gone; also called in a child
 */
struct bufpool_backend {
	const char *name;
	int (*request)(struct bufpool *bp, unsigned int cmd, void *arg);
	void (*poll)(struct bufpool *bp);
	void (*headers)(struct bufpool *bp, uint64_t first, size_t n,
			unsigned char *used);
	void (*close)(struct bufpool *bp);
};

/**
 * struct bufpool - a pool
 * @data: start of the data range
 * @slots: the slot headers
 * @stacks: the stacks of CPU 0 to nr_cpus - 1, and at nr_cpus the depot
 * @control: start of the control region and of the whole mapping
 * @rseq_offset: from the thread pointer to the thread's rseq area
 * @nr_pages: pages of the data range
 * @fast_cpus: the fast path is for CPUs below this: @nr_cpus, or 0 if every
 *	allocation is traced
 * @nr_classes: number of classes
 * @page_shift: log2 of the page size
 * @nr_cpus: number of per-CPU stacks
 * @fd: the device, or -1
 * @backend: attaches and detaches buffers
 * @anon: the anonymous backend's, or NULL
 * @leaks: traces of the live buffers, or NULL
 * @map_bytes: length of the mapping
 * @creator: the process it belongs to; a child of that one has no mapping
 * @depot_pushes: counts pushes to the depot, to refresh cpu_pages by
 *
 * The first line of cache is what the fast path reads.  Only @depot_pushes ever
 * changes.  The geometry is a copy, so that a stray write to the control region
 * cannot lead an access out of it.
 */
struct bufpool {
	char *data;
	struct bufpool_slot *slots;
	struct bufpool_stacks *stacks;
	struct bufpool_control *control;
	ptrdiff_t rseq_offset;
	uint32_t nr_pages;
	uint32_t fast_cpus;
	uint32_t nr_classes;
	uint32_t page_shift;
	uint32_t nr_cpus;
	int fd;

	const struct bufpool_backend *backend;
	struct bufpool_anonymous *anon;
	struct bufpool_leaks *leaks;
	size_t map_bytes;
	pid_t creator;

	unsigned int depot_pushes __attribute__((aligned(64)));
} __attribute__((aligned(64)));

static inline void *slot_address(const struct bufpool *bp, uint32_t index)
{
	return bp->data + ((size_t)index << bp->page_shift);
}

static inline uint32_t slot_index(const struct bufpool *bp, const void *buf)
{
	return (uint32_t)((size_t)((const char *)buf - bp->data) >>
			  bp->page_shift);
}

static inline size_t slot_bytes(const struct bufpool *bp, uint32_t index)
{
	return (size_t)load_relaxed(&bp->slots[index].pages) << bp->page_shift;
}

/* Has the program been given this buffer, and not freed it? */
static inline bool state_is_owned(uint32_t state)
{
	switch (state & 0xff) {
	case BUFPOOL_SLOT_LIVE:
	case BUFPOOL_SLOT_WEAK:
	case BUFPOOL_SLOT_TAKEN:
		return true;
	default:
		return false;
	}
}

static inline void pool_poll(struct bufpool *bp)
{
	if (bp->backend->poll)
		bp->backend->poll(bp);
}

static inline struct bufpool_stacks *pool_depot(const struct bufpool *bp)
{
	return &bp->stacks[bp->nr_cpus];
}

struct bufpool *bufpool_open_mapping(const struct bufpool_backend *backend,
				     int fd, void *map, size_t map_bytes);
struct bufpool *bufpool_anonymous_create(const struct bufpool_config *own,
					 uint32_t nr_cpus);

uint32_t bufpool_slot_of(const struct bufpool *bp, const char *call,
			 const void *buf);
int bufpool_strengthen_for(struct bufpool *bp, const char *call, void *buf);
void bufpool_zero(void *buf, size_t bytes);
void bufpool_free_request(struct bufpool *bp, const char *call, uint32_t index);

void bufpool_leaks_open(struct bufpool *bp);
bool bufpool_leaks_close(struct bufpool *bp);
void bufpool_leaks_record(struct bufpool *bp, uint32_t index, size_t size);
void bufpool_leaks_forget(struct bufpool *bp, uint32_t index);

/* Called for each buffer that the program has, by bufpool_walk_live(). */
typedef void (*bufpool_visit)(struct bufpool *bp, uint32_t index, void *arg);

void bufpool_walk_live(struct bufpool *bp, bufpool_visit visit, void *arg);

noreturn void bufpool_abort_buffer(const struct bufpool *bp, const char *call,
				   const void *buf);
noreturn void bufpool_abort_corrupted(const struct bufpool *bp);

#endif /* BUFPOOL_POOL_H */
