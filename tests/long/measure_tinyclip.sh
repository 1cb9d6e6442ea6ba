#!/bin/sh
# The small CLIP of ../shared/data on real photographs: every method with 1, 4 and 16 shots, three seeds, on `objects` and `clothing`;
# AMMPL's evaluation modes and kinds of draws on what was trained, and on the demo's pictures.  By hand, one thread, an hour.
#
#   tests/long/measure_tinyclip.sh BUILD_DIR OUT_DIR          the runs, then the tables of src/method/README.md
#   tests/long/measure_tinyclip.sh BUILD_DIR OUT_DIR tables   the tables of the runs that are there
#   tests/long/measure_tinyclip.sh BUILD_DIR OUT_DIR rates    what the learning rates below were chosen by
#
# Every finished run leaves a line in OUT_DIR/results.tsv (or rates.tsv) and is not repeated: method, variant, data, shots, seed,
# accuracy in percent, epochs, seconds of the median epoch, peak memory in MiB (VmHWM), flags, what was masked.  pace.tsv has the
# processor's seconds for an epoch at 4 shots, which are worth more than the clock's where others use the machine, too.
# SHOTS="1 4" and METHODS="coop:class vp:" take a part.
set -eu
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
data=$root/../shared/data
bin=$1/examples
out=$2
[ -d "$data/tinyclip" ] || { echo "measure_tinyclip.sh: $data/tinyclip is not there"; exit 1; }
[ -x /usr/bin/time ] || { echo "measure_tinyclip.sh: needs GNU time (apt-get install time)"; exit 1; }
mkdir -p "$out"
tab=$(printf '\t')
trained='coop:unified coop:class cocoop: vp: vpt: dlp: ivlp: maple: dpt:'
METHODS=${METHODS:-"$trained ammpl:class ammpl:shared"}
SHOTS=${SHOTS:-1 4 16}

# flags METHOD VARIANT DATA SHOTS: all but the learning rate.  This CLIP knows class names only behind "a photo of a": contexts start from these
# words (16 random vectors, or VP's "This is a photo of a {}", leave its text features near chance).
flags() {
    case $1:$4 in
    ammpl:* | *:16) printf -- '--epochs 4 --batch 8' ;;
    *) printf -- '--epochs 8 --batch 8' ;;
    esac
    case $1:$2 in
    coop:unified) printf " %s" "--ctx-init 'a photo of a'" ;;
    coop:class) printf " %s" "--ctx-init 'a photo of a' --class-specific" ;;
    vp:) printf " %s" "--template 'a photo of a {}.' --warmup-steps 4" ;;
    dpt:) printf " %s" "--ctx-init 'a photo of a' --n-ctx 4 --guidance-epochs 2 --warmup-epochs 1" ;;
    ammpl:class | ammpl:shared) printf " %s" "--scope $2" ;;
    ammpl:coop-*) printf " %s" "--scope ${2#coop-} --mask off --interaction off" ;;
    ammpl:image-draws) printf " %s" "--scope shared --draws image" ;;
    esac
    # 40 classes cost 40 image encodes a picture: 5 candidates, else a run takes eight times as long
    case $1:$2:$3 in
    ammpl:coop-*) ;;
    ammpl:*:objects) printf " %s" "--candidates 5" ;;
    esac
}

# rate METHOD VARIANT DATA: what `rates` says is best
rate() {
    case $1:$2:$3 in
    coop:unified:objects | cocoop:* | ivlp:* | vpt::clothing) echo "--lr 0.8" ;;
    coop:unified:clothing | dlp::objects | maple::objects | dpt::clothing) echo "--lr 0.05" ;;
    coop:class:objects) echo "--lr 0.02" ;;
    coop:class:clothing) echo "--lr 0.5" ;;
    vp::objects) echo "--lr 1" ;;
    vp::clothing) echo "--lr 100" ;;
    vpt::objects | dpt::objects | dlp::clothing | maple::clothing) echo "--lr 0.2" ;;
    ammpl:class:clothing) echo "--lr 8 --lr-mask 0.1" ;;
    ammpl:shared:clothing | ammpl:image-draws:clothing) echo "--lr 0.4 --lr-mask 0.05" ;;
    ammpl:class:objects) echo "--lr 0.1 --lr-mask 0.3" ;;
    ammpl:shared:objects | ammpl:image-draws:objects) echo "--lr 0.05 --lr-mask 0.2" ;;
    ammpl:coop-class:clothing) echo "--lr 8" ;;
    ammpl:coop-shared:objects) echo "--lr 0.05" ;;
    esac
}

# train TSV PICTURES METHOD VARIANT DATA SHOTS SEED FLAGS: one run and its line
train() {
    tsv=$out/$1
    pictures=$2
    method=$3
    key=$3$tab$4$tab$5$tab$6$tab$7
    id=$3-$4-$5-$6-$7
    known=$key
    [ "$1" = results.tsv ] || { id=rates/run; known="$key$tab.*$tab$8"; }
    shots=$6
    seed=$7
    options=$8
    grep -q -e "^$known$tab" "$tsv" 2>/dev/null && return 0
    echo "$options" | xargs /usr/bin/time -f 'peak %M' "$bin/ammpl-train" --model "$data/tinyclip" --data "$pictures" --method "$method" \
        --out "$out/$id.safetensors" --log "$out/$id.jsonl" --force --shots "$shots" --seed "$seed" --augment none \
        --cache "$out/cache" --threads 1 --test >"$out/$id.txt" 2>&1 ||
        grep -q 'the learning rate is too high' "$out/$id.txt" || { tail -3 "$out/$id.txt"; exit 1; }
    accuracy=$(sed -n 's/^test accuracy \([0-9.]*\).*/\1/p' "$out/$id.txt")
    seconds=$(sed -n 's/.*"seconds": \([0-9.]*\), "images_per.*/\1/p' "$out/$id.jsonl" | sort -n)
    masked=$(sed -n 's/.*a draw hides \(.* per class\).*/\1/p; s/^\(P moved.*\)/\1/p' "$out/$id.txt" | tr '\n' ' ')
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$key" "${accuracy:-diverged}" "$(echo "$seconds" | wc -l)" \
        "$(echo "$seconds" | awk '{ at[NR] = $1 } END { print at[int((NR + 1) / 2)] }')" \
        "$(awk '/^peak / { printf "%.0f", $2 / 1024 }' "$out/$id.txt")" "$options" "$masked" >>"$tsv"
}

# run METHOD VARIANT DATA SHOTS SEED
run() {
    train results.tsv "$data/$3" "$1" "$2" "$3" "$4" "$5" "$(rate "$1" "$2" "$3") $(flags "$1" "$2" "$3" "$4")"
}

# pace METHOD VARIANT DATA: the processor's seconds for an epoch of 4 shots, from two runs of different length
pace() {
    key=$1$tab$2$tab$3
    grep -q -e "^$key$tab" "$out/pace.tsv" 2>/dev/null && return 0
    long=$([ "$1" = ammpl ] && echo 3 || echo 9)
    for epochs in 1 "$long"; do
        echo "$(rate "$1" "$2" "$3") $(flags "$1" "$2" "$3" 4) --epochs $epochs" | xargs /usr/bin/time -a -o "$out/pace" -f %U "$bin/ammpl-train" \
            --model "$data/tinyclip" --data "$data/$3" --method "$1" --out "$out/pace.safetensors" --force --shots 4 --augment none \
            --cache "$out/cache" --threads 1 --quiet >"$out/pace.txt" 2>&1
    done
    awk -v key="$key" -v epochs="$long" '{ at[NR] = $1 } END { printf "%s\t%.3f\n", key, (at[2] - at[1]) / (epochs - 1) }' "$out/pace" >>"$out/pace.tsv"
    rm "$out/pace"
}

# ask METHOD VARIANT DATA SHOTS SEED NAME FLAGS...: accuracy without training, as variant NAME
ask() {
    key=$1$tab$6$tab$3$tab$4$tab$5
    grep -q -e "^$key$tab" "$out/results.tsv" 2>/dev/null && return 0
    set=$3
    prompt=$out/$1-$2-$3-$4-$5.safetensors
    [ "$1" = zeroshot ] || set -- "$@" --prompt "$prompt"
    shift 6
    accuracy=$(/usr/bin/time -o "$out/time" -f %M "$bin/ammpl-classify" --model "$data/tinyclip" --data "$data/$set" --part test \
        --threads 1 --quiet "$@" 2>/dev/null | sed -n 's/^accuracy \([0-9.]*\).*/\1/p')
    printf '%s\t%s\t0\t\t%.0f\t%s\t\n' "$key" "$accuracy" "$(($(cat "$out/time") / 1024))" "$*" >>"$out/results.tsv"
}

# Rates are tried on training pictures alone: trained on 4 of the first 8 of each class, validated on the others of it.
rates() {
    for set in objects clothing; do
        [ -d "$out/rates/$set" ] && continue
        for class in "$data/$set/train"/*; do
            name=$(basename "$class")
            mkdir -p "$out/rates/$set/train/$name" "$out/rates/$set/test/$name"
            for picture in "$class"/*; do echo "$picture"; done | sed -n '1,8p' | xargs -I{} cp {} "$out/rates/$set/train/$name"
            for picture in "$class"/*; do echo "$picture"; done | sed '1,8d' | xargs -I{} cp {} "$out/rates/$set/test/$name"
        done
    done
    for mv in $METHODS; do
        case $mv in
        coop:unified | cocoop:) grid='0.05 0.2 0.8 3' ;;
        coop:class) grid='0.02 0.1 0.5 2 8' ;;
        vp:) grid='0.1 1 10 100' ;;
        dlp:) grid='0.05 0.2 0.8 3 12' ;;
        maple:) grid='0.01 0.05 0.2 0.8 3' ;;
        ammpl:*) continue ;; # chosen before, in the same way
        *) grid='0.05 0.2 0.8 3' ;;
        esac
        for set in objects clothing; do
            case $mv:$set in # their best rates with one seed sent another one to chance
            coop:unified:objects | dlp::objects | dpt::objects) seeds='1 2 3' ;;
            *) seeds=1 ;;
            esac
            for lr in $grid; do for seed in $seeds; do
                train rates.tsv "$out/rates/$set" "${mv%:*}" "${mv#*:}" "$set" 4 "$seed" "--lr $lr $(flags "${mv%:*}" "${mv#*:}" "$set" 4)"
            done; done
        done
    done
}

# Mean and standard deviation over seeds (ddof 0); memory: the largest.
tables() {
    touch "$out/pace.tsv"
    echo '| method | objects: 1 shot | 4 | 16 | clothing: 1 shot | 4 | 16 | CPU s an epoch of 4 shots | peak MiB |'
    echo '|---|---|---|---|---|---|---|---|---|'
    awk -F'\t' 'function cell(key,   mean, v) {
            if (!(key in n)) return "–"
            mean = sum[key] / n[key]; v = square[key] / n[key] - mean * mean
            return n[key] == 1 ? sprintf("%.1f", mean) : sprintf("%.1f ± %.1f", mean, sqrt(v > 0 ? v : 0)) }
        function shots(row) { return cell((row, 0) in n ? row SUBSEP 0 : row SUBSEP 1) " | " cell(row SUBSEP 4) " | " cell(row SUBSEP 16) }
        function both(x, name) { return shown(x[name, "objects"]) ", " shown(x[name, "clothing"]) }
        function shown(x) { return x == "" ? "–" : x }
        FNR == NR && NF == 4 { pace[$1 ($2 == "" ? "" : " " $2), $3] = sprintf("%.2f", $4); next }
        $2 ~ /@/ || $3 ~ /base|unseen/ { next }
        { name = $1 ($2 == "" ? "" : " " $2); if (!(name in known)) { known[name] = 1; names[++count] = name }
          key = name SUBSEP $3 SUBSEP $4; n[key]++; sum[key] += $6; square[key] += $6 * $6
          if ($9 > peak[name, $3]) peak[name, $3] = $9 }
        END { for (i = 1; i <= count; i++) { name = names[i]
            printf "| %s | %s | %s | %s | %s |\n", name, shots(name SUBSEP "objects"), shots(name SUBSEP "clothing"), both(pace, name), both(peak, name)
        } }' "$out/pace.tsv" "$out/results.tsv"
    echo
    echo "AMMPL, paired by seed: accuracy under another evaluation mode, or with one draw for all classes, minus that of the row's base."
    echo
    echo '| variant | against | data | shots | difference, seeds 1 2 3 | mean |'
    echo '|---|---|---|---|---|---|'
    awk -F'\t' '$1 == "ammpl" { got[$2, $3, $4, $5] = $6
            if (!(($2, $3, $4) in known)) { known[$2, $3, $4] = 1; row[++count] = $2 SUBSEP $3 SUBSEP $4 } }
        END { for (i = 1; i <= count; i++) { split(row[i], at, SUBSEP); base = at[1] == "image-draws" ? "shared" : at[1]
            if (!sub(/@.*/, "", base) && at[1] != "image-draws") continue
            text = ""; sum = n = 0
            for (seed = 1; seed <= 3; seed++) if ((row[i], seed) in got && ((base, at[2], at[3], seed) in got)) {
                d = got[row[i], seed] - got[base, at[2], at[3], seed]; sum += d; n++; text = text sprintf(" %+.2f", d) }
            if (n) printf "| %s | %s | %s | %d |%s | %+.2f |\n", at[1], base, at[2], at[3], text, sum / n } }' "$out/results.tsv" | sort
}

case ${3:-} in
rates) rates; exit 0 ;;
tables) tables; exit 0 ;;
esac

for set in objects clothing; do
    ask zeroshot '' $set 0 1 '' --template '@ImageNet'
done
for shots in $SHOTS; do
    for mv in $METHODS; do
        for set in objects clothing; do
            for seed in 1 2 3; do
                run "${mv%:*}" "${mv#*:}" $set "$shots" $seed
            done
        done
    done
done
for mv in $METHODS; do
    pace "${mv%:*}" "${mv#*:}" objects
    pace "${mv%:*}" "${mv#*:}" clothing
done
# What AMMPL's options change: the mask left out (then it is CoOp), one draw for all classes, the evaluation modes.
modes() {
    for seed in 1 2 3; do
        [ "$1" = 16 ] || run ammpl coop-class clothing "$1" $seed
        [ "$1" = 16 ] || run ammpl coop-shared objects "$1" $seed
        [ "$1" = 16 ] || run ammpl image-draws objects "$1" $seed
        run ammpl image-draws clothing "$1" $seed
        for set in clothing objects; do
            for mode in threshold sample mean:4; do
                ask ammpl class $set "$1" $seed "class@$mode" --set evaluation=$mode
                ask ammpl shared $set "$1" $seed "shared@$mode" --set evaluation=$mode
            done
        done
    done
}
# The demo's pictures, on which masks have something to hide: 8 drawn classes, 4 that are never trained (examples/demo.sh's flags).
drawn() {
    clip=$root/examples/demo-clip
    [ -d "$out/drawn" ] || "$bin/ammpl-pictures" --out "$out/drawn" >"$out/drawn.txt"
    for seed in 1 2 3; do for draws in class image; do
        prompt=$out/drawn-$draws-$seed.safetensors
        [ -e "$prompt" ] || "$bin/ammpl-train" --model "$clip" --data "$out/drawn/base" --method ammpl --out "$prompt" --epochs 10 --batch 16 \
            --lr 0.05 --lr-mask 4 --seed $seed --draws $draws --threads 1 >"$out/drawn-$draws-$seed.txt" 2>&1
        for part in base unseen; do for mode in expected threshold sample mean:4; do
            name=$([ $draws = class ] && echo shared || echo image-draws)
            [ $mode = expected ] || name=$name@$mode
            key=ammpl$tab$name$tab$part${tab}16$tab$seed
            grep -q -e "^$key$tab" "$out/results.tsv" && continue
            accuracy=$("$bin/ammpl-classify" --model "$clip" --data "$out/drawn/$part" --prompt "$prompt" --set evaluation=$mode --threads 1 \
                --quiet | sed -n 's/^accuracy \([0-9.]*\).*/\1/p')
            printf '%s\t%s\t10\t\t\t--set evaluation=%s\t\n' "$key" "$accuracy" $mode >>"$out/results.tsv"
        done; done
    done; done
}
case $METHODS in *ammpl*)
    for shots in $SHOTS; do
        [ "$shots" = 1 ] || modes "$shots"
    done
    drawn ;;
esac
tables
