#!/bin/bash
# Damaged files of a run: cut short, emptied, or with a flipped bit. Each is told in one sentence that names it, with an
# exit code, or the damage did not matter and the run ends like the undisturbed one. LH_SEED repeats the bits.
. "$(dirname "$0")/_training.sh"
RANDOM=${LH_SEED:-$$}
echo "LH_SEED=${LH_SEED:-$$}"

check "the undisturbed run" train "$scratch/whole"
run=$scratch/first-half
check "the first half" train "$run" train.steps=60

# damage FILE HOW
damage() {
    local size bit
    size=$(stat -c %s "$1")
    case $2 in
    empty) : >"$1" ;;
    half) truncate -s $((size / 2)) "$1" ;;
    less) truncate -s $((size - 1)) "$1" ;;
    flip)
        bit=$(((RANDOM * 32768 + RANDOM) % (size * 8)))
        python3 - "$1" "$bit" <<'PY'
import sys
path, bit = sys.argv[1], int(sys.argv[2])
data = bytearray(open(path, "rb").read())
data[bit // 8] ^= 1 << bit % 8
open(path, "wb").write(data)
PY
        ;;
    esac
}

check "the damage-free second half" cp -r "$run" "$scratch/reference"
check "the damage-free second half" "$longhand" train "$scratch/reference" --resume train.steps=120

attempt() {
    local file=$1 how=$2 copy=$scratch/copy code=0
    rm -rf "$copy"
    cp -r "$run" "$copy"
    damage "$copy/$file" "$how"
    "$longhand" train "$copy" --resume train.steps=120 >"$scratch/out" 2>"$scratch/err" || code=$?
    if [ "$code" = 0 ]; then
        check "$file, $how: harmless" same "$scratch/reference" "$copy"
    elif [ "$code" -ge 128 ] || [ "$code" = 1 ] || [ "$(wc -l <"$scratch/err")" != 1 ]; then
        fail "$file, $how: exit code $code"
        tail -n 5 "$scratch/err"
    elif [ "$3" = named ] && ! grep -qF "${file##*/}" "$scratch/err"; then
        fail "$file, $how: the message does not name the file"
        tail -n 5 "$scratch/err"
    else
        pass
    fi
}

# A text file that is cut may be a good but other text: then the message is about what it says.
for how in empty half less flip flip flip flip; do
    attempt checkpoint-60.safetensors "$how" named
    attempt data/text/train-00000.lhs "$how" named
    attempt data/text/dataset.json "$how" any
    attempt tokenizer.json "$how" named
    attempt recipe.ini "$how" any
    attempt config.json "$how" any
    attempt best.json "$how" any
done

# The newest checkpoint damaged: nothing is lost, the one before it still stands.
copy=$scratch/back
cp -r "$run" "$copy"
truncate -s 1000 "$copy/checkpoint-60.safetensors"
refuses "a damaged newest checkpoint" 6 "checkpoint-55.safetensors" "$longhand" train "$copy" --resume train.steps=120
rm "$copy/checkpoint-60.safetensors"
check "without it the run goes on from the one before" "$longhand" train "$copy" --resume train.steps=120

# Input that is no text to train on.
: >"$scratch/empty.txt"
printf x >"$scratch/one.txt"
refuses "an empty file" 6 "empty.txt" train "$scratch/e1" data.path="$scratch/empty.txt"
code=0
train "$scratch/e2" data.path="$scratch/one.txt" >"$scratch/out" 2>"$scratch/err" || code=$?
check "a file of one token: refused" test "$code" = 6 -o "$code" = 7
equal "a file of one token: one line" "$(wc -l <"$scratch/err")" 1
refuses "a missing file" 5 "nowhere.txt" train "$scratch/e3" data.path="$scratch/nowhere.txt"
printf '\xff\xfe\x00bad bytes \x80\n%.0s' $(seq 1 200) >"$scratch/bytes.bin"
check "bytes that are no UTF-8" train "$scratch/e4" data.path="$scratch/bytes.bin" train.steps=5
head -c 20 "$scratch/book.txt" >"$scratch/short.txt"
check "a text shorter than a segment" train "$scratch/e5" data.path="$scratch/short.txt" train.steps=5 data.batch=1 \
    train.accumulate=1 train.eval_every=0
printf '[model]\nwidth = 99999999999\n' >"$scratch/absurd.ini"
refuses "an absurd size" 7 "width" "$longhand" train "$scratch/absurd.ini" data.path="$scratch/book.txt" \
    train.steps=1 --out "$scratch/e6"
printf '[model]\nwdith = 64\n' >"$scratch/unknown.ini"
refuses "an unknown key" 7 "wdith" "$longhand" train "$scratch/unknown.ini" --out "$scratch/e7"
finish
