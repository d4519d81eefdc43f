# SPDX-License-Identifier: GPL-2.0-only
#
# The kselftest programs.  Their harness is the kernel's, from Debian's package
# or, with KSELFTEST_DIR=, from a directory that has kselftest_harness.h.

# Those about the library, which run on both its backends; and those of them that
# need the device.  The others make their ioctls themselves.
SELFTEST_BOTH	:= abort library library_backend library_front library_threads steady
SELFTEST_LIB	:= $(SELFTEST_BOTH) library_device
# In guests of their own: see retaining.c.
SELFTEST_OOM	:= retaining
SELFTEST_ABI	:= $(filter-out $(SELFTEST_LIB) $(SELFTEST_OOM), \
		   $(patsubst selftests/%.c,%,$(wildcard selftests/*.c)))

SELFTEST_ABI_PROGRAMS := $(SELFTEST_ABI:%=build/selftests/%)
SELFTEST_LIB_PROGRAMS := $(SELFTEST_LIB:%=build/selftests/%)
SELFTEST_OOM_PROGRAMS := $(SELFTEST_OOM:%=build/oom/%)
SELFTESTS	+= $(SELFTEST_ABI_PROGRAMS) $(SELFTEST_LIB_PROGRAMS) \
		   $(SELFTEST_OOM_PROGRAMS)

NATIVE_TESTS	+= $(SELFTEST_BOTH:%=build/selftests/%)

# The harness declares a fixture's functions nowhere.
SELFTEST_HARNESS := build/obj/selftests/harness
SELFTEST_CC	= $(CC) -std=gnu11 -D_GNU_SOURCE $(CPPFLAGS) -Iuapi -Iuserlib/include \
		  -isystem $(SELFTEST_HARNESS) $(CFLAGS) $(WARN) \
		  -Wno-missing-prototypes -pthread

.PHONY: selftests
selftests: $(SELFTESTS)

$(SELFTEST_HARNESS): selftests/linux-tools
	@mkdir -p $(@D)
	dir=$${KSELFTEST_DIR:-$$(selftests/linux-tools)/tools/testing/selftests} && \
		test -f "$$dir/kselftest_harness.h" && ln -sfnT "$$dir" $@

$(SELFTESTS): selftests/pool.h uapi/linux/bufpool.h | $(SELFTEST_HARNESS)

$(SELFTEST_ABI_PROGRAMS): build/selftests/%: selftests/%.c
	@mkdir -p $(@D)
	$(SELFTEST_CC) $(LDFLAGS) -o $@ $<

$(SELFTEST_LIB_PROGRAMS): build/selftests/%: selftests/%.c \
		userlib/include/bufpool.h build/lib/libbufpool.a
	@mkdir -p $(@D)
	$(SELFTEST_CC) $(LDFLAGS) -o $@ $< build/lib/libbufpool.a

$(SELFTEST_OOM_PROGRAMS): build/oom/%: selftests/%.c
	@mkdir -p $(@D)
	$(SELFTEST_CC) $(LDFLAGS) -o $@ $<
