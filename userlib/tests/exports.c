// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The shared library exports its interface, versioned, and nothing else.
 */
#include <dlfcn.h>

#include "tap.h"

static const char *const exported[] = {
	"bufpool_alloc", "bufpool_backend", "bufpool_config_init",
	"bufpool_count_live", "bufpool_create", "bufpool_destroy",
	"bufpool_free", "bufpool_get_config", "bufpool_get_stats",
	"bufpool_release_retained", "bufpool_scope_add", "bufpool_scope_alloc",
	"bufpool_scope_begin", "bufpool_scope_end", "bufpool_scope_remove",
	"bufpool_set_config", "bufpool_strengthen", "bufpool_usable_size",
	"bufpool_weaken",
};

static const char *const internal[] = {
	"bufpool_open_mapping", "bufpool_abort_buffer",
	"bufpool_abort_corrupted", "bufpool_slot_of",
	"bufpool_walk_live", "bufpool_leaks_open", "bufpool_leaks_close",
	"bufpool_leaks_record", "bufpool_leaks_forget",
	"bufpool_strengthen_for", "bufpool_free_request",
	"bufpool_anonymous_create", "bufpool_anonymous_corrupted",
	"bufpool_anonymous_alloc", "bufpool_anonymous_free",
	"bufpool_config_read", "bufpool_config_effective",
	"bufpool_config_publish", "bufpool_slot_reserve",
	"bufpool_slot_unreserve", "bufpool_slot_find", "bufpool_slot_set",
	"bufpool_slot_clear", "bufpool_span_next_slot", "bufpool_attach",
	"bufpool_drop", "bufpool_idle_pages", "bufpool_detach",
	"bufpool_release", "bufpool_release_weak", "bufpool_reclaim",
	"bufpool_enforce", "bufpool_trim_arm", "bufpool_trim",
	"bufpool_trim_is_due",
};

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

int main(void)
{
	void *lib = dlopen("libbufpool.so.0", RTLD_NOW | RTLD_LOCAL);
	size_t i;

	if (!check(lib, "libbufpool.so.0 loads")) {
		printf("# %s\n", dlerror());
		return tap_end();
	}
	for (i = 0; i < ARRAY_SIZE(exported); i++)
		check(dlvsym(lib, exported[i], "LIBBUFPOOL_0.1"), "%s@LIBBUFPOOL_0.1",
		      exported[i]);
	for (i = 0; i < ARRAY_SIZE(internal); i++)
		check(!dlsym(lib, internal[i]), "%s is not exported",
		      internal[i]);
	return tap_end();
}
