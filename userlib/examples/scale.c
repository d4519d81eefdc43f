// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Lanczos-3 scaling in two passes, rows first, in fixed point.
 *
 * Weights have 14 fraction bits and the plane between the passes has 6, in 16
 * bits: 255 << 6 leaves it a factor of two for the filter's overshoot, and the
 * sums of products stay within 32 bits.
 */
#include "scale.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LOBES		3
#define WEIGHT_BITS	14
#define PLANE_BITS	6

/* Samples that the first pass weighs at a time: weights are zero up to there. */
#define LANES		8

/* Columns that the second pass sums up at a time: they stay in the L1 cache. */
#define COLUMNS		64

/**
 * struct taps - the samples that make one output sample
 * @first: index of the first
 * @count: how many
 */
struct taps {
	unsigned int first;
	unsigned int count;
};

/**
 * struct filter - the taps of all output samples along one axis
 * @taps: one per output sample
 * @weights: @stride for each output sample; they add up to 1 << WEIGHT_BITS
 * @stride: the most taps an output sample can have
 * @buf: the buffer that holds them
 */
struct filter {
	struct taps *taps;
	int16_t *weights;
	unsigned int stride;
	void *buf;
};

static double lanczos(double x)
{
	const double px = M_PI * x;

	if (x == 0)
		return 1;
	if (fabs(x) >= LOBES)
		return 0;
	return LOBES * sin(px) * sin(px / LOBES) / (px * px);
}

/*
 * Rounded one by one the weights would not add up, and even areas would change
 * their colour: the heaviest takes what is missing.
 */
static void quantize(const double *exact, double sum, unsigned int count,
		     int16_t *weights)
{
	int missing = 1 << WEIGHT_BITS;
	unsigned int heaviest = 0;
	unsigned int i;

	for (i = 0; i < count; i++) {
		weights[i] = (int16_t)lrint(ldexp(exact[i] / sum, WEIGHT_BITS));
		missing -= weights[i];
		if (weights[i] > weights[heaviest])
			heaviest = i;
	}
	weights[heaviest] = (int16_t)(weights[heaviest] + missing);
	while (i % LANES)
		weights[i++] = 0;
}

static int filter_init(struct filter *filter, const struct allocator *a,
		       unsigned int from, unsigned int to)
{
	const double step = (double)from / to;
	const double stretch = fmax(step, 1);
	const double reach = LOBES * stretch;
	double *exact;
	unsigned int i, k;

	filter->stride = 2 * (unsigned int)ceil(reach) + LANES;
	filter->buf = a->alloc(a, filter->stride * sizeof(*exact) +
			       to * sizeof(*filter->taps) +
			       (size_t)to * filter->stride * sizeof(*filter->weights));
	if (!filter->buf)
		return -1;
	exact = filter->buf;
	filter->taps = (struct taps *)(exact + filter->stride);
	filter->weights = (int16_t *)(filter->taps + to);

	for (i = 0; i < to; i++) {
		const double centre = (i + 0.5) * step - 0.5;
		/* Beyond the edge there is nothing: the rest is scaled up. */
		const double first = fmax(ceil(centre - reach), 0);
		const double last = fmin(floor(centre + reach), from - 1.0);
		struct taps *taps = &filter->taps[i];
		double sum = 0;

		taps->first = (unsigned int)first;
		taps->count = (unsigned int)(last - first) + 1;
		for (k = 0; k < taps->count; k++) {
			exact[k] = lanczos((first + k - centre) / stretch);
			sum += exact[k];
		}
		quantize(exact, sum, taps->count,
			 filter->weights + (size_t)i * filter->stride);
	}
	return 0;
}

static int16_t weigh(const int16_t *sample, const int16_t *weight, unsigned int count)
{
	const int shift = WEIGHT_BITS - PLANE_BITS;
	int sum = 1 << (shift - 1);
	unsigned int k;

	count = (count + LANES - 1) / LANES * LANES;
	for (k = 0; k < count; k++)
		sum += sample[k] * weight[k];
	return (int16_t)(sum >> shift);
}

/*
 * The colours are taken apart first, into @split, 3 * @from samples: with
 * neighbours next to each other the compiler can weigh eight at a time.
 */
static void scale_row(const unsigned char *rgb, unsigned int from, int16_t *split,
		      const struct filter *filter, unsigned int to, int16_t *out)
{
	int16_t *red = split, *green = red + from, *blue = green + from;
	unsigned int x;

	for (x = 0; x < from; x++) {
		red[x] = rgb[3 * x];
		green[x] = rgb[3 * x + 1];
		blue[x] = rgb[3 * x + 2];
	}
	for (x = 0; x < to; x++) {
		const struct taps taps = filter->taps[x];
		const int16_t *weight = filter->weights + (size_t)x * filter->stride;

		*out++ = weigh(red + taps.first, weight, taps.count);
		*out++ = weigh(green + taps.first, weight, taps.count);
		*out++ = weigh(blue + taps.first, weight, taps.count);
	}
}

/* @plane has @samples in a row; @taps says which rows make the output row. */
static void scale_columns(const int16_t *plane, size_t samples,
			  const struct taps *taps, const int16_t *weight,
			  unsigned char *out)
{
	const int shift = WEIGHT_BITS + PLANE_BITS;
	size_t x, i, n;
	unsigned int k;

	for (x = 0; x < samples; x += n) {
		const int16_t *in = plane + taps->first * samples + x;
		int sum[COLUMNS];

		n = samples - x < COLUMNS ? samples - x : COLUMNS;
		for (i = 0; i < n; i++)
			sum[i] = 1 << (shift - 1);
		for (k = 0; k < taps->count; k++, in += samples)
			for (i = 0; i < n; i++)
				sum[i] += weight[k] * in[i];
		for (i = 0; i < n; i++) {
			const int value = sum[i] >> shift;

			*out++ = (unsigned char)(value < 0 ? 0 :
						 value > 255 ? 255 : value);
		}
	}
}

int scale(const struct allocator *a, const struct image *from, struct image *to)
{
	const size_t samples = (size_t)to->width * 3;
	struct filter across = {}, down = {};
	int16_t *split, *plane = NULL;
	int ret = -1;
	unsigned int y;

	to->rgb = NULL;
	if (filter_init(&across, a, from->width, to->width) ||
	    filter_init(&down, a, from->height, to->height))
		goto out;
	plane = a->alloc(a, samples * from->height * sizeof(*plane) +
			 ((size_t)from->width * 3 + LANES) * sizeof(*split));
	if (!plane || image_alloc(a, to))
		goto out;
	split = plane + samples * from->height;
	memset(split + (size_t)from->width * 3, 0, LANES * sizeof(*split));

	for (y = 0; y < from->height; y++)
		scale_row(from->rgb + (size_t)y * from->width * 3, from->width,
			  split, &across, to->width, plane + y * samples);
	for (y = 0; y < to->height; y++)
		scale_columns(plane, samples, &down.taps[y],
			      down.weights + (size_t)y * down.stride,
			      to->rgb + y * samples);
	ret = 0;
out:
	a->free(a, plane);
	a->free(a, down.buf);
	a->free(a, across.buf);
	return ret;
}
