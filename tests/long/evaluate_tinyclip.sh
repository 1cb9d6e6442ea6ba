#!/bin/sh
# The small CLIP of ../shared/data on real photographs: all methods with 1, 2, 4, 8 and 16 shots, base-to-novel, the ablation, and AMMPL's open
# options, three seeds each.  Run by hand, some hours on two idle cores; what is finished is not repeated.
#
#   tests/long/evaluate_tinyclip.sh BUILD_DIR OUT_DIR      $JOBS runs at once (1)
#
# Learning rates: tinyclip-*.settings beside this, chosen on part of the training pictures.  OUT_DIR then has few-shot.jsonl,
# base-to-novel.jsonl, ablation.jsonl, options.jsonl and the page report/index.html; the tables are printed.
set -eu
[ $# -eq 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
data=$here/../../../shared/data
bin=$1/examples out=$2
[ -d "$data/tinyclip" ] || { echo "evaluate_tinyclip.sh: $data/tinyclip is not there"; exit 1; }
mkdir -p "$out"
begin=$(date +%s)

evaluate() { # NAME PROTOCOL SETTINGS FLAGS...
    name=$1 protocol=$2 settings=$3
    shift 3
    "$bin/ammpl-evaluate" --protocol "$protocol" --model "$data/tinyclip" --data "$data/objects" --data "$data/clothing" \
        --settings "$here/tinyclip-$settings.settings" --out "$out/$name.jsonl" --jobs "${JOBS:-1}" --report "$out/report" "$@" >/dev/null
}
evaluate few-shot few-shot few-shot --method all,coop+class_specific=on
evaluate base-to-novel base-to-novel base-to-novel --method all
evaluate ablation ablation few-shot --shots 4
# AMMPL's open options, one at a time against the defaults (ammpl.md): evaluation, mask gradient, order, shift, draws.
evaluate options few-shot few-shot --shots 4 --method zeroshot,ammpl,ammpl+evaluation=threshold,ammpl+evaluation=sample,ammpl+evaluation=mean:4,ammpl+mask_gradient=blend,ammpl+order=simultaneous,ammpl+shift=scalar
"$bin/ammpl-evaluate" "$out/few-shot.jsonl" "$out/base-to-novel.jsonl" "$out/ablation.jsonl" --report "$out/report"
"$bin/ammpl-evaluate" "$out/options.jsonl"
echo "wall time of this call: $(($(date +%s) - begin)) s"
