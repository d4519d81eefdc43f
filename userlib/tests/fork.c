// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A child has no pool: the buffers are not mapped there, no request is carried out,
 * and bufpool_destroy() leaves alone what is mapped at the pool's address.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"
#include "tap.h"

static bool is_mapped(void *page)
{
	return msync(page, 1, MS_ASYNC) == 0 || errno != ENOMEM;
}

enum {
	GONE		= 1,
	REFUSED		= 2,
	UNTOUCHED	= 4,
	OWN		= 8,
	ALL		= 15,
};

static int child(struct bufpool *bp, char *buf)
{
	struct bufpool_stats st;
	int seen = 0;
	char *mine;

	if (!is_mapped(bp->control) && !is_mapped(buf))
		seen |= GONE;
	if (bufpool_release_retained(bp) == -EPERM &&
	    bufpool_get_stats(bp, &st) == -EPERM)
		seen |= REFUSED;

	mine = mmap(buf, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (mine == MAP_FAILED)
		return seen;
	*mine = 'y';
	bufpool_destroy(bp);
	if (is_mapped(mine) && *mine == 'y')
		seen |= UNTOUCHED;

	bp = bufpool_anonymous_create(NULL, 2);
	buf = bp ? bufpool_alloc(bp, 1, 0) : NULL;
	if (buf && !*buf && bufpool_get_stats(bp, &st) == 0)
		seen |= OWN;
	bufpool_destroy(bp);
	return seen;
}

int main(void)
{
	struct bufpool *bp = bufpool_anonymous_create(NULL, 2);
	int status, seen;
	char *data, *buf;
	pid_t pid;

	require(bp);
	data = bp->data;
	buf = bufpool_alloc(bp, 1, 0);
	require(buf);
	*buf = 'x';

	pid = fork();
	require(pid >= 0);
	if (pid == 0)
		_exit(child(bp, buf));
	require(waitpid(pid, &status, 0) == pid);
	require(WIFEXITED(status));
	seen = WEXITSTATUS(status);
	check(seen & GONE, "child: the range is not mapped");
	check(seen & REFUSED, "child: requests: EPERM");
	check(seen & UNTOUCHED, "child: destroy leaves what is mapped there now");
	check(seen & OWN, "child: it can have a pool of its own");
	check(seen <= ALL, "child: it came to its end");

	check(*buf == 'x' && bufpool_usable_size(bp, buf) != 0,
	      "parent: its buffer is still there");
	bufpool_free(bp, buf);
	check(bufpool_alloc(bp, 1, 0), "parent: and its pool works");
	bufpool_destroy(bp);
	check(!is_mapped(data), "parent: destroy unmaps the range");
	return tap_end();
}
