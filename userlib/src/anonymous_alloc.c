// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Allocating and freeing on the anonymous backend, for whom the stacks did not do:
 *
 *	alloc:  this CPU's stack -> the depot's -> other CPUs', fronts too -> attach
 *	        large: the best fit on any of them -> grow the nearest -> attach
 *	free:   this CPU's stack -> the depot's -> detach
 */
#include <errno.h>
#include <string.h>

#include "anonymous.h"
#include "cpu.h"
#include "front.h"
#include "stack.h"

/* Slots of one stack that the search for the best fit looks at. */
#define MAX_SEARCHED	64

static uint64_t data_offset(const struct bufpool *bp)
{
	return (uint64_t)(bp->data - (char *)bp->control);
}

static uint64_t limit_pages(const struct bufpool_anonymous *anon)
{
	return anon->config.pool_limit_bytes >> anon->bp->page_shift;
}

/*
 * Charge pages, for a buffer that has @had already, giving up idle and weak memory as
 * far as it takes; none for what the limit does not allow.
 */
static int charge(struct bufpool_anonymous *anon, uint64_t pages, uint64_t had)
{
	uint64_t limit = limit_pages(anon), want;

	if (had + pages > limit)
		return -EDQUOT;
	while (anon->attached_pages > limit - pages) {
		want = anon->attached_pages - (limit - pages);
		if (want > anon->leaving_pages &&
		    bufpool_reclaim(anon, want - anon->leaving_pages))
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
	int err = charge(anon, pages, 0);

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
	err = charge(anon, pages - had, had);
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
	do {
		for (cpu = 0; cpu < bp->nr_cpus; cpu++)
			if (pop(anon, cpu, class, ref))
				return true;
	} while (bufpool_front_steal(anon, class, here));
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

	bufpool_front_steal(s->anon, class, this_cpu(s->anon->bp));
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

/* BUFPOOL_IOC_ALLOC.  Called and returns with the lock held, drops it meanwhile. */
int bufpool_anonymous_alloc(struct bufpool_anonymous *anon,
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
	struct bufpool_stacks *depot = pool_depot(bp);
	uint32_t cap = load_relaxed(&tuning->percpu_cap);
	uint32_t cpu = this_cpu(bp);
	int64_t idle;

	if (ref->pages > load_relaxed(&control->max_pooled_pages))
		return false;
	/* What is in the front counts. */
	if (cap && front_peek(bp, cpu, ref->class))
		cap--;
	if (push(anon, cpu, ref, cap))
		return true;
	/* The estimate is young: who has no room in the depot has just made one. */
	idle = load_relaxed(&depot->idle_pages) +
	       (int64_t)load_relaxed(&depot->cpu_pages) + ref->pages;
	return idle <= (int64_t)load_relaxed(&control->max_retained_pages) &&
	       push(anon, bp->nr_cpus, ref, load_relaxed(&tuning->depot_cap));
}

/* BUFPOOL_IOC_FREE.  Called and returns with the lock held, drops it meanwhile. */
int bufpool_anonymous_free(struct bufpool_anonymous *anon,
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
