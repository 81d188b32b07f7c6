#!/bin/bash
# The data verbs: the results that they print, and one sentence for everything that can be wrong with an input.
. "$(dirname "$0")/_lib.sh"
cd "$scratch" || exit 1
export LH_QUIET=1

# field FILE PATH: a value of a JSON file, such as splits.train.tokens
field() {
    /usr/bin/python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."):
    value = value[int(key)] if key.isdigit() else value[key]
print(value)' "$1" "$2"
}

for i in $(seq 1 400); do
    echo "Line $i of a book about a whale, with café and naïve words in it."
done >book.txt
bytes=$(stat -c %s book.txt)

# One book, plain and packed, and through a pipe.
check "one file" "$longhand" data prepare book.txt one
"$longhand" data info one --json >one.json
check "info --json is JSON" field one.json splits.train.tokens
total=0
for split in train validation test; do
    total=$((total + $(field one.json splits.$split.bytes)))
done
equal "the splits are the whole book" "$total" "$bytes"
equal "the layout is found" "$(field one.json layout)" text
words=0
for split in train validation test; do
    words=$((words + $(field one.json splits.$split.words)))
done
check "words are those of wc, but for cut ones" test $((words - $(wc -w <book.txt))) -ge 0 -a \
    $((words - $(wc -w <book.txt))) -le 2
check "info --verify" "$longhand" data info one --verify
gzip -k book.txt
xz -k book.txt
check "a gzip file" "$longhand" data prepare book.txt.gz packed-gz
check "an xz file" "$longhand" data prepare book.txt.xz packed-xz
check "the shards of packed and plain files are the same" cmp packed-gz/train-00000.lhs packed-xz/train-00000.lhs
check "standard input" "$longhand" data prepare - piped --split train <book.txt
"$longhand" data info piped --json >piped.json
equal "standard input is read whole" "$(field piped.json splits.train.bytes)" "$bytes"
refuses "standard input cannot be shared out" 7 "its length is not known" "$longhand" data prepare - x --split 90/5/5

# Again, differently, by force.
check "a second time is fine" "$longhand" data prepare book.txt one
check "the folder by an option" "$longhand" data prepare book.txt --out one
refuses "no folder" 2 "say once where" "$longhand" data prepare book.txt
refuses "two folders" 2 "say once where" "$longhand" data prepare book.txt one --out two
refuses "other options are refused" 7 "--force" "$longhand" data prepare book.txt one --split 50/50
check "and taken with --force" "$longhand" data prepare book.txt one --split 50/50 --force
"$longhand" data info one --json >one.json
equal "by bytes" "$(field one.json split)" "50/50 by bytes"

# Folders and JSON Lines.
mkdir -p tree/sub
for i in 1 2 3 4; do
    head -n $((i * 20)) book.txt >tree/sub/$i.txt
done
check "a folder" "$longhand" data prepare tree tree-out --split 2/1/1
equal "documents are listed" "$("$longhand" data info tree-out --documents --split valid | grep -c 'sub/3.txt')" 1
/usr/bin/python3 -c '
import json
for i in range(10):
    print(json.dumps({"body": "text %d é" % i, "title": "T%d" % i}))' >lines.jsonl
check "JSON Lines" "$longhand" data prepare lines.jsonl lines --field body --split 8/1/1
"$longhand" data info lines --json --documents >lines.json
equal "titles are labels" "$(field lines.json splits.test.document_list.0.label)" T9

# Benchmarks.
mkdir wiki
printf ' \n = A = \n \n b c c \n' | tee wiki/wiki.train.tokens wiki/wiki.test.tokens >wiki/wiki.valid.tokens
check "WikiText as words" "$longhand" data prepare wiki wiki-out
"$longhand" data info wiki-out --json >wiki.json
equal "one token per word and line" "$(field wiki.json splits.train.tokens)" 10
equal "a subset is called one" "$(field wiki.json splits.test.full)" False
mkdir wp
head -c 20000 book.txt >wp/enwik8
refuses "enwik8 of another size" 6 "is not the published enwik8" "$longhand" data prepare wp wp-out
check "unless forced" "$longhand" data prepare wp wp-out --force
"$longhand" data info wp-out --json >wp.json
equal "90 % of it" "$(field wp.json splits.train.bytes)" 18000
check "without line feeds" "$longhand" data prepare wp wp-lf --force --enwik8-drop-lf
"$longhand" data info wp-lf --json >wp.json
equal "they are gone" "$(field wp.json splits.train.bytes)" $((18000 - $(head -c 18000 wp/enwik8 | tr -cd '\n' | wc -c)))

# What can be wrong with an input.
: >empty.txt
printf x >x.txt
head -c 300 book.txt.gz >cut.txt.gz
cp book.txt plain.txt.gz
printf '{"text": "a"}\n{"text"\n' >bad.jsonl
refuses "a missing file" 5 "nowhere.txt" "$longhand" data prepare nowhere.txt out
refuses "an empty file" 6 "empty.txt is empty" "$longhand" data prepare empty.txt out
refuses "a truncated gzip file" 6 "cut.txt.gz is truncated" "$longhand" data prepare cut.txt.gz out --split train
refuses "a text called .gz" 6 "does not begin like a gzip file" "$longhand" data prepare plain.txt.gz out --split train
refuses "bad JSON" 6 "line 2 of bad.jsonl" "$longhand" data prepare bad.jsonl out --split train
refuses "a folder as a file" 5 "it is a directory" "$longhand" data prepare tree out --layout text
refuses "a folder without texts" 7 "matches" "$longhand" data prepare tree out --include '*.none'
refuses "a missing tokenizer" 5 "no-tokenizer" "$longhand" data prepare book.txt out --tokenizer no-tokenizer
refuses "a wrong layout" 2 "--layout" "$longhand" data prepare book.txt out --layout book
refuses "a folder that is a file" 5 "x.txt" "$longhand" data prepare book.txt x.txt
refuses "no data set" 5 "tree is no prepared data set" "$longhand" data info tree
refuses "a split that is not there" 7 "it has: train" "$longhand" data info piped --split test
check "one byte is a data set" "$longhand" data prepare x.txt x-out
if [ "$(id -u)" != 0 ]; then
    mkdir locked
    chmod 000 locked
    refuses "an unreadable folder" 5 "locked" "$longhand" data prepare locked out
    chmod 700 locked
fi

# Damaged data sets.
cp -r one broken
truncate -s -1 broken/train-00000.lhs
refuses "a truncated shard" 6 "broken/train-00000.lhs is truncated" "$longhand" data info broken
cp one/train-00000.lhs broken/
printf '\377' | dd of=broken/train-00000.lhs bs=1 seek=5000 conv=notrunc status=none
check "a changed token is not looked for" "$longhand" data info broken
refuses "unless asked" 6 "the checksum of its tokens does not fit" "$longhand" data info broken --verify

# Downloads, from a server on this machine.
check "list" "$longhand" data list
"$longhand" data list --json >list.json
equal "list --json" "$(field list.json 0.name)" enwik8
refuses "an unknown name" 2 'did you mean enwik8?' "$longhand" data get enwik9
refuses "a split of what has none" 2 "belong to pg19" "$longhand" data get enwik8 --split test
mkdir -p served/test
printf '10146,A by B,1850,http://x\n99,C by D,1900,http://x\n' >served/metadata.csv
cp book.txt served/test/10146.txt
/usr/bin/python3 -u "$root/tests/support/http_server.py" served >server.log &
server=$!
trap 'kill $server; rm -rf "$scratch"' EXIT
for _ in $(seq 100); do
    [ -s server.log ] && break
    sleep 0.1
done
address=http://127.0.0.1:$(head -n 1 server.log)
export no_proxy=127.0.0.1
check "get" "$longhand" data get pg19 --split test --base-url "$address/cut/" --out got
check "the book is right" cmp got/test/10146.txt book.txt
check "what was got can be prepared" "$longhand" data prepare got got-out
"$longhand" data info got-out --json --documents >got.json
equal "with its title" "$(field got.json splits.test.document_list.0.label)" "A by B (1850)"
cp book.txt served/input.txt
refuses "a wrong size" 6 "1115394 are expected" "$longhand" data get tinyshakespeare --base-url "$address/plain" --out got2
refuses "nobody there" 11 "127.0.0.1" "$longhand" data get enwik8 --base-url http://127.0.0.1:1 --retries 0 --out got2
finish
