#!/bin/bash
# Copying across blocks with the Block-Recurrent Transformer: a row begins with 8 of 16 symbols, 4 to 16 blocks of
# filler follow, then the symbols are asked for. Two layers reach 64 tokens; only the state can know. It is to name
# more than 95 % of them, a sliding window and a state that is cleared between writing and reading 1 in 16.
# Rows with three blocks of filler come first: on long ones alone nothing is learned for thousands of steps, since few
# gradients reach from an answer back to its symbol.
#   STEPS=n on the rows (default 1600; WINDOW_STEPS for the window, default as many), FIRST_STEPS=n on short ones
#   (default 4000)   WORK=folder (default: a temporary one)
# Smaller or larger, each with its default:
#   MARKERS=8 SYMBOLS=16 FILLER=512 VARY=384   the rows; FILLER - VARY has to stay above what two layers reach, 2 BLOCK
#   BLOCK=32   tokens of a block and of the window     UNROLL=8   blocks of one graph     GATE=fixed
#   WIDTH=128  BATCH=32  RATE=1e-3  STATES=16
set -euo pipefail
cd "$(dirname "$0")/../.."
longhand="${LH_BUILD:-build}/longhand"
steps="${STEPS:-1600}" first_steps="${FIRST_STEPS:-4000}"
markers="${MARKERS:-8}" symbols="${SYMBOLS:-16}" filler="${FILLER:-512}" vary="${VARY:-384}"
block="${BLOCK:-32}" width="${WIDTH:-128}"
if [ $((filler - vary)) -le $((2 * block)) ]; then
    echo "block-recurrent-copy: the shortest filler, $((filler - vary)), is within reach of two windows of $block"
    exit 1
fi
work="${WORK:-$(mktemp -d)}"
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"

make_rows() { # folder, filler, vary
    [ -d "$work/$1" ] || "$longhand" data make marker markers="$markers" symbols="$symbols" filler="$2" vary="$3" noise=1 \
        --out "$work/$1" --quiet
}
make_rows data "$filler" "$vary"
make_rows short $((3 * block)) $((block - 4))
shared=(data.layout=documents data.reset_at_document=true data.batch="${BATCH:-32}"
    model.layers=2 model.width="$width" model.heads=4 model.hidden=$((4 * width)) model.segment="$block"
    model.logit_scale="$(/usr/bin/python3 -c "print($width ** -0.5)")" memory.window="$block" train.clip=1 train.eval_every="${EVERY:-0}"
    train.checkpoint_every=500)

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

cell=(memory.kind=block-recurrent memory.states="${STATES:-16}" memory.gate="${GATE:-fixed}" memory.recurrent_layers=-1)
rows=(data.path="$work/data" train.unroll="${UNROLL:-8}" train.warmup=100)
rate="${RATE:-1e-3}"
run first "${cell[@]}" data.path="$work/short" train.unroll=4 train.learning_rate="$rate" train.warmup=200 \
    train.schedule=constant train.steps="$first_steps"
run state "${cell[@]}" "${rows[@]}" train.learning_rate="$(/usr/bin/python3 -c "print($rate / 2)")" train.steps="$steps" \
    train.init_from="$work/first"
run window memory.detach=false "${rows[@]}" train.learning_rate="$rate" train.steps="${WINDOW_STEPS:-$steps}"
state=$(accuracy state)
cleared=$(accuracy state memory.clear_every=2)
window=$(accuracy window)
echo "right answers: state $state, state cleared every two blocks $cleared, sliding window $window (one of $symbols by guessing)"
/usr/bin/python3 - "$state" "$cleared" "$window" "$symbols" <<'PY'
import sys
state, cleared, window, symbols = map(float, sys.argv[1:])
guess = 1 / symbols + 0.0575
sys.exit(not (state > 0.95 and cleared < guess and window < guess))
PY
