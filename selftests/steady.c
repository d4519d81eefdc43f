// SPDX-License-Identifier: GPL-2.0-only
/*
 * In steady state the library makes no system call.  A filter kills the process
 * at the first one; what is measured here is that it lives.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define PAIRS	1000

/* From here on exit_group() is the only call. */
static void forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = {
		.len = ARRAY_SIZE(filter), .filter = filter,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(KSFT_SKIP);
}

/* Leave without the C library's ado. */
static void leave(int status)
{
	syscall(SYS_exit_group, status);
}

FIXTURE(steady) {
	int nothing;
};

FIXTURE_SETUP(steady)
{
}

FIXTURE_TEARDOWN(steady)
{
}

FIXTURE_VARIANT(steady) {
	size_t size;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(steady, 4_KiB) { .size = 4 * KiB };
FIXTURE_VARIANT_ADD(steady, 4_KiB_zeroed) { 4 * KiB, BUFPOOL_ZERO };
FIXTURE_VARIANT_ADD(steady, 64_KiB) { .size = 64 * KiB };
FIXTURE_VARIANT_ADD(steady, 1_MiB) { .size = 1 * MiB };
FIXTURE_VARIANT_ADD(steady, 4_MiB) { .size = 4 * MiB };
FIXTURE_VARIANT_ADD(steady, 8_MiB) { .size = 8 * MiB };
FIXTURE_VARIANT_ADD(steady, 8_MiB_and_a_byte) { .size = 8 * MiB + 1 };
FIXTURE_VARIANT_ADD(steady, 16_MiB_large) { .size = 16 * MiB };
FIXTURE_VARIANT_ADD(steady, 23_MiB_large) { .size = 23 * MiB };

/* The filter is one that bites: the first allocation does make a call. */
TEST(the_filter_works)
{
	int status;

	in_child(status, {
		struct bufpool *bp = bufpool_create(NULL);

		check(bp);
		forbid_system_calls();
		leave(!bufpool_alloc(bp, 64 * KiB, 0));
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without seccomp filters");
	EXPECT_EQ(128 + SIGSYS, status);
}

/* One after the other, with the device's own settings. */
TEST_F(steady, pairs)
{
	int status, i;

	in_child(status, {
		struct bufpool *bp = bufpool_create(NULL);
		char *buf;

		check(bp);
		buf = bufpool_alloc(bp, variant->size, variant->flags);
		check(buf);
		bufpool_free(bp, buf);
		forbid_system_calls();
		for (i = 0; i < PAIRS; i++) {
			buf = bufpool_alloc(bp, variant->size, variant->flags);
			if (!buf)
				leave(2);
			*(volatile char *)buf = 1;
			bufpool_free(bp, buf);
		}
		leave(0);
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without seccomp filters");
	EXPECT_EQ(0, status);
}

/* Four at a time, on whatever CPUs: the depot and the other stacks serve. */
TEST_F(steady, several_at_a_time)
{
	int status, i, k;

	in_child(status, {
		struct bufpool *bp = bufpool_create(NULL);
		char *buf[4];

		check(bp);
		for (k = 0; k < 4; k++)
			check(buf[k] = bufpool_alloc(bp, variant->size, 0));
		for (k = 0; k < 4; k++)
			bufpool_free(bp, buf[k]);
		forbid_system_calls();
		for (i = 0; i < PAIRS / 4; i++) {
			for (k = 0; k < 4; k++) {
				buf[k] = bufpool_alloc(bp, variant->size, 0);
				if (!buf[k])
					leave(2);
			}
			for (k = 0; k < 4; k++)
				bufpool_free(bp, buf[(k + i) % 4]);
		}
		leave(0);
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without seccomp filters");
	EXPECT_EQ(0, status);
}

/* Four sizes of one large class in turn, while four such buffers are idle. */
TEST(unlike_large_sizes)
{
	int status, i, k;

	in_child(status, {
		struct bufpool *bp = bufpool_create(NULL);
		char *buf[4];

		check(bp && !pin_to_cpu(0));
		for (k = 0; k < 4; k++)
			check(buf[k] = bufpool_alloc(bp, 9 * MiB + k * 4096, 0));
		for (k = 0; k < 4; k++)
			bufpool_free(bp, buf[k]);
		for (i = 0; i < PAIRS; i++) {
			/* The biggest of them has become everybody's. */
			if (i == 8)
				forbid_system_calls();
			buf[0] = bufpool_alloc(bp, 9 * MiB + i % 4 * 4096, 0);
			if (!buf[0])
				leave(2);
			*(volatile char *)buf[0] = 1;
			bufpool_free(bp, buf[0]);
		}
		leave(0);
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without seccomp filters");
	EXPECT_EQ(0, status);
}

/* A thousand freed and a thousand allocated again, many more than any stack. */
TEST(a_thousand_at_a_time)
{
	static char *buf[1000];
	int status, round;
	size_t i;

	in_child(status, {
		struct bufpool *bp = bufpool_create(NULL);

		check(bp);
		for (i = 0; i < ARRAY_SIZE(buf); i++)
			check(buf[i] = bufpool_alloc(bp, 64 * KiB, 0));
		forbid_system_calls();
		for (round = 0; round < 3; round++) {
			for (i = 0; i < ARRAY_SIZE(buf); i++)
				bufpool_free(bp, buf[i]);
			for (i = 0; i < ARRAY_SIZE(buf); i++) {
				buf[i] = bufpool_alloc(bp, 64 * KiB, 0);
				if (!buf[i])
					leave(2);
				*(volatile char *)buf[i] = 1;
			}
		}
		leave(0);
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without seccomp filters");
	EXPECT_EQ(0, status);
}

/* Several sizes in turn, and usable_size() in between. */
TEST(mixed_sizes)
{
	static const size_t sizes[] = {
		1, 4096, 4097, 20000, 65536, 100000, 1048576, 3000000, 4194304,
	};
	int status, round;
	size_t i;

	in_child(status, {
		struct bufpool *bp = bufpool_create(NULL);
		char *buf[ARRAY_SIZE(sizes)];

		check(bp);
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			check(buf[i] = bufpool_alloc(bp, sizes[i], 0));
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			bufpool_free(bp, buf[i]);
		forbid_system_calls();
		for (round = 0; round < 200; round++) {
			for (i = 0; i < ARRAY_SIZE(sizes); i++) {
				buf[i] = bufpool_alloc(bp, sizes[i], 0);
				if (!buf[i] || bufpool_usable_size(bp, buf[i]) <
				    sizes[i])
					leave(2);
			}
			for (i = 0; i < ARRAY_SIZE(sizes); i++)
				bufpool_free(bp, buf[i]);
		}
		leave(0);
	});
	if (status == KSFT_SKIP)
		SKIP(return, "a kernel without seccomp filters");
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
