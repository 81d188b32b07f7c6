"""The Routing Transformer against PyTorch: hidden states, losses, every gradient, and 20 optimizer steps with the centroids
that they leave behind."""
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
    print(f"parity_routing: {missing}; skipped")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from torch_routing import RoutingBlocks, RoutingModel

BUILD = os.environ.get("LH_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
torch.set_num_threads(2)
LANES, SEGMENTS, VOCAB = 3, 20, 37

BASE = dict(layers=2, width=32, heads=4, hidden=48, routing=2, skip=0, segment=48, clusters=4, size=12, block=8, back=8,
            distance=9, mode="causal", start="counted", decay=0.9, beta=0.05, relative=True, mixer=True, gated=False,
            embedding=32, own=False, ranks=True, hashed=False, spread=0)
# In a first layer that routes, equal tokens have equal scores, and who is among the best is a matter of rounding.
UPPER = dict(layers=3, skip=1, mode="full")
CASES = {
    "causal": {},
    "full": UPPER,
    "full, the published start": dict(UPPER, start="official", decay=0.5),
    "causal, all heads, without tables": dict(routing=4, relative=False, size=7),
    "full, clusters that overlap, factorised, gated": dict(UPPER, size=20, embedding=12, gated=True),
    "causal, upper layer only, without mixer": dict(skip=1, mixer=False, routing=1, back=16, distance=60),
    "causal, keys of their own": dict(own=True, ranks=False),
    "causal, keys of their own, all heads, small clusters": dict(own=True, ranks=False, routing=4, size=3, start="official"),
    "full, keys of their own": dict(UPPER, own=True, ranks=False),
    "full, keys of their own, overlapping": dict(UPPER, own=True, ranks=False, size=20, start="official", decay=0.5),
    "local": dict(routing=0),
    "causal, hashed": dict(hashed=True),
    "full, hashed, two layers that route": dict(hashed=True, mode="full"),
    "full, a cluster-strided head": dict(UPPER, spread=1),
    "full, as many cluster-strided as routing heads, overlapping": dict(UPPER, spread=2, size=20),
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
    flag = lambda name: str(c[name]).lower()
    return ["model.vocab=%d" % VOCAB, "model.layers=%d" % c["layers"], "model.width=%d" % c["width"],
            "model.heads=%d" % c["heads"], "model.hidden=%d" % c["hidden"], "model.segment=%d" % c["segment"],
            "model.positions=none", "model.norm_layout=output", "model.norm_eps=1e-6", "model.final_norm=false",
            "model.projection_bias=false", "model.init=unit-uniform", "model.tied=false", "model.embedding_scaled=false",
            "model.input_projection=linear", "model.embedding_width=%d" % c["embedding"],
            "model.activation=" + ("geglu" if c["gated"] else "relu"),
            "model.hidden_bias=" + str(not c["gated"]).lower(), "memory.kind=routing",
            "memory.routing=" + c["mode"], "memory.routing_heads=%d" % c["routing"], "memory.skip_first=%d" % c["skip"],
            "memory.clusters=%d" % c["clusters"], "memory.cluster_size=%d" % c["size"], "memory.block=%d" % c["block"],
            "memory.look_back=%d" % c["back"], "memory.distance=%d" % c["distance"], "memory.relative=" + flag("relative"),
            "memory.cluster_relative=" + str(c["relative"] and c["ranks"]).lower(),
            "memory.share_keys=" + str(not c["own"]).lower(), "memory.head_mixer=" + flag("mixer"),
            "memory.commitment=%g" % c["beta"], "memory.centroid_decay=%g" % c["decay"],
            "memory.centroid_start=" + c["start"], "memory.cluster_strided_heads=%d" % c["spread"],
            "memory.assignment=" + ("lsh" if c["hashed"] else "centroids")]


def far(a, b):
    """Largest difference relative to the larger tensor's largest element."""
    top = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a.double() - b.double()).abs().max()) / top


def compare(c, folder):
    rng = np.random.default_rng(5)
    ids = rng.integers(0, VOCAB, size=(SEGMENTS, LANES, c["segment"] + 1), dtype=np.int32)
    ids.tofile(os.path.join(folder, "tokens.i32"))
    subprocess.run([os.path.join(BUILD, "driver_model"), folder, str(LANES)] + arguments(c), check=True)
    theirs, initial = read(os.path.join(folder, "result.safetensors")), read(os.path.join(folder, "init.safetensors"))
    text, faults = torch.from_numpy(ids.astype(np.int64)), []

    def expect(what, distance, bound):
        if not distance <= bound:
            faults.append("%s differs by %.2g" % (what, distance))

    model = RoutingModel(initial, c)
    for s in range(4):
        model.zero_grad()
        hidden, auxiliary, _ = model(text[s, :, :-1])
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        expect("loss of segment %d" % s, far(loss.detach(), theirs["fixed"][s]), 1e-5)
        expect("auxiliary loss of segment %d" % s, far(auxiliary.detach(), theirs["fixed_auxiliary"][s]), 1e-5)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), 1e-5)
    for name in initial:
        if name not in model.statistics:
            grad = model.get(name).grad
            expect("gradient of " + name, far(torch.zeros_like(initial[name]) if grad is None else grad,
                                              theirs["grad." + name]), 2e-5)

    if c["segment"] % c["size"] == 0 and not (c["own"] or c["hashed"] or c["spread"]):  # the benchmarks' form is the same model
        blocks, plain = RoutingBlocks(initial, c), RoutingModel(initial, c)
        expect("hidden states of the form in blocks", far(*(m(text[0, :, :-1])[0].detach() for m in (blocks, plain))), 1e-5)

    model = RoutingModel(initial, c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    for s in range(SEGMENTS):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        hidden, auxiliary, _ = model(text[s, :, :-1])
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        optimizer.step()
        model.learn()
        expect("loss of step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    for name, value in model.statistics.items():
        expect("final " + name, far(value, theirs["final." + name]), 1e-4)
        assert torch.equal(value, initial[name]) == ("projections" in name)
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
