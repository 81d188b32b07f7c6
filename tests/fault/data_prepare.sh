#!/bin/bash
# longhand data prepare killed with SIGKILL at random instants, stopped with SIGINT, and out of room: in the end the
# folder has the bytes of a preparation that nothing disturbed.
. "$(dirname "$0")/../cli/_lib.sh"
export LH_QUIET=1 OMP_WAIT_POLICY=passive
cd "$scratch" || exit 1
/usr/bin/python3 - <<'PY'
import json
words = "the a of to and in that it was his her sea ship wind night old man café went over under".split()
state = 7
with open("lines.jsonl", "w") as out:
    for book in range(300):
        text = []
        for _ in range(5000):
            state = (state * 1103515245 + 12345) % 2**31
            text.append(words[(state >> 16) % len(words)])
        out.write(json.dumps({"text": " ".join(text)}) + "\n")
PY
prepare() {
    "$longhand" data prepare lines.jsonl "$1" --tokenizer words --shard-size 1M --split 80/10/10 --by bytes
}
check "undisturbed" prepare whole

RANDOM=$$
for trial in 1 2 3 4 5 6; do
    rm -rf killed
    kills=0
    while :; do
        prepare killed >/dev/null 2>&1 &
        child=$!
        # From almost at once to about as long as the whole takes.
        sleep 0.$(printf %03d $((RANDOM % (40 + kills * 30) % 1000)))
        kill -9 $child 2>/dev/null
        if wait $child 2>/dev/null; then
            break
        fi
        kills=$((kills + 1))
        [ $kills -lt 200 ] || break
    done
    check "killed $kills times, the same bytes in the end" diff -r whole killed
done

rm -rf stopped
prepare stopped >/dev/null 2>stop.log &
child=$!
sleep 0.05
kill -INT $child
code=0
wait $child || code=$?
check "SIGINT stops it with code 9, or comes too late" test $code = 9 -o $code = 0
check "after which it goes on" prepare stopped
check "to the same bytes" diff -r whole stopped

if mkdir small && mount -t tmpfs -o size=1500k tmpfs small 2>/dev/null; then
    refuses "a full disk" 5 "No space left on device" prepare small/out
    mount -o remount,size=64m small
    check "with room again" prepare small/out
    check "the same bytes" diff -r whole small/out
    umount small
else
    skip "a full disk: only root can mount a small one"
fi
finish
