#!/bin/sh
# The NEON kernels without an Arm machine: cross-compiled, and run by qemu in user mode.
#   arm64.sh [PROGRAM [ARGUMENT...]]     a test program; without one: those at the end, about two minutes
# Libraries of arm64 are unpacked below the build folder, not installed.  Prints TAP; without compiler, qemu or packages a SKIP line.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD/build-arm64-root build=build-arm64
packages='libpng-dev libpng16-16 libjpeg62-turbo-dev libjpeg62-turbo libgif-dev libgif7 zlib1g-dev zlib1g libjansson-dev libjansson4
          libutf8proc-dev libutf8proc2 check libsubunit-dev libsubunit0'

skip() {
    echo "1..0 # SKIP $1"
    exit 0
}

sh examples/install.sh gcc-aarch64-linux-gnu qemu-user-static > /dev/null 2>&1
command -v aarch64-linux-gnu-gcc > /dev/null || skip "there is no aarch64-linux-gnu-gcc"
command -v qemu-aarch64-static > /dev/null || skip "there is no qemu-aarch64-static"

unpack() (
    set -e
    mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
    cd "$root/apt"
    options="-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::status=/dev/null -o Debug::NoLocking=1
             -o Dir::State::lists=$root/apt/lists -o Dir::Cache=$root/apt"
    apt-get $options update
    apt-get $options download $packages
    for package in *.deb; do
        dpkg-deb -x "$package" "$root"
    done
    touch "$root/done"
)
[ -f "$root/done" ] || unpack > "$root.log" 2>&1 || { tail -3 "$root.log" >&2; skip "arm64 packages cannot be had"; }

printf "[constants]\nroot = '%s'\n" "$root" > "$root/root.ini"
[ -f "$build/build.ninja" ] ||
    meson setup "$build" --cross-file "$root/root.ini" --cross-file tests/arm64.ini -Dwerror=true > "$build.log" 2>&1 ||
    { tail -20 "$build.log" >&2; exit 1; }

# run PROGRAM [ARGUMENT...]: Check would fork for each case, and qemu takes a while for each fork.
run() {
    program=$1
    shift
    ninja -C "$build" "tests/$program" > "$build.log" 2>&1 || { tail -20 "$build.log" >&2; exit 1; }
    CK_FORK=no qemu-aarch64-static -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu" \
        "$build/tests/$program" "$@"
}

if [ $# -gt 0 ]; then
    run "$@"
    exit
fi
failed=0
run test_towers || failed=1 # both towers, forward and backward, against PyTorch
run test_ops "4 wide" linear_forward attention_forward layernorm_forward softmax_forward act_forward embed || failed=1
exit $failed
