#!/bin/sh
# Prints the version script for a header: every function that it declares AMMPL_API, by name.
# lib/ammpl.map is this output, committed, so that an export that comes or goes shows in a diff; tests/abi checks it.
#   sh lib/make_map.sh include/ammpl/ammpl.h > lib/ammpl.map
# A function that the last recorded version has (tests/abi/libammpl.abi) stays under the node that it had there; later ones
# stand under the node of the version that brings them, which is the one in ammpl_version.h (lib/ABI.md).
set -eu
header=$1 version=$(dirname "$1")/ammpl_version.h baseline=$(dirname "$0")/../tests/abi/libammpl.abi
names=$(mktemp) && trap 'rm -f "$names"' EXIT
tr '\n' ' ' < "$header" | sed 's:/\*:\n/*:g; s:\*/:*/\n:g' | grep -v '^/\*' | tr ';{' '\n\n' |
    sed -n 's/.*\<AMMPL_API\>[^(]*\<\(ammpl_[a-z0-9_]*\) *(.*/\1/p' | LC_ALL=C sort > "$names"
number() { sed -n "s/#define AMMPL_VERSION_$1 //p" "$version"; }

echo "/* Made by lib/make_map.sh from include/ammpl/ammpl.h: the functions that libammpl.so exports. */"
sed -n "s/.*<elf-symbol name='\(ammpl_[a-z0-9_]*\)' version='AMMPL_\([0-9.]*\)'.*/\2 \1/p" "$baseline" |
    awk -v now="$(number MAJOR).$(number MINOR)" '
        NR == FNR { node[$2] = $1; recorded[$1] = 1; next }
        { of = $1 in node ? node[$1] : now; late += !($1 in node); list[of] = list[of] "        " $1 ";\n" }
        END {
            if (late && now in recorded) {
                print late " functions came after the recorded version " now ": raise AMMPL_VERSION_MINOR" > "/dev/stderr"
                exit 1
            }
            for (of in list) { # by version, and each names the one before
                split(of, part, ".")
                order[part[1] * 1000 + part[2]] = of
            }
            for (k = 0; k < 1000000; k++)
                if (k in order) {
                    of = order[k]
                    printf "AMMPL_%s {\n    global:\n%s", of, list[of]
                    printf before ? "} %s;\n" : "    local:\n        *;\n};\n", before
                    before = "AMMPL_" of
                }
        }' - "$names"
