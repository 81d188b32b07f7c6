#!/bin/bash
# A disk that fills up stops the run with one sentence; the last checkpoint stands, and with room again the run ends as
# if nothing had happened. On a small tmpfs where mounting is permitted, else with a limit on the size of files.
. "$(dirname "$0")/_training.sh"

check "the undisturbed run" train "$scratch/whole"
disk=$scratch/disk
mkdir "$disk"
if mount -t tmpfs -o size=64m tmpfs "$disk" 2>/dev/null; then
    trap 'umount -l "$disk"; rm -rf "$scratch"' EXIT
    for blocks in 900k 1200k 1500k 2m; do
        run=$disk/run-$blocks
        code=0
        mount -o "remount,size=$blocks" "$disk" || break
        train "$run" >"$scratch/out" 2>"$scratch/err" || code=$?
        equal "full disk of $blocks: exit code" "$code" 5
        equal "full disk of $blocks: one line" "$(wc -l <"$scratch/err")" 1
        check "full disk of $blocks: the reason" grep -q "No space left on device" "$scratch/err"
        mount -o remount,size=64m "$disk"
        check "with room again it goes on" train "$run"
        check "and ends like the undisturbed run" same "$scratch/whole" "$run"
        rm -rf "$run"
    done
else
    skip "mounting a tmpfs is not permitted here"
fi

# The same by a limit on the size of a file, which hits a checkpoint in the middle.
run=$scratch/limited
code=0
(
    trap '' XFSZ
    ulimit -f 100
    "$longhand" train "$scratch/small.ini" --out "$run"
) >"$scratch/out" 2>"$scratch/err" || code=$?
equal "limited files: exit code" "$code" 5
equal "limited files: one line" "$(wc -l <"$scratch/err")" 1
check "limited files: the reason" grep -q "File too large" "$scratch/err"
check "without the limit it goes on" train "$run"
check "and ends like the undisturbed run" same "$scratch/whole" "$run"
finish
