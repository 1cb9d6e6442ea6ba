#!/bin/sh
# examples/train_mpi: 7 pictures over 1, 2 and 4 ranks give the tensors that ammpl-train gives, to float rounding.
#   run.sh SOURCE_ROOT BUILD_DIR
root=$(cd "$1" && pwd) bin=$(cd "$2" && pwd)/examples
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0

cannot() {
    echo "SKIP mpi: $1"
    exit 0
}
result() { # result DESCRIPTION STATUS: shows the end of log when it failed
    number=$((number + 1))
    if [ "$2" = 0 ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        tail -n 20 log | sed 's/^/# /'
        failed=1
    fi
}
[ -x "$bin/train_mpi" ] || cannot "train_mpi was not built: there is no MPI"
mpirun --version 2>&1 | grep -q 'Open MPI' || cannot "mpirun is not Open MPI's, whose flags this test knows"
if nm -u "$bin/ammpl-train" | grep -q ' __[atu]b*san_'; then
    cannot "this build has a sanitizer in it, which takes MPI's own memory for leaks"
fi
cd "$dir" || exit 1
mpi() { # mpi RANKS ARGUMENTS...
    n=$1
    shift
    timeout 100 mpirun --allow-run-as-root --oversubscribe -np "$n" "$bin/train_mpi" "$@" > out 2> log
}
# close A B LIMIT: the largest difference is at most that
close() {
    python3 "$root/tests/mpi/compare.py" "$1" "$2" > difference 2> log && cat difference >> log && awk -v limit="$3" '{ exit !($1 <= limit) }' difference
}

"$bin/ammpl-pictures" --out all --train 3 --test 1 --quiet && mkdir -p photos/train &&
    for class in $(ls all/base/train | head -n 3); do
        cp -R "all/base/train/$class" photos/train
    done && for class in $(ls photos/train | tail -n 2); do
        rm "photos/train/$class/002.png"
    done
[ "$(find photos -name '*.png' | wc -l)" = 7 ] || cannot "the pictures could not be drawn"

clip=$root/examples/demo-clip
for method in ammpl dpt; do
    rm -f ./*.safetensors
    # A batch of 5, so that the last of an epoch has 2 and two of four ranks get no picture; shuffled, cropped, masked at random.
    options="method=$method epochs=4 batch=5 lr=0.05 seed=3"
    # DPT: both phases of its loss, and an auxiliary loss that only some pictures have.
    [ $method = ammpl ] || options="$options n_ctx=4 guidance_epochs=2 top_k=1 aux_weight=1 warmup_epochs=1"
    flags=$(echo "$options" | sed 's/method=\([a-z]*\)/--method \1/; s/\([a-z_]*=[^ ]*\)/--set \1/g')
    # shellcheck disable=SC2086  # flags and options, separated by spaces
    "$bin/ammpl-train" --model "$clip" --data photos $flags --out one.safetensors --force --quiet > log 2>&1
    result "$method: ammpl-train, one process" $?
    for ranks in 1 2 4; do
        # shellcheck disable=SC2086
        mpi $ranks "$clip" photos ranks$ranks.safetensors $options
        result "$method: train_mpi with $ranks ranks" $?
    done
    cmp one.safetensors ranks1.safetensors > log 2>&1
    result "$method: one rank's file has ammpl-train's bytes" $?
    for ranks in 2 4; do
        close one.safetensors ranks$ranks.safetensors 1e-5 # measured: AMMPL 2e-7, DPT 2e-6
        result "$method: $ranks ranks' tensors are the same to float rounding ($(cat difference))" $?
    done
    # What the comparison would say of other gradients: one picture more or less in the batches.
    # shellcheck disable=SC2086
    mpi 2 "$clip" photos other.safetensors $options batch=6 && ! close one.safetensors other.safetensors 1e-3
    result "$method: other batches give other tensors ($(cat difference))" $?
done

# On a device: two ranks with the one there is.
if [ -f "$bin/../tests/cuda_emu/libammpl-cuda.so" ]; then
    options="method=coop epochs=1 batch=5 lr=0.05 seed=3"
    # shellcheck disable=SC2086
    mpi 2 "$clip" photos cpu.safetensors $options && mpi 2 "$clip" photos device.safetensors --backend cuda --backend-dir "$bin/../tests/cuda_emu" $options
    result "train_mpi on the emulated device" $?
    close cpu.safetensors device.safetensors 1e-4
    result "train_mpi on the emulated device: the CPU's tensors ($(cat difference))" $?
fi
mpi 2 "$clip" photos device.safetensors --backend no-such
[ $? = 1 ] && [ "$(grep -c '^train_mpi: rank [01]: --backend no-such: ' log)" -ge 1 ]
result "a backend that is not there is named" $?
mpi 2 "$clip" photos device.safetensors --backend no-such --backend-dir photos/no-such
[ $? = 1 ] && [ "$(grep -c '^train_mpi: rank [01]: --backend no-such: ' log)" -ge 1 ]
result "a folder of backends that is not there: the backend is named, too" $?
if [ -f "$bin/../cuda/libammpl-cuda.so" ] && [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
    mpi 1 "$clip" photos device.safetensors --backend cuda --backend-dir "$bin/../cuda"
    [ $? = 1 ] && grep -q 'there is no NVIDIA driver on this machine' log
    result "train_mpi --backend cuda without a driver" $?
fi

# A picture that one rank of three cannot read: all stop, with one sentence, and nothing is written.
printf 'no picture' > "photos/train/$(ls photos/train | tail -n 1)/001.png"
! mpi 3 "$clip" photos broken.safetensors epochs=1 batch=7 && [ "$(grep -c '^train_mpi: rank [0-2]: .*001.png' log)" = 1 ] && [ ! -e broken.safetensors ]
result "one rank's failure stops all of them, with its sentence" $?
! mpi 2 "$clip" photos broken.safetensors epoch=1 && grep -q epochs log
result "a misspelt option is refused" $?
echo "1..$number"
exit $failed
