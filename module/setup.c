// SPDX-License-Identifier: GPL-2.0-only
/* From an open file to a pool: its geometry, its tables, its process. */
#include <linux/bitmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "bufpool.h"

/* Classes smaller than a span; each may need one that is mostly empty. */
static unsigned long nr_shared_spans(u32 nr_classes)
{
	return min(nr_classes, bufpool_class(BUFPOOL_SPAN_PAGES));
}

/*
 * Twice the limit, because a slot may have twice the address space that its
 * buffer has memory, and a span for each of the classes that share spans.
 */
static void lay_out(struct bufpool *pool, u64 limit_bytes)
{
	pool->limit_pages = limit_bytes >> PAGE_SHIFT;
	pool->nr_cpus = nr_cpu_ids;
	pool->nr_classes = bufpool_class(pool->limit_pages) + 1;
	pool->nr_spans = DIV_ROUND_UP(2 * pool->limit_pages, BUFPOOL_SPAN_PAGES) +
			 nr_shared_spans(pool->nr_classes);
	pool->nr_pages = pool->nr_spans * BUFPOOL_SPAN_PAGES;

	pool->cpu_offset = PAGE_ALIGN(sizeof(struct bufpool_control));
	pool->slot_offset = PAGE_ALIGN(pool->cpu_offset +
				       (pool->nr_cpus + 1) *
				       sizeof(struct bufpool_stacks));
	pool->control_bytes = PAGE_ALIGN(pool->slot_offset +
					 pool->nr_pages *
					 sizeof(struct bufpool_slot));
	pool->data_offset = ALIGN(pool->control_bytes, BUFPOOL_SPAN_SIZE);
}

static int make_tables(struct bufpool *pool)
{
	u32 cls;

	pool->span_map = bitmap_zalloc(pool->nr_spans, GFP_KERNEL_ACCOUNT);
	pool->partial = kvmalloc_array(pool->nr_classes, sizeof(*pool->partial),
				       GFP_KERNEL_ACCOUNT);
	pool->control = kvcalloc(pool->slot_offset >> PAGE_SHIFT,
				 sizeof(*pool->control), GFP_KERNEL_ACCOUNT);
	pool->front_cpus = kzalloc(cpumask_size(), GFP_KERNEL_ACCOUNT);
	if (!pool->span_map || !pool->partial || !pool->control ||
	    !pool->front_cpus)
		return -ENOMEM;
	for (cls = 0; cls < pool->nr_classes; cls++)
		INIT_LIST_HEAD(&pool->partial[cls]);
	return 0;
}

static int write_geometry(struct bufpool *pool)
{
	struct bufpool_control *control = bufpool_control(pool, 0, true);

	/* A free must not fail for want of a depot. */
	if (!control || !bufpool_stacks(pool, pool->nr_cpus, true))
		return -ENOMEM;

	control->abi_version = BUFPOOL_ABI_VERSION;
	control->page_shift = PAGE_SHIFT;
	control->nr_cpus = pool->nr_cpus;
	control->nr_classes = pool->nr_classes;
	control->nr_pages = pool->nr_pages;
	control->cpu_offset = pool->cpu_offset;
	control->slot_offset = pool->slot_offset;
	control->data_offset = pool->data_offset;
	return 0;
}

/**
 * bufpool_teardown - undo bufpool_setup(), complete or not
 * @pool: the pool; nothing else refers to it, no slot is attached
 */
void bufpool_teardown(struct bufpool *pool)
{
	pgoff_t i;

	if (pool->control)
		for (i = 0; i < pool->slot_offset >> PAGE_SHIFT; i++)
			if (pool->control[i])
				folio_put(pool->control[i]);
	truncate_inode_pages(pool->inode->i_mapping, 0);
	kvfree(pool->control);
	kvfree(pool->partial);
	bitmap_free(pool->span_map);
	kfree(pool->front_cpus);
	pool->front_cpus = NULL;
	pool->control = NULL;
	pool->partial = NULL;
	pool->span_map = NULL;
}

/**
 * bufpool_setup - make a pool of an open file
 * @pool: the pool, its lock held, not set up
 * @own: its configuration, checked
 *
 * Return: 0; -ENOMEM, also for a range that does not fit the address space.
 */
int bufpool_setup(struct bufpool *pool, const struct bufpool_config *own)
{
	struct bufpool_config cfg;
	int err;

	lockdep_assert_held(&pool->lock);
	pool->own = *own;
	pool->limit_pages = 0;
	bufpool_config_effective(pool, &cfg);
	lay_out(pool, cfg.pool_limit_bytes);
	if (pool->data_offset + ((u64)pool->nr_pages << PAGE_SHIFT) > TASK_SIZE)
		return -ENOMEM;

	err = make_tables(pool);
	if (!err)
		err = write_geometry(pool);
	if (!err)
		err = xa_alloc(&bufpool_pools, &pool->id, pool, xa_limit_31b,
			       GFP_KERNEL_ACCOUNT);
	if (err) {
		bufpool_teardown(pool);
		return err;
	}
	/* In the list first: a change of the settings is not missed. */
	bufpool_config_publish(pool);

	pool->tgid = get_pid(task_tgid(current));
	mmgrab(current->mm);
	/* Pairs with bufpool_owner(): the geometry is there. */
	smp_store_release(&pool->mm, current->mm);
	return 0;
}
