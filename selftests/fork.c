// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pool belongs to one process: not to its children, not to the program it
 * turns into, not to whom it hands the file; and it ends with the process.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/prctl.h>
#include <sys/socket.h>

FIXTURE(fork) {
	struct bufpool_config cfg;
	uint64_t before;
	struct pool p;
	int64_t offset;
};

FIXTURE_SETUP(fork)
{
	self->before = device_attached();
	self->cfg = fixed_config(64 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
	self->offset = pool_alloc(&self->p, 1 * MiB, 0, NULL);
	ASSERT_LE(0, self->offset);
	stamp_range(self->p.base + self->offset, 1 * MiB, 1);
}

FIXTURE_TEARDOWN(fork)
{
	pool_destroy(&self->p);
}

/* In a process that the pool is not of: nothing works, nothing changes. */
static void check_foreign(const struct pool *p, uint64_t live)
{
	struct bufpool_config cfg = fixed_config(1 * MiB), got;
	struct bufpool_stats st = { .size = sizeof(st) };
	struct bufpool_setup setup;

	check(pool_alloc(p, 4096, 0, NULL) == -EPERM);
	check(pool_alloc(p, 0, 0, NULL) == -EPERM);
	check(pool_free(p, live) == -EPERM);
	check(pool_release(p) == -EPERM);
	check(pool_get_config(p, 0, &got) == -EPERM);
	check(pool_set_config(p, &cfg) == -EPERM);
	check(pool_ioctl(p->fd, BUFPOOL_IOC_STATS, &st) == -EPERM);
	check(pool_setup_fd(p->fd, &cfg, &setup) == -EPERM);
	check(mmap(NULL, p->length, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd,
		   0) == MAP_FAILED);
	check(errno == EPERM);
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, p->fd, live) ==
	      MAP_FAILED);
	check(errno == EPERM);
}

TEST_F(fork, child_does_not_inherit_the_mapping)
{
	struct pool *p = &self->p;
	int status;

	in_child(status, check(read_signal(p->base) == SIGSEGV));
	EXPECT_EQ(0, status);
	in_child(status, check(read_signal(p->base + self->offset) == SIGSEGV));
	EXPECT_EQ(0, status);
	in_child(status, check(write_signal(p->base + self->offset) == SIGSEGV));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(stamped(p->base + self->offset, 1 * MiB, 1));
}

TEST_F(fork, child_may_not_use_the_file)
{
	struct bufpool_stats st = pool_stats(&self->p), after;
	int status;

	in_child(status, check_foreign(&self->p, self->offset));
	EXPECT_EQ(0, status);
	after = pool_stats(&self->p);
	EXPECT_EQ(0, memcmp(&st, &after, sizeof(st)));
	EXPECT_TRUE(stamped(self->p.base + self->offset, 1 * MiB, 1));
}

/* A child that exits, or closes what it inherited, takes nothing with it. */
TEST_F(fork, child_going_away)
{
	int status;

	in_child(status, close(self->p.fd));
	EXPECT_EQ(0, status);
	in_child(status, raise(SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status);
	in_child(status, {
		/* The address is free there and may be used for anything. */
		check(mmap(self->p.base, 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      self->p.base);
		self->p.base[0] = 1;
		munmap(self->p.base, self->p.length);
	});
	EXPECT_EQ(0, status);
	EXPECT_EQ(1 * MiB, pool_attached(&self->p));
	EXPECT_TRUE(stamped(self->p.base + self->offset, 1 * MiB, 1));
	EXPECT_EQ(0, pool_free(&self->p, self->offset));
}

/* A child has pools of its own as anybody has. */
TEST_F(fork, child_makes_its_own)
{
	uint64_t usable;
	int64_t offset;
	struct pool q;
	int status;

	in_child(status, {
		check(!pool_init(&q, &self->cfg));
		offset = pool_alloc(&q, 1 * MiB, 0, &usable);
		check(offset > 0);
		check(all_zero(q.base + offset, usable));
		stamp_range(q.base + offset, usable, 2);
		check(stamped(q.base + offset, usable, 2));
	});
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
	EXPECT_TRUE(stamped(self->p.base + self->offset, 1 * MiB, 1));
}

/*
 * exec() leaves the process its number and takes its memory: the new program
 * is another one, also if the file was left open to it.
 */
TEST_F(fork, program_after_exec)
{
	char fd[16], offset[32];
	int status;

	in_child(status, {
		struct pool q;
		int64_t at;

		check(!pool_init(&q, &self->cfg));
		at = pool_alloc(&q, 2 * MiB, 0, NULL);
		check(at > 0);
		check(!fcntl(q.fd, F_SETFD, 0));
		snprintf(fd, sizeof(fd), "%d", q.fd);
		snprintf(offset, sizeof(offset), "%jd", (intmax_t)at);
		execl("/proc/self/exe", "fork", "--after-exec", fd, offset,
		      NULL);
		check(!"exec");
	});
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
}

/* With close-on-exec the pool is gone when the new program starts. */
TEST_F(fork, exec_returns_the_memory)
{
	char want[32];
	int status;

	snprintf(want, sizeof(want), "%ju",
		 (uintmax_t)(self->before + 1 * MiB));
	in_child(status, {
		struct pool q;

		check(!pool_init(&q, &self->cfg));
		check(pool_alloc(&q, 2 * MiB, 0, NULL) > 0);
		execl("/proc/self/exe", "fork", "--attached-is", want, NULL);
		check(!"exec");
	});
	EXPECT_EQ(0, status);
}

static void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(sock, &msg, 0) != 1)
		die("sendmsg: %s", strerror(errno));
}

static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))];
	char c;
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg))
		die("recvmsg: %s", strerror(errno));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* The file passed to an unrelated process is of no use there. */
TEST_F(fork, file_passed_by_socket)
{
	struct pool *p = &self->p;
	int sock[2], status;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct pool q = *p;

		close(p->fd);
		q.fd = receive_fd(sock[1]);
		check_foreign(&q, self->offset);
		_exit(0);
	}
	send_fd(sock[0], p->fd);
	status = child_status(pid);
	EXPECT_EQ(0, status);
	EXPECT_TRUE(stamped(p->base + self->offset, 1 * MiB, 1));
}

/* The other way round: a pool whose owner passes it on and goes. */
TEST_F(fork, file_passed_on_by_an_owner_that_exits)
{
	int sock[2], status;
	struct pool q;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	in_child(status, {
		check(!pool_init(&q, &self->cfg));
		check(pool_alloc(&q, 4 * MiB, 0, NULL) > 0);
		send_fd(sock[1], q.fd);
	});
	ASSERT_EQ(0, status);
	q = self->p;
	q.fd = receive_fd(sock[0]);
	EXPECT_EQ(-EPERM, pool_alloc(&q, 4096, 0, NULL));
	EXPECT_EQ(-EPERM, pool_release(&q));
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
	close(q.fd);
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
}

TEST_F(fork, exit_with_live_buffers)
{
	int status, i;

	in_child(status, {
		struct pool q;

		check(!pool_init(&q, &self->cfg));
		for (i = 0; i < 20; i++)
			check(pool_alloc(&q, 64 * KiB << i % 4, 0, NULL) > 0);
		check(pool_alloc(&q, 9 * MiB, 0, NULL) > 0);
	});
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
}

/* An owner that never mapped its pool is gone all the same. */
TEST_F(fork, owner_without_a_mapping)
{
	int sock[2], status;
	struct pool q;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	in_child(status, {
		check(!pool_init_unmapped(&q, &self->cfg));
		check(pool_alloc(&q, 4 * MiB, 0, NULL) > 0);
		send_fd(sock[1], q.fd);
	});
	ASSERT_EQ(0, status);
	q.fd = receive_fd(sock[0]);
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
	close(q.fd);
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
}

/* Mapped, but the file closed: the pool lives as long as the mapping. */
TEST_F(fork, closing_the_file_keeps_the_mapping)
{
	close(self->p.fd);
	self->p.fd = -1;
	EXPECT_TRUE(stamped(self->p.base + self->offset, 1 * MiB, 1));
	stamp_range(self->p.base + self->offset, 1 * MiB, 9);
	EXPECT_TRUE(stamped(self->p.base + self->offset, 1 * MiB, 9));
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
	munmap(self->p.base, self->p.length);
	self->p.base = NULL;
	EXPECT_EQ(self->before, device_attached());
}

/*
 * The owner is killed while a child of its still has the file open: the memory
 * comes back with the owner's death, not with the last reference.
 */
TEST_F(fork, owner_killed_while_a_child_holds_the_file)
{
	uint64_t pools = sysfs_value("pools");
	struct gate ready, leave;
	pid_t owner, holder;
	int status;

	/* The holder becomes ours when its parent dies. */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	gate_init(&ready);
	gate_init(&leave);
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner) {
		struct pool q;
		int64_t at, idle;

		check(!pool_init(&q, &self->cfg));
		at = pool_alloc(&q, 8 * MiB, 0, NULL);
		idle = pool_alloc(&q, 2 * MiB, 0, NULL);
		check(at > 0 && idle > 0);
		check(!pool_free(&q, idle));
		if (!fork()) {
			close(leave.fd[1]);
			gate_pass(&ready);
			gate_wait(&leave);
			check_foreign(&q, at);
			_exit(0);
		}
		for (;;)
			pause();
	}
	close(ready.fd[1]);
	ASSERT_TRUE(gate_wait(&ready));
	EXPECT_EQ(self->before + 11 * MiB, device_attached());
	ASSERT_EQ(0, kill(owner, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, child_status(owner));
	EXPECT_EQ(self->before + 1 * MiB, device_attached());

	gate_pass(&leave);
	holder = waitpid(-1, &status, 0);
	ASSERT_LT(0, holder);
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	EXPECT_EQ(self->before + 1 * MiB, device_attached());
	EXPECT_EQ(pools, sysfs_value("pools"));
}

static int after_exec(int fd, uint64_t offset)
{
	struct bufpool_stats st = { .size = sizeof(st) };
	struct pool p = { .fd = fd, .length = 4096 };

	/* The file is there: an unknown call is known to be unknown. */
	check(fcntl(fd, F_GETFD) >= 0);
	check(pool_ioctl(fd, BUFPOOL_IOC_STATS, &st) == -EPERM);
	check_foreign(&p, offset);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--after-exec"))
		return after_exec(atoi(argv[2]), strtoull(argv[3], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "--attached-is"))
		return device_attached() != strtoull(argv[2], NULL, 10);
	return test_harness_run(argc, argv);
}
