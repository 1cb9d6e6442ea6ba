#!/bin/sh
# What is installed is enough: a program in C and one in C++ compile, link and run with nothing but ammpl.pc and what it names.
#   installed.sh BUILD_DIR LIBRARY
build=$1 lib=$2
if nm -uD "$lib" | grep -q ' __[atu]b*san_'; then
    echo "SKIP installed: this build has a sanitizer in it"
    exit 0
fi
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0
echo "1..5"

result() { # result DESCRIPTION STATUS
    number=$((number + 1))
    if [ "$2" = 0 ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        sed 's/^/# /' "$dir/log"
        failed=1
    fi
}

DESTDIR=$dir/root meson install -C "$build" --no-rebuild > "$dir/log" 2>&1
result "meson install" $?

pc=$(find "$dir/root" -name ammpl.pc)
PKG_CONFIG_SYSROOT_DIR=$dir/root PKG_CONFIG_PATH=$(dirname "$pc")
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
export PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_PATH LD_LIBRARY_PATH
cat > "$dir/user.c" << 'END'
#include <ammpl/ammpl.h>
#include <string.h>
int main(void)
{
    ammpl_context *ctx;
    if (ammpl_context_create(NULL, &ctx) != AMMPL_OK)
        return 1;
    ammpl_context_destroy(ctx);
    return strcmp(ammpl_version_string(), AMMPL_VERSION_STRING) != 0;
}
END
cp "$dir/user.c" "$dir/user.cc"
# shellcheck disable=SC2046  # flags
{
    cc -Wall -Werror "$dir/user.c" -o "$dir/user" $(pkg-config --cflags --libs ammpl) > "$dir/log" 2>&1 && "$dir/user" >> "$dir/log" 2>&1
    result "a C program" $?
    c++ -Wall -Werror "$dir/user.cc" -o "$dir/user" $(pkg-config --cflags --libs ammpl) > "$dir/log" 2>&1 && "$dir/user" >> "$dir/log" 2>&1
    result "a C++ program" $?
}
[ "$(pkg-config --modversion ammpl)" = "$(sed -n 's/#define AMMPL_VERSION_STRING "\(.*\)"/\1/p' "$dir"/root/*/*/include/ammpl/ammpl_version.h)" ]
result "ammpl.pc and ammpl_version.h have one version" $?
# The libraries that it is made of are the business of those who link it statically.
pkg-config --static --libs ammpl > "$dir/log" 2>&1
grep -q 'ammpl.*png.*jansson' "$dir/log" && ! pkg-config --libs ammpl | grep -q 'png\|jansson'
result "ammpl.pc names private libraries for --static only" $?
exit $failed
