// SPDX-License-Identifier: GPL-2.0-only
/*
 * The structures of all ioctls: their size may be older or newer, their
 * reserved bits must be zero, their memory may not be there.
 */
#include "kselftest_harness.h"
#include "pool.h"

static const struct {
	const char *name;
	unsigned long cmd;
	uint32_t size;
	uint32_t first;		/* size when it was first published, if less */
} calls[] = {
	{ "SETUP", BUFPOOL_IOC_SETUP, sizeof(struct bufpool_setup), 0 },
	{ "ALLOC", BUFPOOL_IOC_ALLOC, sizeof(struct bufpool_alloc), 0 },
	{ "FREE", BUFPOOL_IOC_FREE, sizeof(struct bufpool_free), 0 },
	{ "RELEASE_RETAINED", BUFPOOL_IOC_RELEASE_RETAINED,
	  sizeof(struct bufpool_release), 0 },
	{ "GET_CONFIG", BUFPOOL_IOC_GET_CONFIG, sizeof(struct bufpool_config),
	  0 },
	{ "SET_CONFIG", BUFPOOL_IOC_SET_CONFIG, sizeof(struct bufpool_config),
	  0 },
	{ "STATS", BUFPOOL_IOC_STATS, sizeof(struct bufpool_stats),
	  offsetof(struct bufpool_stats, reserve_hits) },
};

#define NR_CALLS	ARRAY_SIZE(calls)
#define TAIL		64

union argument {
	uint32_t size;
	struct bufpool_setup setup;
	struct bufpool_alloc alloc;
	struct bufpool_free free;
	struct bufpool_release release;
	struct bufpool_config config;
	struct bufpool_stats stats;
	unsigned char bytes[256 + TAIL];
};

FIXTURE(arguments) {
	struct pool p;
	struct bufpool_config cfg;
	union argument arg;
};

FIXTURE_SETUP(arguments)
{
	self->cfg = fixed_config(16 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
}

FIXTURE_TEARDOWN(arguments)
{
	pool_destroy(&self->p);
}

/*
 * Fill in an argument with which call @i succeeds, and give the file to call it
 * on; a fresh one for SETUP.
 */
static int good_argument(struct pool *p, struct bufpool_config *cfg, size_t i,
			 union argument *arg)
{
	int64_t offset;
	int fd;

	memset(arg, 0, sizeof(*arg));
	arg->size = calls[i].size;
	switch (calls[i].cmd) {
	case BUFPOOL_IOC_SETUP:
		fd = pool_open();
		if (fd < 0)
			die("open: %s", strerror(-fd));
		return fd;
	case BUFPOOL_IOC_ALLOC:
		arg->alloc.bytes = 10000;
		break;
	case BUFPOOL_IOC_FREE:
		offset = pool_alloc(p, 10000, 0, NULL);
		if (offset < 0)
			die("ALLOC: %s", strerror(-offset));
		arg->free.offset = offset;
		break;
	case BUFPOOL_IOC_SET_CONFIG:
		arg->config = *cfg;
		break;
	}
	return p->fd;
}

TEST_F(arguments, good_ones_are_good)
{
	size_t i;
	int fd;

	for (i = 0; i < NR_CALLS; i++) {
		fd = good_argument(&self->p, &self->cfg, i, &self->arg);
		EXPECT_EQ(0, pool_ioctl(fd, calls[i].cmd, &self->arg)) {
			TH_LOG("%s", calls[i].name);
		}
	}
}

TEST_F(arguments, too_small)
{
	uint32_t size, first;
	size_t i;
	int fd;

	for (i = 0; i < NR_CALLS; i++) {
		fd = good_argument(&self->p, &self->cfg, i, &self->arg);
		first = calls[i].first ? calls[i].first : calls[i].size;
		for (size = 0; size < first; size += 4) {
			self->arg.size = size;
			EXPECT_EQ(-EINVAL, pool_ioctl(fd, calls[i].cmd,
						      &self->arg)) {
				TH_LOG("%s of %u bytes", calls[i].name, size);
			}
		}
	}
}

/* An older program gets what it knows of, and nothing is written behind that. */
TEST_F(arguments, older)
{
	uint32_t size, i;
	size_t k;
	int fd;

	for (k = 0; k < NR_CALLS; k++) {
		if (!calls[k].first)
			continue;
		for (size = calls[k].first; size < calls[k].size; size += 8) {
			fd = good_argument(&self->p, &self->cfg, k, &self->arg);
			memset(self->arg.bytes + size, 0xa5,
			       sizeof(self->arg) - size);
			self->arg.size = size;
			EXPECT_EQ(0, pool_ioctl(fd, calls[k].cmd, &self->arg)) {
				TH_LOG("%s of %u bytes", calls[k].name, size);
			}
			EXPECT_EQ(size, self->arg.size);
			for (i = size; i < sizeof(self->arg); i++) {
				ASSERT_EQ(0xa5, self->arg.bytes[i]);
			}
		}
	}
}

/* A newer program that asks for nothing new is served; its tail stays zero. */
TEST_F(arguments, larger_with_zero_tail)
{
	size_t i, k;
	int fd;

	for (i = 0; i < NR_CALLS; i++) {
		fd = good_argument(&self->p, &self->cfg, i, &self->arg);
		self->arg.size = calls[i].size + TAIL;
		EXPECT_EQ(0, pool_ioctl(fd, calls[i].cmd, &self->arg)) {
			TH_LOG("%s", calls[i].name);
		}
		for (k = calls[i].size; k < calls[i].size + TAIL; k++) {
			ASSERT_EQ(0, self->arg.bytes[k]);
		}
	}
}

TEST_F(arguments, larger_with_nonzero_tail)
{
	uint64_t attached;
	size_t i;
	int fd;

	for (i = 0; i < NR_CALLS; i++) {
		fd = good_argument(&self->p, &self->cfg, i, &self->arg);
		attached = pool_attached(&self->p);
		self->arg.size = calls[i].size + TAIL;
		self->arg.bytes[calls[i].size + TAIL - 1] = 1;
		EXPECT_EQ(-E2BIG, pool_ioctl(fd, calls[i].cmd, &self->arg)) {
			TH_LOG("%s", calls[i].name);
		}
		EXPECT_EQ(attached, pool_attached(&self->p));
	}
}

/* No structure will ever be this large; the kernel must not read that far. */
TEST_F(arguments, absurdly_large)
{
	size_t i;
	int fd, ret;

	for (i = 0; i < NR_CALLS; i++) {
		fd = good_argument(&self->p, &self->cfg, i, &self->arg);
		self->arg.size = 0xffffffff;
		ret = pool_ioctl(fd, calls[i].cmd, &self->arg);
		EXPECT_EQ(-E2BIG, ret) {
			TH_LOG("%s", calls[i].name);
		}
	}
}

TEST_F(arguments, reserved_flags)
{
	size_t i, bit;
	int fd;

	for (i = 0; i < NR_CALLS; i++) {
		for (bit = 0; bit < 32; bit++) {
			fd = good_argument(&self->p, &self->cfg, i, &self->arg);
			/* Of every structure the second word. */
			self->arg.setup.flags = 1U << bit;
			if ((calls[i].cmd == BUFPOOL_IOC_ALLOC &&
			     1U << bit == BUFPOOL_ZERO) ||
			    (calls[i].cmd == BUFPOOL_IOC_GET_CONFIG &&
			     1U << bit == BUFPOOL_CONFIG_EFFECTIVE))
				continue;
			EXPECT_EQ(-EINVAL, pool_ioctl(fd, calls[i].cmd,
						      &self->arg)) {
				TH_LOG("%s, flag %zu", calls[i].name, bit);
			}
			if (fd != self->p.fd)
				close(fd);
			else {
				ASSERT_LE(0, pool_release(&self->p));
			}
		}
	}
}

TEST_F(arguments, not_there)
{
	unsigned char *pages;
	size_t i, page = page_size();
	int fd;

	/* One page and a hole. */
	pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)pages);
	ASSERT_EQ(0, munmap(pages + page, page));

	for (i = 0; i < NR_CALLS; i++) {
		void *end = pages + page - calls[i].size;

		fd = good_argument(&self->p, &self->cfg, i, &self->arg);
		EXPECT_EQ(-EFAULT, pool_ioctl(fd, calls[i].cmd, NULL)) {
			TH_LOG("%s at NULL", calls[i].name);
		}
		EXPECT_EQ(-EFAULT, pool_ioctl(fd, calls[i].cmd, (void *)-8UL)) {
			TH_LOG("%s in the kernel", calls[i].name);
		}
		memcpy(end + 8, &self->arg, calls[i].size - 8);
		EXPECT_EQ(-EFAULT, pool_ioctl(fd, calls[i].cmd, end + 8)) {
			TH_LOG("%s over the end", calls[i].name);
		}
		memcpy(end, &self->arg, calls[i].size);
		EXPECT_EQ(0, pool_ioctl(fd, calls[i].cmd, end)) {
			TH_LOG("%s at the end", calls[i].name);
		}
	}
}

/*
 * A result that cannot be handed over: the buffer that nobody learns of must
 * not stay live, whether it was new or reused.
 */
TEST_F(arguments, result_cannot_be_written)
{
	struct bufpool_stats st;
	union argument *ro;
	int64_t offset;
	int i;

	ro = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)ro);
	ro->size = sizeof(struct bufpool_alloc);
	ro->alloc.bytes = 64 * KiB;
	ASSERT_EQ(0, mprotect(ro, page_size(), PROT_READ));

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EFAULT, pool_ioctl(self->p.fd, BUFPOOL_IOC_ALLOC,
					      ro));
		st = pool_stats(&self->p);
		EXPECT_EQ(st.attached_bytes, st.retained_bytes);
		/* The next round reuses. */
		offset = pool_alloc(&self->p, 64 * KiB, 0, NULL);
		ASSERT_LE(0, offset);
		EXPECT_EQ(64 * KiB, pool_attached(&self->p));
		ASSERT_EQ(0, pool_free(&self->p, offset));
	}
	EXPECT_EQ((int64_t)pool_attached(&self->p), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));

	/* Released all the same, and counted. */
	offset = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ(0, mprotect(ro, page_size(), PROT_READ | PROT_WRITE));
	memset(ro, 0, sizeof(*ro));
	ro->size = sizeof(struct bufpool_release);
	ASSERT_EQ(0, mprotect(ro, page_size(), PROT_READ));
	EXPECT_EQ(-EFAULT, pool_ioctl(self->p.fd, BUFPOOL_IOC_RELEASE_RETAINED,
				      ro));
	st = pool_stats(&self->p);
	EXPECT_EQ(st.attached_bytes, st.retained_bytes);
}

TEST_F(arguments, unknown_calls)
{
	unsigned long cmd;
	unsigned int nr;

	for (nr = 0; nr < 256; nr++) {
		self->arg.size = sizeof(self->arg);
		/* Far from any that may be added. */
		if (nr >= 0x40) {
			cmd = _IO(BUFPOOL_IOC_MAGIC, nr);
			EXPECT_EQ(-ENOTTY, pool_ioctl(self->p.fd, cmd,
						      &self->arg));
		}
		cmd = _IO(BUFPOOL_IOC_MAGIC + 1, nr);
		EXPECT_EQ(-ENOTTY, pool_ioctl(self->p.fd, cmd, &self->arg));
	}
	/* The right number with a size in it is another number. */
	cmd = _IOWR(BUFPOOL_IOC_MAGIC, 0x06, struct bufpool_stats);
	EXPECT_EQ(-ENOTTY, pool_ioctl(self->p.fd, cmd, &self->arg));
}

/* The buffers are reached through the mapping and in no other way. */
TEST_F(arguments, other_file_operations)
{
	char c = 0;

	EXPECT_EQ(-1, read(self->p.fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->p.fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->p.fd, &c, 1, self->p.setup.data_offset));
	EXPECT_EQ(-1, ftruncate(self->p.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fallocate(self->p.fd, FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE, 0, self->p.length));
}

TEST_HARNESS_MAIN
