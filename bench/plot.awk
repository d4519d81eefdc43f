# SPDX-License-Identifier: GPL-2.0-only
#
# From medians, as summary.awk makes them, the table for one plot: a line for each
# size or kind, with a column for each contender and a label at its end. The
# variables are those of a line of plots.

BEGIN {
	FS = ","
}

$1 == part && $2 ~ "^(" kinds ")$" && (size == "*" || $3 == size) {
	x = over == "sizes" ? $3 : $2
	if (!(x in seen)) {
		seen[x] = 1
		xs[++nr_x] = x
	}
	if (!($4 in column)) {
		column[$4] = ++nr_columns
		name[nr_columns] = $4
	}
	value[x, column[$4]] = $6
	unit = $5
}

function label(x)
{
	if (over == "sizes") {
		x /= 1024
		if (x < 1024)
			return x " KiB"
		x /= 1024
		return x < 1024 ? x " MiB" : x / 1024 " GiB"
	}
	# In two lines, if it is long.
	if (length(x) > 12 && !sub(/: /, ":\\n", x))
		sub(/ /, "\\n", x)
	return "\"" x "\""
}

END {
	if (!nr_x)
		exit 1
	printf "%s", unit
	for (c = 1; c <= nr_columns; c++)
		printf "\t%s", name[c]
	print "\tlabel"
	for (i = 1; i <= nr_x; i++) {
		printf "%s", xs[i]
		for (c = 1; c <= nr_columns; c++)
			printf "\t%s", (xs[i], c) in value ? value[xs[i], c] : "?"
		print "\t" label(xs[i])
	}
}
