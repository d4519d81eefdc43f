// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The anonymous backend's memory: populated, given back. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "anonymous.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
/* For what the program has locked into memory; since 5.18. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif

/*
 * Ask for huge pages where they fit into the first @pages of the slot at @index, a
 * multiple of HUGE_SIZE, and for none behind them: what is attached is what was
 * counted.  Where advice is not taken, as for want of mappings, it stays as it was.
 */
static void advise(struct bufpool_anonymous *anon, uint32_t index,
		   uint32_t pages)
{
	uint32_t per_unit = (uint32_t)(HUGE_SIZE >> anon->bp->page_shift);
	uint32_t first = index / per_unit, last = first + pages / per_unit;
	uint32_t unit, end;

	for (unit = first; unit < last; unit = end) {
		for (end = unit; end < last && !anon->huge[end]; end++)
			;
		if (end > unit &&
		    !madvise(anon->bp->data + unit * HUGE_SIZE,
			     (end - unit) * HUGE_SIZE, MADV_HUGEPAGE))
			for (; unit < end; unit++)
				anon->huge[unit] = 1;
		while (end < last && anon->huge[end])
			end++;
	}
	if (pages % per_unit && anon->huge[last] &&
	    !madvise(anon->bp->data + last * HUGE_SIZE, HUGE_SIZE,
		     MADV_NOHUGEPAGE))
		anon->huge[last] = 0;
}

/* What MADV_POPULATE_WRITE does, for kernels before 5.14. */
static void touch(const struct bufpool *bp, char *start, size_t bytes)
{
	size_t at;

	for (at = 0; at < bytes; at += (size_t)1 << bp->page_shift)
		store_relaxed(start + at, 0);
}

/*
 * Give a slot in transit, of @ref->pages, zeroed memory beside the @had pages that it
 * has: memory that takes no page fault then.  Returns 0; or -ENOMEM, or -EINTR if the
 * process is being killed, with nothing attached.
 */
int bufpool_attach(struct bufpool_anonymous *anon, const struct slot_ref *ref,
		   uint32_t had)
{
	struct bufpool *bp = anon->bp;
	char *start = slot_address(bp, ref->index + had);
	size_t bytes = (size_t)(ref->pages - had) << bp->page_shift;
	int err;

	if (bufpool_class_pages(ref->class) >= HUGE_SIZE >> bp->page_shift)
		advise(anon, ref->index, ref->pages);
	if (!madvise(start, bytes, MADV_POPULATE_WRITE))
		return 0;
	if (errno == EINVAL) {
		touch(bp, start, bytes);
		return 0;
	}
	err = errno == EINTR ? -EINTR : -ENOMEM;
	bufpool_drop(anon, ref->index + had, ref->pages - had);
	return err;
}

/* Give memory back; or zero it at least, since who gets it next takes it for new. */
void bufpool_drop(struct bufpool_anonymous *anon, uint32_t index,
		  uint32_t pages)
{
	size_t bytes = (size_t)pages << anon->bp->page_shift;
	char *start = slot_address(anon->bp, index);

	if (madvise(start, bytes, MADV_DONTNEED) && errno == EINVAL &&
	    madvise(start, bytes, MADV_DONTNEED_LOCKED))
		memset(start, 0, bytes);
}
