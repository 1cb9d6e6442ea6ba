# Command lines: help, wrong usage.
for program in ammpl-classify ammpl-train ammpl-mask; do
    fails 2 '.' "$program without anything" $program
    fails 2 'nearest is --quiet' "$program names the nearest flag" $program --quite
    fails 2 'two dashes' "$program has no short flags" $program -q
    fails 2 '--model needs a value' "$program: a flag without its value" $program --model
    fails 2 '--quiet takes no value' "$program: a switch with a value" $program --quiet=yes
    fails 2 'whole number' "$program: a number that is none" $program --threads many
    fails 2 'no_such_option' "$program: an option that the library does not have" $program --set no_such_option=1
    fails 2 'NAME=VALUE' "$program: --set without a value" $program --set lr
    succeeds "$program --help" $program --help
    check "$program --help lists the library's options" grep -q -- '--eval-seed N' out
    succeeds "$program --version" $program --version
    check "$program --version prints it" grep -Eq "^$program [0-9]+\.[0-9]+\.[0-9]+ " out
done
fails 2 '--data is missing' "ammpl-train without data" ammpl-train --model "$model" --method ammpl --out x.safetensors
fails 2 '--out is missing' "ammpl-train without --out" ammpl-train --model "$model" --data . --method ammpl
fails 2 '--method is missing' "ammpl-train without --method" ammpl-train --model "$model" --data . --out x
fails 2 'ammpl.*zeroshot|zeroshot.*ammpl' "ammpl-train lists the methods for an unknown one" \
    ammpl-train --model "$model" --data . --method amppl --out x
fails 2 '--lr' "a rate that is no number" ammpl-train --lr fast
fails 2 'exclude' "two kinds of data" ammpl-train --data a --root b --split c --method ammpl --out x
fails 2 'is not a flag' "ammpl-train takes no operands" ammpl-train --model "$model" data
fails 2 'no pictures' "ammpl-classify without pictures" ammpl-classify --model "$model" --classes a,b
fails 2 '--prompt' "ammpl-classify without classes" ammpl-classify --model "$model" picture.png
fails 2 'exclude' "ammpl-classify with pictures and data" ammpl-classify --model "$model" --data . picture.png
fails 1 'cpu' "a backend that is not there: the devices are listed" \
    ammpl-classify --model "$model" --backend cuda --classes a,b picture.png
mkdir empty
fails 1 'there is no device "cuda" here; there is: cpu' "a folder without backends" \
    ammpl-classify --model "$model" --backend cuda --backend-dir empty --classes a,b picture.png
fails 1 'no/such/folder: the folder cannot be read' "a folder of backends that is not there" \
    ammpl-classify --model "$model" --backend cuda --backend-dir no/such/folder --classes a,b picture.png
for kind in no_driver other_version hole; do
    cp "$bin/../tests/libammpl-$kind.so" empty
done
fails 1 'no_driver.so: there is no driver for stubs' "backends that cannot be used: each says why" \
    ammpl-classify --model "$model" --backend cuda --backend-dir empty --classes a,b picture.png
check "backends that cannot be used: all are named" grep -q 'hole.so.*no_driver.so.*other_version.so' err
fails 1 'no/such/model' "a model that is not there" ammpl-classify --model no/such/model --classes a,b picture.png
