#!/bin/bash
# Fails if a tracked file names a path of one machine, so that everything works in any clone.
set -u
cd "$(dirname "$0")/.." || exit 2
found=$(git grep -nIE '(^|[^[:alnum:]_./-])/(work|root|home)/' -- . ':!scripts/check-text.sh')
[ -z "$found" ] || { echo "a path of one machine in a tracked file:"; echo "$found"; exit 1; }
