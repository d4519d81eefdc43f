# SPDX-License-Identifier: GPL-2.0-only
#
# The medians of a benchmark's rows, compared. Input: CSV as bench.h describes;
# output: one line for each part, kind, size and contender. A spread is
# (largest - smallest) / median. "cost" is the cost per work over that of the
# first contender; it is refused where the work differs by more than a twentieth.
#
# With -v csv=1 for plots and for ahead.awk: part, kind, size, contender, unit,
# figure, spread, cost of an operation, its work or "varies", extra; all of them
# medians.

BEGIN {
	FS = ","
	OFS = ","
	header = "part,kind,size,contender,round,unit,count,work,cost,extra,extra_unit"
	scale["ns"] = scale["instr"] = 1
	scale["us"] = scale["kinstr"] = 1e3
	scale["ms"] = scale["Minstr"] = 1e6
	scale["s"] = 1e9
	mib = 1048576
	if (csv)
		print "part,kind,size,contender,unit,figure,spread,cost,work,extra"
}

function fail(message)
{
	print "summary.awk: " message > "/dev/stderr"
	failed = 1
	exit 1
}

FNR == 1 {
	if ($0 != header)
		fail(FILENAME ": not a benchmark's rows")
	next
}

NF != 11 {
	fail(FILENAME ":" FNR ": " NF " fields")
}

$1 == "missing" {
	missing[$4] = $2
	next
}

{
	set = $1 SUBSEP $2 SUBSEP $3
	if (!(set in contenders)) {
		sets[++nr_sets] = set
		contenders[set] = 0
	}
	key = set SUBSEP $4
	if (!(key in rounds)) {
		name[set, ++contenders[set]] = $4
		unit[set] = $6
	}
	if ($6 != unit[set])
		fail(FILENAME ":" FNR ": another unit")
	if (!$7)
		fail(FILENAME ":" FNR ": not a single operation")
	n = ++rounds[key]
	work[key, n] = $8
	cost[key, n] = $9 / $7
	extra[key, n] = $10
	if ($11 != "")
		extra_unit[set] = $11
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
	if (n < mib)
		return n / 1024 " KiB"
	return n < 1024 * mib ? n / mib " MiB" : n / 1024 / mib " GiB"
}

# See row() in bench.h.
function figure(unit, work, cost,	field)
{
	if (unit == "MiB")
		return cost / mib
	if (unit in scale)
		return cost / scale[unit]
	split(unit, field, "/")
	if (field[1] in scale)
		return cost / scale[field[1]] / (field[2] == "MiB" ? work / mib : 1)
	if (!(field[2] in scale))
		fail("unit " unit)
	return (field[1] == "MiB" ? work / mib : 1) * scale[field[2]] / cost
}

function number(x)
{
	if (x >= 1000)
		return sprintf("%.0f", x)
	return sprintf(x >= 100 ? "%.1f" : x >= 1 ? "%.2f" : "%.4f", x)
}

function extra_column(text)
{
	return text == "" ? "" : sprintf(" %16s", text)
}

END {
	if (failed)
		exit 1
	if (!nr_sets)
		fail("no measurements")
	for (s = 1; s <= nr_sets; s++) {
		set = sets[s]
		split(set, field, SUBSEP)
		if (!csv) {
			title = field[1]
			if (field[2] != "")
				title = title ", " field[2]
			if (field[3])
				title = title ", " bytes(field[3])
			printf "\n%s\n  %-28s %14s %8s %8s%s\n", title, "",
				unit[set], "spread", "cost",
				extra_column(extra_unit[set])
		}
		for (c = 1; c <= contenders[set]; c++) {
			key = set SUBSEP name[set, c]
			w = median(work, key)
			steady = high - low <= w / 20
			t = median(cost, key)
			spread = t ? (high - low) / t : 0
			if (c == 1) {
				first_work = w
				first_cost = t
			}
			if (!w || !t) {
				if (!csv)
					printf "  %-28s did nothing: no figure\n",
						name[set, c]
				continue
			}
			alike = steady && first_work && w < first_work * 1.05 &&
				w > first_work / 1.05
			ratio = "unlike"
			if (alike)
				ratio = sprintf("x%.3g", t / w / (first_cost / first_work))
			v = figure(unit[set], w, t)
			x = median(extra, key)
			if (csv) {
				printf "%s,%s,%s,%s,%s,%.6g,%.4f,%.8g,%s,%.8g\n",
					field[1], field[2], field[3], name[set, c],
					unit[set], v, spread, t,
					steady ? sprintf("%.8g", w) : "varies", x
				continue
			}
			if (extra_unit[set] ~ /^MiB/)
				x /= mib
			printf "  %-28s %14s %7.1f%% %8s%s\n", name[set, c],
				number(v), spread * 100, ratio,
				extra_column(extra_unit[set] == "" ? "" : number(x))
		}
	}
	for (c in missing) {
		if (csv)
			printf "missing,%s,0,%s,,0,0,0,0,0\n", missing[c], c
		else
			printf "\nMissing: %s: %s.\n", c, missing[c]
	}
}
