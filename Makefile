# SPDX-License-Identifier: GPL-2.0-only
#
# bufpool: the module, the library, the tests, the demo.  See `make help`.

CC	?= gcc
CFLAGS	?= -O2 -g
WARN	:= -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
KDIR	?= /lib/modules/$(shell uname -r)/build
PREFIX	?= /usr/local
DESTDIR	?=

LIBS		:=
TOOLS		:=
SELFTESTS	:=
NATIVE_TESTS	:=
NATIVE_CHECKS	:=

.PHONY: all
all: libs tools module

include userlib/userlib.mk
include userlib/examples/examples.mk
include selftests/selftests.mk
include vm/vm.mk
include bench/bench.mk

.PHONY: libs tools module
libs: $(LIBS)
tools: $(TOOLS)

module:
	@test -e $(KDIR)/Makefile || { \
		echo "No kernel headers in $(KDIR): install linux-headers-$$(uname -r)," \
		     "or name a kernel's build directory with KDIR=." >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

.PHONY: check
check: setup
	@$(MAKE) --no-print-directory libs tools $(NATIVE_TESTS) $(SELFTESTS)
	@selftests/check $(NATIVE_TESTS) $(NATIVE_CHECKS)

.PHONY: lint
lint: setup
	selftests/lint

.PHONY: clean
clean:
	rm -rf build
	find . -path ./.git -prune -o \( -name '*.o' -o -name '*.ko' -o -name '*.mod' \
		-o -name '*.mod.c' -o -name '.*.cmd' -o -name '.*.d' \
		-o -name Module.symvers -o -name modules.order \) -type f -print0 | \
		xargs -0r rm -f

.PHONY: help
help:
	@echo 'Set up, build and show:'
	@echo '  make demo        boot a VM, load the module, scale photographs through it'
	@echo '  make check       all tests, on three kernels; the last line counts them'
	@echo '  make bench       figures, beside the alternatives; QUICK=1 for fewer'
	@echo '  make shell       a prompt in a VM with the module loaded'
	@echo 'Build:'
	@echo '  make             the module for the running kernel, the library, the tools'
	@echo '                   KDIR=DIR for another kernel, given by its build directory'
	@echo '  make module      bufpool.ko alone'
	@echo '  make libs tools  what needs no kernel: into build/lib and build/bin'
	@echo '  make install     the library, its headers and manual pages'
	@echo '                   PREFIX=/usr/local DESTDIR='
	@echo '  make uninstall   take them away again'
	@echo '  make clean       remove everything that was built here'
	@echo 'Develop:'
	@echo '  make setup       install the Debian packages that all of this needs'
	@echo '  make bench-docs  what make bench has found, into Documentation/benchmarks'
	@echo '  make kernels     download or build the kernels the VMs boot'
	@echo '  make lint        compiler, sparse, checkpatch, kernel-doc, shellcheck'
