#!/bin/sh
# How time and memory of a training step grow with classes, name lengths, images and resolution, without a memory_limit and, of AMMPL, under
# the least.
#   growth.sh BUILD [FIGURE.png [quick]]   measures into FIGURE.txt (beside the picture), then draws.  Needs 0.7 GB under $TMPDIR for a
#                                          while, and fifty quiet minutes, most of them for AMMPL's thousand classes; quick: small sizes
#   growth.sh -      [FIGURE.png]          draws again what FIGURE.txt says.  Needs gnuplot
# FIGURE is src/growth.png where it is not given.  At the end: each series' growth from one size to the next as a power of the size; 1 is linear.
set -eu
if [ $# -lt 1 ]; then
    sed -n 's/^#   /usage: /p' "$0" >&2
    exit 2
fi
cd "$(dirname "$0")/../.."
build=$1 figure=${2:-src/growth.png}
numbers=${figure%.png}.txt
if [ "$build" != - ]; then
    ninja -C "$build" tests/growth > /dev/null
    work=$(mktemp -d "${TMPDIR:-/tmp}/ammpl-growth-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM
    {
        echo "# tests/long/growth.sh, commit $(git rev-parse --short HEAD), $(date -u +%Y-%m-%d), $(nproc) processors, no memory_limit but for ammpl-least"
        echo "# series, classes (or words of a name, or images), seconds of processor time of a step (median of three, or one above 100 s), MiB planned, MiB taken"
        "$build/tests/growth" "$work" ${3:+"$3"}
    } | tee "$numbers"
fi
gnuplot << END
set terminal pngcairo size 1000,640 font ",10"
set output "$figure"
of(series) = "< grep '^".series." ' '$numbers'"
set multiplot layout 2,3 title "ViT-B/16, random weights: a training step's processor time (all threads) and session memory"
set logscale xy
set grid
set key left top Left reverse samplen 2
set ylabel "seconds"
set xlabel "classes"
set yrange [0.1:1e6] # room for four names
plot of("coop-classes") using 2:3 with linespoints lt 1 title "CoOp, 32 features", of("cocoop-classes") using 2:3 with linespoints lt 2 title "CoCoOp, 1 feature", \
     of("ammpl-classes") using 2:3 with linespoints lt 3 title "AMMPL per class, 1 image", \
     of("ammpl-least-classes") using 2:3 with linespoints lt 4 title "AMMPL, least memory"
set yrange [*:*]
set xlabel "words of a class name (CoOp, 100 classes)"
plot of("coop-words") using 2:3 with linespoints lt 1 notitle
set xlabel "images (VPT, 10 classes)"
plot of("vpt-224-images") using 2:3 with linespoints lt 1 title "224 pixels", of("vpt-336-images") using 2:3 with linespoints lt 2 title "336 pixels"
set ylabel "MiB planned (lines), taken (points)"
set xlabel "classes"
plot of("coop-classes") using 2:4 with lines lt 1 notitle, of("coop-classes") using 2:5 with points lt 1 title "CoOp", \
     of("cocoop-classes") using 2:4 with lines lt 2 notitle, of("cocoop-classes") using 2:5 with points lt 2 title "CoCoOp", \
     of("ammpl-classes") using 2:4 with lines lt 3 notitle, of("ammpl-classes") using 2:5 with points lt 3 title "AMMPL", \
     of("ammpl-least-classes") using 2:4 with lines lt 4 notitle, of("ammpl-least-classes") using 2:5 with points lt 4 title "AMMPL, least"
set xlabel "words of a class name (CoOp, 100 classes)"
plot of("coop-words") using 2:4 with lines lt 1 notitle, of("coop-words") using 2:5 with points lt 1 notitle
set xlabel "images (VPT, 10 classes)"
plot of("vpt-224-images") using 2:4 with lines lt 1 notitle, of("vpt-224-images") using 2:5 with points lt 1 title "224", \
     of("vpt-336-images") using 2:4 with lines lt 2 notitle, of("vpt-336-images") using 2:5 with points lt 2 title "336"
END
awk '$1 == "#" { next }
    $1 == series { power = log($3 / seconds) / log($2 / x); printf("%s, %d to %d: time by the power of %.2f%s\n", $1, x, $2, power, power > 1.05 ? ", more than linear" : "") }
    { series = $1; x = $2; seconds = $3 }' "$numbers"
echo "$numbers, $figure"
