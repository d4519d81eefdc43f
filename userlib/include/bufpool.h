/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * libbufpool: pools of large buffers that are mapped, faulted in and ready, and
 * that go back to the kernel when somebody else needs the memory.
 *
 * A pool's memory is /dev/bufpool's, or where a program cannot open that, anonymous
 * memory of its own; bufpool_backend() tells which, and its manual page what is
 * different then.  BUFPOOL_BACKEND=device or =anonymous in the environment forces one.
 *
 * A pool belongs to the process that created it.  Unless a function says
 * otherwise, any number of threads may call it at the same time on the same
 * pool, and none of them sets errno unless it fails.  The library keeps no
 * global state, starts no threads and installs no signal handlers.
 *
 * The one exception is for debugging.  With BUFPOOL_DEBUG=leaks in the
 * environment when a pool is created, the library records who allocates, and
 * when the pool is destroyed or the process ends by exit() it writes to standard
 * error which buffers were not freed; bufpool(3) has the details.  For the
 * latter it keeps a list of these pools.
 *
 * After fork() the child has no pool: the buffers are not mapped there, and the
 * only function it may call on the parent's pool is bufpool_destroy(), which
 * then frees the child's handle and nothing else.
 */
#ifndef BUFPOOL_H
#define BUFPOOL_H

#include <stddef.h>
#include <stdint.h>

#include <linux/bufpool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bufpool;

enum bufpool_preset {
	BUFPOOL_PRESET_DEFAULT,
	BUFPOOL_PRESET_MINIMAL,
	BUFPOOL_PRESET_MODERATE,
	BUFPOOL_PRESET_AGGRESSIVE,
};

/**
 * bufpool_config_init - fill a configuration from a preset
 * @cfg: the configuration to fill
 * @preset: one of enum bufpool_preset
 *
 * Sets every field the preset defines; pool_limit_bytes and alloc_limit_bytes
 * are set to BUFPOOL_FOLLOW, the device's setting.  Change any field before
 * handing @cfg to bufpool_create(); assign BUFPOOL_FOLLOW (BUFPOOL_FOLLOW32 for
 * the 32-bit fields) to one that shall follow the device.
 *
 * Return: 0, or -EINVAL for an unknown preset, with @cfg untouched.
 */
int bufpool_config_init(struct bufpool_config *cfg, enum bufpool_preset preset);

/**
 * bufpool_create - create a pool
 * @cfg: its configuration, from bufpool_config_init() or bufpool_get_config()
 *	and with any field changed after that; copied.  NULL: every field
 *	follows the device
 *
 * Opens /dev/bufpool (close-on-exec), or goes without it if the process cannot, and
 * maps the pool's address range, about twice pool_limit_bytes of address space
 * and, to begin with, no memory.
 *
 * Return: the pool, to be given to bufpool_destroy(); or NULL and errno:
 * EINVAL a value in @cfg is out of range, @cfg was not initialized (its size is
 * 0), or BUFPOOL_BACKEND names no backend, E2BIG @cfg sets a field that is not
 * known here, ENOMEM no memory or no address space for the range, ENODEV the device
 * speaks another version of the ABI, EMFILE or ENFILE no file descriptor left; and
 * with BUFPOOL_BACKEND=device ENOENT or ENODEV no such device, EACCES no
 * permission for it.
 */
struct bufpool *bufpool_create(const struct bufpool_config *cfg);

/**
 * bufpool_destroy - destroy a pool and give all its memory back
 * @bp: the pool; NULL is a no-op
 *
 * Every buffer of the pool ceases to exist, also those not freed.  No other
 * thread may be using the pool or its buffers.
 */
void bufpool_destroy(struct bufpool *bp);

/**
 * bufpool_alloc - allocate a buffer
 * @bp: the pool
 * @size: bytes wanted, more than 0
 * @flags: 0, or BUFPOOL_ZERO for memory that reads zero
 *
 * The buffer is page-aligned, from 2 MiB up 2 MiB-aligned, holds at least @size
 * bytes, and takes no page fault when touched.  Without BUFPOOL_ZERO a
 * reused buffer holds whatever this process left in it; new memory is always
 * zero.  May be called from a signal handler, also one that interrupted any
 * function of this library.
 *
 * Return: the buffer, to be given to bufpool_free(); or NULL and errno: EINVAL
 * @size is 0 or a flag is unknown, EFBIG @size is over alloc_limit_bytes,
 * EDQUOT the pool's or the device's limit is reached, ENOMEM no memory (the
 * machine's or the control group's), EINTR the process is being killed.
 */
void *bufpool_alloc(struct bufpool *bp, size_t size, unsigned int flags);

/**
 * bufpool_free - give a buffer back
 * @bp: the pool it was allocated from
 * @buf: the buffer; NULL is a no-op
 *
 * Keeps errno.  May be called from a signal handler, and by another thread than
 * the one that allocated.  A @buf that is not a live buffer of @bp - freed
 * already, never allocated, of another pool - is a bug in the program: a
 * message that says what is wrong goes to standard error and the program is
 * aborted.  (Only two frees of one buffer at exactly the same time may both seem
 * right; a later allocation then finds the pool corrupted, and aborts.)
 */
void bufpool_free(struct bufpool *bp, void *buf);

/**
 * bufpool_usable_size - how many bytes a buffer really holds
 * @bp: the pool it was allocated from
 * @buf: a buffer, or NULL
 *
 * All of them may be used.  @buf may be weak; if its contents are gone, this is
 * what it held.  Aborts for a @buf that bufpool_free() would abort
 * for.  May be called from a signal handler.
 *
 * Return: bytes; 0 for NULL.
 */
size_t bufpool_usable_size(const struct bufpool *bp, const void *buf);

/**
 * bufpool_weaken - let the kernel take a buffer if memory gets short
 * @bp: the pool it was allocated from
 * @buf: a live buffer
 *
 * The contents stay where they are, but must not be touched, and may go at any
 * time, the buffers weak for longest first.  bufpool_strengthen() gives the
 * buffer back to the program, or tells that it is gone; bufpool_free() frees a
 * weak buffer like any other.
 *
 * May be called from a signal handler.  Aborts for a @buf that bufpool_free()
 * would abort for.
 *
 * Return: 0; -EINVAL if @buf is NULL or weak already.
 */
int bufpool_weaken(struct bufpool *bp, void *buf);

/**
 * bufpool_strengthen - make a weak buffer an ordinary one again
 * @bp: the pool it was allocated from
 * @buf: a weak buffer
 *
 * May be called from a signal handler.  Aborts for a @buf that bufpool_free()
 * would abort for.
 *
 * Return: 1 if the contents are intact, @buf is live again; 0 if they are gone,
 * @buf is freed; -EINVAL if @buf is NULL or not weak.
 */
int bufpool_strengthen(struct bufpool *bp, void *buf);

/**
 * bufpool_release_retained - give all idle memory back to the kernel, now
 * @bp: the pool
 *
 * Live buffers are untouched and can be freed later as ever.
 *
 * Return: bytes given back, or -errno.
 */
int64_t bufpool_release_retained(struct bufpool *bp);

/**
 * bufpool_get_config - read a pool's configuration
 * @bp: the pool
 * @cfg: filled in.  On entry only cfg->flags is read: 0 for the pool's own
 *	values, BUFPOOL_FOLLOW where it follows the device, fit for
 *	bufpool_set_config(); BUFPOOL_CONFIG_EFFECTIVE for the values in force
 *
 * Return: 0 or -errno; -EINVAL for an unknown flag.
 */
int bufpool_get_config(struct bufpool *bp, struct bufpool_config *cfg);

/**
 * bufpool_set_config - change a pool's configuration
 * @bp: the pool
 * @cfg: the new configuration, all of it, from bufpool_config_init() or
 *	bufpool_get_config() and with any field changed after that
 *
 * Takes effect at once.  pool_limit_bytes cannot exceed what it was when the
 * pool was created.
 *
 * Return: 0; -EINVAL for a value out of range or a @cfg that was not
 * initialized, then nothing has changed; or another -errno.
 */
int bufpool_set_config(struct bufpool *bp, const struct bufpool_config *cfg);

/**
 * bufpool_get_stats - read a pool's counters
 * @bp: the pool
 * @st: filled in; see struct bufpool_stats in <linux/bufpool.h>
 *
 * Return: 0 or -errno.
 */
int bufpool_get_stats(struct bufpool *bp, struct bufpool_stats *st);

/**
 * bufpool_count_live - count the buffers that are allocated and not freed
 * @bp: the pool
 * @bytes: set to what they hold together, unless NULL
 *
 * Weak buffers are among them; one whose contents are gone holds nothing, but is
 * counted until it is freed or the program is told.
 *
 * Nothing is counted before somebody asks, so this looks through all of the
 * pool; its time grows with what the pool holds.  What other threads allocate
 * and free meanwhile may be counted or not.
 *
 * Return: number of buffers.
 */
size_t bufpool_count_live(struct bufpool *bp, size_t *bytes);

/*
 * Scopes: buffers that are freed when a block of the program is left.
 */

/* Buffers that a scope registers without an allocation of its own. */
#define BUFPOOL_SCOPE_FIRST	13

struct bufpool_scope_block;

/**
 * struct bufpool_scope - buffers to be freed together
 *
 * The storage is the caller's, often on the stack; the members are the
 * library's.  For one thread at a time, and not for a signal handler that may
 * have interrupted a function working on the same scope.  It must end before its
 * pool is destroyed.
 */
struct bufpool_scope {
	/* private: */
	struct bufpool *bp;
	struct bufpool_scope_block *last;
	size_t used;
	void *first[BUFPOOL_SCOPE_FIRST];
};

/**
 * bufpool_scope_begin - make a scope with no buffers in it
 * @scope: the scope, in any state; nothing is freed
 * @bp: the pool of its buffers
 */
void bufpool_scope_begin(struct bufpool_scope *scope, struct bufpool *bp);

/**
 * bufpool_scope_alloc - allocate a buffer that is freed with the scope
 * @scope: the scope
 * @size: bytes wanted, as for bufpool_alloc()
 * @flags: as for bufpool_alloc()
 *
 * Return: the buffer; or NULL and errno, as for bufpool_alloc().
 */
void *bufpool_scope_alloc(struct bufpool_scope *scope, size_t size,
			  unsigned int flags);

/**
 * bufpool_scope_add - have a buffer freed with the scope
 * @scope: the scope
 * @buf: a buffer of the scope's pool, not in a scope yet; NULL is a no-op
 *
 * Every BUFPOOL_SCOPE_FIRST buffers or, from then on, about 500, this takes a
 * page from the pool to register them in.  Aborts for a @buf that bufpool_free()
 * would abort for.
 *
 * Return: 0; or -errno, as bufpool_alloc() sets it, and @buf is the caller's
 * still.
 */
int bufpool_scope_add(struct bufpool_scope *scope, void *buf);

/**
 * bufpool_scope_remove - take a buffer out of a scope, to live on without it
 * @scope: the scope
 * @buf: the buffer; NULL is a no-op
 *
 * For the one that a function returns, or before a bufpool_free() of one's own.
 * Looks through the scope from its end, which is where that buffer often is.
 *
 * Return: @buf, the caller's to free now; or NULL and errno ENOENT if it is not
 * in the scope, and then nothing has changed.
 */
void *bufpool_scope_remove(struct bufpool_scope *scope, void *buf);

/**
 * bufpool_scope_end - free all buffers of a scope
 * @scope: the scope
 *
 * Frees the last one registered first, and keeps errno.  The scope is empty
 * then: it may be used again, and ending it once more does nothing.
 */
void bufpool_scope_end(struct bufpool_scope *scope);

/**
 * BUFPOOL_SCOPE - declare a scope that ends where the variable's block does
 * @name: of the variable, a struct bufpool_scope
 * @pool: the pool of its buffers
 *
 * However the block is left: at its end, by return, break, continue or goto, or
 * by an exception in C++ - but not by longjmp() or exit().  For compilers with
 * GCC's cleanup attribute.
 */
#define BUFPOOL_SCOPE(name, pool)					\
	struct bufpool_scope name					\
	__attribute__((__cleanup__(bufpool_scope_end))) =		\
	{ (pool), NULL, 0, { NULL } }

/**
 * bufpool_backend - where a pool's memory comes from
 * @bp: the pool
 *
 * Return: "device" or "anonymous".  A string constant.
 */
const char *bufpool_backend(const struct bufpool *bp);

#ifdef __cplusplus
}
#endif

#endif /* BUFPOOL_H */
