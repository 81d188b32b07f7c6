#!/bin/bash
# longhand compare: the whole command on a tiny text, killed in the middle, with a method that runs out of memory.
. "$(dirname "$0")/_lib.sh"
export OMP_WAIT_POLICY=passive LH_QUIET=1

# A text of 40 kB that is the same everywhere.
python3 - "$scratch/book.txt" <<'PY'
import sys
words = "the a of to and in that it was his her sea ship wind night old man said went over under".split()
state, out = 7, []
while sum(map(len, out)) < 40000:
    state = (state * 1103515245 + 12345) % 2**31
    out.append(words[(state >> 16) % len(words)] + (".\n" if state % 11 == 0 else " "))
open(sys.argv[1], "w").write("".join(out))
PY
cat >"$scratch/small.ini" <<'INI'
[data]
path = book.txt
batch = 4
[model]
layers = 2
width = 32
heads = 2
segment = 32
[train]
threads = 1
warmup = 10
log_every = 5
checkpoint_every = 10
[compressive:train]
clip = 0.5
[compare]
methods = vanilla,compressive
budget = tokens=60k
eval_tokens = 2k
lengths = 64,512
INI
cd "$scratch" || exit 1

# field FILE EXPRESSION: of the JSON in a file, as Python has it in r.
field() {
    python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

check "a comparison" "$longhand" compare small.ini --out whole
equal "both finish" "$(field whole/report.json '[x["method"] + x["status"] for x in r["runs"]]')" \
    "['vanillafinished', 'compressivefinished']"
equal "the key of one method" "$(grep -h '^clip = ' whole/runs/*/recipe.ini | cut -d' ' -f3 | sort | tr '\n' ' ')" "0.25 0.5 "
check "the page is whole" grep -q '</html>' whole/report.html
reaches_out() {
    grep -E "(src|href)=[\"']?[^#\"']|url\([^#]|@import" whole/report.html
}
equal "the page reaches out to nothing" "$(reaches_out)" ""
csv() {
    python3 - whole/report.csv whole/report.json <<'PY'
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1])))
runs = json.load(open(sys.argv[2]))["runs"]
assert [(r["method"], int(r["seed"])) for r in rows] == [(r["method"], r["seed"]) for r in runs], rows
for row, run in zip(rows, runs):
    assert abs(float(row["value"]) - run["value"]) < 1e-6 * run["value"]
    assert float(row["training_tokens"]) == run["training"]["tokens"] >= 60000
    assert float(row["ms_per_token_at_512"]) > 0 and row["error"] == ""
PY
}
check "CSV and JSON say the same" csv

# A run is an ordinary run: longhand eval gives the figure of the report.
json=$("$longhand" eval whole/runs/compressive-1 --data whole/data/text --protocol book --limit-tokens 2k --json)
equal "longhand eval agrees" "$(field <(echo "$json") 'round(r["bits_per_byte"], 9)')" \
    "$(field whole/report.json 'round(r["runs"][1]["value"], 9)')"
equal "the state, too" "$(field <(echo "$json") 'r["state_bytes"]')" \
    "$(field whole/report.json 'r["runs"][1]["evaluation"]["state_bytes"]')"
check "longhand info describes a run" "$longhand" info whole/runs/vanilla-1

# kill -9 when the first method is finished and the second is being trained: nothing is done twice, and training goes on
# from its checkpoint.
begin_and_kill() {
    "$longhand" compare small.ini --out killed train.minutes=0 >/dev/null 2>&1 &
    local pid=$!
    for _ in $(seq 1 600); do
        if ls killed/runs/compressive-1/checkpoint-*0.safetensors >/dev/null 2>&1; then
            break
        fi
        sleep 0.05
    done
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    [ "$(field killed/runs/vanilla-1/result.json 'r["finished"]')" = True ] && [ ! -f killed/runs/compressive-1/result.json ]
}
# print FOLDER: times and hashes of what the finished method left.
print() {
    find "$1/runs/vanilla-1" -type f -printf '%p %T@ ' -exec sha256sum {} \;
}
check "it is killed while the second method trains" begin_and_kill
before=$(print killed)
check "it goes on" "$longhand" compare killed --resume
equal "the finished method is untouched" "$(print killed)" "$before"
check "the second one went on from a checkpoint" grep -q 'goes on:' killed/runs/compressive-1/train.log
equal "and ends where an undisturbed one does" "$(field killed/report.json '[x["value"] for x in r["runs"]]')" \
    "$(field whole/report.json '[x["value"] for x in r["runs"]]')"
before=$(print killed)
check "the same call again" "$longhand" compare small.ini --out killed
equal "does nothing" "$(print killed)" "$before"

# SIGTERM to the command alone: saved, exit code 9, and it says how to go on.
stopped() {
    "$longhand" compare small.ini --out stopped train.minutes=0 >/dev/null 2>stopped.err &
    local pid=$! code=0
    for _ in $(seq 1 600); do
        if ls stopped/runs/vanilla-1/train.log >/dev/null 2>&1; then
            break
        fi
        sleep 0.05
    done
    kill -TERM "$pid"
    wait "$pid" || code=$?
    [ "$code" = 9 ] && grep -q 'longhand compare stopped --resume goes on' stopped.err && [ -f stopped/report.html ]
}
check "a signal saves" stopped
check "and it goes on from another folder" bash -c "cd / && '$longhand' compare '$scratch/stopped' --resume"
equal "to the same end" "$(field stopped/report.json '[x["value"] for x in r["runs"]]')" \
    "$(field whole/report.json '[x["value"] for x in r["runs"]]')"

# A method that does not fit into memory is reported, the other goes on, and the exit code tells.
starved() {
    local code=0
    (ulimit -v 1500000 && "$longhand" compare small.ini --out starved compressive:memory.compressed=16M \
        --budget tokens=2k >/dev/null 2>starved.err) || code=$?
    [ "$code" = 4 ] && grep -q '1 of 2 runs failed; the first is compressive-1: ' starved.err
}
check "a method without memory to live in" starved
equal "the other one is finished" "$(field starved/report.json '[x["status"] for x in r["runs"]]')" \
    "['finished', 'failed']"
check "the page says why" grep -q 'class=bad>[^<]*memory' starved/report.html
check "the table says so" bash -c "'$longhand' compare starved --resume --methods vanilla | grep -q '^vanilla '"

# Every method there is takes part and gets through.
check "all methods" "$longhand" compare small.ini --methods all --budget tokens=2k --out all compare.lengths=64,256
equal "all finish" "$(field all/report.json 'set(x["status"] for x in r["runs"])')" "{'finished'}"
equal "all that say how" "$(field all/report.json '[x["name"] for x in r["methods"]]')" \
    "$(python3 -c 'import sys; print([l.split(":")[0] for l in sys.stdin if l[0] != " "])' < <("$longhand" compare --list-methods))"

# Data with answers is compared by accuracy: what no segment holds, no plain decoder knows.
check "a task" "$longhand" data make copy length=32 plain=1 symbols=4 --rows 300 --validation 10 --test 60 --out copy
check "a comparison on it" "$longhand" compare small.ini --out task data.path=copy data.layout=documents \
    data.reset_at_document=true model.segment=8 compare.memory=24 compare.eval_tokens=0 train.learning_rate=4e-3 \
    train.warmup=30 train.eval_every=0 --methods vanilla,transformer-xl
equal "in accuracy" "$(field task/report.json 'r["unit"], r["training_unit"]')" "('accuracy', 'nats_per_token')"
equal "the plain decoder guesses, the other one knows" \
    "$(field task/report.json '[x["value"] > 0.8 for x in r["runs"]], r["runs"][0]["value"] < 0.5')" "([False, True], True)"
equal "by distance" "$(field task/report.json 'r["runs"][1]["evaluation"]["by_distance"][0]["from"]')" 8
check "the page says what guessing gives" grep -q 'Guessing gives 0.25' task/report.html

# Sentences.
refuses "another budget" 7 'compare.budget = tokens=60k, not tokens=70k' "$longhand" compare small.ini --out whole \
    --budget tokens=70k
refuses "an unknown method" 7 "did you mean 'vanilla'" "$longhand" compare small.ini --methods vanila --out new
refuses "an unknown key" 7 "unknown key 'widht'" "$longhand" compare small.ini model.widht=3 --out new
refuses "a folder without a comparison" 5 'new is no comparison' "$longhand" compare new --resume
refuses "no recipe" 2 'compare needs a recipe' "$longhand" compare
refuses "standard input" 7 'cannot be read again' "$longhand" compare small.ini data.path=- --out new
check "nothing was begun" test ! -e new
check "keys are listed" bash -c "'$longhand' compare --list-keys | grep -q '^  lengths = '"
check "methods are listed" bash -c "'$longhand' compare --list-methods | grep -q '^transformer-xl: '"
for recipe in "$root"/recipes/compare-*.ini; do
    refuses "$(basename "$recipe") is a recipe" 5 'nothing-here' "$longhand" compare "$recipe" data.path=nothing-here --out new
    rm -rf new
done
finish
