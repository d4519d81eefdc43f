// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The headers in C++, where a function and a structure of one name are told
 * apart by the word struct, and the library's functions have C linkage.
 */
#include <bufpool.h>

#include <cerrno>
#include <type_traits>

#include "tap.h"

static_assert(std::is_same<decltype(bufpool_alloc),
			   void *(struct bufpool *, size_t, unsigned)>::value,
	      "bufpool_alloc is the function");
static_assert(sizeof(struct bufpool_alloc) == 32,
	      "struct bufpool_alloc is the structure");

int main()
{
	struct bufpool_config cfg;

	check(bufpool_config_init(&cfg, BUFPOOL_PRESET_MODERATE) == 0 &&
	      cfg.size == sizeof(cfg) && cfg.max_pooled_bytes == 1 << 20,
	      "bufpool_config_init() links and works");
	check(bufpool_config_init(&cfg, static_cast<bufpool_preset>(4)) == -EINVAL,
	      "and reports errors");
	check(bufpool_class(9) == 8 && bufpool_class_pages(8) == 10,
	      "the inline functions of <linux/bufpool.h>");
	bufpool_destroy(nullptr);
	{
		BUFPOOL_SCOPE(scope, nullptr);

		check(bufpool_scope_remove(&scope, &cfg) == nullptr,
		      "BUFPOOL_SCOPE declares an empty scope");
	}
	return tap_end();
}
