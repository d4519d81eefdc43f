// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The anonymous backend: creating a pool, and the requests. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "anonymous.h"

/* A stray write has led here; and nobody who handles SIGABRT shall wait for us. */
void bufpool_anonymous_corrupted(struct bufpool_anonymous *anon)
{
	pthread_mutex_unlock(&anon->lock);
	bufpool_abort_corrupted(anon->bp);
}

static int request_release(struct bufpool_anonymous *anon,
			   struct bufpool_release *arg)
{
	arg->released_bytes = bufpool_release(anon, UINT64_MAX, COUNT_RELEASED)
			      << anon->bp->page_shift;
	return 0;
}

static int request_get_config(struct bufpool_anonymous *anon,
			      struct bufpool_config *cfg)
{
	if (cfg->flags & ~BUFPOOL_CONFIG_EFFECTIVE)
		return -EINVAL;
	*cfg = cfg->flags ? anon->config : anon->own;
	return 0;
}

static int request_set_config(struct bufpool_anonymous *anon,
			      const struct bufpool_config *from)
{
	struct bufpool_config cfg;
	int err = bufpool_config_read(&cfg, from);

	if (err)
		return err;
	if (cfg.pool_limit_bytes != BUFPOOL_FOLLOW &&
	    cfg.pool_limit_bytes >> anon->bp->page_shift > anon->limit_pages)
		return -EINVAL;
	anon->own = cfg;
	bufpool_config_effective(&cfg, anon->limit_pages, &anon->config);
	bufpool_config_publish(anon);
	bufpool_trim_arm(anon);
	bufpool_enforce(anon, COUNT_RECLAIMED);
	return 0;
}

/* The control region's own pages: all stacks, and the headers of all spans in use. */
static uint64_t control_bytes(const struct bufpool_anonymous *anon)
{
	const struct bufpool *bp = anon->bp;
	uint64_t per_span = span_pages(bp) * (sizeof(struct bufpool_slot) +
					      sizeof(*anon->held)) +
			    sizeof(struct span);

	return (uint64_t)((char *)bp->slots - (char *)bp->control) +
	       anon->nr_used_spans * per_span;
}

static int request_stats(struct bufpool_anonymous *anon,
			 struct bufpool_stats *st)
{
	uint32_t shift = anon->bp->page_shift;
	const uint64_t *count = anon->count;

	*st = (struct bufpool_stats) {
		.size = sizeof(*st),
		.attached_bytes = anon->attached_pages << shift,
		.retained_bytes = bufpool_idle_pages(anon) << shift,
		.control_bytes = control_bytes(anon),
		.peak_attached_bytes = anon->peak_pages << shift,
		.allocs = count[COUNT_ALLOCS],
		.frees = count[COUNT_FREES],
		.reused = count[COUNT_REUSED],
		.grown = count[COUNT_GROWN],
		.attached_total_bytes = count[COUNT_ATTACHED] << shift,
		.released_bytes = count[COUNT_RELEASED] << shift,
		.freed_bytes = count[COUNT_FREED] << shift,
		.trimmed_bytes = count[COUNT_TRIMMED] << shift,
		.reclaimed_bytes = count[COUNT_RECLAIMED] << shift,
		.limit_hits = count[COUNT_LIMIT_HITS],
	};
	return 0;
}

static int carry_out(struct bufpool_anonymous *anon, unsigned int cmd,
		     void *arg)
{
	switch (cmd) {
	case BUFPOOL_IOC_ALLOC:
		return bufpool_anonymous_alloc(anon, arg);
	case BUFPOOL_IOC_FREE:
		return bufpool_anonymous_free(anon, arg);
	case BUFPOOL_IOC_RELEASE_RETAINED:
		return request_release(anon, arg);
	case BUFPOOL_IOC_GET_CONFIG:
		return request_get_config(anon, arg);
	case BUFPOOL_IOC_SET_CONFIG:
		return request_set_config(anon, arg);
	case BUFPOOL_IOC_STATS:
		return request_stats(anon, arg);
	default:
		return -ENOTTY;
	}
}

/* What a thread is entitled to again when it leaves the backend. */
struct thread_state {
	sigset_t signals;
	int cancel;
};

/*
 * As in the kernel, no signal handler runs before the request has been carried out:
 * one that made a request itself would wait for the lock for ever.  Nor does the
 * thread end in here, with the lock: waiting for memory is a cancellation point.
 */
static void enter(struct bufpool_anonymous *anon, struct thread_state *old)
{
	sigset_t all;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old->cancel);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old->signals);
	pthread_mutex_lock(&anon->lock);
}

static void leave(struct bufpool_anonymous *anon, const struct thread_state *old)
{
	pthread_mutex_unlock(&anon->lock);
	pthread_sigmask(SIG_SETMASK, &old->signals, NULL);
	pthread_setcancelstate(old->cancel, NULL);
}

static int anonymous_request(struct bufpool *bp, unsigned int cmd, void *arg)
{
	struct bufpool_anonymous *anon = bp->anon;
	struct thread_state old;
	int err = errno, ret;

	if (bp->creator != getpid())
		return -EPERM;
	enter(anon, &old);
	bufpool_trim(anon);
	ret = carry_out(anon, cmd, arg);
	leave(anon, &old);
	errno = err;
	return ret;
}

static void anonymous_poll(struct bufpool *bp)
{
	struct bufpool_anonymous *anon = bp->anon;
	struct thread_state old;
	int err = errno;

	if (bufpool_trim_is_due(anon)) {
		enter(anon, &old);
		bufpool_trim(anon);
		leave(anon, &old);
	}
	errno = err;
}

/*
 * mincore() will not do: pages of anonymous memory that were swapped out are not
 * resident, but have headers in them.
 */
static void anonymous_headers(struct bufpool *bp, uint64_t first, size_t n,
			      unsigned char *used)
{
	uint64_t per_page = ((uint64_t)1 << bp->page_shift) /
			    sizeof(struct bufpool_slot);
	uint64_t index = first;
	struct thread_state old;
	size_t page;

	memset(used, 0, n);
	enter(bp->anon, &old);
	for (;;) {
		index = bufpool_span_next_slot(bp->anon, index);
		page = (index - first) / per_page;
		if (index >= bp->nr_pages || page >= n)
			break;
		used[page] = 1;
		index = first + (page + 1) * per_page;
	}
	leave(bp->anon, &old);
}

static void anonymous_close(struct bufpool *bp)
{
	/* In a child somebody may have held the lock. */
	if (bp->creator == getpid()) {
		pthread_cond_destroy(&bp->anon->dropped);
		pthread_mutex_destroy(&bp->anon->lock);
	}
	free(bp->anon);
}

static const struct bufpool_backend anonymous_backend = {
	.name = "anonymous",
	.request = anonymous_request,
	.poll = anonymous_poll,
	.headers = anonymous_headers,
	.close = anonymous_close,
};

/* Where the parts of the mapping begin, and how long it is. */
struct layout {
	uint64_t nr_spans;
	uint64_t nr_pages;
	uint32_t nr_classes;
	uint32_t nr_cpus;
	uint64_t cpu;
	uint64_t slot;
	uint64_t held;
	uint64_t span;
	uint64_t map;
	uint64_t huge;
	uint64_t data;
	uint64_t end;
};

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/*
 * The data range is twice the limit, because a slot may have twice the address space
 * that its buffer has memory, and a span for each of the classes that share spans.
 */
static void lay_out(struct layout *l, uint64_t pages, uint32_t nr_cpus,
		    uint64_t page_size)
{
	uint64_t per_span = SPAN_SIZE / page_size;
	uint32_t shared = bufpool_class(per_span);

	l->nr_cpus = nr_cpus;
	l->nr_classes = bufpool_class(pages) + 1;
	if (shared > l->nr_classes)
		shared = l->nr_classes;
	l->nr_spans = (2 * pages + per_span - 1) / per_span + shared;
	l->nr_pages = l->nr_spans * per_span;

	l->cpu = round_up(sizeof(struct bufpool_control), page_size);
	l->slot = round_up(l->cpu + (l->nr_cpus + 1) *
				    sizeof(struct bufpool_stacks), page_size);
	l->held = round_up(l->slot + l->nr_pages * sizeof(struct bufpool_slot),
			   page_size);
	l->span = l->held + l->nr_pages * sizeof(uint32_t);
	l->map = l->span + l->nr_spans * sizeof(struct span);
	l->huge = l->map + (l->nr_spans + 63) / 64 * sizeof(uint64_t);
	l->data = round_up(l->huge + l->nr_spans * (SPAN_SIZE / HUGE_SIZE),
			   SPAN_SIZE);
	l->end = l->data + l->nr_spans * SPAN_SIZE;
}

/*
 * Address space for the layout, on a multiple of SPAN_SIZE; NULL: there is none.  The
 * data range is not accessible yet: see span.c.
 */
static char *map_range(const struct layout *l)
{
	uint64_t whole = l->end + SPAN_SIZE;
	char *map, *start;

	if (whole > PTRDIFF_MAX)
		return NULL;
	map = mmap(NULL, whole, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	start = (char *)round_up((uintptr_t)map, SPAN_SIZE);
	if (start != map)
		munmap(map, (size_t)(start - map));
	munmap(start + l->end, (size_t)(map + whole - (start + l->end)));

	/* After mlockall(MCL_FUTURE) access would populate all of it. */
	munlock(start, l->end);
	if (mprotect(start, l->data, PROT_READ | PROT_WRITE)) {
		munmap(start, l->end);
		return NULL;
	}

	/* The device's mapping is not inherited either, and in no core dump. */
	madvise(start, l->end, MADV_DONTFORK);
	madvise(start, l->end, MADV_DONTDUMP);
	madvise(start, l->end, MADV_NOHUGEPAGE);
	return start;
}

static void write_geometry(struct bufpool_control *control,
			   const struct layout *l, uint64_t page_size)
{
	control->abi_version = BUFPOOL_ABI_VERSION;
	control->page_shift = (uint32_t)__builtin_ctzll(page_size);
	control->nr_cpus = l->nr_cpus;
	control->nr_classes = l->nr_classes;
	control->nr_pages = l->nr_pages;
	control->cpu_offset = l->cpu;
	control->slot_offset = l->slot;
	control->data_offset = l->data;
}

/* bufpool_create() on this backend, with stacks for as many CPUs. */
struct bufpool *bufpool_anonymous_create(const struct bufpool_config *own,
					 uint32_t nr_cpus)
{
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	struct bufpool_anonymous *anon;
	struct bufpool_config cfg;
	struct layout l;
	char *map;
	int err;

	anon = calloc(1, sizeof(*anon));
	if (!anon)
		return NULL;
	err = -bufpool_config_read(&anon->own, own);
	if (err)
		goto free_anon;
	bufpool_config_effective(&anon->own, 0, &cfg);
	anon->limit_pages = cfg.pool_limit_bytes / page_size;
	lay_out(&l, anon->limit_pages, nr_cpus, page_size);

	err = ENOMEM;
	map = map_range(&l);
	if (!map)
		goto free_anon;
	write_geometry((void *)map, &l, page_size);
	anon->bp = bufpool_open_mapping(&anonymous_backend, -1, map, l.end);
	if (!anon->bp)
		goto unmap;

	pthread_mutex_init(&anon->lock, NULL);
	pthread_cond_init(&anon->dropped, NULL);
	anon->nr_spans = (uint32_t)l.nr_spans;
	anon->held = (void *)(map + l.held);
	anon->spans = (void *)(map + l.span);
	anon->span_map = (void *)(map + l.map);
	anon->huge = (void *)(map + l.huge);
	anon->fronts = bufpool_front_register();
	bufpool_config_effective(&anon->own, anon->limit_pages, &anon->config);
	bufpool_config_publish(anon);
	anon->bp->anon = anon;
	return anon->bp;

unmap:
	munmap(map, l.end);
free_anon:
	free(anon);
	errno = err;
	return NULL;
}
