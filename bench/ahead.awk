# SPDX-License-Identifier: GPL-2.0-only
#
# What is aimed at, and what was measured. Input: NAME-median.csv of native and
# paths, as summary.awk makes them. A figure that lacks a contender or a
# measurement is not made up from the others.

BEGIN {
	FS = ","
	four = "glibc jemalloc mimalloc tcmalloc"
	mib = 1048576
}

FNR == 1 {
	program = FILENAME
	sub(/.*\//, "", program)
	sub(/-median\.csv$/, "", program)
	next
}

{
	set = program "|" $1 "|" $2 "|" $3
	key = set "|" $4
	spread[key] = $7
	cost[key] = $8
	work[key] = $9
	extra[key] = $10
	if (!(set in set_work))
		set_work[set] = $9
	sets[++nr_sets] = set
	set_contender[nr_sets] = $4
}

function bytes(n)
{
	if (n < mib)
		return n / 1024 " KiB"
	return n < 1024 * mib ? n / mib " MiB" : n / 1024 / mib " GiB"
}

# A figure's cost; where there is none, the row cannot be told, nor where it is of
# other work than the others of its set.
function get(set, contender,	key)
{
	key = set "|" contender
	if (!(key in cost)) {
		if (lacks == "")
			lacks = "there is no " contender " of " set
		return 1
	}
	if (work[key] == "varies" || work[key] > set_work[set] * 1.05 ||
	    work[key] < set_work[set] / 1.05)
		lacks = "unlike work: " contender " of " set
	return cost[key]
}

# The least cost among the contenders in list; its name in "best".
function least(set, list,	names, n, i, c, min)
{
	n = split(list, names, " ")
	for (i = 1; i <= n; i++) {
		gsub(/_/, " ", names[i])
		c = get(set, names[i])
		if (i == 1 || c < min) {
			min = c
			best = names[i]
		}
	}
	return min
}

function begin(text, goal)
{
	what = text
	target = goal
	lacks = ""
	nr_details = 0
}

function detail(text)
{
	details[++nr_details] = text
}

# Whether a ratio is at most 1: 1, 0, or "level" if it is over it by no more than the
# rounds of one of the two differ.
function at_most_one(ratio, set, ours, other,	noise)
{
	noise = spread[set "|" ours]
	if (noise < spread[set "|" other])
		noise = spread[set "|" other]
	if (ratio <= 1)
		return 1
	if (ratio > 1 + noise)
		return 0
	detail(sprintf("level: one of the two spreads by %.1f %%", 100 * noise))
	return "level"
}

# met: 1, 0, or the verdict in a word.
function end(figure, met,	i)
{
	if (lacks != "") {
		figure = "-"
		verdict = "not measured"
		nr_details = 0
		detail(lacks)
	} else {
		verdict = met == "level" ? met : met ? "met" : "NOT MET"
	}
	printf "%-52s %-22s %-22s %s\n", what, target, figure, verdict
	for (i = 1; i <= nr_details; i++)
		print "    " details[i]
}

# The sizes at which a part of a program has been measured, into size[].
function find_sizes(prefix, contender,	i, n, field)
{
	n = 0
	for (i = 1; i <= nr_sets; i++) {
		if (set_contender[i] == contender && index(sets[i], prefix "|") == 1) {
			split(sets[i], field, "|")
			size[++n] = field[4]
		}
	}
	if (!n)
		lacks = "there is no " contender " of " prefix
	return n
}

function small_pairs(	n, i, set, ratio, worst, of)
{
	begin("pair, 1 thread, native, 4 KiB and 64 KiB", "<= x1 of tcmalloc")
	n = split("4096 65536", size, " ")
	for (i = 1; i <= n; i++) {
		set = "native|pair|untouched|" size[i]
		ratio = get(set, "bufpool") / get(set, "tcmalloc")
		least(set, four)
		detail(sprintf("%s: %.1f ns, tcmalloc %.1f, fastest of the four: %s", \
			bytes(size[i]), get(set, "bufpool"), \
			get(set, "tcmalloc"), best))
		if (ratio > worst) {
			worst = ratio
			of = set
		}
	}
	detail(sprintf("two compare-exchanges on a cached line: %.1f ns", \
		get(set, "limit")))
	end(sprintf("x%.2f", worst), at_most_one(worst, of, "bufpool", "tcmalloc"))
}

function big_pairs(	n, i, set, ratio, worst, min)
{
	begin("pair, 1 thread, native, 1 MiB and up", ">= 5 times faster")
	n = find_sizes("native|pair|untouched", "bufpool")
	for (i = 1; i <= n; i++) {
		if (size[i] < mib)
			continue
		set = "native|pair|untouched|" size[i]
		min = least(set, four)
		ratio = min / get(set, "bufpool")
		detail(sprintf("%s: %.1f times: %.1f ns, %s %.1f", bytes(size[i]), \
			ratio, get(set, "bufpool"), best, min))
		if (!worst || ratio < worst)
			worst = ratio
	}
	detail(sprintf("two compare-exchanges on a cached line: %.1f ns", \
		get(set, "limit")))
	end(sprintf("%.1f times", worst), worst >= 5)
}

function steady_pairs(	i, low, high, calls, n, where)
{
	begin("pair, device backend, steady state", "0 calls, all the same")
	for (i = 1; i <= nr_sets; i++) {
		if (index(sets[i], "paths|pairs|") != 1 ||
		    set_contender[i] != "bufpool")
			continue
		n = cost[sets[i] "|bufpool"]
		calls += extra[sets[i] "|bufpool"]
		if (!low || n < low)
			low = n
		if (n > high) {
			high = n
			where = sets[i]
		}
	}
	if (!low)
		lacks = "there is no bufpool of paths|pairs"
	sub(/^paths\|pairs\|/, "", where)
	sub(/\|/, ", ", where)
	detail(sprintf("%.1f to %.1f instructions, the most with %s bytes; %s", low, \
		high, where, calls ? "system calls" : "no system call"))
	end(sprintf("%.1f to %.1f instr", low, high), !calls && high < low * 1.05)
}

function cycle(	set, ratio, min)
{
	begin("64 MiB allocate, touch every page, free", ">= 100 times fewer")
	set = "paths|cycle|steady|" 64 * mib
	min = least(set, "glibc jemalloc mimalloc")
	ratio = min / get(set, "bufpool")
	detail(sprintf("%.0f kinstr, %s %.0f, tcmalloc %.0f", \
		get(set, "bufpool") / 1000, best, min / 1000, \
		get(set, "tcmalloc") / 1000))
	end(sprintf("%.0f times", ratio), ratio >= 100)
}

function cold(	set, ratio, min)
{
	set = "paths|cold|first use|" 64 * mib
	begin("cold 64 MiB, ready to write, reserve filled", ">= 20 times fewer")
	min = least(set, "mmap mmap_populate THP THP_populate memfd memfd_THP" \
		" hugetlbfs dma-heap")
	ratio = min / get(set, "bufpool reserve")
	detail(sprintf("%.0f kinstr, %s %.0f", get(set, "bufpool reserve") / 1000, \
		best, min / 1000))
	end(sprintf("%.1f times", ratio), ratio >= 20)

	begin("cold 64 MiB, no reserve", "<= x1 of mmap with THP")
	min = least(set, "THP THP_populate")
	ratio = get(set, "bufpool") / min
	detail(sprintf("%.0f kinstr, %s %.0f", get(set, "bufpool") / 1000, best, \
		min / 1000))
	end(sprintf("x%.3f", ratio), at_most_one(ratio, set, "bufpool", best))
}

function threshold(	i, ratio, worst, n, field)
{
	begin("one byte over the large threshold", ">= 0.9 of throughput")
	for (i = 1; i <= nr_sets; i++) {
		split(sets[i], field, "|")
		if (field[1] != "paths" || set_contender[i] != "at" ||
		    (field[2] != "threshold" && field[2] != "unlike sizes"))
			continue
		ratio = get(sets[i], "at") / get(sets[i], "over")
		detail(sprintf("%s, %s, %s: %.2f: %.0f instructions at it, %.0f over it", \
			field[2], field[3], bytes(field[4]), ratio, \
			get(sets[i], "at"), get(sets[i], "over")))
		if (!n++ || ratio < worst)
			worst = ratio
	}
	if (!n)
		lacks = "there is no paths|threshold"
	end(sprintf("%.2f", worst), worst >= 0.9)
}

function footprints(set, ours, fastest)
{
	return sprintf("%.1f MiB, %s %.1f, default preset %.1f", \
		get(set, ours) / mib, fastest, get(set, fastest) / mib, \
		get(set, "bufpool: default") / mib)
}

function thumbnails(	set, clock, min, fastest, kept, speed, ours)
{
	ours = "bufpool: aggressive"
	begin("thumbnail pipeline: throughput, per CPU time", ">= 1 of the fastest")
	set = "native|thumbnails (CPU time)|1 thread|0"
	clock = "native|thumbnails|1 thread|0"
	min = least(set, four)
	fastest = best
	speed = min / get(set, ours)
	detail(sprintf("%.1f ms of CPU time for a thumbnail, %s %.1f, default preset %.1f", \
		get(set, ours) / 1e6, fastest, min / 1e6, \
		get(set, "bufpool: default") / 1e6))
	detail(sprintf("by the clock: %.1f ms, %s %.1f", get(clock, ours) / 1e6, \
		fastest, get(clock, fastest) / 1e6))
	end(sprintf("%.3f", speed), at_most_one(1 / speed, set, ours, fastest))

	# Without the module nobody trims a program that makes no call: see native.c.
	begin("thumbnail pipeline: idle footprint, polled", "<= 0.25 of its")
	set = "native|footprint|1 thread: then polled|0"
	kept = get(set, ours) / get(set, fastest)
	detail(footprints(set, ours, fastest))
	detail("before it was polled: " \
		footprints("native|footprint|1 thread: after two trim periods|0", \
			   ours, fastest))
	set = "paths|footprint|idle|0"
	if ((set "|bufpool") in cost && (set "|" fastest) in cost)
		detail(sprintf("with the module, all of the process: %.1f MiB, %s %.1f", \
			get(set, "bufpool") / mib, fastest, get(set, fastest) / mib))
	end(sprintf("%.2f", kept), kept <= 0.25)
}

function two_threads(	n, i, key, ratio, worst, limit)
{
	begin("2 threads on 2 cores, each", ">= 0.9 of one alone")
	n = find_sizes("native|threads|one alone", "bufpool")
	for (i = 1; i <= n; i++) {
		ratio = get("native|threads|one alone|" size[i], "bufpool") / \
			get("native|threads|each of two|" size[i], "bufpool")
		limit = get("native|threads|one alone|" size[i], "limit") / \
			get("native|threads|each of two|" size[i], "limit")
		detail(sprintf("%s: %.2f; compare-exchanges alone: %.2f", \
			bytes(size[i]), ratio, limit))
		if (i == 1 || ratio < worst)
			worst = ratio
	}
	end(sprintf("%.2f", worst), worst >= 0.9)
}

END {
	print "Ahead by"
	small_pairs()
	big_pairs()
	steady_pairs()
	cycle()
	cold()
	threshold()
	thumbnails()
	two_threads()
}
