// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/class/misc/bufpool/: settings, one action, counters.
 *
 * A setting is written to a copy, the copy is checked as a pool's configuration
 * would be, and only then does it take the old one's place.
 *
 * checkpatch: MACRO_ARG_REUSE: an attribute's functions are made from its name
 */
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "bufpool.h"

static void settings_changed(bool in_preset)
{
	lockdep_assert_held(&bufpool_settings_lock);
	if (in_preset)
		WRITE_ONCE(bufpool_preset_name, "custom");
	bufpool_settings_publish();
}

#define SETTING(field, bits, in_preset)					\
static ssize_t field##_show(struct device *dev,				\
			    struct device_attribute *attr, char *buf)	\
{									\
	return sysfs_emit(buf, "%llu\n",				\
			  (u64)READ_ONCE(bufpool_settings.field));	\
}									\
									\
static ssize_t field##_store(struct device *dev,			\
			     struct device_attribute *attr,		\
			     const char *buf, size_t count)		\
{									\
	struct bufpool_config cfg;					\
	u##bits value;							\
	int err;							\
									\
	if (kstrtou##bits(buf, 10, &value))				\
		return -EINVAL;						\
	mutex_lock(&bufpool_settings_lock);				\
	cfg = bufpool_settings;						\
	cfg.field = value;						\
	err = bufpool_config_check(&cfg, false);			\
	if (!err) {							\
		WRITE_ONCE(bufpool_settings.field, value);		\
		settings_changed(in_preset);				\
	}								\
	mutex_unlock(&bufpool_settings_lock);				\
	return err ?: count;						\
}									\
static DEVICE_ATTR_RW(field)

SETTING(max_pooled_bytes, 64, true);
SETTING(large_threshold_bytes, 64, true);
SETTING(max_retained_bytes, 64, true);
SETTING(percpu_cached, 32, true);
SETTING(large_cached, 32, true);
SETTING(trim_period_ms, 32, true);
SETTING(trim_percent, 32, true);
SETTING(pool_limit_bytes, 64, false);
SETTING(alloc_limit_bytes, 64, false);

static ssize_t total_limit_bytes_show(struct device *dev,
				      struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", READ_ONCE(bufpool_total_limit));
}

static ssize_t total_limit_bytes_store(struct device *dev,
				       struct device_attribute *attr,
				       const char *buf, size_t count)
{
	struct bufpool *pool;
	unsigned long id;
	u64 value;

	if (kstrtou64(buf, 10, &value) || value > BUFPOOL_MAX_BYTES)
		return -EINVAL;
	WRITE_ONCE(bufpool_total_limit, value);
	bufpool_for_each(pool, id) {
		s64 over = (s64)atomic_long_read(&bufpool_attached_pages) -
			   (s64)(value >> PAGE_SHIFT);

		if (over > 0)
			bufpool_release(pool, over, BUFPOOL_RECLAIMED);
	}
	return count;
}
static DEVICE_ATTR_RW(total_limit_bytes);

static ssize_t reserve_bytes_show(struct device *dev,
				  struct device_attribute *attr, char *buf)
{
	struct bufpool_reserve st;

	bufpool_reserve_show(&st);
	return sysfs_emit(buf, "%llu\n", st.bytes);
}

static ssize_t reserve_bytes_store(struct device *dev,
				   struct device_attribute *attr,
				   const char *buf, size_t count)
{
	u64 value;

	if (kstrtou64(buf, 10, &value))
		return -EINVAL;
	return bufpool_reserve_set(value) ?: count;
}
static DEVICE_ATTR_RW(reserve_bytes);

static ssize_t reserve_held_bytes_show(struct device *dev,
				       struct device_attribute *attr, char *buf)
{
	struct bufpool_reserve st;

	bufpool_reserve_show(&st);
	return sysfs_emit(buf, "%llu\n", st.held_bytes);
}
static DEVICE_ATTR_RO(reserve_held_bytes);

static ssize_t reserve_refilled_show(struct device *dev,
				     struct device_attribute *attr, char *buf)
{
	struct bufpool_reserve st;

	bufpool_reserve_show(&st);
	return sysfs_emit(buf, "%llu\n", st.refilled);
}
static DEVICE_ATTR_RO(reserve_refilled);

static ssize_t preset_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%s\n", READ_ONCE(bufpool_preset_name));
}

static ssize_t preset_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	int err;

	mutex_lock(&bufpool_settings_lock);
	err = bufpool_settings_preset(buf);
	if (!err)
		bufpool_settings_publish();
	mutex_unlock(&bufpool_settings_lock);
	return err ?: count;
}
static DEVICE_ATTR_RW(preset);

static ssize_t release_retained_store(struct device *dev,
				      struct device_attribute *attr,
				      const char *buf, size_t count)
{
	struct bufpool *pool;
	unsigned long id;
	u8 value;

	if (kstrtou8(buf, 10, &value) || value != 1)
		return -EINVAL;
	bufpool_for_each(pool, id)
		bufpool_release(pool, ULONG_MAX, BUFPOOL_RELEASED);
	return count;
}
static DEVICE_ATTR_WO(release_retained);

static ssize_t pools_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	unsigned long id, pools = 0;
	struct bufpool *pool;

	bufpool_for_each(pool, id)
		pools++;
	return sysfs_emit(buf, "%lu\n", pools);
}
static DEVICE_ATTR_RO(pools);

#define COUNTER(field)							\
static ssize_t field##_show(struct device *dev,				\
			    struct device_attribute *attr, char *buf)	\
{									\
	struct bufpool_stats st = {};					\
									\
	bufpool_device_stats(&st);					\
	return sysfs_emit(buf, "%llu\n", st.field);			\
}									\
static DEVICE_ATTR_RO(field)

COUNTER(attached_bytes);
COUNTER(retained_bytes);
COUNTER(control_bytes);
COUNTER(allocs);
COUNTER(frees);
COUNTER(reused);
COUNTER(grown);
COUNTER(attached_total_bytes);
COUNTER(huge_attached);
COUNTER(released_bytes);
COUNTER(freed_bytes);
COUNTER(trimmed_bytes);
COUNTER(shrunk_bytes);
COUNTER(reclaimed_bytes);
COUNTER(limit_hits);
COUNTER(corruptions);
COUNTER(reserve_hits);
COUNTER(reserve_misses);

static struct attribute *bufpool_attrs[] = {
	&dev_attr_preset.attr,
	&dev_attr_max_pooled_bytes.attr,
	&dev_attr_large_threshold_bytes.attr,
	&dev_attr_max_retained_bytes.attr,
	&dev_attr_percpu_cached.attr,
	&dev_attr_large_cached.attr,
	&dev_attr_pool_limit_bytes.attr,
	&dev_attr_alloc_limit_bytes.attr,
	&dev_attr_total_limit_bytes.attr,
	&dev_attr_reserve_bytes.attr,
	&dev_attr_trim_period_ms.attr,
	&dev_attr_trim_percent.attr,
	&dev_attr_release_retained.attr,
	&dev_attr_pools.attr,
	&dev_attr_attached_bytes.attr,
	&dev_attr_retained_bytes.attr,
	&dev_attr_control_bytes.attr,
	&dev_attr_allocs.attr,
	&dev_attr_frees.attr,
	&dev_attr_reused.attr,
	&dev_attr_grown.attr,
	&dev_attr_attached_total_bytes.attr,
	&dev_attr_huge_attached.attr,
	&dev_attr_released_bytes.attr,
	&dev_attr_freed_bytes.attr,
	&dev_attr_trimmed_bytes.attr,
	&dev_attr_shrunk_bytes.attr,
	&dev_attr_reclaimed_bytes.attr,
	&dev_attr_limit_hits.attr,
	&dev_attr_corruptions.attr,
	&dev_attr_reserve_held_bytes.attr,
	&dev_attr_reserve_hits.attr,
	&dev_attr_reserve_misses.attr,
	&dev_attr_reserve_refilled.attr,
	NULL
};

static const struct attribute_group bufpool_group = {
	.attrs = bufpool_attrs,
};

const struct attribute_group *bufpool_groups[] = { &bufpool_group, NULL };
