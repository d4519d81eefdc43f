// SPDX-License-Identifier: GPL-2.0-only
/*
 * The layout that SETUP returns, the header of the control region, and the
 * size classes.
 */
#include "kselftest_harness.h"
#include "pool.h"

/* Every size has the smallest class that holds it; it wastes a fifth at most. */
TEST(classes_cover_all_sizes)
{
	uint64_t pages, size;
	uint32_t c;

	for (c = 1; c < BUFPOOL_MAX_CLASSES; c++) {
		ASSERT_LT(bufpool_class_pages(c - 1), bufpool_class_pages(c));
	}

	for (pages = 1; pages <= 1ULL << 31; pages += 1 + pages / 97) {
		c = bufpool_class(pages);
		ASSERT_GT(BUFPOOL_MAX_CLASSES, c);
		size = bufpool_class_pages(c);
		ASSERT_GE(size, pages);
		if (c) {
			ASSERT_LT(bufpool_class_pages(c - 1), pages);
		}
		if (pages >= 4) {
			ASSERT_LE((size - pages) * 5, size);
		}
	}
	for (c = 0; bufpool_class_pages(c) < 1ULL << 31; c++) {
		size = bufpool_class_pages(c);
		ASSERT_EQ(c, bufpool_class(size));
		ASSERT_EQ(c + 1, bufpool_class(size + 1));
	}
	ASSERT_GT(BUFPOOL_MAX_CLASSES, bufpool_class(1ULL << 31));
}

FIXTURE(geometry) {
	struct pool p;
};

FIXTURE_VARIANT(geometry) {
	uint64_t pool_limit;
};

FIXTURE_VARIANT_ADD(geometry, device) { .pool_limit = BUFPOOL_FOLLOW };
FIXTURE_VARIANT_ADD(geometry, one_page) { .pool_limit = 4096 };
FIXTURE_VARIANT_ADD(geometry, one_mib) { .pool_limit = 1 * MiB };
FIXTURE_VARIANT_ADD(geometry, uneven) { .pool_limit = 5 * MiB + 12345 };
FIXTURE_VARIANT_ADD(geometry, sixteen_gib) { .pool_limit = 16 * GiB };

FIXTURE_SETUP(geometry)
{
	struct bufpool_config cfg = follow_device();

	cfg.pool_limit_bytes = variant->pool_limit;
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
}

FIXTURE_TEARDOWN(geometry)
{
	pool_destroy(&self->p);
}

TEST_F(geometry, ranges)
{
	struct bufpool_setup *s = &self->p.setup;
	uint64_t limit = variant->pool_limit;

	if (limit == BUFPOOL_FOLLOW)
		limit = sysfs_value("pool_limit_bytes");
	EXPECT_LT(0, s->control_bytes);
	EXPECT_EQ(0, s->control_bytes % page_size());
	EXPECT_LE(s->control_bytes, s->data_offset);
	/* So that slots of 2 MiB can be mapped as such. */
	EXPECT_EQ(0, s->data_offset % (2 * MiB));
	EXPECT_EQ(0, (uintptr_t)self->p.base % (2 * MiB));
	EXPECT_EQ(0, s->data_bytes % page_size());
	EXPECT_LE(limit, s->data_bytes);
}

TEST_F(geometry, header)
{
	struct bufpool_control *c = pool_control(&self->p);
	struct bufpool_setup *s = &self->p.setup;
	uint64_t end;
	uint32_t i;

	EXPECT_EQ(BUFPOOL_ABI_VERSION, c->abi_version);
	EXPECT_EQ(page_size(), 1UL << c->page_shift);
	EXPECT_LE(sysconf(_SC_NPROCESSORS_CONF), c->nr_cpus);
	EXPECT_LT(0, c->nr_classes);
	EXPECT_GE(BUFPOOL_MAX_CLASSES, c->nr_classes);
	EXPECT_EQ(s->data_bytes, c->nr_pages * page_size());
	EXPECT_EQ(s->data_offset, c->data_offset);

	EXPECT_LE(sizeof(*c), c->cpu_offset);
	EXPECT_EQ(0, c->cpu_offset % 64);
	end = c->cpu_offset + (c->nr_cpus + 1) * sizeof(struct bufpool_stacks);
	EXPECT_LE(end, c->slot_offset);
	EXPECT_EQ(0, c->slot_offset % sizeof(struct bufpool_slot));
	end = c->slot_offset + c->nr_pages * sizeof(struct bufpool_slot);
	EXPECT_LE(end, s->control_bytes);

	for (i = 0; i < c->nr_classes; i++) {
		ASSERT_EQ(bufpool_class_pages(i), c->classes[i].pages);
	}
	for (i = 0; i < ARRAY_SIZE(c->reserved); i++) {
		EXPECT_EQ(0, c->reserved[i]);
	}
}

TEST_F(geometry, stacks_start_empty)
{
	struct bufpool_control *c = pool_control(&self->p);
	uint32_t cpu, i;

	for (cpu = 0; cpu <= c->nr_cpus; cpu++) {
		struct bufpool_stacks *s = pool_stacks(&self->p, cpu);

		for (i = 0; i < BUFPOOL_MAX_CLASSES; i++) {
			ASSERT_EQ(0, BUFPOOL_LINK(s->head[i]));
		}
		ASSERT_EQ(0, s->idle_pages);
	}
	/* And so does the memory: a pool that nobody used holds no buffers. */
	EXPECT_EQ(0, pool_attached(&self->p));
}

/* The whole file can be mapped, and not a page more. */
TEST_F(geometry, last_page)
{
	unsigned char *at;

	at = mmap(NULL, page_size(), PROT_READ, MAP_SHARED, self->p.fd,
		  self->p.length - page_size());
	EXPECT_NE(MAP_FAILED, (void *)at);
	EXPECT_EQ(SIGBUS, read_signal(at));

	at = mmap(NULL, 2 * page_size(), PROT_READ, MAP_SHARED, self->p.fd,
		  self->p.length - page_size());
	EXPECT_EQ(MAP_FAILED, (void *)at) {
		EXPECT_EQ(SIGBUS, read_signal(at + page_size()));
	}
}

/* The tuning of the classes says what the configuration does. */
TEST(tuning_follows_configuration)
{
	struct bufpool_config cfg = fixed_config(256 * MiB);
	/* Of what may be retained, for one of four classes on one CPU. */
	uint64_t share = 256 * MiB / 4 / sysconf(_SC_NPROCESSORS_ONLN);
	struct bufpool_control *c;
	struct pool p;
	uint32_t i;

	cfg.max_pooled_bytes = 32 * MiB;
	cfg.large_threshold_bytes = 4 * MiB;
	cfg.percpu_cached = 7;
	cfg.large_cached = 3;
	cfg.alloc_limit_bytes = 200 * MiB;
	ASSERT_EQ(0, pool_init(&p, &cfg));
	c = pool_control(&p);
	EXPECT_EQ(256 * MiB / page_size(), c->max_retained_pages);
	EXPECT_EQ(32 * MiB / page_size(), c->max_pooled_pages);
	EXPECT_EQ(200 * MiB, c->alloc_limit_bytes);
	EXPECT_LE(class_of(200 * MiB) + 1, c->nr_classes);
	for (i = 0; i < c->nr_classes; i++) {
		uint64_t bytes = bufpool_class_pages(i) * page_size();
		struct bufpool_class_tuning *t = &c->classes[i];

		EXPECT_EQ(t->percpu_cap ? BUFPOOL_CLASS_FRONT : 0,
			  t->flags & BUFPOOL_CLASS_FRONT);
		if (bytes <= 4 * MiB) {
			EXPECT_EQ(0, t->flags & BUFPOOL_CLASS_LARGE);
			/* Fewer where they would be too many bytes. */
			EXPECT_GE(7, t->percpu_cap);
			EXPECT_LT(0, t->depot_cap);
		} else {
			EXPECT_TRUE(t->flags & BUFPOOL_CLASS_LARGE);
			/* One, where that is not too many bytes. */
			EXPECT_EQ(bytes <= share, t->percpu_cap);
			/* A class above max_pooled may hold smaller buffers. */
			if (bytes <= 32 * MiB) {
				EXPECT_EQ(3, t->depot_cap);
			}
		}
	}

	EXPECT_EQ(7, c->classes[0].percpu_cap);
	EXPECT_EQ(7, c->classes[class_of(64 * KiB)].percpu_cap);

	cfg.percpu_cached = 0;
	ASSERT_EQ(0, pool_set_config(&p, &cfg));
	EXPECT_EQ(0, c->classes[class_of(5 * MiB)].percpu_cap);
	EXPECT_EQ(3, c->classes[class_of(5 * MiB)].depot_cap);
	cfg.alloc_limit_bytes = 1 * MiB;
	cfg.max_pooled_bytes = 64 * KiB;
	ASSERT_EQ(0, pool_set_config(&p, &cfg));
	EXPECT_EQ(0, c->classes[0].percpu_cap);
	EXPECT_EQ(1 * MiB, c->alloc_limit_bytes);
	EXPECT_EQ(64 * KiB / page_size(), c->max_pooled_pages);
	pool_destroy(&p);
}

TEST_HARNESS_MAIN
