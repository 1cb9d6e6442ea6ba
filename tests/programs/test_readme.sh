# The README's C program is examples/hello.c, and it works.
awk '/^<!-- end hello.c -->$/ { on = 0 } on && !/^```/ { print } /^<!-- begin hello.c -->$/ { on = 1 }' "$root/README.md" >quoted.c
check "the README quotes examples/hello.c" cmp quoted.c "$root/examples/hello.c"
pictures
succeeds "hello" hello "$model" pictures/base "$(find pictures/base/test -name '*.png' | sort | head -n 1)"
check "hello prints a class" sh -c 'ls pictures/base/train | grep -Fxq "$(cat out)"'
fails 2 usage "hello explains its usage" hello "$model" pictures/base
fails 1 'no-such' "hello names a backend that is not there" hello --backend no-such --backend-dir . "$model" pictures/base x.png
check "hello fails with a sentence" sh -c '! hello no/such/model pictures/base x.png 2>&1 | grep -q usage'
