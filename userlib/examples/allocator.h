/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Where the large buffers come from: malloc() or a bufpool, chosen at start.
 */
#ifndef ALLOCATOR_H
#define ALLOCATOR_H

#include <stddef.h>
#include <stdint.h>

/**
 * struct allocator - two functions and what they work on
 * @alloc: a buffer of @size bytes, more than 0, of unknown contents, at least
 *	16-byte aligned; or NULL and errno.  Any thread may call it
 * @free: give back what @alloc returned, from any thread; NULL is a no-op
 * @pool: the pool, or NULL for malloc()
 */
struct allocator {
	void *(*alloc)(const struct allocator *a, size_t size);
	void (*free)(const struct allocator *a, void *buf);
	struct bufpool *pool;
};

/**
 * allocator_open - choose an allocator
 * @a: filled in
 * @name: "malloc" or "bufpool"
 * @preset: bufpool's preset; NULL: the device's settings
 * @trim_period: seconds between two trims of bufpool; 0: as the preset has it
 *
 * Return: 0, or -1 and errno; EINVAL for an unknown name or preset.
 */
int allocator_open(struct allocator *a, const char *name, const char *preset,
		   unsigned int trim_period);

/**
 * allocator_close - end with an allocator all of whose buffers have been freed
 * @a: the allocator
 */
void allocator_close(struct allocator *a);

/**
 * allocator_retained - the memory that a pool keeps for reuse
 * @a: the allocator
 *
 * Return: bytes; -1 if the allocator cannot tell.
 */
int64_t allocator_retained(const struct allocator *a);

/**
 * allocator_poll - what a program calls now and then that may be idle for long
 * @a: the allocator
 *
 * A pool without the module trims in this what is due.  For malloc() it is
 * malloc_trim(), which other libraries than glibc may have no part in.
 */
void allocator_poll(const struct allocator *a);

#endif /* ALLOCATOR_H */
