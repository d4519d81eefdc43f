// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pool memory is ordinary memory to the rest of the kernel: direct I/O, pipes,
 * io_uring and other processes reach it; and what still holds a page when the
 * pool has given it up keeps that page, and nobody else gets it.
 *
 * checkpatch: ENOSYS: that the call does not exist is what is asked
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <stdatomic.h>
#include <linux/io_uring.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define DISK		"/dev/vda"
#define IO_BYTES	(1 * MiB)

FIXTURE(io) {
	struct pool p;
	int64_t offset;
	unsigned char *buf;
};

FIXTURE_SETUP(io)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	self->offset = pool_alloc(&self->p, IO_BYTES, 0, NULL);
	ASSERT_LE(0, self->offset);
	self->buf = self->p.base + self->offset;
}

FIXTURE_TEARDOWN(io)
{
	pool_destroy(&self->p);
}

static int open_disk(void)
{
	return open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
}

TEST_F(io, direct)
{
	static const uint64_t sizes[] = { 4 * KiB, 64 * KiB, 3 * MiB, 9 * MiB };
	int fd = open_disk();
	size_t i;

	if (fd < 0)
		SKIP(return, "no %s to write to", DISK);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int64_t out = pool_alloc(&self->p, sizes[i], 0, NULL);
		int64_t in = pool_alloc(&self->p, sizes[i], 0, NULL);
		ssize_t len = sizes[i];

		ASSERT_LE(0, out);
		ASSERT_LE(0, in);
		stamp_range(self->p.base + out, len, i + 100);
		ASSERT_EQ(len, pwrite(fd, self->p.base + out, len, 4096 * i));
		ASSERT_EQ(len, pread(fd, self->p.base + in, len, 4096 * i));
		EXPECT_TRUE(stamped(self->p.base + in, len, i + 100));
		EXPECT_EQ(0, memcmp(self->p.base + in, self->p.base + out,
				    len));
		ASSERT_EQ(0, pool_free(&self->p, in));
		ASSERT_EQ(0, pool_free(&self->p, out));
		ASSERT_LE(0, pool_release(&self->p));
		/* There is nothing to read into now. */
		EXPECT_EQ(-1, pread(fd, self->p.base + in, len, 0));
		EXPECT_EQ(EFAULT, errno);
	}
	close(fd);
}

/* Pages in a pipe outlive the buffer, with what was in them. */
TEST_F(io, vmsplice)
{
	struct iovec iov = { .iov_base = self->buf, .iov_len = 32 * KiB };
	unsigned char *copy = malloc(32 * KiB);
	int64_t again;
	int fd[2];

	ASSERT_NE(NULL, (void *)copy);
	ASSERT_EQ(0, pipe(fd));
	stamp_range(self->buf, IO_BYTES, 5);
	ASSERT_EQ(32 * KiB, (size_t)vmsplice(fd[1], &iov, 1, 0));

	ASSERT_EQ(0, pool_free(&self->p, self->offset));
	ASSERT_EQ((int64_t)IO_BYTES, pool_release(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(self->buf));
	again = pool_alloc(&self->p, IO_BYTES, 0, NULL);
	ASSERT_LE(0, again);
	EXPECT_TRUE(all_zero(self->p.base + again, IO_BYTES));
	memset(self->p.base + again, 0xff, IO_BYTES);

	ASSERT_EQ(32 * KiB, (size_t)read(fd[0], copy, 32 * KiB));
	EXPECT_TRUE(stamped(copy, 32 * KiB, 5));
	free(copy);
}

TEST_F(io, process_vm)
{
	struct iovec local = { .iov_len = IO_BYTES };
	struct iovec remote = { .iov_base = self->buf, .iov_len = IO_BYTES };
	pid_t owner = getpid();
	int status;

	stamp_range(self->buf, IO_BYTES, 8);
	in_child(status, {
		local.iov_base = malloc(IO_BYTES);
		check(local.iov_base);
		if (process_vm_readv(owner, &local, 1, &remote, 1, 0) < 0)
			_exit(errno == ENOSYS ? KSFT_SKIP : 1);
		check(stamped(local.iov_base, IO_BYTES, 8));
		stamp_range(local.iov_base, IO_BYTES, 9);
		check(process_vm_writev(owner, &local, 1, &remote, 1, 0) ==
		      (ssize_t)IO_BYTES);
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without process_vm_readv");
	EXPECT_EQ(0, status);
	EXPECT_TRUE(stamped(self->buf, IO_BYTES, 9));

	/* Where there is no memory, another process finds none either. */
	ASSERT_EQ(0, pool_free(&self->p, self->offset));
	ASSERT_LE(0, pool_release(&self->p));
	in_child(status, {
		local.iov_base = malloc(IO_BYTES);
		check(process_vm_readv(owner, &local, 1, &remote, 1, 0) == -1);
		check(errno == EFAULT);
	});
	EXPECT_EQ(0, status);
}

/* --- io_uring, as little of it as one request at a time needs --- */

struct ring {
	int fd;
	struct io_uring_params params;
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static int ring_init(struct ring *r)
{
	size_t sq_bytes, cq_bytes;

	memset(r, 0, sizeof(*r));
	r->fd = syscall(__NR_io_uring_setup, 4, &r->params);
	if (r->fd < 0)
		return -errno;
	sq_bytes = r->params.sq_off.array + r->params.sq_entries * 4;
	cq_bytes = r->params.cq_off.cqes +
		   r->params.cq_entries * sizeof(struct io_uring_cqe);
	r->sq = mmap(NULL, sq_bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL, cq_bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_CQ_RING);
	r->sqes = mmap(NULL, r->params.sq_entries * sizeof(*r->sqes),
		       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       r->fd, IORING_OFF_SQES);
	if (r->sq == MAP_FAILED || r->cq == MAP_FAILED ||
	    (void *)r->sqes == MAP_FAILED)
		return -errno;
	return 0;
}

/* Submit, wait, and return what the completion says. */
static int ring_io(struct ring *r, const struct io_uring_sqe *sqe)
{
	atomic_uint *tail = (void *)(r->sq + r->params.sq_off.tail);
	atomic_uint *head = (void *)(r->cq + r->params.cq_off.head);
	uint32_t *array = (void *)(r->sq + r->params.sq_off.array);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->params.cq_off.cqes);
	uint32_t at = *tail & (r->params.sq_entries - 1);
	uint32_t done;
	int ret;

	r->sqes[at] = *sqe;
	array[at] = at;
	atomic_fetch_add_explicit(tail, 1, memory_order_release);
	if (syscall(__NR_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) != 1)
		return -errno;
	done = atomic_load_explicit(head, memory_order_acquire);
	ret = cqes[done & (r->params.cq_entries - 1)].res;
	atomic_store_explicit(head, done + 1, memory_order_release);
	return ret;
}

static int ring_fixed(struct ring *r, int op, int fd, void *buf, uint32_t len)
{
	struct io_uring_sqe sqe = {
		.opcode = op, .fd = fd, .addr = (uintptr_t)buf, .len = len,
	};

	return ring_io(r, &sqe);
}

TEST_F(io, io_uring)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_WRITE, .addr = (uintptr_t)self->buf,
		.len = IO_BYTES,
	};
	struct ring r;
	int ret;

	sqe.fd = open_disk();
	if (sqe.fd < 0)
		SKIP(return, "no %s to write to", DISK);
	ret = ring_init(&r);
	if (ret)
		SKIP(return, "a kernel without io_uring: %s", strerror(-ret));
	stamp_range(self->buf, IO_BYTES, 31);
	ASSERT_EQ((int)IO_BYTES, ring_io(&r, &sqe));
	memset(self->buf, 0, IO_BYTES);
	sqe.opcode = IORING_OP_READ;
	ASSERT_EQ((int)IO_BYTES, ring_io(&r, &sqe));
	EXPECT_TRUE(stamped(self->buf, IO_BYTES, 31));

	ASSERT_EQ(0, pool_free(&self->p, self->offset));
	ASSERT_EQ((int64_t)IO_BYTES, pool_release(&self->p));
	EXPECT_EQ(-EFAULT, ring_io(&r, &sqe));
}

TEST_F(io, io_uring_fixed_buffers)
{
	struct iovec iov = { .iov_base = self->buf, .iov_len = IO_BYTES };
	int disk = open_disk(), ret;
	unsigned char *now;
	int64_t again;
	struct ring r;

	if (disk < 0)
		SKIP(return, "no %s to write to", DISK);
	ret = ring_init(&r);
	if (ret)
		SKIP(return, "a kernel without io_uring: %s", strerror(-ret));
	ret = syscall(__NR_io_uring_register, r.fd, IORING_REGISTER_BUFFERS,
		      &iov, 1);
	/* Up to 6.4 of files only those of hugetlbfs and shmem. */
	if (ret && errno == EOPNOTSUPP)
		SKIP(return, "a kernel that registers no file's pages");
	ASSERT_EQ(0, ret);

	stamp_range(self->buf, IO_BYTES, 11);
	ASSERT_EQ((int)IO_BYTES, ring_fixed(&r, IORING_OP_WRITE_FIXED, disk,
					    self->buf, IO_BYTES));
	memset(self->buf, 0, IO_BYTES);
	ASSERT_EQ((int)IO_BYTES, ring_fixed(&r, IORING_OP_READ_FIXED, disk,
					    self->buf, IO_BYTES));
	EXPECT_TRUE(stamped(self->buf, IO_BYTES, 11));

	/*
	 * Freed and released while registered: the ring's pages are its own
	 * from now on.  What it reads goes there, and not into whatever has
	 * the address or the memory now.
	 */
	memset(self->buf, 0x77, IO_BYTES);
	ASSERT_EQ(0, pool_free(&self->p, self->offset));
	ASSERT_EQ((int64_t)IO_BYTES, pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
	again = pool_alloc(&self->p, IO_BYTES, 0, NULL);
	ASSERT_LE(0, again);
	now = self->p.base + again;
	EXPECT_TRUE(all_zero(now, IO_BYTES));
	ASSERT_EQ((int)IO_BYTES, ring_fixed(&r, IORING_OP_READ_FIXED, disk,
					    self->buf, IO_BYTES));
	EXPECT_TRUE(all_zero(now, IO_BYTES));

	/* The ring still has what it read. */
	ASSERT_EQ((int)IO_BYTES, ring_fixed(&r, IORING_OP_WRITE_FIXED, disk,
					    self->buf, IO_BYTES));
	ASSERT_EQ((ssize_t)IO_BYTES, pread(disk, now, IO_BYTES, 0));
	EXPECT_TRUE(stamped(now, IO_BYTES, 11));

	/* Closing the pool first is no different. */
	pool_destroy(&self->p);
	EXPECT_EQ((int)IO_BYTES, ring_fixed(&r, IORING_OP_READ_FIXED, disk,
					    self->buf, IO_BYTES));
	EXPECT_EQ(0, syscall(__NR_io_uring_register, r.fd,
			     IORING_UNREGISTER_BUFFERS, NULL, 0));
	close(r.fd);
}

/* Releasing while direct I/O is under way: each read is whole or EFAULT. */
static void *read_in_a_loop(void *arg)
{
	const struct pool *p = arg;
	int fd = open_disk(), i;

	for (i = 0; i < 50; i++) {
		int64_t at = pool_alloc(p, IO_BYTES, 0, NULL);

		if (at < 0)
			die("ALLOC: %s", strerror(-at));
		if (pread(fd, p->base + at, IO_BYTES, 0) != (ssize_t)IO_BYTES)
			die("read into a live buffer: %s", strerror(errno));
		if (!stamped(p->base + at, IO_BYTES, 21))
			die("read into a live buffer: other contents");
		if (pool_free(p, at))
			die("FREE");
	}
	close(fd);
	return NULL;
}

TEST_F(io, direct_while_releasing)
{
	int fd = open_disk();
	pthread_t thread[2];
	int i;

	if (fd < 0)
		SKIP(return, "no %s to write to", DISK);
	stamp_range(self->buf, IO_BYTES, 21);
	ASSERT_EQ((ssize_t)IO_BYTES, pwrite(fd, self->buf, IO_BYTES, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, read_in_a_loop,
					    &self->p));
	}
	for (i = 0; i < 200; i++) {
		ASSERT_LE(0, pool_release(&self->p));
	}
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_TRUE(stamped(self->buf, IO_BYTES, 21));
	EXPECT_EQ(0, pool_stats(&self->p).corruptions);
}

TEST_HARNESS_MAIN
