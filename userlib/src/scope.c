// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Scopes: buffers that are freed together.
 *
 * A scope is a stack of pointers, the first of them in the scope itself, the rest
 * in blocks, which are buffers of the same pool: so this needs no malloc().  All
 * blocks but the last are full.
 */
#include <assert.h>
#include <errno.h>

#include "pool.h"

/* A block is as big as the smallest buffer anywhere. */
#define BLOCK_BYTES	4096
#define BLOCK_BUFFERS	((BLOCK_BYTES - sizeof(void *)) / sizeof(void *))

/**
 * struct bufpool_scope_block - more of a scope's buffers
 * @before: the block before, or NULL
 * @bufs: the buffers
 */
struct bufpool_scope_block {
	struct bufpool_scope_block *before;
	void *bufs[BLOCK_BUFFERS];
};

static_assert(sizeof(struct bufpool_scope_block) <= BLOCK_BYTES,
	      "a block fits one page");

/**
 * struct position - between two buffers of a scope
 * @block: the block, or NULL for the scope itself
 * @used: number of buffers before it in there
 */
struct position {
	struct bufpool_scope_block *block;
	size_t used;
};

static struct position scope_top(const struct bufpool_scope *scope)
{
	return (struct position) { scope->last, scope->used };
}

/* Step back over one buffer, and return where it is; NULL at the bottom. */
static void **step_back(struct bufpool_scope *scope, struct position *pos)
{
	if (!pos->used) {
		if (!pos->block)
			return NULL;
		pos->block = pos->block->before;
		pos->used = pos->block ? BLOCK_BUFFERS : BUFPOOL_SCOPE_FIRST;
	}
	pos->used--;
	return pos->block ? &pos->block->bufs[pos->used] :
			    &scope->first[pos->used];
}

/* Take the last buffer off, and with it a block that is empty then. */
static void *pop(struct bufpool_scope *scope)
{
	struct position pos = scope_top(scope);
	void **last = step_back(scope, &pos);
	void *buf;

	if (!last)
		return NULL;
	buf = *last;
	scope->used = pos.used;
	if (pos.block && !pos.used) {
		scope->last = pos.block->before;
		scope->used = scope->last ? BLOCK_BUFFERS : BUFPOOL_SCOPE_FIRST;
		bufpool_free(scope->bp, pos.block);
	}
	return buf;
}

/* Make room for one more.  False and errno if there is no memory. */
static bool make_room(struct bufpool_scope *scope)
{
	struct bufpool_scope_block *block;

	if (likely(scope->used < (scope->last ? BLOCK_BUFFERS :
						BUFPOOL_SCOPE_FIRST)))
		return true;
	block = bufpool_alloc(scope->bp, BLOCK_BYTES, 0);
	if (!block)
		return false;
	block->before = scope->last;
	scope->last = block;
	scope->used = 0;
	return true;
}

/* There is room. */
static void push(struct bufpool_scope *scope, void *buf)
{
	void **bufs = scope->last ? scope->last->bufs : scope->first;

	bufs[scope->used++] = buf;
}

void bufpool_scope_begin(struct bufpool_scope *scope, struct bufpool *bp)
{
	scope->bp = bp;
	scope->last = NULL;
	scope->used = 0;
}

ALLOC_TEXT
void *bufpool_scope_alloc(struct bufpool_scope *scope, size_t size,
			  unsigned int flags)
{
	void *buf = bufpool_alloc(scope->bp, size, flags);

	if (!buf)
		return NULL;
	if (unlikely(!make_room(scope))) {
		bufpool_free(scope->bp, buf);
		return NULL;
	}
	push(scope, buf);
	return buf;
}

int bufpool_scope_add(struct bufpool_scope *scope, void *buf)
{
	int err = errno, ret;

	if (!buf)
		return 0;
	bufpool_slot_of(scope->bp, "scope_add", buf);
	if (unlikely(!make_room(scope))) {
		ret = -errno;
		errno = err;
		return ret;
	}
	push(scope, buf);
	return 0;
}

void *bufpool_scope_remove(struct bufpool_scope *scope, void *buf)
{
	struct position pos = scope_top(scope);
	void **found, **at, *above, *here;

	if (!buf)
		return NULL;
	do {
		found = step_back(scope, &pos);
		if (!found) {
			errno = ENOENT;
			return NULL;
		}
	} while (*found != buf);

	/* Those above it move down by one; the topmost place is left over. */
	pos = scope_top(scope);
	above = NULL;
	do {
		at = step_back(scope, &pos);
		here = *at;
		*at = above;
		above = here;
	} while (at != found);
	pop(scope);
	return buf;
}

void bufpool_scope_end(struct bufpool_scope *scope)
{
	void *buf;

	while ((buf = pop(scope)))
		bufpool_free(scope->bp, buf);
}
