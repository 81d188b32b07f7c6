"""Whole models against PyTorch: hidden states, losses, every gradient, and the loss curve of 20 optimizer steps."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import adamw, compare_gradients, expectations, far, np, run_cases, run_driver, text_in_a_row, zero_gradients
from torch_models import Model

LANES, SEGMENTS, VOCAB = 3, 20, 37

BASE = dict(layers=2, width=32, heads=4, segment=12, length=12, compressed=0, rate=1, function="conv", layout="input",
            share=False, scale_logits=False, same_length=False, clamp=0, final_norm=True, kind="transformer-xl")
CASES = {
    "transformer-xl, pre-norm": {},
    "transformer-xl, first release": dict(layout="output", share=True, scale_logits=True, final_norm=False),
    "transformer-xl, long memory, same length, clamp": dict(length=30, same_length=True, clamp=20),
    "transformer-xl, short memory, both norms": dict(length=5, layout="both"),
    "compressive, conv": dict(kind="compressive", compressed=9, rate=3),
    "compressive, conv, post-norm, long memory": dict(kind="compressive", compressed=6, rate=4, length=24, layout="output"),
    "compressive, mean": dict(kind="compressive", compressed=8, rate=2, function="mean"),
    "compressive, max, same length": dict(kind="compressive", compressed=8, rate=2, function="max", same_length=True),
}


def arguments(c):
    given = ["model.vocab=%d" % VOCAB, "model.positions=relative", "model.activation=relu", "model.init=sonnet",
             "model.hidden=48", "memory.kind=" + c["kind"], "memory.length=%d" % c["length"],
             "model.layers=%d" % c["layers"], "model.width=%d" % c["width"], "model.heads=%d" % c["heads"],
             "model.segment=%d" % c["segment"], "model.norm_layout=" + c["layout"], "model.clamp=%d" % c["clamp"]]
    for key, name in (("share", "share_position_biases"), ("scale_logits", "scale_logits"),
                      ("same_length", "same_length"), ("final_norm", "final_norm")):
        given.append("model.%s=%s" % (name, str(c[key]).lower()))
    if c["kind"] == "compressive":
        given += ["memory.compressed=%d" % c["compressed"], "memory.rate=%d" % c["rate"],
                  "memory.function=" + c["function"]]
    return given


def compare(c, folder):
    text = text_in_a_row(folder, np.random.default_rng(5), VOCAB, SEGMENTS, LANES, c["segment"])
    theirs, initial = run_driver("driver_model", folder, LANES, *arguments(c))
    faults, expect = expectations()

    model = Model(initial, c)
    state = model.start(LANES)
    for s in range(4):
        model.zero_grad()
        hidden, auxiliary, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        expect("loss of segment %d" % s, far(loss.detach(), theirs["fixed"][s]), 1e-5)
        if float(auxiliary):
            expect("auxiliary loss of segment %d" % s, far(auxiliary.detach(), theirs["fixed_auxiliary"][s]), 1e-5)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), 1e-5)
    compare_gradients(expect, model, initial, theirs, 1e-5)

    model = Model(initial, c)
    state = model.start(LANES)
    optimizer = adamw(model)
    for s in range(SEGMENTS):
        zero_gradients(model)
        hidden, auxiliary, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        optimizer.step()
        expect("loss of step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    return faults


run_cases({name: {**BASE, **changes} for name, changes in CASES.items()}, compare)
