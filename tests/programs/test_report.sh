# Tables and pages of results that are there: tests/evaluate has invented ones of every protocol, and the tables that Python made of them.
invented=$root/tests/evaluate/results.jsonl
succeeds "tables of committed results" ammpl-evaluate "$invented"
check "are to the letter those of the independent computation" cmp out "$root/tests/evaluate/tables.md"
succeeds "results in two files" ammpl-evaluate "$invented" "$invented"
check "the same line twice counts once" cmp out "$root/tests/evaluate/tables.md"

tac "$invented" >reversed.jsonl
ammpl-evaluate reversed.jsonl --reference none >out
check "rows do not depend on the order of lines" sh -c 'grep -n "^| \(zeroshot\|cocoop\|ammpl \)" out | head -n 3 | cut -d: -f2 | cut -c1-10 | tr "\n" ";" | grep -qx "| zeroshot;| cocoop  ;| ammpl   ;"'
succeeds "the table of the demo's CLIP, from its committed results" ammpl-evaluate "$root/examples/demo-clip/few-shot.jsonl" --reference none
check "is the one that is committed" cmp out "$root/tests/evaluate/demo.md"
sed -n 's/  */ /g; /^| [a-z]/p' out >rows
check "has five rows" test "$(wc -l <rows)" -eq 5
check "and the README quotes them" sh -c 'while IFS= read -r row; do grep -Fxq "$row" "$0" || exit 1; done <rows' "$root/README.md"

small=$root/tests/evaluate/tinyclip
succeeds "the small CLIP's tables" ammpl-evaluate "$small/few-shot.jsonl" "$small/base-to-novel.jsonl" "$small/ablation.jsonl" --per-class
check "are those that are committed" cmp out "$small/tables.md"
cat out >both
succeeds "and those of AMMPL's options" ammpl-evaluate "$small/options.jsonl" --per-class
check "too" cmp out "$small/options.md"
cat out >>both
sed -n 's/  */ /gp' both >rows
sed -n '/^# Measured on photographs/,/^What can be read/{/^| [a-z]/p}' "$root/src/method/README.md" >quoted
check "src/method/README.md quotes many of their rows" test "$(wc -l <quoted)" -gt 70
check "and nothing else" sh -c 'while IFS= read -r row; do case $row in *"accuracy in %"*) ;; *) grep -Fxq "$row" rows || { echo "$row"; exit 1; } ;; esac; done <quoted'

pictures
succeeds "a run with a report" ammpl-evaluate --protocol few-shot --model "$model" --data pictures/base --method zeroshot,ammpl --shots 1,2 \
    --seeds 1,2 --epochs 4 --batch 2 --lr 0.05 --out reported.jsonl --report page
check "a page" test -s page/index.html
check "with the tables" sh -c 'grep -q "<caption>few-shot on base, accuracy in % by shots</caption>" page/index.html'
check "that needs no other file" sh -c '! grep -Eo "(src|href)=\"[^\"]{5}" page/index.html | grep -v "\"data:"'
if command -v gnuplot >/dev/null; then
    check "with figures inside" test "$(grep -c 'src="data:image/svg' page/index.html)" -ge 3
    for figure in few-shot-shots few-shot-training confusion-few-shot-base-all; do
        check "$figure as SVG and PNG" sh -c "head -c 5 page/$figure.svg | grep -q '<?xml' && head -c 4 page/$figure.png | grep -q PNG"
    done
else
    skip "figures" "there is no gnuplot"
fi
check "masks over training: prompts of four moments" test "$(ls page/masks/few-shot-base | wc -l)" -eq 4
check "drawn by ammpl-mask, as PNG and SVG" sh -c 'head -c 4 page/masks-few-shot-base.png | grep -q PNG && grep -q "^<svg .*data:image/png;base64" page/masks-few-shot-base.svg'
check "and on the page" grep -q 'src="data:image/png' page/index.html
cp -r pictures/base 'a[1]*'
succeeds "names that are patterns" ammpl-evaluate --protocol few-shot --model "$model" --data 'a[1]*' --method ammpl --shots 1 --seeds 1 --epochs 1 \
    --out patterns.jsonl --report 'page[2]?'
check "have their masks drawn" test "$(ls 'page[2]?' | grep -c '^masks-.*png$')" -eq 1
succeeds "the page again, from the results alone" ammpl-evaluate reported.jsonl --report page
check "has the masks still" grep -q 'src="data:image/png' page/index.html

sed 's/, "confused": [][0-9, ]*\]//' reported.jsonl >short.jsonl
check "lines without confusions are there" sh -c 'grep -q confused reported.jsonl && ! grep -q confused short.jsonl'
succeeds "a page of them" ammpl-evaluate short.jsonl --report short
check "has no figure of confusions, and the tables" sh -c '! ls short | grep -q confusion && grep -q "<caption>few-shot on base" short/index.html'

# A results file of somebody else is data: what stands in it becomes no command of gnuplot's, no path and no HTML.
hostile() { # NAME: reported.jsonl with this name of its data set (as sed and JSON want it)
    sed "s|\"dataset\": \"base\", \"source\": \"base\"|\"dataset\": \"$1\", \"source\": \"$1\"|" reported.jsonl >hostile.jsonl
}
for name in 'x\\";system(\\"touch pwned\\");set title \\"' 'x`touch pwned`' '..\/..\/x' '<b>x'; do
    hostile "$name"
    succeeds "a data set called $name" ammpl-evaluate hostile.jsonl --report hostile
    check "$name: nothing is run" test ! -e hostile/pwned -a ! -e pwned
    check "$name: no HTML of its own" sh -c '! grep -q "<b>x" hostile/index.html'
    if command -v gnuplot >/dev/null; then
        check "$name: confusions are drawn" sh -c 'ls hostile/confusion-few-shot-*-all.png'
    fi
    rm -rf hostile
done
sed "s|\"classes\": \[\"[^\"]*\"|\"classes\": [\"\`touch pwned\`\"|" reported.jsonl >hostile.jsonl
check "a class whose name is a command" grep -q '"`touch pwned`"' hostile.jsonl
succeeds "is drawn" ammpl-evaluate hostile.jsonl --report hostile
check "and not run" test ! -e hostile/pwned -a ! -e pwned
rm -rf hostile
hostile "$(printf '%0300d' 0)"
fails 1 'line 1: "dataset"' "a data set's name longer than a file's" ammpl-evaluate hostile.jsonl --report hostile
sed 's/"protocol": "few-shot", "shots"/"protocol": "..\/x", "shots"/' reported.jsonl >hostile.jsonl
fails 1 'line 1: "protocol"' "a protocol that there is not" ammpl-evaluate hostile.jsonl --report hostile
sed 's/"split": "all"/"split": "\\"; !touch pwned"/' reported.jsonl >hostile.jsonl
fails 1 'line 1: "split"' "a split that there is not" ammpl-evaluate hostile.jsonl --report hostile

# Without gnuplot data and scripts are left, and that is said.
mkdir tools
for tool in ammpl-evaluate ammpl-mask; do
    ln -s "$bin/$tool" tools/$tool
done
succeeds "without gnuplot" env PATH="$temp/tools" ammpl-evaluate reported.jsonl --report bare
check "that is said" grep -q 'there is no gnuplot.*cd bare && gnuplot' err
check "on the page, too" grep -q 'there was no gnuplot' bare/index.html
check "scripts and data are there" test -s bare/few-shot-shots.gp -a -s bare/few-shot-shots.dat -a -s bare/few-shot-training.gp
check "and nothing half drawn" test ! -e bare/few-shot-shots.svg
if command -v gnuplot >/dev/null; then
    check "they draw elsewhere" sh -c 'cd bare && gnuplot few-shot-shots.gp && [ -s few-shot-shots.svg ] && [ -s few-shot-shots.png ]'
fi
touch file
fails 1 'file: cannot be made a folder' "a report where a file is" ammpl-evaluate reported.jsonl --report file --quiet --metric accuracy --json
