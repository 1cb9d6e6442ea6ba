# The C++ example: N sessions on one model and one prompt at once give what one gives.
if [ -x "$bin/threads" ]; then
    prompt
    # shellcheck disable=SC2046  # the pictures' paths have no spaces
    set -- $(find pictures/base/test -name '*.png' | LC_ALL=C sort)
    succeeds "threads" threads "$model" prompt.safetensors 5 "$@"
    check "5 threads and one give the same numbers" grep -qx '5 threads and one give the same numbers' out
    grep '\.png: ' out >named
    ammpl-classify --model "$model" --prompt prompt.safetensors --json --quiet "$@" |
        jsonlines image label | tr -d '"' | sed 's/\t/: /' >expected
    check "threads names pictures as ammpl-classify does" cmp named expected
    fails 1 'no/such.png' "threads fails with a sentence" threads "$model" prompt.safetensors 3 "$1" no/such.png "$2"
    fails 2 usage "threads explains its usage" threads "$model"
    fails 2 usage "threads knows its flags" threads --frontend cuda "$model" prompt.safetensors 3 "$1"
    fails 1 'no-such' "threads names a backend that is not there" threads --backend no-such "$model" prompt.safetensors 3 "$1"
else
    skip "threads" "there is no C++ compiler"
fi
