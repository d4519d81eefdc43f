// SPDX-License-Identifier: GPL-2.0-only
/* Spans and slots: who has which part of the data range.  Under pool->lock. */
#include <linux/bitmap.h>
#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/list.h>
#include <linux/slab.h>

#include "bufpool.h"

/*
 * The part of a span's small slots that have lines of cache alone.  They do not lie
 * side by side, which makes giving them back dearer.
 */
#define SPARSE_SHARE	32

/* Small slots are packed; from 2 MiB up each starts where a PMD can map it. */
static u32 class_stride(u32 cls)
{
	u32 pages = bufpool_class_pages(cls);

	return pages < BUFPOOL_HUGE_PAGES ? pages : ALIGN(pages, BUFPOOL_HUGE_PAGES);
}

static struct bufpool_span *span_create(struct bufpool *pool, u32 cls)
{
	u32 stride = class_stride(cls);
	u32 nr_slots = max_t(u32, BUFPOOL_SPAN_PAGES / stride, 1);
	u32 nr_spans = DIV_ROUND_UP(stride, BUFPOOL_SPAN_PAGES);
	struct bufpool_span *span;
	unsigned long nr;
	int err;

	nr = bitmap_find_next_zero_area(pool->span_map, pool->nr_spans, 0,
					nr_spans, 0);
	if (nr >= pool->nr_spans)
		return ERR_PTR(-ENOSPC);

	span = kzalloc(struct_size(span, slot_pages, nr_slots), BUFPOOL_GFP);
	if (!span)
		return ERR_PTR(-ENOMEM);
	span->nr = nr;
	span->nr_spans = nr_spans;
	span->cls = cls;
	span->stride = stride;
	span->nr_slots = nr_slots;

	err = xa_err(xa_store(&pool->spans, nr, span, BUFPOOL_GFP));
	if (err) {
		kfree(span);
		return ERR_PTR(err);
	}
	bitmap_set(pool->span_map, nr, nr_spans);
	list_add(&span->partial, &pool->partial[cls]);
	return span;
}

/*
 * The span's slot headers go with it.  A thread that still holds a stale link
 * to one reads a new page of zeroes then, and its compare-exchange fails.
 */
static void span_free_headers(struct bufpool *pool, struct bufpool_span *span)
{
	loff_t start = pool->slot_offset +
		       (loff_t)span->nr * BUFPOOL_SPAN_HEADER_BYTES;
	bool found = false;
	int i;

	for (i = 0; i < BUFPOOL_SPAN_HEADER_PAGES; i++) {
		if (!span->header[i])
			continue;
		folio_put(span->header[i]);
		found = true;
	}
	/* With large pages, several spans share one of headers: that one stays. */
	if (found && IS_ALIGNED(BUFPOOL_SPAN_HEADER_BYTES, PAGE_SIZE))
		bufpool_drop_pages(pool, start >> PAGE_SHIFT,
				   BUFPOOL_SPAN_HEADER_PAGES);
}

static void span_free(struct bufpool *pool, struct bufpool_span *span)
{
	list_del(&span->partial);
	bitmap_clear(pool->span_map, span->nr, span->nr_spans);
	xa_erase(&pool->spans, span->nr);
	span_free_headers(pool, span);
	kfree(span);
}

static int span_need_header(struct bufpool *pool, struct bufpool_span *span,
			    u32 index)
{
	loff_t offset = pool->slot_offset +
			(loff_t)index * sizeof(struct bufpool_slot);
	struct folio **header = &span->header[index % BUFPOOL_SPAN_PAGES *
					      sizeof(struct bufpool_slot) /
					      PAGE_SIZE];
	struct folio *folio;

	if (*header)
		return 0;
	folio = bufpool_control_folio(pool, offset >> PAGE_SHIFT,
				      BUFPOOL_GFP_CONTROL);
	if (IS_ERR(folio))
		return PTR_ERR(folio);
	folio_unlock(folio);
	*header = folio;
	return 0;
}

/*
 * A detached slot of a span that has one.  Headers of small slots share lines of
 * cache, which two CPUs that use the slots would pull from one another.  So each CPU
 * begins to search in a part of its own, and as long as there are few slots in use
 * each has its line alone: one that another CPU took from here may be next to it.
 */
static u32 find_slot(struct bufpool_span *span)
{
	/* As many end with a line, whatever their size. */
	const u32 group = SMP_CACHE_BYTES / sizeof(struct bufpool_slot);
	u32 part = max(round_down(span->nr_slots / nr_cpu_ids, group), group);
	u32 start, slot;

	if (span->stride >= group)
		return find_first_zero_bit(span->used, span->nr_slots);

	start = raw_smp_processor_id() % (span->nr_slots / part) * part;
	if (span->nr_used < span->nr_slots / SPARSE_SHARE) {
		slot = bitmap_find_next_zero_area(span->used, span->nr_slots,
						  start, group, group - 1);
		if (slot < span->nr_slots)
			return slot;
	}
	slot = find_next_zero_bit(span->used, span->nr_slots, start);
	return slot < span->nr_slots ? slot :
	       find_first_zero_bit(span->used, span->nr_slots);
}

/**
 * bufpool_slot_reserve - take a detached slot of a class
 * @pool: the pool, its lock held
 * @cls: the class
 * @ref: out: the slot, in transit; its pages member is left to the caller
 *
 * Return: 0; -ENOSPC no room in the data range; -ENOMEM.
 */
int bufpool_slot_reserve(struct bufpool *pool, u32 cls, struct bufpool_ref *ref)
{
	struct bufpool_span *span;
	int err;

	lockdep_assert_held(&pool->lock);
	span = list_first_entry_or_null(&pool->partial[cls],
					struct bufpool_span, partial);
	if (!span) {
		span = span_create(pool, cls);
		if (IS_ERR(span))
			return PTR_ERR(span);
	}

	ref->span = span;
	ref->slot = find_slot(span);
	ref->index = span->nr * BUFPOOL_SPAN_PAGES + ref->slot * span->stride;

	err = span_need_header(pool, span, ref->index);
	if (err) {
		if (!span->nr_used)
			span_free(pool, span);
		return err;
	}

	__set_bit(ref->slot, span->used);
	pool->nr_slots++;
	if (++span->nr_used == span->nr_slots)
		list_del_init(&span->partial);
	return 0;
}

/**
 * bufpool_slot_unreserve - a slot in transit has no memory any more
 * @pool: the pool, its lock held
 * @ref: the slot; its span may be gone afterwards
 */
void bufpool_slot_unreserve(struct bufpool *pool, const struct bufpool_ref *ref)
{
	struct bufpool_span *span = ref->span;

	lockdep_assert_held(&pool->lock);
	__clear_bit(ref->slot, span->used);
	pool->nr_slots--;
	if (span->nr_used-- == span->nr_slots)
		list_add(&span->partial, &pool->partial[span->cls]);
	if (!span->nr_used)
		span_free(pool, span);
}

/* The slot that starts at a page, whatever its state. */
static bool slot_at(struct bufpool *pool, u64 index, struct bufpool_ref *ref)
{
	struct bufpool_span *span;
	u32 start, slot;

	lockdep_assert_held(&pool->lock);
	if (index >= pool->nr_pages)
		return false;
	span = xa_load(&pool->spans, index / BUFPOOL_SPAN_PAGES);
	if (!span)
		return false;
	start = index % BUFPOOL_SPAN_PAGES;
	slot = start / span->stride;
	if (start % span->stride || slot >= span->nr_slots)
		return false;

	ref->span = span;
	ref->slot = slot;
	ref->index = index;
	ref->pages = span->slot_pages[slot];
	return true;
}

/**
 * bufpool_slot_find - find the attached slot that starts at a page
 * @pool: the pool, its lock held
 * @index: page in the data range; any value
 * @ref: out: the slot, with the pages it holds
 *
 * Return: whether there is one.
 */
bool bufpool_slot_find(struct bufpool *pool, u64 index, struct bufpool_ref *ref)
{
	return slot_at(pool, index, ref) && ref->pages &&
	       !test_bit(ref->slot, ref->span->leaving);
}

/**
 * bufpool_slot_free_hollow - the process has learnt that a slot was taken
 * @pool: the pool, its lock held
 * @index: page in the data range; any value
 *
 * If the slot's memory is still on its way out, whoever sees to that detaches it.
 *
 * Return: whether a hollow slot starts there.
 */
bool bufpool_slot_free_hollow(struct bufpool *pool, u64 index)
{
	struct bufpool_ref ref;

	if (!slot_at(pool, index, &ref) ||
	    !__test_and_clear_bit(ref.slot, ref.span->hollow))
		return false;
	bufpool_slot_set(&ref, BUFPOOL_SLOT_DETACHED);
	if (!test_bit(ref.slot, ref.span->leaving))
		bufpool_slot_unreserve(pool, &ref);
	return true;
}

/**
 * bufpool_forget_hollow - free all hollow slots: nobody will ask for them
 * @pool: the pool, its lock held
 */
void bufpool_forget_hollow(struct bufpool *pool)
{
	struct bufpool_span *span;
	unsigned long nr;
	u32 slot;
	bool last;

	xa_for_each(&pool->spans, nr, span) {
		for_each_set_bit(slot, span->hollow, span->nr_slots) {
			/* The span goes with its last slot. */
			last = span->nr_used == 1;
			bufpool_slot_free_hollow(pool, nr * BUFPOOL_SPAN_PAGES +
						       slot * span->stride);
			if (last)
				break;
		}
	}
}

/**
 * bufpool_slot_header - the shared header of a slot that is not detached
 * @ref: the slot
 *
 * The process may write it at any moment: READ_ONCE() and WRITE_ONCE() only.
 *
 * Return: the header, valid as long as the slot does not become detached.
 */
struct bufpool_slot *bufpool_slot_header(const struct bufpool_ref *ref)
{
	unsigned long byte = ref->index % BUFPOOL_SPAN_PAGES *
			     sizeof(struct bufpool_slot);
	unsigned long in_file = (unsigned long)ref->index *
				sizeof(struct bufpool_slot);
	struct folio *folio = ref->span->header[byte / PAGE_SIZE];

	return folio_address(folio) + offset_in_page(in_file);
}

/**
 * bufpool_slot_set - write a slot's shared header
 * @ref: the slot, attached or in transit and owned by the caller
 * @state: BUFPOOL_SLOT_LIVE, _IDLE or _DETACHED
 */
void bufpool_slot_set(const struct bufpool_ref *ref, u32 state)
{
	struct bufpool_slot *header = bufpool_slot_header(ref);

	if (state == BUFPOOL_SLOT_DETACHED) {
		WRITE_ONCE(header->state, 0);
		WRITE_ONCE(header->pages, 0);
		return;
	}
	WRITE_ONCE(header->pages, ref->pages);
	WRITE_ONCE(header->state,
		   BUFPOOL_SLOT_STATE(state, ref->span->cls));
}

/**
 * bufpool_slot_take - from attached to in transit
 * @ref: the slot, on no stack; from here on nobody else finds it
 *
 * The header of a hollow one goes on saying that it was taken.
 */
void bufpool_slot_take(const struct bufpool_ref *ref)
{
	ref->span->slot_pages[ref->slot] = 0;
	if (!test_bit(ref->slot, ref->span->hollow))
		bufpool_slot_set(ref, BUFPOOL_SLOT_DETACHED);
}

/**
 * bufpool_slot_give - from in transit to attached
 * @ref: the slot, with the pages it has now
 */
void bufpool_slot_give(const struct bufpool_ref *ref)
{
	ref->span->slot_pages[ref->slot] = ref->pages;
}
