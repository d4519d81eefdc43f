// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's end of the stacks it shares with the process.
 *
 * Under pool->lock nobody but the holder attaches or detaches slots, so every
 * slot an honest process has on a stack is attached and stays so: what does not
 * check out is corruption.  Other threads of the process pop and push all the
 * while, without any lock; the tag in the head tells when they did.
 */
#include <linux/atomic.h>
#include <linux/sched.h>

#include "bufpool.h"

/*
 * A compare-exchange fails only because another one succeeded, so an honest
 * process cannot make the kernel turn for long.  A hostile one may try.
 */
#define MAX_TURNS	65536

/*
 * An operation that walks chains takes so many steps for each slot there is, and
 * some more.  A slot that stays on its stack is walked over three times at most:
 * when the stack is cut, and when this part is put back.
 */
#define STEPS_PER_SLOT	4
#define SPARE_STEPS	4096

/* Slots to walk over before somebody else may have the CPU. */
#define STEPS_AT_ONCE	1024

/* A stack of more slots than this costs more to walk than to give up in part. */
#define DEEP_STACK	1024

static bool head_exchange(u64 *head, u64 old, u32 link)
{
	return cmpxchg64(head, old,
			 BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, link)) == old;
}

/* idle_pages is the process's too: a wrong value is only reported. */
static void depot_add(struct bufpool_stacks *stacks, s64 pages)
{
	atomic64_add(pages, (atomic64_t *)&stacks->idle_pages);
}

/**
 * bufpool_pop - take the topmost slot off a stack
 * @pool: the pool, its lock held
 * @cpu: whose stack; pool->nr_cpus: the depot's
 * @cls: which class
 * @ref: out: the slot, attached, on no stack; its header still says idle
 *
 * A stack whose top is no slot of this class is emptied: what else was on it is
 * lost to the process until the pool is closed, and counted as a corruption.
 *
 * Return: whether there was one.
 */
bool bufpool_pop(struct bufpool *pool, u32 cpu, u32 cls,
		 struct bufpool_ref *ref)
{
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);
	u64 *head, old;
	int turns;
	u32 next;

	if (!stacks)
		return false;
	head = &stacks->head[cls];

	for (turns = 0; turns < MAX_TURNS; turns++) {
		/* Pairs with the release of whoever pushed: the header is there. */
		old = smp_load_acquire(head);
		if (!BUFPOOL_LINK(old))
			return false;

		if (!bufpool_slot_find(pool, BUFPOOL_LINK(old) - 1, ref) ||
		    ref->span->cls != cls) {
			if (head_exchange(head, old, 0))
				bufpool_count(pool, BUFPOOL_CORRUPTIONS, 1);
			continue;
		}
		next = READ_ONCE(bufpool_slot_header(ref)->next);
		if (!head_exchange(head, old, next))
			continue;

		if (cpu == pool->nr_cpus)
			depot_add(stacks, -(s64)ref->pages);
		if (READ_ONCE(bufpool_slot_header(ref)->state) ==
		    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, cls))
			return true;
		/* A live buffer on a stack: it is off it now, and left alone. */
		bufpool_count(pool, BUFPOOL_CORRUPTIONS, 1);
	}
	return false;
}

/* Link an idle slot in at the top. */
static bool push_slot(struct bufpool *pool, u64 *head,
		      const struct bufpool_ref *ref)
{
	struct bufpool_slot *header = bufpool_slot_header(ref);
	struct bufpool_ref below;
	u32 depth;
	int turns;
	u64 old;

	for (turns = 0; turns < MAX_TURNS; turns++) {
		old = READ_ONCE(*head);
		depth = 0;
		if (bufpool_slot_find(pool, (u64)BUFPOOL_LINK(old) - 1, &below))
			depth = READ_ONCE(bufpool_slot_header(&below)->depth);
		WRITE_ONCE(header->next, BUFPOOL_LINK(old));
		WRITE_ONCE(header->depth, depth + 1);
		/* cmpxchg64() is fully ordered: the header before the head. */
		if (head_exchange(head, old, ref->index + 1))
			return true;
	}
	return false;
}

/**
 * bufpool_push - put a slot on a stack
 * @pool: the pool, its lock held
 * @cpu: whose stack; pool->nr_cpus: the depot's
 * @cls: the slot's class
 * @ref: the slot, attached and on no stack
 *
 * Return: whether it is on the stack now; if not, it is still the caller's.
 */
bool bufpool_push(struct bufpool *pool, u32 cpu, u32 cls,
		  const struct bufpool_ref *ref)
{
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, true);

	if (!stacks)
		return false;
	bufpool_slot_set(ref, BUFPOOL_SLOT_IDLE);
	if (!push_slot(pool, &stacks->head[cls], ref)) {
		bufpool_slot_set(ref, BUFPOOL_SLOT_LIVE);
		return false;
	}
	if (cpu == pool->nr_cpus)
		depot_add(stacks, ref->pages);
	return true;
}

/* The slot on top of a stack: in bounds, attached; what it says is the process's. */
static bool top_slot(struct bufpool *pool, u32 cpu, u32 cls,
		     struct bufpool_ref *top)
{
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);
	u64 head;

	if (!stacks)
		return false;
	head = READ_ONCE(stacks->head[cls]);
	return BUFPOOL_LINK(head) &&
	       bufpool_slot_find(pool, BUFPOOL_LINK(head) - 1, top);
}

/**
 * bufpool_depth - how many slots a stack says it has
 * @pool: the pool, its lock held
 * @cpu: whose stack; pool->nr_cpus: the depot's
 * @cls: which class
 *
 * Return: the depth that the top slot's header gives; any value if the process
 * wrote it.
 */
u32 bufpool_depth(struct bufpool *pool, u32 cpu, u32 cls)
{
	struct bufpool_ref top;

	return top_slot(pool, cpu, cls, &top) ?
	       READ_ONCE(bufpool_slot_header(&top)->depth) : 0;
}

/*
 * Pages on a stack.  Those of a class have the same number, but for a large one,
 * of which a CPU's stack has one slot.
 */
static u64 stack_pages(struct bufpool *pool, u32 cpu, u32 cls)
{
	struct bufpool_ref top;
	u32 depth;

	if (!top_slot(pool, cpu, cls, &top))
		return 0;
	depth = READ_ONCE(bufpool_slot_header(&top)->depth);
	return top.pages + (u64)(max(depth, 1U) - 1) * bufpool_class_pages(cls);
}

/**
 * bufpool_idle_pages - pages that the stacks and fronts say are idle
 * @pool: the pool, its lock held
 *
 * Costs one look at every class of every CPU that has used the pool.
 *
 * Return: pages, exact while the process does not touch the pool and no class with
 * idle buffers has just become large, and never more than are attached.
 */
unsigned long bufpool_idle_pages(struct bufpool *pool)
{
	struct bufpool_stacks *depot = bufpool_stacks(pool, pool->nr_cpus, false);
	s64 depot_pages = depot ? READ_ONCE(depot->idle_pages) : 0;
	u64 pages = clamp_t(s64, depot_pages, 0, pool->attached_pages);
	u32 cpu, cls;

	for (cpu = 0; cpu < pool->nr_cpus; cpu++) {
		if (!bufpool_stacks(pool, cpu, false))
			continue;
		for (cls = 0; cls < pool->nr_classes; cls++)
			pages += stack_pages(pool, cpu, cls) +
				 bufpool_front_pages(pool, cpu, cls);
	}
	return min_t(u64, pages, pool->attached_pages);
}

/**
 * bufpool_walk_begin - begin an operation that cuts stacks
 * @pool: the pool, its lock held
 *
 * A chain ends where the process says, and may go round in circles, on every stack
 * there is.  So the steps of an operation are counted, over all of its stacks.
 */
void bufpool_walk_begin(struct bufpool *pool)
{
	lockdep_assert_held(&pool->lock);
	pool->steps = STEPS_PER_SLOT * pool->nr_slots + SPARE_STEPS;
}

/**
 * bufpool_walk_resume - go on with an operation after the lock was dropped
 * @pool: the pool, its lock held
 * @steps: what pool->steps was
 * @nr_slots: and pool->nr_slots
 *
 * The steps are the operation's own, whatever others have done meanwhile; but new
 * slots may be on the stacks that it comes to.
 */
void bufpool_walk_resume(struct bufpool *pool, unsigned long steps,
			 unsigned long nr_slots)
{
	lockdep_assert_held(&pool->lock);
	pool->steps = steps;
	if (pool->nr_slots > nr_slots)
		pool->steps += STEPS_PER_SLOT * (pool->nr_slots - nr_slots);
}

/*
 * Find a slot of a chain that is on no stack, and what comes after it.  A link
 * that leads nowhere ends the chain, and so does the last step.
 */
static bool chain_slot(struct bufpool *pool, u32 cls, u32 *link,
		       struct bufpool_ref *ref)
{
	if (!*link)
		return false;
	if (pool->steps % STEPS_AT_ONCE == 0)
		cond_resched();
	if (!pool->steps || !bufpool_slot_find(pool, *link - 1, ref) ||
	    ref->span->cls != cls) {
		bufpool_count(pool, BUFPOOL_CORRUPTIONS, 1);
		*link = 0;
		return false;
	}
	pool->steps--;
	*link = READ_ONCE(bufpool_slot_header(ref)->next);
	return true;
}

/*
 * Put the upper part of a chain back: in one piece if the stack is as bufpool_cut()
 * left it, else slot by slot, in the wrong order, on what was pushed meanwhile.
 */
static void put_back(struct bufpool *pool, u64 *head, u64 empty, u32 cls,
		     u32 top, u32 nr)
{
	struct bufpool_ref ref;
	u32 link = top;
	u32 n;

	for (n = nr; n && chain_slot(pool, cls, &link, &ref); n--) {
		WRITE_ONCE(bufpool_slot_header(&ref)->depth, n);
		if (n == 1)
			WRITE_ONCE(bufpool_slot_header(&ref)->next, 0);
	}
	if (head_exchange(head, empty, top))
		return;

	link = top;
	for (n = nr; n && chain_slot(pool, cls, &link, &ref); n--)
		if (!push_slot(pool, head, &ref))
			break;
}

/**
 * bufpool_cut - take the cold end off a stack
 * @pool: the pool, its lock held
 * @cpu: whose stack; pool->nr_cpus: the depot's
 * @cls: which class
 * @keep: how many slots to leave, from the top
 *
 * Takes the whole chain, cuts it, and puts the upper part back; for that moment
 * the stack is empty to others, who look elsewhere.  Belongs to an operation that
 * bufpool_walk_begin() has begun.
 *
 * Return: link to the lower part, on no stack now, for bufpool_chain_next(); 0:
 * there is none.
 */
u32 bufpool_cut(struct bufpool *pool, u32 cpu, u32 cls, u32 keep)
{
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);
	struct bufpool_ref ref;
	u32 kept = 0, link;
	u64 *head, old;
	int turns = 0;

	/* Without steps it could only be lost. */
	if (!stacks || !pool->steps)
		return 0;
	head = &stacks->head[cls];
	do {
		/* Pairs with the release of whoever pushed: the headers are there. */
		old = smp_load_acquire(head);
		if (!BUFPOOL_LINK(old) || turns++ == MAX_TURNS)
			return 0;
	} while (!head_exchange(head, old, 0));

	link = BUFPOOL_LINK(old);
	while (kept < keep && chain_slot(pool, cls, &link, &ref))
		kept++;
	if (kept)
		put_back(pool, head, BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, 0), cls,
			 BUFPOOL_LINK(old), kept);
	return link;
}

/* Pages that a slot of a class has at least; all have as many unless it is large. */
static u64 least_pages(const struct bufpool *pool, u32 cls)
{
	return cls && test_bit(cls, pool->uneven) ?
	       bufpool_class_pages(cls - 1) + 1 : bufpool_class_pages(cls);
}

/**
 * bufpool_cut_pages - take the cold end off a stack, by size
 * @pool: the pool, its lock held
 * @cpu: whose stack; pool->nr_cpus: the depot's
 * @cls: which class
 * @pages: how many pages the part that is taken shall have, or some more
 *
 * Of a deep stack an eighth at least: what stays is walked over, and must not be
 * for a few slots each time.
 *
 * Return: as bufpool_cut().
 */
u32 bufpool_cut_pages(struct bufpool *pool, u32 cpu, u32 cls,
		      unsigned long pages)
{
	struct bufpool_stacks *stacks = bufpool_stacks(pool, cpu, false);
	u32 depth;
	u64 need;

	/* Most of them are empty. */
	if (!stacks || !BUFPOOL_LINK(READ_ONCE(stacks->head[cls])))
		return 0;
	need = (pages - 1) / least_pages(pool, cls) + 1;
	depth = bufpool_depth(pool, cpu, cls);
	if (depth > DEEP_STACK)
		need = max_t(u64, need, depth / 8);
	return bufpool_cut(pool, cpu, cls, depth > need ? depth - need : 0);
}

/**
 * bufpool_chain_next - the next slot of what bufpool_cut() took
 * @pool: the pool, its lock held
 * @cpu: whose stack it was
 * @cls: which class
 * @link: where the chain goes on, updated
 * @ref: out: the slot, attached, on no stack
 *
 * A slot that is not idle is left alone and counted as a corruption.
 *
 * Return: whether there was one.
 */
bool bufpool_chain_next(struct bufpool *pool, u32 cpu, u32 cls, u32 *link,
			struct bufpool_ref *ref)
{
	while (chain_slot(pool, cls, link, ref)) {
		if (cpu == pool->nr_cpus)
			depot_add(bufpool_stacks(pool, cpu, false), -(s64)ref->pages);
		if (READ_ONCE(bufpool_slot_header(ref)->state) ==
		    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, cls))
			return true;
		bufpool_count(pool, BUFPOOL_CORRUPTIONS, 1);
	}
	return false;
}
