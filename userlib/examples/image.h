/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * An image in memory.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "allocator.h"

#include <errno.h>

/**
 * struct image - an image in memory
 * @width: pixels in a row, more than 0
 * @height: rows, more than 0
 * @rgb: the pixels, 3 bytes each, row after row without gaps
 */
struct image {
	unsigned int width;
	unsigned int height;
	unsigned char *rgb;
};

/**
 * image_alloc - allocate the pixels of an image
 * @a: from where
 * @image: its size; rgb is set
 *
 * Return: 0, or -1 and errno.
 */
static inline int image_alloc(const struct allocator *a, struct image *image)
{
	size_t bytes;

	if (__builtin_mul_overflow((size_t)image->width, 3, &bytes) ||
	    __builtin_mul_overflow(bytes, image->height, &bytes)) {
		errno = EOVERFLOW;
		return -1;
	}
	image->rgb = a->alloc(a, bytes);
	return image->rgb ? 0 : -1;
}

#endif /* IMAGE_H */
