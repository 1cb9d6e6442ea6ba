#!/bin/sh
# Files stay short, and nothing is left for later in them.
#   files.sh SOURCE_ROOT
cd "$1" || exit 1
failed=0
sources() {
    find src lib include examples tests cuda pkgconfig .ci -type f \( -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.rs' -o -name '*.inc' -o \
        -name '*.cu' -o -name '*.cuh' -o -name '*.py' -o -name '*.sh' -o -name '*.def' -o -name '*.build' -o -name run \) 2> /dev/null
}
echo "1..2"

# Generated tables may be as long as they are, and so may the one public header, whose sections are labelled.
allowed='^(src/data/html_entities\.c|examples/rust/src/sys\.rs|include/ammpl/ammpl\.h)$'
long=$(sources | grep -vE "$allowed" | xargs wc -l | awk '$2 != "total" && $1 > 700 { print $2 ": " $1 " lines" }')
if [ "$long" ]; then
    echo "not ok 1 - files have at most 700 lines"
    echo "$long" | sed 's/^/# /'
    failed=1
else
    echo "ok 1 - files have at most 700 lines"
fi

left=$(sources | grep -v '^tests/lint/files\.sh$' | xargs grep -nE '(^|[^A-Za-z_])(TODO|FIXME|XXX|HACK)([^A-Za-z_]|$)' | cut -c 1-160)
if [ "$left" ]; then
    echo "not ok 2 - nothing is left for later"
    echo "$left" | sed 's/^/# /'
    failed=1
else
    echo "ok 2 - nothing is left for later"
fi
exit $failed
