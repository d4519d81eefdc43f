// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A signal handler between any two instructions of bufpool_alloc() and
 * bufpool_free(): the processor's trap flag raises SIGTRAP after each, and the
 * handler uses the same stack after the first, in the next run after the second,
 * and so on until the calls are over before its turn comes.  Or it changes the
 * configuration, as another thread might at that moment.
 */
#include <signal.h>
#include <ucontext.h>

#include "memory.h"
#include "tap.h"

#if !defined(__x86_64__)

int main(void)
{
	tap_skip("single steps", "needs x86-64's trap flag");
	return tap_end();
}

#else

#define TRAP_FLAG	0x100L

#define MAX_IDLE	2

enum act { ALLOC, FREE, PAIR, ABA, RELEASE, TUNE };

static const char *const act_name[] = {
	[ALLOC] = "an allocation", [FREE] = "a free",
	[PAIR] = "an allocation and its free",
	[ABA] = "two allocations and the first one's free",
	[RELEASE] = "release_retained",
};

static struct bufpool *bp;
static struct memory_tuning tuning;
static enum act act;
static unsigned int step, act_at;
static void *handlers;

static void on_step(int sig, siginfo_t *si, void *context)
{
	ucontext_t *interrupted = context;
	void *first;

	(void)sig;
	(void)si;
	if (++step != act_at)
		return;
	/* One interruption is what is wanted; go on without steps. */
	interrupted->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;

	switch (act) {
	case ALLOC:
		handlers = bufpool_alloc(bp, 1, 0);
		break;
	case FREE:
		bufpool_free(bp, handlers);
		break;
	case PAIR:
		bufpool_free(bp, bufpool_alloc(bp, 1, 0));
		break;
	case ABA:
		/* The same slot on top again, and the one below it gone. */
		first = bufpool_alloc(bp, 1, 0);
		handlers = bufpool_alloc(bp, 1, 0);
		bufpool_free(bp, first);
		break;
	case RELEASE:
		bufpool_release_retained(bp);
		break;
	case TUNE:
		memory_tune(bp, &tuning);
		break;
	}
}

/*
 * Set or clear the trap flag; returns what it was.  The fences are for what the
 * handler reads and writes.
 */
static inline bool trap(bool on)
{
	long flags = (long)__builtin_ia32_readeflags_u64();
	bool was = flags & TRAP_FLAG;

	flags = on ? flags | TRAP_FLAG : flags & ~TRAP_FLAG;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__builtin_ia32_writeeflags_u64((unsigned long)flags);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return was;
}

/*
 * The backend stands for the kernel, which signals do not interrupt, and it
 * blocks them; so no single steps in there.
 */
static const struct bufpool_backend *memory;

static int request_without_steps(struct bufpool *pool, unsigned int cmd,
				 void *arg)
{
	const struct bufpool_backend *stepping = pool->backend;
	bool on = trap(false);
	int ret;

	pool->backend = memory;
	ret = memory->request(pool, cmd, arg);
	pool->backend = stepping;
	trap(on);
	return ret;
}

static struct bufpool_backend stepping_backend;

static void open_pool(void)
{
	bp = memory_pool(&tuning);
	memory = bp->backend;
	stepping_backend = *memory;
	stepping_backend.request = request_without_steps;
	bp->backend = &stepping_backend;
}

/* bufpool_alloc(), with the handler acting after instruction @at of it. */
static void *alloc_stepping(size_t size, unsigned int at)
{
	void *buf;

	step = 0;
	act_at = at;
	trap(true);
	buf = bufpool_alloc(bp, size, 0);
	trap(false);
	return buf;
}

/*
 * One run with the handler acting after instruction @at of an allocation or a
 * free.  @idle buffers are on the stacks to begin with.  False if something came
 * out wrong; *@over if there is no such instruction.
 */
static bool run(unsigned int at, bool alloc, unsigned int idle,
		uint32_t percpu_cap, bool *over)
{
	void *bufs[MAX_IDLE], *buf = NULL;
	struct memory_counts counts;
	uint64_t live;
	unsigned int i;
	bool ok;

	tuning = memory_defaults;
	tuning.limit_pages = 64;
	tuning.nr_cpus = 2;
	tuning.percpu_cap = percpu_cap;
	open_pool();

	for (i = 0; i < idle; i++)
		bufs[i] = bufpool_alloc(bp, 1, 0);
	handlers = act == FREE ? bufpool_alloc(bp, 1, 0) : NULL;
	if (!alloc)
		buf = bufpool_alloc(bp, 1, 0);
	for (i = 0; i < idle; i++)
		bufpool_free(bp, bufs[i]);

	if (alloc) {
		buf = alloc_stepping(1, at);
	} else {
		step = 0;
		act_at = at;
		trap(true);
		bufpool_free(bp, buf);
		trap(false);
	}
	*over = step < at;
	bp->backend = memory;

	/* What was allocated is live, and everything else is on a stack. */
	live = alloc;
	if (*over ? act == FREE : act == ALLOC || act == ABA)
		live++;
	counts = memory_counts(bp);
	ok = memory_idle_pages(bp) + live == counts.attached_pages;
	if (alloc)
		ok = ok && buf && (act == FREE || buf != handlers) &&
		     bufpool_usable_size(bp, buf) == 1UL << bp->page_shift;
	if ((act == ALLOC || act == ABA) && !*over)
		ok = ok && handlers &&
		     bufpool_usable_size(bp, handlers) == 1UL << bp->page_shift;
	bufpool_destroy(bp);
	return ok;
}

static bool run_all(bool alloc, uint32_t percpu_cap)
{
	unsigned int idle, at;
	bool ok = true, over;

	for (idle = 0; idle <= MAX_IDLE; idle++) {
		over = false;
		for (at = 1; !over; at++)
			ok = run(at, alloc, idle, percpu_cap, &over) && ok;
		/* Fewer would mean that nothing was stepped through. */
		require(at > 20);
	}
	return ok;
}

/*
 * The CPU has a large buffer that is too small and the depot another one, and the
 * class ceases to be large after instruction @at of an allocation.
 */
static bool run_threshold(unsigned int at, bool *over)
{
	size_t page;
	void *a, *b, *buf;
	bool ok;

	tuning = memory_defaults;
	tuning.limit_pages = 256;
	tuning.nr_cpus = 2;
	tuning.large_threshold_pages = 16;
	tuning.large_percpu_cap = 1;
	open_pool();
	page = (size_t)1 << bp->page_shift;

	a = bufpool_alloc(bp, 33 * page, 0);
	b = bufpool_alloc(bp, 34 * page, 0);
	require(a && b);
	bufpool_free(bp, a);
	bufpool_free(bp, b);
	tuning.large_threshold_pages = 64;
	buf = alloc_stepping(36 * page, at);
	*over = step < at;
	bp->backend = memory;

	ok = buf && bufpool_usable_size(bp, buf) >= 36 * page &&
	     memory_idle_pages(bp) + (bufpool_usable_size(bp, buf) >> bp->page_shift) ==
	     memory_counts(bp).attached_pages;
	bufpool_destroy(bp);
	return ok;
}

static bool run_threshold_all(void)
{
	bool ok = true, over = false;
	unsigned int at;

	act = TUNE;
	for (at = 1; !over; at++)
		ok = run_threshold(at, &over) && ok;
	require(at > 20);
	return ok;
}

int main(void)
{
	struct sigaction action = {
		.sa_sigaction = on_step, .sa_flags = SA_SIGINFO,
	};
	uint32_t cap;

	require(!sigaction(SIGTRAP, &action, NULL));
	for (act = ALLOC; act <= RELEASE; act++) {
		for (cap = 0; cap <= 1; cap++) {
			check(run_all(true, cap),
			      "%s at any instruction of an allocation, CPU's cap %u",
			      act_name[act], cap);
			check(run_all(false, cap),
			      "%s at any instruction of a free, CPU's cap %u",
			      act_name[act], cap);
		}
	}
	check(run_threshold_all(),
	      "a raised threshold at any instruction: no buffer is too small");
	return tap_end();
}

#endif
