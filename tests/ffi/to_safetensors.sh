#!/bin/sh
# examples/python/to_safetensors.py on checkpoints that PyTorch wrote (golden/checkpoints: reference/make_checkpoints.py).
#   to_safetensors.sh SOURCE_ROOT
root=$(cd "$1" && pwd) || exit 1
here=$root/tests/golden/checkpoints
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
number=0 failed=0
python=
for candidate in python3 /usr/bin/python3; do
    [ "$python" ] || ! $candidate -c 'import numpy' > "$dir/log" 2>&1 || python=$candidate
done
if ! [ "$python" ]; then
    echo "SKIP to_safetensors: there is no Python with NumPy"
    exit 0
fi

result() { # result DESCRIPTION STATUS
    number=$((number + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        sed 's/^/# /' "$dir/log"
        failed=1
    fi
}

convert() {
    $python -B "$root/examples/python/to_safetensors.py" "$@" > "$dir/log" 2>&1
}

# same DESCRIPTION EXPECTED INPUT...: the file has the bytes of the golden
same() {
    what=$1 expected=$2
    shift 2
    convert --force --out "$dir/out" "$@" && cmp "$dir/out" "$here/$expected" > "$dir/log" 2>&1
    result "$what" $?
}

# refused DESCRIPTION WORD INPUT...: status 1, one line that contains the word, no file
refused() {
    what=$1 word=$2
    shift 2
    rm -f "$dir/out"
    convert --out "$dir/out" "$@"
    [ $? -eq 1 ] && [ "$(wc -l < "$dir/log")" -eq 1 ] && grep -qF "$word" "$dir/log" && ! [ -e "$dir/out" ]
    result "$what" $?
}

ran=/tmp/ammpl-to-safetensors-ran # what checkpoint.pth.tar-5 would make
rm -f "$ran"
cd "$here" || exit 1
same "a state_dict of every type" types.safetensors types.bin
same "a checkpoint's state_dict, without what is around it" checkpoint.safetensors checkpoint.pth.tar-5
same "the format before zip archives" checkpoint.safetensors legacy.pth.tar
same "a TorchScript archive by its modules' names" script.safetensors script.pt
same "several files with prefixes" together.safetensors one=checkpoint.pth.tar-5 two.three=types.bin
! [ -e "$ran" ]
result "no code in a checkpoint was run" $?
refused "two files with the same names" "already" checkpoint.pth.tar-5 legacy.pth.tar
refused "no tensors in it" "no state_dict" list.pt
refused "no PyTorch file" "types.safetensors" types.safetensors
refused "no file" "nowhere.pt" nowhere.pt
head -c 700 checkpoint.pth.tar-5 > "$dir/short.pt"
refused "a file cut off" "short.pt" "$dir/short.pt"
head -c 300 legacy.pth.tar > "$dir/short.pt"
refused "the same of the old format" "short.pt" "$dir/short.pt"
: > "$dir/there"
convert --out "$dir/there" types.bin
[ $? -eq 1 ] && grep -q -- --force "$dir/log" && ! [ -s "$dir/there" ]
result "what is there is not overwritten" $?
convert --help && grep -q 'extractor=' "$dir/log" && ! convert && ! convert types.bin
result "--help shows DPT's three files, and wrong usage is an error" $?
echo "1..$number"
exit $failed
