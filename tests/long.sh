#!/bin/sh
# What does not fit into tests/run.sh's time: run by hand; the last result and its commit stand in tests/README.md.
#
#   tests/long.sh [VOCABULARY]     CLIP's bpe_simple_vocab_16e6.txt.gz; else the one in ../shared/data/clip-bpe
#
# A random CLIP of ViT-B/16's size in OpenAI's and in Hugging Face's naming (1.2 GB under $TMPDIR, deleted at the end) against
# plain PyTorch.  Needs python3 with torch and numpy (Debian: python3-torch), and a build, which it makes in $BUILD (build).
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
vocabulary=${1:-../shared/data/clip-bpe/bpe_simple_vocab_16e6.txt.gz}
if ! [ -f "$vocabulary" ]; then
    echo "SKIP vitb16: there is no $vocabulary; give CLIP's vocabulary as the argument"
    exit 0
fi
python=
for candidate in "${PYTHON:-python3}" /usr/bin/python3; do
    "$candidate" -c 'import numpy, torch' 2> /dev/null && python=$candidate && break
done
if ! [ "$python" ]; then
    echo "SKIP vitb16: python3 has no torch and numpy (Debian: python3-torch python3-numpy)"
    exit 0
fi
[ -f "$build/build.ninja" ] || meson setup "$build" -Dtests=enabled || exit 1
ninja -C "$build" tests/vitb16 tests/methods && meson compile -C "$build" ammpl:shared_library || exit 1

work=$(mktemp -d "${TMPDIR:-/tmp}/ammpl-long-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
echo "# commit $(git rev-parse --short HEAD 2> /dev/null || echo unknown), $(date -u +%Y-%m-%d), $(nproc) processors"
(cd tests/reference && "$python" -B make_vitb16.py "$work") || exit 1
failed=0
library=$(cd "$build/lib" && pwd)/libammpl.so
AMMPL_LIBRARY=$library "$python" -B tests/long/python_overhead.py "$work/openai" "$vocabulary" || failed=1
echo "# ---- every method on ViT-B/16's size"
"$build/tests/methods" "$work/openai" "$vocabulary" || failed=1
for naming in openai hf; do
    echo "# ---- $naming"
    "$build/tests/vitb16" "$work/golden.safetensors" "$work/$naming" "$vocabulary" || failed=1
    rm -rf "${work:?}/$naming"
done
echo "# ---- every method on ViT-L/14's size"
(cd tests/reference && "$python" -B make_vitb16.py "$work/large" --size l14) || exit 1
"$build/tests/methods" "$work/large/openai" "$vocabulary" || failed=1
exit $failed
