// SPDX-License-Identifier: GPL-2.0-only
/* The library, on whichever backend: its errors, its presets, its figures. */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

#include <sys/resource.h>

static struct bufpool *create(uint64_t pool_limit)
{
	struct bufpool_config cfg = fixed_config(pool_limit);

	return bufpool_create(&cfg);
}

static struct bufpool_stats stats(struct bufpool *bp)
{
	struct bufpool_stats st;
	int ret = bufpool_get_stats(bp, &st);

	if (ret)
		die("bufpool_get_stats: %s", strerror(-ret));
	return st;
}

TEST(backend)
{
	struct bufpool *bp = bufpool_create(NULL);

	ASSERT_NE(NULL, bp);
	EXPECT_STREQ(on_device() ? "device" : "anonymous", bufpool_backend(bp));
	bufpool_destroy(bp);
	bufpool_destroy(NULL);
}

TEST(alloc_errors)
{
	struct bufpool_config cfg = fixed_config(16 * MiB);
	struct bufpool *bp;
	void *live;

	cfg.alloc_limit_bytes = 8 * MiB;
	bp = bufpool_create(&cfg);
	ASSERT_NE(NULL, bp);

	errno = 0;
	EXPECT_EQ(NULL, bufpool_alloc(bp, 0, 0));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(NULL, bufpool_alloc(bp, 0, BUFPOOL_ZERO));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(NULL, bufpool_alloc(bp, 4096, 2));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(NULL, bufpool_alloc(bp, 8 * MiB + 1, 0));
	EXPECT_EQ(EFBIG, errno);
	errno = 0;
	EXPECT_EQ(NULL, bufpool_alloc(bp, SIZE_MAX, 0));
	EXPECT_EQ(EFBIG, errno);
	errno = 0;
	EXPECT_EQ(NULL, bufpool_alloc(bp, SIZE_MAX - 4095, BUFPOOL_ZERO));
	EXPECT_EQ(EFBIG, errno);

	errno = 0;
	EXPECT_NE(NULL, bufpool_alloc(bp, 8 * MiB, 0));
	live = bufpool_alloc(bp, 8 * MiB, 0);
	EXPECT_NE(NULL, live);
	EXPECT_EQ(0, errno);
	EXPECT_EQ(NULL, bufpool_alloc(bp, 1, 0));
	EXPECT_EQ(EDQUOT, errno);

	/* free() keeps errno, also on its slow path. */
	errno = 1234;
	bufpool_free(bp, live);
	EXPECT_EQ(1234, errno);
	bufpool_free(bp, NULL);
	EXPECT_EQ(1234, errno);
	EXPECT_EQ(0, bufpool_usable_size(bp, NULL));
	bufpool_destroy(bp);
	EXPECT_EQ(1234, errno);
}

TEST(create_errors)
{
	struct bufpool_config cfg = fixed_config(4 * GiB);
	struct rlimit as = { .rlim_cur = 2 * GiB, .rlim_max = 2 * GiB };

	cfg.trim_percent = 101;
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(EINVAL, errno);
	cfg.trim_percent = 50;
	cfg.pool_limit_bytes = 1ULL << 62;
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(EINVAL, errno);
	cfg.pool_limit_bytes = 4 * GiB;
	cfg.size = 0;
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(EINVAL, errno);
	cfg.size = sizeof(cfg);

	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &as));
	errno = 0;
	EXPECT_EQ(NULL, bufpool_create(&cfg));
	EXPECT_EQ(ENOMEM, errno);
}

/* One process, four pools, each by another preset, each behaving like it. */
TEST(presets_at_once)
{
	static const uint64_t kept_up_to[] = {
		24 * MiB, 64 * KiB, 1 * MiB, 128 * MiB,
	};
	struct bufpool_config cfg, got;
	struct bufpool *bp[4];
	void *buf;
	int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, bufpool_config_init(&cfg, i));
		EXPECT_EQ(BUFPOOL_FOLLOW, cfg.pool_limit_bytes);
		EXPECT_EQ(BUFPOOL_FOLLOW, cfg.alloc_limit_bytes);
		bp[i] = bufpool_create(&cfg);
		ASSERT_NE(NULL, bp[i]);
	}
	for (i = 0; i < 4; i++) {
		got.flags = BUFPOOL_CONFIG_EFFECTIVE;
		ASSERT_EQ(0, bufpool_get_config(bp[i], &got));
		EXPECT_EQ(kept_up_to[i], got.max_pooled_bytes);
		/* As much as it keeps, */
		buf = bufpool_alloc(bp[i], kept_up_to[i], 0);
		ASSERT_NE(NULL, buf);
		bufpool_free(bp[i], buf);
		EXPECT_EQ(kept_up_to[i], stats(bp[i]).retained_bytes);
		EXPECT_EQ((int64_t)kept_up_to[i],
			  bufpool_release_retained(bp[i]));
		/* and a page more. */
		buf = bufpool_alloc(bp[i], kept_up_to[i] + 1, 0);
		ASSERT_NE(NULL, buf);
		bufpool_free(bp[i], buf);
		EXPECT_EQ(0, stats(bp[i]).attached_bytes);
	}
	for (i = 0; i < 4; i++)
		bufpool_destroy(bp[i]);
	EXPECT_EQ(-EINVAL, bufpool_config_init(&cfg, 4));
	EXPECT_EQ(-EINVAL, bufpool_config_init(&cfg, -1));
}

/* A buffer of the library is a buffer of the kernel, and the other way round. */
TEST(usable_size)
{
	struct bufpool *bp = create(64 * MiB);
	char *buf;

	ASSERT_NE(NULL, bp);
	buf = bufpool_alloc(bp, 1, 0);
	EXPECT_EQ(4096, bufpool_usable_size(bp, buf));
	buf = bufpool_alloc(bp, 17 * KiB, 0);
	EXPECT_EQ(20 * KiB, bufpool_usable_size(bp, buf));
	buf = bufpool_alloc(bp, 3 * MiB, 0);
	EXPECT_EQ(3 * MiB, bufpool_usable_size(bp, buf));
	EXPECT_EQ(0, (uintptr_t)buf % (2 * MiB));
	buf = bufpool_alloc(bp, 9 * MiB + 1, 0);
	EXPECT_EQ(9 * MiB + 4096, bufpool_usable_size(bp, buf));
	EXPECT_EQ(0, (uintptr_t)buf % (2 * MiB));
	memset(buf, 1, bufpool_usable_size(bp, buf));

	/* Grown by the kernel, freed and taken by the library. */
	bufpool_free(bp, buf);
	EXPECT_EQ(buf, bufpool_alloc(bp, 10 * MiB, 0));
	EXPECT_EQ(10 * MiB, bufpool_usable_size(bp, buf));
	EXPECT_EQ(1, stats(bp).grown);
	bufpool_destroy(bp);
}

TEST(zeroing)
{
	static const size_t sizes[] = {
		1, 5000, 65536, 1048576, 3000000, 9000000,
		16 * MiB - 5000, 16 * MiB, 20000000,
	};
	struct bufpool *bp = create(256 * MiB);
	unsigned char *buf;
	size_t usable, i;

	ASSERT_NE(NULL, bp);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		buf = bufpool_alloc(bp, sizes[i], 0);
		ASSERT_NE(NULL, buf);
		usable = bufpool_usable_size(bp, buf);
		EXPECT_TRUE(all_zero(buf, usable));
		memset(buf, 0xff, usable);
		bufpool_free(bp, buf);
		EXPECT_EQ(buf, bufpool_alloc(bp, sizes[i], 0));
		EXPECT_EQ(0xff, buf[usable - 1]);
		bufpool_free(bp, buf);
		EXPECT_EQ(buf, bufpool_alloc(bp, sizes[i], BUFPOOL_ZERO));
		EXPECT_TRUE(all_zero(buf, usable));
		bufpool_free(bp, buf);
	}
	bufpool_destroy(bp);
}

/* Nothing but the buffer: its neighbours are live. */
TEST(zeroing_one_of_three)
{
	struct bufpool *bp = create(256 * MiB);
	void *buf[3];
	int i;

	ASSERT_NE(NULL, bp);
	for (i = 0; i < 3; i++) {
		buf[i] = bufpool_alloc(bp, 16 * MiB, 0);
		ASSERT_NE(NULL, buf[i]);
		stamp_range(buf[i], 16 * MiB, i);
	}
	bufpool_free(bp, buf[1]);
	EXPECT_EQ(buf[1], bufpool_alloc(bp, 16 * MiB, BUFPOOL_ZERO));
	EXPECT_TRUE(stamped(buf[0], 16 * MiB, 0));
	EXPECT_TRUE(all_zero(buf[1], 16 * MiB));
	EXPECT_TRUE(stamped(buf[2], 16 * MiB, 2));
	bufpool_destroy(bp);
}

/* Four headers of small buffers are a line of cache: one CPU's, or two would fight. */
TEST(cpus_share_no_line_of_headers)
{
	struct bufpool *bp = create(64 * MiB);
	uintptr_t line[2][5];
	int cpu, i, k;

	ASSERT_NE(NULL, bp);
	for (cpu = 0; cpu < 2; cpu++) {
		if (pin_to_cpu(cpu))
			SKIP(return, "one CPU");
		for (i = 0; i < 5; i++) {
			void *buf = bufpool_alloc(bp, 4096, 0);

			ASSERT_NE(NULL, buf);
			line[cpu][i] = (uintptr_t)buf / (4 * 4096);
		}
	}
	for (i = 0; i < 5; i++)
		for (k = 0; k < 5; k++)
			EXPECT_NE(line[0][i], line[1][k]);
	bufpool_destroy(bp);
}

/* Nor when one has taken the other's only buffer. */
TEST(no_line_is_shared_with_what_was_taken)
{
	struct bufpool *bp = create(64 * MiB);
	uintptr_t taken, next;
	void *buf;

	ASSERT_NE(NULL, bp);
	ASSERT_EQ(0, pin_to_cpu(0));
	buf = bufpool_alloc(bp, 4096, 0);
	bufpool_free(bp, buf);
	if (pin_to_cpu(1))
		SKIP(return, "one CPU");
	taken = (uintptr_t)bufpool_alloc(bp, 4096, 0);
	EXPECT_EQ((uintptr_t)buf, taken);
	ASSERT_EQ(0, pin_to_cpu(0));
	next = (uintptr_t)bufpool_alloc(bp, 4096, 0);
	EXPECT_NE(taken / (4 * 4096), next / (4 * 4096));
	bufpool_destroy(bp);
}

/* What the library put on the stacks is found, all of it. */
TEST(release_retained)
{
	struct bufpool *bp = create(128 * MiB);
	void *buf[200], *live;
	size_t i;

	ASSERT_NE(NULL, bp);
	live = bufpool_alloc(bp, 1 * MiB, 0);
	ASSERT_NE(NULL, live);
	stamp_range(live, 1 * MiB, 6);
	for (i = 0; i < ARRAY_SIZE(buf); i++) {
		pin_to_cpu(i % sysconf(_SC_NPROCESSORS_ONLN));
		buf[i] = bufpool_alloc(bp, 4096ULL << i % 8, 0);
		ASSERT_NE(NULL, buf[i]);
	}
	for (i = 0; i < ARRAY_SIZE(buf); i++) {
		pin_to_cpu(i / 7 % sysconf(_SC_NPROCESSORS_ONLN));
		bufpool_free(bp, buf[i]);
	}
	EXPECT_EQ(25 * 255 * 4 * KiB, stats(bp).retained_bytes);
	EXPECT_EQ(25 * 255 * 4 * KiB + 1 * MiB, stats(bp).attached_bytes);
	EXPECT_EQ((int64_t)(25 * 255 * 4 * KiB), bufpool_release_retained(bp));
	EXPECT_EQ(1 * MiB, stats(bp).attached_bytes);
	EXPECT_TRUE(stamped(live, 1 * MiB, 6));
	bufpool_free(bp, live);
	EXPECT_EQ((int64_t)(1 * MiB), bufpool_release_retained(bp));
	EXPECT_EQ(0, bufpool_release_retained(bp));
	EXPECT_EQ(0, stats(bp).corruptions);
	bufpool_destroy(bp);
}

/* max_retained_bytes bounds what the library keeps without asking anybody. */
TEST(retains_within_bounds)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);
	struct bufpool *bp;
	void *buf[400];
	size_t i;

	cfg.max_retained_bytes = 8 * MiB;
	bp = bufpool_create(&cfg);
	ASSERT_NE(NULL, bp);
	for (i = 0; i < ARRAY_SIZE(buf); i++) {
		buf[i] = bufpool_alloc(bp, 64 * KiB, 0);
		ASSERT_NE(NULL, buf[i]);
	}
	for (i = 0; i < ARRAY_SIZE(buf); i++)
		bufpool_free(bp, buf[i]);
	EXPECT_GE(8 * MiB, stats(bp).attached_bytes);
	EXPECT_LE(6 * MiB, stats(bp).attached_bytes);
	EXPECT_EQ(stats(bp).attached_bytes, stats(bp).retained_bytes);
	bufpool_destroy(bp);
}

TEST(configuration)
{
	struct bufpool *bp = create(16 * MiB);
	struct bufpool_config cfg = { .flags = 0 };
	void *buf;

	ASSERT_NE(NULL, bp);
	ASSERT_EQ(0, bufpool_get_config(bp, &cfg));
	EXPECT_EQ(16 * MiB, cfg.pool_limit_bytes);
	cfg.max_pooled_bytes = 32 * KiB;
	ASSERT_EQ(0, bufpool_set_config(bp, &cfg));
	buf = bufpool_alloc(bp, 64 * KiB, 0);
	ASSERT_NE(NULL, buf);
	bufpool_free(bp, buf);
	EXPECT_EQ(0, stats(bp).attached_bytes);

	cfg.pool_limit_bytes = 32 * MiB;
	EXPECT_EQ(-EINVAL, bufpool_set_config(bp, &cfg));
	cfg.pool_limit_bytes = 16 * MiB;
	cfg.trim_percent = 200;
	EXPECT_EQ(-EINVAL, bufpool_set_config(bp, &cfg));
	cfg.flags = 8;
	EXPECT_EQ(-EINVAL, bufpool_get_config(bp, &cfg));
	bufpool_destroy(bp);
}

/* In a child the handle can be destroyed, and the parent's pool lives on. */
TEST(destroy_in_a_child)
{
	struct bufpool *bp = create(16 * MiB);
	unsigned char *buf;
	int status;

	ASSERT_NE(NULL, bp);
	buf = bufpool_alloc(bp, 1 * MiB, 0);
	ASSERT_NE(NULL, buf);
	stamp_range(buf, 1 * MiB, 4);
	in_child(status, {
		struct bufpool *own;

		check(bufpool_release_retained(bp) == -EPERM);
		bufpool_destroy(bp);
		own = create(16 * MiB);
		check(own);
		check(bufpool_alloc(own, 1 * MiB, 0));
		bufpool_destroy(own);
	});
	EXPECT_EQ(0, status);
	EXPECT_TRUE(stamped(buf, 1 * MiB, 4));
	bufpool_free(bp, buf);
	EXPECT_EQ((int64_t)(1 * MiB), bufpool_release_retained(bp));
	bufpool_destroy(bp);
}

TEST_HARNESS_MAIN
