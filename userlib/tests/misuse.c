// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Freeing what is no live buffer, and corrupted stacks: an abort that says what
 * is wrong.
 */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "tap.h"

static size_t page;
static struct bufpool *bp;
static char *start, *end;	/* of the data range */
static char *buf;

/*
 * Run @misuse in a child.  It must die of SIGABRT, with a message that has both
 * strings in it and is one line.
 */
static void check_aborts(void (*misuse)(void), const char *name,
			 const char *call, const char *why)
{
	struct rlimit no_core = { 0, 0 };
	char said[512] = "";
	ssize_t n, length = 0;
	int fds[2], status;
	pid_t child;

	require(!pipe(fds));
	child = fork();
	require(child >= 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		dup2(fds[1], STDERR_FILENO);
		memory_adopt(bp);
		misuse();
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], said + length,
			 sizeof(said) - 1 - (size_t)length)) > 0)
		length += n;
	close(fds[0]);
	require(waitpid(child, &status, 0) == child);

	if (!check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
		   !strncmp(said, "bufpool: ", 9) && strstr(said, call) &&
		   strstr(said, why) && strchr(said, '\n') == said + length - 1,
		   "%s", name))
		printf("# status %#x, said: %s\n", (unsigned int)status, said);
}

static void check_frees(void (*misuse)(void), const char *name,
			const void *what, const char *why)
{
	char call[64];

	snprintf(call, sizeof(call), "free of %p: ", what);
	check_aborts(misuse, name, call, why);
}

static void free_twice(void)
{
	bufpool_free(bp, buf);
	bufpool_free(bp, buf);
}

static void free_released(void)
{
	bufpool_free(bp, buf);
	bufpool_release_retained(bp);
	bufpool_free(bp, buf);
}

static void free_foreign(void)
{
	bufpool_free(bp, &page);
}

static void free_before(void)
{
	bufpool_free(bp, start - page);
}

static void free_behind(void)
{
	bufpool_free(bp, end);
}

static void free_last(void)
{
	bufpool_free(bp, end - page);
}

static void free_other_pool(void)
{
	struct bufpool *other = memory_pool(NULL);

	bufpool_free(other, buf);
}

static void free_interior_byte(void)
{
	bufpool_free(bp, buf + 1);
}

static void free_interior_page(void)
{
	bufpool_free(bp, buf + page);
}

static void free_unknown_state(void)
{
	memory_slot(bp, buf)->state |= 4;
	bufpool_free(bp, buf);
}

static void free_unknown_class(void)
{
	memory_slot(bp, buf)->state = 0xffffff00 | BUFPOOL_SLOT_LIVE;
	bufpool_free(bp, buf);
}

/* A header that says live where the kernel knows of no buffer. */
static void free_forged(void)
{
	struct memory_tuning t = memory_defaults;

	t.percpu_cap = 0;
	t.depot_cap = 0;
	memory_tune(bp, &t);
	memory_slot(bp, buf + 2 * page)->state =
		BUFPOOL_SLOT_STATE(BUFPOOL_SLOT_LIVE, 0);
	bufpool_free(bp, buf + 2 * page);
}

static void usable_size_of_free(void)
{
	bufpool_free(bp, buf);
	bufpool_usable_size(bp, buf);
}

static void wild_link(void)
{
	memory_pin(bp);
	bufpool_free(bp, buf);
	bp->stacks[0].head[3] = bp->nr_pages + 1;
	bp->stacks[1].head[3] = bp->nr_pages + 1;
	bufpool_alloc(bp, 4 * page, 0);
}

static void wild_link_push(void)
{
	bp->stacks[0].head[3] = UINT32_MAX;
	bp->stacks[1].head[3] = UINT32_MAX;
	bufpool_free(bp, buf);
}

/* One buffer on a stack twice, as two threads that free it at once can do. */
static void linked_twice(void)
{
	memory_pin(bp);
	bufpool_free(bp, buf);
	memory_slot(bp, buf)->next = (__u32)(memory_slot(bp, buf) - bp->slots) + 1;
	bufpool_alloc(bp, 4 * page, 0);
	bufpool_alloc(bp, 4 * page, 0);
}

int main(void)
{
	static const char foreign[] = "not a buffer of this pool\n";
	static const char unaligned[] = "not a buffer of this pool (not page-aligned)";
	static const char none[] = "not a buffer of this pool (none starts there";
	static const char corrupted[] = "is corrupted";
	struct memory_tuning t = memory_defaults;
	char *other;

	t.nr_cpus = 2;
	bp = memory_pool(&t);
	page = (size_t)1 << bp->page_shift;
	start = bp->data;
	end = start + bp->nr_pages * page;
	other = bufpool_alloc(bp, page, 0);
	buf = bufpool_alloc(bp, 4 * page, 0);
	require(other && buf);

	check_frees(free_twice, "freed twice", buf, "already free\n");
	check_frees(free_released, "freed twice, released between", buf, none);
	check_frees(free_foreign, "not of any pool", &page, foreign);
	check_frees(free_before, "just before the data range", start - page,
		    foreign);
	check_frees(free_behind, "just behind the data range", end, foreign);
	check_frees(free_last, "the last page, never allocated", end - page,
		    none);
	check_frees(free_other_pool, "of another pool", buf, foreign);
	check_frees(free_interior_byte, "a byte into a buffer", buf + 1,
		    unaligned);
	check_frees(free_interior_page, "a page into a buffer", buf + page,
		    none);
	check_frees(free_unknown_state, "a state there is not", buf, corrupted);
	check_frees(free_unknown_class, "a class there is not", buf, corrupted);
	check_frees(free_forged, "a forged header", buf + 2 * page,
		    "none was allocated there");
	check_aborts(usable_size_of_free, "usable_size of a free buffer",
		     "usable_size of 0x", "already free");
	check_aborts(wild_link, "pop of a wild link", "control region at 0x",
		     corrupted);
	check_aborts(wild_link_push, "push on a wild link",
		     "control region at 0x", corrupted);
	check_aborts(linked_twice, "a slot on a stack twice",
		     "control region at 0x", corrupted);

	/* The children had their own copies; here all is well. */
	bufpool_free(bp, buf);
	bufpool_free(bp, other);
	bufpool_destroy(bp);
	return tap_end();
}
