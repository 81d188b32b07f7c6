#!/bin/bash
# longhand data midi: performances to texts of events, to shards, and back to MIDI files.
# shellcheck source=tests/cli/_lib.sh
. "$(dirname "$0")/_lib.sh"
cd "$scratch" || exit 1
export LH_QUIET=1

mkdir -p lists/train lists/valid
echo '[[0.00, 0.50, 60, 80], [0.25, 1.75, 64, 80], [1.75, 1.80, 67, 100]]' >lists/train/a.json
echo '{"notes": [[0.1, 0.3, 60, 80], [0.5, 0.6, 60, 80], [0.7, 1.5, 64, 80]], "pedal": [[0, 127], [1, 0]]}' >lists/valid/b.json

check "lists of notes in folders of splits" "$longhand" data midi lists piano
check "the first vector" grep -qx '<s> vel20 on60 shift25 on64 shift25 off60 shift100 shift25 off64 vel25 on67 shift5 off67 </s>' piano/events/train/*.txt
check "the pedal holds a note" grep -q 'on60 shift40 .*off60' piano/events/validation/*.txt
refuses "a folder that is there" 7 "is there already" "$longhand" data midi lists piano
check "shards" "$longhand" data prepare piano/events shards --tokenizer piano
check "their vocabulary" grep -q 391 shards/dataset.json
check "back to a MIDI file" "$longhand" data midi piano/events/train/*.txt back.mid --decode
check "and to events again" "$longhand" data midi back.mid again
check "which are the same" cmp piano/events/train/*.txt again/events/*.txt
check "the narrow vocabulary" "$longhand" data midi lists narrow --events music-transformer
check "has no start" grep -qx 'vel20 on60 .*</s>' narrow/events/train/*.txt
head -c 40 back.mid >cut.mid
refuses "a file that is cut" 6 "cut.mid" "$longhand" data midi cut.mid other
mkdir mixed
cp back.mid cut.mid mixed
check "broken files can be left out" "$longhand" data midi mixed mixed-out --skip-broken
echo 'on60 nonsense' >wrong.txt
refuses "words that are no events" 10 "nonsense" "$longhand" data midi wrong.txt wrong.mid --decode
finish
