"""Whole models against PyTorch: hidden states, losses, every gradient, and the loss curve of 20 optimizer steps."""
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
    print(f"parity_models: {missing}; skipped")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from torch_models import Model

BUILD = os.environ.get("LH_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
torch.set_num_threads(2)
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


def read(path):
    types = {"F32": np.float32, "F64": np.float64}
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(np.frombuffer(data, types[t["dtype"]], offset=8 + length + t["data_offsets"][0],
                                                 count=int(np.prod(t["shape"]))).reshape(t["shape"]).copy())
            for name, t in header.items()}


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


def far(a, b):
    """Largest difference relative to the larger tensor's largest element."""
    top = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a.double() - b.double()).abs().max()) / top


def compare(c, folder):
    rng = np.random.default_rng(5)
    ids = rng.integers(0, VOCAB, size=(SEGMENTS, LANES, c["segment"] + 1), dtype=np.int32)
    ids[1:, :, 0] = ids[:-1, :, -1]
    ids.tofile(os.path.join(folder, "tokens.i32"))
    subprocess.run([os.path.join(BUILD, "driver_model"), folder, str(LANES)] + arguments(c), check=True)
    theirs, initial = read(os.path.join(folder, "result.safetensors")), read(os.path.join(folder, "init.safetensors"))
    text, faults = torch.from_numpy(ids.astype(np.int64)), []

    def expect(what, distance, bound):
        if not distance <= bound:
            faults.append("%s differs by %.2g" % (what, distance))

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
    for name in initial:
        grad = model.get(name).grad
        grad = torch.zeros_like(initial[name]) if grad is None else grad
        expect("gradient of " + name, far(grad, theirs["grad." + name]), 1e-5)

    model = Model(initial, c)
    state = model.start(LANES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    for s in range(SEGMENTS):
        optimizer.zero_grad(set_to_none=False)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        hidden, auxiliary, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        optimizer.step()
        expect("loss of step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    return faults


passed = failed = 0
for name, changes in CASES.items():
    with tempfile.TemporaryDirectory() as folder:
        faults = compare({**BASE, **changes}, folder)
    passed += not faults
    failed += bool(faults)
    print(("ok    " if not faults else "FAIL  ") + name + "".join("\n      " + f for f in faults[:8]))
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
