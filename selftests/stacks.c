// SPDX-License-Identifier: GPL-2.0-only
/*
 * The protocol of the shared stacks, from the process's side and without the
 * library: what the kernel leaves there is as <linux/bufpool.h> says, and what
 * the process leaves there the kernel understands.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <stdatomic.h>

#define NR	5
#define SIZE	(64 * KiB)

FIXTURE(stacks) {
	struct pool p;
	uint32_t cls;
	int64_t offset[NR];
	__u64 *head;		/* of the CPU the test stays on */
};

FIXTURE_SETUP(stacks)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	int i;

	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	self->cls = class_of(SIZE);
	self->head = &pool_stacks(&self->p, 0)->head[self->cls];
	for (i = 0; i < NR; i++) {
		self->offset[i] = pool_alloc(&self->p, SIZE, 0, NULL);
		ASSERT_LE(0, self->offset[i]);
	}
}

FIXTURE_TEARDOWN(stacks)
{
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
	pool_destroy(&self->p);
}

static uint64_t load(__u64 *head)
{
	return atomic_load((_Atomic __u64 *)head);
}

static bool exchange(__u64 *head, uint64_t old, uint32_t link)
{
	__u64 expected = old;

	return atomic_compare_exchange_strong((_Atomic __u64 *)head, &expected,
		BUFPOOL_HEAD(BUFPOOL_TAG(old) + 1, link));
}

static struct bufpool_slot *slot_of_link(const struct pool *p, uint32_t link)
{
	return (struct bufpool_slot *)(p->base + pool_control(p)->slot_offset) +
		link - 1;
}

static int64_t offset_of_link(const struct pool *p, uint32_t link)
{
	return p->setup.data_offset + (uint64_t)(link - 1) * page_size();
}

/* Push as the header has it. */
static void push(const struct pool *p, __u64 *head, int64_t offset)
{
	struct bufpool_slot *slot = pool_slot(p, offset);
	uint64_t old;

	do {
		old = load(head);
		slot->next = BUFPOOL_LINK(old);
		slot->depth = 1;
		if (slot->next)
			slot->depth += slot_of_link(p, slot->next)->depth;
		slot->state = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE,
						 (slot->state >> 8) - 1);
	} while (!exchange(head, old, pool_page(p, offset) + 1));
}

/* Pop as the header has it; the offset, or 0 for an empty stack. */
static int64_t pop(const struct pool *p, __u64 *head)
{
	struct bufpool_slot *slot;
	uint64_t old;

	do {
		old = load(head);
		if (!BUFPOOL_LINK(old))
			return 0;
		slot = slot_of_link(p, BUFPOOL_LINK(old));
	} while (!exchange(head, old, slot->next));
	slot->state = BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE,
					 (slot->state >> 8) - 1);
	return offset_of_link(p, BUFPOOL_LINK(old));
}

/* ALLOC leaves a header that says what the buffer is. */
TEST_F(stacks, header_of_a_live_slot)
{
	static const uint64_t sizes[] = {
		1, 12 * KiB, 100000, 3 * MiB, 9 * MiB + 1,
	};
	struct bufpool_slot *slot;
	uint64_t usable;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		offset = pool_alloc(&self->p, sizes[i], 0, &usable);
		ASSERT_LE(0, offset);
		slot = pool_slot(&self->p, offset);
		EXPECT_EQ(BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE,
					     class_of(sizes[i])), slot->state);
		EXPECT_EQ(usable / page_size(), slot->pages);
		/* None begins inside it. */
		if (usable > page_size()) {
			EXPECT_EQ(0, slot[1].state);
		}
	}
}

/* FREE pushes: links, depths, states and tags are as promised. */
TEST_F(stacks, what_free_leaves)
{
	struct bufpool_slot *slot;
	uint64_t old, new;
	int i;

	EXPECT_EQ(0, BUFPOOL_LINK(load(self->head)));
	for (i = 0; i < NR; i++) {
		old = load(self->head);
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
		new = load(self->head);
		slot = pool_slot(&self->p, self->offset[i]);
		EXPECT_EQ(pool_page(&self->p, self->offset[i]) + 1,
			  BUFPOOL_LINK(new));
		EXPECT_LT(BUFPOOL_TAG(old), BUFPOOL_TAG(new));
		EXPECT_EQ(BUFPOOL_LINK(old), slot->next);
		EXPECT_EQ((uint32_t)i + 1, slot->depth);
		EXPECT_EQ(BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, self->cls),
			  slot->state);
		EXPECT_EQ(SIZE / page_size(), slot->pages);
	}
	/* Nothing of it is the depot's. */
	EXPECT_EQ(0, pool_depot(&self->p)->idle_pages);
}

/*
 * Whatever changes a head also changes its tag, so that nobody's exchange
 * succeeds who looked before: also where the link comes back to what it was.
 */
TEST_F(stacks, tags_tell_of_every_change)
{
	uint64_t old;

	ASSERT_EQ(0, pool_free(&self->p, self->offset[0]));
	old = load(self->head);

	/* ALLOC and FREE: the same link, another tag. */
	ASSERT_EQ(self->offset[0], pool_alloc(&self->p, SIZE, 0, NULL));
	ASSERT_EQ(0, pool_free(&self->p, self->offset[0]));
	EXPECT_EQ(BUFPOOL_LINK(old), BUFPOOL_LINK(load(self->head)));
	EXPECT_LE(BUFPOOL_TAG(old) + 2, BUFPOOL_TAG(load(self->head)));
	EXPECT_FALSE(exchange(self->head, old, 0));

	/* A release takes the whole chain with one exchange. */
	old = load(self->head);
	ASSERT_EQ((int64_t)SIZE, pool_release(&self->p));
	EXPECT_EQ(0, BUFPOOL_LINK(load(self->head)));
	EXPECT_LT(BUFPOOL_TAG(old), BUFPOOL_TAG(load(self->head)));
	EXPECT_FALSE(exchange(self->head, old, 0));

	/* And a stack that is empty again is not the one that was. */
	old = load(self->head);
	ASSERT_EQ(0, pool_free(&self->p, self->offset[1]));
	ASSERT_EQ(self->offset[1], pool_alloc(&self->p, SIZE, 0, NULL));
	EXPECT_EQ(0, BUFPOOL_LINK(load(self->head)));
	EXPECT_NE(old, load(self->head));
}

/* The tag wraps after 2^32 changes, as if nothing were. */
TEST_F(stacks, tags_wrap)
{
	int i;

	*self->head = BUFPOOL_HEAD(0xfffffffe, 0);
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	EXPECT_EQ(NR - 2U, BUFPOOL_TAG(load(self->head)));
	for (i = NR - 1; i >= 0; i--) {
		EXPECT_EQ(self->offset[i], pool_alloc(&self->p, SIZE, 0, NULL));
	}
}

/* What the process pops is live for the kernel, too. */
TEST_F(stacks, popped_by_the_process)
{
	int i;

	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	EXPECT_EQ(self->offset[NR - 1], pop(&self->p, self->head));
	EXPECT_EQ(self->offset[NR - 2], pop(&self->p, self->head));
	EXPECT_EQ((NR - 2) * SIZE, pool_retained(&self->p));

	/* Not taken by a release, not handed out, and freed once. */
	EXPECT_EQ((int64_t)((NR - 2) * SIZE), pool_release(&self->p));
	EXPECT_EQ(0, write_signal(self->p.base + self->offset[NR - 1]));
	EXPECT_EQ(0, write_signal(self->p.base + self->offset[NR - 2]));
	EXPECT_EQ(0, pool_free(&self->p, self->offset[NR - 1]));
	EXPECT_EQ(-EINVAL, pool_free(&self->p, self->offset[NR - 1]));
	EXPECT_EQ(0, pool_free(&self->p, self->offset[NR - 2]));
	EXPECT_EQ(2 * SIZE, pool_retained(&self->p));
	EXPECT_EQ(0, pop(&self->p, &pool_depot(&self->p)->head[self->cls]));
}

/* What the process pushes is idle for the kernel. */
TEST_F(stacks, pushed_by_the_process)
{
	long last = pool_control(&self->p)->nr_cpus - 1;
	struct bufpool_stacks *depot = pool_depot(&self->p);

	push(&self->p, self->head, self->offset[0]);
	EXPECT_EQ(-EINVAL, pool_free(&self->p, self->offset[0]));
	EXPECT_EQ(SIZE, pool_retained(&self->p));
	EXPECT_EQ(self->offset[0], pool_alloc(&self->p, SIZE, 0, NULL));
	EXPECT_EQ(0, pool_retained(&self->p));

	/* On the depot, whose pages the process counts, */
	push(&self->p, &depot->head[self->cls], self->offset[1]);
	__atomic_add_fetch(&depot->idle_pages, SIZE / page_size(),
			   __ATOMIC_RELAXED);
	EXPECT_EQ(SIZE, pool_retained(&self->p));
	EXPECT_EQ(self->offset[1], pool_alloc(&self->p, SIZE, 0, NULL));
	EXPECT_EQ(0, depot->idle_pages);

	/* on the stack of a CPU that has used none so far, */
	push(&self->p, &pool_stacks(&self->p, last)->head[self->cls],
	     self->offset[2]);
	EXPECT_EQ(self->offset[2], pool_alloc(&self->p, SIZE, 0, NULL));

	/* and where a release finds it, from all three. */
	push(&self->p, self->head, self->offset[0]);
	push(&self->p, &depot->head[self->cls], self->offset[1]);
	__atomic_add_fetch(&depot->idle_pages, SIZE / page_size(),
			   __ATOMIC_RELAXED);
	push(&self->p, &pool_stacks(&self->p, last)->head[self->cls],
	     self->offset[2]);
	EXPECT_EQ(3 * SIZE, pool_retained(&self->p));
	EXPECT_EQ((int64_t)(3 * SIZE), pool_release(&self->p));
	EXPECT_EQ(0, depot->idle_pages);
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + self->offset[1]));
	EXPECT_EQ(0, write_signal(self->p.base + self->offset[3]));
	EXPECT_EQ((NR - 3) * SIZE, pool_attached(&self->p));
}

/* A slot that is detached has no header that anybody could take for one. */
TEST_F(stacks, header_of_a_detached_slot)
{
	int i;

	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	ASSERT_EQ((int64_t)(NR * SIZE), pool_release(&self->p));
	for (i = 0; i < NR; i++) {
		EXPECT_EQ(0, pool_slot(&self->p, self->offset[i])->state);
	}
}

/*
 * A process that pops and pushes on its own, against a kernel that allocates,
 * frees and releases: every slot is somebody's, and never two's.
 */
struct contest {
	struct pool *p;
	uint32_t cls;
	atomic_int stop, failed;
};

static void *pop_and_push(void *arg)
{
	struct contest *c = arg;
	unsigned int cpu = 0, nr = pool_control(c->p)->nr_cpus;
	int64_t offset;

	while (!atomic_load(&c->stop)) {
		__u64 *head = &pool_stacks(c->p, cpu++ % nr)->head[c->cls];
		atomic_ulong *owner;

		offset = pop(c->p, head);
		if (!offset)
			continue;
		owner = (void *)(c->p->base + offset);
		if (atomic_exchange(owner, 1))
			atomic_store(&c->failed, 1);
		atomic_store(owner, 0);
		push(c->p, head, offset);
	}
	return NULL;
}

TEST_F(stacks, both_at_once)
{
	struct contest c = { .p = &self->p, .cls = self->cls };
	pthread_t thread[2];
	atomic_ulong *owner;
	int64_t offset;
	int i;

	ASSERT_EQ(0, unpin());
	for (i = 0; i < NR; i++) {
		memset(self->p.base + self->offset[i], 0, SIZE);
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, pop_and_push, &c));
	}
	for (i = 0; i < 1500; i++) {
		offset = pool_alloc(&self->p, SIZE, 0, NULL);
		ASSERT_LE(0, offset);
		owner = (void *)(self->p.base + offset);
		ASSERT_EQ(0, atomic_exchange(owner, 2));
		ASSERT_EQ(2, atomic_exchange(owner, 0));
		ASSERT_EQ(0, pool_free(&self->p, offset));
		if (i % 50 == 0) {
			ASSERT_LE(0, pool_release(&self->p));
		}
	}
	atomic_store(&c.stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_FALSE(atomic_load(&c.failed));
	EXPECT_EQ(pool_attached(&self->p), pool_retained(&self->p));
	EXPECT_EQ((int64_t)pool_attached(&self->p), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

TEST_HARNESS_MAIN
