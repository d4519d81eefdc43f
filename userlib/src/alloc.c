// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Allocating and freeing.
 *
 * A buffer comes from this CPU's front or stack of its class, else from the depot,
 * else from another CPU's stack, else from the kernel, which also has what is in the
 * other CPUs' fronts.  It goes to this CPU's front, or its stack up to the cap that
 * the kernel has set for the class, else to the depot while the pool may retain
 * more, else to the kernel.
 *
 * The slot of a live buffer is on no stack and nobody's but its user's.  Its
 * state says so, and turns a second free, or one of something else, into an
 * abort.  (Two threads that free one buffer at the very same time may both get
 * past that check; the slot is then on a stack twice and the second pop of it
 * finds it live, which aborts as well.)
 */
#include <errno.h>

#include "cpu.h"
#include "front.h"
#include "pool.h"
#include "stack.h"

/* Pushes to the depot between two counts of what the CPUs' stacks hold. */
#define COUNT_PERIOD	64

/*
 * The slot that starts at @buf, live.  NO_SLOT if there is no such slot.
 */
static inline uint32_t slot_live(const struct bufpool *bp, const void *buf,
				 uint32_t *class)
{
	size_t offset = (size_t)((uintptr_t)buf - (uintptr_t)bp->data);
	size_t page = offset >> bp->page_shift;
	uint32_t state;

	if (unlikely(page >= bp->nr_pages || page << bp->page_shift != offset))
		return NO_SLOT;
	state = load_relaxed(&bp->slots[page].state);
	*class = (state >> 8) - 1;
	if (unlikely((state & 0xff) != BUFPOOL_SLOT_LIVE ||
		     *class >= bp->nr_classes))
		return NO_SLOT;
	return (uint32_t)page;
}

/*
 * Make a slot that was popped from a stack of @class live.  False if it holds
 * fewer than @pages, as one of a large class may, also if it is not large any more.
 */
static inline bool slot_claim(struct bufpool *bp, uint32_t index,
			      uint32_t class, uint64_t pages)
{
	struct bufpool_slot *slot = &bp->slots[index];

	if (unlikely(load_relaxed(&slot->state) !=
		     BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class)))
		bufpool_abort_corrupted(bp);
	store_relaxed(&slot->state,
		      BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, class));
	return likely(load_relaxed(&slot->pages) >= pages);
}

static void *alloc_request(struct bufpool *bp, size_t size, unsigned int flags)
{
	struct bufpool_alloc alloc = {
		.size = sizeof(alloc), .flags = flags, .bytes = size,
	};
	int ret = bp->backend->request(bp, BUFPOOL_IOC_ALLOC, &alloc);

	if (ret) {
		errno = -ret;
		return NULL;
	}
	return (char *)bp->control + alloc.offset;
}

/* Have the kernel free the caller's slot @index.  Aborts for @call otherwise. */
void bufpool_free_request(struct bufpool *bp, const char *call, uint32_t index)
{
	void *buf = slot_address(bp, index);
	struct bufpool_free free = {
		.size = sizeof(free),
		.offset = (uint64_t)((char *)buf - (char *)bp->control),
	};

	if (bp->backend->request(bp, BUFPOOL_IOC_FREE, &free))
		bufpool_abort_buffer(bp, call, buf);
}

static void depot_popped(struct bufpool *bp, uint32_t index)
{
	__atomic_fetch_sub(&pool_depot(bp)->idle_pages,
			   (__s64)load_relaxed(&bp->slots[index].pages),
			   __ATOMIC_RELAXED);
}

static bool class_is_large(const struct bufpool *bp, uint32_t class)
{
	return load_relaxed(&bp->control->classes[class].flags) &
	       BUFPOOL_CLASS_LARGE;
}

/* Put a live slot into this CPU's front; false, and nothing done, if it cannot be. */
static inline bool put_front(struct bufpool *bp, uint32_t index,
			     uint32_t class)
{
	struct bufpool_slot *slot = &bp->slots[index];

	store_relaxed(&slot->state,
		      BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class));
	if (likely(front_put(bp, class, index + 1)))
		return true;
	store_relaxed(&slot->state,
		      BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, class));
	return false;
}

/* The slot in this CPU's front, the caller's then, or NO_SLOT. */
static inline uint32_t take_front(struct bufpool *bp, uint32_t class)
{
	/* The link is index + 1, so that of none wraps to NO_SLOT. */
	uint32_t index = front_take(bp, class) - 1;

	if (unlikely(index >= bp->nr_pages && index != NO_SLOT))
		bufpool_abort_corrupted(bp);
	return index;
}

/* Push to this CPU's stack; false if it is full. */
static inline bool push_local(struct bufpool *bp, uint32_t cpu, uint32_t index,
			      uint32_t class)
{
	const struct bufpool_class_tuning *tuning = &bp->control->classes[class];
	uint32_t cap = load_relaxed(&tuning->percpu_cap);

	/* What is in the front counts. */
	if (cap && front_peek(bp, cpu, class))
		cap--;
	return stack_push(bp, &bp->stacks[cpu].head[class], index, class, cap);
}

/*
 * Pop the top slot of a large class if it has @pages or more.  What would be best
 * among several, or whether to make one bigger, is left to the kernel.
 */
static uint32_t pop_fitting(struct bufpool *bp, __u64 *head, uint64_t pages)
{
	__u64 old = stack_head(head);
	uint32_t top;

	do {
		top = stack_top(bp, old);
		if (top == NO_SLOT ||
		    load_relaxed(&bp->slots[top].pages) < pages)
			return NO_SLOT;
	} while (!stack_pop_top(bp, head, &old, top));

	return top;
}

static uint32_t pop_depot(struct bufpool *bp, uint32_t class, uint64_t pages,
			  bool large)
{
	__u64 *head = &pool_depot(bp)->head[class];
	uint32_t index = large ? pop_fitting(bp, head, pages) :
				 stack_pop(bp, head);

	if (index != NO_SLOT)
		depot_popped(bp, index);
	return index;
}

/*
 * Pages on a CPU's stack: those of a class have the same number, if not large.  The
 * slot on top may have left it meanwhile, and its depth be anything.
 */
static uint64_t stack_pages(const struct bufpool *bp, uint32_t class,
			    uint64_t head)
{
	uint32_t cap = load_relaxed(&bp->control->classes[class].percpu_cap);
	uint32_t top = stack_top(bp, head), depth;

	if (top == NO_SLOT)
		return 0;
	depth = load_relaxed(&bp->slots[top].depth);
	if (depth > cap)
		depth = cap;
	return load_relaxed(&bp->slots[top].pages) +
	       bufpool_class_pages(class) * (depth ? depth - 1 : 0);
}

/*
 * Count the pages in all CPUs' fronts and stacks, as an estimate for all to use.
 * Costs two loads per CPU and class and another for a stack that is not empty, a
 * cache line for each five classes or so: about a microsecond on a few CPUs, and tens of them on
 * hundreds, which is still little beside the release of memory it is to avoid.
 */
static uint64_t count_cpu_pages(struct bufpool *bp)
{
	uint64_t pages = 0;
	uint32_t cpu, class;

	for (cpu = 0; cpu < bp->nr_cpus; cpu++) {
		for (class = 0; class < bp->nr_classes; class++) {
			pages += stack_pages(bp, class,
					     stack_head(&bp->stacks[cpu].head[class]));
			if (front_peek(bp, cpu, class))
				pages += bufpool_class_pages(class);
		}
	}
	store_relaxed(&pool_depot(bp)->cpu_pages, pages);
	return pages;
}

/* May the pool retain @pages more? */
static bool may_retain(struct bufpool *bp, uint64_t pages)
{
	uint64_t max = load_relaxed(&bp->control->max_retained_pages);
	__s64 idle = load_relaxed(&pool_depot(bp)->idle_pages);

	/* Negative while a pop that passed its push has been counted first. */
	if (idle > 0)
		pages += (uint64_t)idle;
	/* Memory is given back on a fresh count only. */
	return pages + load_relaxed(&pool_depot(bp)->cpu_pages) <= max ||
		pages + count_cpu_pages(bp) <= max;
}

/* Push to the depot; false if the slot cannot stay. */
static bool push_depot(struct bufpool *bp, uint32_t index, uint32_t class)
{
	const struct bufpool_class_tuning *tuning = &bp->control->classes[class];
	struct bufpool_stacks *depot = pool_depot(bp);
	uint32_t pages = load_relaxed(&bp->slots[index].pages);

	if (pages > load_relaxed(&bp->control->max_pooled_pages) ||
	    !may_retain(bp, pages) ||
	    !stack_push(bp, &depot->head[class], index, class,
			load_relaxed(&tuning->depot_cap)))
		return false;

	__atomic_fetch_add(&depot->idle_pages, (__s64)pages, __ATOMIC_RELAXED);
	if (__atomic_add_fetch(&bp->depot_pushes, 1, __ATOMIC_RELAXED) %
	    COUNT_PERIOD == 0)
		count_cpu_pages(bp);
	return true;
}

/* Keep the caller's slot, or have the kernel free it. */
static void put(struct bufpool *bp, uint32_t index, uint32_t class)
{
	if (!push_local(bp, this_cpu(bp), index, class) &&
	    !push_depot(bp, index, class))
		bufpool_free_request(bp, "free", index);
}

/*
 * An idle slot from this CPU's front or any stack.  Of a large class one that fits; as
 * classes are a quarter apart, that wastes no more than a quarter.
 */
static uint32_t pop_any(struct bufpool *bp, uint32_t class, uint64_t pages)
{
	bool large = class_is_large(bp, class);
	uint32_t here = this_cpu(bp);
	uint32_t cpu = here;
	uint32_t index;

	/* Perhaps again: the first time it may have been interrupted. */
	index = front_peek(bp, here, class) ? take_front(bp, class) : NO_SLOT;
	if (index != NO_SLOT) {
		if (!large || load_relaxed(&bp->slots[index].pages) >= pages)
			return index;
		slot_claim(bp, index, class, pages);
		put(bp, index, class);
	}
	do {
		__u64 *head = &bp->stacks[cpu].head[class];

		index = large ? pop_fitting(bp, head, pages) :
				stack_pop(bp, head);
		if (index == NO_SLOT && cpu == here)
			index = pop_depot(bp, class, pages, large);
		if (index != NO_SLOT)
			return index;
		if (++cpu == bp->nr_cpus)
			cpu = 0;
	} while (cpu != here);

	return NO_SLOT;
}

static noinline ALLOC_TEXT void *alloc_slow(struct bufpool *bp, size_t size,
					    unsigned int flags)
{
	uint32_t index = NO_SLOT;
	void *buf = NULL;
	uint64_t pages;
	uint32_t class;

	if (size == 0 || flags & ~BUFPOOL_ZERO) {
		errno = EINVAL;
		return NULL;
	}
	if (size > load_relaxed(&bp->control->alloc_limit_bytes)) {
		errno = EFBIG;
		return NULL;
	}

	pool_poll(bp);
	pages = ((size - 1) >> bp->page_shift) + 1;
	class = bufpool_class(pages);
	if (class < bp->nr_classes)
		index = pop_any(bp, class, pages);
	if (index != NO_SLOT) {
		if (slot_claim(bp, index, class, pages)) {
			buf = slot_address(bp, index);
			if (flags & BUFPOOL_ZERO)
				bufpool_zero(buf, slot_bytes(bp, index));
		} else {
			/* The kernel makes it bigger. */
			put(bp, index, class);
		}
	}
	if (!buf)
		buf = alloc_request(bp, size, flags);
	if (unlikely(bp->leaks) && buf)
		bufpool_leaks_record(bp, slot_index(bp, buf), size);
	return buf;
}

/*
 * The slot that was popped is too small: try another one in exchange, so that
 * of unlike sizes in one class the big ones come to be used by all.
 */
static noinline void *alloc_misfit(struct bufpool *bp, size_t size,
				   uint32_t index, uint32_t class,
				   uint64_t pages)
{
	uint32_t other = NO_SLOT;

	if (class_is_large(bp, class))
		other = pop_any(bp, class, pages);
	if (other == NO_SLOT) {
		put(bp, index, class);
		return alloc_request(bp, size, 0);
	}
	if (!push_depot(bp, index, class))
		bufpool_free_request(bp, "free", index);
	/* Any may come if the class has just ceased to be large. */
	if (unlikely(!slot_claim(bp, other, class, pages))) {
		put(bp, other, class);
		return alloc_request(bp, size, 0);
	}
	return slot_address(bp, other);
}

/* The front was empty: this CPU's stack.  Apart, so as not to be in the way. */
static noinline ALLOC_TEXT void *alloc_stack(struct bufpool *bp, size_t size,
					     uint32_t class, uint64_t pages)
{
	uint32_t cpu = cpu_from_rseq(bp), index;

	if (unlikely(cpu >= bp->fast_cpus))
		return alloc_slow(bp, size, 0);
	index = stack_pop(bp, &bp->stacks[cpu].head[class]);
	if (unlikely(index == NO_SLOT))
		return alloc_slow(bp, size, 0);
	if (unlikely(!slot_claim(bp, index, class, pages)))
		return alloc_misfit(bp, size, index, class, pages);
	return slot_address(bp, index);
}

ALLOC_TEXT
void *bufpool_alloc(struct bufpool *bp, size_t size, unsigned int flags)
{
	uint64_t last = (uint64_t)size - 1, pages;
	uint32_t class, index;

	/* A size of 0 wraps and is over any limit. */
	if (unlikely(flags ||
		     last >= load_relaxed(&bp->control->alloc_limit_bytes)))
		return alloc_slow(bp, size, flags);

	pages = (last >> bp->page_shift) + 1;
	class = bufpool_class(pages);
	if (unlikely(class >= bp->nr_classes))
		return alloc_slow(bp, size, flags);

	index = take_front(bp, class);
	if (unlikely(index == NO_SLOT))
		return alloc_stack(bp, size, class, pages);
	if (unlikely(!slot_claim(bp, index, class, pages)))
		return alloc_misfit(bp, size, index, class, pages);
	return slot_address(bp, index);
}

static noinline void free_slow(struct bufpool *bp, void *buf)
{
	uint32_t index, class;

	if (!buf)
		return;
	index = slot_live(bp, buf, &class);
	if (index == NO_SLOT) {
		/* A weak buffer then, unless it is none at all. */
		if (!bufpool_strengthen_for(bp, "free", buf))
			return;
		index = slot_live(bp, buf, &class);
		if (index == NO_SLOT)
			bufpool_abort_buffer(bp, "free", buf);
	}

	if (unlikely(bp->leaks))
		bufpool_leaks_forget(bp, index);
	put(bp, index, class);
	pool_poll(bp);
}

/* The front was in use: this CPU's stack. */
static noinline void free_stack(struct bufpool *bp, void *buf, uint32_t index,
				uint32_t class)
{
	uint32_t cpu = cpu_from_rseq(bp);

	if (unlikely(cpu >= bp->fast_cpus || !push_local(bp, cpu, index, class)))
		free_slow(bp, buf);
}

void bufpool_free(struct bufpool *bp, void *buf)
{
	uint32_t class, index = slot_live(bp, buf, &class);

	if (unlikely(index == NO_SLOT))
		free_slow(bp, buf);
	else if (unlikely(!put_front(bp, index, class)))
		free_stack(bp, buf, index, class);
}

size_t bufpool_usable_size(const struct bufpool *bp, const void *buf)
{
	if (!buf)
		return 0;
	return slot_bytes(bp, bufpool_slot_of(bp, "usable_size", buf));
}
