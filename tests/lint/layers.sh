#!/bin/sh
# Who may include whom: the layers of the architecture.  An arrow never points back.
#   layers.sh SOURCE_ROOT
cd "$1" || exit 1
failed=0 number=0
echo "1..12"

result() { # result DESCRIPTION COMPLAINTS
    number=$((number + 1))
    if [ "$2" ]; then
        echo "not ok $number - $1"
        echo "$2" | sed 's/^/# /'
        failed=1
    else
        echo "ok $number - $1"
    fi
}

sources() {
    find "$@" -type f \( -name '*.[ch]' -o -name '*.inc' -o -name '*.def' -o -name '*.hpp' \) | LC_ALL=C sort
}

layer() { # layer FOLDER ALLOWED...: what its files include in quotes starts with one of these folders
    folder=$1
    shift
    pattern=$(echo "$*" | sed 's/ /|/g')
    seen=$(sources "$folder" | xargs grep -nE '^ *# *include +"' /dev/null)
    [ "$seen" ] || seen="$folder: no includes seen"
    result "$folder includes only $*" "$(echo "$seen" | grep -vE "\"($pattern)/")"
}

# context.c makes the list of devices: the one place of the core that knows the backend that is linked in.
seen=$(sources src/core | xargs grep -nE '^ *# *include +"' | grep -vE '"core/' | grep -v '^src/core/context.c:.*"cpu/cpu.h"')
result "src/core includes only core (context.c: cpu/cpu.h)" "$seen"
layer src/cpu core cpu
layer src/data core io data
layer src/clip core data clip
layer src/io core data clip io
layer src/method core io data clip method
layer src/train core io data clip method train
seen=$(sources src/bench | xargs grep -nE '^ *# *include +"' | grep -vE '"(bench_inside\.h|(bench|core|clip|cpu|method)/[a-z_]+\.h)"')
result "src/bench includes core, clip, method and the one backend it measures" "$seen"
seen=$(sources lib | xargs grep -nE '^ *# *include +"' | grep -vE '"(shell\.h|(core|io|data|clip|method|train)/[a-z_]+\.h)"')
result "lib includes shell.h and src, no backend" "$seen"

# Names of backends belong to their folders and to the build files.
result "include, lib and src do not mention cuda" \
    "$(sources include lib src | xargs grep -niE '(^|[^a-z])cuda([^a-z]|$)')"

# Programs live from what is installed.
result "examples use ammpl.h only" "$(sources examples | xargs grep -nE '^ *# *include +[<"]ammpl' | grep -vE '<ammpl/ammpl\.(h|hpp)>')"
seen=$(sources examples | xargs grep -hE '^ *# *include +"' | sed 's/.*"\(.*\)".*/\1/' | sort -u | while read -r name; do
    [ -f "examples/$name" ] || [ -f "examples/common/$name" ] || echo "$name is none of the examples' own files"
done)
result "examples include nothing from inside the library" "$seen"
exit $failed
