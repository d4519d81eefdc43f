// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * imagecache: a cache of images without a size limit of its own.
 *
 * Every image that is not in use just now is a weak buffer.  So the cache takes
 * what memory there is, and when somebody else needs it - or the process's
 * control group has no more - the kernel takes the images that were used least
 * recently.  What it took is drawn again when it is looked up.
 *
 *	imagecache [-n IMAGES] [-s SIDE] [-l LOOKUPS]
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <bufpool.h>

#define BYTES_PER_PIXEL	4

/**
 * struct cache - images by key
 * @bp: where their memory comes from
 * @pixels: one image per key, weak; NULL if there is none
 * @nr_images: number of keys
 * @side: pixels in a row, and rows
 * @hits: look-ups that found their image
 * @misses: look-ups that had to draw it, the first time or again
 * @taken: of the misses, those whose image the kernel had taken
 */
struct cache {
	struct bufpool *bp;
	uint32_t **pixels;
	size_t nr_images;
	size_t side;
	unsigned long hits;
	unsigned long misses;
	unsigned long taken;
};

static uint32_t pixel(size_t key, size_t x, size_t y)
{
	return (uint32_t)((x * x + y * y) * (key + 1));
}

/* What would be decoding a file, in a program with more purpose. */
static void draw(const struct cache *cache, size_t key, uint32_t *pixels)
{
	size_t x, y;

	for (y = 0; y < cache->side; y++)
		for (x = 0; x < cache->side; x++)
			*pixels++ = pixel(key, x, y);
}

/* Is it the image that draw() made? */
static bool is_intact(const struct cache *cache, size_t key,
		      const uint32_t *pixels)
{
	size_t x, y;

	for (y = 0; y < cache->side; y++)
		for (x = 0; x < cache->side; x++)
			if (*pixels++ != pixel(key, x, y))
				return false;
	return true;
}

/* The image of @key, to be given back with cache_put(); or NULL and errno. */
static const uint32_t *cache_get(struct cache *cache, size_t key)
{
	uint32_t **pixels = &cache->pixels[key];

	if (*pixels) {
		if (bufpool_strengthen(cache->bp, *pixels) == 1) {
			cache->hits++;
			return *pixels;
		}
		cache->taken++;
	}
	cache->misses++;
	*pixels = bufpool_alloc(cache->bp, cache->side * cache->side *
				BYTES_PER_PIXEL, 0);
	if (*pixels)
		draw(cache, key, *pixels);
	return *pixels;
}

static void cache_put(struct cache *cache, size_t key)
{
	bufpool_weaken(cache->bp, cache->pixels[key]);
}

static void cache_free(struct cache *cache)
{
	size_t key;

	for (key = 0; key < cache->nr_images; key++)
		bufpool_free(cache->bp, cache->pixels[key]);
	free(cache->pixels);
	bufpool_destroy(cache->bp);
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

/* Some images are looked up more often than others, as with any cache. */
static size_t next_key(const struct cache *cache, uint64_t *seed)
{
	size_t a = next_random(seed) % cache->nr_images;
	size_t b = next_random(seed) % cache->nr_images;

	return a < b ? a : b;
}

static int look_up(struct cache *cache, unsigned long lookups)
{
	uint64_t seed = 1;
	unsigned long i;

	for (i = 0; i < lookups; i++) {
		size_t key = next_key(cache, &seed);
		const uint32_t *pixels = cache_get(cache, key);

		if (!pixels) {
			perror("imagecache: bufpool_alloc");
			return -1;
		}
		if (!is_intact(cache, key, pixels)) {
			fprintf(stderr, "imagecache: image %zu is damaged\n",
				key);
			return -1;
		}
		cache_put(cache, key);
	}
	return 0;
}

static bool parse(const char *arg, unsigned long max, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(arg, &end, 10);
	return !errno && end != arg && !*end && *arg != '-' && *value &&
	       *value <= max;
}

static int usage(void)
{
	fprintf(stderr, "Usage: imagecache [-n IMAGES] [-s SIDE] [-l LOOKUPS]\n"
			"  -n IMAGES   number of images, 64 unless given\n"
			"  -s SIDE     pixels in a row, and rows; 1024\n"
			"  -l LOOKUPS  how many look-ups; 1000\n");
	return 2;
}

int main(int argc, char **argv)
{
	unsigned long images = 64, side = 1024, lookups = 1000;
	struct cache cache = { .bp = NULL };
	int opt, ret;

	while ((opt = getopt(argc, argv, "n:s:l:")) != -1) {
		bool ok = false;

		if (opt == 'n')
			ok = parse(optarg, 1 << 20, &images);
		else if (opt == 's')
			ok = parse(optarg, 1 << 14, &side);
		else if (opt == 'l')
			ok = parse(optarg, 1UL << 30, &lookups);
		if (!ok)
			return usage();
	}
	if (optind != argc)
		return usage();

	cache.nr_images = images;
	cache.side = side;
	cache.pixels = calloc(images, sizeof(*cache.pixels));
	if (!cache.pixels) {
		perror("imagecache");
		return 1;
	}
	cache.bp = bufpool_create(NULL);
	if (!cache.bp) {
		perror("imagecache: bufpool_create");
		free(cache.pixels);
		return 1;
	}

	ret = look_up(&cache, lookups);
	printf("%lu hits, %lu misses, of these %lu taken by the kernel\n",
	       cache.hits, cache.misses, cache.taken);
	cache_free(&cache);
	return ret ? 1 : 0;
}
