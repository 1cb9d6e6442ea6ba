#!/bin/sh
# examples/rust: its declarations are the header's, its tests pass, and its program learns what the C program learns, to the bit.
#   rust.sh SOURCE_ROOT BUILD_DIR
# The crate is built in a scratch folder, with cargo --offline.
root=$(cd "$1" && pwd) build=$(cd "$2" && pwd)
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0

cannot() {
    echo "SKIP rust: $1"
    exit 0
}
result() { # result DESCRIPTION STATUS: shows the end of $dir/log when it failed
    number=$((number + 1))
    if [ "$2" = 0 ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        tail -n 40 "$dir/log" | sed 's/^/# /'
        failed=1
    fi
}

python3 "$root/tests/ffi/header.py" rust "$root/include/ammpl/ammpl.h" > "$dir/sys.rs" 2> "$dir/log" &&
    diff "$root/examples/rust/src/sys.rs" "$dir/sys.rs" > "$dir/log"
result "examples/rust/src/sys.rs is what tests/ffi/header.py makes of ammpl.h" $?
command -v cargo > "$dir/log" && command -v rustc > "$dir/log" || cannot "cargo and rustc are not there"
if nm -uD "$build/lib/libammpl.so" | grep -q ' __[atu]b*san_'; then
    cannot "this build has a sanitizer in it, which must come first in a process"
fi

# Constants, sizes and offsets, as rustc and the C compiler see them.
python3 "$root/tests/ffi/header.py" layout-c "$root/include/ammpl/ammpl.h" > "$dir/layout.c" &&
    python3 "$root/tests/ffi/header.py" layout-rust "$root/include/ammpl/ammpl.h" > "$dir/layout.rs" &&
    cc -I "$root/include" "$dir/layout.c" -o "$dir/layout-c" > "$dir/log" 2>&1 && "$dir/layout-c" > "$dir/c" &&
    rustc --edition 2021 -A warnings -o "$dir/layout-rust" "$dir/layout.rs" -L "$build/lib" -l ammpl > "$dir/log" 2>&1 &&
    LD_LIBRARY_PATH=$build/lib "$dir/layout-rust" > "$dir/rust" && [ "$(wc -l < "$dir/c")" -gt 100 ] && diff "$dir/c" "$dir/rust" > "$dir/log"
result "Rust and C agree on every constant, size and offset" $?

mkdir "$dir/crate" && cd "$root/examples/rust" && cp -R Cargo.toml build.rs src tests "$dir/crate" && cd "$dir/crate" || exit 1
AMMPL_LIB_DIR=$build/lib LD_LIBRARY_PATH=$build/lib AMMPL_NANO=$root/tests/golden/nano RUSTFLAGS='-D warnings'
export AMMPL_LIB_DIR LD_LIBRARY_PATH AMMPL_NANO RUSTFLAGS
cargo build --offline > "$dir/log" 2>&1
result "cargo build --offline, warnings are errors" $?
cargo test --offline > "$dir/tests" 2> "$dir/log"
status=$?
cat "$dir/tests" >> "$dir/log"
sed -n 's/^test \(.*\) \.\.\. ok$/\1/p' "$dir/tests" > "$dir/passed"
while read -r name; do
    result "$name" 0
done < "$dir/passed"
[ $status = 0 ] && grep -q '^any_order_of_drops$' "$dir/passed"
result "cargo test --offline" $?

"$build/examples/ammpl-pictures" --out "$dir/all" --train 2 --test 2 --quiet > "$dir/log" 2>&1
mkdir "$dir/photos" && for part in train test; do
    mkdir "$dir/photos/$part" && for class in $(ls "$dir/all/base/$part" | head -n 3); do
        cp -R "$dir/all/base/$part/$class" "$dir/photos/$part"
    done
done
cd "$dir" || exit 1
"$dir/crate/target/debug/ammpl" "$root/examples/demo-clip" photos rust.safetensors > out 2> log && tail -n 1 out | grep -q '^[0-9]* of 6 right$'
result "the program trains and classifies with threads" $?
"$build/examples/hello" "$root/examples/demo-clip" photos "$(find photos/test -name '*.png' | LC_ALL=C sort | head -n 1)" > hello.out 2> log &&
    cmp hello.safetensors rust.safetensors > log 2>&1 && [ "$(sed -n 's/^picture 0: //p' out)" = "$(cat hello.out)" ]
result "its prompt has the bytes of the C program's, and it names a picture as that does" $?
emulated=$build/tests/cuda_emu
if [ -f "$emulated/libammpl-cuda.so" ]; then
    "$dir/crate/target/debug/ammpl" --backend cuda --backend-dir "$emulated" "$root/examples/demo-clip" photos device.safetensors > device 2> log &&
        grep '^picture' out > cpu && grep '^picture' device | cmp - cpu >> log 2>&1
    result "the program on the emulated device names the pictures as on the CPU" $?
fi
echo "1..$number"
exit $failed
