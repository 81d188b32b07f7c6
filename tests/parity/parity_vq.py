#!/usr/bin/python3
"""Transformer-VQ against PyTorch: losses, hidden states, every gradient, codebooks, counts, mean values and caches
over several updates of several segments each, with the optimizer's steps."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import adamw, expectations, far, np, run_cases, run_driver, text_in_a_row, torch, zero_gradients
from torch_vq import Model, detach

LANES, UPDATES, VOCAB = 2, 6, 37

BASE = dict(layers=3, width=32, heads=1, kv_heads=1, key_width=16, value_width=48, codes=11, length=12, segment=12, unroll=3,
            aggregate=True, gated=True, mlp=False, tied=False, final_norm=False, affine=True, base=100000.0,
            commitment=1e-2, decay=0.9, logit_scale=1.0, scale_bias=False, detach=False, codebook="ema")
HEADS = dict(heads=4, kv_heads=4, key_width=8, value_width=8, gated=False, mlp=True, affine=False)
CASES = {
    "gated units": {},
    "gated units, tied, scaled outputs": dict(tied=True, final_norm=True, logit_scale=0.2, scale_bias=True),
    "gated units, cut between segments": dict(detach=True),
    "gated units, no aggregate": dict(aggregate=False),
    "gated units, short window, long segments": dict(length=5, segment=16),
    "gated units, long window, two heads": dict(length=31, heads=2, kv_heads=2),
    "multi-head": HEADS,
    "multi-query": dict(HEADS, kv_heads=1),
    "codes trained by gradients": dict(codebook="gradient", heads=2, kv_heads=2),
    "codes trained by gradients, grouped queries": dict(HEADS, kv_heads=2, codebook="gradient"),
    "fixed codes": dict(codebook="fixed", heads=2, kv_heads=2, base=50.0),
}


def arguments(c):
    given = ["model.vocab=%d" % VOCAB, "model.positions=none", "model.projection_bias=false", "model.hidden_bias=false",
             "model.norm=rms", "model.norm_eps=1e-6", "model.embedding_scaled=false", "model.init=fan-in-normal",
             "model.activation=relu2", "model.hidden=48", "model.norm_bias=%s" % str(c["affine"]).lower(),
             "memory.kind=transformer-vq", "memory.position_base=%g" % c["base"]]
    for section, keys in (("model", "layers width heads kv_heads key_width value_width segment mlp tied final_norm logit_scale"),
                          ("memory", "codes length aggregate gated commitment decay detach codebook")):
        given += ["%s.%s=%s" % (section, key, str(c[key]).lower()) for key in keys.split()]
    return given + ["model.norm_affine=%s" % str(c["affine"]).lower(),
                    "model.scale_output_bias=%s" % str(c["scale_bias"]).lower()]


def compare(c, folder):
    text = text_in_a_row(folder, np.random.default_rng(5), VOCAB, UPDATES * c["unroll"], LANES, c["segment"])
    theirs, initial = run_driver("driver_vq", folder, LANES, c["unroll"], *arguments(c))
    faults, expect = expectations()

    model = Model(initial, c)
    optimizer = adamw(model, betas=(0.9, 0.98))
    state = model.start(LANES)
    for update in range(UPDATES):
        zero_gradients(model)
        state, loss, commitment = detach(state), 0.0, 0.0
        for u in range(c["unroll"]):
            now = text[update * c["unroll"] + u]
            hidden, commit, state = model(now[:, :-1], detach(state) if c["detach"] else state)
            loss = loss + model.loss(hidden, now[:, 1:]) / c["unroll"]
            commitment = commitment + commit / c["unroll"]
        (loss + commitment).backward()
        bound = 1e-5 if update < 2 else 1e-4
        expect("loss of update %d" % update, far(loss.detach(), theirs["loss"][update]), bound)
        expect("commitment of update %d" % update, far(commitment.detach(), theirs["auxiliary"][update]), bound)
        if update == 1:
            expect("hidden states", far(hidden.detach(), theirs["hidden.last"]), 2e-5)
            for name in initial:
                if name in model.book:
                    if "grad." + name in theirs:
                        faults.append("%s has a gradient" % name)
                else:
                    expect("gradient of " + name, far(model.get(name).grad, theirs["grad." + name]), 2e-5)
        model.learn()
        optimizer.step()
    for name in initial:
        if name.endswith("relative.weight") and not c["aggregate"]:
            continue  # a constant on all positions changes nothing: AdamW turns the rounding of that zero into steps
        ours = model.book[name] if name in model.book else model.get(name).detach()
        expect("final " + name, far(ours, theirs["parameter." + name]), 2e-4)
    for i, layer in enumerate(state):
        L = "state.layers.%d." % i
        codes = torch.where(layer["z"] == c["codes"], torch.zeros_like(layer["z"]), layer["z"] + 1)
        if not torch.equal(codes, theirs[L + "cache.codes"].long()):
            faults.append("codes of layer %d differ" % i)
        expect("cached keys of layer %d" % i, far(layer["k"].detach(), theirs[L + "cache.keys"]), 1e-4)
        expect("cached values of layer %d" % i, far(layer["v"].detach(), theirs[L + "cache.values"]), 1e-4)
        if c["aggregate"]:
            expect("counts of layer %d" % i, far(layer["n"], theirs[L + "counts"]), 0)
            expect("means of layer %d" % i, far(layer["u"].detach(), theirs[L + "means"]), 1e-4)
    if len({int(code) for layer in state for code in layer["z"].flatten()}) < 4:
        faults.append("hardly any code is used: nothing was compared")
    return faults


run_cases({name: {**BASE, **changes} for name, changes in CASES.items()}, compare)
