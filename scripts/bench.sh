#!/bin/bash
# Builds and runs the benchmarks; each prints its figures beside the ceilings that it measured in the same run.
#   scripts/bench.sh [TEXT ...]     only those whose name contains TEXT
set -u
cd "$(dirname "$0")/.." || exit 1
scripts/build.sh release all benches || exit 1
export LH_BUILD="$PWD/build"

wanted() {
    [ $# -lt 2 ] && return 0
    local name=$1 text
    shift
    for text in "$@"; do
        [[ $name != *$text* ]] || return 0
    done
    return 1
}

# The median of many starts, since one is at the mercy of the machine.
startup() {
    echo "== startup: longhand --version"
    /usr/bin/python3 - "$LH_BUILD/longhand" <<'PY'
import statistics, subprocess, sys, time
def starts(command):
    times = []
    for _ in range(60):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)
own, floor = starts([sys.argv[1], "--version"]), starts(["/bin/true"])
print("median of 60 starts %.1f ms (an empty process %.1f ms); target below 10 ms: %s"
      % (own, floor, "met" if own < 10 else "missed"))
PY
}

failed=0
! wanted startup "$@" || startup || failed=1
for file in bench/bench_*.c; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .c)
    if wanted "$name" "$@"; then
        echo "== ${name#bench_}"
        "build/$name" || failed=1
    fi
done
for script in bench/*.sh bench/*.py; do
    [ -e "$script" ] && [[ ${script##*/} != _* ]] || continue
    if wanted "$script" "$@"; then
        echo "== $(basename "$script")"
        case $script in
        *.py) /usr/bin/python3 "$script" || failed=1 ;;
        *) bash "$script" || failed=1 ;;
        esac
    fi
done
exit $failed
