#!/bin/sh
# On a machine with a GPU: the ops, towers, methods, trajectories and resumed runs on it, then what ammpl-bench measures.
#
#   tests/long/gpu.sh BUILD OUT     about four minutes at most; OUT (made) receives every part's output, and bench.jsonl
#
# BUILD may come from another machine (gpu_pack.sh makes a small copy that can be carried): shared libraries beside it, in
# BUILD/bundle, are found first.  Prints results as they come; the last line counts the parts.  AMMPL_TEST_SECONDS stretches limits.
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
build=$(cd "$1" && pwd) || exit 1
mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
plugin=$build/cuda/libammpl-cuda.so
AMMPL_TEST_ROOT=$root
LD_LIBRARY_PATH=$build/bundle${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/cuda/lib64
export AMMPL_TEST_ROOT LD_LIBRARY_PATH
stretch=${AMMPL_TEST_SECONDS:-1}
passed=0
failed=0

part() { # part SECONDS NAME COMMAND...: with a limit; its cases that failed, and its remarks
    limit=$(($1 * stretch))
    name=$2
    shift 2
    started=$(date +%s)
    timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1
    status=$?
    seconds=$(($(date +%s) - started))
    case $status in
    0) verdict=passed ;;
    124 | 137) verdict="FAILED (ran out of its $limit s)" ;;
    *) verdict="FAILED (status $status)" ;;
    esac
    grep -q '^1\.\.0 # SKIP' "$out/$name.log" && verdict="FAILED (skipped: $(grep -m1 '^SKIP' "$out/$name.log"))"
    echo "==== $name: $verdict, $seconds s, $(grep -c '^ok' "$out/$name.log") ok, $(grep -c '^not ok' "$out/$name.log") not ok"
    grep -E '^not ok' "$out/$name.log"
    [ "$verdict" = passed ] || tail -n 3 "$out/$name.log"
    if [ "$verdict" = passed ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2>&1 | tee "$out/gpu.txt"
part 60 ops "$build/tests/test_device_ops" "$plugin"
grep '^# ' "$out/ops.log"
AMMPL_TEST_BACKEND=$plugin
export AMMPL_TEST_BACKEND
part 15 towers "$build/tests/test_towers"
part 30 device "$build/tests/test_device"
grep '^# ' "$out/device.log"
for program in methods ammpl trainer exact; do
    part 40 $program "$build/tests/test_$program"
done
unset AMMPL_TEST_BACKEND

bench() { # bench SECONDS NAME FLAGS...: lines of bench.jsonl
    seconds_allowed=$1
    run=$2
    shift 2
    part "$seconds_allowed" "bench-$run" "$build/examples/ammpl-bench" --model "$model" --backend cuda --backend-dir "$build/cuda" --json --repeats 3 --quiet "$@"
    grep '^{' "$out/bench-$run.log" | sed "s/^{/{\"run\": \"$run\", /" | tee -a "$out/bench.jsonl"
}
model=$(mktemp -d "${TMPDIR:-/tmp}/ammpl-gpu-XXXXXX") || exit 1
trap 'rm -rf "$model"' EXIT
trap 'exit 1' INT TERM
: > "$out/bench.jsonl"
part 30 model "$build/examples/ammpl-bench" --write-model "$model"
# As in the table of cuda/README.md, then the sizes that the CPU is measured with.
bench 40 readme --only machine,kernels,gemm,towers,steps --steps coop,coop-cached,vp,vpt,dlp,ivlp,maple,dpt,ammpl-c1c2 --classes 100 --batch 32
bench 20 readme-one --only steps --steps cocoop,ammpl-shared --classes 100 --batch 1
bench 30 own --only steps
for precision in tf32 bf16 f16; do
    bench 20 $precision --precision $precision --only machine,gemm,steps --steps coop,vpt,cocoop-10 --classes 100 --batch 32
done
echo "$passed parts passed, $failed failed"
[ "$failed" -eq 0 ]
