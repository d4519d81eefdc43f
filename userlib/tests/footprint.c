// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The anonymous backend's memory, as the kernel sees it: there when a buffer is handed
 * out, gone when it is given back, and never more than was counted.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "anonymous.h"
#include "memory.h"
#include "tap.h"

#define KIB		((size_t)1 << 10)
#define MIB		((size_t)1 << 20)

static size_t page;
static struct bufpool *bp;

/* Memory in huge pages, in all mappings with a part of the data range. */
static size_t huge_pages(void)
{
	uintptr_t from = (uintptr_t)bp->data, start, end;
	uintptr_t to = from + ((uintptr_t)bp->nr_pages << bp->page_shift);
	FILE *f = fopen("/proc/self/smaps", "r");
	size_t sum = 0, kb;
	bool inside = false;
	char line[512];

	require(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start < to && end > from;
		else if (inside && sscanf(line, "AnonHugePages: %zu", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum * KIB;
}

static unsigned int nr_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned int n = 0;
	int c;

	require(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static long faults(void)
{
	struct rusage usage;

	require(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

static bool all_zero(const char *buf, size_t bytes)
{
	return buf[0] == 0 && !memcmp(buf, buf + 1, bytes - 1);
}

static const size_t sizes[] = {
	1, 20 * KIB, 100 * KIB, 1 * MIB, 2 * MIB, 3 * MIB + 1, 7 * MIB,
	9 * MIB + 1,
};

static void test_memory(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	size_t sum = 0, i;
	bool whole = true, zero = true, aligned = true, gone = true;
	char *bufs[ARRAY_SIZE(sizes)];

	bp = memory_open(&cfg);
	check(memory_stats(bp).attached_bytes == 0 && memory_resident(bp) == 0,
	      "a new pool has no memory");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t usable;

		bufs[i] = bufpool_alloc(bp, sizes[i], 0);
		require(bufs[i]);
		usable = bufpool_usable_size(bp, bufs[i]);
		sum += usable;
		whole = whole && memory_resident_in(bufs[i], usable) == usable;
		zero = zero && all_zero(bufs[i], usable);
		aligned = aligned && (usable < 2 * MIB ||
				      (uintptr_t)bufs[i] % (2 * MIB) == 0);
		memset(bufs[i], 1, usable);
	}
	check(whole, "a buffer has all its memory when it is handed out");
	check(zero, "and the memory is zero");
	check(aligned, "from 2 MiB up it starts on 2 MiB");
	check(memory_stats(bp).attached_bytes == sum && memory_resident(bp) == sum,
	      "what is attached is what is resident: %zu bytes", sum);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		bufpool_free(bp, bufs[i]);
	check(memory_stats(bp).retained_bytes == sum && memory_resident(bp) == sum,
	      "idle memory stays");
	check(bufpool_release_retained(bp) == (int64_t)sum,
	      "release_retained gives it all back");
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		gone = gone && memory_resident_in(bufs[i], page) == 0;
	check(gone && memory_resident(bp) == 0 && memory_stats(bp).attached_bytes == 0 &&
	      memory_stats(bp).released_bytes == sum, "and then it is not resident");
	check(all_zero(bufs[3], MIB), "what is touched after that is zero");
	bufpool_destroy(bp);
}

/* Of a buffer that the pool does not keep. */
static void test_free(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	char *buf, *small[64];
	int i;

	cfg.max_pooled_bytes = 0;
	bp = memory_open(&cfg);
	buf = bufpool_alloc(bp, 5 * MIB, 0);
	for (i = 0; i < 64; i++) {
		small[i] = bufpool_alloc(bp, page, 0);
		require(small[i]);
	}
	bufpool_free(bp, buf);
	check(memory_resident(bp) == 64 * page && memory_stats(bp).freed_bytes == 5 * MIB,
	      "a buffer that is not kept: its memory goes at once");
	for (i = 0; i < 64; i += 2)
		bufpool_free(bp, small[i]);
	check(memory_resident(bp) == 32 * page, "as of small ones, and no other's");
	for (i = 1; i < 64; i += 2)
		bufpool_free(bp, small[i]);
	check(memory_resident_in(bp->slots, span_pages(bp) * sizeof(*bp->slots)) == 0,
	      "with the last slot of a span its headers go");
	bufpool_destroy(bp);
}

/* A huge page would take more than was counted, if asked for at the end. */
static void test_huge(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	size_t huge;
	char *buf;

	bp = memory_open(&cfg);
	buf = bufpool_alloc(bp, 9 * MIB + 1, 0);
	require(buf);
	huge = huge_pages();
	check(huge == 0 || huge == 8 * MIB,
	      "huge pages where they fit, or where there are none: %zu MiB",
	      huge / MIB);
	check(memory_resident(bp) == 9 * MIB + page, "and nowhere else");
	bufpool_free(bp, buf);
	require(bufpool_release_retained(bp) == (int64_t)(9 * MIB + page));
	buf = bufpool_alloc(bp, 9 * MIB + page, 0);
	require(buf && bufpool_alloc(bp, 10 * MIB, 0));
	check(memory_resident(bp) == 19 * MIB + page, "also when the range is reused");
	bufpool_destroy(bp);
}

static void test_no_faults(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	bool none = true;
	size_t i, at, usable;
	char *buf;
	long before;

	bp = memory_open(&cfg);
	/* What else there is to fault in has been by the second time. */
	before = faults();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		buf = bufpool_alloc(bp, sizes[i], 0);
		require(buf);
		usable = bufpool_usable_size(bp, buf);
		before = faults();
		for (at = 0; at < usable; at += page)
			store_relaxed(buf + at, 1);
		none = none && faults() == before;
	}
	check(none, "touching a new buffer takes no page fault");
	bufpool_destroy(bp);
}

/* Thousands of buffers, every other freed: that must not make mappings. */
static void test_mappings(void)
{
	struct bufpool_config cfg = memory_config(128 * MIB);
	static char *bufs[4000];
	unsigned int before;
	size_t i;

	cfg.max_pooled_bytes = 0;
	bp = memory_open(&cfg);
	bufs[0] = bufpool_alloc(bp, page, 0);
	bufs[1] = bufpool_alloc(bp, 4 * MIB, 0);
	require(bufs[0] && bufs[1]);
	before = nr_mappings();
	for (i = 2; i < ARRAY_SIZE(bufs); i++) {
		bufs[i] = bufpool_alloc(bp, (i % 7 + 1) * page, 0);
		require(bufs[i]);
	}
	for (i = 0; i < ARRAY_SIZE(bufs); i += 2)
		bufpool_free(bp, bufs[i]);
	/* The C library's arena may have grown by one. */
	check(nr_mappings() <= before + 1, "mappings do not grow with buffers");
	bufpool_destroy(bp);
}

/* What the program has locked goes back all the same, and is zero after that. */
static void test_locked(void)
{
	struct bufpool_config cfg = memory_config((uint64_t)1 << 30);
	char *buf;

	cfg.max_pooled_bytes = 0;
	bp = memory_open(&cfg);
	buf = bufpool_alloc(bp, 64 * KIB, 0);
	require(buf && !mlock(buf, 64 * KIB));
	memset(buf, 1, 64 * KIB);
	bufpool_free(bp, buf);
	check(memory_resident(bp) == 0, "a locked buffer's memory goes");
	require(bufpool_alloc(bp, 64 * KIB, 0) == buf);
	check(all_zero(buf, 64 * KIB), "and what comes instead is zero");
	bufpool_destroy(bp);

	if (mlockall(MCL_FUTURE)) {
		tap_skip("a program that locks all it maps", "may not lock");
		return;
	}
	bp = memory_open(&cfg);
	check(memory_resident(bp) == 0, "a program that locks all it maps");
	bufpool_destroy(bp);
	require(!munlockall());
}

/*
 * From here on madvise() with @advice fails with @err, as on an older kernel or one
 * without memory.  False if there is no way to have that.
 */
static bool fail_madvise(uint32_t advice, uint32_t err)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, advice, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {
		.len = ARRAY_SIZE(filter), .filter = filter,
	};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Run @act in a child; returns what it does, and -1 if it did not return. */
static int in_child(int (*act)(void))
{
	int status;
	pid_t child = fork();

	require(child >= 0);
	if (child == 0)
		_exit(act());
	require(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum { NOT_SO, SO, NO_FILTER };

static int without_populate(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	char *buf;

	if (!fail_madvise(23, EINVAL))
		return NO_FILTER;
	bp = memory_open(&cfg);
	buf = bufpool_alloc(bp, 3 * MIB + 1, 0);
	return buf && memory_resident(bp) >= 3 * MIB + page &&
	       all_zero(buf, 3 * MIB) ? SO : NOT_SO;
}

static int without_memory(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);
	char *live, *large;
	bool refused;

	bp = memory_open(&cfg);
	live = bufpool_alloc(bp, page, 0);
	large = bufpool_alloc(bp, 9 * MIB, 0);
	bufpool_free(bp, bufpool_alloc(bp, 1 * MIB, 0));
	require(live && large);
	bufpool_free(bp, large);
	if (!fail_madvise(23, ENOMEM))
		return NO_FILTER;
	errno = 0;
	/* A kept one cannot be made bigger, and goes to help. */
	refused = !bufpool_alloc(bp, 10 * MIB, 0) && errno == ENOMEM;
	if (memory_stats(bp).attached_bytes > 10 * MIB)
		return NOT_SO;
	errno = 0;
	refused = refused && !bufpool_alloc(bp, 10 * MIB, 0) && errno == ENOMEM;
	return refused && memory_stats(bp).reclaimed_bytes >= 1 * MIB &&
	       memory_resident(bp) == memory_stats(bp).attached_bytes &&
	       bufpool_usable_size(bp, live) == page ? SO : NOT_SO;
}

static int without_huge_pages(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);

	if (!fail_madvise(MADV_HUGEPAGE, EINVAL))
		return NO_FILTER;
	bp = memory_open(&cfg);
	return bufpool_alloc(bp, 8 * MIB, 0) && huge_pages() == 0 &&
	       memory_resident(bp) == 8 * MIB ? SO : NOT_SO;
}

static void test_kernels(void)
{
	static const struct {
		const char *name;
		int (*act)(void);
	} kernels[] = {
		{ "without MADV_POPULATE_WRITE: touched by hand",
		  without_populate },
		{ "without memory: ENOMEM, idle memory given up, all consistent",
		  without_memory },
		{ "without transparent huge pages: small ones",
		  without_huge_pages },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kernels); i++) {
		int seen = in_child(kernels[i].act);

		if (seen == NO_FILTER)
			tap_skip(kernels[i].name, "no seccomp filters");
		else
			check(seen == SO, "%s", kernels[i].name);
	}
}

/* In a child: the limit of @resource, on what a pool of 4 GiB takes; @act tells. */
static bool limited(int resource, rlim_t bytes, bool (*act)(void))
{
	struct rlimit limit = { bytes, bytes };
	int status;
	pid_t child = fork();

	require(child >= 0);
	if (child == 0) {
		struct bufpool_config cfg = memory_config((uint64_t)4 << 30);

		require(!setrlimit(resource, &limit));
		errno = 0;
		bp = bufpool_anonymous_create(&cfg, 2);
		_exit(act());
	}
	require(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool is_refused(void)
{
	return !bp && errno == ENOMEM;
}

static bool fits_smaller(void)
{
	struct bufpool_config cfg = memory_config(64 * MIB);

	bp = bufpool_anonymous_create(&cfg, 2);
	return bp && bufpool_alloc(bp, 32 * MIB, 0);
}

/* A range is address space only; what was used of it is data. */
static bool is_refused_later(void)
{
	char *buf = NULL, *last = NULL;

	if (!bp)
		return false;
	while ((buf = bufpool_alloc(bp, 16 * MIB, 0)))
		last = buf;
	if (errno != ENOMEM || !last)
		return false;
	bufpool_free(bp, last);
	return bufpool_alloc(bp, 16 * MIB, 0) && bufpool_release_retained(bp) == 0;
}

static void test_address_space(void)
{
	check(limited(RLIMIT_AS, 1 << 30, is_refused),
	      "a range over RLIMIT_AS: ENOMEM");
	check(limited(RLIMIT_AS, 1 << 30, fits_smaller), "a smaller one fits");
	check(limited(RLIMIT_DATA, 128 * MIB, is_refused_later),
	      "memory over RLIMIT_DATA: ENOMEM, when it is asked for");
}

int main(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);

	test_memory();
	test_free();
	test_huge();
	test_no_faults();
	test_mappings();
	test_locked();
	test_kernels();
	test_address_space();
	return tap_end();
}
