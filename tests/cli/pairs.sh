#!/bin/bash
# Pairs of a source and its target from the command line: prepare, train, go on, evaluate, write.
# shellcheck source=tests/cli/_lib.sh
. "$(dirname "$0")/_lib.sh"
cd "$scratch" || exit 1
export LH_QUIET=1

# Sources of numbers in words, whose first and last are the target.
python3 - <<'PY'
import json, random
random.seed(3)
words = "one two three four five six seven eight nine ten".split()
for name, count in (("train", 120), ("valid", 12), ("test", 12)):
    with open(f"{name}.jsonl", "w") as file:
        for _ in range(count):
            source = [random.choice(words) for _ in range(random.randint(6, 14))]
            file.write(json.dumps({"article": " ".join(source), "abstract": source[0] + " " + source[-1]}) + "\n")
with open("texts.txt", "w") as file:
    file.write("\n".join(" ".join(random.choice(words) for _ in range(12)) for _ in range(60)))
PY
mkdir articles
mv ./*.jsonl articles
small=(model.width=32 model.heads=2 model.hidden=32 model.segment=4 memory.source=10 memory.routing_heads=1 memory.clusters=2
    memory.block=8 memory.look_back=8 memory.skip_first=0 data.path=data data.batch=4 train.threads=1
    train.checkpoint_every=3 train.eval_every=3 train.log_every=3
    train.warmup=1 train.schedule=constant)

check "a tokenizer" "$longhand" tokenizer train texts.txt --vocab-size 320 --out tokenizer.json
check "pairs" "$longhand" data prepare articles data --pairs --tokenizer tokenizer.json
"$longhand" data prepare articles short --pairs --tokenizer tokenizer.json --source-tokens 4 2>.notes >/dev/null
check "sources that are cut are counted" grep -q "sources were cut to their first 4 tokens" .notes
check "targets are answers" grep -q '"answers"' data/dataset.json
refuses "no tokenizer" 7 "end-of-text token" "$longhand" data prepare articles other --pairs
refuses "another key" 6 'line 1 of articles/train.jsonl has no string under the key "summary"' \
    "$longhand" data prepare articles other --pairs --tokenizer tokenizer.json --target-field summary
refuses "an option of texts" 2 "--field does not go with --pairs" "$longhand" data prepare articles other --pairs --field text

check "training" "$longhand" train routing-pairs-tiny "${small[@]}" train.steps=6 --out whole
check "the beginning of it" "$longhand" train routing-pairs-tiny "${small[@]}" train.steps=3 --out parts
check "the rest" "$longhand" train parts train.steps=6 --resume
check "which is the same to the bit" python3 "$root/tests/fault/_compare.py" whole parts
check "sources that were too long are counted" grep -q '"train/sources_cut": [1-9]' whole/metrics.jsonl
refuses "a text is no pair" 7 "has no pairs" "$longhand" train routing-pairs-tiny data.path=texts.txt train.steps=1 --out no

check "evaluation" "$longhand" eval whole --json
"$longhand" eval whole --json >one.json 2>/dev/null
"$longhand" eval whole --json --lanes 3 >three.json 2>/dev/null
equal "documents side by side change nothing" "$(python3 -c 'import json; print(round(json.load(open("three.json"))["nats"], 3))')" \
    "$(python3 -c 'import json; print(round(json.load(open("one.json"))["nats"], 3))')"
refuses "a text is no pair" 7 "evaluated on pairs" "$longhand" eval whole --data texts.txt

echo -n "three one four one five nine two six" >article.txt
check "a text beside a source" "$longhand" generate whole --source-file article.txt -n 5 --temperature 0
"$longhand" generate whole --source-file article.txt -n 7 --temperature 0 --ignore-end >seven.txt 2>/dev/null
"$longhand" generate whole --source "$(cat article.txt)" -n 3 --temperature 0 --ignore-end --save-session place >three.txt 2>/dev/null
"$longhand" generate whole --load-session place -n 4 --temperature 0 --ignore-end >>three.txt 2>/dev/null
check "a session goes on beside its source" cmp seven.txt three.txt
"$longhand" generate whole -n 3 2>.notes >/dev/null
equal "no source is a wrong use" $? 2
check "and says so" grep -q "give --source-file or --source" .notes
check "what it is" "$longhand" info whole

# Cross attention in clusters and blocks, which belongs to the weights.
sparse=("${small[@]}" model.segment=8 memory.block=4 memory.look_back=0 memory.cross_attention=blocks memory.cross_routing_heads=1)
check "training in clusters and blocks of the source" "$longhand" train routing-pairs-tiny "${sparse[@]}" train.steps=6 --out sparse
check "the beginning of it" "$longhand" train routing-pairs-tiny "${sparse[@]}" train.steps=3 --out halves
check "the rest" "$longhand" train halves train.steps=6 --resume
check "which is the same to the bit" python3 "$root/tests/fault/_compare.py" sparse halves
check "its clusters are watched" grep -q '"memory/layer0/cross_clusters_filled"' sparse/metrics.jsonl
check "evaluation" "$longhand" eval sparse --json
"$longhand" eval sparse memory.routing=full >.notes 2>&1
check "the published choice is no likelihood" grep -q "no causal likelihood" .notes
"$longhand" generate sparse --source-file article.txt -n 7 --temperature 0 --ignore-end >seven_sparse.txt 2>/dev/null
"$longhand" generate sparse --source-file article.txt -n 3 --temperature 0 --ignore-end --save-session sparse_place >three_sparse.txt 2>/dev/null
"$longhand" generate sparse --load-session sparse_place -n 4 --temperature 0 --ignore-end >>three_sparse.txt 2>/dev/null
check "a session goes on" cmp seven_sparse.txt three_sparse.txt
refuses "other weights" 7 "memory.cross_attention" "$longhand" eval whole memory.cross_attention=blocks
refuses "choosing so far, without shared keys" 7 "set it to causal" "$longhand" eval sparse memory.routing=prefix

if [ -f "$LH_BUILD/liblonghand.so" ]; then # not in every build
    export PYTHONPATH=$root/python LONGHAND_LIBRARY=$LH_BUILD/liblonghand.so PYTHONDONTWRITEBYTECODE=1
    check "Python writes the same beside a source" python3 - <<'PY'
import longhand
expected = open("seven.txt", "rb").read().decode("utf-8", "replace").rstrip("\n")
with longhand.Model("whole") as model, longhand.Session(model) as session:
    beside = dict(temperature=0, ignore_end=True)
    source = open("article.txt").read()
    first = "".join(session.generate(tokens=3, source=source, **beside)) + "".join(session.generate(tokens=4, **beside))
    again = "".join(session.generate(tokens=7, source=source, **beside))
assert expected and first == expected and again == expected, (expected, first, again)
PY
fi
finish
