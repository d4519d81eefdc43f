/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the supported kernels, 6.1, 6.12 and 7.3, in one place.
 *
 * checkpatch: LINUX_VERSION_CODE, CONSTANT_COMPARISON: an out-of-tree module
 * checkpatch: MACRO_ARG_UNUSED: __counted_by() is nothing to older compilers
 */
#ifndef BUFPOOL_COMPAT_H
#define BUFPOOL_COMPAT_H

#include <linux/version.h>

#include <linux/err.h>
#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#include <linux/rseq.h>
#endif
#include <linux/shrinker.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/swap.h>

#ifndef __counted_by
#define __counted_by(member)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set,
				vm_flags_t clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

/* NULL for "not there" until 6.3, an error pointer since. */
static inline struct folio *bufpool_find_folio(struct address_space *mapping,
					       pgoff_t pgoff)
{
	struct folio *folio = filemap_get_folio(mapping, pgoff);

	return IS_ERR(folio) ? NULL : folio;
}

static inline struct folio *bufpool_find_lock_folio(struct address_space *mapping,
						    pgoff_t pgoff)
{
	struct folio *folio = filemap_lock_folio(mapping, pgoff);

	return IS_ERR(folio) ? NULL : folio;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define list_lru_add_obj(lru, item)	list_lru_add(lru, item)
#define list_lru_del_obj(lru, item)	list_lru_del(lru, item)
#endif

/*
 * The head of a list_lru_walk_cb over @item with @arg.  The list's lock was an
 * argument, too, until 6.13.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define BUFPOOL_LRU_WALK_CB(name)					\
	enum lru_status name(struct list_head *item,			\
			     struct list_lru_one *list,			\
			     spinlock_t *lock, void *arg)
#else
#define BUFPOOL_LRU_WALK_CB(name)					\
	enum lru_status name(struct list_head *item,			\
			     struct list_lru_one *list, void *arg)
#endif

typedef unsigned long (*bufpool_shrink_fn)(struct shrinker *shrinker,
					   struct shrink_control *sc);

/*
 * Until 6.7 a shrinker had no identity, which a memcg-aware list_lru needs,
 * before it was registered: it runs from bufpool_shrinker_alloc() on there, and
 * from bufpool_shrinker_start() on here.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline struct shrinker *
bufpool_shrinker_alloc(unsigned int flags, const char *name,
		       bufpool_shrink_fn count, bufpool_shrink_fn scan)
{
	struct shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);

	if (!shrinker)
		return NULL;
	shrinker->flags = flags;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	if (register_shrinker(shrinker, "%s", name)) {
		kfree(shrinker);
		return NULL;
	}
	return shrinker;
}

static inline void bufpool_shrinker_start(struct shrinker *shrinker)
{
}

static inline void bufpool_shrinker_free(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(shrinker);
}
#else
static inline struct shrinker *
bufpool_shrinker_alloc(unsigned int flags, const char *name,
		       bufpool_shrink_fn count, bufpool_shrink_fn scan)
{
	struct shrinker *shrinker = shrinker_alloc(flags, "%s", name);

	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	return shrinker;
}

static inline void bufpool_shrinker_start(struct shrinker *shrinker)
{
	shrinker_register(shrinker);
}

static inline void bufpool_shrinker_free(struct shrinker *shrinker)
{
	shrinker_free(shrinker);
}
#endif

/*
 * What the current task's reclaim has freed beside the pages on its lists; until
 * 6.4 only slabs were thought of.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define bufpool_reclaim_count	reclaimed_slab
#else
#define bufpool_reclaim_count	reclaimed
#endif

static inline unsigned long bufpool_reclaimed(void)
{
	return current->reclaim_state ?
	       current->reclaim_state->bufpool_reclaim_count : 0;
}

static inline void bufpool_account_reclaimed(unsigned long pages)
{
	if (current->reclaim_state)
		current->reclaim_state->bufpool_reclaim_count += pages;
}

/*
 * Have the current task begin anew the restartable sequence that it is in, if any,
 * when it goes back to user space.  Called by an interrupt, with interrupts off.
 */
static inline void bufpool_rseq_give_up(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
	rseq_preempt(current);
#elif defined(CONFIG_RSEQ)
	if (rseq_v2(current))
		rseq_sched_switch_event(current);
	else
		rseq_force_update();
#endif
}

#endif /* BUFPOOL_COMPAT_H */
