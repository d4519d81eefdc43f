// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The example in bufpool(3), as printed there, built and run: with a device and
 * without one it prints its counters.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

int main(int argc, char **argv)
{
	char program[4096], said[1024] = "";
	ssize_t n, length = 0;
	int fds[2], status;
	pid_t child;

	(void)argc;
	snprintf(program, sizeof(program), "%s.program", argv[0]);
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

	check(WEXITSTATUS(status) == 0, "it succeeds");
	check(strstr(said, "1 allocated, 0 reused"),
	      "and takes one buffer from the kernel");
	if (tap_failures)
		printf("# status %d, said: %s\n", WEXITSTATUS(status), said);
	return tap_end();
}
