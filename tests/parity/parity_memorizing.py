"""The Memorizing Transformer against PyTorch: hidden states, losses, every gradient, what is stored after several segments,
and the loss curve of 20 optimizer steps."""
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
    print(f"parity_memorizing: {missing}; skipped")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from torch_memorizing import Memorizing

BUILD = os.environ.get("LH_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
torch.set_num_threads(2)
LANES, SEGMENTS, VOCAB = 3, 20, 37

BASE = dict(layers=3, width=32, heads=4, kv_heads=4, segment=12, window=12, cache=True, size=30, neighbours=5,
            memory_layers=[1], fewer="softmax", combine="gate", local_bias=True, store="f32", logit_scale=0.2)
CASES = {
    "memory of 30, 5 neighbours": {},
    "missing neighbours are zeros": dict(fewer="zeros", neighbours=40, size=100),
    "an empty memory closes the gate": dict(fewer="closed"),
    "sum": dict(combine="add", neighbours=3),
    "stop-forward": dict(combine="stop-forward"),
    "no position bias in memory layers": dict(local_bias=False, window=20),
    "no cache": dict(cache=False),
    "two memory layers, grouped heads": dict(kv_heads=2, memory_layers=[0, 2]),
    "16-bit store": dict(store="f16"),
    "8-bit store": dict(store="int8", neighbours=8),
}


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
    given = ["model.vocab=%d" % VOCAB, "model.hidden=48", "model.norm=rms", "model.norm_eps=1e-6", "model.positions=t5",
             "model.t5_scaled=true", "model.qk_norm=l2", "model.head_scale=true", "model.null_logit=true",
             "model.see_self=false", "model.projection_bias=false", "model.hidden_bias=false", "model.output_bias=false",
             "model.embedding_scaled=false", "model.init=fan-in", "memory.kind=memorizing",
             "memory.layers=" + ",".join(map(str, c["memory_layers"]))]
    for key in ("layers", "width", "heads", "kv_heads", "segment", "logit_scale"):
        given.append("model.%s=%s" % (key, c[key]))
    for key in ("window", "cache", "size", "neighbours", "fewer", "combine", "local_bias", "store"):
        given.append("memory.%s=%s" % (key, str(c[key]).lower()))
    return given


def far(a, b):
    """Largest difference relative to the larger tensor's largest element."""
    top = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a.double() - b.double()).abs().max()) / top


def visible(theirs, c, layer, which):
    """The rows that the library's ring shows, oldest first, [lanes, kv_heads, rows, width]."""
    name = "state.layers.%d.store." % layer
    ring, counts = theirs[name + which + "s"].float(), theirs[name + "count"]
    if c["store"] == "int8":
        ring = ring * theirs[name + which + "_factors"][..., None]
    count, capacity = int(counts[0]), ring.shape[2] - 1
    assert len(set(counts.tolist())) == 1 and capacity == c["size"] + c["segment"]
    assert float(ring[:, :, -1].abs().max()) == 0  # the missing neighbour
    rows = [n % capacity for n in range(max(0, count - c["size"]), count)]
    return ring[:, :, rows]


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

    # a number on the edge between two short ones may be rounded either way: the two sides differ in its last digits
    bound = 1e-5 if c["store"] == "f32" else 1e-4
    model = Memorizing(initial, c)
    state = model.start(LANES)
    for s in range(4):
        model.zero_grad()
        hidden, auxiliary, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        loss.backward()
        expect("loss of segment %d" % s, far(loss.detach(), theirs["fixed"][s]), bound)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), bound)
    for name in initial:
        grad = model.get(name).grad
        grad = torch.zeros_like(initial[name]) if grad is None else grad
        expect("gradient of " + name, far(grad, theirs["grad." + name]), bound)
    for layer in c["memory_layers"]:
        for i, which in enumerate(("key", "value")):
            expect("stored %ss of layer %d" % (which, layer), far(visible(theirs, c, layer, which), state[layer][1][i]),
                   1e-2 if c["store"] == "int8" else 1e-3 if c["store"] == "f16" else 1e-5)

    model = Memorizing(initial, c)
    state = model.start(LANES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    for s in range(SEGMENTS):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        hidden, auxiliary, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        loss.backward()
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
