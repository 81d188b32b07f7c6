#!/bin/bash
# Perceiver AR copies over a thousand tokens with 128 latents, more than 99 % of the answers; the same model that sees only its
# latents guesses. STEPS (default 8000) of batches of 16 rows for the first, a quarter of that for the second; LENGTH
# (default 1024) of a row; LATENTS (default 128); EVERY=n shows validation on the way, in metrics.jsonl of WORK=folder (default: a
# temporary one).
set -eu
cd "$(dirname "$0")/../.."
longhand=${LH_BUILD:-build}/longhand
steps=${STEPS:-8000} length=${LENGTH:-1024} latents=${LATENTS:-128}
export OMP_WAIT_POLICY=passive
folder=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] || trap 'rm -rf "$folder"' EXIT
[ -d "$folder/rows" ] || "$longhand" data make copy length="$length" --out "$folder/rows" >/dev/null

accuracy() {
    local name=$1 inputs=$2 steps=$3
    "$longhand" train recipes/perceiver-ar-copy.ini data.path="$folder/rows" data.batch=16 model.width=256 model.layers=2 \
        model.segment="$latents" memory.inputs="$inputs" memory.position_rows=$((length + 1)) train.steps="$steps" \
        train.eval_every="${EVERY:-0}" train.eval_tokens=8k --quiet --out "$folder/$name" >/dev/null
    "$longhand" eval "$folder/$name" --data "$folder/rows" --split test --protocol strided --window "$inputs" \
        --limit-tokens $((64 * length)) --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["accuracy"])'
}

far=$(accuracy far "$length" "$steps")
near=$(accuracy near "$latents" $((steps / 4)))
echo "accuracy: $far with $length inputs, $near with $latents"
/usr/bin/python3 -c "import sys; sys.exit(0 if $far > 0.99 and $near < 0.3 else 1)"
