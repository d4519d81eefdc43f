// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fronts: each CPU's place for one idle slot of a class, which the process uses in
 * restartable sequences; see <linux/bufpool.h> for the protocol.
 *
 * They are the process's: the kernel itself allocates and frees by the stacks only.
 * When it wants what is in fronts it moves that onto the stacks, where all else is
 * found.  For that it interrupts the CPUs whose fronts have something, and those
 * only, as membarrier() does: a thread that is in a sequence there has to begin it
 * anew, and sees that the class has no fronts.
 */
#include <linux/cpumask.h>
#include <linux/smp.h>

#include "bufpool.h"

/*
 * Slots of one class that are had from other CPUs' fronts before the class does
 * without fronts until the next trim: what is allocated on one CPU and freed on
 * another is better on stacks, which all CPUs get at without an interrupt.
 */
#define MAX_STEALS	8

static u32 *front(struct bufpool *pool, u32 cpu, u32 cls)
{
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);

	return stacks ? &stacks->front[cls] : NULL;
}

/* The slot in a front, attached; what it says is the process's. */
static bool front_slot(struct bufpool *pool, u32 cpu, u32 cls,
		       struct bufpool_ref *ref)
{
	u32 *link = front(pool, cpu, cls);

	return link && bufpool_slot_find(pool, (u64)READ_ONCE(*link) - 1, ref);
}

/**
 * bufpool_front_pages - pages of the slot in a front
 * @pool: the pool, its lock held
 * @cpu: whose front
 * @cls: which class
 *
 * Return: pages, or 0: there is none.
 */
u32 bufpool_front_pages(struct bufpool *pool, u32 cpu, u32 cls)
{
	struct bufpool_ref ref;

	return front_slot(pool, cpu, cls, &ref) ? ref.pages : 0;
}

/**
 * bufpool_front_flag - what a class's flags say about fronts
 * @pool: the pool, its lock held
 * @cls: the class
 * @keep: what the configuration makes of it
 *
 * Return: BUFPOOL_CLASS_FRONT or 0.
 */
u32 bufpool_front_flag(const struct bufpool *pool, u32 cls,
		       const struct bufpool_keep *keep)
{
	return IS_ENABLED(CONFIG_RSEQ) && keep->percpu_cap &&
	       pool->steals[cls] < MAX_STEALS ? BUFPOOL_CLASS_FRONT : 0;
}

/* Have the classes' fronts used or not.  The other flags are as the class is. */
static void set_flags(struct bufpool *pool, u32 first, u32 last, bool used)
{
	struct bufpool_control *control = bufpool_control(pool, 0, false);
	struct bufpool_config cfg;
	struct bufpool_keep keep;
	u32 cls, flags;

	bufpool_config_effective(pool, &cfg);
	for (cls = first; cls <= last; cls++) {
		bufpool_config_keep(&cfg, cls, &keep);
		flags = keep.large ? BUFPOOL_CLASS_LARGE : 0;
		if (used)
			flags |= bufpool_front_flag(pool, cls, &keep);
		WRITE_ONCE(control->classes[cls].flags, flags);
	}
}

static void give_up_sequence(void *unused)
{
	/* What the sequence reads when it is begun anew is what we wrote before. */
	smp_mb();
	bufpool_rseq_give_up();
}

/* Onto the stack of the front's CPU, on top. */
static void to_stack(struct bufpool *pool, u32 cpu, u32 cls)
{
	u32 *front_link = front(pool, cpu, cls);
	struct bufpool_ref ref;
	u32 link;

	if (!front_link)
		return;
	link = READ_ONCE(*front_link);
	if (!link)
		return;
	WRITE_ONCE(*front_link, 0);
	if (!bufpool_slot_find(pool, (u64)link - 1, &ref) ||
	    ref.span->cls != cls ||
	    READ_ONCE(bufpool_slot_header(&ref)->state) !=
	    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, cls)) {
		bufpool_count(pool, BUFPOOL_CORRUPTIONS, 1);
		return;
	}
	bufpool_push(pool, cpu, cls, &ref);
}

/* The CPUs with something in a front of these classes, in pool->front_cpus. */
static bool find_cpus(struct bufpool *pool, u32 first, u32 last)
{
	u32 cpu, cls, *link;

	cpumask_clear(pool->front_cpus);
	for (cpu = 0; cpu < pool->nr_cpus; cpu++) {
		for (cls = first; cls <= last; cls++) {
			link = front(pool, cpu, cls);
			if (!link)
				break;
			if (READ_ONCE(*link))
				cpumask_set_cpu(cpu, pool->front_cpus);
		}
	}
	return !cpumask_empty(pool->front_cpus);
}

/*
 * A CPU that is not among those found may just be given something: as if a moment
 * later.  An offline one is not interrupted; no thread is in a sequence there.
 */
static void empty(struct bufpool *pool, u32 first, u32 last)
{
	u32 cpu, cls;

	set_flags(pool, first, last, false);
	/* Who saw the flags before has done with them, who did not will see them. */
	smp_mb();
	on_each_cpu_mask(pool->front_cpus, give_up_sequence, NULL, true);

	for_each_cpu(cpu, pool->front_cpus)
		for (cls = first; cls <= last; cls++)
			to_stack(pool, cpu, cls);
}

/**
 * bufpool_front_empty - move what is in all fronts onto the stacks
 * @pool: the pool, its lock held
 *
 * Sleeps not, but waits for the CPUs concerned to take an interrupt.
 *
 * Return: whether there was anything.
 */
bool bufpool_front_empty(struct bufpool *pool)
{
	if (!find_cpus(pool, 0, pool->nr_classes - 1))
		return false;
	empty(pool, 0, pool->nr_classes - 1);
	set_flags(pool, 0, pool->nr_classes - 1, true);
	return true;
}

/**
 * bufpool_front_steal - move what is in the fronts of one class onto the stacks
 * @pool: the pool, its lock held
 * @cls: the class
 * @here: the CPU of the thread that has found nothing on the stacks
 *
 * Return: whether there was anything.
 */
bool bufpool_front_steal(struct bufpool *pool, u32 cls, u32 here)
{
	if (!find_cpus(pool, cls, cls))
		return false;
	if (cpumask_any_but(pool->front_cpus, here) < nr_cpu_ids &&
	    pool->steals[cls] < MAX_STEALS)
		pool->steals[cls]++;
	empty(pool, cls, cls);
	set_flags(pool, cls, cls, true);
	return true;
}

/**
 * bufpool_front_allow - let classes have fronts again that had to do without
 * @pool: the pool, its lock held
 */
void bufpool_front_allow(struct bufpool *pool)
{
	if (!memchr_inv(pool->steals, 0, sizeof(pool->steals)))
		return;
	memset(pool->steals, 0, sizeof(pool->steals));
	set_flags(pool, 0, pool->nr_classes - 1, true);
}
