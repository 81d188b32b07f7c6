#!/bin/bash
# Signals and broken numbers: a stop saves, a second signal ends at once, a NaN leaves the last checkpoint.
. "$(dirname "$0")/_training.sh"

check "the undisturbed run" train "$scratch/whole"

# begun RUN: waits until the run has made some steps.
begun() {
    local waited=0
    until [ -s "$1/metrics.jsonl" ] || [ "$waited" -ge 600 ]; do
        sleep 0.05
        waited=$((waited + 1))
    done
    [ -s "$1/metrics.jsonl" ]
}

# start RUN [section.key=value...]: as train, in the background, with the process id of the command itself in pid.
start() {
    local run=$1
    shift
    "$longhand" train "$scratch/small.ini" "$@" --out "$run" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
}

for signal in INT TERM; do
    run=$scratch/$signal
    code=0
    # A run without end, so that the signal always finds it at work.
    start "$run" train.steps=1000000 train.schedule=constant train.log_every=1
    check "SIG$signal: the run is at work" begun "$run"
    kill -"$signal" "$pid"
    wait "$pid" || code=$?
    equal "SIG$signal: exit code" "$code" 9
    check "SIG$signal: one sentence" grep -q "stopped after step .* --resume goes on" "$scratch/err"
    step=$(sed -n 's/.*stopped after step \([0-9]*\);.*/\1/p' "$scratch/err")
    check "SIG$signal: everything is saved" test -s "$run/checkpoint-$step.safetensors"
    more=$((step + 20))
    check "SIG$signal: goes on" "$longhand" train "$run" --resume train.steps="$more"
    check "SIG$signal: an undisturbed run" train "$run-whole" train.steps="$more" train.schedule=constant \
        train.log_every=1
    check "SIG$signal: ends like it" same "$run-whole" "$run"
done

# A second signal does not wait for the step. Steps of seconds, so that it always comes in the middle of one.
run=$scratch/second
start "$run" model.width=512 model.heads=8 model.hidden=2048 model.segment=256 train.steps=100000 train.log_every=1
sleep 2
kill -TERM "$pid"
sleep 0.2
kill -TERM "$pid" 2>/dev/null
code=0
wait "$pid" || code=$?
if [ "$code" = 9 ]; then
    skip "the step was over before the second signal came"
else
    equal "a second signal ends the process" "$code" 143
fi

# Steps of 1e6 times the gradient overflow within a few iterations.
run=$scratch/wild
code=0
train "$run" train.optimizer=sgd train.clip=0 train.learning_rate=1e6 train.warmup=30 train.checkpoint_every=1 \
    train.eval_every=0 >"$scratch/out" 2>"$scratch/err" || code=$?
equal "broken numbers: exit code" "$code" 8
check "broken numbers: one sentence with step and tensor" grep -qE "^longhand: step [0-9]+: .*'[^']+'" "$scratch/err"
equal "broken numbers: one line" "$(wc -l <"$scratch/err")" 1
last=$(ls "$run" | sed -n 's/^checkpoint-\([0-9]*\)\.safetensors$/\1/p' | sort -n | tail -n 1)
check "broken numbers: there is a checkpoint" test -n "$last"
check "broken numbers: it is whole" python3 - "$run/checkpoint-$last.safetensors" <<'PY'
import json, math, struct, sys
data = open(sys.argv[1], "rb").read()
size, = struct.unpack("<Q", data[:8])
for name, entry in json.loads(data[8:8 + size]).items():
    if name != "__metadata__" and entry["dtype"] == "F32":
        begin, end = entry["data_offsets"]
        values = struct.unpack("<%df" % ((end - begin) // 4), data[8 + size + begin:8 + size + end])
        assert all(map(math.isfinite, values)), name
PY

# A run cannot be trained by two processes at once, nor by another recipe.
run=$scratch/one
start "$run" train.steps=1000000 train.schedule=constant
check "a run at work" begun "$run"
refuses "a second process" 7 "another process is training" train "$run" train.steps=1000000 train.schedule=constant
kill -9 "$pid"
wait "$pid" 2>/dev/null
refuses "another recipe" 7 "train.seed = 1, not 2" train "$run" train.steps=1000000 train.schedule=constant train.seed=2
finish
