#!/bin/sh
# The kernels of processors that are not here: cross-compiled, and run by qemu in user mode.
#   cross.sh arm64 [PROGRAM [ARGUMENT...]]      NEON
#   cross.sh ppc64el [PROGRAM [ARGUMENT...]]    plain C, whatever the compiler makes of it
# PROGRAM is a test program; without one: those at the end, one to four minutes.
# The processor's libraries are unpacked below the build folder, not installed.  Prints TAP; without compiler, qemu or packages a SKIP line, and
# ends with 77.
set -u
cd "$(dirname "$0")/.." || exit 1
arch=${1:-}
case $arch in
    arm64) family=aarch64 triple=aarch64-linux-gnu package=gcc-aarch64-linux-gnu qemu=qemu-aarch64-static
        ops='linear_forward linear_backward attention_forward layernorm_forward layernorm_backward softmax_forward act_forward embed'
        beside=attention_backward ;; # takes as long as all of these
    ppc64el) family=ppc64 triple=powerpc64le-linux-gnu package=gcc-powerpc64le-linux-gnu qemu=qemu-ppc64le-static
        ops='linear_forward layernorm_forward act_forward' beside= ;; # its vectors take qemu long; all ops passed by hand
    *) echo "cross.sh arm64|ppc64el [PROGRAM [ARGUMENT...]], not \"$arch\"" >&2; exit 2 ;;
esac
shift
root=$PWD/build-$arch-root build=build-$arch
packages='libpng-dev libpng16-16 libjpeg62-turbo-dev libjpeg62-turbo libgif-dev libgif7 zlib1g-dev zlib1g libjansson-dev libjansson4
          libutf8proc-dev libutf8proc2 check libsubunit-dev libsubunit0'

skip() {
    echo "1..0 # SKIP $1"
    exit 77
}

sh examples/install.sh $package qemu-user-static > /dev/null 2>&1
command -v $triple-gcc > /dev/null || skip "there is no $triple-gcc"
command -v $qemu > /dev/null || skip "there is no $qemu"

unpack() {
    mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial" || return 1
    options="-qq -o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State::status=/dev/null -o Debug::NoLocking=1
             -o Dir::State::lists=$root/apt/lists -o Dir::Cache=$root/apt"
    # shellcheck disable=SC2086  # lists
    (cd "$root/apt" && apt-get $options update && apt-get $options download $packages) || return 1
    for file in "$root"/apt/*.deb; do
        dpkg-deb -x "$file" "$root" || return 1
    done
    touch "$root/done"
}
[ -f "$root/done" ] || unpack > "$root.log" 2>&1 || { tail -3 "$root.log" >&2; skip "packages of $arch cannot be had"; }

printf "[constants]\nroot = '%s'\ntriple = '%s'\nqemu = '%s'\nfamily = '%s'\n" "$root" "$triple" "$qemu" "$family" > "$root/constants.ini"
[ -f "$build/build.ninja" ] ||
    meson setup "$build" --cross-file "$root/constants.ini" --cross-file tests/cross.ini -Dwerror=true > "$build.log" 2>&1 ||
    { tail -20 "$build.log" >&2; exit 1; }

compile() { # compile PROGRAM...
    for program; do
        ninja -C "$build" "tests/$program" > "$build.log" 2>&1 || { tail -20 "$build.log" >&2; exit 1; }
    done
}

# run PROGRAM [ARGUMENT...]: Check would fork for each case, and qemu takes a while for each fork.
run() {
    program=$1
    shift
    CK_FORK=no $qemu -L /usr/$triple -E "LD_LIBRARY_PATH=$root/usr/lib/$triple:$root/lib/$triple" "$build/tests/$program" "$@"
}

if [ $# -gt 0 ]; then
    compile "$1"
    run "$@"
    exit
fi
compile test_towers test_ops
failed=0
[ -z "$beside" ] || run test_ops "4 wide" $beside > "$build/beside.tap" 2>&1 &
other=$!
run test_towers || failed=1 # both towers, forward and backward, against PyTorch
# shellcheck disable=SC2086  # a list
run test_ops "4 wide" $ops || failed=1
wait $other || failed=1
[ -z "$beside" ] || cat "$build/beside.tap"
exit $failed
