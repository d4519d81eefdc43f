// SPDX-License-Identifier: GPL-2.0-only
/* Huge folios, and no page fault on a buffer that ALLOC has handed out. */
#include "kselftest_harness.h"
#include "pool.h"

#include <sys/prctl.h>
#include <sys/resource.h>

FIXTURE(huge) {
	struct pool p;
};

FIXTURE_SETUP(huge)
{
	struct bufpool_config cfg = fixed_config(128 * MiB);

	/* The only process that allocates: what is free stays free. */
	write_file("/proc/sys/vm/compact_memory", "1");
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(huge)
{
	pool_destroy(&self->p);
}

static bool have_thp(void)
{
	return !access("/sys/kernel/mm/transparent_hugepage", F_OK);
}

static long minor_faults(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		die("getrusage");
	return usage.ru_minflt + usage.ru_majflt;
}

static long write_each_page(unsigned char *buf, uint64_t bytes)
{
	long before = minor_faults();
	uint64_t i;

	for (i = 0; i < bytes; i += 4096)
		*(volatile uint64_t *)(buf + i) = i;
	return minor_faults() - before;
}

/* The faults that writing one word in each page takes. */
static long faults_of_writing(unsigned char *buf, uint64_t bytes)
{
	static unsigned char page[4096];

	/* Code and stack of this are there from the first time on. */
	write_each_page(page, sizeof(page));
	write_each_page(page, sizeof(page));
	return write_each_page(buf, bytes);
}

TEST_F(huge, mapped_by_pmds)
{
	uint64_t before, usable;
	int64_t offset;

	if (!have_thp())
		SKIP(return, "a kernel without transparent huge pages");
	before = smaps_sum("FilePmdMapped");
	offset = pool_alloc(&self->p, 8 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_EQ(4, pool_stats(&self->p).huge_attached);
	EXPECT_EQ(before + 8 * MiB, smaps_sum("FilePmdMapped"));
	stamp_range(self->p.base + offset, 8 * MiB, 1);
	EXPECT_EQ(before + 8 * MiB, smaps_sum("FilePmdMapped"));
	EXPECT_TRUE(stamped(self->p.base + offset, 8 * MiB, 1));

	/* Large ones as well, up to the odd end. */
	offset = pool_alloc(&self->p, 11 * MiB + 12345, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_EQ(before + 18 * MiB, smaps_sum("FilePmdMapped"));
	EXPECT_EQ(9, pool_stats(&self->p).huge_attached);
}

/* RSS is honest: what is attached and mapped is in it, what is released not. */
TEST_F(huge, rss)
{
	uint64_t before = smaps_sum("Rss");
	int64_t offset = pool_alloc(&self->p, 32 * MiB, 0, NULL);

	ASSERT_LE(0, offset);
	EXPECT_LE(before + 32 * MiB, smaps_sum("Rss"));
	EXPECT_GT(before + 33 * MiB, smaps_sum("Rss"));
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ((int64_t)(32 * MiB), pool_release(&self->p));
	EXPECT_GT(before + 1 * MiB, smaps_sum("Rss"));
}

TEST_F(huge, no_faults_after_alloc)
{
	static const uint64_t sizes[] = {
		4 * KiB, 12 * KiB, 20 * KiB, 64 * KiB, 100 * KiB, 1 * MiB,
		2 * MiB, 3 * MiB, 8 * MiB, 9 * MiB + 4096, 13 * MiB + 4095,
	};
	uint64_t usable;
	int64_t offset;
	int round;
	size_t i;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			/* New. */
			offset = pool_alloc(&self->p, sizes[i], 0, &usable);
			ASSERT_LE(0, offset);
			EXPECT_EQ(0, faults_of_writing(self->p.base + offset,
						       usable)) {
				TH_LOG("new, %ju bytes, round %d", sizes[i],
				       round);
			}
			/* Reused, cleaned or not. */
			ASSERT_EQ(0, pool_free(&self->p, offset));
			offset = pool_alloc(&self->p, sizes[i],
					    i % 2 ? BUFPOOL_ZERO : 0, &usable);
			ASSERT_LE(0, offset);
			EXPECT_EQ(0, faults_of_writing(self->p.base + offset,
						       usable)) {
				TH_LOG("reused, %ju bytes, round %d", sizes[i],
				       round);
			}
			ASSERT_EQ(0, pool_free(&self->p, offset));
			/* In the second round, where there was memory before. */
			ASSERT_LE(0, pool_release(&self->p));
		}
	}
}

/* The tail that a large buffer grew by is there, too. */
TEST_F(huge, no_faults_after_growing)
{
	uint64_t usable;
	int64_t offset;

	offset = pool_alloc(&self->p, 9 * MiB + 4096, 0, NULL);
	ASSERT_LE(0, offset);
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(offset, pool_alloc(&self->p, 10 * MiB - 8192, 0, &usable));
	EXPECT_EQ(1, pool_stats(&self->p).grown);
	EXPECT_EQ(0, faults_of_writing(self->p.base + offset, usable));
}

/* A process that does without huge pages gets by, as far as 6.1 lets it. */
TEST(huge_pages_disabled)
{
	struct bufpool_config cfg = fixed_config(64 * MiB);
	uint64_t usable;
	int64_t offset;
	struct pool p;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		SKIP(return, "a kernel without transparent huge pages");
	ASSERT_EQ(0, pool_init(&p, &cfg));
	offset = pool_alloc(&p, 8 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	EXPECT_TRUE(all_zero(p.base + offset, usable));
	EXPECT_EQ(0, faults_of_writing(p.base + offset, usable));
	stamp_range(p.base + offset, usable, 4);
	EXPECT_TRUE(stamped(p.base + offset, usable, 4));
	ASSERT_EQ(0, pool_free(&p, offset));
	EXPECT_EQ((int64_t)(8 * MiB), pool_release(&p));
	EXPECT_EQ(SIGBUS, read_signal(p.base + offset + 5 * MiB));
	pool_destroy(&p);
}

/*
 * Other mappings of the same buffers: where no PMD fits, and of a few pages only.
 * Faults there map what belongs there and nothing beside it.
 */
TEST_F(huge, odd_mappings)
{
	const size_t room = 16 * MiB, odd = 5 * 4096;
	unsigned char *space, *map;
	uint64_t usable, i;
	int64_t offset;

	offset = pool_alloc(&self->p, 8 * MiB, 0, &usable);
	ASSERT_LE(0, offset);
	for (i = 0; i < usable; i += 4096)
		*(uint64_t *)(self->p.base + offset + i) = i;

	space = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, space);
	map = mmap(space + odd, usable, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, self->p.fd, offset);
	ASSERT_NE(MAP_FAILED, map);
	for (i = 0; i < usable; i += 4096)
		ASSERT_EQ(i, *(uint64_t *)(map + i));
	EXPECT_EQ(0, faults_of_writing(map, usable));
	EXPECT_EQ(SIGSEGV, read_signal(map - 1));
	EXPECT_EQ(SIGSEGV, read_signal(map + usable));

	/* Three pages out of the middle of a huge folio. */
	map = mmap(space, room, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	map = mmap(space + 2 * MiB, 3 * 4096, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, self->p.fd, offset + 1 * MiB + 4096);
	ASSERT_NE(MAP_FAILED, map);
	for (i = 0; i < 3 * 4096; i += 4096)
		ASSERT_EQ(1 * MiB + 4096 + i, *(uint64_t *)(map + i));
	EXPECT_EQ(SIGSEGV, read_signal(map - 1));
	EXPECT_EQ(SIGSEGV, read_signal(map + 3 * 4096));

	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ((int64_t)usable, pool_release(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(map + 4096));
	ASSERT_EQ(0, munmap(space, room));
}

/* A buffer of one folio, smaller than a PMD's, is mapped by one fault. */
TEST_F(huge, one_fault_per_folio)
{
	int64_t offset = pool_alloc(&self->p, 1 * MiB, 0, NULL);
	unsigned char *buf = self->p.base + offset;
	long before;
	uint64_t i;

	if (!have_thp())
		SKIP(return, "a kernel without transparent huge pages");
	ASSERT_LE(0, offset);
	/* The mapping's page tables go, the memory stays. */
	ASSERT_EQ(0, madvise(buf, 1 * MiB, MADV_DONTNEED));
	read_signal(self->p.base);
	before = minor_faults();
	for (i = 0; i < 1 * MiB; i += 4096)
		(void)*(volatile unsigned char *)(buf + i);
	/* One, unless there was no memory in one piece. */
	EXPECT_LE(1, minor_faults() - before);
	EXPECT_GE(2, minor_faults() - before);
}

/* Cut up by partial unmapping, a huge folio still goes as a whole. */
TEST_F(huge, split_mapping)
{
	int64_t offset = pool_alloc(&self->p, 8 * MiB, 0, NULL);
	unsigned char *buf = self->p.base + offset;
	uint64_t before = device_attached();

	ASSERT_LE(0, offset);
	stamp_range(buf, 8 * MiB, 2);
	ASSERT_EQ(0, munmap(buf + 1 * MiB, 4096));
	ASSERT_EQ(0, mprotect(buf + 3 * MiB, 4096, PROT_READ));
	EXPECT_EQ(SIGSEGV, write_signal(buf + 3 * MiB));
	EXPECT_TRUE(stamped(buf, 1 * MiB, 2));
	EXPECT_EQ(0, read_signal(buf + 1 * MiB + 4096));
	ASSERT_EQ(0, mprotect(buf + 3 * MiB, 4096, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, write_signal(buf + 3 * MiB));
	ASSERT_EQ(0, pool_free(&self->p, offset));
	ASSERT_EQ((int64_t)(8 * MiB), pool_release(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(buf));
	EXPECT_EQ(SIGBUS, read_signal(buf + 3 * MiB));
	EXPECT_EQ(before - 8 * MiB, device_attached());
}

/* smaps' FilePmdMapped is 0 for a PTE-mapped piece: small buffers have none. */
TEST_F(huge, small_buffers_share_no_folio)
{
	int64_t a = pool_alloc(&self->p, 64 * KiB, 0, NULL);
	int64_t b = pool_alloc(&self->p, 64 * KiB, 0, NULL);

	ASSERT_TRUE(a > 0 && b > 0);
	EXPECT_EQ(128 * KiB, pool_attached(&self->p));
	ASSERT_EQ(0, pool_free(&self->p, a));
	ASSERT_EQ((int64_t)(64 * KiB), pool_release(&self->p));
	EXPECT_EQ(SIGBUS, read_signal(self->p.base + a));
	EXPECT_EQ(0, write_signal(self->p.base + b));
	EXPECT_EQ(0, pool_stats(&self->p).huge_attached);
}

TEST_HARNESS_MAIN
