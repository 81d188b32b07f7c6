#!/bin/bash
# Toy tasks on the command line: made, looked at, trained on, evaluated; and one sentence for whatever is wrong.
. "$(dirname "$0")/_lib.sh"
cd "$scratch" || exit 1
export LH_QUIET=1 OMP_NUM_THREADS=1

# field FILE PATH: a value of a JSON file, such as splits.train.tokens
field() {
    /usr/bin/python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."):
    value = value[int(key)] if key.isdigit() else value[key]
print(value)' "$1" "$2"
}

# holds FILE CONDITION: CONDITION is a Python expression over v, the file's value.
holds() {
    /usr/bin/python3 -c 'import json, sys; v = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2"
}

# Made: as asked for, twice the same, with splits.
"$longhand" data make --list >list
for task in copy recall delayed marker; do
    equal "$task is listed" "$(grep -c "^$task " list)" 1
done
equal "rows can be looked at" "$("$longhand" data make copy length=8 symbols=2 --show 3 | wc -l)" 3
equal "answers stand in brackets" "$("$longhand" data make marker markers=2 filler=3 --show 1 | grep -o '\[s[0-9]\]' | wc -l)" 2
check "a task" "$longhand" data make recall pairs=3 keys=8 values=4 filler=20 vary=20 --rows 300 --validation 40 \
    --test 30 --out rows
"$longhand" data make recall pairs=3 keys=8 values=4 filler=20 vary=20 --rows 300 --validation 40 --test 30 --out again \
    >again.txt
for file in dataset.json train-00000.lhs validation-00000.lhs test-00000.lhs tokenizer.json; do
    check "the same $file" cmp rows/$file again/$file
done
check "a second time is fine" "$longhand" data make recall pairs=3 keys=8 values=4 filler=20 vary=20 --rows 300 \
    --validation 40 --test 30 --out rows
refuses "other rows are refused" 7 "--force" "$longhand" data make recall --out rows
"$longhand" data info rows --verify --json >rows.json
equal "rows are documents" "$(field rows.json splits.train.documents)" 300
equal "answers are counted" "$(field rows.json splits.train.answers)" 900
equal "the task is told" "$(field rows.json task.name) $(field rows.json task.chance)" "recall 0.25"
equal "info says what is scored" "$("$longhand" data info rows | grep -c '900 of train, 120 of validation, 90 of test')" 1
check "a split can be left out" "$longhand" data make copy --rows 2 --validation 0 --test 0 --out only
equal "and is" "$(ls only/*.lhs)" only/train-00000.lhs

refuses "no task" 2 "name of a task" "$longhand" data make --out x
refuses "no folder" 2 "--out DIR" "$longhand" data make copy
refuses "an unknown task" 2 "did you mean recall?" "$longhand" data make recal --out x
refuses "an unknown option" 2 "did you mean length?" "$longhand" data make copy lenght=4 --out x
refuses "an odd length" 2 "must be even" "$longhand" data make copy length=5 --out x
refuses "a negative number" 2 "0 or more" "$longhand" data make copy --rows -1 --out x
refuses "no rows at all" 2 "without any row" "$longhand" data make copy --rows 0 --validation 0 --test 0 --out x
check "a refusal makes no folder" test ! -e x

# A byte of the answers that is changed is noticed before training begins.
cp -r rows hurt
printf '\7' | dd of=hurt/train-00000.lhs bs=1 seek=$(($(stat -c %s hurt/train-00000.lhs) - 1)) conv=notrunc status=none
refuses "damaged answers" 6 "checksum of its answers" "$longhand" data info hurt --verify
settings="model.layers=1 model.width=16 model.heads=2 model.hidden=32 model.segment=16 model.positions=relative
    memory.kind=transformer-xl memory.length=32 data.layout=documents data.reset_at_document=true data.batch=4
    train.eval_tokens=0 train.warmup=0 train.learning_rate=1e-2"
printf '[train]\nsteps = 30\neval_every = 15\n' >recipe.ini
# shellcheck disable=SC2086
refuses "and not trained on" 6 "checksum of its answers" "$longhand" train recipe.ini $settings data.path=hurt --out no

# Trained on and evaluated.
# shellcheck disable=SC2086
check "a run" "$longhand" train recipe.ini $settings data.path=rows --out run --json
equal "validations tell the accuracy" "$(grep -c '"validation/accuracy": 0\.[0-9]' run/metrics.jsonl)" 2
equal "the loss is in nats" "$(grep -c '"validation/nats_per_token"' run/metrics.jsonl)" 2
equal "the log tells it, too" "$(grep -c 'accuracy 0\.' run/train.log)" 2
check "a run is described" "$longhand" info run
"$longhand" eval run >eval.txt
equal "accuracy in the text" "$(grep -c '^accuracy  *0\.[0-9]* .* of 90 answers; guessing 0.25)$' eval.txt)" 1
check "accuracy by distance" grep -q '^tokens back ' eval.txt
"$longhand" eval run --data rows --split validation --json >eval.json
check "accuracy in JSON" holds eval.json 'abs(v["accuracy"] - v["right"] / 120) < 1e-9 and v["chance"] == 0.25'
check "each row by itself" holds eval.json 'v["protocol"] == "book" and v["scored"] == 120'
check "distances add up" holds eval.json 'sum(d["tokens"] for d in v["by_distance"]) == 120'
check "and are far apart" holds eval.json '{d["from"] for d in v["by_distance"]} >= {4, 8, 16}'
"$longhand" eval run --score all --protocol stream --json >all.json
check "all tokens on request" holds all.json '"accuracy" not in v and v["scored"] == v["tokens"]'
refuses "rows have no lines" 7 "no text" "$longhand" eval run --protocol line
equal "symbols can be written" "$("$longhand" generate run --prompt 'k1 v2 n0 k1' --tokens 3 --seed 1 | grep -o '[kvn][0-9]*' |
    tail -n 3 | wc -l)" 3
refuses "and only symbols" 10 "not in the vocabulary" "$longhand" generate run --prompt 'k1 w2' --tokens 3
# shellcheck disable=SC2086
check "all tokens in training" "$longhand" train recipe.ini $settings data.path=rows data.scored=all --out all
refuses "a run keeps what it scores" 7 "data.scored = answers, not all" "$longhand" train run --resume data.scored=all \
    train.steps=40

# A run that starts from another one goes on from any folder.
# shellcheck disable=SC2086
check "a run that starts from another" "$longhand" train recipe.ini $settings data.path=rows train.init_from=run --out second
mkdir elsewhere
check "goes on from elsewhere" env -C elsewhere "$longhand" train ../second --resume train.steps=31
equal "the first run's place is kept whole" "$(grep -c "^init_from = /" second/recipe.ini)" 1

# The recipes that come with the program fit the data that they name.
for recipe in "$root"/recipes/copy-*.ini "$root"/recipes/recall-*.ini; do
    path=$(sed -n 's/^path = //p' "$recipe")
    data=$(sed -n "s|^# *longhand \(data make .*\) --out $path\$|\1|p" "$recipe")
    # shellcheck disable=SC2086
    "$longhand" $data --rows 40 --validation 4 --test 4 --force --out recipe-data >/dev/null
    check "$(basename "$recipe")" "$longhand" train "$recipe" data.path=recipe-data data.validation_path= train.steps=2 \
        train.init_from= --out "run-$(basename "$recipe" .ini)"
done
finish
