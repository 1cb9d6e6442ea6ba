#!/bin/sh
# Installs what is missing, builds everything with warnings as errors, runs all tests and counts their cases.
#
#   tests/run.sh       in build/, or in the folder that $BUILD names
#
# $MESON_ARGS are options for the build (sanitizers: see .ci/run), $TIMEOUT_FACTOR stretches every time limit (3: machines are shared).
# The last line is "N passed, N failed, N skipped"; exit status 0 when something passed and nothing failed.
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
factor=${TIMEOUT_FACTOR:-3}

give_up() {
    echo "$1"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

sh examples/install.sh check g++ make python3 patch abigail-tools locales || give_up "the packages could not be installed"
mode=
[ -f "$build/build.ninja" ] && mode=--reconfigure
# shellcheck disable=SC2086  # options, separated by spaces
meson setup $mode "$build" -Dwerror=true -Dtests=enabled ${MESON_ARGS:-} > "$build-setup.log" 2>&1 || {
    cat "$build-setup.log"
    give_up "meson could not set up $build (an old folder? remove it)"
}
mv "$build-setup.log" "$build/setup.log"
ninja -C "$build" > "$build/compile.log" 2>&1 || {
    grep -v '^\[[0-9]*/[0-9]*\] [CLG]' "$build/compile.log" # without the lines of what went well
    give_up "the build failed"
}

# Cases have time limits of their own; a busy machine is no failure.
CK_TIMEOUT_MULTIPLIER=$((5 * factor))
export CK_TIMEOUT_MULTIPLIER
# count.py judges by the programs' output, so the status of meson test says nothing more.
meson test -C "$build" --no-rebuild --timeout-multiplier "$factor" > "$build/test.log" 2>&1
[ -s "$build/meson-logs/testlog.json" ] || {
    cat "$build/test.log"
    give_up "meson test did not run"
}
set -- "$build/meson-logs/testlog.json"
if [ -f tests/programs/run.sh ]; then
    timeout $((240 * factor)) sh tests/programs/run.sh "$build" > "$build/programs.log" 2>&1
    set -- "$@" programs "$build/programs.log" $?
fi
exec python3 tests/count.py "$@"
