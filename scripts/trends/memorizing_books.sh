#!/bin/bash
# What a store of old keys is worth on books, byte by byte, at equal steps: a decoder that sees its segment only, a window
# that reaches into the segment before, and the same with a store of 2,048 and of 8,192 rows are each to need fewer bits
# per byte than the one before, the last one 0.5 % fewer than the window. 8 neighbours are to be as good as 32 within
# 0.3 %, and a store that a trained window is given is to help it in a tenth of the steps, beside the window that goes on
# as long without one.
#   DATA=folder of books (needed)   TEST=a book that is not among them   STEPS=n (default 20000)   WORK=folder
#   LAYERS=6 WIDTH=256 SEGMENT=512 (of which the window has as many)   BATCH=8 RATE=1e-3   TEST_TOKENS=n (0: the book)
set -euo pipefail
cd "$(dirname "$0")/../.."
longhand="${LH_BUILD:-build}/longhand"
steps="${STEPS:-20000}"
width="${WIDTH:-256}" segment="${SEGMENT:-512}"
work="${WORK:-$(mktemp -d)}"
if [ -z "${DATA:-}" ] || [ -z "${TEST:-}" ]; then
    echo "memorizing_books: set DATA to a folder of books and TEST to one that is not in it"
    exit 77
fi
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"

[ -d "$work/data" ] || "$longhand" data prepare "$DATA" "$work/data" --by bytes >/dev/null
shared=(data.path="$work/data" data.layout=documents data.reset_at_document=true data.batch="${BATCH:-8}"
    model.layers="${LAYERS:-6}" model.width="$width" model.heads=4 model.hidden=$((4 * width)) model.segment="$segment"
    model.logit_scale="$(/usr/bin/python3 -c "print($width ** -0.5)")"
    train.learning_rate="${RATE:-1e-3}" train.warmup=$((steps / 20)) train.eval_every=0 train.checkpoint_every=1000)

run() { # name, then what is its own
    local name=$1
    shift
    [ -f "$work/$name/done" ] ||
        { "$longhand" train memorizing-tiny "${shared[@]}" train.steps="$steps" "$@" --out "$work/$name" --quiet >/dev/null &&
            touch "$work/$name/done"; }
    local score
    score=$("$longhand" eval "$work/$name" --data "$TEST" --protocol book --limit-tokens "${TEST_TOKENS:-0}" --json --quiet |
        /usr/bin/python3 -c 'import json, sys; print("%.4f" % json.load(sys.stdin)["bits_per_byte"])')
    printf '%-14s %s bits per byte, %s seconds\n' "$name" "$score" $((SECONDS - started))
    started=$SECONDS
    result+=("$name=$score")
}
store=(memory.kind=memorizing memory.window="$segment" memory.neighbours=32)
window=(memory.kind=window memory.window="$segment")
again=(train.init_from="$work/window" train.steps=$((steps / 10)) train.warmup=$((steps / 100)))
result=()
started=$SECONDS
run none memory.kind=none
run window "${window[@]}"
run store-2k "${store[@]}" memory.size=2048
run store-8k "${store[@]}" memory.size=8192
run longer "${window[@]}" "${again[@]}"
run retrofit "${store[@]}" memory.size=8192 "${again[@]}"
run store-8k-k8 "${store[@]}" memory.size=8192 memory.neighbours=8
/usr/bin/python3 - "${result[@]}" <<'PY'
import sys

bits = {name: float(value) for name, value in (word.split("=") for word in sys.argv[1:])}
wins = [("the window beats the segment", bits["window"] < bits["none"]),
        ("a store of 2,048 beats the window", bits["store-2k"] < bits["window"]),
        ("a store of 8,192 beats one of 2,048", bits["store-8k"] < bits["store-2k"]),
        ("it beats the window by 0.5 %", bits["store-8k"] <= 0.995 * bits["window"]),
        ("8 neighbours are within 0.3 % of 32", abs(bits["store-8k-k8"] - bits["store-8k"]) <= 0.003 * bits["store-8k"]),
        ("a store given later helps", bits["retrofit"] < bits["longer"])]
for what, true in wins:
    print("%-36s %s" % (what, "yes" if true else "NO"))
sys.exit(not all(true for _, true in wins))
PY
