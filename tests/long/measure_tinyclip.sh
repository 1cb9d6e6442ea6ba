#!/bin/sh
# The small CLIP of ../shared/data on real photographs: AMMPL with 1, 4 and 16 shots, three seeds, both scopes; the evaluation
# modes and kinds of draws on what was trained; CoOp (mask and interaction off) beside it.  Run by hand, about an hour on two cores.
#
#   tests/long/measure_tinyclip.sh BUILD_DIR OUT_DIR
#
# Every finished run leaves a line in OUT_DIR/results.tsv and is not repeated; the table is printed at the end.
# Learning rates were chosen on part of the training pictures (4 shots, seed 1), never on the test part.
set -eu
[ $# -eq 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
data=$root/../shared/data
bin=$1/examples
out=$2
[ -d "$data/tinyclip" ] || { echo "measure_tinyclip.sh: $data/tinyclip is not there"; exit 1; }
mkdir -p "$out"

# run NAME DATA SHOTS SEED FLAGS...: trains, then a line "name data shots seed accuracy | masked patches | how far P moved"
run() {
    name=$1 set=$2 shots=$3 seed=$4
    shift 4
    id=$name-$set-$shots-$seed
    grep -q "^$id	" "$out/results.tsv" 2>/dev/null && return 0
    begin=$(date +%s)
    "$bin/ammpl-train" --model "$data/tinyclip" --data "$data/$set" --method ammpl --out "$out/$id.safetensors" --force \
        --shots "$shots" --seed "$seed" --epochs 4 --batch 8 --augment none --threads 1 --test "$@" >"$out/$id.txt" 2>&1
    printf '%s\t%s\t%s\t%s\n' "$id" "$(sed -n 's/^test accuracy \([0-9.]*\).*/\1/p' "$out/$id.txt")" \
        "$(sed -n 's/.*a draw hides //p; s/^\(P moved.*\)/\1/p' "$out/$id.txt" | tr '\n' ';')" \
        "$(($(date +%s) - begin)) s" >>"$out/results.tsv"
}

# ask NAME DATA SHOTS SEED MODE: the trained prompt under another evaluation mode
ask() {
    id=$1-$2-$3-$4
    grep -q "^$id@$5	" "$out/results.tsv" 2>/dev/null && return 0
    accuracy=$("$bin/ammpl-classify" --model "$data/tinyclip" --data "$data/$2" --part test --prompt "$out/$id.safetensors" \
        --set "evaluation=$5" --threads 1 --quiet 2>/dev/null | sed -n 's/^accuracy \([0-9.]*\).*/\1/p')
    printf '%s@%s\t%s\n' "$id" "$5" "$accuracy" >>"$out/results.tsv"
}

# all SHOTS: the runs of one number of shots.  40 classes of `objects`: 5 candidates, else a run takes eight times as long.
all() {
    for seed in 1 2 3; do
        run class clothing "$1" "$seed" --lr 8 --set scope=class --set lr_mask=0.1
        run shared clothing "$1" "$seed" --lr 0.4 --set scope=shared --set lr_mask=0.05
        run class objects "$1" "$seed" --lr 0.1 --set scope=class --set lr_mask=0.3 --set candidates=5
        run shared objects "$1" "$seed" --lr 0.05 --set scope=shared --set lr_mask=0.2 --set candidates=5
    done
}

for shots in ${SHOTS:-1 4 16}; do
    all "$shots"
    for seed in 1 2 3; do
        [ "$shots" = 4 ] || continue
        run coop-class clothing 4 "$seed" --lr 8 --set scope=class --set mask=off --set interaction=off
        run coop-shared objects 4 "$seed" --lr 0.05 --set scope=shared --set mask=off --set interaction=off
        run image-draws objects 4 "$seed" --lr 0.05 --set scope=shared --set lr_mask=0.2 --set candidates=5 --set draws=image
        for mode in threshold sample mean:4; do
            for set in clothing objects; do
                ask class $set 4 "$seed" $mode
                ask shared $set 4 "$seed" $mode
            done
        done
    done
done

# Mean and standard deviation (over seeds, ddof 0) of every row.
echo '| run | data | shots | seeds | accuracy % | sd |'
echo '|---|---|---|---|---|---|'
awk -F'\t' '{ id = $1; mode = ""; if (split(id, at, "@") > 1) { id = at[1]; mode = " @" at[2] }
        n = split(id, part, "-"); name = part[1]; for (i = 2; i <= n - 3; i++) name = name "-" part[i]
        key = name mode " | " part[n - 2] " | " part[n - 1]; count[key]++; sum[key] += $2; square[key] += $2 * $2 }
    END { for (key in count) { mean = sum[key] / count[key]; v = square[key] / count[key] - mean * mean
        printf "| %s | %d | %.2f | %.2f |\n", key, count[key], mean, sqrt(v > 0 ? v : 0) } }' "$out/results.tsv" | sort
