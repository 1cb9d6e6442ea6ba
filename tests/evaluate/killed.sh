#!/bin/sh
# Kills an evaluation with SIGKILL at random times, starts it again, and compares what it ends with.
#
#   killed.sh PROGRAMS MODEL DATA KILLS FOLDER     programs' folder, a CLIP, pictures with train and test, how often, where to work
#
# The results must be those of an undisturbed evaluation but for what is measured anew (seconds, memory), in the same order; and every run
# must have been told as finished, recorded and skipped from then on.  Exit status 1 and a sentence otherwise.
programs=$1 model=$2 data=$3 kills=$4 folder=$5
mkdir -p "$folder" || exit 1
stop() {
    echo "killed.sh: $*"
    exit 1
}
set -- --protocol few-shot --model "$model" --data "$data" --method zeroshot,cocoop,maple,ammpl --shots 1,2 --seeds 1,2,3 --epochs 4 \
    --batch 2 --lr 0.05 --threads 1
stripped() {
    sed 's/"seconds": [0-9.]*, "train_seconds": [0-9.]*, "test_seconds": [0-9.]*, "peak_bytes": [0-9]*, //' "$1"
}
lines() {
    [ -f "$1" ] && wc -l <"$1" || echo 0
}

begin=$(date +%s.%N)
"$programs/ammpl-evaluate" "$@" --out "$folder/whole.jsonl" --quiet >"$folder/whole.txt" || stop "the undisturbed evaluation failed"
# A start gets up to this long: so many of them do not come to the end, some not to the end of their first run.
most=$(awk "BEGIN { print 1.2 * ($(date +%s.%N) - $begin) / $kills }")
runs=$(lines "$folder/whole.jsonl")
seed=$$ killed=0 started=0
: >"$folder/log.txt"
while [ $started -lt $((20 * kills)) ]; do
    started=$((started + 1))
    before=$(lines "$folder/part.jsonl")
    "$programs/ammpl-evaluate" "$@" --out "$folder/part.jsonl" >"$folder/part.txt" 2>"$folder/err.txt" &
    process=$!
    if [ $killed -lt "$kills" ]; then
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        sleep "$(awk "BEGIN { print 0.02 + $most * $seed / 2147483648 }")"
        kill -KILL $process 2>/dev/null
    fi
    wait $process 2>/dev/null
    status=$?
    [ $status -ne 137 ] || killed=$((killed + 1)) # kill succeeds on what has ended, too
    cat "$folder/err.txt" >>"$folder/log.txt"
    # What was there stays, to the byte; what is told as done already was done before.
    if [ "$before" -gt 0 ]; then
        head -n "$before" "$folder/part.jsonl" | cmp -s - "$folder/before.jsonl" || stop "start $started changed lines that were there"
        told=$(sed -n "s/^\([0-9]*\) of $runs runs are in .*/\1/p" "$folder/err.txt")
        [ "${told:-$before}" -eq "$before" ] || stop "start $started found $told runs where there were $before"
    fi
    head -n "$(lines "$folder/part.jsonl")" "$folder/part.jsonl" 2>/dev/null >"$folder/before.jsonl"
    [ $status -ne 0 ] || [ $killed -lt "$kills" ] || break
    if [ $status -eq 0 ]; then # at its end before it was killed often enough: from the start
        rm -f "$folder/part.jsonl" "$folder/before.jsonl"
        : >"$folder/log.txt"
    fi
done
[ $status -eq 0 ] || stop "it did not come to its end in $started starts"
[ "$killed" -eq "$kills" ] || stop "it was killed $killed times in $started starts"
stripped "$folder/whole.jsonl" >"$folder/whole.stripped"
stripped "$folder/part.jsonl" | cmp -s - "$folder/whole.stripped" || stop "the results are not those of an undisturbed evaluation"
cmp -s "$folder/whole.txt" "$folder/part.txt" || stop "the tables are not those of an undisturbed evaluation"
# A run that is told as finished was written just before: none may be told twice.
sed -n 's/^run [0-9]* of [0-9]*: \([^:]*\):.*/\1/p' "$folder/log.txt" | sort | uniq -d | grep . && stop "these runs were done twice"
echo "killed $killed times in $started starts, $runs runs: the same results, none repeated"
