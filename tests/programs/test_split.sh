# ammpl-split.
pictures
succeeds "a folder as a split file" ammpl-split --data pictures/base --out whole.json
check "it says what there is" grep -q '3 classes, 15 pictures for training, 0 for validation, 6 for testing' out
succeeds "few-shot picks" ammpl-split --data pictures/base --shots 2 --seed 1 --out native.json
succeeds "Dassl's picks" ammpl-split --data pictures/base --shots 2 --seed 1 --sampler dassl --out dassl.json
check "the two pick other pictures" differ native.json dassl.json
check "picks keep their ids" grep -q '"ids"' dassl.json
# random.seed(1); random.sample(range(5), 2), three times over: Python 3.11
picked=$(tr -d ' \n' <dassl.json | sed -n 's/.*"ids":{"train":\[\([0-9,]*\)\].*/\1/p')
check "they are Python's" test "$picked" = "1,0,7,5,13,14"
succeeds "the same again" ammpl-split --data pictures/base --shots 2 --seed 1 --sampler dassl --out again.json
check "gives the same bytes" cmp dassl.json again.json
succeeds "--half base" ammpl-split --data pictures/base --half base --out base.json
check "has two of three classes" grep -q '2 classes, 10 pictures' out
succeeds "--half novel" ammpl-split --data pictures/base --half novel --out novel.json
check "has the third" grep -q '1 classes, 5 pictures' out
succeeds "a split file from a split file" ammpl-split --root pictures/base --split whole.json --out copy.json
check "is the same" cmp whole.json copy.json
succeeds "a split file is read by ammpl-train" ammpl-train --model "$model" --root pictures/base --split dassl.json --method ammpl --epochs 1 \
    --batch 2 --out picked.safetensors --test
check "with its six pictures" grep -q '6 pictures of 3 classes' out

ammpl-train --model "$model" --data pictures/base --method ammpl --epochs 1 --batch 2 --shots 2 --sampler dassl --out sampled.safetensors --quiet
check "it gives the prompt that --shots and --sampler give" cmp picked.safetensors sampled.safetensors

succeeds "--diff of equal files" ammpl-split --diff whole.json copy.json
check "says so" grep -q '^the same 21 pictures in the same order' out
try ammpl-split --diff whole.json dassl.json
check "--diff of others: exit status 1" test "$status" -eq 1
check "names what is in one only" grep -q '^train/.*/002.png: only in the first file (train, class 0' out
check "counts it" grep -q '^9 pictures differ' out
sed 's/"train": \[/"val": [],\n"test_": [/; s/"test": \[/"train": [/; s/"test_"/"test"/' whole.json >moved.json
try ammpl-split --diff whole.json moved.json
check "what has moved is named" grep -q ': train, then test$' out
fails 1 'none.json' "a file that is not there" ammpl-split --diff whole.json none.json
fails 2 'two split files' "--diff of one file" ammpl-split --diff whole.json
fails 1 'whole.json exists.*--force' "nothing is overwritten" ammpl-split --data pictures/base --out whole.json
fails 1 'dtd/images' "a data set that is not there" ammpl-split --dataset DTD --root . --out x.json
fails 1 'OxfordPets' "a data set that there is not" ammpl-split --dataset OxfordPet --root . --out x.json
fails 2 'half' "a half that there is not" ammpl-split --data pictures/base --half upper --out x.json
fails 2 'out is missing' "no --out" ammpl-split --data pictures/base
