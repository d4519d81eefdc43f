// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The two allocators.
 */
#include "allocator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bufpool.h>

#define PRESET_NAME(symbol, name, ...) \
	[BUFPOOL_PRESET_##symbol] = name,

static const char *const preset_names[] = {
	BUFPOOL_PRESETS(PRESET_NAME)
};

static void *malloc_alloc(const struct allocator *a, size_t size)
{
	(void)a;
	return malloc(size);
}

static void malloc_free(const struct allocator *a, void *buf)
{
	(void)a;
	free(buf);
}

static void *pool_alloc(const struct allocator *a, size_t size)
{
	return bufpool_alloc(a->pool, size, 0);
}

static void pool_free(const struct allocator *a, void *buf)
{
	bufpool_free(a->pool, buf);
}

static struct bufpool *create_pool(const char *preset)
{
	struct bufpool_config config;
	unsigned int i = BUFPOOL_PRESET_DEFAULT;

	if (!preset)
		return bufpool_create(NULL);
	while (strcmp(preset, preset_names[i])) {
		if (i++ == BUFPOOL_PRESET_AGGRESSIVE) {
			errno = EINVAL;
			return NULL;
		}
	}
	bufpool_config_init(&config, (enum bufpool_preset)i);
	return bufpool_create(&config);
}

int allocator_open(struct allocator *a, const char *name, const char *preset)
{
	if (!strcmp(name, "malloc")) {
		a->alloc = malloc_alloc;
		a->free = malloc_free;
		a->pool = NULL;
		return 0;
	}
	if (!strcmp(name, "bufpool")) {
		a->alloc = pool_alloc;
		a->free = pool_free;
		a->pool = create_pool(preset);
		return a->pool ? 0 : -1;
	}
	errno = EINVAL;
	return -1;
}

void allocator_close(struct allocator *a)
{
	bufpool_destroy(a->pool);
	a->pool = NULL;
}

int64_t allocator_retained(const struct allocator *a)
{
	struct bufpool_stats stats;

	if (!a->pool || bufpool_get_stats(a->pool, &stats))
		return -1;
	return (int64_t)stats.retained_bytes;
}
