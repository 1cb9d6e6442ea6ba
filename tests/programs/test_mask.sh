# ammpl-mask.
prompt
one=$(find pictures/base/test -name '*.png' | sort | head -n 1)
two=$(find pictures/base/test -name '*.png' | sort | tail -n 1)
succeeds "a figure" ammpl-mask --model "$model" --prompt prompt.safetensors --out figure.png "$one" "$two"
check "it is a PNG" sh -c '[ "$(head -c 4 figure.png | tail -c 3)" = PNG ]'
check "the map's scale is printed" grep -Eq 'keep probability [-0-9.]+ \.\.\. [-0-9.]+, [0-9]+ of [0-9]+ patches masked' out
check "a line per picture" sh -c '[ $(wc -l <out) -eq 2 ]'
succeeds "two prompts" ammpl-mask --model "$model" --prompt prompt.safetensors --prompt=prompt.safetensors --json --out two.png "$one"
cp out json
check "a JSON object per picture and prompt" sh -c '[ $(wc -l <json) -eq 2 ]'
check "with probabilities and mask" jsonlines image prompt class min max keep mask <json
check "a second prompt makes the figure wider" differ two.png figure.png
name=$(ls pictures/base/train | tail -n 1)
succeeds "--class" ammpl-mask --model "$model" --prompt prompt.safetensors --class "$name" --force --out figure.png "$one"
check "--class is the one drawn" grep -q "class $name" out
fails 1 'no class' "a class that the prompt does not have" \
    ammpl-mask --model "$model" --prompt prompt.safetensors --class nothing --force --out figure.png "$one"
fails 1 'none.png' "a picture that is not there" ammpl-mask --model "$model" --prompt prompt.safetensors --out f.png none.png
check "no figure then" test ! -e f.png
fails 1 "force" "an existing figure" ammpl-mask --model "$model" --prompt prompt.safetensors --out figure.png "$one"
fails 2 "one of the pictures" "a figure over its picture" ammpl-mask --model "$model" --prompt prompt.safetensors --force --out "$one" "$one"
fails 2 "one of the prompts" "a figure over its prompt" ammpl-mask --model "$model" --prompt prompt.safetensors --force --out prompt.safetensors "$one"
try ammpl-mask --model "$model" --prompt prompt.safetensors --out no/such/f.png "$one"
check "a figure that cannot be written" sh -c "[ $status -eq 1 ] && [ \$(wc -l <err) -eq 1 ] && grep -q no/such err"
