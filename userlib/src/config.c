// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend's configuration: what the device checks, publishes and has
 * for settings.  Nobody changes these settings, so a pool that follows them has the
 * default preset, and for its limit half of RAM.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "anonymous.h"

#define MAX_LARGE_CACHED	64
#define MAX_PERCPU_CACHED	65536
#define MAX_TRIM_PERIOD_MS	(24 * 60 * 60 * 1000)

/* As the device's: hundreds of pools' ranges fit one address space. */
#define MAX_DEFAULT_LIMIT	((uint64_t)128 << 30)

/* A program of a few busy classes fills what the pool may retain, on its CPUs. */
#define BUSY_CLASSES	4

static bool valid64(uint64_t value, uint64_t min)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return value == BUFPOOL_FOLLOW ||
	       (value >= min && value <= MAX_POOL_PAGES * page);
}

static bool valid32(uint32_t value, uint32_t min, uint32_t max)
{
	return value == BUFPOOL_FOLLOW32 || (value >= min && value <= max);
}

static bool valid(const struct bufpool_config *cfg)
{
	return valid64(cfg->max_pooled_bytes, 0) &&
	       valid64(cfg->large_threshold_bytes, 0) &&
	       valid64(cfg->max_retained_bytes, 0) &&
	       valid64(cfg->pool_limit_bytes, (uint64_t)sysconf(_SC_PAGESIZE)) &&
	       valid64(cfg->alloc_limit_bytes, 1) &&
	       valid32(cfg->percpu_cached, 0, MAX_PERCPU_CACHED) &&
	       valid32(cfg->large_cached, 0, MAX_LARGE_CACHED) &&
	       valid32(cfg->trim_period_ms, 0, MAX_TRIM_PERIOD_MS) &&
	       valid32(cfg->trim_percent, 1, 100);
}

/*
 * Copy a configuration from a caller who may know more fields than this library, or
 * NULL, which follows in all of them.  Returns 0; -EINVAL, also for one that was not
 * initialized; -E2BIG for a value in a field that is not known.
 */
int bufpool_config_read(struct bufpool_config *cfg,
			const struct bufpool_config *from)
{
	size_t known = sizeof(*cfg), at;

	if (!from) {
		memset(cfg, 0xff, known);
		cfg->size = (uint32_t)known;
		cfg->flags = 0;
		return 0;
	}
	if (from->size < known)
		return -EINVAL;
	if (from->size > (size_t)sysconf(_SC_PAGESIZE))
		return -E2BIG;
	for (at = known; at < from->size; at++)
		if (((const char *)from)[at])
			return -E2BIG;
	*cfg = *from;
	return cfg->flags || !valid(cfg) ? -EINVAL : 0;
}

static uint64_t default_limit(void)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * page;

	return limit < MAX_DEFAULT_LIMIT ? limit : MAX_DEFAULT_LIMIT;
}

static void follow64(__u64 *value, uint64_t def)
{
	if (*value == BUFPOOL_FOLLOW)
		*value = def;
}

static void follow32(__u32 *value, uint32_t def)
{
	if (*value == BUFPOOL_FOLLOW32)
		*value = def;
}

/*
 * The values in force where a pool has @own.  @limit_pages: what its range was laid
 * out for; 0: not yet.
 */
void bufpool_config_effective(const struct bufpool_config *own,
			      uint64_t limit_pages,
			      struct bufpool_config *cfg)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct bufpool_config def;

	bufpool_config_init(&def, BUFPOOL_PRESET_DEFAULT);
	*cfg = *own;
	follow64(&cfg->max_pooled_bytes, def.max_pooled_bytes);
	follow64(&cfg->large_threshold_bytes, def.large_threshold_bytes);
	follow64(&cfg->max_retained_bytes, def.max_retained_bytes);
	follow64(&cfg->pool_limit_bytes, default_limit());
	follow64(&cfg->alloc_limit_bytes, default_limit());
	follow32(&cfg->percpu_cached, def.percpu_cached);
	follow32(&cfg->large_cached, def.large_cached);
	follow32(&cfg->trim_period_ms, def.trim_period_ms);
	follow32(&cfg->trim_percent, def.trim_percent);
	if (limit_pages && cfg->pool_limit_bytes > limit_pages * page)
		cfg->pool_limit_bytes = limit_pages * page;
}

/*
 * How many idle buffers of a class are kept where.  What the CPUs' stacks hold is not
 * summed up on every free; instead none may take more bytes than its part of
 * max_retained_bytes, were BUSY_CLASSES full on every CPU.
 */
static void publish_class(const struct bufpool_anonymous *anon, uint32_t class,
			  uint64_t share)
{
	struct bufpool_class_tuning *tuning = &anon->bp->control->classes[class];
	const struct bufpool_config *cfg = &anon->config;
	uint32_t shift = anon->bp->page_shift;
	uint64_t bytes = bufpool_class_pages(class) << shift;
	uint64_t smallest = class ?
		(bufpool_class_pages(class - 1) + 1) << shift : 1U << shift;
	bool large = bytes > cfg->large_threshold_bytes;
	uint64_t percpu = 0;
	uint32_t depot = 0;

	if (smallest <= cfg->max_pooled_bytes)
		depot = large ? cfg->large_cached : UINT32_MAX;
	if (bytes <= cfg->max_pooled_bytes && depot) {
		percpu = share / bytes;
		if (percpu > cfg->percpu_cached)
			percpu = cfg->percpu_cached;
		if (large && percpu > 1)
			percpu = 1;
	}
	store_relaxed(&tuning->pages, (uint32_t)bufpool_class_pages(class));
	store_relaxed(&tuning->percpu_cap, (uint32_t)percpu);
	store_relaxed(&tuning->depot_cap, depot);
	store_relaxed(&tuning->flags,
		      (large ? BUFPOOL_CLASS_LARGE : 0) |
		      bufpool_front_flag(anon, class));
}

/* Write what is in force into the control region.  Under the lock. */
void bufpool_config_publish(struct bufpool_anonymous *anon)
{
	struct bufpool_control *control = anon->bp->control;
	const struct bufpool_config *cfg = &anon->config;
	uint32_t shift = anon->bp->page_shift, class;
	uint64_t share = cfg->max_retained_bytes /
		(BUSY_CLASSES * (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));

	store_relaxed(&control->max_retained_pages,
		      cfg->max_retained_bytes >> shift);
	store_relaxed(&control->max_pooled_pages, cfg->max_pooled_bytes >> shift);
	store_relaxed(&control->alloc_limit_bytes, cfg->alloc_limit_bytes);
	for (class = 0; class < anon->bp->nr_classes; class++)
		publish_class(anon, class, share);
}
