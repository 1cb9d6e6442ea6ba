#!/bin/sh
# The towers, the methods' goldens, trajectories and resumed runs on a device's plug-in: the programs that run on the CPU, too.
#
#   device.sh BUILD [PLUGIN]     default: the emulated device of the build (tests/cuda_emu)
#   device.sh build build/cuda/libammpl-cuda.so
#
# On the emulated device every access of the towers (under each of its three policies) and of a step of every method is judged; then
# all cases run with every access of a kernel made and none judged, which takes about half the time.  The ops have a program of their own
# (test_device_ops).  Each program prints how many kernels and launches it saw, and fails when there were none.  Without a device all of
# them say SKIP.  The last line is as that of tests/run.sh.
build=$(cd "$1" && pwd) || exit 1
plugin=${2:-$build/tests/cuda_emu/libammpl-cuda.so}
root=$(cd "$(dirname "$0")/.." && pwd)
plugin=$(cd "$(dirname "$plugin")" && pwd)/$(basename "$plugin")
log=$(mktemp -d) || exit 1
trap 'rm -rf "$log"' EXIT
trap 'exit 1' INT TERM
AMMPL_TEST_BACKEND=$plugin CK_TIMEOUT_MULTIPLIER=8
export AMMPL_TEST_BACKEND CK_TIMEOUT_MULTIPLIER

: > "$log/none"
set -- "$log/none"
list=
start() { # start NAME PROGRAM [CASES]: in the background
    (
        [ "$3" ] && export CK_RUN_CASE="$3"
        timeout 2400 "$build/tests/test_$2" > "$log/$1" 2>&1
        echo $? > "$log/$1.status"
    ) &
    list="$list $1"
}
for AMMPL_TEST_SEED in 0 1 2; do
    export AMMPL_TEST_SEED
    start "towers-seed-$AMMPL_TEST_SEED" towers
done
AMMPL_TEST_SEED=1
start methods-judged methods steps
start ammpl-judged ammpl steps
AMMPL_TEST_UNJUDGED=1
export AMMPL_TEST_UNJUDGED
for program in methods ammpl trainer exact; do
    start "$program" "$program"
done
wait
for name in $list; do # what count.py wants
    grep '^# ' "$log/$name" | sed "s/^# /$name: /"
    set -- "$@" "$name" "$log/$name" "$(cat "$log/$name.status")"
done
python3 "$root/tests/count.py" "$@"
