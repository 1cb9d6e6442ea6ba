#!/bin/sh
# examples/python: its declarations against the header, its objects on the nano model, and its program against the C program.
#   python.sh SOURCE_ROOT BUILD_DIR
root=$(cd "$1" && pwd) build=$(cd "$2" && pwd)
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0

cannot() {
    echo "SKIP python: $1"
    exit 0
}
python=
for candidate in python3 /usr/bin/python3; do
    [ "$python" ] || ! $candidate -c 'import numpy' > "$dir/log" 2>&1 || python=$candidate
done
[ "$python" ] || cannot "there is no Python with NumPy"
if nm -uD "$build/lib/libammpl.so" | grep -q ' __[atu]b*san_'; then
    cannot "this build has a sanitizer in it, which must come first in a process"
fi
AMMPL_LIBRARY=$build/lib/libammpl.so PYTHONDONTWRITEBYTECODE=1
export AMMPL_LIBRARY PYTHONDONTWRITEBYTECODE

$python "$root/tests/ffi/header.py" layout-c "$root/include/ammpl/ammpl.h" > "$dir/layout.c" &&
    cc -I "$root/include" "$dir/layout.c" -o "$dir/layout" && "$dir/layout" > "$dir/layout.txt" || exit 1
$python "$root/tests/ffi/test_python.py" "$root" "$dir/layout.txt" > "$dir/out" || failed=1
grep -v '^1\.\.' "$dir/out"
number=$(grep -c '^\(not \)*ok' "$dir/out")

cd "$dir" || exit 1
"$build/examples/ammpl-pictures" --out all --train 2 --test 1 --quiet && mkdir -p photos/train && for class in $(ls all/base/train | head -n 3); do
    cp -R "all/base/train/$class" photos/train
done
picture=$(find all/base/test -name '*.png' | LC_ALL=C sort | head -n 1)
number=$((number + 1))
if "$build/examples/hello" "$root/examples/demo-clip" photos "$picture" > c.out && mv hello.safetensors c.safetensors &&
    $python "$root/examples/python/hello.py" "$root/examples/demo-clip" photos "$picture" > python.out 2> log &&
    cmp c.safetensors hello.safetensors && [ "$(tail -n 1 python.out)" = "$(cat c.out)" ]; then
    echo "ok $number - hello.py's prompt has the bytes of hello's, and it names a picture as that does"
else
    echo "not ok $number - hello.py's prompt has the bytes of hello's, and it names a picture as that does"
    cat python.out log | sed 's/^/# /'
    failed=1
fi
emulated=$build/tests/cuda_emu
if [ -f "$emulated/libammpl-cuda.so" ]; then
    number=$((number + 1))
    if $python "$root/examples/python/hello.py" --backend cuda --backend-dir "$emulated" "$root/examples/demo-clip" photos "$picture" > python.out 2> log &&
        [ "$(tail -n 1 python.out)" = "$(cat c.out)" ]; then
        echo "ok $number - hello.py --backend cuda on the emulated device names the picture as on the CPU"
    else
        echo "not ok $number - hello.py --backend cuda on the emulated device names the picture as on the CPU"
        cat python.out log | sed 's/^/# /'
        failed=1
    fi
fi
number=$((number + 1))
mkdir photos/test && for class in $(ls photos/train); do
    cp -R "all/base/test/$class" photos/test
done
if $python "$root/examples/python/new_method.py" "$root/examples/demo-clip" photos epochs=2 > python.out 2> log &&
    grep -q '^zero-shot: .* of 3 pictures$' python.out && grep -q '^KgCoOp: ' python.out; then
    echo "ok $number - new_method.py trains and tests"
else
    echo "not ok $number - new_method.py trains and tests"
    cat python.out log | sed 's/^/# /'
    failed=1
fi
echo "1..$number"
exit $failed
