#!/usr/bin/env bash
# make demo: a small Compressive Transformer learns a real book for about two minutes, is evaluated on a part that it has
# not seen, writes a passage, and everything goes into one page, demo/report.html.
#
#   BOOK=FILE      a text of your own (default: the King James Bible from Debian's bible-kjv package)
#   MINUTES=N      how long to train (default 2)
set -euo pipefail
cd "$(dirname "$0")/.."

build="${LH_BUILD:-build}"
longhand="$build/longhand"
minutes="${MINUTES:-2}"
out=demo
mkdir -p "$out"

if [ -n "${BOOK:-}" ]; then
    [ -r "$BOOK" ] || { echo "demo: cannot read BOOK=$BOOK" >&2; exit 5; }
    cp "$BOOK" "$out/book.txt"
    name="$(basename "$BOOK")"
elif command -v bible >/dev/null 2>&1; then
    # "Ge1:1 In the beginning ..." : one verse a line, the reference cut off
    bible -f 'gen1:1-rev22:21' | sed -E 's/^[A-Za-z0-9]+:[0-9]+ //' >"$out/book.txt"
    name="the King James Bible"
else
    echo "demo: no book at hand. Name one: make demo BOOK=/path/to/a/text" >&2
    exit 5
fi
size=$(wc -c <"$out/book.txt")
[ "$size" -ge 100000 ] || { echo "demo: $name has only $size bytes; a book of 100 kB or more is needed" >&2; exit 5; }

# The last twentieth is held out: the model never trains on it.
held=$((size / 20))
head -c $((size - held)) "$out/book.txt" >"$out/train.txt"
tail -c "$held" "$out/book.txt" >"$out/held-out.txt"

echo "== training on $name: $((size - held)) bytes, $minutes minutes"
rm -rf "$out/run"
"$longhand" train compressive-tiny --out "$out/run" data.path="$out/train.txt" data.batch=8 train.minutes="$minutes" \
    train.learning_rate=1e-3 train.warmup=100

echo "== evaluating on the $held bytes that it has not seen"
"$longhand" eval "$out/run" --data "$out/held-out.txt" --limit-tokens 60000

echo "== a passage, and the report"
"$longhand" report "$out/run" --data "$out/held-out.txt" --limit-bytes 60000 --sample 400 --title "longhand on $name" \
    --out "$out/report.html"
echo "done: open $out/report.html in a browser"
