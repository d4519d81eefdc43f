// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * bufpool_destroy() in a child: the handle and the descriptor go, what is mapped
 * at the pool's address does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "tap.h"

int main(void)
{
	struct bufpool *bp = memory_pool(NULL);
	char *data = bp->data;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int status;
	char *buf;
	pid_t child;

	require(fd >= 0);
	bp->fd = fd;
	buf = bufpool_alloc(bp, 1, 0);
	require(buf);
	*buf = 'x';

	child = fork();
	require(child >= 0);
	if (child == 0) {
		bufpool_destroy(bp);
		_exit((fcntl(fd, F_GETFD) == -1 && errno == EBADF) << 1 |
		      (*buf == 'x'));
	}
	require(waitpid(child, &status, 0) == child);
	require(WIFEXITED(status));
	check(WEXITSTATUS(status) & 1, "child: the address range is untouched");
	check(WEXITSTATUS(status) & 2, "child: the descriptor is closed");

	check(*buf == 'x' && bufpool_usable_size(bp, buf) != 0,
	      "parent: its buffer is still there");
	bufpool_free(bp, buf);
	check(bufpool_alloc(bp, 1, 0), "parent: and its pool works");

	errno = 0;
	memory_pool_destroy(bp);
	check(fcntl(fd, F_GETFD) == -1, "parent: destroy closes the descriptor");
	check(msync(data, 1, MS_ASYNC) == -1 && errno == ENOMEM,
	      "parent: and unmaps the range");
	return tap_end();
}
