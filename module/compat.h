/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the supported kernels, 6.1, 6.12 and 7.3, in one place.
 *
 * checkpatch: LINUX_VERSION_CODE, CONSTANT_COMPARISON: an out-of-tree module
 * checkpatch: MACRO_ARG_UNUSED: __counted_by() is nothing to older compilers
 */
#ifndef BUFPOOL_COMPAT_H
#define BUFPOOL_COMPAT_H

#include <linux/err.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/version.h>

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

#endif /* BUFPOOL_COMPAT_H */
