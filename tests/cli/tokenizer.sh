#!/bin/bash
# Tokenizers from the command line: learned, used, inspected, and what is refused.
. "$(dirname "$0")/_lib.sh"
export LH_QUIET=1
cd "$scratch" || exit 1

/usr/bin/python3 - <<'PY'
import random
random.seed(1)
words = ["the", "whale", "sea", "and", "of", "a", "caf\u00e9", "It's", "12", "long-lost", "\U0001f40b"]
words += ["".join(random.choice("abcdefghij") for _ in range(random.randrange(2, 9))) for _ in range(200)]
with open("text.txt", "w", encoding="utf-8") as out:
    for line in range(3000):
        out.write(" ".join(random.choice(words) for _ in range(random.randrange(12))) + "\n")
with open("lines.jsonl", "w") as out:
    for line in range(100):
        out.write('{"body": "%s"}\n' % " ".join(random.choice(words[:6]) for _ in range(9)))
open("bytes.bin", "wb").write(bytes(random.randrange(256) for _ in range(70000)))
PY

for kind in bpe words characters subwords; do
    check "train $kind" "$longhand" tokenizer train --kind $kind $([ $kind = words ] || [ $kind = characters ] ||
        echo --vocab-size 400) --out $kind text.txt
    check "info $kind" "$longhand" tokenizer info $kind text.txt
done
for kind in bpe subwords; do
    for format in text u16 u32; do
        "$longhand" tokenizer encode $kind --format $format bytes.bin >ids
        equal "$kind, $format: random bytes come back" \
            "$("$longhand" tokenizer decode $kind --format $format ids | cksum)" "$(cksum <bytes.bin)"
    done
done
equal "the words kind ends every line" "$("$longhand" tokenizer encode words text.txt | tr ' ' '\n' | grep -cx 0)" 3000
equal "ids of bytes" "$(printf 'AZ\n' | "$longhand" tokenizer encode bytes)" "65 90 10"
equal "tokens of bytes" "$(printf 'A\n' | "$longhand" tokenizer encode bytes --format tokens)" $'65\tA\n10\t\\x0a'
equal "a special token in the text" "$(printf '<|endoftext|>' | "$longhand" tokenizer encode bpe --special)" 0
equal "and left out of it again" "$(echo 0 0 | "$longhand" tokenizer decode bpe --skip-special)" ""
check "a file is there only when it is complete" test ! -e never.ids
refuses "an id too many" 2 "no token has id 400" "$longhand" tokenizer decode bpe --out never.ids <(echo 399 400)
check "nothing was written" test ! -e never.ids
refuses "no number" 6 "byte 2 of the input, 0x78, belongs to no number" "$longhand" tokenizer decode bpe <(echo "7 x")

check "JSON Lines" "$longhand" tokenizer train --field body --vocab-size 300 --out json lines.jsonl
xz -k text.txt
check "a compressed file" "$longhand" tokenizer train --vocab-size 400 --out bpe2 text.txt.xz
check "gives the same tokenizer" cmp bpe bpe2
mkdir both
check "into a directory" "$longhand" tokenizer train --vocab-size 400 --special '<a>,<b>' --out both text.txt
check "the roles beside it" test -s both/tokenizer_config.json
equal "special tokens come first" "$(printf '<b><a>' | "$longhand" tokenizer encode both --special)" "1 0"
"$longhand" tokenizer info bpe text.txt --json >info.json
check "info --json" /usr/bin/python3 - <<'PY'
import json
info = json.load(open("info.json"))
assert info["kind"] == "bpe" and info["tokens"] == 400 and info["lossless"] is True, info
text = open("text.txt", "rb").read()
assert info["text"]["bytes"] == len(text) and info["text"]["words"] == len(text.decode().split()), info
assert info["text"]["comes_back"] is True and info["eos"] == {"id": 0, "text": "<|endoftext|>"}, info
PY
# The file is what other programs expect: ids without gaps, merges in order, the byte alphabet.
check "the file holds what its form demands" /usr/bin/python3 - <<'PY'
import json
root = json.load(open("bpe", encoding="utf-8"))
model = root["model"]
vocab = model["vocab"]
assert model["type"] == "BPE" and sorted(vocab.values()) == list(range(400))
made = [a + b for a, b in (merge.split(" ") for merge in model["merges"])]
assert [vocab[token] for token in dict.fromkeys(made)] == list(range(257, 400))
assert root["pre_tokenizer"]["type"] == root["decoder"]["type"] == "ByteLevel"
assert root["added_tokens"][0]["id"] == 0 and root["added_tokens"][0]["special"]
PY

: >empty.txt
refuses "an empty text" 2 "there is no text to train a tokenizer on" "$longhand" tokenizer train -o none empty.txt
refuses "a vocabulary too small" 2 "257 to 16777216 tokens, 99 were asked for" \
    "$longhand" tokenizer train -n 99 -o none text.txt
refuses "a bad pattern" 6 "is no regular expression" "$longhand" tokenizer train -p '(' -o none text.txt
head -c 500 bpe >cut.json
refuses "a damaged file" 6 "cut.json" "$longhand" tokenizer info cut.json
refuses "a missing file" 5 "missing.json" "$longhand" tokenizer info missing.json
check "nothing was left behind" test ! -e none
finish
