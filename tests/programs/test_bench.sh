# ammpl-bench: what it counts, not what it measures.
bench() { # THREADS FLAGS...
    bench_threads=$1
    shift
    ammpl-bench --model "$model" --threads "$bench_threads" --repeats 1 --json "$@"
}

for step in cocoop-10 vpt ammpl-c1c2; do
    succeeds "bench: a step of $step" bench 1 --only steps --steps "$step" --classes 3 --batch 2
    jsonlines group name <out >named || report "bench: $step as JSON lines" 1
    # Operations and the first loss are the same whatever runs them.
    grep -o '"gflop": [0-9.e-]*\|"nats": [0-9.e-]*' out >one
    bench 2 --only steps --steps "$step" --classes 3 --batch 2 | grep -o '"gflop": [0-9.e-]*\|"nats": [0-9.e-]*' >two
    [ "$(wc -l <one)" -eq 2 ] && cmp -s one two
    report "bench: two threads execute what one does, $step" $?
done
gflop() {
    bench 1 --only steps --steps cocoop-10 --classes "$1" --batch 2 | sed -n 's/.*"gflop": \([0-9.e-]*\).*/\1/p'
}
awk -v a="$(gflop 3)" -v b="$(gflop 6)" 'BEGIN { exit !(a > 0 && b > a && b < 2 * a) }'
report "bench: six classes cost more than three, and less than twice as much" $?
succeeds "bench: towers as a table" ammpl-bench --model "$model" --only towers --classes 2 --batch 2 --repeats 1
check "bench: four lines of towers, and memory" [ "$(wc -l <out)" -eq 5 ]
# What the machine can do is no more than its processors can, however many threads share them.  (A busy or instrumented machine may
# reach less than the peak, or the loop be no yardstick, which the bench reports.)
try bench 8 --only machine
[ "$status" -eq 0 ] || { [ "$status" -eq 1 ] && grep -q 'no yardstick here' err; }
report "bench: the machine, with eight threads" $?
if grep -q '8 wide' out; then
    awk -F '[:,}]' -v processors="$(getconf _NPROCESSORS_ONLN)" '/"name": "clock"/ { clock = $(NF - 1) } /8 wide, 8 threads/ { peak = $(NF - 1) }
        END { exit !(clock > 0 && peak > 0 && peak < 1.15 * 32 * clock * (processors < 8 ? processors : 8)) }' out
    report "bench: eight threads' peak is one that the processors have" $?
else
    skip "bench: eight threads' peak" "its bound is that of AVX2, which this processor has not"
fi

# The groups, small.  gflop is 2 T N K; nothing takes no time.
group() { # NAME LINES...
    succeeds "bench: $1" bench 1 --only "$1"
    jsonlines group name <out >named && [ "$(wc -l <out)" -eq "$2" ] && ! grep -q '"\(seconds\|times\)": \(0\|-\|null\)[,}]' out
    report "bench: $1 has $2 lines of JSON" $?
}
group gemm 25
check "bench: a product's operations" grep -q '"x W^T 520 x 192 x 64".*"gflop": 0.01277952' out
group loading 4
group pictures 3
cp -r "$model" renamed
mv renamed/model.safetensors renamed/weights.safetensors
succeeds "bench: a model's file of another name" ammpl-bench --model renamed --only loading --repeats 1
check "bench: says that loading it is not measured" grep -q 'not measured' err

# Steps of a CLIP that reads 16 tokens.
succeeds "bench: every step on a short context" bench 1 --only steps --classes 3 --batch 2
check "bench: two lines of each" [ "$(wc -l <out)" -eq 35 ]
check "bench: says how many context tokens there is room for" grep -q 'coop, 3 classes, batch 2, 11 instead of 16 context tokens"' out
[ "$(grep -c '"peak": [0-9.]*, "clock": [0-9.]*' out)" -eq 17 ]
report "bench: each step with the peak and the clock around it" $?

fails 2 'machine,kernels,gemm,towers,steps,loading,pictures' "bench: a group that there is not" ammpl-bench --model "$model" --only nothing
fails 2 'machine,kernels' "bench: one of two groups that there is not" ammpl-bench --model "$model" --only machine,nothing
fails 2 'machine,kernels' "bench: no group" ammpl-bench --model "$model" --only ''
fails 2 'give --backend' "bench: a device's kernels without one" ammpl-bench --model "$model" --only kernels
fails 2 'give --only loading' "bench: one tower" ammpl-bench --model "$model" --only towers --towers text
fails 2 'give --only loading' "bench: one tower's pictures" ammpl-bench --model "$model" --only loading,pictures --towers image
succeeds "bench: loading one tower" ammpl-bench --model "$model" --only loading --towers text --repeats 1
fails 2 'at most 10000' "bench: too many classes" ammpl-bench --model "$model" --classes 2147483647
fails 2 'at most 4096' "bench: too many pictures" ammpl-bench --model "$model" --batch 2147483647
fails 2 'at most 256' "bench: too many threads" ammpl-bench --model "$model" --threads 2147483647
fails 2 '1 to 101' "bench: too many repeats" ammpl-bench --model "$model" --repeats 1000
fails 2 '1 to 101' "bench: no repeats" ammpl-bench --model "$model" --repeats 0
# OpenBLAS takes more for itself, and where it gets less tries for ever.
if ! (ammpl-bench --only gemm --compare-openblas --model nowhere 2>&1 | grep -q 'built without') ||
    ! (ulimit -v 100000 && bench 1 --only steps --steps ammpl-class --classes 32) >out 2>err; then
    skip "bench: too little memory" "this build takes 100 MB of addresses by itself (a sanitizer, OpenBLAS)"
else
    limited() {
        (ulimit -v 100000 && bench 1 "$@")
    }
    fails 1 'forward, 4096 images: takes about [0-9]+ MiB, this process can have [0-9]+ MiB; give smaller' \
        "bench: a tower for which there is no memory" limited --only towers --batch 4096
    fails 1 'ammpl-class, 10000 classes, batch 1: takes about 207 MiB' "bench: a prompt for which there is no memory" \
        limited --only steps --steps ammpl-class --classes 10000
    fails 1 'vpt, 10 classes, batch 4096: takes about [0-9]+ MiB' "bench: a step for which there is no memory" \
        limited --only steps --steps vpt --batch 4096
fi

# OpenBLAS beside it, where it was built in.
try bench 1 --only gemm --compare-openblas
if [ "$status" -eq 0 ]; then
    check "bench: each product through OpenBLAS, too" [ "$(grep -c '"group": "openblas"' out)" -eq 20 ]
    succeeds "bench: the comparison" ammpl-bench --model "$model" --threads 1 --repeats 1 --only gemm --compare-openblas
    check "bench: a row of its table for each" [ "$(grep -c '^| \(x W^T\|dy W\) |.*|$' out)" -eq 20 ]
else
    fails 1 'openblas=enabled' "bench: OpenBLAS was not built in" ammpl-bench --model "$model" --only gemm --compare-openblas
fi

fails 2 'ViT-B/32' "bench: unknown sizes" ammpl-bench --architecture ViT-Z/1
fails 2 'nothing' "bench: unknown steps" ammpl-bench --model "$model" --only steps --steps coop,nothing
fails 2 'no step' "bench: no steps" ammpl-bench --model "$model" --only towers --steps ,
fails 2 'this processor' "bench: unknown kernels" ammpl-bench --kernels quantum
fails 2 'CPU' "bench: kernels of the CPU on another backend" ammpl-bench --backend cuda --kernels SSE2
fails 1 'there is no device "cuda" here' "bench: a backend that is not there" ammpl-bench --backend cuda --backend-dir .

# On the emulated device: the same first losses, about the same operations (of attention over texts of unequal length more are counted).
emulated=$bin/../tests/cuda_emu
if [ -f "$emulated/libammpl-cuda.so" ]; then
    for step in cocoop-10 vpt ammpl-c1c2; do
        bench 1 --only steps --steps "$step" --classes 3 --batch 2 | sed -n 's/.*"\(gflop\|nats\)": \([0-9.e-]*\).*/\2/p' >one
        bench 1 --only steps --steps "$step" --classes 3 --batch 2 --yardstick 8 --quiet --backend cuda --backend-dir "$emulated" >out
        sed -n 's/.*"\(gflop\|nats\)": \([0-9.e-]*\).*/\2/p' out | paste one - |
            awk '{ d = $1 / $2 - 1; n++; if (d < -0.1 || d > 1e-5 || (n == 2 && d < -1e-5)) exit 1 } END { exit n != 2 }'
        report "bench: the emulated device executes what the CPU does, $step" $?
        check "bench: shares of a device's yardsticks, $step" grep -q '"of_gemm": .*"of_copy": ' out
    done
    succeeds "bench: a device's own kernels" ammpl-bench --model "$model" --only machine,kernels --repeats 1 --yardstick 8 --backend cuda --backend-dir "$emulated"
    check "bench: the copy and the product are its yardsticks" [ "$(grep -c '^device .*/s$' out)" -eq 2 ]
else
    skip "bench: the emulated device" "it was not built (no C++ compiler)"
fi
