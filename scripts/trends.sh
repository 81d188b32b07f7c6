#!/bin/bash
# The long learning tests: published trends on small models, minutes to hours each. Every script in scripts/trends/
# trains what it needs, prints its figures and exits with 0 if the trend is there, with 77 if it was given no text to train
# on (see its first lines). The last line is "N passed, N failed", and how many did not run.
#   scripts/trends.sh [TEXT ...]     only the scripts whose name contains TEXT
set -u
cd "$(dirname "$0")/.." || exit 1
export LH_BUILD="${LH_BUILD:-$PWD/build}"
shopt -s nullglob
passed=0
failed=0
skipped=0

wanted() {
    local name=$1 text
    shift
    [ $# -gt 0 ] || return 0
    for text in "$@"; do
        [[ $name != *$text* ]] || return 0
    done
    return 1
}

for script in scripts/trends/*.sh scripts/trends/*.py; do
    name=$(basename "$script")
    [[ $name != _* ]] && wanted "$name" "$@" || continue
    echo "== $name"
    started=$SECONDS
    code=0
    case $script in
    *.py) /usr/bin/python3 "$script" || code=$? ;;
    *) bash "$script" || code=$? ;;
    esac
    case $code in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    echo "   $((SECONDS - started)) seconds"
done
[ "$skipped" = 0 ] || echo "$skipped not run, for want of a text"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
