# SPDX-License-Identifier: GPL-2.0-only
#
# gnuplot -c reclaim.gp MEDIANS.csv DIRECTORY: memory given back.

set terminal svg size 900,480 font "sans-serif,12" background "white"
set output ARG2 . "/reclaim.svg"
set datafile separator ","
set title "Idle memory given back, by size of the buffers"
set ylabel "MiB per million instructions"
set logscale y
set yrange [0.2:*]
set grid ytics
set style data linespoints
set key outside right
set logscale x 2
set xlabel "buffer size, KiB"

of(contender) = sprintf("<awk -F, '$1 == \"return\" && $4 == \"%s\" { print $3 / 1024 \",\" $6 }' '%s'", contender, ARG1)

plot of("pool: RELEASE_RETAINED") title "pool, RELEASE\\_RETAINED" lw 3, \
     of("pool: memory.reclaim") title "pool, memory.reclaim" lw 3, \
     of("mmap: munmap") title "munmap", \
     of("mmap: MADV_DONTNEED") title "MADV\\_DONTNEED", \
     of("malloc: malloc_trim") title "malloc\\_trim", \
     of("MADV_FREE: memory.reclaim") title "MADV\\_FREE, memory.reclaim", \
     of("page cache: memory.reclaim") title "page cache, memory.reclaim"
