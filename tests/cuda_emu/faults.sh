#!/bin/sh
# Does the emulated device notice mistakes?  Each faults/*.patch puts one into a copy of cuda/ and names cases of tests/ops/
# ("Cases: NAME...") and what must be said of it ("Says: extended regular expression").  The plug-in is made anew from the changed
# files, and the cases must fail on it with those words; on the unchanged one they must pass.  Prints TAP.
#
#   faults.sh BUILD [NAME...]      all, or those named, with the flags of the build folder (which may have a sanitizer)
here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../.." && pwd) || exit 1
build=$(cd "$1" && pwd) || exit 1
shift
work=$(mktemp -d /tmp/ammpl-faults-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
TMPDIR=$work # of what is killed here, nothing stays elsewhere
export TMPDIR
trap 'exit 1' INT TERM

give_up() {
    echo "Bail out! $1"
    [ "$2" ] && sed 's/^/# /' "$2" | tail -n 40
    exit 1
}

CK_TIMEOUT_MULTIPLIER=8 # a busy machine is no failure
export CK_TIMEOUT_MULTIPLIER

command -v patch > "$work/which" || give_up "patch(1) is not installed"
test=$build/tests/test_device_ops
[ -x "$test" ] || give_up "$test is not there: build first"
if [ $# -eq 0 ]; then
    for file in "$here"/faults/*.patch; do
        set -- "$@" "$(basename "$file" .patch)"
    done
fi
mkdir "$work/tree" && cp -r "$root/cuda" "$work/tree/cuda" || give_up "the sources could not be copied"

# The command that compiled a file of cuda/ in this build, for the copy's: ninja knows it.
ninja -C "$build" -t commands tests/cuda_emu/libammpl-cuda.so > "$work/commands" || give_up "ninja does not say how the plug-in is made"
compile() { # compile NAME: object $work/NAME.o of the copy's NAME.cu
    printf '#include "%s"\n' "$work/tree/cuda/$1.cu" > "$work/$1.cc"
    command=$(grep -E "[^ ]*/$1\.cc( |\$)" "$work/commands" | grep -- ' -c ' | sed -E "s# -M[DQF]+( [^ ]*\.(o|d))?##g; s# -o [^ ]*# -o $work/$1.o#; s# -c [^ ]*# -c $work/$1.cc#; s# '?-I[^ ]*/cuda'?( |\$)# -I$work/tree/cuda\1#g")
    (cd "$build" && eval "$command") > "$work/compile.log" 2>&1
}
link() { # link NAME...: $work/libammpl-cuda.so, with these objects in the place of the build's
    objects=
    for object in "$build"/tests/cuda_emu/libcuda-emu-kernels.a.p/*.o; do
        unit=$(basename "$object" | sed 's/^meson-generated_\.*_*//; s/\.cc\.o$//')
        [ -f "$work/$unit.o" ] && object=$work/$unit.o
        objects="$objects $object"
    done
    flags=$(grep -E 'libammpl-cuda\.so.*-shared|-shared.*libammpl-cuda\.so' "$work/commands" | grep -oE -- '-fsanitize=[^ ]*' | tr '\n' ' ')
    # shellcheck disable=SC2086  # lists
    c++ -shared -fPIC $flags -o "$work/libammpl-cuda.so" "$build"/tests/cuda_emu/libammpl-cuda.so.p/*.o $objects -lm -pthread > "$work/compile.log" 2>&1
}

passes() { # passes CASES: on the unchanged plug-in; asked once
    good=$work/good-$(echo "$1" | tr ' ' -)
    # shellcheck disable=SC2086  # a list
    [ -f "$good" ] || { timeout 600 "$test" "$build/tests/cuda_emu/libammpl-cuda.so" $1 > "$good.log" 2>&1; echo $? > "$good"; }
    [ "$(cat "$good")" -eq 0 ]
}

echo "1..$#"
n=0
failed=0
for name in "$@"; do
    n=$((n + 1))
    file=$here/faults/$name.patch
    cases=$(sed -n 's/^Cases: //p' "$file")
    says=$(sed -n 's/^Says: //p' "$file")
    changed=$(sed -n 's#^+++ b/cuda/\(.*\)#\1#p' "$file")
    why=
    rm -f "$work"/*.o
    if ! (cd "$work/tree" && patch -p1 -s -N --no-backup-if-mismatch -r - --dry-run < "$file") > "$work/patch.log" 2>&1; then
        why="the patch no longer fits: make it anew"
    else
        (cd "$work/tree" && patch -p1 -s --no-backup-if-mismatch < "$file")
        for source in $changed; do
            case $source in
            *.cu) compile "${source%.cu}" || why="$source does not compile: $(grep -m1 error "$work/compile.log")" ;;
            *) for source in "$work"/tree/cuda/*.cu; do
                compile "$(basename "$source" .cu)" || why="$source does not compile: $(grep -m1 error "$work/compile.log")"
            done ;;
            esac
        done
        [ "$why" ] || link || why="the plug-in cannot be linked: $(head -n 1 "$work/compile.log")"
        if [ -z "$why" ]; then
            passes "$cases" || why="$cases: fails without the fault"
            # shellcheck disable=SC2086
            timeout 600 "$test" "$work/libammpl-cuda.so" $cases > "$work/bad.log" 2>&1
            status=$?
            [ "$status" -eq 0 ] && why="$cases: passes with the fault"
            [ -z "$why" ] && ! grep -qE -- "$says" "$work/bad.log" && why="nothing says \"$says\": $(grep -m1 -E 'cuda_emu:|^not ok' "$work/bad.log")"
        fi
        (cd "$work/tree" && patch -p1 -s -R --no-backup-if-mismatch < "$file") || give_up "$name cannot be taken back"
    fi
    if [ "$why" ]; then
        echo "not ok $n - fault $name is noticed"
        echo "# $why"
        failed=1
    else
        echo "ok $n - fault $name is noticed"
        echo "# $(grep -m1 -E -- "$says" "$work/bad.log" | cut -c 1-240)"
    fi
done
exit $failed
