// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend gives memory back: on request, at a limit, by time.
 *
 * Idle slots are found on the stacks only, and are taken off them by the same
 * compare-exchange that all threads use, so a slot is somebody's or the backend's,
 * never both.  One that is the backend's is in transit until its memory is gone, and
 * nobody is given its address.  The charge is dropped last.
 */
#include <errno.h>
#include <time.h>

#include "anonymous.h"
#include "front.h"
#include "stack.h"

/* Slots whose memory is given back in one go. */
#define BATCH		64

/* A stack of more slots than this costs more to walk than to give up in part. */
#define DEEP_STACK	1024

struct batch {
	struct bufpool_anonymous *anon;
	unsigned int nr;
	uint64_t pages;
	struct slot_ref ref[BATCH];
};

/* By index: giving back costs the same for one slot as for a row of them. */
static void batch_sort(struct batch *batch)
{
	unsigned int i, at;

	for (i = 1; i < batch->nr; i++) {
		struct slot_ref ref = batch->ref[i];

		for (at = i; at && batch->ref[at - 1].index > ref.index; at--)
			batch->ref[at] = batch->ref[at - 1];
		batch->ref[at] = ref;
	}
}

static void batch_drop(struct batch *batch)
{
	unsigned int i, next;

	batch_sort(batch);
	for (i = 0; i < batch->nr; i = next) {
		uint32_t start = batch->ref[i].index;
		uint32_t end = start + batch->ref[i].pages;

		for (next = i + 1; next < batch->nr &&
		     batch->ref[next].index == end; next++)
			end += batch->ref[next].pages;
		bufpool_drop(batch->anon, start, end - start);
	}
}

static void batch_flush(struct batch *batch)
{
	struct bufpool_anonymous *anon = batch->anon;
	unsigned int i;

	if (!batch->nr)
		return;

	anon->leaving_pages += batch->pages;
	pthread_mutex_unlock(&anon->lock);
	batch_drop(batch);
	pthread_mutex_lock(&anon->lock);
	anon->leaving_pages -= batch->pages;
	anon->attached_pages -= batch->pages;
	pthread_cond_broadcast(&anon->dropped);

	for (i = 0; i < batch->nr; i++) {
		uint32_t index = batch->ref[i].index;

		/* A taken one has arrived, unless it was freed meanwhile. */
		if (anon->held[index])
			anon->held[index] = HELD_TAKEN;
		else
			bufpool_slot_unreserve(anon, index);
	}
	batch->nr = 0;
	batch->pages = 0;
}

/* Add a slot that is attached, and on no stack. */
static void batch_add(struct batch *batch, const struct slot_ref *ref)
{
	if (batch->nr == BATCH)
		batch_flush(batch);
	batch->ref[batch->nr++] = *ref;
	batch->pages += ref->pages;
}

/* A slot that is idle and on no stack goes. */
static void batch_add_idle(struct batch *batch, const struct slot_ref *ref)
{
	struct bufpool_anonymous *anon = batch->anon;

	anon->held[ref->index] = 0;
	bufpool_slot_clear(anon->bp, ref->index);
	batch_add(batch, ref);
}

/* Take a slot's memory: one that is attached, and on no stack. */
void bufpool_detach(struct bufpool_anonymous *anon, const struct slot_ref *ref)
{
	struct batch batch = { .anon = anon };

	batch_add_idle(&batch, ref);
	batch_flush(&batch);
}

static uint32_t depth(const struct bufpool *bp, const __u64 *head)
{
	return stack_depth(bp, stack_head(head));
}

/*
 * Pages on a CPU's stack.  Slots of one class differ if it is or was large.  Others may
 * use the stack meanwhile, and the walk be led astray, but not out of the headers.
 */
static uint64_t stack_pages(const struct bufpool *bp, const __u64 *head)
{
	uint64_t old = stack_head(head), pages = 0;
	uint32_t index = stack_top(bp, old);
	uint32_t left = stack_depth(bp, old);

	for (; left && index < bp->nr_pages; left--) {
		pages += load_relaxed(&bp->slots[index].pages);
		index = load_relaxed(&bp->slots[index].next) - 1;
	}
	return pages;
}

static uint64_t front_pages(const struct bufpool *bp, uint32_t cpu,
			    uint32_t class)
{
	uint32_t index = front_peek(bp, cpu, class) - 1;

	return index < bp->nr_pages ? load_relaxed(&bp->slots[index].pages) : 0;
}

/* Pages that are idle; exact while nobody uses the stacks. */
uint64_t bufpool_idle_pages(struct bufpool_anonymous *anon)
{
	const struct bufpool *bp = anon->bp;
	__s64 depot = load_relaxed(&pool_depot(bp)->idle_pages);
	uint64_t pages = depot > 0 ? (uint64_t)depot : 0;
	uint32_t cpu, class;

	for (cpu = 0; cpu < bp->nr_cpus; cpu++)
		for (class = 0; class < bp->nr_classes; class++)
			pages += stack_pages(bp, &bp->stacks[cpu].head[class]) +
				 front_pages(bp, cpu, class);
	return pages < anon->attached_pages ? pages : anon->attached_pages;
}

/* The next slot of a chain that is on no stack; false at its end. */
static bool chain_next(struct bufpool_anonymous *anon, uint32_t class,
		       uint32_t *link, struct slot_ref *ref)
{
	const struct bufpool_slot *slot;

	if (!*link)
		return false;
	if (!bufpool_slot_find(anon, *link - 1, ref) || ref->class != class)
		bufpool_anonymous_corrupted(anon);
	slot = &anon->bp->slots[ref->index];
	if (load_relaxed(&slot->state) !=
	    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class))
		bufpool_anonymous_corrupted(anon);
	*link = load_relaxed(&slot->next);
	return true;
}

static bool exchange(__u64 *head, __u64 old, uint32_t link)
{
	return __atomic_compare_exchange_n(head, &old,
					   BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1,
							link),
					   false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

/*
 * Put the upper @nr slots of a chain back: in one piece if the stack is as cut() left
 * it, else slot by slot, in the wrong order, on what was pushed meanwhile.
 */
static void put_back(struct bufpool_anonymous *anon, __u64 *head, __u64 empty,
		     uint32_t class, uint32_t top, uint32_t nr)
{
	struct bufpool *bp = anon->bp;
	uint32_t link = top, n;
	struct slot_ref ref;

	for (n = nr; n && chain_next(anon, class, &link, &ref); n--) {
		store_relaxed(&bp->slots[ref.index].depth, n);
		if (n == 1)
			store_relaxed(&bp->slots[ref.index].next, 0);
	}
	if (exchange(head, empty, top))
		return;

	link = top;
	for (n = nr; n && chain_next(anon, class, &link, &ref); n--)
		stack_push(bp, head, ref.index, class, UINT32_MAX);
}

/*
 * Take the cold end off a stack, all but @keep slots: the whole chain, and put the
 * upper part back; for that moment the stack is empty to others, who look elsewhere.
 * Returns a link to the lower part; 0: there is none.
 */
static uint32_t cut(struct bufpool_anonymous *anon, __u64 *head, uint32_t class,
		    uint32_t keep)
{
	__u64 old = stack_head(head);
	uint32_t kept = 0, link;
	struct slot_ref ref;

	do {
		if (stack_top(anon->bp, old) == NO_SLOT)
			return 0;
	} while (!__atomic_compare_exchange_n(head, &old,
				BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, 0), true,
				__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));

	link = BUFPOOL_LINK(old);
	while (kept < keep && chain_next(anon, class, &link, &ref))
		kept++;
	if (kept)
		put_back(anon, head, BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, 0),
			 class, BUFPOOL_LINK(old), kept);
	return link;
}

/* Give back what cut() took.  Returns the pages. */
static uint64_t release_chain(struct batch *batch, uint32_t cpu, uint32_t class,
			      uint32_t link)
{
	struct bufpool *bp = batch->anon->bp;
	struct slot_ref ref;
	uint64_t pages = 0;

	while (chain_next(batch->anon, class, &link, &ref)) {
		pages += ref.pages;
		batch_add_idle(batch, &ref);
	}
	if (cpu == bp->nr_cpus)
		__atomic_fetch_sub(&pool_depot(bp)->idle_pages, (__s64)pages,
				   __ATOMIC_RELAXED);
	return pages;
}

/*
 * How many slots of a stack stay where @want pages shall go.  Of a deep one an eighth
 * at least goes: what stays is walked over, and must not be for a few slots each time.
 */
static uint32_t keep_depth(const struct bufpool *bp, const __u64 *head,
			   uint32_t class, uint64_t want)
{
	uint64_t need = (want - 1) / bufpool_class_pages(class) + 1;
	uint32_t have = depth(bp, head);

	if (have > DEEP_STACK && need < have / 8)
		need = have / 8;
	return have > need ? have - (uint32_t)need : 0;
}

/* Of one stack, until it is enough or none is left: large slots hold unlike sizes. */
static uint64_t release_stack(struct batch *batch, uint32_t cpu, uint32_t class,
			      uint64_t want)
{
	struct bufpool *bp = batch->anon->bp;
	__u64 *head = &bp->stacks[cpu].head[class];
	uint64_t pages = 0, more;
	uint32_t keep;

	do {
		keep = keep_depth(bp, head, class, want - pages);
		more = release_chain(batch, cpu, class,
				     cut(batch->anon, head, class, keep));
		pages += more;
	} while (keep && more && pages < want);

	return pages;
}

static uint64_t release_stacks(struct batch *batch, uint64_t want)
{
	struct bufpool *bp = batch->anon->bp;
	uint32_t cpu, class;
	uint64_t pages = 0;

	for (cpu = bp->nr_cpus + 1; cpu-- && pages < want; )
		for (class = bp->nr_classes; class-- && pages < want; )
			pages += release_stack(batch, cpu, class, want - pages);
	return pages;
}

/*
 * Give idle memory back, @want pages or some more, if there is as much: the depot's
 * before that on the CPUs' stacks, this before what is in their fronts, big buffers
 * before small ones, of each stack the cold end first.  Returns the pages, counted as
 * @why.
 */
uint64_t bufpool_release(struct bufpool_anonymous *anon, uint64_t want,
			 enum counter why)
{
	struct batch batch = { .anon = anon };
	uint64_t pages = release_stacks(&batch, want);

	if (pages < want && bufpool_front_empty(anon))
		pages += release_stacks(&batch, want - pages);
	batch_flush(&batch);
	anon->count[why] += pages;
	return pages;
}

/* Insert into a list by age, the oldest first, that has room for @max. */
static unsigned int insert_by_age(struct slot_ref *refs, uint32_t *ages,
				  unsigned int nr, unsigned int max,
				  const struct slot_ref *ref, uint32_t age)
{
	unsigned int at;

	if (nr == max && age <= ages[nr - 1])
		return nr;
	if (nr < max)
		nr++;
	for (at = nr - 1; at && ages[at - 1] < age; at--) {
		refs[at] = refs[at - 1];
		ages[at] = ages[at - 1];
	}
	refs[at] = *ref;
	ages[at] = age;
	return nr;
}

/* How many slots have become weak since; none where that was after @now. */
static uint32_t weak_age(const struct bufpool_slot *slot, uint32_t now)
{
	int32_t age = (int32_t)(now - load_relaxed(&slot->depth));

	return age > 0 ? (uint32_t)age : 0;
}

/* The slots that have been weak for longest, @max at most, the oldest first. */
static unsigned int oldest_weak(struct bufpool_anonymous *anon,
				struct slot_ref *refs, unsigned int max)
{
	struct bufpool *bp = anon->bp;
	uint32_t now = load_relaxed(&pool_depot(bp)->weak_clock), index = 0;
	uint32_t ages[BATCH];
	unsigned int nr = 0;
	struct slot_ref ref;

	for (; (index = bufpool_span_next_slot(anon, index)) < bp->nr_pages;
	     index++) {
		const struct bufpool_slot *slot = &bp->slots[index];

		if (bufpool_slot_find(anon, index, &ref) &&
		    load_relaxed(&slot->state) ==
		    BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_WEAK, ref.class))
			nr = insert_by_age(refs, ages, nr, max, &ref,
					   weak_age(slot, now));
	}
	return nr;
}

/* Take a weak slot, unless the program has just made it strong. */
static bool take_weak(struct bufpool_anonymous *anon, const struct slot_ref *ref)
{
	struct bufpool *bp = anon->bp;
	__u32 weak = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_WEAK, ref->class);
	__u32 taken = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_TAKEN, ref->class);

	/* Acquire: what the program wrote there comes before its removal. */
	if (!__atomic_compare_exchange_n(&bp->slots[ref->index].state, &weak,
					 taken, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return false;
	__atomic_fetch_sub(&pool_depot(bp)->nr_weak, 1, __ATOMIC_RELAXED);
	anon->held[ref->index] = HELD_TAKEN | HELD_LEAVING;
	return true;
}

/* Take weak buffers, those first that have been weak for longest. */
uint64_t bufpool_release_weak(struct bufpool_anonymous *anon, uint64_t want)
{
	struct bufpool_stacks *depot = pool_depot(anon->bp);
	struct batch batch = { .anon = anon };
	struct slot_ref refs[BATCH];
	uint64_t pages = 0;
	unsigned int nr, i;

	while (pages < want && load_relaxed(&depot->nr_weak) > 0) {
		nr = oldest_weak(anon, refs, BATCH);
		if (!nr)
			break;
		for (i = 0; i < nr && pages < want; i++) {
			if (!take_weak(anon, &refs[i]))
				continue;
			batch_add(&batch, &refs[i]);
			pages += refs[i].pages;
		}
		/* The lock is dropped only when the list has been seen to. */
		batch_flush(&batch);
	}
	anon->count[COUNT_RECLAIMED] += pages;
	return pages;
}

/* Give memory back for an allocation: what is idle, then what is weak. */
uint64_t bufpool_reclaim(struct bufpool_anonymous *anon, uint64_t want)
{
	uint64_t pages = bufpool_release(anon, want, COUNT_RECLAIMED);

	if (pages < want)
		pages += bufpool_release_weak(anon, want - pages);
	return pages;
}

/* Bring the pool down to what it may retain, and to its limit as far as that takes it. */
void bufpool_enforce(struct bufpool_anonymous *anon, enum counter why)
{
	uint32_t shift = anon->bp->page_shift;
	uint64_t max = anon->config.max_retained_bytes >> shift;
	uint64_t limit = anon->config.pool_limit_bytes >> shift;
	uint64_t idle = bufpool_idle_pages(anon);
	uint64_t held = anon->attached_pages - anon->leaving_pages;
	uint64_t want = idle > max ? idle - max : 0;

	if (held > limit && held - limit > want)
		want = held - limit;
	if (want)
		bufpool_release(anon, want, why);
}

/*
 * Trimming.  There is no thread that could do it by the clock, so whoever comes to the
 * backend does it, once for each period that has passed.
 */
static uint64_t now_ns(void)
{
	struct timespec now = { .tv_sec = 0 };

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t period_ns(const struct bufpool_anonymous *anon)
{
	return (uint64_t)anon->config.trim_period_ms * 1000000;
}

/* When the first memory is attached, and when the period changes. */
void bufpool_trim_arm(struct bufpool_anonymous *anon)
{
	uint64_t due = anon->attached_pages && period_ns(anon) ?
		       now_ns() + period_ns(anon) : 0;

	if (!due || !anon->trim_due || due < anon->trim_due)
		store_relaxed(&anon->trim_due, due);
}

/* May be called without the lock. */
bool bufpool_trim_is_due(const struct bufpool_anonymous *anon)
{
	uint64_t due = load_relaxed(&anon->trim_due);

	return due && now_ns() >= due;
}

/* The cold end of every stack. */
static uint64_t trim_once(struct bufpool_anonymous *anon)
{
	struct batch batch = { .anon = anon };
	struct bufpool *bp = anon->bp;
	uint32_t cpu, class, have;
	uint64_t pages = 0, go;
	__u64 *head;

	bufpool_front_empty(anon);
	bufpool_front_allow(anon);
	for (cpu = 0; cpu <= bp->nr_cpus; cpu++) {
		for (class = 0; class < bp->nr_classes; class++) {
			head = &bp->stacks[cpu].head[class];
			have = depth(bp, head);
			if (!have)
				continue;
			go = ((uint64_t)have * anon->config.trim_percent + 99) /
			     100;
			pages += release_chain(&batch, cpu, class,
					       cut(anon, head, class,
						   have - (uint32_t)go));
		}
	}
	batch_flush(&batch);
	anon->count[COUNT_TRIMMED] += pages;
	return pages;
}

/* Trim if it is time to; then what is still too much goes, too. */
void bufpool_trim(struct bufpool_anonymous *anon)
{
	uint64_t period = period_ns(anon), periods;

	if (!bufpool_trim_is_due(anon))
		return;
	if (!anon->attached_pages || !period) {
		store_relaxed(&anon->trim_due, 0);
		return;
	}
	periods = (now_ns() - anon->trim_due) / period + 1;
	store_relaxed(&anon->trim_due, anon->trim_due + periods * period);
	while (periods-- && trim_once(anon))
		;
	bufpool_enforce(anon, COUNT_TRIMMED);
}
