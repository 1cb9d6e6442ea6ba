#!/bin/sh
# The library never exits, aborts, prints, reads the environment or handles signals, and keeps no writable globals.
#   forbidden_symbols.sh SOURCE_ROOT LIBRARY INTERNAL_LIBRARY
root=$1 lib=$2 internal=$3
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 number=0

result() { # result DESCRIPTION FILE: ok when FILE is empty, else its lines are the complaint
    number=$((number + 1))
    if [ -s "$2" ]; then
        echo "not ok $number - $1"
        sed 's/^/# /' "$2"
        failed=1
    else
        echo "ok $number - $1"
    fi
}

nm -uD "$lib" | awk '{ print $NF }' | sed 's/@.*//' > "$dir/undefined"
# Sanitizers bring symbols of their own; the plain build is the one to judge.
if grep -q '^__[atu]b*san_' "$dir/undefined"; then
    echo "SKIP forbidden_symbols: this build has a sanitizer in it"
    exit 0
fi
echo "1..2"

# snprintf and vsnprintf (also fortified) only format; everything else of the family prints or overruns.
{
    grep -q . "$dir/undefined" || echo "nm sees no symbols in $lib"
    grep -Ex \
        -e '_?exit|_Exit|quick_exit|(at|on_)exit|abort|__assert_fail|__assert_perror_fail|raise|kill' \
        -e 'signal|sigaction|sigprocmask|pthread_sigmask' \
        -e '(__)?(f|vf|d|vd|v|as|vas|s|vs)?printf(_chk)?|f?puts|f?putc|putchar|perror|error|psignal|v?(warn|err)x?' \
        -e 'std(in|out|err)|v?syslog|(secure_)?getenv|(set|put|unset|clear)env|environ|setlocale|f?chdir|umask' \
        -e 'system|popen|v?fork|exec[vl]p?e?|posix_spawnp?|s?rand|random|strtok|gets|tmpnam|mktemp|dlclose' "$dir/undefined"
} > "$dir/forbidden"
result "no forbidden function is called" "$dir/forbidden"

# Writable data of our own objects.  Relocated constants (.data.rel.ro) are not writable once loaded.
objdump -t "$internal" > "$dir/objects"
awk '/file format/ { file = $1 }
    NF >= 4 && $(NF - 2) ~ /^(\.(bss|data|sbss|sdata|tbss|tdata).*|\*COM\*)$/ &&
        $(NF - 2) !~ /^\.data\.rel\.ro/ && $NF !~ /^\./ { print $(NF - 2), $NF, file }' "$dir/objects" > "$dir/writable"
{
    grep -q '^\.tbss error_text ' "$dir/writable" || echo "objdump does not see error_text in $internal: nothing was checked"
    awk 'NR == FNR { ok[$0] = 1; next } !(($1 " " $2) in ok)' "$root/tests/abi/writable.allow" "$dir/writable"
} > "$dir/globals"
result "no writable global beyond tests/abi/writable.allow" "$dir/globals"
exit $failed
