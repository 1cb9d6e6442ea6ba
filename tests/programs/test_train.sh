# ammpl-train.
pictures

succeeds "a run" train a.safetensors --log a.jsonl --test
check "a line per epoch where there is no terminal" sh -c '[ $(grep -c "^epoch" out) -eq 2 ]'
check "masked patches are reported" grep -q 'masked patches of' out
check "the movement of P is reported" grep -q 'P moved by' out
check "--test prints an accuracy" grep -q '^test accuracy' out
check "nothing on standard error" test ! -s err
grep '"step"' a.jsonl >steps
grep -v '"step"' a.jsonl >epochs
check "the log has all 8 steps" sh -c '[ $(wc -l <steps) -eq 8 ]'
check "steps have the contract's keys" jsonlines step epoch loss lr <steps
check "epochs have seconds and images per second" jsonlines epoch seconds images_per_second <epochs

succeeds "--quiet" train quiet.safetensors --quiet
check "--quiet prints nothing" sh -c '[ ! -s out ] && [ ! -s err ]'
check "the same prompt again, bit for bit" cmp a.safetensors quiet.safetensors
succeeds "with 1 thread" train one.safetensors --threads 1 --quiet
check "the same prompt with 1 thread" cmp a.safetensors one.safetensors
succeeds "another seed" train seed.safetensors --seed 7 --quiet
check "another seed, another prompt" differ a.safetensors seed.safetensors
succeeds "--shots" train shots.safetensors --shots 1
check "--shots 1 takes 3 pictures of 3 classes" grep -q '^ammpl: 3 pictures of 3 classes' out

cp a.safetensors before
fails 1 'a.safetensors exists.*--force' "nothing is overwritten" train a.safetensors --seed 2
check "the old prompt is as it was" cmp a.safetensors before
succeeds "--force overwrites" train a.safetensors --seed 2 --force --quiet
check "the prompt is a new one" differ a.safetensors before
cp before a.safetensors
fails 1 'a.jsonl exists' "a log is not overwritten" train b.safetensors --log a.jsonl
fails 1 'no/such/folder' "a folder that is not there is found out at once" train no/such/folder/b.safetensors
fails 1 'full' "a log on a full disk" train full.safetensors --log /dev/full --force --quiet

succeeds "--init" train init.safetensors --init a.safetensors --quiet
check "--init goes on from there" differ a.safetensors init.safetensors
succeeds "--init with a rate of 0" train still.safetensors --init a.safetensors --lr 0 --warmup-lr 0 --quiet
fails 1 'missing.safetensors' "--init from nothing" train b.safetensors --init missing.safetensors
succeeds "--snapshot-every" train snap.safetensors --snapshot-every 3 --quiet
check "prompts of steps 3 and 6" test -f snap.step3.safetensors -a -f snap.step6.safetensors
succeeds "--cache" train cached.safetensors --cache cache
check "--cache says when it has no effect" grep -q 'cache cache has no effect' out
cached="--cache cache --set mask=off --augment none"
succeeds "--cache with an untouched image tower" train cached1.safetensors $cached --quiet
check "--cache leaves features" sh -c 'ls cache/features-*.safetensors'
succeeds "--cache again" train cached2.safetensors $cached --quiet
check "--cache changes no bit" cmp cached1.safetensors cached2.safetensors

# A run that is stopped, in three ways, and goes on: the same prompt and the same log as if nothing had happened.
long() {
    ammpl-train --model "$model" --data pictures/base --method ammpl --epochs 6 --batch 4 "$@"
}
wait_for_steps() { # FILE N PID: until the log has N steps, or the process is no more, or half a minute is over
    tries=0
    while [ $tries -lt 600 ] && kill -0 "$3" 2>/dev/null; do
        steps=$(grep -c '"step"' "$1" 2>/dev/null)
        [ "${steps:-0}" -lt "$2" ] || break
        sleep 0.05
        tries=$((tries + 1))
    done
}
long --out whole.safetensors --log whole.jsonl --quiet
for signal in INT TERM KILL; do
    ammpl-train --model "$model" --data pictures/base --method ammpl --epochs 6 --batch 4 --out part.safetensors \
        --log part.jsonl --checkpoint state --checkpoint-every 2 --threads 1 >out 2>err &
    pid=$!
    wait_for_steps part.jsonl 5 $pid
    kill -$signal $pid
    wait $pid 2>/dev/null
    status=$?
    if [ $signal != KILL ]; then
        check "SIG$signal: exit status 1" test $status -eq 1
        check "SIG$signal: one line that says how to go on" sh -c '[ $(wc -l <err) -eq 1 ] && grep -q -- "--resume state" err'
        check "SIG$signal: the prompt so far is saved" ammpl-classify --model "$model" --prompt part.safetensors --data pictures/base
    fi
    check "SIG$signal: stopped half way" sh -c '[ $(grep -c "\"step\"" part.jsonl) -lt 24 ]'
    succeeds "SIG$signal: --resume" long --out part.safetensors --log part.jsonl --resume state --quiet
    check "SIG$signal: the same prompt as without a stop" cmp part.safetensors whole.safetensors
    grep '"step"' part.jsonl >part.steps
    grep '"step"' whole.jsonl >whole.steps
    check "SIG$signal: the same log as without a stop" sh -c 'cmp part.steps whole.steps && [ $(wc -l <part.steps) -eq 24 ]'
    rm -f part.* state
done
fails 1 'no_state' "--resume from nothing" long --out r.safetensors --resume no_state
head -c 400 a.safetensors >cut_state
fails 1 'cut_state' "--resume from a truncated file" long --out r.safetensors --resume cut_state

succeeds "--list-methods" ammpl-train --list-methods
check "--list-methods names ammpl" grep -q '^ammpl ' out
succeeds "--list-methods with a model" ammpl-train --list-methods --model "$model"
check "--list-methods counts what is learned" grep -Eq 'learns [0-9]+ numbers' out

# Data that cannot be learned from.
mkdir -p data/one/only && cp pictures/base/train/*/000.png data/one/only/ 2>/dev/null
mkdir -p data/empty/a data/empty/b data/none && cp "$(find pictures/base/train -name '*.png' | head -n 1)" data/empty/a/
cp -r pictures/base/train data/bad && printf 'not a picture' >"data/bad/$(ls data/bad | head -n 1)/broken.png"
on() {
    on_data=$1
    shift
    ammpl-train --model "$model" --data "data/$on_data" --method ammpl --epochs 1 --batch 8 --out on.safetensors "$@"
}
fails 1 'data/none' "no classes" on none
fails 1 'b' "an empty class" on empty
try on bad
check "an unreadable picture is named" sh -c "[ $status -eq 1 ] && [ \$(wc -l <err) -eq 1 ] && grep -q broken.png err"
check "nothing is saved then" test ! -e on.safetensors
succeeds "--skip-bad" on bad --skip-bad
check "--skip-bad names it" sh -c 'cat out err | grep -q broken.png'
