#!/bin/bash
# The scripts behind make: do they see the faults that they are there for?
. "$(dirname "$0")/_lib.sh"

# Layers: one clean tree, then one fault at a time.
layers() {
    rm -rf "$scratch/src"
    mkdir -p "$scratch/src/base" "$scratch/src/ops" "$scratch/src/autograd" "$scratch/src/cli"
    printf '#include "base/error.h"\n#include "longhand.h"\n' >"$scratch/src/base/a.c"
    printf '#include "ops/ops.h"\n#include <stdio.h>\n' >"$scratch/src/autograd/tape.c"
    printf '#include "autograd/tape.h"\n  #  include "base/error.h"\n' >"$scratch/src/ops/ops.c"
    [ $# = 0 ] || printf '%s\n' "$2" >"$scratch/src/$1"
    "$root/scripts/check-layers.sh" "$scratch/src" 2>&1
}
check "a clean tree has no fault" layers
equal "a call upward is found" "$(layers base/b.h '#include "cli/cli.h"')" \
    'src/base/b.h:1: base/ is below cli/ and may not include "cli/cli.h"'
equal "a header without its storey is found" "$(layers base/b.h '#include "error.h"')" \
    'src/base/b.h:1: "error.h" has no storey; write the path from src/'
equal "an unknown storey is found" "$(layers base/b.h ' # include "attic/old.h"')" \
    'src/base/b.h:1: "attic/old.h" is in no storey'

# The runner of tests: what it counts, and what it takes for a failure.
script() {
    printf '#!/bin/bash\n%s\n' "$2" >"$scratch/$1.sh"
}
last() {
    local code=0
    /usr/bin/python3 "$root/scripts/run-tests.py" --timeout "${patience:-60}" "$@" >"$scratch/.runs" 2>&1 || code=$?
    echo "$(tail -n 1 "$scratch/.runs"), code $code"
}
if ! [ -x /usr/bin/python3 ]; then
    skip "python3 is not installed"
    finish
fi
script good 'echo "3 passed, 0 failed, 1 skipped"'
script bad 'echo "2 passed, 1 failed"; exit 1'
script lying 'echo "2 passed, 1 failed"'
script silent 'exit 0'
script crash 'echo "2 passed, 0 failed"; kill -SEGV $$'
script late 'sleep 60 & wait'
script code 'echo "2 passed, 0 failed"; exit 3'
equal "totals are added" "$(last "$scratch/good.sh" "$scratch/good.sh")" "6 passed, 0 failed, 2 skipped, code 0"
equal "failures are counted" "$(last "$scratch/good.sh" "$scratch/bad.sh")" "5 passed, 1 failed, 1 skipped, code 1"
equal "a failure with exit code 0 counts" "$(last "$scratch/lying.sh")" "2 passed, 1 failed, code 1"
equal "missing totals are a failure" "$(last "$scratch/silent.sh")" "0 passed, 1 failed, code 1"
equal "a crash is a failure" "$(last "$scratch/crash.sh")" "2 passed, 1 failed, code 1"
equal "an unexplained exit code is a failure" "$(last "$scratch/code.sh")" "2 passed, 1 failed, code 1"
equal "a program that hangs is a failure" "$(patience=1 last "$scratch/late.sh")" "0 passed, 1 failed, code 1"
equal "a program that is not there is a failure" "$(last "$scratch/absent")" "0 passed, 1 failed, code 1"

# cmocka's totals, as its programs print them.
script cmocka 'echo "[==========] 3 test(s) run."; echo "[  PASSED  ] 1 test(s)."
echo "[  SKIPPED ] 1 test(s), listed below:"; echo "[  FAILED  ] 1 test(s), listed below:"
echo "[  FAILED  ] name"; exit 1'
equal "cmocka's totals are read" "$(last "$scratch/cmocka.sh")" "1 passed, 1 failed, 1 skipped, code 1"
script group 'echo "[==========] 2 test(s) run."; echo "[  PASSED  ] 2 test(s)."; exit 5'
equal "a failed set-up is a failure" "$(last "$scratch/group.sh")" "2 passed, 1 failed, code 1"

refuses "install-deps.sh refuses an unknown group" 2 'unknown group "tests"' "$root/scripts/install-deps.sh" tests
equal "install-deps.sh says nothing when all is there" \
    "$(LH_SKIP_DEPS=0 "$root/scripts/install-deps.sh" build 2>&1 </dev/null)" ""
# A machine without apt: dpkg-query knows of nothing, apt-get is not there.
mkdir "$scratch/bin"
printf '#!/bin/sh\nexit 1\n' >"$scratch/bin/dpkg-query"
chmod +x "$scratch/bin/dpkg-query"
for tool in sh sed id mktemp rm cat env; do
    ln -s "$(command -v "$tool")" "$scratch/bin/$tool"
done
refuses "install-deps.sh without apt names the packages" 1 "please install these packages by hand: gcc make cmake" \
    env -u LH_SKIP_DEPS PATH="$scratch/bin" sh "$root/scripts/install-deps.sh" build
finish
