// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The presets, from the table the kernel uses as well.
 */
#include <errno.h>
#include <unistd.h>

#include "pool.h"

struct preset {
	const char *name;
	uint64_t max_pooled_bytes;
	uint64_t large_threshold_bytes;
	uint32_t percpu_cached;
	uint32_t large_cached;
	uint64_t max_retained_bytes;
	uint32_t ram_divisor;
	uint32_t trim_percent;
	uint32_t trim_period_ms;
};

static const struct preset presets[] = {
#define ROW(symbol, ...) \
	[BUFPOOL_PRESET_##symbol] = { __VA_ARGS__ },
	BUFPOOL_PRESETS(ROW)
#undef ROW
};

/* @divisor-th part of the machine's memory, in whole pages. */
static uint64_t share_of_ram(uint32_t divisor)
{
	uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);

	return pages / divisor * (uint64_t)sysconf(_SC_PAGESIZE);
}

int bufpool_config_init(struct bufpool_config *cfg, enum bufpool_preset preset)
{
	const struct preset *p;

	if ((size_t)preset >= ARRAY_SIZE(presets))
		return -EINVAL;

	p = &presets[preset];
	*cfg = (struct bufpool_config) {
		.size = sizeof(*cfg),
		.max_pooled_bytes = p->max_pooled_bytes,
		.large_threshold_bytes = p->large_threshold_bytes,
		.max_retained_bytes = p->max_retained_bytes ?
			p->max_retained_bytes : share_of_ram(p->ram_divisor),
		.pool_limit_bytes = BUFPOOL_FOLLOW,
		.alloc_limit_bytes = BUFPOOL_FOLLOW,
		.percpu_cached = p->percpu_cached,
		.large_cached = p->large_cached,
		.trim_period_ms = p->trim_period_ms,
		.trim_percent = p->trim_percent,
	};
	return 0;
}
