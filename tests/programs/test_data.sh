# Split files, class names, and prompts whose classes are not the data's.
prompt
# split FIRST SECOND: a split file whose classes 0 and 1 are these folders
split() {
    echo '{'
    for part in train test; do
        comma=
        printf '"%s": [' $part
        for label in 0 1; do
            name=$1
            [ $label -eq 0 ] || name=$2
            for file in pictures/base/$part/"$name"/*.png; do
                printf '%s["%s", %d, "%s"]' "$comma" "${file#pictures/}" $label "$name"
                comma=', '
            done
        done
        [ $part = test ] && echo ']' || echo '],'
    done
    echo '}'
}
first=$(ls pictures/base/train | sed -n 1p) second=$(ls pictures/base/train | sed -n 2p)
split "$first" "$second" >forth.json
split "$second" "$first" >back.json
succeeds "training on a split file" ammpl-train --model "$model" --root pictures --split forth.json --method ammpl --epochs 1 --batch 4 \
    --set scope=class --out split.safetensors --test
check "its test part is used" grep -q 'test accuracy.* of 4)' out
succeeds "the prompt on that split" ammpl-classify --model "$model" --prompt split.safetensors --root pictures --split forth.json --json
cp out forth.out
succeeds "classes in another order" ammpl-classify --model "$model" --prompt split.safetensors --root pictures --split back.json --json
check "... give the same accuracy" sh -c '[ "$(./jsonlines accuracy macro_f1 <forth.out)" = "$(./jsonlines accuracy macro_f1 <out)" ]'
fails 1 'class' "other classes than a prompt per class has" \
    ammpl-classify --model "$model" --prompt split.safetensors --data pictures/unseen --quiet
printf '{"train": [["base/train/x.png", 0' >cut.json
fails 1 'cut.json' "a truncated split file" ammpl-classify --model "$model" --root pictures --split cut.json
fails 1 'nowhere.json' "a split file that is not there" ammpl-classify --model "$model" --root pictures --split nowhere.json

ls pictures/base/test | sed 's/\(.*\)/\1 a \1/; s/$/ thing/' >names.txt
succeeds "--class-names" ammpl-train --model "$model" --data pictures/base --class-names names.txt --method ammpl --epochs 1 --batch 8 \
    --out named.safetensors
ammpl-classify --model "$model" --prompt named.safetensors --json pictures/base/test/"$first"/000.png >out
check "the prompt has these names" grep -q "\"a $first thing\"" out
sed 1d names.txt >short.txt
fails 1 "short.txt: no line \"$first NAME\"" "a class without a name" ammpl-classify --model "$model" --data pictures/base --class-names short.txt
fails 1 'nowhere.txt' "names that are not there" ammpl-classify --model "$model" --data pictures/base --class-names nowhere.txt
