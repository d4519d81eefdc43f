// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Finding the buffers that the program has, weak ones included: nobody keeps a
 * list of them, but their slots' headers say so.
 */
#include <errno.h>

#include "pool.h"

/* Pages of headers asked about with one call. */
#define BATCH	256

static void walk_headers(struct bufpool *bp, uint64_t first, uint64_t last,
			 bufpool_visit visit, void *arg)
{
	uint64_t index;

	for (index = first; index < last; index++) {
		uint32_t state = load_relaxed(&bp->slots[index].state);

		if (state_is_owned(state))
			visit(bp, (uint32_t)index, arg);
	}
}

/*
 * Call @visit for every such buffer, in the order of addresses.  For one that is
 * allocated or freed meanwhile it may be called or not.
 *
 * There are as many headers as the data range has pages, most of them in pages
 * that were never touched.  Reading one of those would give it memory, so they
 * are left out.
 */
void bufpool_walk_live(struct bufpool *bp, bufpool_visit visit, void *arg)
{
	uint64_t per_page = ((uint64_t)1 << bp->page_shift) / sizeof(*bp->slots);
	unsigned char used[BATCH];
	uint64_t first, pages, i;
	int err = errno;

	for (first = 0; first < bp->nr_pages; first += BATCH * per_page) {
		pages = (bp->nr_pages - first + per_page - 1) / per_page;
		if (pages > BATCH)
			pages = BATCH;
		bp->backend->headers(bp, first, pages, used);

		for (i = 0; i < pages; i++) {
			uint64_t start = first + i * per_page;
			uint64_t end = start + per_page;

			if (!(used[i] & 1))
				continue;
			if (end > bp->nr_pages)
				end = bp->nr_pages;
			walk_headers(bp, start, end, visit, arg);
		}
	}
	errno = err;
}

struct count {
	size_t buffers;
	size_t bytes;
};

static void count_one(struct bufpool *bp, uint32_t index, void *arg)
{
	struct count *count = arg;

	uint32_t state = load_relaxed(&bp->slots[index].state);

	count->buffers++;
	if ((state & 0xff) != BUFPOOL_SLOT_TAKEN)
		count->bytes += slot_bytes(bp, index);
}

size_t bufpool_count_live(struct bufpool *bp, size_t *bytes)
{
	struct count count = { .buffers = 0, .bytes = 0 };

	bufpool_walk_live(bp, count_one, &count);
	if (bytes)
		*bytes = count.bytes;
	return count.buffers;
}
