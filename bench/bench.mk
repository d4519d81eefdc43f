# SPDX-License-Identifier: GPL-2.0-only
#
# Benchmarks: figures to look at, in build/bench/; nothing is asserted.

BENCH_PROGRAMS	:= $(patsubst bench/%.c,build/bench/%,$(wildcard bench/*.c))

# With the shared library: what it is compared with is shared too.
$(BENCH_PROGRAMS): build/bench/%: bench/%.c $(wildcard bench/*.h) \
		uapi/linux/bufpool.h userlib/include/bufpool.h \
		build/lib/libbufpool.so
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(CPPFLAGS) -Iuapi -Iuserlib/include \
		$(CFLAGS) $(WARN) $(LDFLAGS) -pthread \
		'-Wl,-rpath,$$ORIGIN/../lib' -o $@ $< -Lbuild/lib -lbufpool

# QUICK=1: less memory, fewer sizes, two rounds.
.PHONY: bench
bench: setup $(BENCH_PROGRAMS) build/bin/thumbnail
	@bench/run $(if $(QUICK),--quick)

# Figures and plots of the last run into the documentation.
.PHONY: bench-docs
bench-docs:
	@test -e build/bench/ahead.txt || { \
		echo "Nothing measured yet: make bench" >&2; exit 1; }
	@mkdir -p Documentation/benchmarks
	cp build/bench/*.svg build/bench/*.txt build/bench/*.environment \
		Documentation/benchmarks

NATIVE_TESTS	+= bench/test-summary
