#!/bin/sh
# Every declaration of ammpl.h has its own comment with a thread tag ([T], [R] or [S]), before it or behind it, and uses no
# type that other languages cannot see (bool, long, FILE, variadics, ...).
#   thread_tags.sh SOURCE_ROOT
header=$1/include/ammpl/ammpl.h
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0
echo "1..3"

# A comment's tag counts for the declaration that follows it, once.
awk '
/^AMMPL_(API|NODISCARD)/ { declaration = ""; inside = 1 }
inside {
    declaration = declaration $0
    if ($0 !~ /;/) next
    inside = 0
    count++
    name = declaration
    sub(/ *\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    if (!above && declaration !~ /;.*\[[TRS]\]/) { print "not tagged: " name; bad = 1 }
    above = 0
    next
}
/^ *\/\*/ { above = 0 }
/\[[TRS]\]/ { above = 1 }
END { print count + 0 > "/dev/stderr"; exit bad }' "$header" > "$dir/tags" 2> "$dir/count" || failed=1
if [ $failed = 0 ]; then
    echo "ok 1 - every function of ammpl.h has a thread tag"
else
    echo "not ok 1 - every function of ammpl.h has a thread tag"
    sed 's/^/# /' "$dir/tags"
fi
if [ "$(cat "$dir/count")" = "$(grep -c '^        ammpl_' "$1/lib/ammpl.map")" ]; then
    echo "ok 2 - the tags of all exported functions were looked at"
else
    echo "not ok 2 - $(cat "$dir/count") declarations seen, other than in lib/ammpl.map"
    failed=1
fi

tr '\n' ' ' < "$header" | sed 's:/\*:\n/*:g; s:\*/:*/\n:g' | grep -v '^/\*' > "$dir/code"
if grep -nwE 'bool|long|short|unsigned|time_t|off_t|FILE|inline|union' "$dir/code" || grep -n '\.\.\.' "$dir/code"; then
    echo "not ok 3 - ammpl.h uses fixed-width integers, size_t, float, double, char and opaque handles only (see above)"
    failed=1
else
    echo "ok 3 - ammpl.h uses fixed-width integers, size_t, float, double, char and opaque handles only"
fi
exit $failed
