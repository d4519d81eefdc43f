// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Class arithmetic: classes and their sizes agree for every size.
 */
#include <bufpool.h>

#include "tap.h"

/* The sizes as the header's comment lists them: 1 to 8, then steps of a quarter. */
static uint64_t next_size(uint64_t pages)
{
	uint64_t step = 1;

	while (pages >= 8 * step)
		step *= 2;
	return pages + step;
}

/* Every size from @first to @last is of class @c. */
static bool all_in_class(uint64_t first, uint64_t last, uint32_t c)
{
	uint64_t pages;

	for (pages = first; pages <= last; pages++)
		if (bufpool_class(pages) != c)
			return false;
	return true;
}

int main(void)
{
	const uint64_t exhaustive = 1 << 24;
	bool sizes = true, below = true, edges = true, waste = true;
	uint64_t size, previous = 0;
	uint32_t c;

	for (c = 0, size = 1; c < BUFPOOL_MAX_CLASSES; c++) {
		sizes = sizes && bufpool_class_pages(c) == size;
		if (size <= exhaustive)
			below = below && all_in_class(previous + 1, size, c);
		edges = edges && bufpool_class(size) == c &&
			bufpool_class(previous + 1) == c;
		/* From 16 KiB up, one page over the class below: 20 % unused. */
		if (size > 4)
			waste = waste && (size - previous - 1) * 5 <= size;
		previous = size;
		size = next_size(size);
	}

	check(sizes, "the size of each class");
	check(below, "the class of each size up to 2^24 pages");
	check(edges, "the least and the greatest size of each class");
	check(waste, "a class leaves at most a fifth of a buffer unused");
	check(previous == 1ULL << 31, "the largest class holds 2^31 pages");
	check(BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, 119) >> 8 == 120,
	      "a state word holds the largest class");
	return tap_end();
}
