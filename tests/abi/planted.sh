#!/bin/sh
# Do the gates of the binary interface notice what breaks it?  Each break is planted in a copy of the sources, and the gates
# that are to notice it must complain; what is allowed is planted too, and they must not.  Prints TAP.
#
#   planted.sh [WORD]      all breaks, or those whose description has the word in it
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
wanted=${1:-}
work=$(mktemp -d /tmp/ammpl-planted-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
tree=$work/tree build=$work/build lib=$work/build/lib/libammpl.so
number=0 failed=0

give_up() {
    echo "Bail out! $1"
    [ -z "$2" ] || tail -n 40 "$2" | sed 's/^/# /'
    exit 1
}
verdict() { # verdict DESCRIPTION COMPLAINT
    number=$((number + 1))
    if [ "$2" ]; then
        echo "not ok $number - $1"
        echo "$2" | sed 's/^/# /'
        failed=1
    else
        echo "ok $number - $1"
    fi
}

# ---- the gates: each prints TAP and ends with a failure where it complains ----
gate() {
    case $1 in
    pins)
        if cc -std=gnu11 -fsyntax-only -I "$tree/include" "$tree/tests/abi/pins.c"; then
            echo "ok - pins.c compiles"
        else
            echo "not ok - pins.c does not compile"
            return 1
        fi
        ;;
    symbols) sh "$tree/tests/abi/header_vs_nm.sh" "$tree" "$lib" ;;
    forbidden) sh "$tree/tests/abi/forbidden_symbols.sh" "$tree" "$lib" "$build/lib/libammpl-internal.a" ;;
    compiles) sh "$tree/tests/abi/header_compiles.sh" "$tree" ;;
    baseline) sh "$tree/tests/abi/baseline.sh" "$tree" "$lib" ;;
    program) LD_LIBRARY_PATH=$build/lib timeout 300 "$work/test_api" ;; # as previous.sh does with a recorded version's
    esac > "$work/gate.log" 2>&1
}

# ---- the copy: built without optimisation, which no gate looks at ----
mkdir "$tree" && cd "$root" && tar cf - meson.build meson_options.txt src lib include cuda examples tests pkgconfig |
    (cd "$tree" && tar xf -) || give_up "the sources could not be copied"
cp -R "$tree" "$work/good"
cd "$tree" || exit 1
make_library() {
    ninja -C "$build" build.ninja > "$work/build.log" 2>&1 && meson compile -C "$build" ammpl:shared_library >> "$work/build.log" 2>&1
}
meson setup "$build" "$tree" -Dtests=enabled -Dcuda=disabled -Dc_args=-O0 > "$work/build.log" 2>&1 || give_up "meson setup failed" "$work/build.log"
make_library && ninja -C "$build" tests/test_api > "$work/build.log" 2>&1 || give_up "the build failed" "$work/build.log"
cp "$build/tests/test_api" "$work"
for gate in pins symbols forbidden compiles baseline program; do
    complaint=
    gate $gate || complaint=$(cat "$work/gate.log")
    grep -q '^ok' "$work/gate.log" || complaint="it looked at nothing: $(cat "$work/gate.log")"
    verdict "gate $gate has nothing against the sources as they are" "$complaint"
done

# ---- planting ----
# edit FILE SCRIPT...: changes files with sed; $complaint says where nothing was there to change
edit() {
    changed=
    while [ $# -gt 0 ]; do
        sed "$2" "$tree/$1" > "$work/edited"
        cmp -s "$work/edited" "$tree/$1" && complaint="nothing in $1 to change: make this break anew"
        cat "$work/edited" > "$tree/$1"
        changed="$changed $1"
        shift 2
    done
}
restore() {
    for file in $changed; do
        cat "$work/good/$file" > "$tree/$file"
    done
}
# plant DESCRIPTION GATES FILE SCRIPT [FILE SCRIPT]...: every gate must complain
plant() {
    description=$1 gates=$2 complaint=
    shift 2
    case $description in *"$wanted"*) ;; *) return ;; esac
    edit "$@"
    case $gates in
    *symbols* | *forbidden* | *baseline* | *program*)
        [ "$complaint" ] || make_library || complaint=$(echo "it does not build:" && grep -m 3 error: "$work/build.log")
        ;;
    esac
    for gate in $gates; do
        [ "$complaint" ] || ! gate "$gate" || complaint="gate $gate says nothing"
        [ "$complaint" ] || grep -q '^not ok' "$work/gate.log" || complaint="gate $gate ends without a verdict: $(cat "$work/gate.log")"
    done
    verdict "noticed by $gates: $description" "$complaint"
    restore
}
# allow DESCRIPTION GATES FILE SCRIPT [FILE SCRIPT]...: no gate may complain
allow() {
    description=$1 gates=$2 complaint=
    shift 2
    case $description in *"$wanted"*) ;; *) return ;; esac
    edit "$@"
    [ "$complaint" ] || make_library || complaint=$(echo "it does not build:" && grep -m 3 error: "$work/build.log")
    for gate in $gates; do
        [ "$complaint" ] || gate "$gate" || complaint=$(cat "$work/gate.log")
    done
    verdict "allowed by $gates: $description" "$complaint"
    restore
}

header=include/ammpl/ammpl.h
metrics='^ *double loss, accuracy, macro_f1;'

# ---- structs ----
plant "a member in the middle of a struct" "baseline pins" \
    $header 's/uint64_t samples, correct, skipped;/uint64_t samples, planted, correct, skipped;/'
plant "two members that change places" "baseline pins" $header "s/$metrics/double loss, macro_f1, accuracy;/"
plant "a member that is narrower, the others in their places" "baseline" \
    $header 's/uint64_t samples, correct, skipped;/uint32_t samples; uint64_t correct, skipped;/'

# ---- functions ----
plant "a function removed" "baseline program" \
    $header '/ ammpl_image_save_png(/d' lib/ammpl.map '/ammpl_image_save_png;/d'
plant "another type of a parameter" "baseline" \
    $header 's/ammpl_device_at(const ammpl_context \*ctx, size_t i)/ammpl_device_at(const ammpl_context *ctx, int32_t i)/' \
    lib/api_context.c 's/ammpl_device_at(const ammpl_context \*ctx, size_t i)/ammpl_device_at(const ammpl_context *ctx, int32_t i)/'
plant "a function declared and not exported" "symbols" lib/ammpl.map '/ammpl_image_save_png;/d'
plant "a helper exported" "symbols" lib/ammpl.map 's/ammpl_build_info;/& ammpli_fail;/' \
    src/core/error.c 's/^ammpl_status ammpli_fail(/__attribute__((visibility("default"))) &/'
plant "a new function under the node of a recorded version" "symbols" \
    $header 's/^AMMPL_API void ammpl_session_cancel(/AMMPL_API int32_t ammpl_planted(void);\n&/' \
    lib/ammpl.map 's/ammpl_prompt_class_count;/& ammpl_planted;/' \
    lib/api_train.c '$s/$/\nint32_t ammpl_planted(void) { return 0; }/'
plant "the same signature, another status" "program" \
    lib/api_train.c '/^ammpl_status ammpl_optimizer_set_learning_rate/,/^}/s/AMMPL_E_RANGE/AMMPL_E_ARGUMENT/'
plant "another soname than lib/ABI.md says" "symbols baseline" lib/meson.build "s/^abi = '[0-9.]*'/abi = '0.77'/"

# ---- constants ----
plant "a constant renumbered" "pins" $header 's/AMMPL_E_RANGE = -9/AMMPL_E_RANGE = -21/'
plant "a constant that is not pinned" "symbols" $header 's/AMMPL_E_INTERNAL = -100/AMMPL_E_PLANTED = -99, &/'

# ---- what the library must not do ----
for call in 'printf("%s", fmt)' 'puts(fmt)' 'fprintf(stderr, "%s", fmt)' 'abort()' 'exit(1)' 'getenv(fmt)' 'setlocale(0, "")'; do
    plant "$call added" "forbidden" src/core/error.c "s/^#include <stdio.h>/&\n#include <stdlib.h>\n#include <locale.h>/
        /^ammpl_status ammpli_fail/,/^}/s/return status;/if (status == 77) (void)$call; return status;/"
done
plant "a writable global" "forbidden" src/core/error.c \
    '/^ammpl_status ammpli_fail/,/^}/s/return status;/static int planted; planted++; return status;/'

# ---- the header's languages ----
plant "a type that C99 has only with an include" "compiles" $header 's/^AMMPL_API void ammpl_session_cancel(/AMMPL_API bool ammpl_planted(void);\n&/'
plant "a word that C++ keeps for itself" "compiles" $header 's/ammpl_dataset_class_name(const ammpl_dataset \*ds, size_t i)/ammpl_dataset_class_name(const ammpl_dataset *ds, size_t class)/'
plant "what C++98 does not know" "compiles" $header 's/AMMPL_E_INTERNAL = -100/&,/'

# ---- a library that hides its types ----
complaint=
make_library && cp "$lib" "$work/libammpl.so" && strip --strip-debug "$work/libammpl.so" || give_up "the build failed" "$work/build.log"
sh "$tree/tests/abi/baseline.sh" "$tree" "$work/libammpl.so" > "$work/gate.log" 2>&1 && complaint="gate baseline says nothing"
grep -q '^not ok.*debug' "$work/gate.log" || complaint="gate baseline complains about something else: $(cat "$work/gate.log")"
verdict "noticed by baseline: debug information missing" "$complaint"

# ---- what a version may do ----
allow "a new function, constant and member at a struct's tail" "baseline program" \
    $header "s/$metrics/& double planted;/
        s/AMMPL_E_INTERNAL = -100/AMMPL_E_PLANTED = -99, &/
        s/^AMMPL_API void ammpl_session_cancel(/AMMPL_API int32_t ammpl_planted(const ammpl_metrics *m);\n&/" \
    lib/ammpl.map 's/ammpl_prompt_class_count;/& ammpl_planted;/' \
    lib/api_train.c '$s/$/\nint32_t ammpl_planted(const ammpl_metrics *m) { return m->planted > 0; }/'
echo "1..$number"
exit $failed
