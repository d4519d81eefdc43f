// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The example in bufpool(3), as printed there, built and run: where there is a
 * device it prints its counters, where there is none it says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

int main(int argc, char **argv)
{
	char program[4096], said[1024] = "", want[128];
	int fds[2], fd, err, status;
	ssize_t n, length = 0;
	pid_t child;

	(void)argc;
	snprintf(program, sizeof(program), "%s.program", argv[0]);
	fd = open("/dev/bufpool", O_RDWR);
	err = errno;
	if (fd >= 0)
		close(fd);

	require(!pipe(fds));
	child = fork();
	require(child >= 0);
	if (child == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	while ((n = read(fds[0], said + length,
			 sizeof(said) - 1 - (size_t)length)) > 0)
		length += n;
	require(waitpid(child, &status, 0) == child && WIFEXITED(status));

	if (fd >= 0) {
		check(WEXITSTATUS(status) == 0, "with a device it succeeds");
		check(strstr(said, "1 allocated, 0 reused"),
		      "and takes one buffer from the kernel");
	} else {
		snprintf(want, sizeof(want), "bufpool_create: %s\n",
			 strerror(err));
		check(WEXITSTATUS(status) == 1, "without a device it fails");
		check(!strcmp(said, want), "with open()'s reason");
	}
	if (tap_failures)
		printf("# status %d, said: %s\n", WEXITSTATUS(status), said);
	return tap_end();
}
