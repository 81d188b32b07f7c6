#!/usr/bin/env bash
# Training of transformer-vq-small beside PyTorch, in turns, so that a machine whose speed changes changes both: ROUNDS
# rounds (default 3), then the medians and their ratios. An update is four segments in one graph. Part of make bench.
set -euo pipefail
cd "$(dirname "$0")/.."
build="${LH_BUILD:-build}"
rounds="${ROUNDS:-3}" steps="${STEPS:-2}"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
for round in $(seq "$rounds"); do
    for lanes in 1 4; do
        echo "round $round: $lanes lanes" >&2
        "$build/longhand" bench transformer-vq-small --lanes "$lanes" --steps "$steps" --decode 0 --json \
            train.unroll=4 | tr -d '\n' >>"$results/$lanes.ours"
        echo >>"$results/$lanes.ours"
        if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
            /usr/bin/python3 bench/support/peer_torch_vq.py "$lanes" 4 "$steps" >>"$results/$lanes.torch"
        fi
    done
done
/usr/bin/python3 - "$results" <<'PY'
import glob, json, os, statistics, sys

print("%-24s %9s %8s %6s | %9s %6s | %6s %6s" % ("transformer-vq-small", "tokens/s", "of GEMM", "MB", "torch t/s", "MB",
                                               "speed", "memory"))
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.ours"))):
    ours = [json.loads(line) for line in open(path)]
    median = lambda rows, key: statistics.median(row[key] for row in rows)
    row = "%-24s %9.0f %7.0f%% %6.0f |" % (os.path.basename(path)[:-5] + " lanes, 4 segments",
                                          median(ours, "train_tokens_per_s"), 100 * median(ours, "share_of_gemm"),
                                          median(ours, "resident_peak_mb"))
    peer = path[:-5] + ".torch"
    if os.path.exists(peer):
        theirs = [json.loads(line) for line in open(peer)]
        row += " %9.0f %6.0f | %5.2fx %5.2fx" % (median(theirs, "train_tokens_per_s"), median(theirs, "resident_peak_mb"),
                                              median(ours, "train_tokens_per_s") / median(theirs, "train_tokens_per_s"),
                                              median(ours, "resident_peak_mb") / median(theirs, "resident_peak_mb"))
    print(row)
PY
