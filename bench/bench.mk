# SPDX-License-Identifier: GPL-2.0-only
#
# Benchmarks: figures to look at, in build/bench/; nothing is asserted.

BENCH_PROGRAMS	:= build/bench/reclaim

$(BENCH_PROGRAMS): build/bench/%: bench/%.c bench/bench.h uapi/linux/bufpool.h \
		userlib/include/bufpool.h build/lib/libbufpool.a
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(CPPFLAGS) -Iuapi -Iuserlib/include \
		$(CFLAGS) $(WARN) $(LDFLAGS) -o $@ $< build/lib/libbufpool.a

# QUICK=1: less memory, fewer sizes, two rounds.
.PHONY: bench
bench: setup $(BENCH_PROGRAMS)
	@bench/run $(if $(QUICK),--quick)
