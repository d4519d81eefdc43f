// SPDX-License-Identifier: GPL-2.0-only
/*
 * bufpool: pools of large buffers that are mapped and faulted in, kept for
 * reuse, and given back to the kernel.
 *
 * Module load and unload, the device, the file system that pools' inodes are
 * on, and the list of pools.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "bufpool.h"

/* "bufp" */
#define BUFPOOL_FS_MAGIC	0x62756670

static struct vfsmount *bufpool_mnt;
static struct kmem_cache *bufpool_cache;

/* All pools that are set up, by id. */
DEFINE_XARRAY_ALLOC1(bufpool_pools);

static void destroy(struct bufpool *pool)
{
	WARN_ON_ONCE(pool->attached_pages);
	bufpool_teardown(pool);
	if (pool->mm)
		mmdrop(pool->mm);
	put_pid(pool->tgid);
	iput(pool->inode);
	mutex_destroy(&pool->lock);
	kmem_cache_free(bufpool_cache, pool);
}

/**
 * bufpool_put - drop a reference to a pool
 * @pool: the pool; with the last reference it goes, and its inode
 *
 * May sleep.
 */
void bufpool_put(struct bufpool *pool)
{
	if (refcount_dec_and_test(&pool->ref))
		destroy(pool);
}

static void put_work_fn(struct work_struct *work)
{
	destroy(container_of(work, struct bufpool, put_work));
}

/**
 * bufpool_put_later - drop a reference where the pool cannot be destroyed
 * @pool: the pool; if this was the last reference, a worker does it
 */
void bufpool_put_later(struct bufpool *pool)
{
	if (refcount_dec_and_test(&pool->ref))
		queue_work(bufpool_wq, &pool->put_work);
}

/**
 * bufpool_create - a pool that is not set up yet
 *
 * Return: the pool with one reference, for bufpool_put(); or an error pointer.
 */
struct bufpool *bufpool_create(void)
{
	struct bufpool *pool;
	struct inode *inode;

	pool = kmem_cache_alloc_lru(bufpool_cache, &bufpool_lru,
				    GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!pool)
		return ERR_PTR(-ENOMEM);
	inode = alloc_anon_inode(bufpool_mnt->mnt_sb);
	if (IS_ERR(inode)) {
		kmem_cache_free(bufpool_cache, pool);
		return ERR_CAST(inode);
	}

	/* A PMD is not mapped across the end of a file: put that out of the way. */
	i_size_write(inode, MAX_LFS_FILESIZE);
	inode->i_mapping->a_ops = &bufpool_aops;
	mapping_set_gfp_mask(inode->i_mapping, GFP_HIGHUSER_MOVABLE);
	mapping_set_large_folios(inode->i_mapping);
	mapping_set_unevictable(inode->i_mapping);

	mutex_init(&pool->lock);
	refcount_set(&pool->ref, 1);
	INIT_LIST_HEAD(&pool->lru);
	INIT_WORK(&pool->put_work, put_work_fn);
	xa_init_flags(&pool->spans, XA_FLAGS_ACCOUNT);
	pool->inode = inode;
	return pool;
}

/**
 * bufpool_next - the next pool, for bufpool_for_each()
 * @id: where to go on; 0: at the beginning; updated
 *
 * Return: a pool with a reference, or NULL.
 */
struct bufpool *bufpool_next(unsigned long *id)
{
	struct bufpool *pool;

	xa_lock(&bufpool_pools);
	pool = xa_find_after(&bufpool_pools, id, ULONG_MAX, XA_PRESENT);
	/* Its file's reference is dropped after it has left the list. */
	if (pool)
		refcount_inc(&pool->ref);
	xa_unlock(&bufpool_pools);
	return pool;
}

static int bufpool_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, BUFPOOL_FS_MAGIC) ? 0 : -ENOMEM;
}

/* No owner: the mount would keep the module, and does not outlive it anyway. */
static struct file_system_type bufpool_fs_type = {
	.name			= "bufpool",
	.init_fs_context	= bufpool_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static struct miscdevice bufpool_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "bufpool",
	.fops	= &bufpool_fops,
	.mode	= 0660,
	.groups	= bufpool_groups,
};

static int __init bufpool_init(void)
{
	int err;

	bufpool_settings_init();
	bufpool_cache = KMEM_CACHE(bufpool, SLAB_ACCOUNT);
	if (!bufpool_cache)
		return -ENOMEM;
	err = bufpool_worker_init();
	if (err)
		goto destroy_cache;
	/* First, so that reclaim comes to the reserve before it comes to buffers. */
	err = bufpool_reserve_init();
	if (err)
		goto worker_exit;
	err = bufpool_shrink_init();
	if (err)
		goto reserve_exit;
	bufpool_mnt = kern_mount(&bufpool_fs_type);
	if (IS_ERR(bufpool_mnt)) {
		err = PTR_ERR(bufpool_mnt);
		goto shrink_exit;
	}
	err = misc_register(&bufpool_device);
	if (err)
		goto unmount;
	return 0;

unmount:
	kern_unmount(bufpool_mnt);
shrink_exit:
	bufpool_shrink_stop();
	bufpool_shrink_exit();
reserve_exit:
	bufpool_reserve_exit();
worker_exit:
	bufpool_worker_exit();
destroy_cache:
	kmem_cache_destroy(bufpool_cache);
	return err;
}

/*
 * No file is open any more, or the module could not go.  A pool may still be in
 * the hands of a worker or the shrinker: these are waited for, in the order in
 * which they pass it on.
 */
static void __exit bufpool_exit(void)
{
	misc_deregister(&bufpool_device);
	bufpool_shrink_stop();
	bufpool_worker_exit();
	bufpool_shrink_exit();
	bufpool_reserve_exit();
	kern_unmount(bufpool_mnt);
	kmem_cache_destroy(bufpool_cache);
	WARN_ON_ONCE(!xa_empty(&bufpool_pools));
}

module_init(bufpool_init);
module_exit(bufpool_exit);

MODULE_DESCRIPTION("Pools of large buffers that go back to the kernel");
MODULE_LICENSE("GPL");
