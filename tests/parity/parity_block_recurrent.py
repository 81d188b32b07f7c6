"""The Block-Recurrent Transformer against PyTorch: hidden states, state, losses, every gradient over several blocks in one
graph, and the loss curve of 20 optimizer steps. The library runs the stack block by block; the PyTorch model runs layer
by layer over the whole training segment where that is the same, and is itself compared with its block-by-block form."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import adamw, compare_gradients, expectations, far, np, run_cases, run_driver, text_in_a_row, zero_gradients
from torch_block_recurrent import BlockRecurrent

LANES, STEPS, BLOCKS, VOCAB = 3, 20, 3, 37

BASE = dict(layers=3, width=32, heads=4, hidden=48, window=8, states=6, recurrent=1, cell="skip", gate="fixed",
            feedback=False, read=None, clear=0, buckets=8, longest=12, strict=False, tanh=None, bias=False)
CASES = {"%s, %s" % (gate, cell): dict(cell=cell, gate=gate) for cell in ("skip", "single", "dual")
         for gate in ("fixed", "lstm", "full")}
CASES.update({
    "feedback, fixed, skip": dict(feedback=True),
    "feedback, lstm, single": dict(feedback=True, cell="single", gate="lstm"),
    "read at a lower layer": dict(recurrent=2, read=0),
    "cleared every two blocks": dict(clear=2),
    "strict": dict(strict=True),
    "the paper's candidate": dict(gate="lstm", tanh=True, bias=True),
    "sliding window": dict(recurrent=None),
})


def arguments(c):
    given = dict(vocab=VOCAB, layers=c["layers"], width=c["width"], heads=c["heads"], hidden=c["hidden"],
                 segment=c["window"], norm="rms", norm_eps=1e-6, qk_norm="l2", head_scale="true", null_logit="true",
                 see_self="false", positions="t5", t5_scaled="true", t5_buckets=c["buckets"], t5_distance=c["longest"],
                 projection_bias="false", hidden_bias="false", output_bias="false", embedding_scaled="false",
                 activation="relu", init="fan-in", logit_scale=c["width"] ** -0.5)
    out = ["unroll=%d" % BLOCKS] + ["model.%s=%s" % item for item in given.items()]
    out += ["memory.window=%d" % c["window"], "memory.strict=" + str(c["strict"]).lower()]
    if c["recurrent"] is None:
        return out + ["memory.kind=window"]
    out += ["memory.kind=block-recurrent", "memory.states=%d" % c["states"], "memory.cell=" + c["cell"],
            "memory.gate=" + c["gate"], "memory.recurrent_layers=%d" % c["recurrent"],
            "memory.clear_every=%d" % c["clear"], "memory.z_bias=" + str(c["bias"]).lower(),
            "memory.feedback=" + str(c["feedback"]).lower(), "memory.z_tanh=" + str(c["tanh"]).lower()]
    return out + ([] if c["read"] == c["recurrent"] or c["feedback"] else ["memory.read_layers=%d" % c["read"]])


def compare(c, folder):
    # A ReLU that is just above zero on one side and just below on the other makes AdamW step apart: not in this text.
    text = text_in_a_row(folder, np.random.default_rng(6), VOCAB, STEPS, LANES, BLOCKS * c["window"])
    theirs, initial = run_driver("driver_model", folder, LANES, *arguments(c))
    faults, expect = expectations()

    model = BlockRecurrent(initial, c)
    state = apart = model.start(LANES)
    for s in range(4):
        model.zero_grad()
        hidden, state = model(text[s, :, :-1], state)
        again, apart = model(text[s, :, :-1], apart, by_blocks=True)
        expect("block by block, step %d" % s, far(again.detach(), hidden.detach()), 1e-5)
        loss = model.loss(hidden, text[s, :, 1:])
        loss.backward()
        expect("loss of step %d" % s, far(loss.detach(), theirs["fixed"][s]), 1e-5)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), 1e-5)
    for i in range(c["layers"]):
        for what in ("keys", "values"):
            ours = theirs["state.layers.%d.window.%s" % (i, what)]
            expect("window of layer %d" % i, far(state[what][i].transpose(1, 2), ours), 1e-5)
    if c["recurrent"] is not None:
        expect("state", far(state["state"], theirs["state.layers.%d.state" % c["recurrent"]]), 1e-5)
    compare_gradients(expect, model, initial, theirs, 1e-5)

    model = BlockRecurrent(initial, c)
    state = model.start(LANES)
    optimizer = adamw(model)
    for s in range(STEPS):
        zero_gradients(model)
        hidden, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        loss.backward()
        optimizer.step()
        expect("loss of training step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    return faults


cases = {name: {**BASE, **changes} for name, changes in CASES.items()}
for case in cases.values():
    case["read"] = case["recurrent"] if case["read"] is None else case["read"]
    case["tanh"] = case["cell"] == "single" if case["tanh"] is None else case["tanh"]
run_cases(cases, compare)
