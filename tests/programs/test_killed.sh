# An evaluation that is killed (SIGKILL) at random times, and started again each time, ends with the results of one that was not; no
# finished run is repeated.  tests/evaluate/killed.sh does it, twenty times by tests/long.sh, four times here.
pictures
try sh "$root/tests/evaluate/killed.sh" "$bin" "$model" pictures/base 4 killed
report "killed four times: the same results, no run repeated" "$status"
