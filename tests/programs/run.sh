#!/bin/sh
# Tests of the programs.   sh tests/programs/run.sh BUILD_DIR [NAME ...]
#
# Runs every test_NAME.sh here (or those named), prints "ok N - what", "not ok N - what" and "SKIP what: why", and exits 1 when
# anything failed.  No test needs anything but the build, a shell and what compiled the build.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ ! -x "$1/examples/ammpl-train" ]; then
    echo "usage: sh tests/programs/run.sh BUILD_DIR [NAME ...]   (BUILD_DIR/examples/ammpl-train must exist)" >&2
    exit 2
fi
bin=$(cd "$1/examples" && pwd)
shift
wanted=" $* " # the tests are free to use "$@"
PATH=$bin:$PATH
temp=$(mktemp -d) || exit 1
trap 'rm -rf "$temp"' EXIT
trap 'exit 1' INT TERM
cd "$temp" || exit 1

. "$here/support.sh"
for file in "$here"/test_*.sh; do
    name=${file##*/test_}
    name=${name%.sh}
    case "$wanted" in
    *" $name "* | "  ") . "$file" ;;
    esac
done
echo "# programs: $((count - failed)) of $count passed, $skipped skipped"
[ "$count" -gt 0 ] && [ "$failed" -eq 0 ]
