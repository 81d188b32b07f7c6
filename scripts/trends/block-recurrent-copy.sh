#!/bin/bash
# Copying across blocks with the Block-Recurrent Transformer: a row begins with 8 of 16 symbols, 4 to 16 blocks of
# filler follow, then the symbols are asked for. Two layers reach 64 tokens; only the state can know. It is to name
# more than 95 % of them, a sliding window and a state that is cleared between writing and reading 1 in 16.
#   STEPS=n (default 8000)   WORK=folder (default: a temporary one)
set -euo pipefail
cd "$(dirname "$0")/../.."
longhand="${LH_BUILD:-build}/longhand"
steps="${STEPS:-8000}"
work="${WORK:-$(mktemp -d)}"
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"

[ -d "$work/data" ] || "$longhand" data make marker markers=8 symbols=16 filler=512 vary=384 noise=1 --out "$work/data" --quiet
shared=(data.path="$work/data" data.layout=documents data.reset_at_document=true data.batch=32
    model.layers=2 model.width=128 model.heads=4 model.hidden=512 model.segment=32 model.logit_scale=0.08838834764
    memory.window=32 train.unroll=8 train.steps="$steps" train.learning_rate=1e-3 train.warmup=200 train.clip=1
    train.eval_every=0 train.checkpoint_every=500)

run() { # name, then what is its own
    local name=$1
    shift
    [ -f "$work/$name/done" ] || { "$longhand" train window-small "${shared[@]}" "$@" --out "$work/$name" --quiet && touch "$work/$name/done"; }
}
accuracy() { # run, then overrides
    local name=$1
    shift
    "$longhand" eval "$work/$name" --data "$work/data" --protocol book --json "$@" |
        /usr/bin/python3 -c 'import json, sys; print("%.4f" % json.load(sys.stdin)["accuracy"])'
}

run state memory.kind=block-recurrent memory.states=16 memory.recurrent_layers=-1
run window memory.detach=false
state=$(accuracy state)
cleared=$(accuracy state memory.clear_every=2)
window=$(accuracy window)
echo "right answers: state $state, state cleared every two blocks $cleared, sliding window $window (guessing: 0.0625)"
/usr/bin/python3 - "$state" "$cleared" "$window" <<'PY'
import sys
state, cleared, window = map(float, sys.argv[1:])
sys.exit(not (state > 0.95 and cleared < 0.12 and window < 0.12))
PY
