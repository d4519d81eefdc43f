// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control region's pages: made when first touched, by either side.
 *
 * They are in the page cache like the buffers, but the kernel works on them
 * through its own addresses.  Those it keeps: a page before slot_offset in
 * pool->control until the pool goes, a page of slot headers in its span until
 * the span goes.
 */
#include <linux/pagemap.h>

#include "bufpool.h"

/**
 * bufpool_control_folio - get a page of the control region, made if need be
 * @pool: the pool
 * @pgoff: page of the file, inside the control region
 * @gfp: how to allocate, __GFP_ZERO added
 *
 * Takes no pool lock: the page cache lets only one of two makers win.
 *
 * Return: the folio, locked and with a reference, or an error pointer.
 */
struct folio *bufpool_control_folio(struct bufpool *pool, pgoff_t pgoff,
				    gfp_t gfp)
{
	struct address_space *mapping = pool->inode->i_mapping;
	struct folio *folio;
	int err;

	do {
		folio = bufpool_find_lock_folio(mapping, pgoff);
		if (folio)
			return folio;

		folio = folio_alloc(gfp | __GFP_ZERO, 0);
		if (!folio)
			return ERR_PTR(-ENOMEM);
		__folio_mark_uptodate(folio);
		err = filemap_add_folio(mapping, folio, pgoff, gfp);
		if (!err)
			return folio;
		folio_put(folio);
	} while (err == -EEXIST);
	return ERR_PTR(err);
}

/**
 * bufpool_control - the kernel's address of a word before slot_offset
 * @pool: the pool, its lock held
 * @offset: byte offset in the file
 * @create: whether to make the page if nobody has touched it yet
 *
 * A page that is found without its lock may, up to 6.1, be one that another is being
 * migrated to, with nothing in it yet: not up to date, and as good as not there.
 *
 * Return: the address, valid as long as the pool; NULL if the page does not
 * exist and was not to be made, or could not be.
 */
void *bufpool_control(struct bufpool *pool, loff_t offset, bool create)
{
	pgoff_t pgoff = offset >> PAGE_SHIFT;
	struct folio *folio = pool->control[pgoff];

	lockdep_assert_held(&pool->lock);
	if (!folio) {
		if (create) {
			folio = bufpool_control_folio(pool, pgoff,
						      BUFPOOL_GFP_CONTROL);
			if (IS_ERR(folio))
				return NULL;
			folio_unlock(folio);
		} else {
			folio = bufpool_find_folio(pool->inode->i_mapping, pgoff);
			if (!folio)
				return NULL;
			if (!folio_test_uptodate(folio)) {
				folio_put(folio);
				return NULL;
			}
		}
		pool->control[pgoff] = folio;
	}
	return folio_address(folio) + offset_in_page(offset);
}

/**
 * bufpool_stacks - the stacks of one CPU, or the depot
 * @pool: the pool, its lock held
 * @cpu: CPU number, or pool->nr_cpus for the depot
 * @create: as for bufpool_control()
 *
 * Return: the stacks, or NULL: as yet empty, or no memory for them.
 */
struct bufpool_stacks *bufpool_stacks(struct bufpool *pool, u32 cpu,
				      bool create)
{
	BUILD_BUG_ON(PAGE_SIZE % sizeof(struct bufpool_stacks));

	return bufpool_control(pool, pool->cpu_offset +
			       cpu * sizeof(struct bufpool_stacks), create);
}
