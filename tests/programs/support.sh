# support.sh - what the tests of the programs share.  Sourced by run.sh, in an empty temporary folder.
count=0 failed=0 skipped=0
model=$root/examples/demo-clip # its vocabulary knows the words of the pictures; tests do not depend on how good it is

# report WHAT STATUS: one test, passed when STATUS is 0; what the last program printed is shown when it failed.
report() {
    count=$((count + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $count - $1"
    else
        failed=$((failed + 1))
        echo "not ok $count - $1"
        sed 's/^/#   out: /' out 2>/dev/null | head -n 8
        sed 's/^/#   err: /' err 2>/dev/null | head -n 8
    fi
}

# check WHAT COMMAND...: passes when the command succeeds.
check() {
    check_what=$1
    shift
    "$@" >/dev/null 2>&1
    report "$check_what" $?
}

# differ A B: both files are there and are not the same.
differ() {
    [ -s "$1" ] && [ -s "$2" ] && ! cmp -s "$1" "$2"
}

skip() { # WHAT WHY
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}

# try COMMAND...: its output in the files out and err, its exit status in $status.
try() {
    "$@" >out 2>err
    status=$?
}

# succeeds WHAT COMMAND...: exit status 0.
succeeds() {
    what=$1
    shift
    try "$@"
    report "$what" "$status"
}

# fails STATUS WORDS WHAT COMMAND...: that exit status, nothing on standard output, one line on standard error that holds
# the words (an extended regular expression).
fails() {
    want=$1 words=$2 what=$3
    shift 3
    try "$@"
    [ "$status" -eq "$want" ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] && grep -Eq -- "$words" err
    report "$what" $?
}

# The pictures that tests train on and classify: 3 classes with 5 + 2 pictures, and 4 unseen ones with 2.
pictures() {
    [ -d pictures ] && return
    ammpl-pictures --out pictures --train 5 --test 2 --quiet
    for part in train test; do
        (cd pictures/base/$part && ls | tail -n +4 | xargs rm -r)
    done
}

# train OUT FLAGS...: a short run on them.
train() {
    train_out=$1
    shift
    ammpl-train --model "$model" --data pictures/base --method ammpl --epochs 2 --batch 4 --out "$train_out" "$@"
}

# A prompt file for tests that need any.
prompt() {
    pictures
    [ -f prompt.safetensors ] || train prompt.safetensors --quiet
}

# jsonlines KEY...: checks that every line of standard input is a JSON object with these keys, prints their values.
jsonlines() {
    if [ ! -x jsonlines ]; then
        cc -o jsonlines "$here/jsonlines.c" -ljansson || return
    fi
    ./jsonlines "$@"
}
