#!/bin/sh
# The main job from a fresh clone, without any download: draw pictures, ask a tiny CLIP, train an AMMPL prompt, ask again.
#
#   examples/demo.sh [FOLDER]     where to put everything (demo-out); files of an earlier run there are replaced
#
# Exit status 1 and a sentence when something failed or one of the three conditions at the end does not hold.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
"") out=$root/demo-out ;;
/*) out=$1 ;;
*) out=$PWD/$1 ;;
esac
build=$root/build
clip=$root/examples/demo-clip

say() { printf '\n== %s\n' "$*"; }
stop() {
    echo "demo.sh: $*" >&2
    exit 1
}
# The number of that key in a line of JSON / a fraction as per cent.
number() { sed -n "s/.*\"$1\": \([-0-9.e]*\).*/\1/p"; }
percent() { awk "BEGIN { printf \"%.1f\", 100 * ($1) }"; }

# ---- what is needed, and the build ----
sh "$root/examples/install.sh" gnuplot-nox || exit 1
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" >/dev/null ||
    stop "meson setup failed: see $build/meson-logs/meson-log.txt"
say "building"
quiet=
[ -t 1 ] || quiet=--quiet
# shellcheck disable=SC2086  # nothing or a flag
ninja $quiet -C "$build" examples/ammpl-pictures examples/ammpl-classify examples/ammpl-train examples/ammpl-mask ||
    stop "the build failed"
PATH=$build/examples:$PATH
mkdir -p "$out" && cd "$out" || stop "cannot make $out"

# accuracy PART FLAGS...: the accuracy on a labelled folder, as a fraction
accuracy() {
    folder=$1
    shift
    ammpl-classify --model "$clip" --data "pictures/$folder" --json --quiet "$@" | number accuracy
}

say "pictures"
ammpl-pictures --out pictures || exit 1
echo "8 base classes with training and test pictures, 4 unseen classes with test pictures, in pictures/"

say "zero-shot: class names only"
zero_base=$(accuracy base)
zero_unseen=$(accuracy unseen)
[ "$zero_base" ] && [ "$zero_unseen" ] || exit 1
echo "base classes $(percent "$zero_base") %, unseen classes $(percent "$zero_unseen") %"

say "training an AMMPL prompt on the base classes"
ammpl-train --model "$clip" --data pictures/base --method ammpl --out ammpl.safetensors --log train.jsonl --force \
    --epochs 10 --batch 16 --lr 0.05 --lr-mask 4 --snapshot-every 8 || exit 1

say "accuracy on pictures that were not trained on"
base=$(accuracy base --prompt ammpl.safetensors)
unseen=$(accuracy unseen --prompt ammpl.safetensors)
[ "$base" ] && [ "$unseen" ] || exit 1
echo "                zero-shot   AMMPL"
printf 'base classes     %6s %%  %6s %%\n' "$(percent "$zero_base")" "$(percent "$base")"
printf 'unseen classes   %6s %%  %6s %%\n' "$(percent "$zero_unseen")" "$(percent "$unseen")"

say "three pictures"
set -- pictures/base/test/*/000.png
ammpl-classify --model "$clip" --prompt ammpl.safetensors "$1" "$4" "$8" || exit 1

say "which patches are masked after 8, 32 and 80 steps"
ammpl-mask --model "$clip" --prompt ammpl.step8.safetensors --prompt ammpl.step32.safetensors \
    --prompt ammpl.safetensors --out masks.png "$1" "$4" "$8" || exit 1

# ---- the plot: loss and accuracy, from the log ----
grep '"step"' train.jsonl | sed 's/[^-0-9.e]*"[a-z]*": / /g; s/[,}]//g' >steps.dat     # step epoch loss lr images
grep -v '"step"' train.jsonl | sed 's/[^-0-9.e]*"[a-z_]*": / /g; s/[,}]//g' >epochs.dat # epoch loss accuracy ...
steps_per_epoch=$(awk 'END { print NR }' steps.dat)
steps_per_epoch=$((steps_per_epoch / $(awk 'END { print NR }' epochs.dat)))
cat >training.gp <<END
set terminal pngcairo size 1000,500 font "sans,11"
set output "training.png"
set multiplot layout 1,2
set xlabel "step"
set ylabel "loss"
set grid
plot "steps.dat" using 1:3 with lines lc rgb "#b0c4de" title "batch", \\
     "epochs.dat" using ((\$1+1)*$steps_per_epoch):2 with linespoints lw 2 pt 7 ps 0.5 lc rgb "#1f4e79" title "epoch"
set ylabel "accuracy (%)"
set yrange [0:100]
set key bottom right
plot "epochs.dat" using ((\$1+1)*$steps_per_epoch):(100*\$3) with linespoints lw 2 pt 7 ps 0.5 lc rgb "#1f4e79" title "training", \\
     $(percent "$zero_base") with lines dt 2 lw 2 lc rgb "#888888" title "zero-shot, held out", \\
     $(percent "$base") with lines dt 2 lw 2 lc rgb "#c0392b" title "AMMPL, held out"
unset multiplot
END
if command -v gnuplot >/dev/null 2>&1 && gnuplot training.gp; then
    plot=$out/training.png
else
    plot="not drawn, for want of gnuplot: cd $out && gnuplot training.gp"
fi

say "done; look at"
echo "masks   $out/masks.png   (the picture, then the prompt after more and more steps)"
echo "plot    $plot"
echo "prompt  $out/ammpl.safetensors"
echo "log     $out/train.jsonl"

# ---- what must hold ----
# mean_keep object|clutter: the mean keep probability of these patches (clutter.json lists them) under the trained prompt
mean_keep() {
    places=$(tr -d '\n' <pictures/clutter.json | sed "s/.*\"$1\": \[\([^]]*\)\].*/\1/")
    ammpl-mask --model "$clip" --prompt ammpl.safetensors --out last.png --force --json --quiet pictures/base/test/*/000.png |
        sed 's/.*"keep": \[\([^]]*\)\].*/\1/' |
        awk -F', ' -v places="$places" '
            { n = split(places, place, ", "); for (i = 1; i <= n; i++) { sum += $(place[i] + 1); count++ } }
            END { if (count) printf "%.4f", sum / count }'
}
object=$(mean_keep object)
clutter=$(mean_keep clutter)
[ "$object" ] && [ "$clutter" ] || stop "the keep probabilities could not be read"
say "conditions"
echo "zero-shot on base classes $(percent "$zero_base") % (30 ... 70)"
echo "gain on held-out pictures $(percent "$base - $zero_base") points (10 or more)"
echo "mean keep probability of clutter patches $clutter, of object patches $object (the first must be smaller)"
holds() { awk "BEGIN { exit !($1) }"; }
holds "$zero_base >= 0.3 && $zero_base <= 0.7" || stop "zero-shot accuracy on the base classes is not between 30 and 70 %"
holds "$base - $zero_base >= 0.1" || stop "the prompt gained less than 10 points on held-out pictures"
holds "$clutter < $object" || stop "patches of clutter are not masked more than patches of the object"
