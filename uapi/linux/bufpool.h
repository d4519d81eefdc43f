/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/bufpool: pools of large buffers, shared between the kernel and one
 * process.
 *
 * A pool is one open file.  SETUP configures it and says how the file is laid
 * out; mmap(MAP_SHARED) of the whole file then gives the process two ranges:
 *
 *	0 ............ control_bytes     the control region, see below
 *	data_offset .. + data_bytes      the buffers
 *
 * A buffer is a slot of the data range: a fixed address that has memory while
 * it is attached, and is SIGBUS to touch while it is not.  Everything that
 * follows counts in pages of the system's page size, and names a slot by the
 * index of its first page in the data range.
 *
 * checkpatch: BIT_MACRO, INLINE, PREFER_DEFINED_ATTRIBUTE_MACRO: not in user space
 * checkpatch: COMPLEX_MACRO, MACRO_ARG_REUSE: BUFPOOL_PRESETS() is a table
 */
#ifndef _UAPI_LINUX_BUFPOOL_H
#define _UAPI_LINUX_BUFPOOL_H

#include <linux/types.h>
#include <linux/ioctl.h>

#define BUFPOOL_ABI_VERSION	1

/*
 * Configuration
 *
 * BUFPOOL_FOLLOW (or its 32-bit form) in a field means that this pool has no
 * value of its own and follows the device's setting of the same name in
 * /sys/class/misc/bufpool/, also when that changes later.
 */
#define BUFPOOL_FOLLOW		(~0ULL)
#define BUFPOOL_FOLLOW32	(~0U)

/* GET_CONFIG: report the values in force in place of BUFPOOL_FOLLOW. */
#define BUFPOOL_CONFIG_EFFECTIVE	(1U << 0)

/**
 * struct bufpool_config - the tuning of one pool
 * @size: sizeof(struct bufpool_config), for the kernel to tell versions apart
 * @flags: zero; for GET_CONFIG 0 or BUFPOOL_CONFIG_EFFECTIVE
 * @max_pooled_bytes: a buffer that holds more than this is never kept for reuse
 * @large_threshold_bytes: a size class of more than this takes the large path:
 *	memory of exactly the requested pages, few kept
 * @max_retained_bytes: idle memory the pool keeps at most
 * @pool_limit_bytes: memory the pool holds at most, live and idle together; the
 *	value at SETUP also fixes the size of the data range and cannot be
 *	exceeded later
 * @alloc_limit_bytes: the largest single allocation
 * @percpu_cached: idle buffers kept per size class on each CPU
 * @large_cached: idle buffers kept per size class on the large path, in the depot;
 *	beside them, unless this or @percpu_cached is 0, one on each CPU
 * @trim_period_ms: time between two trims of idle memory; 0: never
 * @trim_percent: share of every stack's idle buffers that one trim gives back
 */
struct bufpool_config {
	__u32 size;
	__u32 flags;
	__u64 max_pooled_bytes;
	__u64 large_threshold_bytes;
	__u64 max_retained_bytes;
	__u64 pool_limit_bytes;
	__u64 alloc_limit_bytes;
	__u32 percpu_cached;
	__u32 large_cached;
	__u32 trim_period_ms;
	__u32 trim_percent;
};

/*
 * The presets, one row each: symbol, name, max_pooled_bytes,
 * large_threshold_bytes, percpu_cached, large_cached, max_retained_bytes (0: a
 * share of RAM), that share's divisor, trim_percent, trim_period_ms.
 */
#define BUFPOOL_PRESETS(row)						       \
	row(DEFAULT,    "default",    24ULL << 20,  8ULL << 20, 16,  6,	       \
	    0,            8, 50,  60000)				       \
	row(MINIMAL,    "minimal",    64ULL << 10, 32ULL << 10, 24,  8,	       \
	    16ULL << 20,  0, 50,  10000)				       \
	row(MODERATE,   "moderate",    1ULL << 20, 32ULL << 10, 24, 16,	       \
	    64ULL << 20,  0, 50,  30000)				       \
	row(AGGRESSIVE, "aggressive", 128ULL << 20, 32ULL << 20, 32, 16,       \
	    0,            4, 25, 120000)

/*
 * Size classes: four per doubling, in pages: 1 2 3 4 5 6 7 8 10 12 14 16 20 ...
 * BUFPOOL_MAX_CLASSES covers buffers of up to 2^31 pages.
 */
#define BUFPOOL_MAX_CLASSES	120

/* The class of a buffer of @pages pages (1 to 2^31): the smallest that holds it. */
static __inline__ __u32 bufpool_class(__u64 pages)
{
	/* 2^(shift + 2) < pages <= 2^(shift + 3): steps of 2^shift, at least of 1 */
	__u32 shift = 61 - (__u32)__builtin_clzll((pages - 1) | 4);

	return 4 * shift + (__u32)((pages - 1) >> shift);
}

/* The pages of a buffer of class @c. */
static __inline__ __u64 bufpool_class_pages(__u32 c)
{
	if (c < 8)
		return c + 1;
	return (__u64)(c % 4 + 5) << (c / 4 - 1);
}

/*
 * The control region
 *
 * It begins with struct bufpool_control.  At cpu_offset stand nr_cpus + 1
 * blocks of struct bufpool_stacks: one per CPU number, the last one the depot,
 * shared by all CPUs.  At slot_offset stands an array of struct bufpool_slot,
 * one per page of the data range; a slot uses that of its first page.  All of
 * it is zero to begin with and has memory only where it was touched.
 *
 * Kernel and process work on the stacks alike, without locks.  A head is
 *
 *	{ tag : 32, link : 32 }		link: page index + 1, 0: empty
 *
 * and changes only by a 64-bit compare-exchange that also adds one to the tag,
 * so an operation that slept over any change fails and starts again.
 *
 * To push a slot: write its next (the old head's link) and depth (the depth of
 * the old head's slot, plus one), set its state to idle, then exchange the head
 * with release ordering.  To pop: load the head with acquire ordering, read the
 * slot's next, exchange the head with acquire ordering; then the slot is the
 * popper's, who sets its state to live.  A slot's next may change under a
 * reader; the tag makes the exchange fail then.
 *
 * The kernel takes idle memory back by exchanging a head for an empty one.  A
 * slot on no stack is the process's, and the kernel leaves it alone.
 *
 * Each CPU has for each class a front, too: a place before its stack for one idle
 * slot, which costs no compare-exchange.  While the class's flags have
 * BUFPOOL_CLASS_FRONT, the process's threads use the front of the CPU they run on,
 * in a restartable sequence (see linux/rseq.h) that reads the CPU's number, the flag
 * and the front, and whose last instruction writes the front: from a link to 0, or
 * from 0 to a link.  So nobody interferes: another thread comes to run on this CPU
 * only after the sequence was given up.  The kernel takes what fronts have by
 * clearing the flag, having all sequences on those CPUs given up, emptying the
 * fronts, and setting the flag again; while it stays clear there are only stacks.
 * A slot in a front is idle; its next and depth say nothing.
 *
 * A live slot may be made weak: the process adds one to the depot's weak_clock,
 * writes the sum to the slot's depth, adds one to nr_weak, and changes the state
 * from live to weak with a compare-exchange with release ordering.  Changing it
 * back, with acquire ordering, makes the slot live again with its contents, and
 * takes one from nr_weak.  When memory is short and nothing is idle any more, the
 * kernel changes the state of the slots that have been weak for longest to taken,
 * and releases their memory.  A taken slot's address stays the process's until it
 * calls FREE.
 *
 * The kernel trusts none of it: a process that writes nonsense here loses its
 * own buffers and nothing else.
 */
#define BUFPOOL_LINK(head)	((__u32)(head))
#define BUFPOOL_TAG(head)	((__u32)((head) >> 32))
#define BUFPOOL_HEAD(tag, link)	((__u64)(__u32)(tag) << 32 | (__u32)(link))

/* The state of a slot, the low byte of its state word; its class + 1 is above. */
#define BUFPOOL_SLOT_DETACHED	0U
#define BUFPOOL_SLOT_IDLE	1U
#define BUFPOOL_SLOT_LIVE	2U
#define BUFPOOL_SLOT_WEAK	3U
#define BUFPOOL_SLOT_TAKEN	4U
#define BUFPOOL_SLOT_STATE(state, cls)	((state) | ((cls) + 1) << 8)

/**
 * struct bufpool_slot - the header of a slot
 * @next: link to the slot below on the same stack, or 0
 * @depth: number of slots on the stack from this one down; 1 for the lowest; of
 *	a weak slot, when it was made weak
 * @state: BUFPOOL_SLOT_STATE() of this slot; 0 if there is none here
 * @pages: pages attached; equal to the class's unless the slot was large
 */
struct bufpool_slot {
	__u32 next;
	__u32 depth;
	__u32 state;
	__u32 pages;
};

/**
 * struct bufpool_stacks - the stacks of idle slots of one CPU, or the depot
 * @head: one head per class
 * @idle_pages: the depot only: pages of all slots on its stacks; added to
 *	after a push, subtracted from after a pop, both atomically
 * @cpu_pages: the depot only: an estimate of the pages on the CPUs' stacks
 * @nr_weak: the depot only: slots that are weak; if this says none, none is looked
 *	for
 * @weak_clock: the depot only: counts slots as they are made weak
 * @reserved32: zero
 * @reserved: zero
 * @front: not the depot: one link per class, see above
 * @reserved2: zero
 */
struct bufpool_stacks {
	__u64 head[BUFPOOL_MAX_CLASSES];
	__s64 idle_pages;
	__u64 cpu_pages;
	__s64 nr_weak;
	__u32 weak_clock;
	__u32 reserved32;
	__u64 reserved[4];
	__u32 front[BUFPOOL_MAX_CLASSES];
	__u32 reserved2[136];
} __attribute__((aligned(64)));

/**
 * struct bufpool_class_tuning - what the kernel currently asks for one class
 * @pages: the size of a buffer of this class
 * @percpu_cap: idle slots that a CPU may have, in its front and on its stack; 0: none
 * @depot_cap: depth up to which the depot's may be filled; 0: not at all
 * @flags: BUFPOOL_CLASS_*
 */
struct bufpool_class_tuning {
	__u32 pages;
	__u32 percpu_cap;
	__u32 depot_cap;
	__u32 flags;
};

/* The class is large: a slot serves a request only if its pages suit it. */
#define BUFPOOL_CLASS_LARGE	(1U << 0)

/* The fronts of the class may be used. */
#define BUFPOOL_CLASS_FRONT	(1U << 1)

/**
 * struct bufpool_control - the start of the control region
 * @abi_version: BUFPOOL_ABI_VERSION
 * @page_shift: log2 of the page size
 * @nr_cpus: number of per-CPU blocks; the depot comes after them
 * @nr_classes: classes this pool has; a bigger buffer exceeds its limit
 * @nr_pages: pages of the data range
 * @cpu_offset: bytes from the start of the file to the first per-CPU block
 * @slot_offset: bytes from the start of the file to the slot headers
 * @data_offset: bytes from the start of the file to the data range
 * @max_retained_pages: idle pages the pool may keep
 * @max_pooled_pages: a slot with more pages than this is not kept
 * @alloc_limit_bytes: the largest allocation
 * @reserved: zero
 * @classes: the classes' tuning
 *
 * Up to @data_offset it is the geometry, as SETUP returned it.  From
 * @max_retained_pages on the kernel rewrites it when the configuration
 * changes; each field is read on its own, and a value one change old does no
 * harm.  The process only reads here; what it writes, the kernel never reads.
 */
struct bufpool_control {
	__u32 abi_version;
	__u32 page_shift;
	__u32 nr_cpus;
	__u32 nr_classes;
	__u64 nr_pages;
	__u64 cpu_offset;
	__u64 slot_offset;
	__u64 data_offset;
	__u64 max_retained_pages;
	__u64 max_pooled_pages;
	__u64 alloc_limit_bytes;
	__u64 reserved[6];
	struct bufpool_class_tuning classes[BUFPOOL_MAX_CLASSES];
};

/*
 * ioctls
 *
 * Each takes a pointer to the structure named, or none.  The first member of
 * every structure is its size as the caller knows it: an older caller's is
 * taken as if the rest were zero, a newer one's if what the kernel does not
 * know is zero (else E2BIG).  Bits and fields without a meaning must be zero
 * (else EINVAL).  A process other than the one that called SETUP gets EPERM.
 */

/**
 * struct bufpool_setup - SETUP: configuration in, geometry out
 * @size: sizeof(struct bufpool_setup)
 * @flags: zero
 * @config: address of a struct bufpool_config, or 0 to follow the device
 * @control_bytes: out: size of the control region, at offset 0
 * @data_offset: out: file offset of the data range
 * @data_bytes: out: size of the data range
 */
struct bufpool_setup {
	__u32 size;
	__u32 flags;
	__u64 config;
	__u64 control_bytes;
	__u64 data_offset;
	__u64 data_bytes;
};

/* Flag of ALLOC, and of the library's bufpool_alloc(): the memory reads zero. */
#define BUFPOOL_ZERO		(1U << 0)

/**
 * struct bufpool_alloc - ALLOC: a buffer, reused or new
 * @size: sizeof(struct bufpool_alloc)
 * @flags: 0 or BUFPOOL_ZERO
 * @bytes: bytes wanted
 * @offset: out: file offset of the buffer
 * @usable_bytes: out: bytes it holds, @bytes or more
 */
struct bufpool_alloc {
	__u32 size;
	__u32 flags;
	__u64 bytes;
	__u64 offset;
	__u64 usable_bytes;
};

/**
 * struct bufpool_free - FREE: give a buffer back
 * @size: sizeof(struct bufpool_free)
 * @flags: zero
 * @offset: file offset of the buffer, as ALLOC returned it; live, or taken
 */
struct bufpool_free {
	__u32 size;
	__u32 flags;
	__u64 offset;
};

/**
 * struct bufpool_release - RELEASE_RETAINED: give all idle memory back
 * @size: sizeof(struct bufpool_release)
 * @flags: zero
 * @released_bytes: out: bytes given back
 */
struct bufpool_release {
	__u32 size;
	__u32 flags;
	__u64 released_bytes;
};

/**
 * struct bufpool_stats - STATS: what a pool holds and has done
 * @size: sizeof(struct bufpool_stats)
 * @flags: zero
 * @attached_bytes: memory of all buffers, live and idle
 * @retained_bytes: of these, idle; as the stacks say, which the process writes
 * @control_bytes: memory of the control region
 * @peak_attached_bytes: the most @attached_bytes has been
 * @allocs: ALLOC calls that returned a buffer
 * @frees: FREE calls that took one
 * @reused: of @allocs, those served by an idle buffer
 * @grown: of @allocs, those served by growing an idle large buffer
 * @attached_total_bytes: memory attached since the pool was set up
 * @huge_attached: PMD-sized folios attached since then
 * @released_bytes: idle memory given back by RELEASE_RETAINED and by sysfs's
 *	release_retained
 * @freed_bytes: memory given back by FREE, the stacks being full
 * @trimmed_bytes: idle memory given back by the trim worker
 * @shrunk_bytes: idle and weak memory taken by the kernel because memory was short
 * @reclaimed_bytes: idle memory given up for an allocation at a limit or without
 *	memory, or because a limit was lowered
 * @limit_hits: allocations that failed at a limit
 * @corruptions: nonsense found on the stacks
 * @reserve_hits: PMD-sized folios that came from the device's reserve
 * @reserve_misses: those that the reserve had none for; not counted while
 *	reserve_bytes is 0
 */
struct bufpool_stats {
	__u32 size;
	__u32 flags;
	__u64 attached_bytes;
	__u64 retained_bytes;
	__u64 control_bytes;
	__u64 peak_attached_bytes;
	__u64 allocs;
	__u64 frees;
	__u64 reused;
	__u64 grown;
	__u64 attached_total_bytes;
	__u64 huge_attached;
	__u64 released_bytes;
	__u64 freed_bytes;
	__u64 trimmed_bytes;
	__u64 shrunk_bytes;
	__u64 reclaimed_bytes;
	__u64 limit_hits;
	__u64 corruptions;
	__u64 reserve_hits;
	__u64 reserve_misses;
};

#define BUFPOOL_IOC_MAGIC		0xBF
#define BUFPOOL_IOC_SETUP		_IO(BUFPOOL_IOC_MAGIC, 0x00)
#define BUFPOOL_IOC_ALLOC		_IO(BUFPOOL_IOC_MAGIC, 0x01)
#define BUFPOOL_IOC_FREE		_IO(BUFPOOL_IOC_MAGIC, 0x02)
#define BUFPOOL_IOC_RELEASE_RETAINED	_IO(BUFPOOL_IOC_MAGIC, 0x03)
#define BUFPOOL_IOC_GET_CONFIG		_IO(BUFPOOL_IOC_MAGIC, 0x04)
#define BUFPOOL_IOC_SET_CONFIG		_IO(BUFPOOL_IOC_MAGIC, 0x05)
#define BUFPOOL_IOC_STATS		_IO(BUFPOOL_IOC_MAGIC, 0x06)

#endif /* _UAPI_LINUX_BUFPOOL_H */
