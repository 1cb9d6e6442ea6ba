#!/bin/sh
# Each public header compiles alone, without a warning, as every C and C++ that the library promises, with every compiler here.
#   header_compiles.sh SOURCE_ROOT
root=$1
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0

compiles() { # compiles HEADER STANDARD COMPILER FLAGS...
    header=$1 standard=$2
    shift 2
    number=$((number + 1))
    printf '#include <ammpl/%s>\n' "$header" > "$dir/alone.$suffix"
    if "$@" -std="$standard" -pedantic -Wall -Wextra -Werror -fsyntax-only -I "$root/include" "$dir/alone.$suffix" 2> "$dir/log"; then
        echo "ok $number - $header as $standard ($*)"
    else
        echo "not ok $number - $header as $standard ($*)"
        sed 's/^/# /' "$dir/log"
        failed=1
    fi
}
for header in ammpl.h ammpl_backend.h; do
    for compiler in cc c++ clang clang++; do
        command -v $compiler > "$dir/log" || continue
        case $compiler in
        *++)
            suffix=cc
            for standard in c++98 c++03 c++11 c++14 c++17 c++20; do
                compiles $header $standard $compiler
            done
            ;;
        *)
            suffix=c
            for standard in c99 c11 c17; do
                compiles $header $standard $compiler -Wstrict-prototypes
            done
            ;;
        esac
    done
done
suffix=cc
for compiler in c++ clang++; do
    command -v $compiler > "$dir/log" || continue
    for standard in c++11 c++20; do
        compiles ammpl.hpp $standard $compiler -Wconversion -Wshadow
        compiles ammpl.hpp $standard $compiler -Wconversion -Wshadow -fno-exceptions
    done
done
echo "1..$number"
exit $failed
