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
fails 2 'CPU' "bench: other backends" ammpl-bench --backend cuda
