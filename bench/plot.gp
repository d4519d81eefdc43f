# SPDX-License-Identifier: GPL-2.0-only
#
# gnuplot -c plot.gp TABLE PLOT.svg sizes|kinds TITLE: a table of plot.awk's.

set terminal svg size 960,480 font "sans-serif,12" background "white" noenhanced
set output ARG2
set datafile separator "\t"
set datafile missing "?"
set title ARG4
rows = int(system(sprintf("wc -l < '%s'", ARG1))) - 1
columns = int(system(sprintf("head -n 1 '%s' | awk -F '\t' '{ print NF }'", ARG1)))
name(i) = system(sprintf("head -n 1 '%s' | cut -f %d", ARG1, i))

# The same colour in all plots.
colour(i) = \
	name(i) eq "bufpool" || name(i) eq "at" ? 0xc00000 : \
	name(i) eq "bufpool: default" || name(i) eq "over" ? 0xff9090 : \
	name(i)[1:7] eq "bufpool" ? 0x700000 : \
	name(i) eq "glibc" ? 0x1f77b4 : name(i) eq "jemalloc" ? 0x2ca02c : \
	name(i) eq "mimalloc" ? 0x9467bd : name(i) eq "tcmalloc" ? 0xff7f0e : \
	name(i) eq "limit" ? 0x000000 : 0xd0d0d0 - (i * 0x0f0b07 & 0x7f7f7f)
width(i) = name(i)[1:7] eq "bufpool" ? 3 : 1

set ylabel name(1)
set key outside right
set grid ytics
set logscale y
set format y "%.0s%c"

# A single size makes no line.
if (ARG3 eq "sizes" && rows > 1) {
	set logscale x 2
	set xlabel "buffer size"
	set style data linespoints
	set offsets graph 0.03, graph 0.03, 0, 0
	plot for [i = 2:columns - 1] ARG1 using 1:i:xtic(columns) \
		title name(i) lc rgb colour(i) lw width(i)
} else {
	# The header counts.
	set xrange [0.4:rows + 0.6]
	set bmargin 4
	set style data histograms
	set style histogram clustered gap 1
	set style fill solid border lc rgb "black"
	plot for [i = 2:columns - 1] ARG1 using i:xtic(columns) \
		title name(i) lc rgb colour(i)
}
