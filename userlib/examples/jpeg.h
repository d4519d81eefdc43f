/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
#ifndef JPEG_H
#define JPEG_H

#include "image.h"

/* Room for the sentence that says why something failed: libjpeg's limit. */
#define WHY_MAX		200

/**
 * jpeg_decode - decode a JPEG file at its full size
 * @a: where @image and libjpeg's large arrays come from
 * @jpeg: the file's contents
 * @bytes: their size
 * @image: filled in; the caller frees rgb
 * @why: WHY_MAX bytes; filled in on failure
 *
 * A file that libjpeg only warns about, one that ends early for instance, is
 * refused too: half a photo is no thumbnail.
 *
 * Return: 0 or -1, then nothing is allocated.
 */
int jpeg_decode(const struct allocator *a, const unsigned char *jpeg,
		size_t bytes, struct image *image, char *why);

/**
 * jpeg_encode - encode an image as a JPEG file
 * @a: where the file's buffer comes from
 * @image: the image
 * @quality: libjpeg's scale of 1 to 100
 * @jpeg: set to the file's contents; the caller frees it
 * @bytes: set to their size
 * @why: WHY_MAX bytes; filled in on failure
 *
 * Return: 0 or -1, then nothing is allocated.
 */
int jpeg_encode(const struct allocator *a, const struct image *image,
		int quality, unsigned char **jpeg, size_t *bytes, char *why);

#endif /* JPEG_H */
