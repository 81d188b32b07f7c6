"""The Block-Recurrent Transformer against PyTorch: hidden states, state, losses, every gradient over several blocks in one
graph, and the loss curve of 20 optimizer steps. The library runs the stack block by block; the PyTorch model runs layer
by layer over the whole training segment where that is the same, and is itself compared with its block-by-block form."""
import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
except ImportError as missing:
    print(f"parity_block_recurrent: {missing}; skipped")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from torch_block_recurrent import BlockRecurrent

BUILD = os.environ.get("LH_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
torch.set_num_threads(2)
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


def read(path):
    types = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "F16": np.float16, "I8": np.int8}
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(np.frombuffer(data, types[t["dtype"]], offset=8 + length + t["data_offsets"][0],
                                                 count=int(np.prod(t["shape"]))).reshape(t["shape"]).copy())
            for name, t in header.items()}


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


def far(a, b):
    """Largest difference relative to the larger tensor's largest element."""
    top = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a.double() - b.double()).abs().max()) / top


def compare(c, folder):
    # A ReLU that is just above zero on one side and just below on the other makes AdamW step apart: not in this text.
    rng = np.random.default_rng(6)
    ids = rng.integers(0, VOCAB, size=(STEPS, LANES, BLOCKS * c["window"] + 1), dtype=np.int32)
    ids[1:, :, 0] = ids[:-1, :, -1]
    ids.tofile(os.path.join(folder, "tokens.i32"))
    subprocess.run([os.path.join(BUILD, "driver_model"), folder, str(LANES)] + arguments(c), check=True)
    theirs, initial = read(os.path.join(folder, "result.safetensors")), read(os.path.join(folder, "init.safetensors"))
    text, faults = torch.from_numpy(ids.astype(np.int64)), []

    def expect(what, distance, bound):
        if not distance <= bound:
            faults.append("%s differs by %.2g" % (what, distance))

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
    for name in initial:
        grad = model.get(name).grad
        grad = torch.zeros_like(initial[name]) if grad is None else grad
        expect("gradient of " + name, far(grad, theirs["grad." + name]), 1e-5)

    model = BlockRecurrent(initial, c)
    state = model.start(LANES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    for s in range(STEPS):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        hidden, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        loss.backward()
        optimizer.step()
        expect("loss of training step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    return faults


passed = failed = 0
for name, changes in CASES.items():
    case = {**BASE, **changes}
    case["read"] = case["recurrent"] if case["read"] is None else case["read"]
    case["tanh"] = case["cell"] == "single" if case["tanh"] is None else case["tanh"]
    with tempfile.TemporaryDirectory() as folder:
        faults = compare(case, folder)
    passed += not faults
    failed += bool(faults)
    print(("ok    " if not faults else "FAIL  ") + name + "".join("\n      " + f for f in faults[:8]))
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
