#!/bin/bash
# Fails if a file of a lower storey includes a header of a higher one. The storeys, lowest first; folders on one line
# are one storey and may include each other.
#   scripts/check-layers.sh [FOLDER]     the folder that holds the storeys (default: src)
set -u
source=${1:-$(dirname "$0")/../src}
cd "$source" || exit 2
storeys="base
tensor
kernels
autograd ops
data text formats
memory
model
train infer eval report
compare
api
cli"

find . -name '*.[ch]' | sort | xargs -r grep -nH '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
    awk -v storeys="$storeys" '
    BEGIN {
        count = split(storeys, lines, "\n")
        for (i = 1; i <= count; i++) {
            folders = split(lines[i], names, " ")
            for (j = 1; j <= folders; j++) {
                level[names[j]] = i
            }
        }
    }
    {
        file = $0
        sub(/^\.\//, "", file)
        split(file, place, ":")
        from = place[1]
        sub(/\/.*/, "", from)
        header = $0
        sub(/^[^"]*"/, "", header)
        sub(/".*/, "", header)
        to = header
        if (!sub(/\/.*/, "", to)) {
            if (header != "longhand.h" && place[1] ~ /\//) {
                printf "src/%s:%s: \"%s\" has no storey; write the path from src/\n", place[1], place[2], header
                bad++
            }
            next
        }
        if (!(from in level)) {
            printf "src/%s: the folder \"%s\" is no storey of scripts/check-layers.sh\n", place[1], from
            bad++
        } else if (!(to in level)) {
            printf "src/%s:%s: \"%s\" is in no storey\n", place[1], place[2], header
            bad++
        } else if (level[to] > level[from]) {
            printf "src/%s:%s: %s/ is below %s/ and may not include \"%s\"\n", place[1], place[2], from, to, header
            bad++
        }
    }
    END { exit bad > 0 }'
