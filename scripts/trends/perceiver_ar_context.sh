#!/bin/bash
# Perceiver AR on one text: 256 latents that see 256, 512 and 2048 bytes cost less and less, and the gain shrinks; hiding half
# of the inputs in training narrows the gap between what was trained on and what was not.
#   TEXT=file STEPS=4000 scripts/trends/perceiver_ar_context.sh      TEXT: some megabytes of text, such as enwik8's first 10 MB
set -eu
cd "$(dirname "$0")/../.."
longhand=${LH_BUILD:-build}/longhand
steps=${STEPS:-4000}
export OMP_WAIT_POLICY=passive
if [ -z "${TEXT:-}" ] || [ ! -f "$TEXT" ]; then
    echo "perceiver_ar_context: set TEXT to a file of some megabytes"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$longhand" data prepare "$TEXT" "$folder/text" --by bytes >/dev/null

# field RUN SPLIT: bits per byte of the first 200,000 tokens, each scored behind at least half of the latents
field() {
    "$longhand" eval "$1" --data "$folder/text" --split "$2" --protocol strided --limit-tokens 200000 --json |
        /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["bits_per_byte"])'
}

train() {
    local name=$1
    shift
    "$longhand" train recipes/perceiver-ar-book.ini data.path="$folder/text" train.minutes=0 train.steps="$steps" train.eval_every=0 \
        memory.cross_dropout=0 "$@" --quiet --out "$folder/$name" >/dev/null
}

train near memory.inputs=256 model.rope_base=256
train middle memory.inputs=512 model.rope_base=512
train far memory.inputs=2048
train dropped memory.inputs=2048 memory.cross_dropout=0.5
near=$(field "$folder/near" validation) middle=$(field "$folder/middle" validation) far=$(field "$folder/far" validation)
dropped=$(field "$folder/dropped" validation)
seen=$(field "$folder/far" train) seen_dropped=$(field "$folder/dropped" train)
/usr/bin/python3 - "$near" "$middle" "$far" "$dropped" "$seen" "$seen_dropped" <<'PY'
import sys

near, middle, far, dropped, seen, seen_dropped = map(float, sys.argv[1:])
print("bits per byte: 256 inputs %.4f, 512 %.4f, 2048 %.4f" % (near, middle, far))
print("gap between training and validation: %.4f, with half of the inputs hidden %.4f" % (far - seen, dropped - seen_dropped))
faults = []
if not near > middle > far:
    faults.append("more inputs do not help")
if not near - middle > (middle - far) / 2:  # two doublings stand against one
    faults.append("the gain of a doubling does not shrink")
if not dropped - seen_dropped < far - seen:
    faults.append("hiding inputs does not narrow the gap")
print("\n".join(faults) or "as published")
sys.exit(1 if faults else 0)
PY
