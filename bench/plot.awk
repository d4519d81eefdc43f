# SPDX-License-Identifier: GPL-2.0-only
#
# From medians, as summary.awk makes them, the table for one plot: a line for each
# size or kind, a column for each contender. The variables are those of a line of
# plots.

BEGIN {
	FS = ","
}

$1 == part && $2 ~ "^(" kinds ")$" && (size == "*" || $3 == size) {
	x = over == "sizes" ? $3 / 1024 : $2
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

END {
	if (!nr_x)
		exit 1
	printf "%s", unit
	for (c = 1; c <= nr_columns; c++)
		printf "\t%s", name[c]
	print ""
	for (i = 1; i <= nr_x; i++) {
		printf "%s", xs[i]
		for (c = 1; c <= nr_columns; c++)
			printf "\t%s", (xs[i], c) in value ? value[xs[i], c] : "?"
		print ""
	}
}
