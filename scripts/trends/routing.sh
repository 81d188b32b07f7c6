#!/bin/bash
# Routing Transformers on one text, 4 layers, windows of 512 bytes, equal steps: clusters stay filled and neither burst nor collapse;
# routing in half of the heads of the upper layers is no worse than local heads alone, and routing everywhere is worse than that.
# How much a model trained with the published choice of clusters (memory.routing = full) owes to later bytes: the same weights
# with clusters chosen from what was read so far.
#   TEXT=file STEPS=500 scripts/trends/routing.sh      TEXT: some megabytes of text, such as enwik8's first 5 MB
set -eu
cd "$(dirname "$0")/../.."
longhand=${LH_BUILD:-build}/longhand
steps=${STEPS:-500} tokens=${TOKENS:-100000}
export OMP_WAIT_POLICY=passive
if [ -z "${TEXT:-}" ] || [ ! -f "$TEXT" ]; then
    echo "routing: set TEXT to a file of some megabytes"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$longhand" data prepare "$TEXT" "$folder/text" --by bytes >/dev/null

train() {
    local name=$1
    shift
    "$longhand" train routing-tiny data.path="$folder/text" data.layout=crops data.batch=8 train.steps="$steps" train.eval_every=0 \
        train.learning_rate=2e-3 train.warmup=50 model.width=128 model.hidden=512 model.segment=512 memory.clusters=8 \
        memory.cluster_size=64 memory.block=32 memory.look_back=32 memory.distance=63 "$@" --quiet --out "$folder/$name" >/dev/null
}

# measure RUN WHAT [KEY=VALUE]: of the validation split's first $tokens bytes
measure() {
    local run=$1 what=$2
    shift 2
    "$longhand" eval "$folder/$run" --data "$folder/text" --split validation --limit-tokens "$tokens" --quiet --json "$@" |
        /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$what"
}

train half memory.routing_heads=2 memory.skip_first=2
train local memory.routing_heads=0
train everywhere memory.routing_heads=4 memory.skip_first=0
train full memory.routing_heads=2 memory.skip_first=2 memory.routing=full
/usr/bin/python3 - "$folder/half/metrics.jsonl" "$folder/full/metrics.jsonl" \
    "$(measure half bits_per_byte)" "$(measure local bits_per_byte)" "$(measure everywhere bits_per_byte)" \
    "$(measure full nats_per_token)" "$(measure full nats_per_token memory.routing=prefix)" <<'PY'
import json
import sys

faults = []
for path, name in zip(sys.argv[1:3], ("causal", "full")):
    last = {}
    for line in open(path):
        last.update({key: value for key, value in json.loads(line).items() if "/clusters_" in key})
    if not last:
        faults.append("no figures of clusters in metrics.jsonl")
    for key, value in sorted(last.items()):
        print("%s, %s: %.3f" % (name, key, value))
        low = {"clusters_filled": None, "clusters_smallest": 0, "clusters_tight": 0.05}[key.rsplit("/", 1)[1]]
        if low is not None and not low < value <= 1:  # clusters_filled is shown only
            faults.append("%s, %s is not between %g and 1" % (name, key, low))
half, local, everywhere, full, prefix = map(float, sys.argv[3:])
print("bits per byte: local %.4f, half of the heads in the upper layers %.4f, all heads everywhere %.4f" % (local, half, everywhere))
print("nats per byte, trained with full: %.4f, the same weights with prefix %.4f, a gap of %.4f" % (full, prefix, prefix - full))
if not half <= local:
    faults.append("routing is worse than local heads")
if not everywhere > half:
    faults.append("routing everywhere is no worse than in half of the heads")
print("\n".join(faults) or "as published")
sys.exit(1 if faults else 0)
PY
