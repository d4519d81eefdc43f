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
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/smp.h>

#include "bufpool.h"

/*
 * Slots of one class that are had from other CPUs' fronts before the class does
 * without fronts until the next trim: what is allocated on one CPU and freed on
 * another is better on stacks, which all CPUs get at without an interrupt.
 * Many, for two threads that begin with one buffer may for a while take it from each
 * other, by chance.
 */
#define MAX_STEALS	128

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
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);
	struct bufpool_ref ref;
	u32 link;

	if (!stacks)
		return 0;
	/* What it says is the process's. */
	link = READ_ONCE(stacks->front[cls]);
	return link && bufpool_slot_find(pool, link - 1, &ref) ? ref.pages : 0;
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

/* Have fronts of these classes used or not.  The other flags are as the class is. */
static void set_flags(struct bufpool *pool, const unsigned long *classes,
		      bool used)
{
	struct bufpool_control *control = bufpool_control(pool, 0, false);
	struct bufpool_config cfg;
	struct bufpool_keep keep;
	u32 cls, flags;

	bufpool_config_effective(pool, &cfg);
	for_each_set_bit(cls, classes, pool->nr_classes) {
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
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);
	struct bufpool_ref ref;
	u32 link;

	link = READ_ONCE(stacks->front[cls]);
	if (!link)
		return;
	WRITE_ONCE(stacks->front[cls], 0);
	if (!bufpool_slot_find(pool, link - 1, &ref) ||
	    ref.span->cls != cls ||
	    READ_ONCE(bufpool_slot_header(&ref)->state) !=
	    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, cls)) {
		bufpool_count(pool, BUFPOOL_CORRUPTIONS, 1);
		return;
	}
	bufpool_push(pool, cpu, cls, &ref);
}

/*
 * Which CPUs have something in their front of one of the classes from @first to @last:
 * into pool->front_cpus; of which classes: into @found.
 */
static bool find_fronts(struct bufpool *pool, u32 first, u32 last,
			unsigned long *found)
{
	struct bufpool_stacks *stacks;
	u32 cpu, cls;

	bitmap_zero(found, BUFPOOL_MAX_CLASSES);
	cpumask_clear(pool->front_cpus);
	for (cpu = 0; cpu < pool->nr_cpus; cpu++) {
		stacks = bufpool_stacks(pool, cpu, false);
		for (cls = first; stacks && cls <= last; cls++) {
			if (!READ_ONCE(stacks->front[cls]))
				continue;
			__set_bit(cls, found);
			cpumask_set_cpu(cpu, pool->front_cpus);
		}
	}
	return !cpumask_empty(pool->front_cpus);
}

/*
 * A CPU that is not among those found may just be given something: as if a moment
 * later.  An offline one is not interrupted; no thread is in a sequence there.
 */
static void empty(struct bufpool *pool, const unsigned long *classes)
{
	u32 cpu, cls;

	set_flags(pool, classes, false);
	/* Who saw the flags before has done with them, who did not will see them. */
	smp_mb();
	on_each_cpu_mask(pool->front_cpus, give_up_sequence, NULL, true);

	for_each_cpu(cpu, pool->front_cpus)
		for_each_set_bit(cls, classes, pool->nr_classes)
			to_stack(pool, cpu, cls);
	set_flags(pool, classes, true);
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
	DECLARE_BITMAP(classes, BUFPOOL_MAX_CLASSES);

	lockdep_assert_held(&pool->lock);
	if (!find_fronts(pool, 0, pool->nr_classes - 1, classes))
		return false;
	empty(pool, classes);
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
	DECLARE_BITMAP(classes, BUFPOOL_MAX_CLASSES);

	lockdep_assert_held(&pool->lock);
	if (!find_fronts(pool, cls, cls, classes))
		return false;
	if (cpumask_any_but(pool->front_cpus, here) < nr_cpu_ids &&
	    pool->steals[cls] < MAX_STEALS)
		pool->steals[cls]++;
	empty(pool, classes);
	return true;
}

/**
 * bufpool_front_allow - let classes have fronts again that had to do without
 * @pool: the pool, its lock held
 */
void bufpool_front_allow(struct bufpool *pool)
{
	DECLARE_BITMAP(classes, BUFPOOL_MAX_CLASSES);
	u32 cls;

	bitmap_zero(classes, BUFPOOL_MAX_CLASSES);
	for (cls = 0; cls < pool->nr_classes; cls++)
		if (pool->steals[cls])
			__set_bit(cls, classes);
	memset(pool->steals, 0, sizeof(pool->steals));
	set_flags(pool, classes, true);
}
