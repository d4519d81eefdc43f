// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process that writes nonsense into the control region.  It may lose its own
 * buffers; the kernel counts what it finds, survives, and takes all of the
 * memory back in the end, and nobody else notices.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <stdatomic.h>

#define NR	6

FIXTURE(hostile) {
	uint64_t before;
	/* Of another process, as far as the kernel is concerned. */
	struct gate leave, ready;
	pid_t bystander;
	uint64_t bystander_idle;
	/* The one that is spoilt. */
	struct pool p;
	int64_t offset[NR];
	__u64 *head;
};

/* Holds a live and an idle buffer, and at the end everything is as it was. */
static void stand_by(struct gate *ready, struct gate *leave)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	struct bufpool_stats st;
	int64_t live, idle;
	struct pool q;

	check(!pool_init(&q, &cfg));
	live = pool_alloc(&q, 1 * MiB, 0, NULL);
	idle = pool_alloc(&q, 64 * KiB, 0, NULL);
	check(live > 0 && idle > 0);
	stamp_range(q.base + live, 1 * MiB, 1);
	stamp_range(q.base + idle, 64 * KiB, 2);
	check(!pool_free(&q, idle));
	gate_pass(ready);
	gate_wait(leave);

	st = pool_stats(&q);
	check(st.attached_bytes == 1 * MiB + st.retained_bytes);
	check(st.retained_bytes + st.released_bytes + st.shrunk_bytes ==
	      64 * KiB);
	check(st.corruptions == 0);
	check(stamped(q.base + live, 1 * MiB, 1));
	/* Unless the administrator, or the kernel, has taken it. */
	if (st.retained_bytes) {
		check(stamped(q.base + idle, 64 * KiB, 2));
		check(pool_alloc(&q, 64 * KiB, 0, NULL) == idle);
		check(!pool_free(&q, idle));
	}
	check(!pool_free(&q, live));
	check(pool_release(&q) == (int64_t)(1 * MiB + st.retained_bytes));
	_exit(0);
}

FIXTURE_SETUP(hostile)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	int i;

	self->before = device_attached();
	gate_init(&self->leave);
	gate_init(&self->ready);
	self->bystander = fork();
	ASSERT_LE(0, self->bystander);
	if (!self->bystander) {
		close(self->leave.fd[1]);
		stand_by(&self->ready, &self->leave);
	}
	close(self->ready.fd[1]);
	ASSERT_TRUE(gate_wait(&self->ready));
	self->bystander_idle = 64 * KiB;

	/* Six idle buffers of 64 KiB on the stack of one CPU. */
	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	for (i = 0; i < NR; i++) {
		self->offset[i] = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, self->offset[i]);
		stamp_range(self->p.base + self->offset[i], 64 * KiB, i);
	}
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pool_free(&self->p, self->offset[i]));
	}
	self->head = &pool_stacks(&self->p, 0)->head[class_of(64 * KiB)];
	ASSERT_EQ(pool_page(&self->p, self->offset[NR - 1]) + 1,
		  BUFPOOL_LINK(*self->head));
}

FIXTURE_TEARDOWN(hostile)
{
	uint64_t usable;
	int64_t offset;

	/* Whatever was done, the calls end and hand out memory that is there. */
	EXPECT_LE(0, pool_release(&self->p));
	offset = pool_alloc(&self->p, 64 * KiB, BUFPOOL_ZERO, &usable);
	if (offset >= 0) {
		EXPECT_LE(64 * KiB, usable);
		EXPECT_TRUE(all_zero(self->p.base + offset, 64 * KiB));
	}
	EXPECT_GE(64 * MiB, pool_attached(&self->p));
	EXPECT_LE(pool_retained(&self->p), pool_attached(&self->p));
	pool_destroy(&self->p);

	EXPECT_EQ(self->before + 1 * MiB + self->bystander_idle,
		  device_attached());
	gate_pass(&self->leave);
	EXPECT_EQ(0, child_status(self->bystander));
	EXPECT_EQ(self->before, device_attached());
}

static uint64_t corruptions(const struct pool *p)
{
	return pool_stats(p).corruptions;
}

/* Allocate @nr of @bytes: all there, none twice. */
static bool distinct_and_there(const struct pool *p, uint64_t bytes, int nr)
{
	int64_t got[64];
	uint64_t usable;
	int i, k;

	for (i = 0; i < nr; i++) {
		got[i] = pool_alloc(p, bytes, 0, &usable);
		if (got[i] < 0 || usable < bytes)
			return false;
		for (k = 0; k < i; k++)
			if (got[k] == got[i])
				return false;
		if (write_signal(p->base + got[i]) ||
		    write_signal(p->base + got[i] + usable - 1))
			return false;
	}
	return true;
}

TEST_F(hostile, chain_that_bites_its_tail)
{
	struct bufpool_slot *bottom = pool_slot(&self->p, self->offset[0]);

	EXPECT_EQ(0, bottom->next);
	bottom->next = pool_page(&self->p, self->offset[3]) + 1;
	/* Each is released once, whatever the chain says. */
	EXPECT_EQ((int64_t)(NR * 64 * KiB), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	EXPECT_LT(0, corruptions(&self->p));
}

TEST_F(hostile, slot_that_is_its_own_next)
{
	struct bufpool_slot *top = pool_slot(&self->p, self->offset[NR - 1]);

	top->next = pool_page(&self->p, self->offset[NR - 1]) + 1;
	EXPECT_LE((int64_t)(64 * KiB), pool_release(&self->p));
	EXPECT_LT(0, corruptions(&self->p));
	EXPECT_TRUE(distinct_and_there(&self->p, 64 * KiB, 8));
}

/* A loop met by ALLOC: a buffer that is out is not handed out again. */
TEST_F(hostile, loop_met_by_alloc)
{
	struct bufpool_slot *top = pool_slot(&self->p, self->offset[NR - 1]);

	top->next = pool_page(&self->p, self->offset[NR - 1]) + 1;
	EXPECT_TRUE(distinct_and_there(&self->p, 64 * KiB, 8));
	EXPECT_LT(0, corruptions(&self->p));
}

/*
 * A loop on every stack.  How far the kernel goes is bounded by the slots there are,
 * once for all stacks, and not for each of them by the memory there is.
 */
TEST_F(hostile, loops_everywhere)
{
	const uint32_t spared = class_of(64 * KiB);
	uint32_t nr_cpus = pool_control(&self->p)->nr_cpus, cpu, c;
	uint64_t before;
	int64_t offset;

	ASSERT_LE(0, pool_alloc(&self->p, 32 * MiB, 0, NULL));
	for (c = 0; c <= class_of(1 * MiB); c++) {
		if (c == spared)
			continue;
		offset = pool_alloc(&self->p, bufpool_class_pages(c) * page_size(),
				    0, NULL);
		ASSERT_LE(0, offset);
		pool_slot(&self->p, offset)->next = pool_page(&self->p, offset) + 1;
		pool_slot(&self->p, offset)->depth = 0xffffffff;
		for (cpu = 0; cpu <= nr_cpus; cpu++)
			pool_stacks(&self->p, cpu)->head[c] =
				pool_page(&self->p, offset) + 1;
	}
	before = corruptions(&self->p);
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_LT(before, corruptions(&self->p));
	EXPECT_GE(before + 8192, corruptions(&self->p));

	/* What was not reached is not lost. */
	for (cpu = 0; cpu <= nr_cpus; cpu++)
		for (c = 0; c <= class_of(1 * MiB); c++)
			if (c != spared)
				pool_stacks(&self->p, cpu)->head[c] = 0;
	EXPECT_EQ(NR * 64 * KiB, pool_release(&self->p));
}

TEST_F(hostile, links_out_of_range)
{
	uint32_t nr_pages = pool_control(&self->p)->nr_pages;
	const uint32_t links[] = {
		nr_pages + 1, nr_pages + 2, nr_pages + 1024, 0x40000000,
		0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
	};
	int64_t below, top;
	uint64_t before;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(links); i++) {
		/* In a chain, */
		below = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		top = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		ASSERT_TRUE(below > 0 && top > 0);
		ASSERT_EQ(0, pool_free(&self->p, below));
		ASSERT_EQ(0, pool_free(&self->p, top));
		pool_slot(&self->p, top)->next = links[i];
		before = corruptions(&self->p);
		EXPECT_LE((int64_t)(64 * KiB), pool_release(&self->p));
		EXPECT_LT(before, corruptions(&self->p)) {
			TH_LOG("link %#x in a chain", links[i]);
		}
		/* and as a head, for both who look there. */
		*self->head = BUFPOOL_HEAD(1, links[i]);
		before = corruptions(&self->p);
		EXPECT_LE(0, pool_release(&self->p));
		EXPECT_LT(before, corruptions(&self->p)) {
			TH_LOG("head %#x, release", links[i]);
		}
		*self->head = BUFPOOL_HEAD(1, links[i]);
		before = corruptions(&self->p);
		EXPECT_TRUE(distinct_and_there(&self->p, 64 * KiB, 2));
		EXPECT_LT(before, corruptions(&self->p)) {
			TH_LOG("head %#x, alloc", links[i]);
		}
	}
}

/* A link to a live buffer: it stays its holder's. */
TEST_F(hostile, link_to_a_live_buffer)
{
	int64_t live = pool_alloc(&self->p, 64 * KiB, 0, NULL);

	ASSERT_EQ(self->offset[NR - 1], live);
	stamp_range(self->p.base + live, 64 * KiB, 99);
	pool_slot(&self->p, self->offset[NR - 2])->next =
		pool_page(&self->p, live) + 1;
	EXPECT_LE(0, pool_release(&self->p));
	EXPECT_LT(0, corruptions(&self->p));
	EXPECT_EQ(0, read_signal(self->p.base + live));
	EXPECT_TRUE(stamped(self->p.base + live, 64 * KiB, 99));

	*self->head = BUFPOOL_HEAD(7, pool_page(&self->p, live) + 1);
	EXPECT_NE(live, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	EXPECT_LT(1, corruptions(&self->p));
	EXPECT_EQ(0, pool_free(&self->p, live));
}

/* A link to a slot that has no memory, and into the middle of one. */
TEST_F(hostile, links_to_no_slot)
{
	int64_t gone = self->offset[NR - 1], live;
	uint64_t before;

	ASSERT_EQ((int64_t)(NR * 64 * KiB), pool_release(&self->p));
	live = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, live);
	ASSERT_NE(gone, live);
	*self->head = BUFPOOL_HEAD(8, pool_page(&self->p, gone) + 1);
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_LT(0, corruptions(&self->p));

	before = corruptions(&self->p);
	*self->head = BUFPOOL_HEAD(7, pool_page(&self->p, live) + 4);
	EXPECT_TRUE(distinct_and_there(&self->p, 64 * KiB, 3));
	EXPECT_LT(before, corruptions(&self->p));
	before = corruptions(&self->p);
	*self->head = BUFPOOL_HEAD(7, pool_page(&self->p, live) + 4);
	EXPECT_EQ(0, pool_release(&self->p));
	EXPECT_LT(before, corruptions(&self->p));
}

/* A small buffer on the stack of a bigger class must not go out as one. */
TEST_F(hostile, wrong_class)
{
	struct bufpool_stacks *stacks = pool_stacks(&self->p, 0);
	int64_t small = pool_alloc(&self->p, 4 * KiB, 0, NULL);
	uint32_t link;

	ASSERT_LE(0, small);
	ASSERT_EQ(0, pool_free(&self->p, small));
	link = pool_page(&self->p, small) + 1;

	/* The header lies as well: kernel records decide. */
	pool_slot(&self->p, small)->state =
		BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, class_of(64 * KiB));
	pool_slot(&self->p, small)->pages = 16;
	*self->head = BUFPOOL_HEAD(3, link);
	EXPECT_TRUE(distinct_and_there(&self->p, 64 * KiB, 3));
	EXPECT_LT(0, corruptions(&self->p));

	/* The other way round it would waste, and is no more trusted. */
	stacks->head[0] = BUFPOOL_HEAD(3, pool_page(&self->p,
						    self->offset[0]) + 1);
	EXPECT_TRUE(distinct_and_there(&self->p, 4 * KiB, 3));
	EXPECT_LT(1, corruptions(&self->p));
}

/* How many pages a slot has is not the process's to say. */
TEST_F(hostile, pages_that_are_not_there)
{
	static const uint32_t lies[] = { 0, 1, 0x7fffffff, 0xffffffff };
	uint64_t usable;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lies); i++) {
		offset = pool_alloc(&self->p, 9 * MiB, 0, &usable);
		ASSERT_LE(0, offset);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		pool_slot(&self->p, offset)->pages = lies[i];
		offset = pool_alloc(&self->p, 10 * MiB, 0, &usable);
		ASSERT_LE(0, offset);
		EXPECT_LE(10 * MiB, usable);
		EXPECT_EQ(0, write_signal(self->p.base + offset + usable - 1));
		pool_slot(&self->p, offset)->pages = lies[i];
		ASSERT_EQ(0, pool_free(&self->p, offset));
		EXPECT_LE(0, pool_release(&self->p));
	}
	EXPECT_GE(64 * MiB, pool_attached(&self->p));
}

/* Depths and sums only steer where a buffer is put. */
TEST_F(hostile, depths_and_sums)
{
	static const uint32_t depths[] = { 0, 1, 0x7fffffff, 0xffffffff };
	static const int64_t sums[] = { 0, -1, INT64_MIN, INT64_MAX };
	struct bufpool_stacks *depot = pool_depot(&self->p);
	int64_t offset;
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(depths); i++) {
		for (k = 0; k < ARRAY_SIZE(sums); k++) {
			pool_slot(&self->p, self->offset[NR - 1])->depth =
				depths[i];
			depot->idle_pages = sums[k];
			depot->cpu_pages = sums[k];
			offset = pool_alloc(&self->p, 128 * KiB, 0, NULL);
			ASSERT_LE(0, offset);
			EXPECT_EQ(0, pool_free(&self->p, offset));
			offset = pool_alloc(&self->p, 9 * MiB, 0, NULL);
			ASSERT_LE(0, offset);
			EXPECT_EQ(0, pool_free(&self->p, offset));
			EXPECT_LE(pool_retained(&self->p),
				  pool_attached(&self->p));
			EXPECT_GE(self->before + 64 * MiB,
				  sysfs_value("retained_bytes"));
		}
	}
	depot->idle_pages = 0;
	EXPECT_LE((int64_t)(NR * 64 * KiB), pool_release(&self->p));
}

/* States: a slot called live is freed once; one called nothing, not at all. */
TEST_F(hostile, states)
{
	static const uint32_t states[] = {
		0, 3, 0xff, 0xffffffff, BUFPOOL_SLOT_LIVE,
		BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, 200),
		BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_IDLE, 200),
	};
	int64_t live = pool_alloc(&self->p, 1 * MiB, 0, NULL);
	size_t i;

	ASSERT_LE(0, live);
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		pool_slot(&self->p, live)->state = states[i];
		EXPECT_EQ(-EINVAL, pool_free(&self->p, live)) {
			TH_LOG("state %#x", states[i]);
		}
		EXPECT_EQ(0, read_signal(self->p.base + live));
	}
	for (i = 0; i < NR; i++)
		pool_slot(&self->p, self->offset[i])->state = 0xdeadbeef;
	EXPECT_LE(0, pool_release(&self->p));
	EXPECT_LT(0, corruptions(&self->p));
}

/* The header is for reading; who writes it fools nobody else. */
TEST_F(hostile, header)
{
	struct bufpool_control *c = pool_control(&self->p);

	memset(c, 0xff, sizeof(*c));
	EXPECT_LE(0, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	EXPECT_LE(0, pool_alloc(&self->p, 3 * MiB, 0, NULL));
	EXPECT_EQ(-EFBIG, pool_alloc(&self->p, 65 * MiB, 0, NULL));
	EXPECT_EQ((int64_t)((NR - 1) * 64 * KiB), pool_release(&self->p));
	memset(c, 0, sizeof(*c));
	EXPECT_LE(0, pool_alloc(&self->p, 64 * KiB, 0, NULL));
	EXPECT_EQ(0, corruptions(&self->p));
}

/* Everything at once: one scribbles, the others call. */
struct scribbler {
	struct pool *p;
	atomic_int stop;
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	struct pool *p = s->p;
	struct bufpool_control c = *pool_control(p);
	uint64_t bytes = p->setup.control_bytes, seed = 99;

	while (!atomic_load(&s->stop)) {
		uint64_t r = next_random(&seed), at;
		uint32_t value = next_random(&seed);

		/* Mostly near the truth: that gets further. */
		if (value % 4)
			value = value % 4096;
		switch (r % 8) {
		case 0:
			at = next_random(&seed) % bytes;
			break;
		case 1:
			at = next_random(&seed) % sizeof(c);
			break;
		case 2 ... 4:
			at = c.cpu_offset + next_random(&seed) %
			     ((c.nr_cpus + 1) * sizeof(struct bufpool_stacks));
			break;
		case 5:
			/* A state of a class that is in use. */
			at = c.slot_offset + next_random(&seed) % 8192 *
			     sizeof(struct bufpool_slot) +
			     offsetof(struct bufpool_slot, state);
			value = BUFPOOL_SLOT_STATE(r >> 8 & 7, r >> 16 & 31);
			break;
		default:
			at = c.slot_offset + next_random(&seed) %
			     (8192 * sizeof(struct bufpool_slot));
			break;
		}
		if (at + 8 > bytes)
			continue;
		*(volatile uint32_t *)(p->base + (at & ~3ULL)) = value;
	}
	return NULL;
}

static void *call(void *arg)
{
	struct scribbler *s = arg;
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t seed = (uintptr_t)&seed;
	int64_t offset[32] = { 0 };
	int i, k;

	for (i = 0; i < 800; i++) {
		k = next_random(&seed) % 32;
		switch (next_random(&seed) % 16) {
		case 0:
			pool_release(s->p);
			break;
		case 1:
			cfg.percpu_cached = next_random(&seed) % 8;
			cfg.large_threshold_bytes =
				32 * KiB << next_random(&seed) % 10;
			pool_set_config(s->p, &cfg);
			break;
		case 2:
			pool_stats(s->p);
			break;
		case 3:
			pool_free(s->p, s->p->setup.data_offset +
				  next_random(&seed) % 8192 * 4096);
			break;
		case 4 ... 9:
			if (offset[k] > 0)
				pool_free(s->p, offset[k]);
			offset[k] = 0;
			break;
		default:
			offset[k] = pool_alloc(s->p, 4 * KiB <<
					       next_random(&seed) % 12,
					       next_random(&seed) % 2, NULL);
			break;
		}
	}
	return NULL;
}

TEST_F(hostile, everything_at_once)
{
	struct bufpool_control saved = *pool_control(&self->p);
	struct scribbler s = { .p = &self->p };
	pthread_t scribbler, caller[3];
	int i;

	ASSERT_EQ(0, unpin());
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&caller[i], NULL, call, &s));
	}
	ASSERT_EQ(0, pthread_create(&scribbler, NULL, scribble, &s));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, drop_slab());
	}
	for (i = 0; i < 3; i++)
		pthread_join(caller[i], NULL);
	EXPECT_EQ(0, sysfs_write("release_retained", "1"));
	self->bystander_idle = 0;
	atomic_store(&s.stop, 1);
	pthread_join(scribbler, NULL);
	EXPECT_LT(0, corruptions(&self->p));
	EXPECT_GE(64 * MiB, pool_attached(&self->p));
	*pool_control(&self->p) = saved;
}

/* And ended in the middle of it. */
TEST_F(hostile, killed_at_it)
{
	uint64_t now = device_attached();
	struct gate ready;
	pid_t pid;

	gate_init(&ready);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct bufpool_config cfg = fixed_config(64 * MiB);
		struct scribbler s;
		pthread_t thread;
		struct pool q;
		int i;

		check(!unpin());
		check(!pool_init(&q, &cfg));
		memset(&s, 0, sizeof(s));
		s.p = &q;
		check(!pthread_create(&thread, NULL, scribble, &s));
		for (i = 0; i < 2; i++)
			check(!pthread_create(&thread, NULL, call, &s));
		while (!corruptions(&q))
			call(&s);
		gate_pass(&ready);
		for (;;)
			call(&s);
	}
	close(ready.fd[1]);
	ASSERT_TRUE(gate_wait(&ready));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, child_status(pid));
	EXPECT_EQ(now, device_attached());
}

TEST_HARNESS_MAIN
