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
fails 2 'ViT-B/32' "bench: unknown sizes" ammpl-bench --architecture ViT-Z/1
fails 2 'no step' "bench: unknown steps" ammpl-bench --model "$model" --only steps --steps nothing
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
