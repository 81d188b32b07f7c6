#!/usr/bin/env bash
# A Perceiver AR's training step beside the same in PyTorch, in turns: ROUNDS rounds (default 3) of STEPS steps for each
# number of inputs in INPUTS, then medians and ratios. PyTorch keeps every score, so it needs about 60 kB for each input
# with 1024 latents: 131072 inputs are measured here alone, beside the GEMM peak.
set -euo pipefail
cd "$(dirname "$0")/.."
build="${LH_BUILD:-build}"
rounds="${ROUNDS:-3}" steps="${STEPS:-3}" latents="${LATENTS:-1024}"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

for round in $(seq "$rounds"); do
    for inputs in ${INPUTS:-8192 32768}; do
        echo "round $round: $inputs inputs" >&2
        "$build/bench_perceiver" "$inputs" "$latents" "$steps" >>"$results/$inputs.ours"
        if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
            /usr/bin/python3 bench/support/peer_perceiver.py "$inputs" "$latents" "$steps" >>"$results/$inputs.torch"
        fi
    done
done
for inputs in ${LONG_INPUTS-131072}; do
    "$build/bench_perceiver" "$inputs" "$latents" "$steps" >>"$results/$inputs.ours"
done
/usr/bin/python3 - "$results" <<'PY'
import glob, json, os, statistics, sys

print("%8s %10s %12s %8s %8s %8s | %10s %8s %7s %7s" % ("inputs", "tokens/s", "times bound", "step MB", "B/input", "MB",
                                                       "torch t/s", "MB", "speed", "memory"))
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.ours")), key=lambda p: int(os.path.basename(p)[:-5])):
    ours = [json.loads(line) for line in open(path)]
    median = lambda rows, key: statistics.median(row[key] for row in rows)
    row = "%8s %10.1f %12.2f %8.0f %8.0f %8.0f |" % (os.path.basename(path)[:-5], median(ours, "tokens_per_s"),
                                                   median(ours, "times_bound"), median(ours, "step_mb"),
                                                   median(ours, "bytes_per_input"), median(ours, "resident_mb"))
    peer = path[:-5] + ".torch"
    if os.path.exists(peer):
        theirs = [json.loads(line) for line in open(peer)]
        row += " %10.1f %8.0f %6.2fx %6.2fx" % (
            median(theirs, "tokens_per_s"), median(theirs, "resident_mb"),
            median(ours, "tokens_per_s") / median(theirs, "tokens_per_s"),
            median(ours, "resident_mb") / median(theirs, "resident_mb"))
    print(row)
PY
