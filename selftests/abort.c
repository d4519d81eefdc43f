// SPDX-License-Identifier: GPL-2.0-only
/* Freeing what is not a live buffer: a message, and the program ends. */
#include "kselftest_harness.h"
#include "pool.h"

#include <bufpool.h>

FIXTURE(abort) {
	struct bufpool *bp, *other;
	char *small, *large, *foreign;
	char message[1024];
};

FIXTURE_SETUP(abort)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);

	self->bp = bufpool_create(&cfg);
	self->other = bufpool_create(&cfg);
	ASSERT_NE(NULL, self->bp);
	ASSERT_NE(NULL, self->other);
	self->small = bufpool_alloc(self->bp, 64 * KiB, 0);
	self->large = bufpool_alloc(self->bp, 9 * MiB, 0);
	self->foreign = bufpool_alloc(self->other, 64 * KiB, 0);
	ASSERT_TRUE(self->small && self->large && self->foreign);
}

FIXTURE_TEARDOWN(abort)
{
	bufpool_destroy(self->bp);
	bufpool_destroy(self->other);
}

/*
 * Run in a child that has pools of its own (a child has none of its parent's),
 * with the offsets into theirs that the pointers had.  Its standard error comes
 * back as @message.
 */
static int ends_with(char *message, size_t size,
		     void (*wrong)(struct bufpool *, char *, char *, char *))
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	size_t have = 0;
	ssize_t n;
	int fd[2];
	pid_t pid;

	if (pipe(fd))
		die("pipe");
	pid = fork();
	if (!pid) {
		struct bufpool *bp, *other;
		char *small, *large, *foreign;

		dup2(fd[1], STDERR_FILENO);
		bp = bufpool_create(&cfg);
		other = bufpool_create(&cfg);
		if (!bp || !other)
			_exit(2);
		small = bufpool_alloc(bp, 64 * KiB, 0);
		large = bufpool_alloc(bp, 9 * MiB, 0);
		foreign = bufpool_alloc(other, 64 * KiB, 0);
		if (!small || !large || !foreign)
			_exit(2);
		wrong(bp, small, large, foreign);
		_exit(0);
	}
	close(fd[1]);
	while (have < size - 1 &&
	       (n = read(fd[0], message + have, size - 1 - have)) > 0)
		have += n;
	message[have] = '\0';
	close(fd[0]);
	return child_status(pid);
}

static void free_twice(struct bufpool *bp, char *small, char *large,
		       char *foreign)
{
	(void)large;
	(void)foreign;
	bufpool_free(bp, small);
	bufpool_free(bp, small);
}

static void free_large_twice(struct bufpool *bp, char *small, char *large,
			     char *foreign)
{
	(void)small;
	(void)foreign;
	bufpool_free(bp, large);
	bufpool_free(bp, large);
}

static void free_after_release(struct bufpool *bp, char *small, char *large,
			       char *foreign)
{
	(void)large;
	(void)foreign;
	bufpool_free(bp, small);
	bufpool_release_retained(bp);
	bufpool_free(bp, small);
}

static void free_foreign(struct bufpool *bp, char *small, char *large,
			 char *foreign)
{
	(void)small;
	(void)large;
	bufpool_free(bp, foreign);
}

static void free_interior(struct bufpool *bp, char *small, char *large,
			  char *foreign)
{
	(void)small;
	(void)foreign;
	bufpool_free(bp, large + 4096);
}

static void free_unaligned(struct bufpool *bp, char *small, char *large,
			   char *foreign)
{
	(void)large;
	(void)foreign;
	bufpool_free(bp, small + 16);
}

static void free_heap(struct bufpool *bp, char *small, char *large,
		      char *foreign)
{
	void *volatile heap = malloc(100);

	(void)small;
	(void)large;
	(void)foreign;
	bufpool_free(bp, heap);
}

static void free_never_attached(struct bufpool *bp, char *small, char *large,
				char *foreign)
{
	(void)small;
	(void)foreign;
	/* In the pool's range, far beyond anything. */
	bufpool_free(bp, large + 48 * MiB);
}

static void size_of_free(struct bufpool *bp, char *small, char *large,
			 char *foreign)
{
	(void)large;
	(void)foreign;
	bufpool_free(bp, small);
	if (bufpool_usable_size(bp, small))
		_exit(3);
}

/* The message names the library, the call, and the pointer. */
#define expect_abort(wrong, call, reason) do {				\
	EXPECT_EQ(128 + SIGABRT, ends_with(self->message,		\
			sizeof(self->message), wrong)) {		\
		TH_LOG(#wrong);						\
	}								\
	EXPECT_EQ(0, strncmp(self->message, "bufpool: ", 9)) {		\
		TH_LOG(#wrong ": %s", self->message);			\
	}								\
	EXPECT_NE(NULL, strstr(self->message, call " of 0x"));		\
	EXPECT_NE(NULL, strstr(self->message, reason)) {		\
		TH_LOG(#wrong ": %s", self->message);			\
	}								\
} while (0)

TEST_F(abort, double_free)
{
	expect_abort(free_twice, "free", "already free");
	expect_abort(free_large_twice, "free", "already free");
	expect_abort(free_after_release, "free", "not a buffer of this pool");
}

TEST_F(abort, foreign_pointer)
{
	expect_abort(free_foreign, "free", "not a buffer of this pool");
	expect_abort(free_heap, "free", "not a buffer of this pool");
	expect_abort(free_never_attached, "free", "not a buffer of this pool");
}

TEST_F(abort, interior_pointer)
{
	expect_abort(free_interior, "free", "not a buffer of this pool");
	expect_abort(free_unaligned, "free", "not page-aligned");
}

TEST_F(abort, usable_size)
{
	expect_abort(size_of_free, "usable_size", "already free");
}

/* And the right ones do not: the fixture's own buffers are all freed. */
TEST_F(abort, not_without_reason)
{
	bufpool_free(self->bp, self->small);
	bufpool_free(self->bp, self->large);
	bufpool_free(self->other, self->foreign);
	bufpool_free(self->bp, NULL);
	EXPECT_EQ((int64_t)(9 * MiB + 64 * KiB),
		  bufpool_release_retained(self->bp));
}

TEST_HARNESS_MAIN
