#!/bin/bash
# Counts of real data against the published ones: PG-19 books and WikiText. The folder is $LH_DATA, else
# ../shared/data beside the repository; without it everything is skipped.
. "$(dirname "$0")/_lib.sh"
data=${LH_DATA:-$root/../shared/data}
export LH_QUIET=1

# books NAME BYTES_COLUMN: every book of an archive has the bytes and words that its list says.
books() {
    local name=$1 column=$2
    if [ ! -f "$data/pg19/$name.tar.xz" ]; then
        skip "$name: no shared data"
        return
    fi
    tar -xJf "$data/pg19/$name.tar.xz" -C "$scratch"
    rm -f "$scratch/$name/INDEX.tsv"
    check "$name" "$longhand" data prepare "$scratch/$name" "$scratch/$name-out" --layout tree --split train
    "$longhand" data info "$scratch/$name-out" --documents --json >"$scratch/$name.json"
    check "bytes and words of every book of $name" /usr/bin/python3 -c '
import json, sys
books = {book["name"][:-4]: book for book in json.load(open(sys.argv[1]))["splits"]["train"]["document_list"]}
rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[2], encoding="utf-8")]
bytes_at, words_at = rows[0].index(sys.argv[3]), rows[0].index("words")
assert len(books) == len(rows) - 1 > 0, (len(books), len(rows))
for row in rows[1:]:
    book = books[row[0]]
    assert book["bytes"] == book["tokens"] == int(row[bytes_at]), (row, book)
    assert book["words"] == int(row[words_at]), (row, book)
    assert book["invalid_bytes"] == 0, book' "$scratch/$name.json" "$data/pg19/$name.tsv" "$column"
}

books pg19-train-part bytes
books pg19-test-part bytes_lf

# The test books by their numbers, with their titles.
if [ -d "$scratch/pg19-test-part" ]; then
    cp "$data/pg19/metadata.csv.xz" "$scratch/pg19-test-part"
    check "PG-19 by numbers" "$longhand" data prepare "$scratch/pg19-test-part" "$scratch/pg19-out" --layout pg19
    "$longhand" data info "$scratch/pg19-out" >"$scratch/pg19.txt"
    check "only test books" grep -q '^test  *23 ' "$scratch/pg19.txt"
    check "a subset" grep -q '6,966,499 words.*this is a subset' "$scratch/pg19.txt"
    equal "titles" "$("$longhand" data info "$scratch/pg19-out" --documents | grep -c "Dragon's blood by Henry Milner")" 1
else
    skip "PG-19 by numbers: no shared data"
fi

# WikiText: validation and test are those of WikiText-103, too. The vocabulary is theirs, for want of the training file.
if [ -f "$data/wiki/wikitext-2.test.txt.xz" ]; then
    mkdir "$scratch/wiki"
    cp "$data"/wiki/wikitext-2.{valid,test}.txt.xz "$scratch/wiki"
    check "WikiText" "$longhand" data prepare "$scratch/wiki" "$scratch/wiki-out"
    "$longhand" data info "$scratch/wiki-out" >"$scratch/wiki.txt"
    check "217,646 validation tokens of 213,886 words" grep -q '^validation  *1  *217,646  *213,886 ' "$scratch/wiki.txt"
    check "245,569 test tokens of 241,211 words" grep -q '^test  *1  *245,569  *241,211 ' "$scratch/wiki.txt"
    equal "both are the full splits" "$(grep -c 'this is the full split' "$scratch/wiki.txt")" 2
else
    skip "WikiText: no shared data"
fi

# enwik8's form, 90/5/5 of another size.
if [ -f "$data/wiki/enwiki-206pages.xml.xz" ]; then
    xz -dc "$data/wiki/enwiki-206pages.xml.xz" >"$scratch/enwik8"
    check "Wikipedia XML" "$longhand" data prepare "$scratch/enwik8" "$scratch/enwik8-out" --force
    "$longhand" data info "$scratch/enwik8-out" >"$scratch/enwik8.txt"
    check "nine tenths are training" grep -q '^train  *1  *5,480,771 ' "$scratch/enwik8.txt"
else
    skip "Wikipedia XML: no shared data"
fi
finish
