# ammpl-evaluate: runs, records, what resumes and what is refused.
pictures
# few OUT FLAGS...: two methods that learn and one that does not, 1 + 2 x 2 x 2 runs
few() {
    few_out=$1
    shift
    ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method zeroshot,cocoop,ammpl --shots 1,2 --seeds 1,2 \
        --epochs 2 --lr 0.05 --out "$few_out" "$@"
}
# results FILE: its lines without what is measured anew each time, in one order
results() {
    sed 's/"seconds": [0-9.]*, "train_seconds": [0-9.]*, "test_seconds": [0-9.]*, "peak_bytes": [0-9]*, //' "$1" | LC_ALL=C sort
}
same_results() {
    results "$1" >same.a
    results "$2" >same.b
    [ -s same.a ] && cmp same.a same.b
}

succeeds "few-shot" few few.jsonl
check "nine runs give nine lines" test "$(wc -l <few.jsonl)" -eq 9
check "lines have the contract's keys" jsonlines method dataset protocol shots seed split correct count accuracy macro_f1 seconds peak_bytes \
    options <few.jsonl
check "a table has a row for each method and a column for each number of shots" sh -c 'grep -q "^| zeroshot " out && grep -Eq "^\|[ ]+\| +1 \| +2 \|" out'
check "each run is told once" test "$(grep -c '^run [1-9] of 9: ' err)" -eq 9
cp few.jsonl before.jsonl
succeeds "the same again" few few.jsonl
check "repeats nothing" cmp few.jsonl before.jsonl
check "and says so" grep -q '^9 of 9 runs are in few.jsonl already' err
succeeds "--quiet" few few.jsonl --quiet
check "has tables only" sh -c '[ ! -s err ] && grep -q "^| ammpl " out'
succeeds "two jobs, one thread" few jobs.jsonl --jobs 2 --threads 1 --quiet
check "the same results" same_results few.jsonl jobs.jsonl
check "options in force are recorded" grep -q '"protocol": "few-shot".*"lr": 0.05.*"epochs": 2' few.jsonl
check "the paper's scope is that of the protocol" sh -c 'grep "\"method\": \"ammpl\"" few.jsonl | grep -q "\"scope\": \"class\", \"order\""'
check "class counts add up" sh -c './jsonlines count class_count <few.jsonl | sed "s/[][,]/ /g" | awk "{ s = 0; for (i = 2; i <= NF; i++) s += \$i; if (s != \$1) exit 1 }"'

# A last line that was cut short, wherever, is done again; a file that somebody edited is not touched.
n=$(wc -c <few.jsonl)
for cut in 1 2 700 $((n / 3)); do
    head -c $((n - cut)) few.jsonl >cut.jsonl
    succeeds "cut by $cut bytes" few cut.jsonl --quiet
    check "cut by $cut bytes: the same results" same_results few.jsonl cut.jsonl
done
head -c $((n - 1)) few.jsonl >cut.jsonl
few cut.jsonl --quiet >out 2>err
check "a last line without its newline counts" sh -c '[ "$(wc -l <cut.jsonl)" -eq 9 ] && cmp cut.jsonl few.jsonl'
(head -n 4 few.jsonl && echo 'my notes' && tail -n 5 few.jsonl) >notes.jsonl
cp notes.jsonl notes.before
fails 1 'notes.jsonl, line 5' "a line that is none" few notes.jsonl --quiet
check "nothing is done to it" cmp notes.jsonl notes.before
printf '{"method": "ammpl"}\n' >short.jsonl
fails 1 'line 1: "protocol" is missing' "a line that says too little" few short.jsonl --quiet

# What is not comparable does not meet in one file.
fails 1 'under other options.*epochs=2.*epochs=3' "other options" few few.jsonl --epochs 3 --quiet
check "the file is as it was" cmp few.jsonl before.jsonl
succeeds "other options in another file" few other.jsonl --epochs 3 --quiet
fails 1 'there twice, with other settings .*epochs=2.*epochs=3' "both at once" ammpl-evaluate few.jsonl other.jsonl
sed 's/"probe": \[[^,]*/"probe": [9/' few.jsonl >clip.jsonl
fails 1 'of another CLIP' "results of two CLIPs" ammpl-evaluate few.jsonl clip.jsonl
cp -r pictures/base changed && rm "$(find changed/test -name '*.png' | LC_ALL=C sort | head -n 1)" && mkdir other && mv changed other/base
fails 1 'other pictures of base' "other pictures under the same name" ammpl-evaluate --protocol few-shot --model "$model" --data other/base \
    --method zeroshot --out few.jsonl --quiet
flock few.jsonl sleep 20 &
locker=$!
sleep 0.2
fails 1 'another ammpl-evaluate' "a file that another one writes to" few few.jsonl --quiet
kill $locker
fails 1 'no/such' "a folder that is not there" few no/such/file.jsonl --quiet

# A run that fails takes no other with it; it is not recorded.
try few failed.jsonl --method ammpl+n_ctx=40
check "a failing run: exit status 1" test "$status" -eq 1
check "one line at the end says which and why" sh -c 'tail -n 1 err | grep -q "^ammpl-evaluate: 4 of 13 runs failed; the first: ammpl n_ctx=40 on base, 1 shot, seed 1: .*40"'
check "the others are recorded" test "$(wc -l <failed.jsonl)" -eq 9
check "and shown" grep -q '^| cocoop' out

# The other protocols.
protocol() {
    ammpl-evaluate --protocol "$@" --model "$model" --seeds 1,2 --epochs 1 --lr 0.05 --quiet
}
succeeds "base-to-novel" protocol base-to-novel --data pictures/base --method zeroshot,ammpl --shots 2 --out halves.jsonl
check "two lines a run" test "$(grep -c '"split": "base"' halves.jsonl)" -eq 3 -a "$(grep -c '"split": "novel"' halves.jsonl)" -eq 3
jsonlines split count <halves.jsonl | sort -u | tr '\t\n' '  ' >counts
check "two classes, then the third" grep -qx '"base" 4 "novel" 2 ' counts
check "the harmonic mean" grep -Eq '^\| ammpl +\|.*\|.*\|.*\|$' out
mkdir second && cp -r pictures/unseen/test second/test && cp -r pictures/unseen/test second/train
succeeds "cross-dataset" protocol cross-dataset --data pictures/base --data second --source second --method zeroshot,ammpl --shots 1 --out cross.jsonl
check "zero-shot once on each, the other one trained and tested on both" test "$(wc -l <cross.jsonl)" -eq 6
check "the source leads" grep -Eq '^\|[ ]+\| +second \| +base \|' out
fails 2 'components of ammpl' "an ablation of another method" protocol ablation --data pictures/base --method coop --shots 1 --out coop.jsonl
succeeds "ablation" protocol ablation --data pictures/base --shots 1 --out parts.jsonl
check "four rows" sh -c 'for row in C1 C3 C1+C2 C1+C2+C3; do grep -Fq "| ammpl $row " out || exit 1; done'
check "C3 has no masks" sh -c 'grep "\"variant\": \"C3\"" parts.jsonl | grep -q "\"mask\": false" && ! grep "\"variant\": \"C3\"" parts.jsonl | grep -q "\"masked\""'
check "C1 has no padding" sh -c 'grep "\"variant\": \"C1\"" parts.jsonl | grep -q "\"mask\": true, \"padding\": false, \"interaction\": false"'
succeeds "a variant" protocol few-shot --data pictures/base --method ammpl,ammpl+mask_mean=0.8+order=simultaneous --shots 1 --out variant.jsonl
check "has a row of its own" grep -q '^| ammpl mask_mean=0.8+order=simultaneous' out
check "and its options" grep -q '"variant": "mask_mean=0.8+order=simultaneous".*"order": "simultaneous".*"mask_mean": 0.8' variant.jsonl

# Settings from a file, published data sets, split files.
printf '# rates\n*: epochs=1\nammpl: lr=0.5; lr_mask=3\nammpl@base: lr=0.25\ncocoop@other: lr=9\n' >settings
succeeds "--settings" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method ammpl,cocoop --shots 1 --seeds 1 \
    --settings settings --dry-run
check "--settings: the last line that fits counts" grep -q '^ammpl on base, 1 shot, seed 1: protocol=few-shot; lr=0.25; epochs=1; lr_mask=3$' out
check "--settings: not for others" grep -q '^cocoop on base, 1 shot, seed 1: protocol=few-shot; epochs=1$' out
check "--dry-run writes nothing" test ! -e results.jsonl
printf '*: epochs=1\nammpl: lr=0.5\nammpl+order=simultaneous: lr=2\n' >variants
try ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method ammpl,ammpl+order=simultaneous,ammpl+shift=scalar --shots 1 \
    --seeds 1 --settings variants --dry-run
check "--settings: a variant has its own" sh -c '[ "$(grep -c "lr=0.5; " out)" -eq 2 ] && grep -q "^ammpl order=simultaneous on base.*; lr=2; " out'
printf 'ammpl: lrate=1\n' >wrong
fails 2 'settings: .*lrate' "an option that there is not" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method ammpl \
    --settings wrong
mkdir -p root/dtd && cp -r pictures/base/train root/dtd/images
succeeds "a published data set" ammpl-evaluate --protocol few-shot --model "$model" --dataset dtd --root root --method zeroshot,ammpl --shots 1 \
    --seeds 1 --epochs 1 --out dtd.jsonl
check "is called as the paper calls it" grep -q '"dataset": "DTD"' dtd.jsonl
check "has its own template" grep -q '"template": "[^,]*{} texture' dtd.jsonl
check "and Dassl's picks" grep -q '"sampler": "dassl"' dtd.jsonl
check "its parts are not the published ones, and that is said" grep -q 'warning: .*split_zhou_DescribableTextures.json' err
check "the paper's number stands below ours, and the difference" sh -c 'grep -q "^|   the paper *| *52.42(1.3) |" out && grep -Eq "^\|   difference *\| *[-+][0-9.]+ \|" out'
ammpl-split --data pictures/base --shots 2 --out picks.json >/dev/null
succeeds "a split file" ammpl-evaluate --protocol few-shot --model "$model" --root pictures/base --split picks.json --method zeroshot --out split.jsonl
check "is called after its file" grep -q '"dataset": "picks"' split.jsonl

# What is shown of results that are there.
succeeds "results alone" ammpl-evaluate few.jsonl halves.jsonl
check "show every protocol" sh -c 'grep -q "^few-shot on base" out && grep -q "^base-to-novel on base" out'
succeeds "--json" ammpl-evaluate few.jsonl --json
check "an object for each cell" jsonlines table row column mean sd n ci95 values paper paper_sd difference <out
succeeds "--per-class" ammpl-evaluate few.jsonl --per-class
check "masked patches stand beside the accuracies" grep -q '| ammpl masks of 64 |' out
succeeds "--metric macro-f1" ammpl-evaluate few.jsonl --metric macro-f1
check "shows it" grep -q 'macro-F1 in %' out
succeeds "--keep" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method cocoop --shots 1 --seeds 3 --epochs 4 --batch 1 \
    --keep kept --snapshots 1 --out kept.jsonl
check "--keep: the prompt, at the start, half way and at the end" sh -c 'cd kept && ls | tr "\n" " " | grep -q "^few-shot-cocoop-base-1-3-step0.safetensors few-shot-cocoop-base-1-3-step6.safetensors few-shot-cocoop-base-1-3.safetensors $"'
check "--keep: they work" ammpl-classify --model "$model" --prompt kept/few-shot-cocoop-base-1-3.safetensors --data pictures/base

# Wrong usage.
fails 2 'protocol is missing' "no protocol" ammpl-evaluate --model "$model" --data pictures/base --method ammpl
fails 2 'few-shot, base-to-novel, cross-dataset and ablation' "a protocol that there is not" few x.jsonl --protocol few
fails 2 'model is missing' "no model" ammpl-evaluate --protocol few-shot --data pictures/base --method ammpl
fails 2 'data is missing' "no data" ammpl-evaluate --protocol few-shot --model "$model" --method ammpl
fails 2 'method is missing' "no method" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base
fails 2 'nearest is "coop"' "a method that there is not" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method coup
fails 2 'there twice' "a method twice" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method ammpl,ammpl
fails 2 'rising order' "shots that are none" few x.jsonl --shots 2,x
fails 2 'rising order' "no shots at all" few x.jsonl --shots 0,1
fails 2 'root is missing' "a data set without a root" ammpl-evaluate --protocol few-shot --model "$model" --dataset DTD --method ammpl
fails 2 'all are: Caltech101' "a data set that there is not" ammpl-evaluate --protocol few-shot --model "$model" --dataset Cars --root . --method ammpl
fails 1 'expected the folders train and test' "a folder without a test part" ammpl-evaluate --protocol few-shot --model "$model" \
    --data pictures/unseen/test --method ammpl
fails 2 'none of the data sets: base' "a source that there is not" few x.jsonl --protocol cross-dataset --source other
