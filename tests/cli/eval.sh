#!/bin/bash
# What longhand eval says of methods that never forget entirely: no window is their usual one, and their memory counts
# as full when what they remember one by one is.
. "$(dirname "$0")/_lib.sh"
cd "$scratch" || exit 1
export LH_QUIET=1 OMP_NUM_THREADS=1
seq 1 4000 >text.txt

for preset in transformer-vq-tiny block-recurrent-tiny; do
    check "$preset trains" "$longhand" train "$preset" model.layers=3 model.width=32 model.heads=2 data.path=text.txt data.batch=1 \
        train.unroll=2 train.steps=2 train.eval_tokens=0 --out "$preset"
    refuses "$preset has no usual window" 2 "give --window N" "$longhand" eval "$preset" --data text.txt --protocol strided
    check "$preset reads windows that are given" "$longhand" eval "$preset" --data text.txt --protocol strided --window 256 \
        --limit-tokens 600
    "$longhand" eval "$preset" --data text.txt --warm-start --json >"$preset.json"
    check "$preset has full memories" /usr/bin/python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
sys.exit(not 0 < v["with_full_memories"]["tokens"] < v["tokens"])' "$preset.json"
    check "$preset reaches back to the beginning" grep -q '"reach": null' <("$longhand" info "$preset" --json)
done
equal "a state that is cleared reaches no further" "$("$longhand" info block-recurrent-small memory.clear_every=3 --json |
    /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["reach"])')" 1536
finish
