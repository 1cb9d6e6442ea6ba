#!/bin/sh
# How time and memory of a training step grow with classes, name lengths, images and resolution: a table, and a figure for the README.
#   growth.sh BUILD [FIGURE.png]     needs gnuplot, 0.7 GB under $TMPDIR for a while, and a few minutes
set -eu
cd "$(dirname "$0")/../.."
build=$1 figure=${2:-src/growth.png}
ninja -C "$build" tests/growth > /dev/null
work=$(mktemp -d "${TMPDIR:-/tmp}/ammpl-growth-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
"$build/tests/growth" "$work" | tee "$work/all"
for series in coop-classes cocoop-classes coop-words vpt-224-images vpt-336-images; do
    grep "^$series " "$work/all" > "$work/$series"
done
gnuplot << END
set terminal pngcairo size 1000,640 font ",10"
set output "$figure"
set multiplot layout 2,3 title "ViT-B/16, random weights: a training step's processor time (all threads) and session memory"
set logscale xy
set grid
set key left top
set ylabel "seconds"
set xlabel "classes"
plot "$work/coop-classes" using 2:3 with linespoints title "CoOp, 32 features", "$work/cocoop-classes" using 2:3 with linespoints title "CoCoOp, 1 feature"
set xlabel "words of a class name (CoOp, 100 classes)"
plot "$work/coop-words" using 2:3 with linespoints notitle
set xlabel "images (VPT, 10 classes)"
plot "$work/vpt-224-images" using 2:3 with linespoints title "224 pixels", "$work/vpt-336-images" using 2:3 with linespoints title "336 pixels"
set ylabel "MiB planned (lines), taken (points)"
set xlabel "classes"
plot "$work/coop-classes" using 2:4 with lines lt 1 notitle, "$work/coop-classes" using 2:5 with points lt 1 title "CoOp", \
     "$work/cocoop-classes" using 2:4 with lines lt 2 notitle, "$work/cocoop-classes" using 2:5 with points lt 2 title "CoCoOp"
set xlabel "words of a class name (CoOp, 100 classes)"
plot "$work/coop-words" using 2:4 with lines lt 1 notitle, "$work/coop-words" using 2:5 with points lt 1 notitle
set xlabel "images (VPT, 10 classes)"
plot "$work/vpt-224-images" using 2:4 with lines lt 1 notitle, "$work/vpt-224-images" using 2:5 with points lt 1 title "224", \
     "$work/vpt-336-images" using 2:4 with lines lt 2 notitle, "$work/vpt-336-images" using 2:5 with points lt 2 title "336"
END
echo "$figure"
