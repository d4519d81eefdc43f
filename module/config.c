// SPDX-License-Identifier: GPL-2.0-only
/*
 * Configuration: the device's settings, a pool's own over them, the presets,
 * and what both come to for each size class.
 *
 * The device's settings change under bufpool_settings_lock, field by field, and
 * are read without it.  A pool copies what its process needs to know into the
 * control region, under its own lock; a change of the settings is followed by a
 * walk over all pools, so that whoever copied the old value copies again.
 *
 * checkpatch: MACRO_ARG_UNUSED: PRESET_ROW() takes what it needs of a row
 */
#include <linux/cpumask.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "bufpool.h"

/* Serialises writers of what follows, and telling the pools about it. */
DEFINE_MUTEX(bufpool_settings_lock);
struct bufpool_config bufpool_settings;
u64 bufpool_total_limit;
const char *bufpool_preset_name;

/* A program of a few busy classes fills what the pool may retain, on its CPUs. */
#define BUSY_CLASSES	4

struct preset {
	const char	*name;
	u64		max_pooled_bytes;
	u64		large_threshold_bytes;
	u32		percpu_cached;
	u32		large_cached;
	u64		max_retained_bytes;
	u32		ram_divisor;
	u32		trim_percent;
	u32		trim_period_ms;
};

#define PRESET_ROW(symbol, ...)	{ __VA_ARGS__ },
static const struct preset presets[] = {
	BUFPOOL_PRESETS(PRESET_ROW)
};

static u64 ram_share(u32 divisor)
{
	return (u64)totalram_pages() / divisor << PAGE_SHIFT;
}

static void preset_apply(const struct preset *preset)
{
	struct bufpool_config *cfg = &bufpool_settings;

	WRITE_ONCE(cfg->max_pooled_bytes, preset->max_pooled_bytes);
	WRITE_ONCE(cfg->large_threshold_bytes, preset->large_threshold_bytes);
	WRITE_ONCE(cfg->percpu_cached, preset->percpu_cached);
	WRITE_ONCE(cfg->large_cached, preset->large_cached);
	WRITE_ONCE(cfg->max_retained_bytes, preset->max_retained_bytes ?:
					    ram_share(preset->ram_divisor));
	WRITE_ONCE(cfg->trim_percent, preset->trim_percent);
	WRITE_ONCE(cfg->trim_period_ms, preset->trim_period_ms);
	WRITE_ONCE(bufpool_preset_name, preset->name);
}

/**
 * bufpool_settings_preset - give the device's settings a preset's values
 * @name: the preset's name, possibly with a newline
 *
 * Caller holds bufpool_settings_lock and publishes afterwards.
 *
 * Return: 0, or -EINVAL for an unknown name.
 */
int bufpool_settings_preset(const char *name)
{
	int i;

	lockdep_assert_held(&bufpool_settings_lock);
	for (i = 0; i < ARRAY_SIZE(presets); i++) {
		if (sysfs_streq(name, presets[i].name)) {
			preset_apply(&presets[i]);
			return 0;
		}
	}
	return -EINVAL;
}

/**
 * bufpool_settings_init - the settings a freshly loaded module has
 *
 * The default preset; one pool may have half of RAM, but no more than lets
 * hundreds of pools' ranges fit one address space; all together three quarters.
 */
void bufpool_settings_init(void)
{
	u64 limit = min3(ram_share(2), (u64)128 * SZ_1G, BUFPOOL_MAX_BYTES);

	bufpool_settings.pool_limit_bytes = limit;
	bufpool_settings.alloc_limit_bytes = limit;
	bufpool_total_limit = ram_share(4) * 3;
	preset_apply(&presets[0]);
}

static bool valid64(u64 value, u64 min, bool follow)
{
	return (follow && value == BUFPOOL_FOLLOW) ||
	       (value >= min && value <= BUFPOOL_MAX_BYTES);
}

static bool valid32(u32 value, u32 min, u32 max, bool follow)
{
	return (follow && value == BUFPOOL_FOLLOW32) ||
	       (value >= min && value <= max);
}

/**
 * bufpool_config_check - are all values of a configuration in range
 * @cfg: the configuration
 * @follow: whether BUFPOOL_FOLLOW is a value
 *
 * Return: 0 or -EINVAL.
 */
int bufpool_config_check(const struct bufpool_config *cfg, bool follow)
{
	return valid64(cfg->max_pooled_bytes, 0, follow) &&
	       valid64(cfg->large_threshold_bytes, 0, follow) &&
	       valid64(cfg->max_retained_bytes, 0, follow) &&
	       valid64(cfg->pool_limit_bytes, PAGE_SIZE, follow) &&
	       valid64(cfg->alloc_limit_bytes, 1, follow) &&
	       valid32(cfg->percpu_cached, 0, BUFPOOL_MAX_PERCPU_CACHED, follow) &&
	       valid32(cfg->large_cached, 0, BUFPOOL_MAX_LARGE_CACHED, follow) &&
	       valid32(cfg->trim_period_ms, 0, BUFPOOL_MAX_TRIM_PERIOD_MS, follow) &&
	       valid32(cfg->trim_percent, 1, 100, follow) ? 0 : -EINVAL;
}

static void follow64(u64 *own, const u64 *dev)
{
	if (*own == BUFPOOL_FOLLOW)
		*own = READ_ONCE(*dev);
}

static void follow32(u32 *own, const u32 *dev)
{
	if (*own == BUFPOOL_FOLLOW32)
		*own = READ_ONCE(*dev);
}

/**
 * bufpool_config_effective - the values in force for a pool
 * @pool: the pool, its lock held
 * @cfg: out: its own values, the device's where it follows
 */
void bufpool_config_effective(const struct bufpool *pool,
			      struct bufpool_config *cfg)
{
	const struct bufpool_config *dev = &bufpool_settings;

	*cfg = pool->own;
	follow64(&cfg->max_pooled_bytes, &dev->max_pooled_bytes);
	follow64(&cfg->large_threshold_bytes, &dev->large_threshold_bytes);
	follow64(&cfg->max_retained_bytes, &dev->max_retained_bytes);
	follow64(&cfg->pool_limit_bytes, &dev->pool_limit_bytes);
	follow64(&cfg->alloc_limit_bytes, &dev->alloc_limit_bytes);
	follow32(&cfg->percpu_cached, &dev->percpu_cached);
	follow32(&cfg->large_cached, &dev->large_cached);
	follow32(&cfg->trim_period_ms, &dev->trim_period_ms);
	follow32(&cfg->trim_percent, &dev->trim_percent);
	/* The device's limit may have grown since the range was laid out. */
	if (pool->limit_pages)
		cfg->pool_limit_bytes = min(cfg->pool_limit_bytes,
					    (u64)pool->limit_pages << PAGE_SHIFT);
}

/**
 * bufpool_config_keep - how many idle buffers of a class are kept where
 * @cfg: the values in force
 * @cls: the class
 * @keep: out: the caps, and whether the class is large
 *
 * What the CPUs' stacks hold is not summed up on every free; instead none may
 * take more bytes than its part of max_retained_bytes, were BUSY_CLASSES full
 * on every CPU.  Of a large class a CPU keeps the one that it uses in turn.
 */
void bufpool_config_keep(const struct bufpool_config *cfg, u32 cls,
			 struct bufpool_keep *keep)
{
	u64 bytes = bufpool_class_pages(cls) << PAGE_SHIFT;
	u64 smallest = cls ? (bufpool_class_pages(cls - 1) + 1) << PAGE_SHIFT :
			     PAGE_SIZE;
	u64 share = cfg->max_retained_bytes /
		    (BUSY_CLASSES * num_online_cpus());

	keep->large = bytes > cfg->large_threshold_bytes;
	keep->percpu_cap = 0;
	keep->depot_cap = 0;
	if (smallest <= cfg->max_pooled_bytes)
		keep->depot_cap = keep->large ? cfg->large_cached : U32_MAX;
	if (bytes <= cfg->max_pooled_bytes)
		keep->percpu_cap = min_t(u64, share / bytes, cfg->percpu_cached);
	if (keep->large)
		keep->percpu_cap = min3(keep->percpu_cap, cfg->large_cached, 1U);
}

/**
 * bufpool_config_publish - write what is in force into the control region
 * @pool: the pool, its lock held
 */
void bufpool_config_publish(struct bufpool *pool)
{
	struct bufpool_control *control = bufpool_control(pool, 0, false);
	struct bufpool_config cfg;
	struct bufpool_keep keep;
	u32 cls;

	BUILD_BUG_ON(sizeof(struct bufpool_control) > PAGE_SIZE);

	bufpool_config_effective(pool, &cfg);
	WRITE_ONCE(control->max_retained_pages,
		   cfg.max_retained_bytes >> PAGE_SHIFT);
	WRITE_ONCE(control->max_pooled_pages, cfg.max_pooled_bytes >> PAGE_SHIFT);
	WRITE_ONCE(control->alloc_limit_bytes, cfg.alloc_limit_bytes);
	for (cls = 0; cls < pool->nr_classes; cls++) {
		struct bufpool_class_tuning *tuning = &control->classes[cls];

		bufpool_config_keep(&cfg, cls, &keep);
		WRITE_ONCE(tuning->pages, bufpool_class_pages(cls));
		WRITE_ONCE(tuning->percpu_cap, keep.percpu_cap);
		WRITE_ONCE(tuning->depot_cap, keep.depot_cap);
		WRITE_ONCE(tuning->flags,
			   (keep.large ? BUFPOOL_CLASS_LARGE : 0) |
			   bufpool_front_flag(pool, cls, &keep));
	}
	if (pool->attached_pages)
		bufpool_trim_arm(pool, &cfg);
}

/**
 * bufpool_settings_publish - tell every pool that the settings changed
 *
 * Those that retain more than they may from now on release it at once.
 *
 * Caller holds bufpool_settings_lock.
 */
void bufpool_settings_publish(void)
{
	struct bufpool *pool;
	unsigned long id;

	lockdep_assert_held(&bufpool_settings_lock);
	bufpool_for_each(pool, id) {
		mutex_lock(&pool->lock);
		bufpool_config_publish(pool);
		mutex_unlock(&pool->lock);
		bufpool_enforce(pool, BUFPOOL_RECLAIMED);
	}
}
