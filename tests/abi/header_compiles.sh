#!/bin/sh
# Each public header compiles alone, without a warning, as every C and C++ that the library promises.
#   header_compiles.sh SOURCE_ROOT
root=$1
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0
echo "1..14"

compiles() { # compiles HEADER STANDARD COMPILER FLAGS...
    header=$1 standard=$2
    shift 2
    number=$((number + 1))
    printf '#include <ammpl/%s>\n' "$header" > "$dir/alone.$suffix"
    if "$@" -std="$standard" -pedantic -Wall -Wextra -Werror -fsyntax-only -I "$root/include" "$dir/alone.$suffix" 2> "$dir/log"; then
        echo "ok $number - $header as $standard"
    else
        echo "not ok $number - $header as $standard"
        sed 's/^/# /' "$dir/log"
        failed=1
    fi
}
for header in ammpl.h ammpl_backend.h; do
    suffix=c
    for standard in c99 c11 c17; do
        compiles "$header" "$standard" cc -Wstrict-prototypes
    done
    suffix=cc
    for standard in c++98 c++11 c++17 c++20; do
        compiles "$header" "$standard" c++
    done
done
exit $failed
