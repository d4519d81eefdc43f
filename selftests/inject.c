// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every allocation and every user copy of the kernel fails once, in turn: each
 * call says so, loses nothing, and works the next time.
 *
 * /proc/thread-self/fail-nth makes the n-th of them fail that this thread gets
 * to; a call that came through with n left over has had all of its failures.
 */
#include "kselftest_harness.h"
#include "pool.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
#define NTH_MAX		4000

FIXTURE(inject) {
	uint64_t before, control;
	int fd;			/* of FAIL_NTH */
	struct bufpool_config cfg;
};

/* Not into the log; and also where the kernel may sleep and reclaim. */
static const struct {
	const char *file, *value;
	bool optional;
} knobs[] = {
	{ DEBUGFS "failslab/verbose", "0", false },
	{ DEBUGFS "failslab/ignore-gfp-wait", "N", false },
	{ DEBUGFS "fail_page_alloc/verbose", "0", false },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N", false },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N", false },
	{ DEBUGFS "fail_page_alloc/min-order", "0", false },
	{ DEBUGFS "fail_usercopy/verbose", "0", true },
};

FIXTURE_SETUP(inject)
{
	size_t i;
	int ret;

	self->fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fd < 0)
		SKIP(return, "a kernel without fault injection");
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		ret = write_file(knobs[i].file, knobs[i].value);
		if (ret && !knobs[i].optional)
			SKIP(return, "%s: %s", knobs[i].file, strerror(-ret));
	}
	self->cfg = fixed_config(64 * MiB);
	self->before = device_attached();
	self->control = sysfs_value("control_bytes");
}

FIXTURE_TEARDOWN(inject)
{
	EXPECT_EQ(self->before, device_attached());
	EXPECT_EQ(self->control, sysfs_value("control_bytes"));
	close(self->fd);
}

/* One call, made again and again with its 1st, 2nd, 3rd ... inner failure. */
struct injection {
	int fd;
	int nth;
	bool unhurt;	/* the last call had fewer than nth */
};

static void arm(struct injection *in)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", ++in->nth);

	if (pwrite(in->fd, text, len, 0) != len)
		die("%s: %s", FAIL_NTH, strerror(errno));
}

/*
 * After the call: true if @ret is a success, or a failure that was made to
 * happen.  What is left over may well hit the reading and writing here.
 */
static bool disarm(struct injection *in, int64_t ret)
{
	char text[16] = "";
	ssize_t n = pread(in->fd, text, sizeof(text) - 1, 0);

	if (n < 0 && errno != EFAULT)
		die("%s: %s", FAIL_NTH, strerror(errno));
	in->unhurt = n < 0 || atoi(text);
	while (pwrite(in->fd, "0", 1, 0) != 1)
		if (errno != EFAULT)
			die("%s: %s", FAIL_NTH, strerror(errno));
	if (ret >= 0)
		return true;
	return !in->unhurt && (ret == -ENOMEM || ret == -EFAULT);
}

/* Until a call had no failure any more, which cannot be the first. */
static bool more_failures(const struct injection *in)
{
	if (in->unhurt && in->nth < 2)
		die("nothing was made to fail");
	if (in->nth == NTH_MAX)
		die("still failing after %d", in->nth);
	return !in->unhurt;
}

static int open_set_up_and_map(struct pool *p, const struct bufpool_config *cfg)
{
	int ret;

	memset(p, 0, sizeof(*p));
	p->fd = pool_open();
	if (p->fd < 0)
		return p->fd;
	ret = pool_setup_fd(p->fd, cfg, &p->setup);
	if (!ret) {
		p->length = p->setup.data_offset + p->setup.data_bytes;
		ret = pool_map(p);
	}
	if (ret)
		close(p->fd);
	return ret;
}

TEST_F(inject, open_and_setup)
{
	struct injection in = { .fd = self->fd };
	uint64_t pools = sysfs_value("pools");
	struct pool p;
	int ret;

	while (more_failures(&in)) {
		arm(&in);
		ret = open_set_up_and_map(&p, &self->cfg);
		ASSERT_TRUE(disarm(&in, ret)) TH_LOG("%s", strerror(-ret));
		if (!ret) {
			ASSERT_EQ(pools + 1, sysfs_value("pools"));
			ASSERT_LE(0, pool_alloc(&p, 64 * KiB, 0, NULL));
			pool_destroy(&p);
		}
		ASSERT_EQ(pools, sysfs_value("pools"));
		ASSERT_EQ(self->control, sysfs_value("control_bytes"));
	}
}

static const uint64_t sizes[] = { 4 * KiB, 100 * KiB, 3 * MiB, 9 * MiB };

/* No buffer is live, and what is attached is idle. */
static bool nothing_lost(const struct pool *p)
{
	struct bufpool_stats st = pool_stats(p);

	return st.attached_bytes == st.retained_bytes && !st.corruptions;
}

TEST_F(inject, first_alloc_of_a_pool)
{
	uint64_t usable;
	struct pool p;
	int64_t offset;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct injection in = { .fd = self->fd };

		while (more_failures(&in)) {
			ASSERT_EQ(0, pool_init(&p, &self->cfg));
			arm(&in);
			offset = pool_alloc(&p, sizes[i], 0, &usable);
			ASSERT_TRUE(disarm(&in, offset)) {
				TH_LOG("%s", strerror(-offset));
			}
			if (offset >= 0) {
				EXPECT_TRUE(all_zero(p.base + offset, usable));
				ASSERT_EQ(0, pool_free(&p, offset));
			}
			EXPECT_TRUE(nothing_lost(&p));
			/* And the same without a failure. */
			ASSERT_LE(0, pool_alloc(&p, sizes[i], 0, &usable));
			pool_destroy(&p);
			ASSERT_EQ(self->before, device_attached());
		}
	}
}

TEST_F(inject, alloc_after_a_release)
{
	uint64_t usable;
	struct pool p;
	int64_t offset;
	size_t i;

	ASSERT_EQ(0, pool_init(&p, &self->cfg));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct injection in = { .fd = self->fd };

		while (more_failures(&in)) {
			arm(&in);
			offset = pool_alloc(&p, sizes[i], BUFPOOL_ZERO, &usable);
			ASSERT_TRUE(disarm(&in, offset)) {
				TH_LOG("%s", strerror(-offset));
			}
			if (offset >= 0) {
				EXPECT_TRUE(all_zero(p.base + offset, usable));
				memset(p.base + offset, 0xff, usable);
				ASSERT_EQ(0, pool_free(&p, offset));
			}
			EXPECT_TRUE(nothing_lost(&p));
			ASSERT_LE(0, pool_release(&p));
			ASSERT_EQ(0, pool_attached(&p));
		}
	}
	pool_destroy(&p);
}

/* Where only the copies can fail, the buffer stays in the pool. */
TEST_F(inject, reuse)
{
	struct injection in = { .fd = self->fd };
	uint64_t usable;
	struct pool p;
	int64_t offset;

	ASSERT_EQ(0, pool_init(&p, &self->cfg));
	offset = pool_alloc(&p, 1 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	memset(p.base + offset, 0xff, usable);
	ASSERT_EQ(0, pool_free(&p, offset));
	while (more_failures(&in)) {
		arm(&in);
		offset = pool_alloc(&p, 1 * MiB, BUFPOOL_ZERO, &usable);
		ASSERT_TRUE(disarm(&in, offset)) {
			TH_LOG("%s", strerror(-offset));
		}
		if (offset >= 0) {
			EXPECT_TRUE(all_zero(p.base + offset, usable));
			memset(p.base + offset, 0xff, usable);
			ASSERT_EQ(0, pool_free(&p, offset));
		}
		EXPECT_TRUE(nothing_lost(&p));
		ASSERT_EQ(1 * MiB, pool_attached(&p));
	}
	pool_destroy(&p);
}

/* A tail that cannot be had: the kept head stays kept, and whole. */
TEST_F(inject, grow)
{
	uint64_t size = 8 * MiB + 4096, bigger = size + 300 * KiB, usable;
	struct injection in = { .fd = self->fd };
	struct pool p;
	int64_t head, offset;

	ASSERT_EQ(0, pool_init(&p, &self->cfg));
	while (more_failures(&in)) {
		head = pool_alloc(&p, size, 0, &usable);
		ASSERT_LE(0, head);
		stamp_range(p.base + head, size, 3);
		ASSERT_EQ(0, pool_free(&p, head));

		arm(&in);
		offset = pool_alloc(&p, bigger, 0, &usable);
		ASSERT_TRUE(disarm(&in, offset)) {
			TH_LOG("%s", strerror(-offset));
		}
		if (offset >= 0) {
			EXPECT_EQ(bigger, usable);
			EXPECT_EQ(0, write_signal(p.base + offset + usable - 1));
			ASSERT_EQ(0, pool_free(&p, offset));
		}
		EXPECT_TRUE(nothing_lost(&p));
		/* Whatever is attached there, grown or not, is unclean or zero. */
		if (pool_attached(&p)) {
			EXPECT_EQ(head, pool_alloc(&p, size, 0, &usable));
			EXPECT_TRUE(stamped(p.base + head, size, 3));
			ASSERT_EQ(0, pool_free(&p, head));
		}
		ASSERT_LE(0, pool_release(&p));
		ASSERT_EQ(0, pool_attached(&p));
	}
	pool_destroy(&p);
}

/* FREE that fails has freed nothing; FREE that did not has freed it. */
TEST_F(inject, free)
{
	struct injection in = { .fd = self->fd };
	struct pool p;
	int64_t offset;
	int ret;

	ASSERT_EQ(0, pool_init(&p, &self->cfg));
	while (more_failures(&in)) {
		offset = pool_alloc(&p, 100 * KiB, 0, NULL);
		ASSERT_LE(0, offset);
		arm(&in);
		ret = pool_free(&p, offset);
		ASSERT_TRUE(disarm(&in, ret)) TH_LOG("%s", strerror(-ret));
		EXPECT_EQ(ret ? 0 : -EINVAL, pool_free(&p, offset));
		EXPECT_TRUE(nothing_lost(&p));
	}
	pool_destroy(&p);
}

TEST_F(inject, release)
{
	struct injection in = { .fd = self->fd };
	struct pool p;
	int64_t offset, ret;

	ASSERT_EQ(0, pool_init(&p, &self->cfg));
	while (more_failures(&in)) {
		offset = pool_alloc(&p, 100 * KiB, 0, NULL);
		ASSERT_LE(0, offset);
		ASSERT_EQ(0, pool_free(&p, offset));
		arm(&in);
		ret = pool_release(&p);
		ASSERT_TRUE(disarm(&in, ret)) TH_LOG("%s", strerror(-ret));
		EXPECT_TRUE(nothing_lost(&p));
		if (ret >= 0) {
			EXPECT_EQ(0, pool_attached(&p));
		}
	}
	pool_destroy(&p);
}

TEST_F(inject, configuration)
{
	struct bufpool_config old = self->cfg, new = self->cfg, got;
	struct injection in = { .fd = self->fd };
	struct pool p;
	int ret;

	new.percpu_cached = 3;
	new.max_pooled_bytes = 1 * MiB;
	ASSERT_EQ(0, pool_init(&p, &old));
	while (more_failures(&in)) {
		arm(&in);
		ret = pool_set_config(&p, &new);
		ASSERT_TRUE(disarm(&in, ret)) TH_LOG("%s", strerror(-ret));
		/* All or nothing. */
		ASSERT_EQ(0, pool_get_config(&p, 0, &got));
		EXPECT_EQ(ret ? 16 : 3, got.percpu_cached);
		EXPECT_EQ(ret ? 128 * MiB : 1 * MiB, got.max_pooled_bytes);
		ASSERT_EQ(0, pool_set_config(&p, &old));
	}
	pool_destroy(&p);
}

/* Through sysfs, too: the setting is the old one or the new one. */
TEST_F(inject, sysfs)
{
	struct injection in = { .fd = self->fd };
	uint64_t old = sysfs_value("trim_percent"), now;
	int ret;

	while (more_failures(&in)) {
		arm(&in);
		ret = sysfs_set("trim_percent", 42);
		ASSERT_TRUE(disarm(&in, ret)) TH_LOG("%s", strerror(-ret));
		now = sysfs_value("trim_percent");
		EXPECT_EQ(ret ? old : 42, now);
		ASSERT_EQ(0, sysfs_set("trim_percent", old));
	}
	ASSERT_EQ(0, sysfs_write("preset", "default"));
}

TEST_HARNESS_MAIN
