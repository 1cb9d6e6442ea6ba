#!/bin/sh
# A small copy of what gpu.sh needs of a build, stripped, with the libraries that a bare machine lacks.
#
#   tests/long/gpu_pack.sh BUILD NEW_BUILD
build=$(cd "$1" && pwd) || exit 1
[ -e "$2" ] && echo "$2 exists" && exit 1
mkdir -p "$2/tests" "$2/cuda" "$2/examples" "$2/bundle" || exit 1
for program in tests/test_device_ops tests/test_device tests/test_towers tests/test_methods tests/test_ammpl tests/test_trainer tests/test_exact \
    examples/ammpl-bench; do
    strip -o "$2/$program" "$build/$program" || exit 1
    ldd "$2/$program" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p'
done | sort -u | grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so' | while read -r library; do
    cp -L "$library" "$2/bundle/" || exit 1
done
cp "$build/cuda/libammpl-cuda.so" "$2/cuda/" || exit 1
du -sh "$2"
