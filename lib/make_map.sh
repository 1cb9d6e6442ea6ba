#!/bin/sh
# Prints the version script for a header: every function that it declares AMMPL_API, by name, under AMMPL_0.1.
# lib/ammpl.map is this output, committed, so that an export that comes or goes shows in a diff; tests/abi checks it.
#   sh lib/make_map.sh include/ammpl/ammpl.h > lib/ammpl.map
# Once 0.1 is out, later functions go under a node of their own (lib/ABI.md): then this script learns "since".
set -eu
echo "/* Made by lib/make_map.sh from include/ammpl/ammpl.h: the functions that libammpl.so exports. */"
echo "AMMPL_0.1 {"
echo "    global:"
tr '\n' ' ' < "$1" | sed 's:/\*:\n/*:g; s:\*/:*/\n:g' | grep -v '^/\*' | tr ';{' '\n\n' |
    sed -n 's/.*\<AMMPL_API\>[^(]*\<\(ammpl_[a-z0-9_]*\) *(.*/        \1;/p' | LC_ALL=C sort
echo "    local:"
echo "        *;"
echo "};"
