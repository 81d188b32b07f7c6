#!/bin/bash
# Builds the release preset and runs every test: the C tests, the comparisons with PyTorch (tests/parity), the fault
# injections (tests/fault) and the tests of the command (tests/cli). The last line is "N passed, N failed".
#   scripts/test.sh [TEXT]     only the programs whose path contains TEXT
#   LH_JOBS                    how many run at once (default: one per core)
set -u
cd "$(dirname "$0")/.." || exit 1
scripts/build.sh release || { echo "0 passed, 1 failed"; exit 1; }

export LH_BUILD="$PWD/build"
# Several programs share the cores: a thread that waits must not spin.
export OMP_WAIT_POLICY=passive
shopt -s nullglob
programs=()
for file in tests/unit/test_*.c tests/kernels/test_*.c; do
    name=${file##*/}
    programs+=("build/${name%.c}")
done
programs+=(tests/parity/*.py tests/fault/*.sh tests/cli/*.sh)
# Modules that the parity scripts share begin with an underscore.
scripts=()
for program in "${programs[@]}"; do
    [[ ${program##*/} == _* ]] || scripts+=("$program")
done
exec /usr/bin/python3 scripts/run-tests.py --jobs "${LH_JOBS:-$(nproc)}" --timeout 900 --match "${1:-}" "${scripts[@]}"
