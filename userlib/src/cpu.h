/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The number of the CPU a thread runs on: one load from the rseq area that
 * glibc (2.35 on) registers for every thread and the kernel keeps up to date.
 */
#ifndef BUFPOOL_CPU_H
#define BUFPOOL_CPU_H

#include <errno.h>
#include <sched.h>

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 35)
#include <sys/rseq.h>
#define HAVE_RSEQ
#endif
#endif

#include "pool.h"

/*
 * The CPU's number, from the rseq area alone; nr_cpus or more for a thread that
 * has none: an old libc or kernel, or registration turned off.
 */
static inline uint32_t cpu_from_rseq(const struct bufpool *bp)
{
#ifdef HAVE_RSEQ
	const struct rseq *area = (const void *)
		((const char *)__builtin_thread_pointer() + bp->rseq_offset);

	/* An area that is not registered holds a negative number. */
	return load_relaxed(&area->cpu_id);
#else
	return bp->nr_cpus;
#endif
}

/*
 * The CPU's number, always below nr_cpus.  It may be out of date as soon as it
 * is read, and as which stack is used is a matter of speed only, any other will
 * do where the kernel gives none.
 */
static inline uint32_t this_cpu(const struct bufpool *bp)
{
	uint32_t cpu = cpu_from_rseq(bp);
	int err;

	if (unlikely(cpu >= bp->nr_cpus)) {
		err = errno;
		cpu = (uint32_t)sched_getcpu();
		errno = err;
		if (cpu >= bp->nr_cpus)
			cpu = 0;
	}
	return cpu;
}

static inline ptrdiff_t cpu_rseq_offset(void)
{
#ifdef HAVE_RSEQ
	return __rseq_offset;
#else
	return 0;
#endif
}

#endif /* BUFPOOL_CPU_H */
