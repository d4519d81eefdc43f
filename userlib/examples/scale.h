/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
#ifndef SCALE_H
#define SCALE_H

#include "image.h"

/**
 * scale - scale an image with a Lanczos-3 filter
 * @a: where @to and everything in between come from
 * @from: the image
 * @to: the scaled image: its width and height are given, rgb is allocated
 *
 * Works on the stored values as they are, without regard to gamma.
 *
 * Return: 0, or -1 and errno, then nothing is allocated.
 */
int scale(const struct allocator *a, const struct image *from, struct image *to);

#endif /* SCALE_H */
