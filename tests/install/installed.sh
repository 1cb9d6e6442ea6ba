#!/bin/sh
# What is installed is enough: consumer/, three programs in C and C++, is built with nothing but make and pkg-config, and runs.
#   installed.sh SOURCE_ROOT BUILD_DIR LIBRARY [--static]     --static: BUILD_DIR has -Ddefault_library=both
root=$1 build=$2 lib=$3 link=$4
if nm -uD "$lib" | grep -q ' __[atu]b*san_'; then
    echo "SKIP installed: this build has a sanitizer in it"
    exit 0
fi
for tool in make pkg-config c++; do
    command -v $tool > /dev/null && continue
    echo "SKIP installed: $tool is not there"
    exit 0
done
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0

result() { # result DESCRIPTION STATUS
    number=$((number + 1))
    if [ "$2" = 0 ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        tail -n 40 "$dir/log" | sed 's/^/# /'
        failed=1
    fi
}

DESTDIR=$dir/root meson install -C "$build" --no-rebuild > "$dir/log" 2>&1
result "meson install" $?
installed=$(dirname "$(find "$dir/root" -name ammpl.pc)")/..
PKG_CONFIG_SYSROOT_DIR=$dir/root PKG_CONFIG_PATH=$installed/pkgconfig LD_LIBRARY_PATH=$installed
export PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_PATH LD_LIBRARY_PATH

cp -R "$root/tests/install/consumer" "$dir"
make -C "$dir/consumer" LINK="$link" > "$dir/log" 2>&1
result "make $link, C99 and C++11 with all warnings as errors" $?
ldd "$dir/consumer/consumer" > "$dir/log" 2>&1
if [ "$link" ]; then
    ! grep -q libammpl "$dir/log"
    result "nothing is loaded at run time" $?
else
    grep -q "libammpl.*$dir" "$dir/log"
    result "the installed library is loaded" $?
fi
cd "$dir/consumer" || exit 1
./consumer "$root/tests/golden/nano" "$root/tests/golden/images/444.jpg" > c 2> log && grep '^# ' c && [ ! -s log ]
status=$?
cat c log > "$dir/log"
result "the C program trains, classifies and lives on after damaged JPEGs" $status
for program in consumer-cpp consumer-statuses; do
    ./$program "$root/tests/golden/nano" > cpp 2> "$dir/log" && grep -v '^# ' c | diff - cpp >> "$dir/log" && [ -s cpp ]
    result "$program gives the same numbers" $?
done

# ---- ammpl.pc ----
header=$(find "$dir/root" -name ammpl_version.h)
[ "$(pkg-config --modversion ammpl)" = "$(sed -n 's/#define AMMPL_VERSION_STRING "\(.*\)"/\1/p' "$header")" ]
result "ammpl.pc and ammpl_version.h have one version" $?
# The libraries that it is made of are the business of those who link it statically.
pkg-config --static --libs ammpl > "$dir/log" 2>&1
grep -q 'ammpl.*png.*jansson' "$dir/log" && ! pkg-config --libs ammpl | grep -q 'png\|jansson'
result "ammpl.pc names private libraries for --static only" $?
soname=$(readelf -dW "$lib" | sed -n 's/.*SONAME.*libammpl\.so\.\([0-9.]*\).*/\1/p')
pkg-config --variable=backenddir ammpl > "$dir/log" 2>&1
grep -q "^/.*/ammpl-$soname\$" "$dir/log"
result "ammpl.pc has the folder of plug-ins, by soname, as backenddir" $?
echo "1..$number"
exit $failed
