// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory goes back: on request, at a limit, by time, at the end of a process.
 *
 * Why it is safe beside a process that pops, pushes and faults all the while:
 *
 * - Idle slots are found on the stacks only, and are taken off them by the same
 *   compare-exchange that the process uses.  Whoever's exchange succeeds owns
 *   what came off; the tag makes every other one in flight fail.  So a slot is
 *   the process's or the kernel's, never both.
 * - A slot that is the kernel's becomes "in transit" under pool->lock, where
 *   FREE, ALLOC and other reclaim do not find it.  It keeps its place in the
 *   data range until its memory is gone, so no new buffer gets the same address
 *   while the old one's pages are being unmapped and removed.
 * - A thread may still hold a link to a slot that has gone, between loading the
 *   head and exchanging it.  It reads that slot's header, which is zero by then
 *   or a new page of zeroes, and its exchange fails.
 * - Fault and truncation meet at the folio lock: a fault that comes first is
 *   unmapped again, one that comes later finds no folio.
 * - The charge is dropped last.  Limits see memory that is on its way out as
 *   still there.
 */
#include <linux/jiffies.h>
#include <linux/sched/signal.h>
#include <linux/sort.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "bufpool.h"

static void trim_work_fn(struct work_struct *work);
static void finish_work_fn(struct work_struct *work);

struct workqueue_struct *bufpool_wq;
static DECLARE_DELAYED_WORK(trim_work, trim_work_fn);
static DECLARE_DELAYED_WORK(finish_work, finish_work_fn);

/*
 * Of all pools: pages in batches under way, and batches that have arrived.  A batch
 * leaves the first when its charge has been dropped, and then enters the second.
 */
static atomic_long_t releasing_pages;
static atomic_long_t released_batches;
static DECLARE_WAIT_QUEUE_HEAD(outflow_wait);

/* Slots in transit to detached; they leave the page cache without the lock. */
struct batch {
	unsigned int		nr;
	unsigned long		pages;
	struct bufpool_ref	ref[BUFPOOL_BATCH];
};

static void batch_add(struct batch *batch, const struct bufpool_ref *ref)
{
	bufpool_slot_take(ref);
	batch->ref[batch->nr++] = *ref;
	batch->pages += ref->pages;
}

static int by_index(const void *a, const void *b)
{
	const struct bufpool_ref *left = a, *right = b;

	return left->index < right->index ? -1 : left->index > right->index;
}

/* Unmapping costs the same for one slot as for a row of them: find the rows. */
static void batch_drop(struct bufpool *pool, struct batch *batch)
{
	unsigned int i, next;

	sort(batch->ref, batch->nr, sizeof(*batch->ref), by_index, NULL);
	for (i = 0; i < batch->nr; i = next) {
		u32 start = batch->ref[i].index;
		u32 end = start + batch->ref[i].pages;

		for (next = i + 1; next < batch->nr &&
		     batch->ref[next].index == end; next++)
			end += batch->ref[next].pages;
		bufpool_drop_pages(pool, bufpool_pgoff(pool, start), end - start);
	}
}

/* Pages of a batch are back, and are not charged any more. */
static void outflow_end(struct bufpool *pool, unsigned long pages)
{
	pool->releasing -= pages;
	WRITE_ONCE(pool->batches, pool->batches + 1);
	/* Each pairs with bufpool_outflow(), in this order. */
	atomic_long_sub_return_release(pages, &releasing_pages);
	atomic_long_inc_return_release(&released_batches);
	if (wq_has_sleeper(&outflow_wait))
		wake_up_all(&outflow_wait);
}

/**
 * bufpool_outflow - look at what is on its way back to the kernel
 * @pool: the pool, its lock held
 * @device: whether to look at all pools
 * @now: out
 *
 * If nothing is, a charge that is tried after this finds all room there is.  If
 * something is, the number of batches will change.
 */
void bufpool_outflow(struct bufpool *pool, bool device,
		     struct bufpool_outflow *now)
{
	lockdep_assert_held(&pool->lock);
	if (!device) {
		now->batches = pool->batches;
		now->busy = pool->releasing;
		return;
	}
	/* Both pair with outflow_end(). */
	now->batches = atomic_long_read_acquire(&released_batches);
	now->busy = atomic_long_read_acquire(&releasing_pages);
}

/**
 * bufpool_outflow_wait - wait until one more batch has arrived, or for a kill
 * @pool: the pool, its lock not held
 * @device: as for bufpool_outflow()
 * @then: what that said: busy
 */
void bufpool_outflow_wait(struct bufpool *pool, bool device,
			  const struct bufpool_outflow *then)
{
	if (device)
		wait_event_killable(outflow_wait,
				    atomic_long_read(&released_batches) !=
				    (long)then->batches);
	else
		wait_event_killable(outflow_wait,
				    READ_ONCE(pool->batches) != then->batches);
}

/* Called and returns with the lock held, drops it while memory is removed. */
static void batch_flush(struct bufpool *pool, struct batch *batch)
{
	unsigned long steps = pool->steps, nr_slots = pool->nr_slots;
	unsigned int i;

	if (!batch->nr)
		return;

	pool->releasing += batch->pages;
	atomic_long_add(batch->pages, &releasing_pages);
	mutex_unlock(&pool->lock);
	batch_drop(pool, batch);
	cond_resched();
	mutex_lock(&pool->lock);

	bufpool_walk_resume(pool, steps, nr_slots);
	bufpool_uncharge(pool, batch->pages);
	outflow_end(pool, batch->pages);
	for (i = 0; i < batch->nr; i++) {
		struct bufpool_ref *ref = &batch->ref[i];

		__clear_bit(ref->slot, ref->span->leaving);
		/* A hollow one has arrived, unless it was freed meanwhile. */
		if (!test_bit(ref->slot, ref->span->hollow))
			bufpool_slot_unreserve(pool, ref);
	}
	batch->nr = 0;
	batch->pages = 0;
}

/*
 * Go on from *@nr with slots that are attached, or with those of them that are
 * leaving.  Returns true if the batch is full and there may be more.
 */
static bool batch_collect(struct bufpool *pool, struct batch *batch,
			  unsigned long *nr, bool leaving)
{
	struct bufpool_span *span;
	struct bufpool_ref ref;
	u32 slot;

	xa_for_each_start(&pool->spans, *nr, span, *nr) {
		for (slot = 0; slot < span->nr_slots; slot++) {
			if (!span->slot_pages[slot] ||
			    (leaving && !test_bit(slot, span->leaving)))
				continue;
			if (batch->nr == BUFPOOL_BATCH)
				return true;
			if (test_bit(slot, span->leaving))
				pool->nr_leaving--;
			ref.span = span;
			ref.slot = slot;
			ref.index = span->nr * BUFPOOL_SPAN_PAGES +
				    slot * span->stride;
			ref.pages = span->slot_pages[slot];
			batch_add(batch, &ref);
		}
	}
	return false;
}

/**
 * bufpool_finish - see what the shrinker took detached
 *
 * Caller holds no pool's lock and is not in reclaim.
 */
void bufpool_finish(void)
{
	flush_delayed_work(&finish_work);
}

/**
 * bufpool_detach - take one slot's memory
 * @pool: the pool, its lock held; dropped and taken again
 * @ref: the slot, attached, on no stack
 */
void bufpool_detach(struct bufpool *pool, const struct bufpool_ref *ref)
{
	struct batch batch = {};

	batch_add(&batch, ref);
	batch_flush(pool, &batch);
}

/*
 * Release the slots of a chain that bufpool_cut() took off a stack.  When the
 * lock is dropped in between, the rest of the chain is attached, idle, and on no
 * stack: only bufpool_detach_all() finds such slots.
 */
static unsigned long release_chain(struct bufpool *pool, u32 cpu, u32 cls,
				   u32 link, struct batch *batch)
{
	unsigned long pages = 0;
	struct bufpool_ref ref;

	while (bufpool_chain_next(pool, cpu, cls, &link, &ref)) {
		pages += ref.pages;
		batch_add(batch, &ref);
		if (batch->nr < BUFPOOL_BATCH)
			continue;
		batch_flush(pool, batch);
		if (pool->dead)
			break;
	}
	return pages;
}

static unsigned long release_stacks(struct bufpool *pool, unsigned long want,
				    struct batch *batch)
{
	unsigned long pages = 0;
	u32 cpu, cls;

	for (cpu = pool->nr_cpus + 1; cpu-- && pages < want;) {
		if (!bufpool_stacks(pool, cpu, false))
			continue;
		for (cls = pool->nr_classes; cls-- && pages < want;) {
			u32 link = bufpool_cut_pages(pool, cpu, cls, want - pages);

			pages += release_chain(pool, cpu, cls, link, batch);
		}
	}
	return pages;
}

static unsigned long release_idle(struct bufpool *pool, unsigned long want,
				  enum bufpool_counter why)
{
	struct batch batch = {};
	unsigned long pages;

	mutex_lock(&pool->lock);
	bufpool_walk_begin(pool);
	if (want == ULONG_MAX)
		bufpool_front_empty(pool);
	pages = release_stacks(pool, want, &batch);
	if (pages < want && want != ULONG_MAX && bufpool_front_empty(pool))
		pages += release_stacks(pool, want - pages, &batch);
	batch_flush(pool, &batch);
	mutex_unlock(&pool->lock);

	bufpool_count_back(pool, why, pages);
	return pages;
}

/**
 * bufpool_release - give idle memory back to the kernel
 * @pool: the pool, its lock not held
 * @want: pages to give back; ULONG_MAX: all
 * @why: the counter it goes to
 *
 * The depot before the CPUs' stacks, these before their fronts, big buffers before
 * small ones, of each stack the cold end first.  Who wants all has the fronts emptied
 * to begin with.  Every stack is looked at once, or twice: what other threads push
 * meanwhile may stay.  What the shrinker took before
 * is detached, too, when this returns; so this is not for the worker that sees to
 * that.
 *
 * Return: pages given back: @want or some more, or all there was.
 */
unsigned long bufpool_release(struct bufpool *pool, unsigned long want,
			      enum bufpool_counter why)
{
	bufpool_finish();
	return release_idle(pool, want, why);
}

/* Weak buffers, those first that have been weak for longest. */
static unsigned long release_weak(struct bufpool *pool, unsigned long want)
{
	struct bufpool_weak_walk walk;
	unsigned long pages = 0;
	struct batch batch = {};
	unsigned int i;

	mutex_lock(&pool->lock);
	if (!bufpool_weak_begin(pool, want, &walk))
		goto unlock;
	while (!fatal_signal_pending(current)) {
		batch.nr = bufpool_take_weak(pool, &walk, batch.ref, BUFPOOL_BATCH);
		if (!batch.nr)
			break;
		for (i = 0; i < batch.nr; i++) {
			bufpool_slot_take(&batch.ref[i]);
			batch.pages += batch.ref[i].pages;
		}
		pages += batch.pages;
		batch_flush(pool, &batch);
	}
unlock:
	mutex_unlock(&pool->lock);

	bufpool_count_back(pool, BUFPOOL_RECLAIMED, pages);
	return pages;
}

static unsigned long reclaim_all(struct bufpool *pool, unsigned long want,
				 bool others, bool weak)
{
	struct bufpool *other;
	unsigned long pages, id;

	pages = weak ? release_weak(pool, want) :
		       bufpool_release(pool, want, BUFPOOL_RECLAIMED);
	if (!others)
		return pages;
	bufpool_for_each(other, id) {
		if (other == pool || pages >= want)
			continue;
		pages += weak ? release_weak(other, want - pages) :
				bufpool_release(other, want - pages,
						BUFPOOL_RECLAIMED);
	}
	return pages;
}

/**
 * bufpool_reclaim - release memory for one that needs it
 * @pool: whose memory goes first, its lock not held
 * @want: pages
 * @others: whether the other pools' helps too
 *
 * Idle memory, and if that is not enough, weak buffers.
 *
 * Return: pages given back.
 */
unsigned long bufpool_reclaim(struct bufpool *pool, unsigned long want,
			      bool others)
{
	unsigned long pages = reclaim_all(pool, want, others, false);

	if (pages < want)
		pages += reclaim_all(pool, want - pages, others, true);
	return pages;
}

/**
 * bufpool_enforce - bring a pool down to what it may retain and hold
 * @pool: the pool, its lock not held
 * @why: the counter it goes to
 *
 * Over the limit only what is idle can go.
 */
void bufpool_enforce(struct bufpool *pool, enum bufpool_counter why)
{
	struct bufpool_config cfg;
	unsigned long idle, held, excess = 0;
	unsigned long retain, limit;

	mutex_lock(&pool->lock);
	bufpool_config_effective(pool, &cfg);
	idle = bufpool_idle_pages(pool);
	held = pool->attached_pages;
	mutex_unlock(&pool->lock);

	retain = cfg.max_retained_bytes >> PAGE_SHIFT;
	limit = cfg.pool_limit_bytes >> PAGE_SHIFT;
	if (idle > retain)
		excess = idle - retain;
	if (idle && held > limit)
		excess = max(excess, held - limit);
	if (excess)
		release_idle(pool, excess, why);
}

/**
 * bufpool_detach_all - take the memory of every buffer, live ones too
 * @pool: the pool, its lock not held; its process is gone or has closed it
 *
 * A slot that is in transit just now is left to whoever has it.
 */
void bufpool_detach_all(struct bufpool *pool)
{
	struct batch batch = {};
	unsigned long nr = 0;
	bool more;

	mutex_lock(&pool->lock);
	pool->dead = true;
	do {
		more = batch_collect(pool, &batch, &nr, false);
		batch_flush(pool, &batch);
	} while (more);
	bufpool_forget_hollow(pool);
	mutex_unlock(&pool->lock);
}

/*
 * Trimming
 *
 * One work item for all pools, due when the first of them is.  A pool is armed
 * while it has memory attached: whether any of it is idle only a look at its
 * stacks can tell, since a free that needs no system call tells nobody.
 */

/* Protects the two below; a leaf. */
static DEFINE_SPINLOCK(trim_lock);
static unsigned long trim_due;
static bool trim_armed;

static void trim_arm(unsigned long due)
{
	spin_lock(&trim_lock);
	if (!trim_armed || time_before(due, trim_due)) {
		trim_armed = true;
		trim_due = due;
		mod_delayed_work(bufpool_wq, &trim_work,
				 time_after(due, jiffies) ? due - jiffies : 0);
	}
	spin_unlock(&trim_lock);
}

/**
 * bufpool_trim_arm - see to it that a pool is trimmed in time
 * @pool: the pool, its lock held, with memory attached
 * @cfg: the values in force
 *
 * To be called when the first memory is attached and when the period changes.
 */
void bufpool_trim_arm(struct bufpool *pool, const struct bufpool_config *cfg)
{
	unsigned long due = jiffies + msecs_to_jiffies(cfg->trim_period_ms);

	lockdep_assert_held(&pool->lock);
	if (!cfg->trim_period_ms) {
		pool->trim_armed = false;
		return;
	}
	if (pool->trim_armed && time_before_eq(pool->trim_due, due))
		return;
	pool->trim_armed = true;
	pool->trim_due = due;
	trim_arm(due);
}

/* The cold end of every stack, then what is still too much. */
static void trim_pool(struct bufpool *pool, u32 percent)
{
	unsigned long pages = 0;
	struct batch batch = {};
	u32 cpu, cls;

	mutex_lock(&pool->lock);
	bufpool_front_empty(pool);
	bufpool_front_allow(pool);
	bufpool_walk_begin(pool);
	for (cpu = 0; cpu <= pool->nr_cpus; cpu++) {
		if (!bufpool_stacks(pool, cpu, false))
			continue;
		for (cls = 0; cls < pool->nr_classes; cls++) {
			u32 depth = bufpool_depth(pool, cpu, cls);
			u32 go = DIV_ROUND_UP_ULL((u64)depth * percent, 100);

			if (!depth)
				continue;
			pages += release_chain(pool, cpu, cls,
					       bufpool_cut(pool, cpu, cls,
							   depth - go),
					       &batch);
		}
	}
	batch_flush(pool, &batch);
	mutex_unlock(&pool->lock);

	bufpool_count_back(pool, BUFPOOL_TRIMMED, pages);
	bufpool_enforce(pool, BUFPOOL_TRIMMED);
}

/* Whether @pool is due, and if so, when next; disarms it if it has no memory. */
static bool trim_is_due(struct bufpool *pool, u32 *percent)
{
	struct bufpool_config cfg;
	bool due;

	mutex_lock(&pool->lock);
	if (!pool->attached_pages)
		pool->trim_armed = false;
	due = pool->trim_armed && time_after_eq(jiffies, pool->trim_due);
	if (due) {
		bufpool_config_effective(pool, &cfg);
		*percent = cfg.trim_percent;
		pool->trim_armed = false;
		bufpool_trim_arm(pool, &cfg);
	} else if (pool->trim_armed) {
		trim_arm(pool->trim_due);
	}
	mutex_unlock(&pool->lock);
	return due;
}

static void trim_work_fn(struct work_struct *work)
{
	struct bufpool *pool;
	unsigned long id;
	u32 percent;

	spin_lock(&trim_lock);
	trim_armed = false;
	spin_unlock(&trim_lock);

	bufpool_for_each(pool, id)
		if (trim_is_due(pool, &percent))
			trim_pool(pool, percent);
}

/* Detach what the shrinker took. */
static void finish_work_fn(struct work_struct *work)
{
	struct bufpool *pool;
	unsigned long id;

	bufpool_for_each(pool, id) {
		struct batch batch = {};
		unsigned long nr = 0;
		bool more;

		mutex_lock(&pool->lock);
		more = pool->nr_leaving;
		while (more) {
			more = batch_collect(pool, &batch, &nr, true);
			batch_flush(pool, &batch);
		}
		mutex_unlock(&pool->lock);
	}
}

/**
 * bufpool_finish_later - have the worker detach what is leaving
 *
 * In a moment: one scan of the shrinker follows another, and needs the locks.
 */
void bufpool_finish_later(void)
{
	queue_delayed_work(bufpool_wq, &finish_work, 1);
}

/**
 * bufpool_worker_init - make the workqueue
 *
 * Return: 0 or -ENOMEM.
 */
int __init bufpool_worker_init(void)
{
	bufpool_wq = alloc_workqueue("bufpool", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return bufpool_wq ? 0 : -ENOMEM;
}

/**
 * bufpool_worker_exit - no pool is left; wait for the workers and end them
 *
 * The shrinker has stopped: it may have armed the second of them late.
 */
void bufpool_worker_exit(void)
{
	cancel_delayed_work_sync(&trim_work);
	cancel_delayed_work_sync(&finish_work);
	destroy_workqueue(bufpool_wq);
}
