#!/bin/bash
# What a state is worth on books, byte by byte: width 256, 6 layers of which the fifth is recurrent, blocks of 128, equal
# steps. The fixed-gate skip cell is to beat a sliding window of 7 layers by 0.5 % of the bits per byte, no gate is to
# beat the fixed one, 128 states 16, and the lead is to grow with the position in the book.
#   DATA=folder of books (needed)   TEST=a book that is not among them   STEPS=n (default 20000)   WORK=folder
set -euo pipefail
cd "$(dirname "$0")/../.."
longhand="${LH_BUILD:-build}/longhand"
steps="${STEPS:-20000}"
work="${WORK:-$(mktemp -d)}"
if [ -z "${DATA:-}" ] || [ -z "${TEST:-}" ]; then
    echo "block-recurrent-books: set DATA to a folder of books and TEST to one that is not in it"
    exit 77
fi
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"

shared=(data.path="$DATA" data.layout=documents data.reset_at_document=true data.batch="${BATCH:-8}"
    model.layers=6 model.width=256 model.heads=4 model.hidden=1024 model.segment=128 model.logit_scale=0.0625
    memory.window=128 train.unroll=8 train.steps="$steps" train.optimizer=adafactor train.schedule=inverse-sqrt
    train.learning_rate=0.0316 train.warmup="${WARMUP:-1000}" train.clip=0 train.eval_every=0 train.checkpoint_every=1000)

run() {
    local name=$1
    shift
    [ -f "$work/$name/done" ] || { "$longhand" train window-small "${shared[@]}" "$@" --out "$work/$name" --quiet && touch "$work/$name/done"; }
}
state=(memory.kind=block-recurrent memory.recurrent_layers=-2)
run window-7 model.layers=7 memory.detach=false
run fixed "${state[@]}" memory.states=128
run lstm "${state[@]}" memory.states=128 memory.gate=lstm
run fixed-16 "${state[@]}" memory.states=16
evaluate() { # result file, run, overrides
    local out=$1 name=$2
    shift 2
    "$longhand" eval "$work/$name" --data "$TEST" --protocol book --by-position --position-bin 16384 --json "$@" >"$work/$out.json"
}
for name in window-7 fixed lstm fixed-16; do
    evaluate "$name" "$name"
done
evaluate fixed-cleared fixed memory.clear_every=1
/usr/bin/python3 - "$work" <<'PY'
import json, sys

results = {}
for name in ("window-7", "fixed", "lstm", "fixed-16", "fixed-cleared"):
    result = json.load(open("%s/%s.json" % (sys.argv[1], name)))
    bins = result["by_position"]
    early = bins[0]
    late = {key: sum(b[key] for b in bins[1:]) for key in ("nats", "bytes")}
    results[name] = [result["bits_per_byte"]] + [b["nats"] / b["bytes"] / 0.6931471805599453 if b["bytes"] else float("nan")
                                                 for b in (early, late)]
print("%-16s %10s %12s %12s" % ("", "bpb", "first 16 Ki", "beyond"))
for name, row in results.items():
    print("%-16s %10.4f %12.4f %12.4f" % (name, *row))
window, fixed, lstm, few = (results[k] for k in ("window-7", "fixed", "lstm", "fixed-16"))
wins = [("fixed beats the window by 0.5 %", fixed[0] <= 0.995 * window[0]), ("fixed is no worse than lstm", fixed[0] <= lstm[0]),
        ("128 states are no worse than 16", fixed[0] <= few[0]), ("the lead grows", window[2] - fixed[2] > window[1] - fixed[1])]
for what, true in wins:
    print("%-36s %s" % (what, "yes" if true else "NO"))
sys.exit(not all(true for _, true in wins))
PY
