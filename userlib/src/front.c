// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend empties fronts, as the kernel does for the device: see
 * front.h, and <linux/bufpool.h> for the protocol.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anonymous.h"
#include "front.h"
#include "stack.h"

/*
 * Slots of one class that are had from other CPUs' fronts before the class does
 * without fronts until the next trim: what is allocated on one CPU and freed on
 * another is better on stacks, which all CPUs get at.
 * Many, for two threads that begin with one buffer may for a while take it from each
 * other, by chance.
 */
#define MAX_STEALS	128

/* Have every restartable sequence that is under way in this process given up. */
static int give_up_sequences(int cmd)
{
#if defined(HAVE_FRONT) && defined(SYS_membarrier)
	return (int)syscall(SYS_membarrier, cmd, 0, 0);
#else
	(void)cmd;
	return -1;
#endif
}

/* Whether there can be fronts.  Keeps errno. */
bool bufpool_front_register(void)
{
	int err = errno;
	int ret = give_up_sequences(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);

	errno = err;
	return !ret;
}

/* BUFPOOL_CLASS_FRONT if the class is to have fronts.  Its caps are set. */
uint32_t bufpool_front_flag(const struct bufpool_anonymous *anon,
			    uint32_t class)
{
	return anon->fronts && anon->steals[class] < MAX_STEALS &&
	       load_relaxed(&anon->bp->control->classes[class].percpu_cap) ?
	       BUFPOOL_CLASS_FRONT : 0;
}

static void set_flag(struct bufpool_anonymous *anon, uint32_t class,
		     uint32_t front)
{
	__u32 *flags = &anon->bp->control->classes[class].flags;

	store_relaxed(flags, (load_relaxed(flags) & ~BUFPOOL_CLASS_FRONT) |
			     front);
}

/* The slot from a front goes onto the CPU's stack, on top. */
static void to_stack(struct bufpool_anonymous *anon, uint32_t cpu,
		     uint32_t class, uint32_t link)
{
	struct bufpool *bp = anon->bp;
	struct slot_ref ref;

	if (!bufpool_slot_find(anon, (uint64_t)link - 1, &ref) ||
	    ref.class != class || ref.pages & HELD_TAKEN ||
	    load_relaxed(&bp->slots[ref.index].state) !=
	    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class))
		bufpool_anonymous_corrupted(anon);
	stack_push(bp, &bp->stacks[cpu].head[class], ref.index, class,
		   UINT32_MAX);
}

/* How many fronts of a class have a slot, but for CPU @but's. */
static uint32_t count_fronts(const struct bufpool_anonymous *anon,
			     uint32_t class, uint32_t but)
{
	uint32_t cpu, nr = 0;

	for (cpu = 0; cpu < anon->bp->nr_cpus; cpu++)
		nr += cpu != but && front_peek(anon->bp, cpu, class);
	return nr;
}

/*
 * Move what is in the fronts of classes @first to @last onto the stacks.  False if
 * there was nothing.  Under the lock.
 */
static bool empty(struct bufpool_anonymous *anon, uint32_t first, uint32_t last)
{
	const struct bufpool *bp = anon->bp;
	bool found[BUFPOOL_MAX_CLASSES] = { false }, any = false;
	uint32_t class, cpu, link;

	for (class = first; class <= last; class++) {
		found[class] = count_fronts(anon, class, bp->nr_cpus);
		any |= found[class];
		if (found[class])
			set_flag(anon, class, 0);
	}
	/*
	 * Who saw the flag before has done with it, who did not will see it.  Without
	 * memory for this the classes stay without fronts, and the slots where they
	 * are, until the next time.
	 */
	if (!any || give_up_sequences(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ))
		return false;

	for (class = first; class <= last; class++) {
		for (cpu = 0; found[class] && cpu < bp->nr_cpus; cpu++) {
			link = front_peek(bp, cpu, class);
			if (!link)
				continue;
			store_relaxed(&bp->stacks[cpu].front[class], 0);
			to_stack(anon, cpu, class, link);
		}
		if (found[class])
			set_flag(anon, class, bufpool_front_flag(anon, class));
	}
	return true;
}

/* Move what is in any front onto the stacks.  Returns whether there was anything. */
bool bufpool_front_empty(struct bufpool_anonymous *anon)
{
	return empty(anon, 0, anon->bp->nr_classes - 1);
}

/*
 * Move what is in the fronts of one class onto the stacks, for a thread of CPU @here,
 * which has found nothing there.  Returns whether there was anything.
 */
bool bufpool_front_steal(struct bufpool_anonymous *anon, uint32_t class,
			 uint32_t here)
{
	if (count_fronts(anon, class, here) && anon->steals[class] < MAX_STEALS)
		anon->steals[class]++;
	return empty(anon, class, class);
}

/* Let classes have fronts again that had to do without. */
void bufpool_front_allow(struct bufpool_anonymous *anon)
{
	uint32_t class;

	for (class = 0; class < anon->bp->nr_classes; class++) {
		if (!anon->steals[class])
			continue;
		anon->steals[class] = 0;
		set_flag(anon, class, bufpool_front_flag(anon, class));
	}
}
