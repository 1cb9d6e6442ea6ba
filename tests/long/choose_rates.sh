#!/bin/sh
# Chooses learning rates for the small CLIP of ../shared/data, whose gradients are far smaller than a released CLIP's: the published rates
# move nothing there.  Every method tries some rates on part of the training pictures and is judged on the rest of them; the test part is
# never looked at.  Run by hand; an hour or two.
#
#   tests/long/choose_rates.sh BUILD_DIR OUT_DIR few-shot|base-to-novel > tests/long/tinyclip-PROTOCOL.settings
#
# 4 shots, seed 1; by the accuracy on all classes, or on base classes.  Of equal ones the smallest rate.  What is finished is not repeated.
set -eu
[ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
data=$root/../shared/data
bin=$1/examples out=$2 protocol=$3
[ -d "$data/tinyclip" ] || { echo "choose_rates.sh: $data/tinyclip is not there" >&2; exit 1; }
mkdir -p "$out"

# The last fifth of each class's training pictures stands in for the test part.
for set in objects clothing; do
    python3 - "$data/$set/train" "$out/$set.json" <<'END'
import json, os, sys
split = {"train": [], "val": [], "test": []}
for label, name in enumerate(sorted(os.listdir(sys.argv[1]))):
    files = sorted(os.listdir(os.path.join(sys.argv[1], name)))
    kept = len(files) * 4 // 5
    for i, file in enumerate(files):
        split["train" if i < kept else "test"].append([f"{name}/{file}", label, name])
json.dump(split, open(sys.argv[2], "w"), indent=4)
END
done

# Short runs without augmentation; contexts that start from words, since a small CLIP does not recover from random ones in a few epochs;
# 5 candidates of 40 classes, else AMMPL takes eight times as long.
cat >"$out/base.settings" <<'END'
*: epochs=8; batch=8; augment=none
*@clothing: batch=4
coop: n_ctx=4; ctx_init=a photo of a
dpt: n_ctx=4; ctx_init=a photo of a
ammpl@objects: candidates=5
dpt: guidance_epochs=2; warmup_epochs=1
vpt: warmup_epochs=1
vp: schedule=cosine; warmup_epochs=1
END

rates() { # METHOD RATE...: the method's variants, a word
    method=$1
    shift
    for rate in "$@"; do
        printf ',%s+lr=%s' "$method" "$rate"
    done
}
methods=$(
    rates coop 0.05 0.2 1 4
    rates cocoop 0.02 0.1 0.5 2
    rates vp 5 50 500
    rates vpt 0.05 0.5 5 50
    rates dlp 0.05 0.2 1 4
    rates ivlp 0.05 0.2 1 4
    rates maple 0.02 0.1 0.5 2
    for rate in 0.05 0.5; do
        printf ',dpt+lr=%s+lr_text=0.2,dpt+lr=%s+lr_text=1' $rate $rate
    done
    for rate in 0.01 0.05 0.2 1 4; do
        printf ',ammpl+lr=%s+lr_mask=0.1,ammpl+lr=%s+lr_mask=1' $rate $rate
    done
)
for set in objects clothing; do
    "$bin/ammpl-evaluate" --protocol "$protocol" --model "$data/tinyclip" --root "$data/$set/train" --split "$out/$set.json" \
        --method "${methods#,}" --shots 4 --seeds 1 --settings "$out/base.settings" --out "$out/$protocol-$set.jsonl" --reference none \
        ${JOBS:+--jobs "$JOBS"} >&2 || echo "choose_rates.sh: a rate that is too high is no choice" >&2
done

echo "# Chosen by tests/long/choose_rates.sh on part of the training pictures ($protocol, 4 shots, seed 1)."
cat "$out/base.settings"
for set in objects clothing; do
    "$bin/ammpl-evaluate" "$out/$protocol-$set.jsonl" --reference none --json
done | python3 -c '
import json, sys
best = {}
for line in sys.stdin:
    cell = json.loads(line)
    if cell["column"] not in ("4", "base"):
        continue
    data = cell["table"].replace("few-shot-", "").replace("base-to-novel-", "").split("-")[0]
    method, options = cell["row"].split(" ", 1)
    key = (method, data)
    if key not in best or cell["mean"] > best[key][0]:
        best[key] = (cell["mean"], options.replace("+", "; "))
for (method, data), (mean, options) in sorted(best.items()):
    print(f"{method}@{data}: {options}")'
