#!/bin/bash
# longhand info: presets, recipes, sentences for what does not exist.
. "$(dirname "$0")/_lib.sh"

check "presets are listed" bash -c "'$longhand' info --presets | grep -q '^compressive-enwik8 '"
check "memories are listed" bash -c "'$longhand' info --memories | grep -q '^transformer-xl '"
for preset in $("$longhand" info --presets | cut -d' ' -f1); do
    check "preset $preset is described" "$longhand" info "$preset"
done
json=$("$longhand" info transformer-xl-enwik8-24 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["body"])')
equal "body of the 277M model" "$json" 277022720

printf '[model]\nlayers = 2\nwidth = 64\nheads = 2\n' >"$scratch/small.ini"
check "a recipe is described" "$longhand" info "$scratch/small.ini" memory.kind=transformer-xl
for recipe in "$root"/recipes/*.ini; do
    [[ $recipe == */compare-* ]] || check "$(basename "$recipe") is described" "$longhand" info "$recipe"
done
refuses "an unknown name" 2 '"nothing" is no run, no preset and no recipe' "$longhand" info nothing
refuses "no operand" 2 'info needs a run' "$longhand" info
refuses "an unknown key" 7 "unknown key 'widht'" "$longhand" info "$scratch/small.ini" model.widht=3
mkdir "$scratch/empty"
refuses "a directory without a model" 5 'config.json' "$longhand" info "$scratch/empty"
finish
