#!/usr/bin/env bash
# Training beside PyTorch, in turns, so that a machine whose speed changes changes both: ROUNDS rounds (default 3) of
# bench_train and support/peer_torch.py for each case, then the medians and their ratios. Part of make bench.
set -euo pipefail
cd "$(dirname "$0")/.."
build="${LH_BUILD:-build}"
rounds="${ROUNDS:-3}" steps="${STEPS:-3}"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

#     name                preset               peer            lanes segment unroll  extra
cases="
vanilla-8x512             vanilla-small        vanilla         8     512
vanilla-1x8192            vanilla-small        vanilla         1     8192
compressive-4x512         compressive-small    compressive     4     512
transformer-xl-4x512      transformer-xl-small transformer-xl  4     512
window-1x512              window-small         sliding-window  1     512
memorizing-8k-4x512       memorizing-small     memorizing:8192 4     512
memorizing-64k-1x512      memorizing-small     memorizing:65536 1    512     1      memory.size=65536
block-recurrent-1x4x512   block-recurrent-small block-recurrent 1    512     4
routing-causal-1x2048     routing-small        routing-causal  1     2048
routing-causal-4x2048     routing-small        routing-causal  4     2048
routing-full-1x2048       routing-small        routing-full    1     2048     1       memory.routing=full
"
for round in $(seq "$rounds"); do
    while read -r name preset peer lanes segment unroll extra; do
        [ -n "$name" ] || continue
        echo "round $round: $name" >&2
        "$build/bench_train" "$preset" "$lanes" "$steps" unroll="${unroll:-1}" model.segment="$segment" ${extra:+"$extra"} >>"$results/$name.ours"
        if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
            /usr/bin/python3 bench/support/peer_torch.py "$peer" "$lanes" $((segment * ${unroll:-1})) "$steps" >>"$results/$name.torch"
        fi
    done <<<"$cases"
done
/usr/bin/python3 - "$results" <<'PY'
import glob, json, os, statistics, sys

print("%-22s %10s %8s %7s %7s | %10s %7s %7s" % ("case", "tokens/s", "of GEMM", "eval/tr", "MB", "torch t/s", "MB", "ratio"))
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.ours"))):
    ours = [json.loads(line) for line in open(path)]
    median = lambda rows, key: statistics.median(row[key] for row in rows)
    row = "%-22s %10.0f %7.0f%% %7.2f %7.0f |" % (os.path.basename(path)[:-5], median(ours, "train_tokens_per_s"),
                                                100 * median(ours, "share_of_gemm"), median(ours, "eval_over_train"),
                                                median(ours, "resident_peak_mb"))
    peer = path[:-5] + ".torch"
    if os.path.exists(peer):
        theirs = [json.loads(line) for line in open(peer)]
        row += " %10.0f %7.0f %6.2fx" % (median(theirs, "train_tokens_per_s"), median(theirs, "resident_peak_mb"),
                                         median(ours, "train_tokens_per_s") / median(theirs, "train_tokens_per_s"))
    print(row)
PY
