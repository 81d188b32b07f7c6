#!/bin/bash
# kill -9 at random instants, the preparation of the text included: a run that is taken up again ends with the same
# parameters, bit for bit, as the run that was never killed. LH_SEED repeats a sequence of instants.
. "$(dirname "$0")/_training.sh"
RANDOM=${LH_SEED:-$$}
echo "LH_SEED=${LH_SEED:-$$}"

begun=$(date +%s%N)
check "the undisturbed run" train "$scratch/whole"
span=$((($(date +%s%N) - begun) / 1000000))
echo "the undisturbed run takes $span ms"

# killed RUN: starts or takes up the run and kills it within the time that the whole run takes. Succeeds if it was
# killed, fails if it had ended before.
killed() {
    local instant=$(((RANDOM * 32768 + RANDOM) % span + 1)) pid code=0
    "$longhand" train "$scratch/small.ini" --out "$1" >/dev/null 2>"$scratch/killed.err" &
    pid=$!
    sleep "$(printf '%d.%03d' $((instant / 1000)) $((instant % 1000)))"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null || code=$?
    [ "$code" = 137 ]
}

hits=0
for number in $(seq 1 20); do
    run=$scratch/killed-$number
    killed "$run" && hits=$((hits + 1))
    check "run $number goes on after kill -9" train "$run"
    check "run $number ends like the undisturbed one" same "$scratch/whole" "$run"
    rm -rf "$run"
done
echo "$hits of 20 runs were killed before their end"
# How many are hit depends on how busy the machine is; that some are is what makes the test one.
check "some runs were really killed" test "$hits" -ge 3

# One run that is killed again and again until it gets through.
run=$scratch/persistent
again=0
while killed "$run" && [ "$again" -lt 200 ]; do
    again=$((again + 1))
done
echo "one run was killed $again times"
check "it goes on" train "$run"
check "and ends like the undisturbed one" same "$scratch/whole" "$run"
finish
