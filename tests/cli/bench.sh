#!/bin/bash
# longhand bench: figures that make sense, for a preset and a recipe; sentences for what cannot be measured.
. "$(dirname "$0")/_lib.sh"

tiny="model.layers=1 model.width=16 model.heads=2 model.hidden=32 model.segment=16"
json=$("$longhand" bench compressive-tiny $tiny memory.length=16 memory.compressed=8 --lanes 2 --steps 2 --decode 8 --json)
check "rates are numbers above zero" python3 -c '
import json, sys
s = json.loads(sys.argv[1])
for key in ("train_tokens_per_s", "eval_tokens_per_s", "decode_tokens_per_s", "gemm_gflops", "read_gb_per_s", "state_bytes"):
    assert s[key] > 0, key
assert s["step_tokens"] == 32 and s["lanes"] == 2 and s["segment"] == 16
assert s["heap_allocations_per_step"] == 0' "$json"
printf 'preset = vanilla-small\n[model]\nlayers = 1\nwidth = 16\nheads = 2\nhidden = 32\nsegment = 16\n' >"$scratch/tiny.ini"
check "a recipe is measured" "$longhand" bench "$scratch/tiny.ini" --lanes 1 --steps 1 --decode 0
check "decoding can be left out" bash -c "! '$longhand' bench '$scratch/tiny.ini' --lanes 1 --steps 1 --decode 0 | grep -q decoding"
refuses "an unknown name" 2 "no preset 'nothing'" "$longhand" bench nothing
refuses "no steps" 2 'at least 1' "$longhand" bench "$scratch/tiny.ini" --steps 0
refuses "an unknown key" 7 "unknown key 'widht'" "$longhand" bench "$scratch/tiny.ini" model.widht=3
finish
