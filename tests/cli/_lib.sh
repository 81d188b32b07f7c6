# Shared by the shell tests: `. tests/cli/_lib.sh`, then check..., then `finish`.
# Each check counts as one case. A scratch folder is in $scratch; the command under test is $longhand.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LH_BUILD=${LH_BUILD:-$root/build}
longhand=$LH_BUILD/longhand
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
skipped=0

pass() {
    passed=$((passed + 1))
}

fail() {
    failed=$((failed + 1))
    echo "FAILED: $*"
}

# skip WHY: a case that cannot run here.
skip() {
    skipped=$((skipped + 1))
    echo "skipped: $*"
}

# check WHAT COMMAND...: passes if the command ends with 0.
check() {
    local what=$1
    shift
    if "$@" >"$scratch/.log" 2>&1; then
        pass
    else
        fail "$what (exit code $?): $*"
        tail -n 40 "$scratch/.log"
    fi
}

# equal WHAT GOT EXPECTED
equal() {
    if [ "$2" = "$3" ]; then
        pass
    else
        fail "$1"
        printf 'got:      %s\nexpected: %s\n' "$2" "$3"
    fi
}

# refuses WHAT EXIT_CODE SENTENCE COMMAND...: the command must end with that code and say SENTENCE (a part of the
# line), alone on one line of standard error.
refuses() {
    local what=$1 code=$2 sentence=$3 got=0
    shift 3
    "$@" >"$scratch/.out" 2>"$scratch/.err" </dev/null || got=$?
    if [ "$got" != "$code" ]; then
        fail "$what: exit code $got instead of $code"
        tail -n 40 "$scratch/.err"
    elif [ "$(wc -l <"$scratch/.err")" != 1 ] || ! grep -qF -- "$sentence" "$scratch/.err"; then
        fail "$what: expected one line with: $sentence"
        tail -n 40 "$scratch/.err"
    else
        pass
    fi
}

finish() {
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ "$failed" = 0 ]
    exit
}
