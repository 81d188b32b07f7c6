#!/bin/bash
# Runs every fuzz target for a short while, from the seeds of tests/fuzz/seeds/<target>. The last line is
# "N passed, N failed"; a failing input is kept in build-fuzz/findings.
#   scripts/fuzz.sh [SECONDS per target] [TARGET ...]    e.g. scripts/fuzz.sh 3600 fuzz_tokenizer for a long hunt
#   LH_JOBS   how many targets run at once
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${1:-6}
[ $# = 0 ] || shift
scripts/build.sh fuzz || { echo "0 passed, 1 failed"; exit 1; }
. scripts/sanitizers.sh

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in tests/fuzz/fuzz_*.c; do
        [ ! -e "$file" ] || targets+=("$(basename "$file" .c)")
    done
fi
mkdir -p build-fuzz/findings build-fuzz/corpus
export seconds

# New inputs go to build-fuzz/corpus, which lives on, the seeds stay as they are.
fuzz_one() {
    local target=$1 corpus=build-fuzz/corpus/$1 log=build-fuzz/$1.log seeds=tests/fuzz/seeds/$1 code=0
    mkdir -p "$corpus"
    timeout -k 5 $((seconds + 60)) "build-fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3000 \
        -print_final_stats=1 -artifact_prefix="build-fuzz/findings/$target-" "$corpus" \
        $([ ! -d "$seeds" ] || echo "$seeds") >"$log" 2>&1 </dev/null || code=$?
    if [ "$code" = 0 ]; then
        printf 'ok   %-32s %s inputs, %s seeds\n' "$target" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(find "$seeds" -type f 2>/dev/null | wc -l)"
    else
        echo "FAIL $target (exit code $code)"
        tail -n 60 "$log"
    fi
}
export -f fuzz_one
results=$(printf '%s\n' "${targets[@]}" | sed '/^$/d' |
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 xargs -r -P "${LH_JOBS:-$(nproc)}" -I{} bash -c 'fuzz_one {}')
[ -z "$results" ] || echo "$results"
passed=$(grep -c '^ok ' <<<"$results")
failed=$(grep -c '^FAIL ' <<<"$results")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
