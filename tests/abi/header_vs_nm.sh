#!/bin/sh
# The functions that ammpl.h declares, the version script and the library's exports are the same list.
#   header_vs_nm.sh SOURCE_ROOT LIBRARY
root=$1 lib=$2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0

# result DESCRIPTION FILE: ok when FILE is empty, else its lines are the complaint.
result() {
    number=$((number + 1))
    if [ -s "$2" ]; then
        echo "not ok $number - $1"
        sed 's/^/# /' "$2"
        failed=1
    else
        echo "ok $number - $1"
    fi
}
number=0
echo "1..5"

# gcc's own reading of the header, so that this list and make_map.sh's are made in two ways.
printf '#define AMMPL_BUILDING\n#include <ammpl/ammpl.h>\n' | cc -E -P -I "$root/include" - |
    tr '\n' ' ' | tr ';' '\n' | sed -n 's/.*visibility *("default").*\<\(ammpl_[a-z0-9_]*\) *(.*/\1/p' |
    LC_ALL=C sort > "$dir/header"
nm -D --defined-only "$lib" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | LC_ALL=C sort > "$dir/exports"
[ -s "$dir/header" ] || echo "no functions found in ammpl.h" > "$dir/none"
touch "$dir/none"
result "ammpl.h declares functions" "$dir/none"
diff "$dir/header" "$dir/exports" > "$dir/difference"
result "exports of $(basename "$lib") are the functions of ammpl.h (< header, > library)" "$dir/difference"
sh "$root/lib/make_map.sh" "$root/include/ammpl/ammpl.h" | diff - "$root/lib/ammpl.map" > "$dir/map"
result "lib/ammpl.map is what lib/make_map.sh makes of ammpl.h" "$dir/map"
readelf -dW "$lib" > "$dir/dynamic"
soname=$(sed -n 's/^| \(libammpl\.so\.[0-9.]*\) |.*/\1/p' "$root/lib/ABI.md" | tail -n 1)
{
    grep -qF "[$soname]" "$dir/dynamic" || echo "the last row of lib/ABI.md says $soname, the library $(grep SONAME "$dir/dynamic")"
    grep -q 'FLAGS_1.*NODELETE' "$dir/dynamic" || echo "the library is not linked -z nodelete"
} > "$dir/flags"
result "the soname is the last one in lib/ABI.md; nodelete" "$dir/flags"
grep -oE 'AMMPL_[A-Z0-9_]+ = -?[0-9]+' "$root/include/ammpl/ammpl.h" | while read -r constant equals value; do
    grep -q "^PIN($constant, $value);" "$root/tests/abi/pins.c" || echo "$constant $equals $value is not pinned in tests/abi/pins.c"
done > "$dir/pins"
result "every constant of ammpl.h is pinned" "$dir/pins"
exit $failed
