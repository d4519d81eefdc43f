// SPDX-License-Identifier: GPL-2.0-only
/* The file: opened, mapped, faulted, closed. */
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "bufpool.h"

/*
 * There is nowhere to write to, so nothing is ever dirty: a folio that nobody uses
 * can be removed as a clean one.
 */
static bool bufpool_dirty_folio(struct address_space *mapping,
				struct folio *folio)
{
	return false;
}

const struct address_space_operations bufpool_aops = {
	.dirty_folio	= bufpool_dirty_folio,
	.migrate_folio	= filemap_migrate_folio,
};

/**
 * bufpool_owner - may the calling process use this pool
 * @pool: the pool
 *
 * Return: 0; -ENXIO if it is not set up; -EPERM if another process did that.
 */
int bufpool_owner(const struct bufpool *pool)
{
	/* Pairs with bufpool_setup(). */
	const struct mm_struct *mm = smp_load_acquire(&pool->mm);

	if (!mm)
		return -ENXIO;
	return mm == current->mm ? 0 : -EPERM;
}

static int bufpool_open(struct inode *inode, struct file *file)
{
	struct bufpool *pool = bufpool_create();

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	file->private_data = pool;
	file->f_mapping = pool->inode->i_mapping;
	return nonseekable_open(inode, file);
}

static int bufpool_close(struct inode *inode, struct file *file)
{
	struct bufpool *pool = file->private_data;

	if (pool->mm) {
		/* What is leaving is detached here, or by a worker in a moment. */
		bufpool_detach_all(pool);
		bufpool_finish();
		xa_erase(&bufpool_pools, pool->id);
	}
	bufpool_put(pool);
	return 0;
}

/* What a child was made to inherit by MADV_DOFORK is not its own to see. */
static bool inherited(const struct vm_area_struct *vma)
{
	const struct bufpool *pool = vma->vm_file->private_data;

	return vma->vm_mm != pool->mm;
}

/*
 * A page of the control region is made on demand.  A page of a buffer is there
 * or it is not: detached slots have none, whoever touches one gets SIGBUS.
 */
static vm_fault_t bufpool_fault(struct vm_fault *vmf)
{
	struct bufpool *pool = vmf->vma->vm_file->private_data;
	struct address_space *mapping = pool->inode->i_mapping;
	struct folio *folio;

	if (inherited(vmf->vma))
		return VM_FAULT_SIGBUS;
	if (vmf->pgoff < pool->control_bytes >> PAGE_SHIFT) {
		folio = bufpool_control_folio(pool, vmf->pgoff, GFP_USER);
		if (IS_ERR(folio))
			return vmf_error(PTR_ERR(folio));
	} else {
		folio = bufpool_find_lock_folio(mapping, vmf->pgoff);
		if (!folio)
			return VM_FAULT_SIGBUS;
	}

	vmf->page = folio_file_page(folio, vmf->pgoff);
	if (PageHWPoison(vmf->page)) {
		folio_unlock(folio);
		folio_put(folio);
		return VM_FAULT_HWPOISON;
	}
	return VM_FAULT_LOCKED;
}

/*
 * The kernel asks for the pages around the fault, 64 KiB.  If they are of a bigger
 * folio, map all of it: @start and @end become what the folio, the mapping and the
 * page table have in common.
 */
static void whole_folio(const struct vm_fault *vmf, pgoff_t *start, pgoff_t *end)
{
	struct vm_area_struct *vma = vmf->vma;
	pgoff_t below = min_t(pgoff_t, pte_index(vmf->address),
			      vmf->pgoff - vma->vm_pgoff);
	pgoff_t above = min_t(pgoff_t, PTRS_PER_PTE - 1 - pte_index(vmf->address),
			      vma->vm_pgoff + vma_pages(vma) - 1 - vmf->pgoff);
	struct folio *folio = bufpool_find_folio(vma->vm_file->f_mapping,
						 vmf->pgoff);

	if (!folio)
		return;
	*start = min(*start, max(folio->index, vmf->pgoff - below));
	*end = max(*end, min(folio_next_index(folio) - 1, vmf->pgoff + above));
	folio_put(folio);
}

static vm_fault_t bufpool_map_pages(struct vm_fault *vmf, pgoff_t start,
				    pgoff_t end)
{
	if (inherited(vmf->vma))
		return 0;
	whole_folio(vmf, &start, &end);
	return filemap_map_pages(vmf, start, end);
}

/*
 * A mapping goes away because the process unmaps it, which is its business, or
 * because the process is gone: then the buffers go too, even if somebody it
 * gave the file to still has it open.
 */
static void bufpool_vma_close(struct vm_area_struct *vma)
{
	if (!inherited(vma) && !atomic_read(&vma->vm_mm->mm_users))
		bufpool_detach_all(vma->vm_file->private_data);
}

static const struct vm_operations_struct bufpool_vm_ops = {
	.close		= bufpool_vma_close,
	.fault		= bufpool_fault,
	.map_pages	= bufpool_map_pages,
};

/*
 * The same for a process that has nothing mapped when it ends.  Its threads that
 * are still on their way out have no address space any more.
 */
static int bufpool_flush(struct file *file, fl_owner_t id)
{
	struct bufpool *pool = file->private_data;

	/* Pairs with bufpool_setup(). */
	if (smp_load_acquire(&pool->mm) && pool->tgid == task_tgid(current) &&
	    !atomic_read(&current->signal->live))
		bufpool_detach_all(pool);
	return 0;
}

static int bufpool_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct bufpool *pool = file->private_data;
	pgoff_t end;
	int err;

	err = bufpool_owner(pool);
	if (err)
		return err;
	end = (pool->data_offset >> PAGE_SHIFT) + pool->nr_pages;
	if (!(vma->vm_flags & VM_MAYSHARE) ||
	    vma->vm_pgoff > end || vma_pages(vma) > end - vma->vm_pgoff)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;

	vm_flags_mod(vma, VM_DONTCOPY | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_ops = &bufpool_vm_ops;
	if (vma->vm_pgoff + vma_pages(vma) > pool->data_offset >> PAGE_SHIFT)
		WRITE_ONCE(pool->base,
			   vma->vm_start - (vma->vm_pgoff << PAGE_SHIFT));
	return 0;
}

/*
 * The page cache is the pool's only copy.  Without this, POSIX_FADV_DONTNEED
 * would drop what is not mapped just now, for whoever was given the file.
 */
static int bufpool_fadvise(struct file *file, loff_t offset, loff_t len,
			   int advice)
{
	return -EOPNOTSUPP;
}

const struct file_operations bufpool_fops = {
	.owner			= THIS_MODULE,
	.open			= bufpool_open,
	.flush			= bufpool_flush,
	.release		= bufpool_close,
	.mmap			= bufpool_mmap,
	.get_unmapped_area	= thp_get_unmapped_area,
	.unlocked_ioctl		= bufpool_ioctl,
	.compat_ioctl		= compat_ptr_ioctl,
	.fadvise		= bufpool_fadvise,
	.show_fdinfo		= bufpool_show_fdinfo,
};
