#!/bin/sh
# The last recorded version against this library: its test program runs, and abidiff finds nothing removed or changed.
#   previous.sh SOURCE_ROOT LIBRARY [COMMIT]     COMMIT: another than the one that lib/ABI.md records last
# Builds that commit in a scratch folder, with git archive.
root=$(cd "$1" && pwd) lib=$(cd "$(dirname "$2")" && pwd)/$(basename "$2") commit=$3
dir=$(mktemp -d /tmp/ammpl-previous-XXXXXX) && trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

cannot() {
    echo "SKIP previous: $1"
    exit 0
}
failed() { # failed DESCRIPTION [LOG]
    echo "not ok - $1"
    [ -z "$2" ] || tail -n 40 "$2" | sed 's/^/# /'
    exit 1
}

[ "$commit" ] || commit=$(sed -n 's/^Version [0-9.]* is commit \([0-9a-f]\{40\}\)$/\1/p' "$root/lib/ABI.md" | tail -n 1)
[ "$commit" ] || cannot "no version is recorded in lib/ABI.md yet"
git -C "$root" rev-parse --git-dir > "$dir/git" 2>&1 || cannot "the sources are no git repository, the recorded version cannot be built"
git -C "$root" cat-file -e "$commit^{commit}" 2> "$dir/git" ||
    cannot "commit $commit, recorded in lib/ABI.md, is not in this clone (git fetch --unshallow)"
mkdir "$dir/tree" && git -C "$root" archive "$commit" | tar xf - -C "$dir/tree" || failed "git archive $commit"
meson setup "$dir/build" "$dir/tree" -Dtests=enabled -Dcuda=disabled > "$dir/log" 2>&1 || failed "meson cannot set up $commit" "$dir/log"
ninja -C "$dir/build" tests/test_api > "$dir/log" 2>&1 || failed "tests/test_api of $commit does not build" "$dir/log"

# The program was linked with its own library and must meet the new one.
LD_LIBRARY_PATH=$(dirname "$lib")
export LD_LIBRARY_PATH
ldd "$dir/build/tests/test_api" > "$dir/ldd"
grep -q "libammpl\.so[0-9.]* => $LD_LIBRARY_PATH/" "$dir/ldd" ||
    failed "test_api of $commit does not load $lib (another soname? then record what comes after it)" "$dir/ldd"
timeout 300 "$dir/build/tests/test_api" > "$dir/log" 2>&1
status=$?
# 0.1.0's program wants the library to have its own number: the one thing that a newer library has otherwise.
number='^not ok .*:arguments:version: Assertion .ammpl_version_number() == 1000. failed'
sed -n '/^\(not \)\{0,1\}ok /p' "$dir/log" | grep -v "$number"
[ $status = 0 ] || { [ $status = 1 ] && ! grep '^not ok' "$dir/log" | grep -qv "$number"; } || failed "tests/test_api of $commit ends with status $status" "$dir/log"

command -v abidiff > "$dir/which" || cannot "abidiff is not installed (abigail-tools)"
sh "$root/tests/abi/baseline.sh" --record "$dir/tree" "$dir/build/lib/libammpl.so" "$dir/old.abi" > "$dir/log" 2>&1 ||
    failed "the interface of $commit cannot be read" "$dir/log"
sh "$root/tests/abi/baseline.sh" "$root" "$lib" "$dir/old.abi"
