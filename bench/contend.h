/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contenders: allocators that the same code is measured with.
 *
 * Other people's allocators replace malloc() when they are preloaded, so the
 * program runs itself again for each contender and part, with arguments that say
 * what to do there:
 *
 *	int main(int argc, char **argv)
 *	{
 *		contend_child(argc, argv, child);
 *		return bench_main(argc, argv, &bench);
 *	}
 *
 * where bench.begin calls contend_look(), bench.round calls contend() for each
 * contender, and child() gets the arguments given there, writes rows, and uses
 * buf_alloc() and buf_free().
 */
#ifndef CONTEND_H
#define CONTEND_H

#include <dlfcn.h>
#include <stdarg.h>

#include <bufpool.h>

#include "bench.h"

/**
 * struct contender - who is measured
 * @name: for the rows
 * @library: where its malloc() comes from
 * @preload: whether that has to be preloaded
 * @missing: it is not there
 */
struct contender {
	const char *name;
	const char *library;
	bool preload;
	bool missing;
};

/* bufpool first: the others are compared with it. */
static struct contender allocators[] __attribute__((unused)) = {
	{ .name = "bufpool", .library = "libc.so.6" },
	{ .name = "glibc", .library = "libc.so.6" },
	{ .name = "jemalloc", .library = "libjemalloc.so.2", .preload = true },
	{ .name = "mimalloc", .library = "libmimalloc.so.2.0", .preload = true },
	{ .name = "tcmalloc", .library = "libtcmalloc_minimal.so.4", .preload = true },
};

/* In a child: the contender's name, and its pool if it is one of ours. */
static const char *me;
static struct bufpool *pool;

#define CONTEND_AS	"--as"

/* For execve(): what @c shall find preloaded, and all else as it is. */
static inline void contend_preload(const struct contender *c)
{
	if (c->preload ? setenv("LD_PRELOAD", c->library, 1) :
	    unsetenv("LD_PRELOAD"))
		die("setenv: %s", strerror(errno));
}

#define CONTEND_ARGS	12

/* Run this program again as @c, to do what @args says. */
static inline pid_t contend_start(const struct contender *c, va_list args)
{
	char round[16];
	char *argv[CONTEND_ARGS + 1] = {
		"/proc/self/exe", CONTEND_AS, (char *)c->name,
		(char *)c->library, (char *)rows_path, round, quick ? "q" : "",
	};
	size_t n = 7;
	pid_t pid;

	snprintf(round, sizeof(round), "%u", this_round);
	do {
		if (n > CONTEND_ARGS)
			die("too many arguments");
		argv[n] = va_arg(args, char *);
	} while (argv[n++]);

	fflush(rows);
	pid = start();
	if (!pid) {
		contend_preload(c);
		execv(argv[0], argv);
		die("%s: %s", argv[0], strerror(errno));
	}
	return pid;
}

/* The same, and see it done.  The arguments are strings and end with NULL. */
static inline void __attribute__((sentinel))
contend(const struct contender *c, ...)
{
	va_list args;
	pid_t pid;

	if (c->missing)
		return;
	va_start(args, c);
	pid = contend_start(c, args);
	va_end(args);
	finish(pid);
}

/* The malloc() in use is that of @library, or the figures would be another's. */
static inline bool contend_is_preloaded(const char *library)
{
	void *function = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	return function && dladdr(function, &info) &&
		strstr(info.dli_fname, library);
}

static inline void contend_child(int argc, char **argv,
				 void (*child)(int argc, char **argv))
{
	if (argc < 7 || strcmp(argv[1], CONTEND_AS))
		return;
	me = argv[2];
	if (!contend_is_preloaded(argv[3]))
		die("%s: malloc is not that of %s", me, argv[3]);
	if (argc == 7)
		exit(0);
	rows_open(argv[4], "ae");
	this_round = strtoul(argv[5], NULL, 10);
	quick = *argv[6];
	child(argc - 7, argv + 7);
	rows_close();
	exit(0);
}

/* Run as @c for nothing but the check above. */
static inline int contend_try(const struct contender *c, ...)
{
	va_list args;
	pid_t pid;

	va_start(args, c);
	pid = contend_start(c, args);
	va_end(args);
	return wait_for(pid);
}

/* Find out which of @n contenders are missing. */
static inline void contend_look(struct contender *c, size_t n)
{
	for (; n--; c++) {
		c->missing = contend_try(c, NULL) != 0;
		if (c->missing)
			row_missing(c->name, "its library cannot be preloaded");
	}
}

/* --- for children --- */

/*
 * The pool that buf_alloc() takes from.  @backend is the one it must have, and
 * @config may be NULL.
 */
static inline void pool_open(const struct bufpool_config *config,
			     const char *backend)
{
	if (setenv("BUFPOOL_BACKEND", backend, 1))
		die("setenv: %s", strerror(errno));
	pool = bufpool_create(config);
	if (!pool)
		die("bufpool_create: %s", strerror(errno));
	if (strcmp(bufpool_backend(pool), backend))
		die("the pool's backend is %s", bufpool_backend(pool));
}

/* The compiler shall not see that a buffer is not used: it would leave it out. */
static inline void *keep(void *buf)
{
	__asm__ volatile("" : "+r" (buf) : : "memory");
	return buf;
}

static inline void *buf_alloc(size_t size)
{
	void *buf = pool ? bufpool_alloc(pool, size, 0) : malloc(size);

	if (__builtin_expect(!buf, 0))
		die("%s: no buffer of %zu bytes: %s", me, size, strerror(errno));
	return keep(buf);
}

static inline void *buf_alloc_zeroed(size_t size)
{
	void *buf = pool ? bufpool_alloc(pool, size, BUFPOOL_ZERO) :
			   calloc(1, size);

	if (__builtin_expect(!buf, 0))
		die("%s: no buffer of %zu bytes: %s", me, size, strerror(errno));
	return keep(buf);
}

static inline void buf_free(void *buf)
{
	if (pool)
		bufpool_free(pool, buf);
	else
		free(buf);
}

#endif /* CONTEND_H */
