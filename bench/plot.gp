# SPDX-License-Identifier: GPL-2.0-only
#
# gnuplot -c plot.gp TABLE PLOT.svg sizes|kinds TITLE: a table of plot.awk's.

set terminal svg size 900,480 font "sans-serif,12" background "white" noenhanced
set output ARG2
set datafile separator "\t"
set datafile missing "?"
set title ARG4
set ylabel system(sprintf("head -n 1 '%s' | cut -f 1", ARG1))
columns = int(system(sprintf("head -n 1 '%s' | awk -F '\t' '{ print NF }'", ARG1)))
set key outside right
set grid ytics
set logscale y
set linetype 1 lc rgb "#c00000" lw 3
set linetype 2 lc rgb "#1f77b4"
set linetype 3 lc rgb "#2ca02c"
set linetype 4 lc rgb "#9467bd"
set linetype 5 lc rgb "#ff7f0e"
set linetype 6 lc rgb "#e377c2"
set linetype 7 lc rgb "#7f7f7f"

if (ARG3 eq "sizes") {
	set logscale x 2
	set xlabel "buffer size, KiB"
	set style data linespoints
	plot for [i = 2:columns] ARG1 using 1:i title columnheader(i)
} else {
	set style data histograms
	set style histogram clustered gap 1
	set style fill solid border lc rgb "black"
	plot for [i = 2:columns] ARG1 using i:xtic(1) title columnheader(i)
}
