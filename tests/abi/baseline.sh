#!/bin/sh
# The library's functions and types against the committed baseline, tests/abi/libammpl.abi (lib/ABI.md).
#   baseline.sh SOURCE_ROOT LIBRARY [BASELINE]             new functions and growth at a struct's tail pass, nothing else
#   baseline.sh --record SOURCE_ROOT LIBRARY [BASELINE]    makes the baseline anew: when a version is recorded
record=
[ "$1" = --record ] && record=1 && shift
root=$(cd "$1" && pwd) lib=$2
baseline=${3:-$root/tests/abi/libammpl.abi}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0

cannot() {
    echo "SKIP baseline: $1"
    exit 0
}
result() { # result DESCRIPTION FILE: ok when FILE is empty, else its lines are the complaint
    number=$((number + 1))
    if [ -s "$2" ]; then
        echo "not ok $number - $1"
        sed 's/^/# /' "$2"
        failed=1
    else
        echo "ok $number - $1"
    fi
}

command -v abidw > /dev/null && command -v abidiff > /dev/null || cannot "abidw and abidiff are not installed (abigail-tools)"
if nm -uD "$lib" | grep -q ' __[atu]b*san_'; then
    cannot "this build has a sanitizer in it"
fi
LC_ALL=C readelf -hSW "$lib" > "$dir/elf"
grep -q 'Machine:.*X86-64' "$dir/elf" || cannot "the baseline was made on x86-64"

# Without debug information abidw sees no types, and everything compares equal.
grep -q '\.debug_info' "$dir/elf" || echo "$lib has no debug information: build it with -g" > "$dir/debug"
touch "$dir/debug"
[ "$record" ] || result "the library has debug information" "$dir/debug"
if [ -s "$dir/debug" ]; then
    [ -z "$record" ] || cat "$dir/debug" >&2
    exit 1
fi

# What the public headers show of the library; where sources lie is left out.
abidw --headers-dir "$root/include" --drop-private-types --exported-interfaces-only --no-corpus-path --no-comp-dir-path \
    --no-show-locs --no-elf-needed --out-file "$dir/dump" "$lib" || exit 1
sed "s:path='[^']*/lib/:path='lib/:" "$dir/dump" > "$dir/new.abi"
if [ "$record" ]; then
    cp "$dir/new.abi" "$baseline"
    exit
fi

# Names and sizes of the structs whose members can be seen.
structs() {
    sed -n "s/.*<class-decl name='\(ammpl_[a-z0-9_]*\)' size-in-bits='\([0-9]*\)'.*/\1 \2/p" "$1" | sort -u
}
structs "$baseline" > "$dir/old.structs"
structs "$dir/new.abi" | cut -d ' ' -f 1 > "$dir/new.structs"
{
    [ -s "$dir/old.structs" ] || echo "there are no structs in $baseline"
    cut -d ' ' -f 1 "$dir/old.structs" | comm -23 - "$dir/new.structs" | sed 's/$/ is not there/'
} > "$dir/missing"
result "abidw sees every struct of the baseline" "$dir/missing"

# silent DUMP OPTIONS...: abidiff's report, where it has something to report
silent() {
    dump=$1
    shift
    abidiff --no-added-syms "$@" "$baseline" "$dump" > "$dir/report" 2>&1 || cat "$dir/report"
}
silent "$dir/new.abi" --suppressions "$root/tests/abi/libammpl.abignore" > "$dir/difference"
result "nothing of the baseline is removed or changed" "$dir/difference"

# The new structs cut to the length that callers of the baseline know: then nothing at all may differ.
awk -v known="$dir/old.structs" '
    BEGIN { while ((getline line < known) > 0) { split(line, word, " "); size[word[1]] = word[2] } }
    match($0, /<class-decl name=.[a-z0-9_]*. size-in-bits=.[0-9]*/) {
        split(substr($0, RSTART, RLENGTH), word, "\047")
        cut = word[2] in size && word[4] > size[word[2]] ? size[word[2]] : 0
        if (cut)
            sub("size-in-bits=\047[0-9]*", "size-in-bits=\047" cut)
    }
    /<\/class-decl>/ { cut = 0 }
    cut && match($0, /layout-offset-in-bits=.[0-9]*/) {
        beyond = substr($0, RSTART + 23, RLENGTH - 23) + 0 >= cut
    }
    !beyond { print }
    /<\/data-member>/ { beyond = 0 }' "$dir/new.abi" > "$dir/cut.abi"
silent "$dir/cut.abi" > "$dir/difference"
result "what callers of the baseline know of a struct is as it was" "$dir/difference"
echo "1..$number"
exit $failed
