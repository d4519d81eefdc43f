/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * A CPU's front: a place for one idle slot of a class, before the CPU's stack.
 *
 * It is used in restartable sequences, so without locked instructions: if the
 * thread is preempted, migrated or gets a signal before the last instruction of
 * the sequence, the kernel has it go on at the abort label instead, and nothing has
 * happened.  The protocol is described in <linux/bufpool.h>.
 *
 * What is in a front was put there on the same CPU, so whoever takes it sees what
 * was written before; whoever empties fronts of other CPUs first has an interrupt
 * sent there, which orders as well.
 *
 * Where there are no restartable sequences, there are no fronts.
 *
 * checkpatch: MACRO_ARG_REUSE: FRONT_OPERANDS() is a list of operands
 */
#ifndef BUFPOOL_FRONT_H
#define BUFPOOL_FRONT_H

#include "cpu.h"
#include "pool.h"

/* The thread sanitizer sees no order in what an asm statement reads and writes. */
#if defined(HAVE_RSEQ) && defined(__x86_64__) && defined(__LP64__) && \
	!defined(__SANITIZE_THREAD__)
#define HAVE_FRONT

_Static_assert(sizeof(struct bufpool_stacks) == 1 << 11, "shifted by below");
_Static_assert(offsetof(struct rseq, cpu_id) == 4, "used below");
_Static_assert(offsetof(struct rseq, rseq_cs) == 8, "used below");
_Static_assert(RSEQ_SIG == 0x53053053, "used below");
_Static_assert(BUFPOOL_CLASS_FRONT == 2, "tested for below");

/*
 * The beginning of a sequence: its descriptor, which the thread's rseq area points to
 * from here on; the address of this CPU's stacks in %[at]; the flag of the class.
 * Leads to label 5 if there is no front to use.  The sequence ends at label 2.
 */
#define FRONT_BEGIN							\
	".pushsection __rseq_cs, \"aw\"\n\t"				\
	".balign 32\n"							\
	"3:\t.long 0, 0\n\t"						\
	".quad 1f, 2f - 1f, 4f\n\t"					\
	".popsection\n\t"						\
	"leaq 3b(%%rip), %[at]\n\t"					\
	"movq %[at], %%fs:8(%[area])\n"					\
	"1:\tmovl %%fs:4(%[area]), %k[at]\n\t"				\
	"cmpl %[cpus], %k[at]\n\t"					\
	"jae 5f\n\t"							\
	"shlq $11, %[at]\n\t"						\
	"addq %[stacks], %[at]\n\t"					\
	"testb $2, %[flags]\n\t"					\
	"jz 5f\n\t"

/*
 * What follows label 2.  The area is not left pointing to the descriptor: the library
 * may be unloaded.  The kernel wants its signature before the abort label.
 */
#define FRONT_END							\
	"2:\tmovq $0, %%fs:8(%[area])\n\t"				\
	".pushsection __rseq_failure, \"ax\"\n\t"			\
	".byte 0x0f, 0xb9, 0x3d\n\t"					\
	".long 0x53053053\n"						\
	"4:\tjmp %l[none]\n\t"						\
	".popsection\n\t"						\
	".pushsection .text.unlikely, \"ax\"\n"				\
	"5:\tmovq $0, %%fs:8(%[area])\n\t"				\
	"jmp %l[none]\n\t"						\
	".popsection\n\t"

#define FRONT_OPERANDS(bp, class)					\
	[area] "r" ((bp)->rseq_offset), [cpus] "m" ((bp)->fast_cpus),	\
	[stacks] "m" ((bp)->stacks), [class] "r" ((uint64_t)(class)),	\
	[flags] "m" ((bp)->control->classes[class].flags),		\
	[front] "i" (offsetof(struct bufpool_stacks, front))

/* Take what is in this CPU's front: a link, or 0, also if it was interrupted. */
static inline uint32_t front_take(const struct bufpool *bp, uint32_t class)
{
	uint64_t at;
	uint32_t link;

	__asm__ __volatile__ goto(FRONT_BEGIN
		"movl %c[front](%[at], %[class], 4), %[link]\n\t"
		"testl %[link], %[link]\n\t"
		"jz 5f\n\t"
		"movl $0, %c[front](%[at], %[class], 4)\n"
		FRONT_END
		: [at] "=&r" (at), [link] "=&r" (link)
		: FRONT_OPERANDS(bp, class)
		: "memory", "cc"
		: none);
	return link;
none:
	return 0;
}

/* Put a slot there, marked idle; false if there is one, or it was interrupted. */
static inline bool front_put(const struct bufpool *bp, uint32_t class,
			     uint32_t link)
{
	uint64_t at;

	__asm__ __volatile__ goto(FRONT_BEGIN
		"cmpl $0, %c[front](%[at], %[class], 4)\n\t"
		"jne 5f\n\t"
		"movl %[link], %c[front](%[at], %[class], 4)\n"
		FRONT_END
		: [at] "=&r" (at)
		: FRONT_OPERANDS(bp, class), [link] "r" (link)
		: "memory", "cc"
		: none);
	return true;
none:
	return false;
}

#else

static inline uint32_t front_take(const struct bufpool *bp, uint32_t class)
{
	(void)bp;
	(void)class;
	return 0;
}

static inline bool front_put(const struct bufpool *bp, uint32_t class,
			     uint32_t link)
{
	(void)bp;
	(void)class;
	(void)link;
	return false;
}

#endif

/* Another CPU's front, to be counted only. */
static inline uint32_t front_peek(const struct bufpool *bp, uint32_t cpu,
				  uint32_t class)
{
	return load_relaxed(&bp->stacks[cpu].front[class]);
}

#endif /* BUFPOOL_FRONT_H */
