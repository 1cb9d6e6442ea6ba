# --backend cuda: the programs on the emulated device give what they give on the CPU; the real plug-in without a driver says so.
emulated=$bin/../tests/cuda_emu
pictures
picture=$(find pictures/base/test -type f | LC_ALL=C sort | head -n 1)

# alike A B TOLERANCE: as many numbers in both, pairwise so close.
alike() {
    paste -d ' ' "$1" "$2" | awk -v t="$3" '{ n++; d = $1 - $2; if (d < 0) d = -d; m = $1 < 0 ? -$1 : $1; if (NF != 2 || d > t * (m + 1)) bad = 1 }
        END { exit bad || n == 0 }'
}

if [ -f "$emulated/libammpl-cuda.so" ]; then
    on_device() {
        "$@" --backend cuda --backend-dir "$emulated"
    }
    ammpl-classify --model "$model" --classes "red circle,blue square" --json "$picture" | grep -o '"logits": \[[^]]*' | grep -o -- '-\{0,1\}[0-9.e-]\{3,\}' >one
    on_device ammpl-classify --model "$model" --classes "red circle,blue square" --json --quiet "$picture" >out 2>err
    grep -o '"logits": \[[^]]*' out | grep -o -- '-\{0,1\}[0-9.e-]\{3,\}' >two
    alike one two 1e-4
    report "ammpl-classify on a device: the CPU's logits" $?
    for where in cpu cuda; do
        learn() {
            ammpl-train --model "$model" --data pictures/base --method cocoop --shots 1 --epochs 1 --batch 2 --out "$where.safetensors" --log "$where.jsonl" --quiet "$@"
        }
        if [ $where = cpu ]; then try learn; else try on_device learn; fi
        report "ammpl-train on $where" "$status"
        grep -o '"loss": [0-9.e-]*' "$where.jsonl" | grep -o '[0-9.e-]*$' >"$where.losses"
    done
    alike cpu.losses cuda.losses 1e-4
    report "ammpl-train on a device: the CPU's losses" $?
    succeeds "ammpl-interpret on a device" on_device ammpl-interpret --model "$model" --prompt cuda.safetensors --quiet
    ammpl-train --model "$model" --data pictures/base --method coop --shots 1 --epochs 1 --out threads.safetensors --quiet
    if [ -x "$bin/threads" ]; then
        threads "$model" threads.safetensors 2 "$picture" >one
        succeeds "threads on a device" threads --backend cuda --backend-dir "$emulated" "$model" threads.safetensors 2 "$picture"
        check "threads on a device: what it says on the CPU" cmp one out
    else
        skip "threads on a device" "there is no C++ compiler"
    fi
    for class in $(ls pictures/base/train | head -n 2); do # hello's 10 epochs of a picture for each of two classes
        mkdir -p "few/train/$class" && cp "pictures/base/train/$class/000.png" "few/train/$class"
    done
    hello "$model" few "$picture" >one
    mv hello.safetensors cpu.safetensors
    succeeds "hello on a device" hello --backend cuda --backend-dir "$emulated" "$model" few "$picture"
    check "hello on a device: the CPU's class" cmp one out
    check "hello on a device: a prompt" [ -s hello.safetensors ]
    ammpl-train --model "$model" --data pictures/base --method ammpl --shots 1 --epochs 1 --batch 3 --out masks.safetensors --quiet
    succeeds "ammpl-mask on a device" on_device ammpl-mask --model "$model" --prompt masks.safetensors --out device.png --quiet "$picture"
    check "ammpl-mask on a device: a figure" [ -s device.png ]
    for where in cpu cuda; do
        evaluate() {
            ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method zeroshot --shots 1 --seeds 1 --out "$where.results" --quiet "$@"
        }
        if [ $where = cpu ]; then try evaluate; else try on_device evaluate; fi
        report "ammpl-evaluate on $where" "$status"
        grep -o '"correct": [0-9]*, "count": [0-9]*' "$where.results" >"$where.counts"
    done
    check "ammpl-evaluate on a device: the CPU's counts" cmp cpu.counts cuda.counts
else
    skip "programs on the emulated device" "it was not built (no C++ compiler)"
fi

plugin=$bin/../cuda
if [ ! -f "$plugin/libammpl-cuda.so" ]; then
    skip "the CUDA plug-in without a driver" "it was not built (nvcc 12 or later)"
elif [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; then
    skip "the CUDA plug-in without a driver" "this machine has a GPU: tests/long/gpu.sh"
else
    for program in "ammpl-classify --classes a,b $picture" "ammpl-train --data pictures/base --method coop --out x.safetensors" \
        "ammpl-mask --prompt masks.safetensors --out x.png $picture" "ammpl-interpret --prompt cuda.safetensors" "ammpl-bench --only steps"; do
        # shellcheck disable=SC2086  # a list
        fails 1 'there is no NVIDIA driver on this machine' "${program%% *} --backend cuda without a driver" $program --model "$model" --backend cuda --backend-dir "$plugin"
    done
    fails 1 'there is no NVIDIA driver on this machine' "hello --backend cuda without a driver" \
        hello --backend cuda --backend-dir "$plugin" "$model" few "$picture"
    [ ! -x "$bin/threads" ] || fails 1 'there is no NVIDIA driver on this machine' "threads --backend cuda without a driver" \
        threads --backend cuda --backend-dir "$plugin" "$model" threads.safetensors 2 "$picture"
fi
