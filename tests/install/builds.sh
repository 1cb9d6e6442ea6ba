#!/bin/sh
# The other ways to build and to have libammpl: both libraries at once, static linking, and as a Meson subproject.
#   builds.sh SOURCE_ROOT
# Builds what is needed in a scratch folder, without optimisation.
root=$(cd "$1" && pwd) || exit 1
work=$(mktemp -d /tmp/ammpl-builds-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

give_up() {
    echo "not ok - $1"
    tail -n 40 "$work/log" | sed 's/^/# /'
    exit 1
}
for tool in git make c++; do
    command -v $tool > /dev/null && continue
    echo "SKIP builds: $tool is not there"
    exit 0
done
mkdir "$work/tree" && cd "$root" && tar cf - meson.build meson_options.txt src lib include cuda examples tests pkgconfig |
    (cd "$work/tree" && tar xf -) || exit 1

# ---- both libraries, and programs with everything in them ----
meson setup "$work/both" "$work/tree" -Ddefault_library=both -Dtests=disabled -Dcuda=disabled -Dc_args=-O0 > "$work/log" 2>&1 &&
    ninja -C "$work/both" > "$work/log" 2>&1 || give_up "-Ddefault_library=both builds"
echo "ok - -Ddefault_library=both builds"
sh "$root/tests/install/installed.sh" "$root" "$work/both" "$work/both/lib/libammpl.so" || exit 1
missing=
for library in png jpeg z jansson utf8proc; do
    [ -f "$(cc -print-file-name=lib$library.a)" ] || missing="$missing lib$library.a"
done
if [ "$missing" ]; then
    echo "SKIP static linking: there is no$missing here"
else
    sh "$root/tests/install/installed.sh" "$root" "$work/both" "$work/both/lib/libammpl.so" --static || exit 1
fi
nm -g --defined-only "$work/both/lib/libammpl.a" 2> "$work/log" | awk 'NF == 3 { print $3 }' | grep -v '^ammpl' > "$work/names"
[ -s "$work/names" ] && cp "$work/names" "$work/log" && give_up "every name that libammpl.a shows begins with ammpl"
echo "ok - every name that libammpl.a shows begins with ammpl"

# ---- the bench with OpenBLAS beside its products ----
if pkg-config --exists openblas; then
    meson configure "$work/both" -Dopenblas=enabled > "$work/log" 2>&1 && ninja -C "$work/both" examples/ammpl-bench > "$work/log" 2>&1 &&
        "$work/both/examples/ammpl-bench" --model "$root/examples/demo-clip" --only gemm --compare-openblas --threads 1 --repeats 1 --json > "$work/log" 2> /dev/null &&
        [ "$(grep -c '"group": "openblas"' "$work/log")" -eq 20 ] || give_up "-Dopenblas=enabled: ammpl-bench compares 20 products"
    echo "ok - -Dopenblas=enabled: ammpl-bench compares 20 products"
else
    echo "SKIP OpenBLAS: it is not there"
fi

# ---- a subproject, fetched by a wrap ----
(cd "$work/tree" && git init -q && git add -A && git -c user.name=nobody -c user.email=nobody@localhost commit -q -m tree) > "$work/log" 2>&1 ||
    give_up "a repository to fetch from"
cp -R "$root/tests/install/wrap" "$work/wrap"
sed "s:^url = .*:url = file\\://$work/tree:" "$root/tests/install/wrap/subprojects/ammpl.wrap" > "$work/wrap/subprojects/ammpl.wrap"
for libraries in shared static; do
    meson setup "$work/wrap/$libraries" "$work/wrap" -Ddefault_library=$libraries -Dammpl:c_args=-O0 -Dammpl:cuda=disabled --force-fallback-for=ammpl > "$work/log" 2>&1 &&
        ninja -C "$work/wrap/$libraries" > "$work/log" 2>&1 && "$work/wrap/$libraries/program" > "$work/log" 2>&1 ||
        give_up "a project with ammpl as its subproject, $libraries"
    echo "ok - a project with ammpl as its subproject, $libraries"
done
