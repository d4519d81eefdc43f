// SPDX-License-Identifier: GPL-2.0-only
/* The ioctls: arguments in, one function called, results out. */
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "bufpool.h"

/*
 * Every argument starts with its size.  What is published stays accepted:
 * @first is the size the structure had when it first was.
 */
static int copy_args(void *args, size_t known, size_t first,
		     const void __user *user)
{
	u32 size;
	int err;

	if (get_user(size, (const u32 __user *)user))
		return -EFAULT;
	if (size < first)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(args, known, user, size);
	/* The process may have changed it meanwhile. */
	*(u32 *)args = size;
	return err;
}

/* A caller that knows more than the kernel has zeroes there already. */
static int return_args(void __user *user, const void *args, size_t known)
{
	size_t size = *(const u32 *)args;

	return copy_to_user(user, args, min(size, known)) ? -EFAULT : 0;
}

static int read_config(struct bufpool_config *cfg, const void __user *user)
{
	int err;

	err = copy_args(cfg, sizeof(*cfg),
			offsetofend(struct bufpool_config, trim_percent), user);
	if (err)
		return err;
	if (cfg->flags)
		return -EINVAL;
	return bufpool_config_check(cfg, true);
}

static const struct bufpool_config follow_device = {
	.max_pooled_bytes	= BUFPOOL_FOLLOW,
	.large_threshold_bytes	= BUFPOOL_FOLLOW,
	.max_retained_bytes	= BUFPOOL_FOLLOW,
	.pool_limit_bytes	= BUFPOOL_FOLLOW,
	.alloc_limit_bytes	= BUFPOOL_FOLLOW,
	.percpu_cached		= BUFPOOL_FOLLOW32,
	.large_cached		= BUFPOOL_FOLLOW32,
	.trim_period_ms		= BUFPOOL_FOLLOW32,
	.trim_percent		= BUFPOOL_FOLLOW32,
};

static int ioctl_setup(struct bufpool *pool, void __user *user)
{
	struct bufpool_config own = follow_device;
	struct bufpool_setup args;
	int err;

	err = copy_args(&args, sizeof(args),
			offsetofend(struct bufpool_setup, data_bytes), user);
	if (err)
		return err;
	if (args.flags)
		return -EINVAL;
	if (args.config) {
		err = read_config(&own, u64_to_user_ptr(args.config));
		if (err)
			return err;
	}

	mutex_lock(&pool->lock);
	err = bufpool_owner(pool);
	if (err == -ENXIO)
		err = bufpool_setup(pool, &own);
	else if (!err)
		err = -EBUSY;
	mutex_unlock(&pool->lock);
	if (err)
		return err;

	args.control_bytes = pool->control_bytes;
	args.data_offset = pool->data_offset;
	args.data_bytes = (u64)pool->nr_pages << PAGE_SHIFT;
	return return_args(user, &args, sizeof(args));
}

/*
 * Fault in a range that nobody has mapped yet.  Where a PMD maps 2 MiB at once, the
 * last page of them does not fault any more, and those between need no look.  The
 * process has chosen @start, which may be anything, so @bytes are what ends this, or
 * a kill.
 */
static void fault_in(unsigned long start, size_t bytes)
{
	while (bytes && !fatal_signal_pending(current)) {
		const char __user *from = (const char __user *)start;
		size_t step = min_t(size_t, bytes, SZ_2M - start % SZ_2M);
		unsigned long faults;
		bool mapped = false;

		if (step == SZ_2M) {
			fault_in_readable(from, 1);
			faults = current->min_flt;
			fault_in_readable(from + step - 1, 1);
			mapped = current->min_flt == faults;
		}
		if (!mapped)
			fault_in_readable(from, step);
		start += step;
		bytes -= step;
	}
}

/*
 * Map what is new, so that the first touch does not fault: by reading, since
 * reads are faulted in many pages at a time, and since in a shared mapping the
 * page tables' entries are writable all the same.  Failure does no harm.
 */
static void populate(const struct bufpool *pool, const struct bufpool_ref *ref,
		     u32 fresh)
{
	unsigned long base = READ_ONCE(pool->base);
	unsigned long header, data;

	if (!base || fresh == ref->pages)
		return;
	header = base + pool->slot_offset +
		 (u64)ref->index * sizeof(struct bufpool_slot);
	data = base + (bufpool_pgoff(pool, ref->index) << PAGE_SHIFT);
	fault_in(header, sizeof(struct bufpool_slot));
	fault_in(data + ((unsigned long)fresh << PAGE_SHIFT),
		 (size_t)(ref->pages - fresh) << PAGE_SHIFT);
}

static int ioctl_alloc(struct bufpool *pool, void __user *user)
{
	struct bufpool_alloc args;
	struct bufpool_ref ref;
	u32 fresh;
	int err;

	err = copy_args(&args, sizeof(args),
			offsetofend(struct bufpool_alloc, usable_bytes), user);
	if (err)
		return err;
	err = bufpool_alloc(pool, args.bytes, args.flags, &ref, &fresh);
	if (err)
		return err;

	populate(pool, &ref, fresh);
	args.offset = (u64)bufpool_pgoff(pool, ref.index) << PAGE_SHIFT;
	args.usable_bytes = (u64)ref.pages << PAGE_SHIFT;
	err = return_args(user, &args, sizeof(args));
	/* The caller would not know what to free. */
	if (err)
		bufpool_free(pool, ref.index);
	return err;
}

static int ioctl_free(struct bufpool *pool, const void __user *user)
{
	struct bufpool_free args;
	u64 index;
	int err;

	err = copy_args(&args, sizeof(args),
			offsetofend(struct bufpool_free, offset), user);
	if (err)
		return err;
	if (args.flags || offset_in_page(args.offset) ||
	    args.offset < pool->data_offset)
		return -EINVAL;
	index = (args.offset - pool->data_offset) >> PAGE_SHIFT;
	return bufpool_free(pool, index);
}

static int ioctl_release(struct bufpool *pool, void __user *user)
{
	struct bufpool_release args;
	int err;

	err = copy_args(&args, sizeof(args),
			offsetofend(struct bufpool_release, released_bytes), user);
	if (err)
		return err;
	if (args.flags)
		return -EINVAL;
	args.released_bytes = (u64)bufpool_release(pool, ULONG_MAX,
						   BUFPOOL_RELEASED)
			      << PAGE_SHIFT;
	return return_args(user, &args, sizeof(args));
}

static int ioctl_get_config(struct bufpool *pool, void __user *user)
{
	struct bufpool_config cfg;
	u32 flags, size;
	int err;

	err = copy_args(&cfg, sizeof(cfg),
			offsetofend(struct bufpool_config, trim_percent), user);
	if (err)
		return err;
	flags = cfg.flags;
	size = cfg.size;
	if (flags & ~BUFPOOL_CONFIG_EFFECTIVE)
		return -EINVAL;

	mutex_lock(&pool->lock);
	if (flags & BUFPOOL_CONFIG_EFFECTIVE)
		bufpool_config_effective(pool, &cfg);
	else
		cfg = pool->own;
	mutex_unlock(&pool->lock);
	cfg.size = size;
	return return_args(user, &cfg, sizeof(cfg));
}

static int ioctl_set_config(struct bufpool *pool, const void __user *user)
{
	struct bufpool_config cfg;
	int err;

	err = read_config(&cfg, user);
	if (err)
		return err;
	if (cfg.pool_limit_bytes != BUFPOOL_FOLLOW &&
	    cfg.pool_limit_bytes >> PAGE_SHIFT > pool->limit_pages)
		return -EINVAL;

	mutex_lock(&pool->lock);
	pool->own = cfg;
	bufpool_config_publish(pool);
	mutex_unlock(&pool->lock);
	bufpool_enforce(pool, BUFPOOL_RECLAIMED);
	return 0;
}

static int ioctl_stats(struct bufpool *pool, void __user *user)
{
	struct bufpool_stats args;
	int err;

	err = copy_args(&args, sizeof(args),
			offsetofend(struct bufpool_stats, corruptions), user);
	if (err)
		return err;
	if (args.flags)
		return -EINVAL;
	bufpool_stats(pool, &args);
	return return_args(user, &args, sizeof(args));
}

/**
 * bufpool_ioctl - the entry point
 * @file: an open /dev/bufpool
 * @cmd: BUFPOOL_IOC_*
 * @arg: address of that command's structure
 *
 * Return: 0 or a negative error, as <linux/bufpool.h> documents them.
 */
long bufpool_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct bufpool *pool = file->private_data;
	void __user *user = (void __user *)arg;
	int err;

	if (cmd == BUFPOOL_IOC_SETUP)
		return ioctl_setup(pool, user);

	if (_IOC_TYPE(cmd) != BUFPOOL_IOC_MAGIC)
		return -ENOTTY;
	err = bufpool_owner(pool);
	if (err)
		return err;

	switch (cmd) {
	case BUFPOOL_IOC_ALLOC:
		return ioctl_alloc(pool, user);
	case BUFPOOL_IOC_FREE:
		return ioctl_free(pool, user);
	case BUFPOOL_IOC_RELEASE_RETAINED:
		return ioctl_release(pool, user);
	case BUFPOOL_IOC_GET_CONFIG:
		return ioctl_get_config(pool, user);
	case BUFPOOL_IOC_SET_CONFIG:
		return ioctl_set_config(pool, user);
	case BUFPOOL_IOC_STATS:
		return ioctl_stats(pool, user);
	default:
		return -ENOTTY;
	}
}
