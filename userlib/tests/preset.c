// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * bufpool_config_init(): each preset's values, as documented.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bufpool.h>

#include "tap.h"

#define KIB	1024ULL
#define MIB	(1024 * KIB)

static void check_preset(enum bufpool_preset preset, const char *name,
			 const struct bufpool_config *want)
{
	struct bufpool_config got;

	memset(&got, 0xa5, sizeof(got));
	check(bufpool_config_init(&got, preset) == 0, "%s: accepted", name);
	check(got.size == sizeof(got) && got.flags == 0, "%s: header", name);
	check(got.max_pooled_bytes == want->max_pooled_bytes,
	      "%s: max_pooled_bytes", name);
	check(got.large_threshold_bytes == want->large_threshold_bytes,
	      "%s: large_threshold_bytes", name);
	check(got.max_retained_bytes == want->max_retained_bytes,
	      "%s: max_retained_bytes", name);
	check(got.percpu_cached == want->percpu_cached, "%s: percpu_cached",
	      name);
	check(got.large_cached == want->large_cached, "%s: large_cached", name);
	check(got.trim_period_ms == want->trim_period_ms, "%s: trim_period_ms",
	      name);
	check(got.trim_percent == want->trim_percent, "%s: trim_percent", name);
	check(got.pool_limit_bytes == BUFPOOL_FOLLOW &&
	      got.alloc_limit_bytes == BUFPOOL_FOLLOW,
	      "%s: the limits follow the device", name);
}

int main(void)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * page;
	struct bufpool_config cfg, before;

	check_preset(BUFPOOL_PRESET_DEFAULT, "default",
		     &(struct bufpool_config) {
			.max_pooled_bytes = 24 * MIB,
			.large_threshold_bytes = 8 * MIB,
			.max_retained_bytes = ram / 8 / page * page,
			.percpu_cached = 16,
			.large_cached = 6,
			.trim_period_ms = 60000,
			.trim_percent = 50,
		     });
	check_preset(BUFPOOL_PRESET_MINIMAL, "minimal",
		     &(struct bufpool_config) {
			.max_pooled_bytes = 64 * KIB,
			.large_threshold_bytes = 32 * KIB,
			.max_retained_bytes = 16 * MIB,
			.percpu_cached = 24,
			.large_cached = 8,
			.trim_period_ms = 10000,
			.trim_percent = 50,
		     });
	check_preset(BUFPOOL_PRESET_MODERATE, "moderate",
		     &(struct bufpool_config) {
			.max_pooled_bytes = 1 * MIB,
			.large_threshold_bytes = 32 * KIB,
			.max_retained_bytes = 64 * MIB,
			.percpu_cached = 24,
			.large_cached = 16,
			.trim_period_ms = 30000,
			.trim_percent = 50,
		     });
	check_preset(BUFPOOL_PRESET_AGGRESSIVE, "aggressive",
		     &(struct bufpool_config) {
			.max_pooled_bytes = 128 * MIB,
			.large_threshold_bytes = 32 * MIB,
			.max_retained_bytes = ram / 4 / page * page,
			.percpu_cached = 32,
			.large_cached = 16,
			.trim_period_ms = 120000,
			.trim_percent = 25,
		     });

	memset(&cfg, 0xa5, sizeof(cfg));
	before = cfg;
	check(bufpool_config_init(&cfg, (enum bufpool_preset)4) == -EINVAL,
	      "unknown preset: EINVAL");
	check(bufpool_config_init(&cfg, (enum bufpool_preset)-1) == -EINVAL,
	      "negative preset: EINVAL");
	check(!memcmp(&cfg, &before, sizeof(cfg)),
	      "unknown preset: configuration untouched");
	return tap_end();
}
