// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu.h"
#include "memory.h"
#include "stack.h"
#include "tap.h"

/*
 * @owned: pages attached at each index, as the backend itself knows it
 * @taken: whether the slot there was weak, was taken, and is not freed yet
 * @unused: detached slots of each class, linked by index + 1 through @below
 * @end: pages from here on never belonged to a slot
 */
struct memory {
	struct bufpool_backend backend;
	pthread_mutex_t lock;
	struct memory_counts counts;
	uint32_t *owned;
	uint32_t *below;
	bool *taken;
	uint32_t unused[BUFPOOL_MAX_CLASSES];
	uint64_t end;
};

const struct memory_tuning memory_defaults = {
	.nr_pages = 8192,
	.percpu_cap = 16,
	.depot_cap = UINT32_MAX,
	.large_threshold_pages = 256,
	.max_pooled_pages = 8192,
	.max_retained_pages = 8192,
};

static struct memory *pool_memory(struct bufpool *bp)
{
	return (struct memory *)((char *)bp->backend -
				 offsetof(struct memory, backend));
}

/* Requests come from signal handlers too, which must not find the lock taken. */
static void lock(struct memory *m, sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, old);
	pthread_mutex_lock(&m->lock);
}

static void unlock(struct memory *m, const sigset_t *old)
{
	pthread_mutex_unlock(&m->lock);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

static char *page_address(struct bufpool *bp, uint64_t index)
{
	return bp->data + (index << bp->page_shift);
}

static int attach(struct bufpool *bp, struct bufpool_alloc *alloc)
{
	struct memory *m = pool_memory(bp);
	uint64_t pages = ((alloc->bytes - 1) >> bp->page_shift) + 1;
	uint32_t class = bufpool_class(pages);
	uint64_t room = bufpool_class_pages(class);
	struct bufpool_slot *slot;
	uint32_t index;

	if (!(bp->control->classes[class].flags & BUFPOOL_CLASS_LARGE))
		pages = room;
	if (m->unused[class]) {
		index = m->unused[class] - 1;
		m->unused[class] = m->below[index];
	} else {
		if (room > bp->nr_pages - m->end)
			return -EDQUOT;
		index = (uint32_t)m->end;
		m->end += room;
	}
	require(!mprotect(page_address(bp, index), pages << bp->page_shift,
			  PROT_READ | PROT_WRITE));

	m->owned[index] = (uint32_t)pages;
	m->counts.attached_pages += pages;
	slot = &bp->slots[index];
	store_relaxed(&slot->next, 0);
	store_relaxed(&slot->depth, 0);
	store_relaxed(&slot->pages, (uint32_t)pages);
	store_relaxed(&slot->state,
		      BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, class));
	alloc->offset = bp->control->data_offset +
			((uint64_t)index << bp->page_shift);
	alloc->usable_bytes = pages << bp->page_shift;
	return 0;
}

static void detach_memory(struct bufpool *bp, uint32_t index)
{
	struct memory *m = pool_memory(bp);
	size_t bytes = (size_t)m->owned[index] << bp->page_shift;

	require(!madvise(page_address(bp, index), bytes, MADV_DONTNEED));
	require(!mprotect(page_address(bp, index), bytes, PROT_NONE));
	m->counts.attached_pages -= m->owned[index];
	m->owned[index] = 0;
}

static void free_slot(struct bufpool *bp, uint32_t index)
{
	struct memory *m = pool_memory(bp);
	struct bufpool_slot *slot = &bp->slots[index];
	uint32_t class = (load_relaxed(&slot->state) >> 8) - 1;

	m->below[index] = m->unused[class];
	m->unused[class] = index + 1;

	/* The kernel takes the page of headers, which reads zero from then on. */
	store_relaxed(&slot->state, 0);
	store_relaxed(&slot->next, 0);
	store_relaxed(&slot->depth, 0);
	store_relaxed(&slot->pages, 0);
}

static void detach(struct bufpool *bp, uint32_t index)
{
	detach_memory(bp, index);
	free_slot(bp, index);
}

static int give_back(struct bufpool *bp, const struct bufpool_free *arg)
{
	struct memory *m = pool_memory(bp);
	uint64_t index = (arg->offset - bp->control->data_offset) >>
			 bp->page_shift;

	if (index >= bp->nr_pages)
		return -EINVAL;
	if (m->taken[index]) {
		m->taken[index] = false;
		free_slot(bp, (uint32_t)index);
		return 0;
	}
	if (!m->owned[index] ||
	    (load_relaxed(&bp->slots[index].state) & 0xff) != BUFPOOL_SLOT_LIVE)
		return -EINVAL;
	detach(bp, (uint32_t)index);
	return 0;
}

/* The slot that has been weak for longest, or NO_SLOT. */
static uint32_t oldest_weak(struct bufpool *bp)
{
	struct memory *m = pool_memory(bp);
	uint32_t now = load_relaxed(&pool_depot(bp)->weak_clock);
	uint32_t oldest = NO_SLOT, index, age, most = 0;

	for (index = 0; index < m->end; index++) {
		struct bufpool_slot *slot = &bp->slots[index];

		if (!m->owned[index] || (load_relaxed(&slot->state) & 0xff) !=
					BUFPOOL_SLOT_WEAK)
			continue;
		age = now - load_relaxed(&slot->depth);
		if (oldest == NO_SLOT || age > most) {
			oldest = index;
			most = age;
		}
	}
	return oldest;
}

unsigned int memory_take_weak(struct bufpool *bp, unsigned int max)
{
	struct bufpool_stacks *depot = pool_depot(bp);
	struct memory *m = pool_memory(bp);
	unsigned int taken = 0;
	uint32_t index;
	__u32 weak;
	sigset_t old;

	lock(m, &old);
	while (taken < max && load_relaxed(&depot->nr_weak) > 0) {
		index = oldest_weak(bp);
		if (index == NO_SLOT)
			break;
		weak = load_relaxed(&bp->slots[index].state);
		if ((weak & 0xff) != BUFPOOL_SLOT_WEAK ||
		    !__atomic_compare_exchange_n(&bp->slots[index].state, &weak,
						 (weak & ~0xffU) |
						 BUFPOOL_SLOT_TAKEN, false,
						 __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE))
			continue;
		__atomic_fetch_sub(&depot->nr_weak, 1, __ATOMIC_RELAXED);
		m->taken[index] = true;
		detach_memory(bp, index);
		taken++;
	}
	unlock(m, &old);
	return taken;
}

static uint64_t release_stack(struct bufpool *bp, __u64 *head, bool depot)
{
	struct memory *m = pool_memory(bp);
	__u64 old = stack_head(head), empty;
	uint64_t pages = 0;
	uint32_t link, index;

	do {
		empty = BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, 0);
	} while (!__atomic_compare_exchange_n(head, &old, empty, true,
					      __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	for (link = BUFPOOL_LINK(old); link; ) {
		index = link - 1;
		require(index < bp->nr_pages && m->owned[index]);
		pages += m->owned[index];
		link = load_relaxed(&bp->slots[index].next);
		detach(bp, index);
	}
	if (depot)
		__atomic_fetch_sub(&pool_depot(bp)->idle_pages, (__s64)pages,
				   __ATOMIC_RELAXED);
	return pages;
}

static int release(struct bufpool *bp, struct bufpool_release *arg)
{
	uint32_t block, class;
	uint64_t pages = 0;

	for (block = 0; block <= bp->nr_cpus; block++)
		for (class = 0; class < bp->nr_classes; class++)
			pages += release_stack(bp,
					       &bp->stacks[block].head[class],
					       block == bp->nr_cpus);
	arg->released_bytes = pages << bp->page_shift;
	return 0;
}

static int memory_request(struct bufpool *bp, unsigned int cmd, void *arg)
{
	struct memory *m = pool_memory(bp);
	sigset_t old;
	int ret = -ENOTTY;

	lock(m, &old);
	switch (cmd) {
	case BUFPOOL_IOC_ALLOC:
		m->counts.allocs++;
		ret = attach(bp, arg);
		break;
	case BUFPOOL_IOC_FREE:
		m->counts.frees++;
		ret = give_back(bp, arg);
		break;
	case BUFPOOL_IOC_RELEASE_RETAINED:
		m->counts.releases++;
		ret = release(bp, arg);
		break;
	}
	unlock(m, &old);
	return ret;
}

static void memory_headers(struct bufpool *bp, uint64_t first, size_t n,
			   unsigned char *used)
{
	require(!mincore(&bp->slots[first], n << bp->page_shift, used));
}

static void memory_close(struct bufpool *bp)
{
	if (bp->fd >= 0)
		close(bp->fd);
}

void memory_tune(struct bufpool *bp, const struct memory_tuning *t)
{
	struct bufpool_control *control = bp->control;
	uint32_t class;

	for (class = 0; class < control->nr_classes; class++) {
		struct bufpool_class_tuning *tuning = &control->classes[class];
		uint64_t pages = bufpool_class_pages(class);
		bool large = pages > t->large_threshold_pages;

		tuning->pages = (uint32_t)pages;
		store_relaxed(&tuning->percpu_cap, large ? 0 : t->percpu_cap);
		store_relaxed(&tuning->depot_cap, t->depot_cap);
		store_relaxed(&tuning->flags, large ? BUFPOOL_CLASS_LARGE : 0);
	}
	store_relaxed(&control->max_retained_pages, t->max_retained_pages);
	store_relaxed(&control->max_pooled_pages, t->max_pooled_pages);
}

static uint64_t page_align(uint64_t bytes, uint64_t page_size)
{
	return (bytes + page_size - 1) & ~(page_size - 1);
}

struct bufpool *memory_pool(const struct memory_tuning *tuning)
{
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	struct bufpool_control *control;
	struct memory_tuning t;
	struct bufpool *bp;
	struct memory *m;
	uint64_t bytes, cpu_offset, slot_offset, data_offset;

	t = tuning ? *tuning : memory_defaults;
	if (!t.nr_cpus)
		t.nr_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);

	cpu_offset = page_align(sizeof(*control), page_size);
	slot_offset = cpu_offset + page_align((t.nr_cpus + 1) *
				sizeof(struct bufpool_stacks), page_size);
	data_offset = slot_offset + page_align(t.nr_pages *
				sizeof(struct bufpool_slot), page_size);
	bytes = data_offset + t.nr_pages * page_size;
	control = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	require(control != MAP_FAILED);
	require(!mprotect((char *)control + data_offset, t.nr_pages * page_size,
			  PROT_NONE));

	control->abi_version = BUFPOOL_ABI_VERSION;
	control->page_shift = (uint32_t)__builtin_ctzll(page_size);
	control->nr_cpus = t.nr_cpus;
	control->nr_pages = t.nr_pages;
	control->nr_classes = bufpool_class(t.nr_pages) + 1;
	control->cpu_offset = cpu_offset;
	control->slot_offset = slot_offset;
	control->data_offset = data_offset;
	control->alloc_limit_bytes = t.nr_pages * page_size;

	m = calloc(1, sizeof(*m));
	require(m);
	m->owned = calloc(t.nr_pages, sizeof(*m->owned));
	m->below = calloc(t.nr_pages, sizeof(*m->below));
	m->taken = calloc(t.nr_pages, sizeof(*m->taken));
	require(m->owned && m->below && m->taken);
	pthread_mutex_init(&m->lock, NULL);
	m->backend = (struct bufpool_backend) {
		.name = "memory", .request = memory_request,
		.headers = memory_headers, .close = memory_close,
	};

	bp = bufpool_open_mapping(&m->backend, -1, control, bytes);
	require(bp);
	memory_tune(bp, &t);
	return bp;
}

void memory_pool_destroy(struct bufpool *bp)
{
	struct memory *m = pool_memory(bp);

	bufpool_destroy(bp);
	pthread_mutex_destroy(&m->lock);
	free(m->owned);
	free(m->below);
	free(m->taken);
	free(m);
}

struct memory_counts memory_counts(struct bufpool *bp)
{
	struct memory *m = pool_memory(bp);
	struct memory_counts counts;
	sigset_t old;

	lock(m, &old);
	counts = m->counts;
	unlock(m, &old);
	return counts;
}

uint64_t memory_idle_pages(struct bufpool *bp)
{
	uint32_t block, class, link, seen = 0;
	uint64_t pages = 0;

	for (block = 0; block <= bp->nr_cpus; block++) {
		for (class = 0; class < bp->nr_classes; class++) {
			link = BUFPOOL_LINK(bp->stacks[block].head[class]);
			for (; link; link = bp->slots[link - 1].next) {
				require(link <= bp->nr_pages);
				require(seen++ < bp->nr_pages);
				pages += bp->slots[link - 1].pages;
			}
		}
	}
	return pages;
}

uint32_t memory_pin(struct bufpool *bp)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	require(cpu >= 0);
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	require(!sched_setaffinity(0, sizeof(set), &set));
	return this_cpu(bp);
}

struct bufpool_slot *memory_slot(struct bufpool *bp, const void *buf)
{
	return &bp->slots[(size_t)((const char *)buf - bp->data) >>
			  bp->page_shift];
}
