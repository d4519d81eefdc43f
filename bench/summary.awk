# SPDX-License-Identifier: GPL-2.0-only
#
# The medians of a benchmark's rows, compared. Input: CSV as bench.h describes;
# output: one line for each part, kind, size and contender. A spread is
# (largest - smallest) / median. The ratio is the time per byte over that of the
# first contender; it is refused where the work differs by more than a twentieth.
#
# With -v csv=1 for a plot: part, kind, size, contender, value, spread.

BEGIN {
	FS = ","
	unit["return"] = "MiB/ms"
	unit["pressure"] = "us/MiB"
	unit["worst page"] = "us"
	unit["refill"] = "us/buffer"
}

function fail(message)
{
	print "summary.awk: " message > "/dev/stderr"
	failed = 1
	exit 1
}

FNR == 1 {
	if ($0 != "part,kind,size,contender,round,work,ns,extra")
		fail(FILENAME ": not a benchmark's rows")
	next
}

NF == 8 {
	set = $1 SUBSEP $2 SUBSEP $3
	if (!(set in contenders)) {
		sets[++nr_sets] = set
		contenders[set] = 0
	}
	key = set SUBSEP $4
	if (!(key in rounds))
		name[set, ++contenders[set]] = $4
	n = ++rounds[key]
	work[key, n] = $6
	ns[key, n] = $7
	extra[key, n] = $8
	next
}

{
	fail(FILENAME ":" FNR ": " NF " fields")
}

# Sorts sorted[1..n].
function sort(n,	i, j, x)
{
	for (i = 2; i <= n; i++) {
		x = sorted[i]
		for (j = i - 1; j && sorted[j] > x; j--)
			sorted[j + 1] = sorted[j]
		sorted[j + 1] = x
	}
}

function median(from, key,	n, i)
{
	n = rounds[key]
	for (i = 1; i <= n; i++)
		sorted[i] = from[key, i] + 0
	sort(n)
	low = sorted[1]
	high = sorted[n]
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function bytes(n)
{
	return n < 1048576 ? n / 1024 " KiB" : n / 1048576 " MiB"
}

function value(part, size, work, ns)
{
	if (part == "return")
		return work / 1048576 / (ns / 1e6)
	if (part == "pressure")
		return ns / 1000 / (work / 1048576)
	if (part == "refill")
		return ns / 1000 / (work / size)
	return ns / 1000
}

END {
	if (failed)
		exit 1
	if (!nr_sets)
		fail("no measurements")
	for (s = 1; s <= nr_sets; s++) {
		set = sets[s]
		split(set, field, SUBSEP)
		part = field[1]
		if (!csv) {
			printf "\n%s, %s, %s\n", part, field[2], bytes(field[3])
			title = part == "pressure" ? "      lost" : ""
			printf "  %-28s %12s %8s %8s %s\n", "", unit[part],
				"spread", "time", title
		}
		for (c = 1; c <= contenders[set]; c++) {
			key = set SUBSEP name[set, c]
			w = median(work, key)
			alike = high - low <= w / 20
			t = median(ns, key)
			spread = t ? (high - low) / t : 0
			if (c == 1) {
				first_work = w
				first_ns = t
			}
			if (!w || !t) {
				if (!csv)
					printf "  %-28s did nothing: no figure\n",
						name[set, c]
				continue
			}
			alike = alike && first_work && w < first_work * 1.05 &&
				w > first_work / 1.05
			ratio = "unlike"
			if (alike)
				ratio = sprintf("x%.3g", t / w / (first_ns / first_work))
			v = value(part, field[3], w, t)
			if (csv) {
				printf "%s,%s,%s,%s,%.6g,%.4f\n", part, field[2],
					field[3], name[set, c], v, spread
				continue
			}
			lost = ""
			if (part == "pressure")
				lost = sprintf("%6.1f MiB", median(extra, key) / 1048576)
			printf "  %-28s %12.2f %7.1f%% %8s %s\n", name[set, c], v,
				spread * 100, ratio, lost
		}
	}
}
