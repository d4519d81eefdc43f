// SPDX-License-Identifier: GPL-2.0-only
/* The tracepoints of the slow paths: there, and hit when their path is taken. */
#include "kselftest_harness.h"
#include "pool.h"

#define TRACEFS	"/sys/kernel/tracing/"
#define EVENTS	TRACEFS "events/bufpool/"

static const char * const events[] = {
	"bufpool_alloc_slow", "bufpool_attach", "bufpool_free_slow",
	"bufpool_release", "bufpool_trim", "bufpool_shrink", "bufpool_reclaim",
	"bufpool_limit", "bufpool_reserve_refill", "bufpool_reserve_shrink",
};

FIXTURE(trace) {
	struct pool p;
	char *text;
};

#define TEXT_BYTES	(1 * MiB)

FIXTURE_SETUP(trace)
{
	struct bufpool_config cfg = fixed_config(32 * MiB);

	if (access(TRACEFS "trace", F_OK) || access(TRACEFS "events", F_OK))
		SKIP(return, "a kernel without event tracing");
	ASSERT_EQ(0, pool_init(&self->p, &cfg));
	self->text = malloc(TEXT_BYTES);
	ASSERT_NE(NULL, self->text);
	ASSERT_EQ(0, write_file(EVENTS "enable", "1"));
	ASSERT_EQ(0, write_file(TRACEFS "tracing_on", "1"));
}

FIXTURE_TEARDOWN(trace)
{
	write_file(EVENTS "enable", "0");
	sysfs_set("reserve_bytes", 0);
	pool_destroy(&self->p);
}

/* How often @event is in the trace since the last look. */
static unsigned int hits(char *text, const char *event)
{
	unsigned int nr = 0;
	char name[64];

	if (read_file(TRACEFS "trace", text, TEXT_BYTES) < 0)
		die("trace: %s", strerror(errno));
	snprintf(name, sizeof(name), ": %s: ", event);
	while ((text = strstr(text, name))) {
		nr++;
		text++;
	}
	return nr;
}

static void forget(void)
{
	int fd = open(TRACEFS "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		die("trace: %s", strerror(errno));
	close(fd);
}

TEST_F(trace, exist)
{
	char path[256];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(events); i++) {
		snprintf(path, sizeof(path), EVENTS "%s/format", events[i]);
		EXPECT_EQ(0, access(path, R_OK)) {
			TH_LOG("%s", events[i]);
		}
	}
}

TEST_F(trace, are_hit)
{
	int64_t offset;

	forget();
	offset = pool_alloc(&self->p, 3 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	EXPECT_LE(1, hits(self->text, "bufpool_alloc_slow"));
	EXPECT_LE(1, hits(self->text, "bufpool_attach"));
	EXPECT_EQ(0, hits(self->text, "bufpool_release"));
	EXPECT_EQ(0, hits(self->text, "bufpool_limit"));

	forget();
	ASSERT_EQ(0, pool_free(&self->p, offset));
	EXPECT_EQ(1, hits(self->text, "bufpool_free_slow"));
	EXPECT_EQ(0, hits(self->text, "bufpool_attach"));

	/* Reused: nothing is attached. */
	forget();
	ASSERT_EQ(offset, pool_alloc(&self->p, 3 * MiB, 0, NULL));
	EXPECT_EQ(1, hits(self->text, "bufpool_alloc_slow"));
	EXPECT_EQ(0, hits(self->text, "bufpool_attach"));
	ASSERT_EQ(0, pool_free(&self->p, offset));

	forget();
	ASSERT_EQ((int64_t)(3 * MiB), pool_release(&self->p));
	EXPECT_LE(1, hits(self->text, "bufpool_release"));

	forget();
	offset = pool_alloc(&self->p, 32 * MiB, 0, NULL);
	ASSERT_LE(0, offset);
	EXPECT_EQ(0, hits(self->text, "bufpool_limit"));
	EXPECT_EQ(-EDQUOT, pool_alloc(&self->p, 1, 0, NULL));
	EXPECT_EQ(1, hits(self->text, "bufpool_limit"));
}

/* One tracepoint for each way that memory goes back. */
TEST_F(trace, tell_the_ways_back_apart)
{
	struct bufpool_config cfg = fixed_config(32 * MiB);
	int64_t offset;
	int i;

	for (i = 0; i < 3; i++) {
		offset = pool_alloc(&self->p, 3 * MiB, 0, NULL);
		ASSERT_LE(0, offset);
		ASSERT_EQ(0, pool_free(&self->p, offset));
		forget();
		switch (i) {
		case 0:
			cfg.max_retained_bytes = 0;
			ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
			cfg.max_retained_bytes = 32 * MiB;
			break;
		case 1:
			while (pool_retained(&self->p))
				shrink();
			break;
		case 2:
			cfg.trim_period_ms = 10;
			cfg.trim_percent = 100;
			ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
			while (pool_retained(&self->p))
				sched_yield();
			/* It is traced after the memory is gone. */
			while (!hits(self->text, "bufpool_trim"))
				sched_yield();
			break;
		}
		EXPECT_EQ(i == 0, hits(self->text, "bufpool_reclaim"));
		EXPECT_EQ(i == 1, hits(self->text, "bufpool_shrink"));
		EXPECT_EQ(i == 2, hits(self->text, "bufpool_trim"));
		EXPECT_EQ(0, hits(self->text, "bufpool_release"));
		if (i < 2)
			ASSERT_EQ(0, pool_set_config(&self->p, &cfg));
	}
}

TEST_F(trace, the_reserve)
{
	if (sysfs_set("reserve_bytes", 8 * MiB) == -EOPNOTSUPP)
		SKIP(return, "a kernel without transparent huge pages");
	/* It is traced after it is there. */
	while (hits(self->text, "bufpool_reserve_refill") < 4)
		sched_yield();
	EXPECT_EQ(0, hits(self->text, "bufpool_reserve_shrink"));

	forget();
	do {
		shrink();
	} while (sysfs_value("reserve_held_bytes"));
	EXPECT_LE(1, hits(self->text, "bufpool_reserve_shrink"));

	/* The administrator's own doing is no news to him. */
	while (hits(self->text, "bufpool_reserve_refill") < 4)
		usleep(10 * 1000);
	forget();
	ASSERT_EQ(0, sysfs_set("reserve_bytes", 0));
	EXPECT_EQ(0, hits(self->text, "bufpool_reserve_refill"));
	EXPECT_EQ(0, hits(self->text, "bufpool_reserve_shrink"));
}

/* Disabled, they say nothing. */
TEST_F(trace, can_be_disabled)
{
	forget();
	ASSERT_EQ(0, write_file(EVENTS "enable", "0"));
	EXPECT_LE(0, pool_alloc(&self->p, 3 * MiB, 0, NULL));
	EXPECT_EQ(0, hits(self->text, "bufpool_alloc_slow"));
	EXPECT_EQ(0, hits(self->text, "bufpool_attach"));
}

TEST_HARNESS_MAIN
