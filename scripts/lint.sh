#!/bin/bash
# Everything that can be said about the sources without running them. The last line is "N passed, N failed".
#   LH_JOBS   how many checks of clang-tidy and cppcheck run at once
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=${LH_JOBS:-$(nproc)}
passed=0
failed=0

# run NAME COMMAND...: one case; its output is shown only if it fails.
run() {
    local name=$1 output started=$SECONDS
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        printf 'ok   %-24s %ds\n' "$name" $((SECONDS - started))
    else
        failed=$((failed + 1))
        printf 'FAIL %-24s %ds\n%s\n' "$name" $((SECONDS - started)) "$(tail -n 200 <<<"$output")"
    fi
}

formatting() {
    git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format --dry-run -Werror
}

shell_syntax() {
    local bad=0 file
    for file in .ci/run $(git ls-files '*.sh'); do
        bash -n "$file" || bad=1
    done
    return $bad
}

python_syntax() {
    git ls-files '*.py' | xargs -r /usr/bin/python3 -c '
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, encoding="utf-8").read(), name)'
}

# The compile commands of the clang preset; configuring is enough.
tidy() {
    [ -f build-clang/compile_commands.json ] || cmake --preset clang >/dev/null || return 1
    run-clang-tidy -quiet -j "$jobs" -p build-clang "$PWD/src/" 2>/dev/null | grep -v '^clang-tidy' | tee /dev/stderr |
        { ! grep -E 'error:|warning:' >/dev/null; }
}

# Macro configurations are not multiplied out (--force is not given), unknown system headers are not needed.
check_cpp() {
    cppcheck --quiet -j "$jobs" --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=scripts/cppcheck.supp --error-exitcode=1 --max-configs=4 -D_GNU_SOURCE \
        -Isrc -Iinclude src bench include
}

run "clang-format" formatting
run "layers" scripts/check-layers.sh
run "paths" scripts/check-text.sh
run "shell syntax" shell_syntax
run "python syntax" python_syntax
run "cppcheck" check_cpp
run "clang-tidy" tidy
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
