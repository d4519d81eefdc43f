// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mapping: shared, never executable, not inherited, not dumped; in parts or
 * as a whole, and whatever advice is given about it.
 */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/resource.h>

FIXTURE(mmap) {
	struct bufpool_config cfg;
	struct pool p;
	int64_t offset;
	unsigned char *buf;
};

FIXTURE_SETUP(mmap)
{
	self->cfg = fixed_config(64 * MiB);
	ASSERT_EQ(0, pool_init(&self->p, &self->cfg));
	self->offset = pool_alloc(&self->p, 4 * MiB, 0, NULL);
	ASSERT_LE(0, self->offset);
	self->buf = self->p.base + self->offset;
	stamp_range(self->buf, 4 * MiB, 1);
}

FIXTURE_TEARDOWN(mmap)
{
	pool_destroy(&self->p);
}

TEST_F(mmap, private_is_refused)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->p.length, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, self->p.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE,
				   self->p.fd, self->offset));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(mmap, executable_is_refused)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_EXEC,
				   MAP_SHARED, self->p.fd, self->offset));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(self->p.base, page_size(),
			       PROT_READ | PROT_WRITE | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(self->buf, 4 * MiB, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1));
}

/* A file opened for reading only gives no writable mapping. */
TEST(read_only_file)
{
	struct bufpool_setup setup;
	int fd = open(DEVICE, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	if (pool_setup_fd(fd, NULL, &setup))
		return;		/* Refused earlier: as good. */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_SHARED, fd, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_NE(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0));
}

/* The VmFlags of the mapping at @at, from /proc/self/smaps. */
static void vm_flags(const void *at, char *flags, size_t size)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool here = false;
	char line[512];

	flags[0] = '\0';
	if (!f)
		die("smaps: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (unsigned long)at >= start &&
			       (unsigned long)at < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			snprintf(flags, size, "%.*s", (int)size - 1, line + 8);
	}
	fclose(f);
}

TEST_F(mmap, flags)
{
	char flags[256];

	vm_flags(self->buf, flags, sizeof(flags));
	EXPECT_NE(NULL, strstr(flags, " dd "));		/* not dumped */
	EXPECT_NE(NULL, strstr(flags, " dc "));		/* not inherited */
	EXPECT_NE(NULL, strstr(flags, " sh "));
	EXPECT_EQ(NULL, strstr(flags, " me "));		/* never executable */
	vm_flags(self->p.base, flags, sizeof(flags));
	EXPECT_NE(NULL, strstr(flags, " dd "));
	EXPECT_NE(NULL, strstr(flags, " dc "));
}

/* Assembled at run time, so that no page of the program holds it. */
static void secret(char *text, char kind)
{
	snprintf(text, 32, "bufpool-%s-%c-marker", "core", kind);
}

/* A real core dump has what is on the heap and nothing of the pool. */
TEST_F(mmap, not_in_core_dumps)
{
	struct rlimit core = { RLIM_INFINITY, RLIM_INFINITY };
	bool heap_found = false, pool_found = false;
	char pattern[256], want[2][32];
	size_t have = 0;
	int status;
	char *buf;
	FILE *f;
	pid_t pid;

	if (read_file("/proc/sys/kernel/core_pattern", pattern,
		      sizeof(pattern)) < 0)
		SKIP(return, "a kernel without core dumps");
	unlink("/tmp/bufpool.core");
	ASSERT_EQ(0, write_file("/proc/sys/kernel/core_pattern",
				"/tmp/bufpool.core"));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char *heap = malloc(32);
		struct pool q;
		int64_t at;

		check(heap);
		check(!pool_init(&q, &self->cfg));
		at = pool_alloc(&q, 1 * MiB, 0, NULL);
		check(at > 0);
		secret(heap, 'h');
		secret((char *)q.base + at, 'p');
		check(!setrlimit(RLIMIT_CORE, &core));
		/* By default no mapping of a file is dumped, ours or not. */
		check(!write_file("/proc/self/coredump_filter", "0x7f"));
		abort();
	}
	status = child_status(pid);
	ASSERT_EQ(0, write_file("/proc/sys/kernel/core_pattern", pattern));
	ASSERT_EQ(128 + SIGABRT, status);

	secret(want[0], 'h');
	secret(want[1], 'p');
	f = fopen("/tmp/bufpool.core", "re");
	ASSERT_NE(NULL, (void *)f);
	buf = malloc(MiB);
	ASSERT_NE(NULL, buf);
	for (;;) {
		size_t n = fread(buf + have, 1, MiB - have, f);

		if (!n)
			break;
		have += n;
		heap_found |= !!memmem(buf, have, want[0], strlen(want[0]));
		pool_found |= !!memmem(buf, have, want[1], strlen(want[1]));
		/* One of them may lie across two reads. */
		n = have < 64 ? have : 64;
		memmove(buf, buf + have - n, n);
		have = n;
	}
	fclose(f);
	unlink("/tmp/bufpool.core");
	EXPECT_TRUE(heap_found);
	EXPECT_FALSE(pool_found);
}

TEST_F(mmap, in_parts)
{
	unsigned char *part;

	part = mmap(NULL, 1 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->p.fd, self->offset + MiB);
	ASSERT_NE(MAP_FAILED, (void *)part);
	EXPECT_EQ(0, memcmp(part, self->buf + MiB, MiB));
	part[12345] = 0x5a;
	EXPECT_EQ(0x5a, self->buf[MiB + 12345]);
	self->buf[MiB + 12345] = 0;
	EXPECT_EQ(0, part[12345]);

	/* A release reaches every mapping there is. */
	ASSERT_EQ(0, pool_free(&self->p, self->offset));
	ASSERT_EQ((int64_t)(4 * MiB), pool_release(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(part));
	EXPECT_EQ(SIGBUS, read_signal(self->buf + MiB));
	EXPECT_EQ(0, munmap(part, 1 * MiB));
}

TEST_F(mmap, unmapped_in_the_middle)
{
	size_t page = page_size();
	unsigned char *at;
	int64_t other;

	ASSERT_EQ(0, munmap(self->buf + MiB, page));
	EXPECT_EQ(SIGSEGV, read_signal(self->buf + MiB));
	EXPECT_TRUE(stamped(self->buf, MiB, 1));
	EXPECT_EQ(4 * MiB, pool_attached(&self->p));
	/* Back again: the contents were the file's, not the mapping's. */
	at = mmap(self->buf + MiB, page, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_FIXED, self->p.fd, self->offset + MiB);
	ASSERT_EQ(self->buf + MiB, at);
	EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1));

	/* With nothing mapped at all the pool still works. */
	ASSERT_EQ(0, munmap(self->p.base, self->p.length));
	other = pool_alloc(&self->p, 1 * MiB, BUFPOOL_ZERO, NULL);
	EXPECT_LE(0, other);
	EXPECT_EQ(0, pool_free(&self->p, other));
	EXPECT_EQ(0, pool_free(&self->p, self->offset));
	EXPECT_EQ((int64_t)(5 * MiB), pool_release(&self->p));
	self->p.base = NULL;
	ASSERT_EQ(0, pool_map(&self->p));
	other = pool_alloc(&self->p, 1 * MiB, 0, NULL);
	ASSERT_LE(0, other);
	EXPECT_TRUE(all_zero(self->p.base + other, 1 * MiB));
}

TEST_F(mmap, beyond_the_end)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED,
				   self->p.fd, self->p.length));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->p.length + 4096, PROT_READ,
				   MAP_SHARED, self->p.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 8192, PROT_READ, MAP_SHARED,
				   self->p.fd, (1ULL << 62)));
}

/* mremap() must not make a mapping reach over the end of the file. */
TEST_F(mmap, growing_the_mapping)
{
	unsigned char *at;

	at = mremap(self->p.base, self->p.length, self->p.length + 4 * MiB,
		    MREMAP_MAYMOVE);
	if (at != MAP_FAILED) {
		self->p.base = at;
		EXPECT_EQ(SIGBUS, read_signal(at + self->p.length));
		EXPECT_EQ(SIGBUS, read_signal(at + self->p.length + 4 * MiB - 1));
		self->p.length += 4 * MiB;
	}
	EXPECT_EQ(4 * MiB, pool_attached(&self->p));
	EXPECT_TRUE(stamped(self->p.base + self->offset, 4 * MiB, 1));
}

/* Advice that drops the page tables, or asks for reclaim, loses no contents. */
TEST_F(mmap, advice_keeps_the_contents)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_REMOVE,
		MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE, MADV_SEQUENTIAL,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		madvise(self->buf, 4 * MiB, advice[i]);
		EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1)) {
			TH_LOG("after advice %d", advice[i]);
		}
		/* On no page table at all when the kernel looks at the cache. */
		madvise(self->buf, 4 * MiB, MADV_DONTNEED);
		posix_fadvise(self->p.fd, 0, 0, POSIX_FADV_DONTNEED);
		ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "3"));
		EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1)) {
			TH_LOG("after drop_caches, advice %d", advice[i]);
		}
	}
	EXPECT_EQ(4 * MiB, pool_attached(&self->p));
	EXPECT_EQ(0, pool_free(&self->p, self->offset));
	EXPECT_EQ((int64_t)(4 * MiB), pool_release(&self->p));
	EXPECT_EQ(0, pool_attached(&self->p));
}

/* Nor does compaction, which moves pages about. */
TEST_F(mmap, compaction_keeps_the_contents)
{
	int64_t small[64];
	int i, round;

	for (i = 0; i < 64; i++) {
		small[i] = pool_alloc(&self->p, 12 * KiB, 0, NULL);
		ASSERT_LE(0, small[i]);
		stamp_range(self->p.base + small[i], 12 * KiB, i);
	}
	for (round = 0; round < 3; round++) {
		if (write_file("/proc/sys/vm/compact_memory", "1"))
			SKIP(return, "a kernel without compaction");
		EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1));
		for (i = 0; i < 64; i++) {
			EXPECT_TRUE(stamped(self->p.base + small[i], 12 * KiB,
					    i));
		}
	}
	for (i = 0; i < 64; i++) {
		EXPECT_EQ(0, pool_free(&self->p, small[i]));
	}
	ASSERT_LE(0, pool_release(&self->p));
	EXPECT_EQ(4 * MiB, pool_attached(&self->p));
}

/* A child that has the mapping against advice and goes leaves it to its owner. */
TEST_F(mmap, inherited_and_dropped)
{
	int status;

	if (madvise(self->p.base, self->p.length, MADV_DOFORK))
		return;		/* Refused: then there is nothing to drop. */
	in_child(status, (void)read_signal(self->buf));
	EXPECT_EQ(0, status);
	EXPECT_EQ(4 * MiB, pool_attached(&self->p));
	EXPECT_EQ(0, read_signal(self->buf));
	EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1));
	EXPECT_EQ(0, pool_free(&self->p, self->offset));
}

/*
 * A process may ask for its children to inherit the mapping after all.  That is
 * refused, or its own affair: when it is gone, so is the memory.
 */
TEST_F(mmap, inherited_against_advice)
{
	uint64_t before = device_attached();
	struct gate ready, leave;
	int status;
	pid_t pid;

	gate_init(&ready);
	gate_init(&leave);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct pool q;
		int64_t at;

		check(!pool_init(&q, &self->cfg));
		at = pool_alloc(&q, 4 * MiB, 0, NULL);
		check(at > 0);
		stamp_range(q.base + at, 4 * MiB, 2);
		madvise(q.base, q.length, MADV_DOFORK);
		if (!fork()) {
			close(leave.fd[1]);
			gate_wait(&leave);
			check(read_signal(q.base + at));
			check(read_signal(q.base + at + 3 * MiB));
			(void)read_signal(q.base);
			(void)write_signal(q.base + q.setup.control_bytes / 2);
			gate_pass(&ready);
			gate_wait(&leave);
			_exit(0);
		}
		_exit(0);
	}
	close(ready.fd[1]);
	status = child_status(pid);
	ASSERT_EQ(0, status);
	EXPECT_EQ(before, device_attached());
	gate_pass(&leave);
	EXPECT_TRUE(gate_wait(&ready));
	EXPECT_EQ(before, device_attached());
	close(leave.fd[1]);
	/* The pipe closes when the last of them is gone. */
	EXPECT_FALSE(gate_wait(&ready));
	EXPECT_EQ(before, device_attached());
	EXPECT_TRUE(stamped(self->buf, 4 * MiB, 1));
}

/*
 * The buffers alone, mapped so low that their headers would be mapped, if they were,
 * just below the end of all addresses: ALLOC populates neither there nor for ever.
 */
TEST(headers_before_the_first_address)
{
	struct bufpool_config cfg = fixed_config(426 * MiB);
	const uint64_t size = 4 * MiB + 4096;
	struct pool p;
	unsigned char *map;
	int64_t offset;

	cfg.large_threshold_bytes = 64 * KiB;
	ASSERT_EQ(0, pool_init_unmapped(&p, &cfg));
	map = mmap((void *)0x10000, p.setup.data_bytes, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED_NOREPLACE, p.fd, p.setup.data_offset);
	if (map == MAP_FAILED)
		SKIP(return, "no room at the lowest address");

	/* As far as headers in the last 2 MiB before the buffers. */
	ASSERT_LT(p.setup.data_offset - 1 * MiB, p.setup.control_bytes);
	do {
		offset = pool_alloc(&p, size, 0, NULL);
		ASSERT_LE(0, offset);
		offset -= p.setup.data_offset;
	} while ((uint64_t)offset / 4096 * sizeof(struct bufpool_slot) <
		 p.setup.data_offset - 1 * MiB - 512 * KiB);
	EXPECT_EQ(0, write_signal(map + offset));
	close(p.fd);
}

TEST_HARNESS_MAIN
