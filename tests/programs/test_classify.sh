# ammpl-classify.
pictures
prompt
one=$(find pictures/base/test -name '*.png' | sort | head -n 1)
two=$(find pictures/base/test -name '*.png' | sort | tail -n 1)

succeeds "zero-shot" ammpl-classify --model "$model" --classes "red disc, blue ring" --top 1 "$one" "$two"
check "a line per picture" grep -Eq "^$two: (red disc|blue ring) [0-9.]+ %\$" out
check "in the order given" test "$(head -n 1 out | cut -d: -f1)" = "$one"

printf '\357\273\277red disc\r\n\nblue ring\n' >names.txt
succeeds "--classes-file" ammpl-classify --model "$model" --classes-file names.txt --json "$one"
cp out from_file
try ammpl-classify --model "$model" --classes "red disc,blue ring" --json "$one"
check "--classes-file reads the same names" cmp out from_file

succeeds "--json with a prompt" ammpl-classify --model "$model" --prompt prompt.safetensors --json "$one" "$two"
cp out json
check "--json has the contract's keys" jsonlines image label classes logits probs <json
check "the probabilities of 3 classes add up to 1" sh -c \
    './jsonlines probs <json | tr -d "[]" | awk -F, "{ s = 0; for (i = 1; i <= NF; i++) s += \$i; if (NF != 3 || (s - 1) ^ 2 > 1e-12) exit 1 }"'

odd=$(printf 'a "quoted" \\ picture\001\377.png')
if cp "$one" "$odd" 2>/dev/null; then
    try ammpl-classify --model "$model" --classes "red disc,blue ring" --json "$odd"
    check "a file name with quotes and bytes that are no UTF-8 is valid JSON" sh -c './jsonlines image <out'
else
    skip "odd file names in JSON" "this file system has no such names"
fi

printf 'this is not a picture' >bad.png
head -c 300 "$one" >cut.png
try ammpl-classify --model "$model" --classes a,b "$one" bad.png "$two"
check "an unreadable picture is named, after what was before it" \
    sh -c "[ $status -eq 1 ] && [ \$(wc -l <out) -eq 1 ] && [ \$(wc -l <err) -eq 1 ] && grep -q bad.png err"
fails 1 'cut.png' "a truncated picture" ammpl-classify --model "$model" --classes a,b cut.png
fails 1 'none.png' "a picture that is not there" ammpl-classify --model "$model" --classes a,b none.png
succeeds "--skip-bad" ammpl-classify --model "$model" --classes a,b --skip-bad bad.png "$one" cut.png none.png "$two"
check "--skip-bad names what it skips" sh -c '[ $(wc -l <out) -eq 2 ] && [ $(wc -l <err) -eq 3 ]'
fails 1 'bad.png' "--skip-bad with nothing left" ammpl-classify --model "$model" --classes a,b --skip-bad bad.png

succeeds "a labelled folder, zero-shot" ammpl-classify --model "$model" --data pictures/base --quiet
check "accuracy of all 6 pictures" grep -Eq '^accuracy [0-9.]+ % \([0-9]+ of 6\), macro-F1' out
succeeds "a labelled folder as JSON" ammpl-classify --model "$model" --prompt prompt.safetensors --data pictures/base --json
check "counts, accuracy, macro_f1" sh -c './jsonlines correct count accuracy macro_f1 part <out'
succeeds "other classes than the prompt's" ammpl-classify --model "$model" --prompt prompt.safetensors --data pictures/unseen
check "8 pictures of unseen classes" grep -q 'of 8)' out

head -c 5000 "$model/model.safetensors" >cut.safetensors
cp "$model/merges.txt" "$model/vocab.json" .
fails 1 'cut.safetensors' "a truncated model" ammpl-classify --model cut.safetensors --classes a,b "$one"
head -c 300 prompt.safetensors >cut_prompt.safetensors
fails 1 'cut_prompt.safetensors' "a truncated prompt" ammpl-classify --model "$model" --prompt cut_prompt.safetensors "$one"
fails 1 'safetensors' "a model as prompt" ammpl-classify --model "$model" --prompt "$model/model.safetensors" "$one"
try ammpl-classify --model "$model" --prompt prompt.safetensors --json --threads 1 "$one"
cp out single
try ammpl-classify --model "$model" --prompt prompt.safetensors --json --threads 3 "$one"
check "the same with 1 and 3 threads" cmp single out
