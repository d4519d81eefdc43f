# SPDX-License-Identifier: GPL-2.0-only
#
# What needs virtual machines: the kernels they boot, tests in them, a prompt.

.PHONY: setup kernels shell check-vm check-runner

setup:
	@vm/setup

kernels: setup
	@for version in 6.1 6.12 7.3-debug; do \
		vm/kernel $$version || exit 1; \
	done

shell: setup libs tools
	@vm/shell

# The self-tests alone, without the library's own: see vm/check --help.
check-vm: setup $(SELFTESTS)
	vm/check

# The runner itself: boots some twenty guests for each kernel.
check-runner: setup
	vm/test-run

NATIVE_TESTS	+= vm/test-splat vm/test-tally selftests/test-run-in-guest
