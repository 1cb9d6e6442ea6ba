#!/bin/sh
# Do the tests notice mistakes?  Each *.patch here puts one into a copy of the sources and names a test program ("Test: NAME");
# a case of that program that passes without the patch must fail with it.  Prints TAP.
#
#   run.sh [NAME...]      all mutations, or those named
here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../.." && pwd) || exit 1
work=$(mktemp -d /tmp/ammpl-mutations-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
TMPDIR=$work # of what is killed here, nothing stays elsewhere
export TMPDIR
trap 'exit 1' INT TERM

give_up() {
    echo "Bail out! $1"
    [ "$2" ] && sed 's/^/# /' "$2" | tail -n 40
    exit 1
}

command -v patch > "$work/which" || give_up "patch(1) is not installed"
if [ $# -eq 0 ]; then
    for file in "$here"/*.patch; do
        set -- "$@" "$(basename "$file" .patch)"
    done
fi

# What the tests need of the tree; they find their goldens in the copy.
mkdir "$work/tree" && cd "$root" && tar cf - meson.build meson_options.txt src lib include cuda examples tests pkgconfig |
    (cd "$work/tree" && tar xf -) || give_up "the sources could not be copied"
meson setup "$work/build" "$work/tree" -Dtests=enabled -Dcuda=disabled > "$work/setup.log" 2>&1 || give_up "meson setup failed" "$work/setup.log"
cd "$work/tree" || exit 1

# Builds a test program and runs it: its cases' verdicts, "ok N" and "not ok N", in $work/$2.
run() {
    ninja -C "$work/build" "tests/test_$1" > "$work/ninja.log" 2>&1 || return 1
    timeout 120 "$work/build/tests/test_$1" > "$work/$2.log" 2>&1
    status=$?
    grep -oE '^(not )?ok [0-9]+' "$work/$2.log" > "$work/$2"
    [ "$status" -le 1 ] || echo "ended with status $status" >> "$work/$2"
    return 0
}

echo "1..$#"
n=0
failed=0
for name in "$@"; do
    n=$((n + 1))
    file=$here/$name.patch
    program=$(sed -n 's/^Test: //p' "$file")
    why=
    if ! [ -f "$work/good-$program" ]; then
        run "$program" "good-$program" || give_up "tests/test_$program does not build" "$work/ninja.log"
        grep -q '^ok' "$work/good-$program" || give_up "no case of tests/test_$program passes" "$work/good-$program.log"
    fi
    if ! patch -p1 -s -N --no-backup-if-mismatch -r - --dry-run < "$file" > "$work/patch.log" 2>&1; then
        why="the patch no longer fits: make it anew"
    else
        patch -p1 -s --no-backup-if-mismatch < "$file"
        if ! run "$program" bad; then
            why="the mutated sources do not build: $(grep -m1 error "$work/ninja.log")"
        elif ! grep '^ok' "$work/good-$program" | sed 's/^/not /' | grep -qxFf - "$work/bad"; then
            why="no case of tests/test_$program fails"
        fi
        patch -p1 -s -R --no-backup-if-mismatch < "$file" || give_up "$name cannot be taken back"
    fi
    if [ "$why" ]; then
        echo "not ok $n - mutation $name is caught"
        echo "# $why"
        failed=1
    else
        echo "ok $n - mutation $name is caught"
        echo "# by $(grep -c '^not ok' "$work/bad") of $(grep -c 'ok' "$work/bad") cases of tests/test_$program"
    fi
done
exit $failed
