// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reserve: zeroed huge folios, ready before anybody asks for one.
 *
 * Every node with memory has a list of folios, linked by folio->lru, their number,
 * and how many they should be: the node's share of the target, which is what
 * reserve_bytes comes to.  A task that attaches memory takes folios from the list
 * of its own node, where its cpuset lets it; the charge to its memory cgroup comes
 * with the page cache, so up to then a folio is charged to nobody.  A folio that
 * cannot be charged has not been touched and is put back.
 *
 * One spinlock is enough for all nodes: it is held for one list operation, and
 * attaching the 2 MiB that go with that takes far longer.
 *
 * A thread fills the lists up, one folio of each node in turn.  It runs when the
 * CPU has nothing else to do, takes free memory only - it neither reclaims nor
 * wakes anybody who does - and leaves each node its high watermarks.  Where that
 * gives nothing it tries again after RETRY.  What the shrinker has taken is not
 * replaced for PAUSE: memory was short.  The thread exists while the target is not
 * zero, and sleeps while nothing is missing, and LINGER longer: a task of idle
 * priority is still given a time slice beside the one that has just woken it.
 *
 * The folios are on no LRU list and cannot migrate, so they are allocated as
 * unmovable, and are never in ZONE_MOVABLE or CMA.
 */
#include <linux/cpuset.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/topology.h>
#include <linux/wait.h>
#include <uapi/linux/sched/types.h>

#include "bufpool.h"
#include "trace.h"

/*
 * No reclaim and no kswapd; and, since the allocator lets those who cannot reclaim
 * go further down, nothing of what it keeps for emergencies.
 */
#define RESERVE_GFP	((GFP_HIGHUSER & ~__GFP_RECLAIM) | __GFP_THISNODE | \
			 __GFP_NOMEMALLOC | __GFP_NOWARN)

/* Until the thread asks again where it was given nothing. */
#define RETRY		(5 * HZ)

/* From the shrinker's last folio to the thread's next. */
#define PAUSE		(10 * HZ)

/* From the first folio taken until the thread begins to replace it. */
#define LINGER		(HZ / 50)

struct node_list {
	struct list_head	folios;
	unsigned long		held;	/* folios on the list */
	unsigned long		share;	/* folios that should be */
};

/* What follows, by reserve_lock; the sums are also read without it. */
static DEFINE_SPINLOCK(reserve_lock);
static struct node_list *nodes;		/* nr_node_ids of them */
static unsigned long target;		/* sum of the shares */
static unsigned long held;
static u64 pause_end;			/* jiffies */

static DEFINE_MUTEX(reserve_set_lock);
static struct task_struct *thread;	/* by reserve_set_lock; NULL if target is 0 */
static DECLARE_WAIT_QUEUE_HEAD(missing);
static atomic64_t refilled;
static struct shrinker *shrinker;

/* Spread the target over the nodes that have memory. */
static void spread(void)
{
	unsigned int nr = max(num_node_state(N_MEMORY), 1);
	unsigned long rest = target % nr;
	int nid;

	lockdep_assert_held(&reserve_lock);
	for (nid = 0; nid < nr_node_ids; nid++) {
		nodes[nid].share = 0;
		if (!node_state(nid, N_MEMORY))
			continue;
		nodes[nid].share = target / nr;
		if (rest) {
			nodes[nid].share++;
			rest--;
		}
	}
}

/* A folio of a node's list, or NULL; @surplus: only if it has more than it should. */
static struct folio *pop(int nid, bool surplus)
{
	struct node_list *node = &nodes[nid];
	struct folio *folio = NULL;

	spin_lock(&reserve_lock);
	if (node->held > (surplus ? node->share : 0)) {
		folio = list_first_entry(&node->folios, struct folio, lru);
		list_del(&folio->lru);
		node->held--;
		WRITE_ONCE(held, held - 1);
	}
	spin_unlock(&reserve_lock);
	return folio;
}

/* Put a zeroed folio on its node's list; false: that is full. */
static bool push(struct folio *folio)
{
	struct node_list *node = &nodes[folio_nid(folio)];
	bool room;

	spin_lock(&reserve_lock);
	room = node->held < node->share;
	if (room) {
		list_add(&folio->lru, &node->folios);
		node->held++;
		WRITE_ONCE(held, held + 1);
	}
	spin_unlock(&reserve_lock);
	return room;
}

static bool is_missing(void)
{
	return READ_ONCE(held) < READ_ONCE(target);
}

static void wake_thread(void)
{
	/* Pairs with the wait's own barrier, after which it looks at held. */
	if (wq_has_sleeper(&missing))
		wake_up(&missing);
}

static void free_surplus(void)
{
	struct folio *folio;
	int nid;

	for (nid = 0; nid < nr_node_ids; nid++) {
		while ((folio = pop(nid, true))) {
			folio_put(folio);
			cond_resched();
		}
	}
}

/* The same mask that folio_alloc() applies, but no policy of the task's own. */
static bool may_take(void)
{
#ifdef CONFIG_NUMA
	return !current->mempolicy;
#else
	return true;
#endif
}

static struct folio *take(int nid)
{
	/* Its own task's mask: at worst it is just being changed. */
	if (!node_isset(nid, cpuset_current_mems_allowed))
		return NULL;
	return pop(nid, false);
}

static struct folio *take_anywhere(void)
{
	struct folio *folio = NULL;
	int nid;

	for (nid = 0; nid < nr_node_ids && !folio && READ_ONCE(held); nid++)
		folio = take(nid);
	return folio;
}

/**
 * bufpool_reserve_alloc - a zeroed huge folio, from the reserve if it has one
 * @pool: the pool it is for
 * @gfp: for allocating one, with __GFP_ZERO, where the reserve has none
 * @taken: out: it is the reserve's; for bufpool_reserve_settle()
 *
 * The reserve of the local node comes before an allocation; that of the others
 * comes after one has failed.  A task with a memory policy has none of it.
 *
 * Return: the folio, or NULL.
 */
struct folio *bufpool_reserve_alloc(struct bufpool *pool, gfp_t gfp, bool *taken)
{
	struct folio *folio;

	*taken = false;
	if (!READ_ONCE(target) || !may_take())
		return folio_alloc(gfp, BUFPOOL_HUGE_ORDER);

	folio = READ_ONCE(held) ? take(numa_mem_id()) : NULL;
	*taken = folio;
	if (!folio)
		folio = folio_alloc(gfp, BUFPOOL_HUGE_ORDER);
	if (!folio) {
		folio = take_anywhere();
		*taken = folio;
	}
	if (!*taken)
		bufpool_count(pool, BUFPOOL_RESERVE_MISSES, 1);
	return folio;
}

/**
 * bufpool_reserve_settle - what became of a folio of the reserve
 * @pool: the pool it was for
 * @folio: the folio; the caller's reference to it goes
 * @err: 0, or why it was not used: still zero, it is put back
 */
void bufpool_reserve_settle(struct bufpool *pool, struct folio *folio, int err)
{
	if (err && push(folio))
		return;
	folio_put(folio);
	wake_thread();
	if (!err)
		bufpool_count(pool, BUFPOOL_RESERVE_HITS, 1);
}

/* Would a node still have its high watermarks after one folio more? */
static bool comfortable(int nid)
{
	long spare = -(long)BUFPOOL_HUGE_PAGES;
	int i;

	for (i = 0; i < ZONE_MOVABLE; i++) {
		struct zone *zone = &NODE_DATA(nid)->node_zones[i];

		if (populated_zone(zone))
			spare += (long)zone_page_state(zone, NR_FREE_PAGES) -
				 (long)high_wmark_pages(zone);
	}
	return spare >= 0;
}

/* Page by page, so that whoever wants the CPU has it soon. */
static void zero(struct folio *folio)
{
	long i;

	for (i = 0; i < BUFPOOL_HUGE_PAGES; i++) {
		clear_highpage(folio_page(folio, i));
		cond_resched();
	}
	flush_dcache_folio(folio);
}

static bool refill_node(int nid)
{
	struct folio *folio;

	if (!comfortable(nid))
		return false;
	folio = __folio_alloc_node(RESERVE_GFP, BUFPOOL_HUGE_ORDER, nid);
	if (!folio)
		return false;
	/* With init_on_alloc it is zero already. */
	if (!want_init_on_alloc(RESERVE_GFP))
		zero(folio);
	if (push(folio)) {
		atomic64_inc(&refilled);
		trace_bufpool_reserve_refill(nid, BUFPOOL_HUGE_PAGES);
	} else {
		folio_put(folio);
	}
	return true;
}

/* A folio for each node that misses one; false: none could be had. */
static bool refill(void)
{
	bool some = false;
	int nid;

	/* Nodes with memory come and go. */
	spin_lock(&reserve_lock);
	spread();
	spin_unlock(&reserve_lock);
	free_surplus();

	for_each_node_state(nid, N_MEMORY)
		if (READ_ONCE(nodes[nid].held) < READ_ONCE(nodes[nid].share) &&
		    refill_node(nid))
			some = true;
	return some;
}

/* Jiffies until memory may be taken again. */
static long pause_left(void)
{
	u64 now = get_jiffies_64(), end;

	spin_lock(&reserve_lock);
	end = pause_end;
	spin_unlock(&reserve_lock);
	return end > now ? end - now : 0;
}

/* Sleep, whatever is taken meanwhile; kthread_stop() ends it. */
static void doze(long timeout)
{
	set_current_state(TASK_IDLE);
	if (!kthread_should_stop())
		schedule_timeout(timeout);
	__set_current_state(TASK_RUNNING);
}

static int refill_thread(void *unused)
{
	static const struct sched_attr idle = { .sched_policy = SCHED_IDLE };
	long timeout;

	WARN_ON_ONCE(sched_setattr_nocheck(current, &idle));
	for (;;) {
		if (!is_missing()) {
			wait_event_idle(missing,
					is_missing() || kthread_should_stop());
			doze(LINGER);
		}
		if (kthread_should_stop())
			return 0;
		timeout = pause_left();
		if (!timeout && !refill())
			timeout = RETRY;
		if (timeout)
			doze(timeout);
		cond_resched();
	}
}

/**
 * bufpool_reserve_set - set how much the reserve is to hold
 * @bytes: how much; rounded up to whole folios
 *
 * What is too much goes back before this returns, what is missing comes later.
 *
 * Return: 0; -EINVAL more than there is memory; -EOPNOTSUPP a kernel without
 * huge folios; or why the thread could not be made.
 */
int bufpool_reserve_set(u64 bytes)
{
	u64 max = min((u64)totalram_pages() << PAGE_SHIFT, BUFPOOL_MAX_BYTES);
	struct task_struct *new;

	if (bytes > max)
		return -EINVAL;
	if (bytes && !IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		return -EOPNOTSUPP;

	mutex_lock(&reserve_set_lock);
	if (bytes && !thread) {
		new = kthread_run(refill_thread, NULL, "bufpool_reserve");
		if (IS_ERR(new)) {
			mutex_unlock(&reserve_set_lock);
			return PTR_ERR(new);
		}
		thread = new;
	}
	spin_lock(&reserve_lock);
	WRITE_ONCE(target, DIV_ROUND_UP_ULL(bytes, BUFPOOL_HUGE_BYTES));
	spread();
	spin_unlock(&reserve_lock);
	if (!bytes && thread) {
		kthread_stop(thread);
		thread = NULL;
	}
	free_surplus();
	wake_thread();
	mutex_unlock(&reserve_set_lock);
	return 0;
}

/**
 * bufpool_reserve_show - the reserve's figures
 * @st: filled in
 */
void bufpool_reserve_show(struct bufpool_reserve *st)
{
	st->bytes = (u64)READ_ONCE(target) * BUFPOOL_HUGE_BYTES;
	st->held_bytes = (u64)READ_ONCE(held) * BUFPOOL_HUGE_BYTES;
	st->refilled = atomic64_read(&refilled);
}

static unsigned long shrink_count(struct shrinker *self,
				  struct shrink_control *sc)
{
	return READ_ONCE(nodes[sc->nid].held) * BUFPOOL_HUGE_PAGES;
}

static unsigned long shrink_scan(struct shrinker *self,
				 struct shrink_control *sc)
{
	unsigned long freed = 0;
	struct folio *folio;

	while (freed < sc->nr_to_scan && (folio = pop(sc->nid, false))) {
		folio_put(folio);
		freed += BUFPOOL_HUGE_PAGES;
	}
	if (!freed)
		return SHRINK_STOP;

	sc->nr_scanned = freed;
	spin_lock(&reserve_lock);
	pause_end = get_jiffies_64() + PAUSE;
	spin_unlock(&reserve_lock);
	wake_thread();
	trace_bufpool_reserve_shrink(sc->nid, freed);
	bufpool_account_reclaimed(freed);
	return freed;
}

/**
 * bufpool_reserve_init - an empty reserve, and its shrinker
 *
 * Return: 0 or -ENOMEM.
 */
int __init bufpool_reserve_init(void)
{
	int nid;

	nodes = kcalloc(nr_node_ids, sizeof(*nodes), GFP_KERNEL);
	if (!nodes)
		return -ENOMEM;
	for (nid = 0; nid < nr_node_ids; nid++)
		INIT_LIST_HEAD(&nodes[nid].folios);

	/* Charged to nobody: a control group at its limit has nothing to get here. */
	shrinker = bufpool_shrinker_alloc(SHRINKER_NUMA_AWARE, "bufpool-reserve",
					  shrink_count, shrink_scan);
	if (!shrinker) {
		kfree(nodes);
		return -ENOMEM;
	}
	/*
	 * Nothing is lost with it but the time to zero it again, and nobody uses it:
	 * half of it at any priority, as of idle buffers; and the last folio, too.
	 */
	shrinker->seeks = 0;
	shrinker->batch = BUFPOOL_HUGE_PAGES / 2;
	bufpool_shrinker_start(shrinker);
	return 0;
}

/** bufpool_reserve_exit - give it all back; nobody takes or sets any more */
void bufpool_reserve_exit(void)
{
	bufpool_reserve_set(0);
	bufpool_shrinker_free(shrinker);
	WARN_ON_ONCE(held);
	kfree(nodes);
}
