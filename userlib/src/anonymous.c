// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend: creating a pool, and the requests.
 *
 *	alloc:  this CPU's stack -> the depot's -> other CPUs' -> attach
 *	        large: the best fit on any of them -> grow the nearest -> attach
 *	free:   this CPU's stack -> the depot's -> detach
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "anonymous.h"
#include "cpu.h"
#include "stack.h"

/* Slots of one stack that the search for the best fit looks at. */
#define MAX_SEARCHED	64

/* A stray write has led here; and nobody who handles SIGABRT shall wait for us. */
void bufpool_anonymous_corrupted(struct bufpool_anonymous *anon)
{
	pthread_mutex_unlock(&anon->lock);
	bufpool_abort_corrupted(anon->bp);
}

static uint64_t data_offset(const struct bufpool *bp)
{
	return (uint64_t)(bp->data - (char *)bp->control);
}

static uint64_t limit_pages(const struct bufpool_anonymous *anon)
{
	return anon->config.pool_limit_bytes >> anon->bp->page_shift;
}

/* Charge pages, giving up idle and weak memory as far as it takes. */
static int charge(struct bufpool_anonymous *anon, uint64_t pages)
{
	uint64_t limit = limit_pages(anon);

	if (pages > limit)
		return -EDQUOT;
	while (anon->attached_pages > limit - pages) {
		if (bufpool_reclaim(anon, anon->attached_pages + pages - limit))
			continue;
		if (!anon->leaving_pages)
			return -EDQUOT;
		/* What other threads are giving back may be enough. */
		pthread_cond_wait(&anon->dropped, &anon->lock);
	}
	anon->attached_pages += pages;
	if (anon->peak_pages < anon->attached_pages)
		anon->peak_pages = anon->attached_pages;
	if (!anon->trim_due)
		bufpool_trim_arm(anon);
	return 0;
}

/* A slot, giving up all that is idle if other classes have the whole range. */
static int reserve(struct bufpool_anonymous *anon, uint32_t class,
		   struct slot_ref *ref)
{
	while (bufpool_slot_reserve(anon, class, ref))
		if (!bufpool_release(anon, UINT64_MAX, COUNT_RECLAIMED))
			return -ENOMEM;
	return 0;
}

/*
 * Attach memory to a slot in transit that has @had pages; the charge is for the rest.
 * Drops the lock meanwhile.
 */
static int attach(struct bufpool_anonymous *anon, const struct slot_ref *ref,
		  uint32_t had)
{
	uint32_t pages = ref->pages - had;
	int err;

	do {
		pthread_mutex_unlock(&anon->lock);
		err = bufpool_attach(anon, ref, had);
		pthread_mutex_lock(&anon->lock);
	} while (err == -ENOMEM && bufpool_reclaim(anon, pages));

	if (err)
		anon->attached_pages -= pages;
	else
		anon->count[COUNT_ATTACHED] += pages;
	return err;
}

/* A new buffer. */
static int alloc_new(struct bufpool_anonymous *anon, uint32_t class,
		     uint32_t pages, struct slot_ref *ref)
{
	int err = charge(anon, pages);

	if (err)
		return err;
	err = reserve(anon, class, ref);
	if (err) {
		anon->attached_pages -= pages;
		return err;
	}
	ref->pages = pages;
	err = attach(anon, ref, 0);
	if (err)
		bufpool_slot_unreserve(anon, ref->index);
	else
		anon->held[ref->index] = pages;
	return err;
}

static bool pop(struct bufpool_anonymous *anon, uint32_t cpu, uint32_t class,
		struct slot_ref *ref)
{
	struct bufpool *bp = anon->bp;
	uint32_t index = stack_pop(bp, &bp->stacks[cpu].head[class]);

	if (index == NO_SLOT)
		return false;
	if (!bufpool_slot_find(anon, index, ref) || ref->class != class ||
	    load_relaxed(&bp->slots[index].state) !=
	    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class))
		bufpool_anonymous_corrupted(anon);
	if (cpu == bp->nr_cpus)
		__atomic_fetch_sub(&pool_depot(bp)->idle_pages,
				   (__s64)ref->pages, __ATOMIC_RELAXED);
	return true;
}

/* False if the stack already is @cap deep. */
static bool push(struct bufpool_anonymous *anon, uint32_t cpu,
		 const struct slot_ref *ref, uint32_t cap)
{
	struct bufpool *bp = anon->bp;

	if (!stack_push(bp, &bp->stacks[cpu].head[ref->class], ref->index,
			ref->class, cap))
		return false;
	if (cpu == bp->nr_cpus)
		__atomic_fetch_add(&pool_depot(bp)->idle_pages,
				   (__s64)ref->pages, __ATOMIC_RELAXED);
	return true;
}

/*
 * Attach the missing tail of a slot that was popped.  After an error the slot is as it
 * was, and in the depot.
 */
static int grow(struct bufpool_anonymous *anon, struct slot_ref *ref,
		uint32_t pages)
{
	uint32_t had = ref->pages;
	int err;

	anon->held[ref->index] = 0;
	err = charge(anon, pages - had);
	if (!err) {
		ref->pages = pages;
		err = attach(anon, ref, had);
	}
	if (err)
		ref->pages = had;
	anon->held[ref->index] = ref->pages;
	if (err)
		push(anon, anon->bp->nr_cpus, ref, UINT32_MAX);
	return err;
}

static bool pop_small(struct bufpool_anonymous *anon, uint32_t class,
		      struct slot_ref *ref)
{
	const struct bufpool *bp = anon->bp;
	uint32_t here = this_cpu(bp), cpu;

	if (pop(anon, here, class, ref) || pop(anon, bp->nr_cpus, class, ref))
		return true;
	for (cpu = 0; cpu < bp->nr_cpus; cpu++)
		if (pop(anon, cpu, class, ref))
			return true;
	return false;
}

/**
 * struct search - for an idle large slot
 * @anon: the backend
 * @pages: wanted
 * @grow: whether it is for the largest that is too small, instead of the smallest
 *	that fits
 * @cpu: whose stack @best is from
 * @found: whether there is one
 * @best: off its stack
 */
struct search {
	struct bufpool_anonymous *anon;
	uint32_t pages;
	bool grow;
	uint32_t cpu;
	bool found;
	struct slot_ref best;
};

static bool is_better(const struct search *s, const struct slot_ref *ref)
{
	if (s->grow)
		return ref->pages < s->pages &&
		       (!s->found || ref->pages > s->best.pages);
	/* A fifth of a buffer may be unused, no more. */
	return ref->pages >= s->pages && ref->pages - s->pages <= s->pages / 4 &&
	       (!s->found || ref->pages < s->best.pages);
}

/*
 * Take all slots off one stack, and put all but the best one found so far back in the
 * same order.  A thread that finds the stack empty meanwhile comes here and waits.
 */
static void search_stack(struct search *s, uint32_t cpu, uint32_t class)
{
	struct slot_ref ref[MAX_SEARCHED], last;
	bool had = s->found;
	unsigned int nr = 0, best = MAX_SEARCHED;
	uint32_t last_cpu = s->cpu;

	last = s->best;
	while (nr < MAX_SEARCHED && pop(s->anon, cpu, class, &ref[nr])) {
		if (is_better(s, &ref[nr])) {
			best = nr;
			s->found = true;
			s->best = ref[nr];
			s->cpu = cpu;
		}
		nr++;
	}
	while (nr--)
		if (nr != best)
			push(s->anon, cpu, &ref[nr], UINT32_MAX);
	if (had && best < MAX_SEARCHED)
		push(s->anon, last_cpu, &last, UINT32_MAX);
}

static bool search(struct search *s, uint32_t class)
{
	uint32_t cpu;

	for (cpu = 0; cpu <= s->anon->bp->nr_cpus; cpu++)
		search_stack(s, cpu, class);
	return s->found;
}

static bool pop_large(struct bufpool_anonymous *anon, uint32_t class,
		      uint32_t pages, struct slot_ref *ref)
{
	struct search s = { .anon = anon, .pages = pages };

	if (!search(&s, class) &&
	    (class + 1 == anon->bp->nr_classes || !search(&s, class + 1))) {
		s.grow = true;
		if (!search(&s, class))
			return false;
	}
	*ref = s.best;
	return true;
}

static int find_or_attach(struct bufpool_anonymous *anon, uint64_t pages,
			  struct slot_ref *ref, uint32_t *had)
{
	uint32_t class = bufpool_class(pages);
	bool large = load_relaxed(&anon->bp->control->classes[class].flags) &
		     BUFPOOL_CLASS_LARGE;
	int err;

	*had = 0;
	if (!large)
		pages = bufpool_class_pages(class);
	if (!(large ? pop_large(anon, class, (uint32_t)pages, ref) :
		      pop_small(anon, class, ref)))
		return alloc_new(anon, class, (uint32_t)pages, ref);
	*had = ref->pages;
	/* Not large may have been large before. */
	if (ref->pages < pages) {
		err = grow(anon, ref, (uint32_t)pages);
		if (err)
			return err;
		anon->count[COUNT_GROWN]++;
	}
	anon->count[COUNT_REUSED]++;
	return 0;
}

static int request_alloc(struct bufpool_anonymous *anon,
			 struct bufpool_alloc *arg)
{
	struct bufpool *bp = anon->bp;
	struct slot_ref ref;
	uint64_t pages;
	uint32_t had;
	int err;

	if (!arg->bytes || arg->flags & ~BUFPOOL_ZERO)
		return -EINVAL;
	pages = ((arg->bytes - 1) >> bp->page_shift) + 1;
	if (arg->bytes > anon->config.alloc_limit_bytes)
		err = -EFBIG;
	else if (pages > anon->limit_pages)
		err = -EDQUOT;
	else
		err = find_or_attach(anon, pages, &ref, &had);
	if (err) {
		anon->count[COUNT_LIMIT_HITS] += err == -EFBIG || err == -EDQUOT;
		return err;
	}

	bufpool_slot_set(bp, &ref, BUFPOOL_SLOT_LIVE);
	anon->count[COUNT_ALLOCS]++;
	arg->offset = data_offset(bp) + ((uint64_t)ref.index << bp->page_shift);
	arg->usable_bytes = (uint64_t)ref.pages << bp->page_shift;
	if (arg->flags & BUFPOOL_ZERO && had) {
		pthread_mutex_unlock(&anon->lock);
		bufpool_zero(slot_address(bp, ref.index),
			     (size_t)had << bp->page_shift);
		pthread_mutex_lock(&anon->lock);
	}
	return 0;
}

/* Put a freed slot where it is wanted; false: nowhere. */
static bool keep_idle(struct bufpool_anonymous *anon,
		      const struct slot_ref *ref)
{
	struct bufpool *bp = anon->bp;
	const struct bufpool_control *control = bp->control;
	const struct bufpool_class_tuning *tuning =
		&control->classes[ref->class];

	if (ref->pages > load_relaxed(&control->max_pooled_pages))
		return false;
	if (push(anon, this_cpu(bp), ref, load_relaxed(&tuning->percpu_cap)))
		return true;
	return bufpool_idle_pages(anon) + ref->pages <=
	       load_relaxed(&control->max_retained_pages) &&
	       push(anon, bp->nr_cpus, ref, load_relaxed(&tuning->depot_cap));
}

static int request_free(struct bufpool_anonymous *anon,
			const struct bufpool_free *arg)
{
	struct bufpool *bp = anon->bp;
	uint64_t offset = arg->offset - data_offset(bp);
	uint64_t index = offset >> bp->page_shift;
	struct slot_ref ref;

	if (arg->flags || index << bp->page_shift != offset ||
	    !bufpool_slot_find(anon, index, &ref))
		return -EINVAL;

	if (ref.pages & HELD_TAKEN) {
		anon->held[index] = 0;
		bufpool_slot_clear(bp, ref.index);
		/* Else whoever sees its memory off detaches it. */
		if (!(ref.pages & HELD_LEAVING))
			bufpool_slot_unreserve(anon, ref.index);
	} else {
		if (load_relaxed(&bp->slots[index].state) !=
		    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, ref.class))
			return -EINVAL;
		if (!keep_idle(anon, &ref)) {
			anon->count[COUNT_FREED] += ref.pages;
			bufpool_detach(anon, &ref);
		}
	}
	anon->count[COUNT_FREES]++;
	return 0;
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
		return request_alloc(anon, arg);
	case BUFPOOL_IOC_FREE:
		return request_free(anon, arg);
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

/*
 * As in the kernel, no signal handler runs before the request has been carried out:
 * one that made a request itself would wait for the lock for ever.
 */
static void block_signals(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

static int anonymous_request(struct bufpool *bp, unsigned int cmd, void *arg)
{
	struct bufpool_anonymous *anon = bp->anon;
	int err = errno, ret;
	sigset_t old;

	if (bp->creator != getpid())
		return -EPERM;
	block_signals(&old);
	pthread_mutex_lock(&anon->lock);
	bufpool_trim(anon);
	ret = carry_out(anon, cmd, arg);
	pthread_mutex_unlock(&anon->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return ret;
}

static void anonymous_poll(struct bufpool *bp)
{
	struct bufpool_anonymous *anon = bp->anon;
	int err = errno;
	sigset_t old;

	if (bufpool_trim_is_due(anon)) {
		block_signals(&old);
		pthread_mutex_lock(&anon->lock);
		bufpool_trim(anon);
		pthread_mutex_unlock(&anon->lock);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
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
	sigset_t old;
	size_t page;

	memset(used, 0, n);
	block_signals(&old);
	pthread_mutex_lock(&bp->anon->lock);
	for (;;) {
		index = bufpool_span_next_slot(bp->anon, index);
		page = (index - first) / per_page;
		if (index >= bp->nr_pages || page >= n)
			break;
		used[page] = 1;
		index = first + (page + 1) * per_page;
	}
	pthread_mutex_unlock(&bp->anon->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
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

/* Address space for the layout, on a multiple of SPAN_SIZE; NULL: there is none. */
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
	if (mprotect(start, l->end, PROT_READ | PROT_WRITE)) {
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
