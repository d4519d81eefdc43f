// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend's spans and slots: who has which part of the data range.
 *
 * Small classes take spans from the bottom of the range, those that ask for huge
 * pages from the top, so that few mappings of one kind come of it.
 */
#include <errno.h>
#include <sys/mman.h>

#include "anonymous.h"
#include "cpu.h"

/* Slots whose headers end with a line of cache, whatever their size. */
#define GROUP		(64 / (uint32_t)sizeof(struct bufpool_slot))

/* The part of a span's small slots that have lines of cache alone. */
#define SPARSE_SHARE	32

/* Small slots are packed; from HUGE_SIZE up each starts where a huge page can. */
static uint32_t class_stride(const struct bufpool *bp, uint32_t class)
{
	uint64_t huge = HUGE_SIZE >> bp->page_shift;
	uint64_t pages = bufpool_class_pages(class);

	return (uint32_t)(pages < huge ? pages : (pages + huge - 1) & -huge);
}

static uint32_t span_nr_slots(const struct bufpool *bp, uint32_t class)
{
	uint64_t stride = class_stride(bp, class);

	return stride > span_pages(bp) ? 1 : (uint32_t)(span_pages(bp) / stride);
}

/* Length of the run that holds a slot of @class. */
static uint32_t span_run(const struct bufpool *bp, uint32_t class)
{
	return (uint32_t)((class_stride(bp, class) + span_pages(bp) - 1) /
			  span_pages(bp));
}

static bool span_is_used(const struct bufpool_anonymous *anon, uint32_t nr)
{
	return anon->span_map[nr / 64] >> nr % 64 & 1;
}

static void mark_run(struct bufpool_anonymous *anon, uint32_t nr, uint32_t run)
{
	for (; run--; nr++)
		anon->span_map[nr / 64] ^= (uint64_t)1 << nr % 64;
}

/* The lowest span that is free; nr_spans: none. */
static uint32_t find_lowest(const struct bufpool_anonymous *anon)
{
	uint32_t nr, word;

	for (word = 0; word < (anon->nr_spans + 63) / 64; word++) {
		if (!~anon->span_map[word])
			continue;
		nr = word * 64 + (uint32_t)__builtin_ctzll(~anon->span_map[word]);
		return nr < anon->nr_spans ? nr : anon->nr_spans;
	}
	return anon->nr_spans;
}

/* The highest run of free spans; nr_spans: none. */
static uint32_t find_highest(const struct bufpool_anonymous *anon, uint32_t run)
{
	uint32_t nr = anon->nr_spans, have = 0;

	while (nr) {
		if (nr % 64 == 0 && !~anon->span_map[nr / 64 - 1]) {
			nr -= 64;
			have = 0;
			continue;
		}
		have = span_is_used(anon, --nr) ? 0 : have + 1;
		if (have == run)
			return nr;
	}
	return anon->nr_spans;
}

static void partial_add(struct bufpool_anonymous *anon, uint32_t nr)
{
	struct span *span = &anon->spans[nr];
	uint32_t *first = &anon->partial[span->class1 - 1];

	span->prev = 0;
	span->next = *first;
	if (*first)
		anon->spans[*first - 1].prev = nr + 1;
	*first = nr + 1;
}

static void partial_del(struct bufpool_anonymous *anon, uint32_t nr)
{
	struct span *span = &anon->spans[nr];

	if (span->prev)
		anon->spans[span->prev - 1].next = span->next;
	else
		anon->partial[span->class1 - 1] = span->next;
	if (span->next)
		anon->spans[span->next - 1].prev = span->prev;
}

/* Slots of a small class share huge pages with each other: they want none. */
static void span_unhuge(struct bufpool_anonymous *anon, uint32_t nr)
{
	unsigned char *huge = &anon->huge[nr * (SPAN_SIZE / HUGE_SIZE)];
	size_t i;

	for (i = 0; i < SPAN_SIZE / HUGE_SIZE; i++) {
		if (!huge[i])
			continue;
		if (!madvise(anon->bp->data + nr * SPAN_SIZE + i * HUGE_SIZE,
			     HUGE_SIZE, MADV_NOHUGEPAGE))
			huge[i] = 0;
	}
}

/*
 * Make spans accessible that are used for the first time.  Until then mlockall() does
 * not populate them; and if it has been called, they shall not be populated now, all
 * of them at once.  False: no memory for it, or none that may be committed.
 */
static bool span_open(struct bufpool_anonymous *anon, uint32_t nr, uint32_t run)
{
	char *start = anon->bp->data + nr * SPAN_SIZE;
	bool accessible = true;
	uint32_t i;

	for (i = 0; i < run; i++)
		accessible = accessible && anon->spans[nr + i].accessible;
	if (accessible)
		return true;
	munlock(start, run * SPAN_SIZE);
	if (mprotect(start, run * SPAN_SIZE, PROT_READ | PROT_WRITE))
		return false;
	for (i = 0; i < run; i++)
		anon->spans[nr + i].accessible = true;
	return true;
}

/* A span for @class, on its list; nr_spans: none is free. */
static uint32_t span_create(struct bufpool_anonymous *anon, uint32_t class)
{
	uint32_t run = span_run(anon->bp, class), nr;
	bool small = bufpool_class_pages(class) <
		     HUGE_SIZE >> anon->bp->page_shift;

	nr = small ? find_lowest(anon) : find_highest(anon, run);
	if (nr == anon->nr_spans)
		return nr;
	if (!span_open(anon, nr, run))
		return anon->nr_spans;
	if (small)
		span_unhuge(anon, nr);
	mark_run(anon, nr, run);
	anon->nr_used_spans += run;
	anon->spans[nr].class1 = class + 1;
	partial_add(anon, nr);
	return nr;
}

/*
 * The span's slot headers go with it.  A thread that still holds a stale link to one
 * reads zeroes then, and its compare-exchange fails.
 */
static void span_free(struct bufpool_anonymous *anon, uint32_t nr)
{
	struct bufpool *bp = anon->bp;
	size_t bytes = span_pages(bp) * sizeof(struct bufpool_slot);
	size_t held = span_pages(bp) * sizeof(*anon->held);
	uint32_t run = span_run(bp, anon->spans[nr].class1 - 1);

	partial_del(anon, nr);
	anon->spans[nr].class1 = 0;
	mark_run(anon, nr, run);
	anon->nr_used_spans -= run;
	/* With larger pages several spans share one of headers: EINVAL, it stays. */
	madvise((char *)bp->slots + nr * bytes, bytes, MADV_DONTNEED);
	madvise((char *)anon->held + nr * held, held, MADV_DONTNEED);
}

/* The first detached slot from @start on, or @nr. */
static uint32_t next_unused(const struct span *span, uint32_t start, uint32_t nr)
{
	uint64_t unused = ~span->used[start / 64] & UINT64_MAX << start % 64;
	uint32_t slot = start & ~63U;

	while (!unused && (slot += 64) < nr)
		unused = ~span->used[slot / 64];
	if (unused)
		slot += (uint32_t)__builtin_ctzll(unused);
	return slot < nr ? slot : nr;
}

/* The first of GROUP detached slots from @start on, or @nr. */
static uint32_t next_unused_group(const struct span *span, uint32_t start,
				  uint32_t nr)
{
	for (; start + GROUP <= nr; start += GROUP)
		if (!(span->used[start / 64] >> start % 64 & ((1U << GROUP) - 1)))
			return start;
	return nr;
}

/*
 * A detached slot of a span that has one.  Headers of small slots share lines of
 * cache, which two CPUs that use the slots would pull from one another.  So each CPU
 * begins to search in a part of its own, and as long as there are few slots in use
 * each has its line alone: one that another CPU took from here may be next to it.
 */
static uint32_t find_slot(const struct bufpool *bp, const struct span *span,
			  uint32_t class)
{
	uint32_t nr = span_nr_slots(bp, class);
	uint32_t part = nr / bp->nr_cpus / GROUP * GROUP;
	uint32_t start, slot;

	if (class_stride(bp, class) >= GROUP)
		return next_unused(span, 0, nr);

	if (part < GROUP)
		part = GROUP;
	start = this_cpu(bp) % (nr / part) * part;
	if (span->nr_used < nr / SPARSE_SHARE) {
		slot = next_unused_group(span, start, nr);
		if (slot < nr)
			return slot;
	}
	slot = next_unused(span, start, nr);
	return slot < nr ? slot : next_unused(span, 0, nr);
}

/* A detached slot of @class, in transit from then on; or -ENOSPC. */
int bufpool_slot_reserve(struct bufpool_anonymous *anon, uint32_t class,
			 struct slot_ref *ref)
{
	struct bufpool *bp = anon->bp;
	uint32_t nr = anon->partial[class] - 1, slot;
	struct span *span;

	if (!anon->partial[class]) {
		nr = span_create(anon, class);
		if (nr == anon->nr_spans)
			return -ENOSPC;
	}
	span = &anon->spans[nr];
	slot = find_slot(bp, span, class);
	span->used[slot / 64] |= (uint64_t)1 << slot % 64;
	if (++span->nr_used == span_nr_slots(bp, class))
		partial_del(anon, nr);

	ref->class = class;
	ref->index = (uint32_t)(nr * span_pages(bp) +
				slot * class_stride(bp, class));
	return 0;
}

/* The slot at @index, in transit or taken, is detached from then on. */
void bufpool_slot_unreserve(struct bufpool_anonymous *anon, uint32_t index)
{
	struct bufpool *bp = anon->bp;
	uint32_t nr = (uint32_t)(index / span_pages(bp));
	struct span *span = &anon->spans[nr];
	uint32_t class = span->class1 - 1;
	uint32_t slot = (uint32_t)(index % span_pages(bp)) /
			class_stride(bp, class);

	span->used[slot / 64] &= ~((uint64_t)1 << slot % 64);
	if (span->nr_used-- == span_nr_slots(bp, class))
		partial_add(anon, nr);
	if (!span->nr_used)
		span_free(anon, nr);
}

/* Whether an attached or taken slot starts at page @index, which is any value. */
bool bufpool_slot_find(const struct bufpool_anonymous *anon, uint64_t index,
		       struct slot_ref *ref)
{
	const struct bufpool *bp = anon->bp;

	if (index >= bp->nr_pages || !anon->held[index])
		return false;
	ref->index = (uint32_t)index;
	ref->pages = anon->held[index];
	ref->class = anon->spans[index / span_pages(bp)].class1 - 1;
	return true;
}

/* The next slot that is not detached, from page @index on; nr_pages: none. */
uint32_t bufpool_span_next_slot(const struct bufpool_anonymous *anon,
				uint64_t index)
{
	const struct bufpool *bp = anon->bp;
	uint64_t nr = index / span_pages(bp);
	uint64_t offset = index % span_pages(bp);

	for (; nr < anon->nr_spans; nr++, offset = 0) {
		const struct span *span = &anon->spans[nr];
		uint32_t stride, slot;

		if (!(anon->span_map[nr / 64] >> nr % 64)) {
			nr |= 63;
			continue;
		}
		if (!span_is_used(anon, (uint32_t)nr) || !span->class1)
			continue;
		stride = class_stride(bp, span->class1 - 1);
		slot = (uint32_t)((offset + stride - 1) / stride);
		for (; slot < span_nr_slots(bp, span->class1 - 1); slot++)
			if (span->used[slot / 64] >> slot % 64 & 1)
				return (uint32_t)(nr * span_pages(bp) +
						  slot * stride);
	}
	return bp->nr_pages;
}

/* Write the header of a slot that is the caller's. */
void bufpool_slot_set(struct bufpool *bp, const struct slot_ref *ref,
		      uint32_t state)
{
	struct bufpool_slot *slot = &bp->slots[ref->index];

	store_relaxed(&slot->pages, ref->pages);
	store_relaxed(&slot->state, BUFPOOL_SLOT_STATE(state, ref->class));
}

/* The header of a slot that has no memory any more. */
void bufpool_slot_clear(struct bufpool *bp, uint32_t index)
{
	struct bufpool_slot *slot = &bp->slots[index];

	store_relaxed(&slot->state, 0);
	store_relaxed(&slot->pages, 0);
	store_relaxed(&slot->next, 0);
	store_relaxed(&slot->depth, 0);
}
