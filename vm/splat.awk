# SPDX-License-Identifier: GPL-2.0-only
#
# The patterns and the excerpts of splat. Exits with 1 when it found something.

function pattern(re)
{
	re_list[++nr_re] = re
}

BEGIN {
	# Oopses, panics, BUG and WARN
	pattern("(^|[^A-Za-z_])BUG:")
	pattern("kernel BUG at")
	pattern("^WARNING:")
	pattern("WARNING: (CPU: [0-9]|possible|suspicious|inconsistent|bad|held|lock|nested|at )")
	pattern("WARNING: [^ ]*:[0-9]+ at ")
	pattern("cut here \\]---")
	pattern("end trace [0-9a-f]+ \\]---")
	pattern("Call Trace:")
	pattern("Oops")
	pattern("Kernel panic")
	pattern("PANIC:")
	pattern("(invalid opcode|divide error|double fault|stack segment|int3): [0-9]")
	pattern("Unable to handle kernel|unable to handle")
	pattern("Fixing recursive fault")

	# Sanitizers and object debugging
	pattern("KASAN:")
	pattern("KFENCE:")
	pattern("KCSAN:")
	pattern("KMSAN:")
	pattern("UBSAN:")
	pattern("ODEBUG:")
	pattern("refcount_t:")
	pattern("(list_add|list_del|list|slab|Slab|heap|Object|object) corrupt")
	pattern("(list_add|list_del)[^ ]* (corruption|double)")
	pattern("usercopy: Kernel memory")

	# Slab and page allocator
	pattern("^BUG [^ ]+ \\(")
	pattern("Objects remaining")
	pattern("still has objects")
	pattern("(Left|Right) Redzone overwritten|Poison overwritten|Redzone overwritten")
	pattern("Freepointer corrupt|Freechain corrupt")
	pattern("SLUB .*(orrupt|rror)")
	pattern("pagealloc: (memory corruption|single bit error)")
	pattern("page allocation failure")
	pattern("allocation failure: [0-9]+ bytes")
	pattern("Bad page (state|map|cache)")
	pattern("Bad rss-counter")
	pattern("page dumped because")
	pattern(": bad (pgd|p4d|pud|pmd|pte) ")
	pattern("Busy inodes after unmount")
	pattern("invoked oom-killer")
	pattern("[Oo]ut of memory: Kill")

	# Locking and context
	pattern("possible recursive locking")
	pattern("circular locking dependency")
	pattern("lock inversion dependency")
	pattern("(safe|unsafe) lock order detected")
	pattern("inconsistent lock state")
	pattern("suspicious RCU usage")
	pattern("held lock freed")
	pattern("[Ll]ock held when (returning|freeing)")
	pattern("locks? still held|still has locks held")
	pattern("bad (unlock|contention) balance")
	pattern("[Ii]nvalid wait context")
	pattern("nested lock was not taken")
	pattern("Possible unsafe locking scenario|possible deadlock")
	pattern("trying to register non-static key")
	pattern("DEBUG_LOCKS_WARN_ON")
	pattern("sleeping function called from")
	pattern("scheduling while atomic")
	pattern("Voluntary context switch within RCU")

	# A checker that has given up finds nothing any more
	pattern("turning off the locking correctness validator")
	pattern("lockdep is turned off")
	pattern("MAX_LOCK(DEP|_DEPTH|DEP_[A-Z]+) .*too low")
	pattern("kmemleak: (Memory pool empty|Cannot |Kernel memory leak detector disabled|Kmemleak disabled)")
	pattern("out of memory\\. ODEBUG disabled")

	# Stalls
	pattern("soft lockup")
	pattern("[Hh]ard LOCKUP|hard lockup")
	pattern("blocked for more than")
	pattern("blocked in I/O wait for more than")
	pattern("detected (expedited )?stalls? on")
	pattern("self-detected stall")
	pattern("rcu.*kthread (starved|timer wakeup)")
	pattern("workqueue lockup")

	# Leaks
	pattern("new suspected memory leak")
	pattern("unreferenced object")

	# Written by init
	pattern("^vm: FAIL: ")

	allow = ENVIRON["ALLOW"]
	all = "(" re_list[1] ")"
	for (i = 2; i <= nr_re; i++)
		all = all "|(" re_list[i] ")"
	after = 50		# lines of an excerpt after a match
	max_lines = 400		# of all excerpts together
}

function is_splat(line)
{
	if (allow != "" && line ~ allow) {
		# These two print a call trace; its heading comes within a few
		# lines and is a part of them.
		if (line ~ /invoked oom-killer|page allocation failure/)
			trace_until = NR + 12
		return 0
	}
	if (line ~ /Call Trace:/ && NR <= trace_until) {
		trace_until = 0
		return 0
	}
	if (line ~ all)
		return 1
	# A program's own fault is reported with the program's name and "ip:".
	return line ~ /general protection fault/ &&
	       line !~ /^traps: .* general protection fault ip:/
}

{
	raw = $0
	sub(/\r+$/, "", raw)
	line = raw
	# Time stamp and, with CONFIG_PRINTK_CALLER, the caller.
	while (line ~ /^\[[ 0-9.TC]*\]/)
		sub(/^\[[ 0-9.TC]*\] ?/, "", line)
	sub(/^\r/, "", line)

	if (is_splat(line)) {
		found++
		if (NR > last_shown + 1) {
			if (found > 1)
				show("...")
			if (before != "" && NR - 1 > last_shown)
				show(before)
		}
		show_until = NR + after
	}
	if (NR <= show_until) {
		show(raw)
		last_shown = NR
	}
	before = raw
}

function show(text)
{
	if (++shown <= max_lines)
		print text
	else if (shown == max_lines + 1)
		print "... (the log has more)"
}

END {
	exit found > 0
}
