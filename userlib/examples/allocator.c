// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The two allocators.
 */
#include "allocator.h"

#include <errno.h>
#include <malloc.h>
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

/* Every field as the device has it. */
static const struct bufpool_config follow = {
	.size = sizeof(follow),
	.max_pooled_bytes = BUFPOOL_FOLLOW,
	.large_threshold_bytes = BUFPOOL_FOLLOW,
	.max_retained_bytes = BUFPOOL_FOLLOW,
	.pool_limit_bytes = BUFPOOL_FOLLOW,
	.alloc_limit_bytes = BUFPOOL_FOLLOW,
	.percpu_cached = BUFPOOL_FOLLOW32,
	.large_cached = BUFPOOL_FOLLOW32,
	.trim_period_ms = BUFPOOL_FOLLOW32,
	.trim_percent = BUFPOOL_FOLLOW32,
};

/* Fill @config from a preset; -1 and errno if there is none of that name. */
static int preset_config(struct bufpool_config *config, const char *preset)
{
	unsigned int i;

	for (i = 0; i <= BUFPOOL_PRESET_AGGRESSIVE; i++) {
		if (!strcmp(preset, preset_names[i]))
			return bufpool_config_init(config, (enum bufpool_preset)i);
	}
	errno = EINVAL;
	return -1;
}

static struct bufpool *create_pool(const char *preset, unsigned int trim_period)
{
	struct bufpool_config config = follow;

	if (preset && preset_config(&config, preset))
		return NULL;
	if (trim_period)
		config.trim_period_ms = trim_period * 1000;
	return bufpool_create(&config);
}

int allocator_open(struct allocator *a, const char *name, const char *preset,
		   unsigned int trim_period)
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
		a->pool = create_pool(preset, trim_period);
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

void allocator_poll(const struct allocator *a)
{
	if (a->pool)
		allocator_retained(a);
	else
		malloc_trim(0);
}
