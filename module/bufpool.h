/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A pool: one open file of /dev/bufpool.
 *
 * Its memory is the page cache of an inode of its own.  The first part of the
 * file is the control region, which the process shares and writes; see
 * <linux/bufpool.h> for its layout and for the protocol of the stacks.  The
 * rest is the data range, handed out in spans of 4 MiB.  A span is given to one
 * size class and cut into slots, or a run of spans holds one bigger slot.
 *
 * A slot is in one of three states, which the kernel keeps in struct
 * bufpool_span, where no process can write:
 *
 *	detached	used bit clear			an address, no memory
 *	in transit	used bit set, slot_pages 0	owned by one task, which
 *							attaches or detaches it
 *	attached	used bit set, slot_pages > 0	live, or idle on a stack
 *
 * and in one more that only the shrinker makes:
 *
 *	leaving		attached, leaving bit set	taken while idle or weak; its
 *							memory is gone, or was in use
 *							just then; the worker
 *							detaches it
 *
 * A slot that was taken while weak has its hollow bit set until the process frees
 * it.  It goes through "in transit" like any other, but ends there: no memory, and
 * an address that nobody else is given.  The leaving bit tells whether it has
 * arrived: clear means it has.
 *
 * Whether an attached slot is live or idle only the shared stacks and fronts know.  The
 * kernel asks them when it looks for idle memory, and counts on nothing there:
 * limits rest on the pages that the kernel itself attached, and how far it follows
 * links on the slots that it has given out.
 *
 * Locking, outermost first:
 *
 *	bufpool_settings_lock	the device's settings; held while every pool
 *				that follows them is told
 *	reserve_set_lock	the reserve's size and its thread; nothing but
 *				reserve_lock inside
 *	mmap_lock		taken by the fault that populates a buffer, and
 *				held around ->mmap, ->fault and ->close
 *	pool->lock		spans, slots, the pool's configuration, the
 *				kernel's pointers into the control region.  Not
 *				held while a buffer is zeroed, attached,
 *				detached or populated, nor across an access to
 *				user memory
 *	bufpool_pools.xa_lock	the list of pools; a leaf
 *	trim_lock		when the trim worker is due; a leaf
 *	reserve_lock		the reserve's folios and their number; a leaf
 *	bufpool_lru's locks	the shrinker's list; leaves
 *	outflow_wait.lock	who waits for memory that others give back; a leaf
 *	page cache locks	i_mmap_rwsem, folio lock, i_pages lock
 *
 * A front is the threads' on its CPU as long as the class's flag says so.  Under
 * pool->lock the flag is cleared and these CPUs are interrupted; then it is the
 * holder's, until the flag is set again.
 *
 * The shrinker only tries pool->lock; what it may not do under it, shrink.c says.
 * Nothing is allocated with __GFP_FS under it, so it is not held by the task that
 * the shrinker runs for.
 *
 * A pool's inode, and with it the memory, lives until the last reference to
 * struct bufpool is gone.  The file holds one; whoever walks bufpool_pools
 * takes one for as long as it works on the pool.
 */
/* checkpatch: MACRO_ARG_REUSE: bufpool_for_each() is a loop over its arguments */

#ifndef BUFPOOL_MODULE_H
#define BUFPOOL_MODULE_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/bufpool.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"

#define BUFPOOL_SPAN_SIZE	SZ_4M
#define BUFPOOL_SPAN_PAGES	(BUFPOOL_SPAN_SIZE >> PAGE_SHIFT)

/* From this size up, slots are aligned to it, so that a PMD can map them. */
#define BUFPOOL_HUGE_BYTES	SZ_2M
#define BUFPOOL_HUGE_PAGES	(BUFPOOL_HUGE_BYTES >> PAGE_SHIFT)
#define BUFPOOL_HUGE_ORDER	ilog2(BUFPOOL_HUGE_PAGES)

/* A link is 32 bits, and the data range twice the limit and some. */
#define BUFPOOL_MAX_PAGES	BIT_ULL(30)
#define BUFPOOL_MAX_BYTES	(BUFPOOL_MAX_PAGES << PAGE_SHIFT)

/* Idle large buffers per class: bounds the search for the best fit. */
#define BUFPOOL_MAX_LARGE_CACHED	64
#define BUFPOOL_MAX_PERCPU_CACHED	65536
#define BUFPOOL_MAX_TRIM_PERIOD_MS	(24 * 60 * 60 * 1000)

/* Pages of slot headers that one span needs; 1 where spans share a page. */
#define BUFPOOL_SPAN_HEADER_BYTES \
	(BUFPOOL_SPAN_PAGES * sizeof(struct bufpool_slot))
#define BUFPOOL_SPAN_HEADER_PAGES \
	((BUFPOOL_SPAN_HEADER_BYTES + PAGE_SIZE - 1) / PAGE_SIZE)

/*
 * For the kernel's own needs under pool->lock: without __GFP_FS, so that the
 * shrinker is not called by who holds it; and where even reclaim does not help,
 * the caller is told, and nobody is killed.
 */
#define BUFPOOL_GFP_CONTROL \
	((GFP_USER & ~__GFP_FS) | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
#define BUFPOOL_GFP	(BUFPOOL_GFP_CONTROL | __GFP_ACCOUNT)

/* Everything that is counted, per pool and for the device. */
enum bufpool_counter {
	BUFPOOL_ALLOCS,
	BUFPOOL_FREES,
	BUFPOOL_REUSED,
	BUFPOOL_GROWN,
	BUFPOOL_ATTACHED_TOTAL,		/* pages */
	BUFPOOL_HUGE_ATTACHED,
	BUFPOOL_RELEASED,		/* pages */
	BUFPOOL_FREED,			/* pages */
	BUFPOOL_TRIMMED,		/* pages */
	BUFPOOL_SHRUNK,			/* pages */
	BUFPOOL_RECLAIMED,		/* pages */
	BUFPOOL_LIMIT_HITS,
	BUFPOOL_CORRUPTIONS,
	BUFPOOL_RESERVE_HITS,
	BUFPOOL_RESERVE_MISSES,
	BUFPOOL_NR_COUNTERS,
};

/* A run of the data range that is given to one class.  Under pool->lock. */
struct bufpool_span {
	unsigned long	nr;		/* first span of the run, its xarray index */
	u32		nr_spans;	/* length of the run */
	u32		cls;
	u32		stride;		/* pages from slot to slot */
	u32		nr_slots;
	u32		nr_used;	/* bits set in used */
	struct list_head partial;	/* on pool->partial[cls] if a slot is free */
	/* Slot headers of the first span; a reference held; NULL until needed. */
	struct folio	*header[BUFPOOL_SPAN_HEADER_PAGES];
	DECLARE_BITMAP(used, BUFPOOL_SPAN_PAGES);
	DECLARE_BITMAP(leaving, BUFPOOL_SPAN_PAGES);
	DECLARE_BITMAP(hollow, BUFPOOL_SPAN_PAGES);
	u32		slot_pages[] __counted_by(nr_slots);
};

/* A slot, as the kernel names it.  Valid under pool->lock or while in transit. */
struct bufpool_ref {
	struct bufpool_span	*span;
	u32			slot;	/* number in the span */
	u32			index;	/* first page, in the data range */
	u32			pages;	/* pages attached, taken, or to be attached */
};

/* Slots that are taken in one go. */
#define BUFPOOL_BATCH	32

struct bufpool {
	struct mutex		lock;		/* see "Locking" above */
	refcount_t		ref;
	struct list_head	lru;		/* on bufpool_lru with memory attached */
	struct work_struct	put_work;	/* bufpool_put_later() */
	u32			id;		/* index in bufpool_pools */
	struct inode		*inode;
	/*
	 * The process SETUP was called from; NULL before.  Published last, with
	 * release ordering: who sees it sees the geometry below.
	 */
	struct mm_struct	*mm;
	struct pid		*tgid;

	/* Geometry, constant from SETUP on */
	u32			nr_cpus;
	u32			nr_classes;
	unsigned long		nr_spans;
	unsigned long		nr_pages;
	unsigned long		limit_pages;	/* what the range was laid out for */
	loff_t			cpu_offset;
	loff_t			slot_offset;
	loff_t			control_bytes;
	loff_t			data_offset;

	/*
	 * Address of the file's start in the process, from its last mapping of
	 * data.  A hint for populating: if it is stale, the wrong pages of the
	 * same process are read.
	 */
	unsigned long		base;

	/* Under lock */
	struct bufpool_config	own;		/* BUFPOOL_FOLLOW: the device's */
	struct xarray		spans;		/* first span of a run -> bufpool_span */
	unsigned long		*span_map;	/* spans in use */
	struct list_head	*partial;	/* per class: spans with a free slot */
	/* Classes that have, or had, slots of fewer pages than their own */
	DECLARE_BITMAP(uneven, BUFPOOL_MAX_CLASSES);
	struct folio		**control;	/* control region before slot_offset */
	unsigned long		peak_pages;
	bool			dead;		/* bufpool_detach_all() has begun */
	unsigned long		nr_leaving;	/* slots that are leaving */
	/* Per class, how often its fronts were emptied for another CPU, see front.c */
	u8			steals[BUFPOOL_MAX_CLASSES];
	struct cpumask		*front_cpus;	/* while fronts are being emptied */
	unsigned long		nr_slots;	/* slots that are not detached */
	unsigned long		steps;		/* see bufpool_walk_begin() */
	unsigned long		releasing;	/* pages in batches under way */
	bool			trim_armed;	/* trim_due says when it is trimmed */
	unsigned long		trim_due;	/* jiffies */

	/* Written under lock, read by anyone */
	unsigned long		attached_pages;	/* or about to be */
	unsigned long		batches;	/* released, ever */
	atomic64_t		count[BUFPOOL_NR_COUNTERS];
};

static inline pgoff_t bufpool_pgoff(const struct bufpool *pool, u32 index)
{
	return (pool->data_offset >> PAGE_SHIFT) + index;
}

/* main.c */
extern struct xarray bufpool_pools;
struct bufpool *bufpool_create(void);
void bufpool_put(struct bufpool *pool);
void bufpool_put_later(struct bufpool *pool);
struct bufpool *bufpool_next(unsigned long *id);

/**
 * bufpool_for_each - walk all pools that are set up
 * @pool: the cursor, a reference held during each turn
 * @id: an unsigned long for the walk's own use
 *
 * Leaving the loop early leaves the caller with a reference to @pool.
 */
#define bufpool_for_each(pool, id)					\
	for ((id) = 0; ((pool) = bufpool_next(&(id))); bufpool_put(pool))

/* file.c */
extern const struct file_operations bufpool_fops;
extern const struct address_space_operations bufpool_aops;
int bufpool_owner(const struct bufpool *pool);

/* setup.c */
int bufpool_setup(struct bufpool *pool, const struct bufpool_config *own);
void bufpool_teardown(struct bufpool *pool);

/* ioctl.c */
long bufpool_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* config.c */
extern struct mutex bufpool_settings_lock;
extern struct bufpool_config bufpool_settings;
extern u64 bufpool_total_limit;
extern const char *bufpool_preset_name;
void bufpool_settings_init(void);
int bufpool_config_check(const struct bufpool_config *cfg, bool follow);
void bufpool_config_effective(const struct bufpool *pool,
			      struct bufpool_config *cfg);
void bufpool_config_publish(struct bufpool *pool);
void bufpool_settings_publish(void);
int bufpool_settings_preset(const char *name);

/* What the configuration makes of one class. */
struct bufpool_keep {
	u32	percpu_cap;
	u32	depot_cap;
	bool	large;
};

void bufpool_config_keep(const struct bufpool_config *cfg, u32 cls,
			 struct bufpool_keep *keep);

/* control.c */
struct folio *bufpool_control_folio(struct bufpool *pool, pgoff_t pgoff,
				    gfp_t gfp);
void *bufpool_control(struct bufpool *pool, loff_t offset, bool create);
struct bufpool_stacks *bufpool_stacks(struct bufpool *pool, u32 cpu,
				      bool create);

/* span.c */
int bufpool_slot_reserve(struct bufpool *pool, u32 cls,
			 struct bufpool_ref *ref);
void bufpool_slot_unreserve(struct bufpool *pool,
			    const struct bufpool_ref *ref);
bool bufpool_slot_find(struct bufpool *pool, u64 index,
		       struct bufpool_ref *ref);
bool bufpool_slot_free_hollow(struct bufpool *pool, u64 index);
void bufpool_forget_hollow(struct bufpool *pool);
struct bufpool_slot *bufpool_slot_header(const struct bufpool_ref *ref);
void bufpool_slot_set(const struct bufpool_ref *ref, u32 state);
void bufpool_slot_take(const struct bufpool_ref *ref);
void bufpool_slot_give(const struct bufpool_ref *ref);

/* weak.c */

/* Where a search for the slots that have been weak for longest has come to. */
struct bufpool_weak_walk {
	u32		now;		/* the weak clock when it began */
	u32		youngest;	/* class of age that is still taken */
	unsigned long	of_youngest;	/* pages to take of that class */
	unsigned long	nr;		/* the span, and the slot in it */
	u32		slot;
};

bool bufpool_weak_begin(struct bufpool *pool, unsigned long want,
			struct bufpool_weak_walk *walk);
unsigned int bufpool_take_weak(struct bufpool *pool,
			       struct bufpool_weak_walk *walk,
			       struct bufpool_ref *ref, unsigned int max);

/* stack.c */
bool bufpool_pop(struct bufpool *pool, u32 cpu, u32 cls,
		 struct bufpool_ref *ref);
bool bufpool_push(struct bufpool *pool, u32 cpu, u32 cls,
		  const struct bufpool_ref *ref);
u32 bufpool_depth(struct bufpool *pool, u32 cpu, u32 cls);
unsigned long bufpool_idle_pages(struct bufpool *pool);
void bufpool_walk_begin(struct bufpool *pool);
void bufpool_walk_resume(struct bufpool *pool, unsigned long steps,
			 unsigned long nr_slots);
u32 bufpool_cut(struct bufpool *pool, u32 cpu, u32 cls, u32 keep);
u32 bufpool_cut_pages(struct bufpool *pool, u32 cpu, u32 cls,
		      unsigned long pages);
bool bufpool_chain_next(struct bufpool *pool, u32 cpu, u32 cls, u32 *link,
			struct bufpool_ref *ref);

/* front.c */
u32 bufpool_front_pages(struct bufpool *pool, u32 cpu, u32 cls);
u32 bufpool_front_flag(const struct bufpool *pool, u32 cls,
		       const struct bufpool_keep *keep);
bool bufpool_front_empty(struct bufpool *pool);
bool bufpool_front_steal(struct bufpool *pool, u32 cls, u32 here);
void bufpool_front_allow(struct bufpool *pool);

/* attach.c */
int bufpool_charge(struct bufpool *pool, unsigned long pages,
		   unsigned long *missing);
void bufpool_uncharge(struct bufpool *pool, unsigned long pages);
int bufpool_attach(struct bufpool *pool, u32 index, u32 pages);
void bufpool_drop_pages(struct bufpool *pool, pgoff_t pgoff, pgoff_t pages);
unsigned long bufpool_try_drop_pages(struct bufpool *pool, pgoff_t pgoff,
				     pgoff_t pages);
void bufpool_zero(struct bufpool *pool, u32 index, u32 pages);

/* alloc.c */
int bufpool_alloc(struct bufpool *pool, u64 bytes, u32 flags,
		  struct bufpool_ref *ref, u32 *fresh);
int bufpool_free(struct bufpool *pool, u64 index);

/* reclaim.c */

/* What is on its way back to the kernel at some moment, for who waits for it. */
struct bufpool_outflow {
	unsigned long	batches;	/* that have arrived until then */
	bool		busy;		/* whether there are others under way */
};

void bufpool_outflow(struct bufpool *pool, bool device,
		     struct bufpool_outflow *now);
void bufpool_outflow_wait(struct bufpool *pool, bool device,
			  const struct bufpool_outflow *then);
void bufpool_detach(struct bufpool *pool, const struct bufpool_ref *ref);
unsigned long bufpool_release(struct bufpool *pool, unsigned long want,
			      enum bufpool_counter why);
unsigned long bufpool_reclaim(struct bufpool *pool, unsigned long want,
			      bool others);
void bufpool_enforce(struct bufpool *pool, enum bufpool_counter why);
void bufpool_detach_all(struct bufpool *pool);
void bufpool_trim_arm(struct bufpool *pool, const struct bufpool_config *cfg);
void bufpool_finish_later(void);
void bufpool_finish(void);
int bufpool_worker_init(void);
void bufpool_worker_exit(void);
extern struct workqueue_struct *bufpool_wq;

/* stats.c */
extern atomic_long_t bufpool_attached_pages;
void bufpool_count(struct bufpool *pool, enum bufpool_counter what, u64 n);
void bufpool_count_back(struct bufpool *pool, enum bufpool_counter why,
			unsigned long pages);
void bufpool_stats(struct bufpool *pool, struct bufpool_stats *st);
void bufpool_device_stats(struct bufpool_stats *st);
void bufpool_show_fdinfo(struct seq_file *m, struct file *file);

/* shrink.c */
extern struct list_lru bufpool_lru;
void bufpool_lru_add(struct bufpool *pool);
void bufpool_lru_del(struct bufpool *pool);
int bufpool_shrink_init(void);
void bufpool_shrink_stop(void);
void bufpool_shrink_exit(void);

/* reserve.c */
struct bufpool_reserve {
	u64	bytes;		/* what it is to hold */
	u64	held_bytes;	/* what it holds */
	u64	refilled;	/* folios it was given */
};

struct folio *bufpool_reserve_alloc(struct bufpool *pool, gfp_t gfp, bool *taken);
void bufpool_reserve_settle(struct bufpool *pool, struct folio *folio, int err);
int bufpool_reserve_set(u64 bytes);
void bufpool_reserve_show(struct bufpool_reserve *st);
int bufpool_reserve_init(void);
void bufpool_reserve_exit(void);

/* sysfs.c */
extern const struct attribute_group *bufpool_groups[];

#endif /* BUFPOOL_MODULE_H */
