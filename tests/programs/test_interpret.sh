# ammpl-interpret.
prompt
succeeds "a prompt in words" ammpl-interpret --model "$model" --prompt prompt.safetensors --top 3
check "a line for each of the four vectors" test "$(grep -c '^ *[0-3]  ' out)" -eq 4
check "after a few steps they are near to the words that they started from" sh -c "sed -n 's/^ *1  \([^ ]*\) .*/\1/p' out | grep -qx 'photo</w>'"
check "keep probabilities" grep -Eq '^all classes +[0-9.]+ +0\.9' out
succeeds "--json" ammpl-interpret --model "$model" --prompt prompt.safetensors --top 2 --json
check "is JSON" jsonlines tensor class <out
check "has the vectors' neighbours" sh -c 'grep ctx out | ./jsonlines token nearest >near && [ $(wc -l <near) -eq 4 ] && grep -q "\"id\":320,\"distance\":0" near'
check "has the probabilities" sh -c 'grep mask_prob out | ./jsonlines min mean max masked masked_in_evaluation below_half patches'
succeeds "a prompt for each class" train class.safetensors --set scope=class --quiet
try ammpl-interpret --model "$model" --prompt class.safetensors
check "has a context for each" test "$(grep -c '^context of' out)" -eq 3
first=$(ls pictures/base/train | head -n 1)
succeeds "--class" ammpl-interpret --model "$model" --prompt class.safetensors --class "$first"
check "shows this one alone" test "$(grep -c '^context of' out)" -eq 1
fails 1 'no such thing' "a class that there is not" ammpl-interpret --model "$model" --prompt class.safetensors --class "no such thing"
ammpl-train --model "$model" --data pictures/base --method vpt --epochs 1 --batch 8 --out vpt.safetensors --quiet
fails 1 'neither context vectors nor masks' "a prompt without words" ammpl-interpret --model "$model" --prompt vpt.safetensors
fails 2 'prompt is missing' "no prompt" ammpl-interpret --model "$model"
fails 2 'top' "no words" ammpl-interpret --model "$model" --prompt prompt.safetensors --top 0
