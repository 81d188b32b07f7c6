"""The Routing Transformer against PyTorch: hidden states, losses, every gradient, and 20 optimizer steps with the centroids
that they leave behind."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import adamw, compare_gradients, expectations, far, np, run_cases, run_driver, torch, zero_gradients
from torch_routing import RoutingBlocks, RoutingModel

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


def compare(c, folder):
    rng = np.random.default_rng(5)
    ids = rng.integers(0, VOCAB, size=(SEGMENTS, LANES, c["segment"] + 1), dtype=np.int32)
    ids.tofile(os.path.join(folder, "tokens.i32"))
    text = torch.from_numpy(ids.astype(np.int64))
    theirs, initial = run_driver("driver_model", folder, LANES, *arguments(c))
    faults, expect = expectations()

    model = RoutingModel(initial, c)
    for s in range(4):
        model.zero_grad()
        hidden, auxiliary, _ = model(text[s, :, :-1])
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        expect("loss of segment %d" % s, far(loss.detach(), theirs["fixed"][s]), 1e-5)
        expect("auxiliary loss of segment %d" % s, far(auxiliary.detach(), theirs["fixed_auxiliary"][s]), 1e-5)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), 1e-5)
    compare_gradients(expect, model, initial, theirs, 2e-5, without=model.statistics)

    if c["segment"] % c["size"] == 0 and not (c["own"] or c["hashed"] or c["spread"]):  # the benchmarks' form is the same model
        blocks, plain = RoutingBlocks(initial, c), RoutingModel(initial, c)
        expect("hidden states of the form in blocks", far(*(m(text[0, :, :-1])[0].detach() for m in (blocks, plain))), 1e-5)

    model = RoutingModel(initial, c)
    optimizer = adamw(model)
    for s in range(SEGMENTS):
        zero_gradients(model)
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


run_cases({name: {**BASE, **changes} for name, changes in CASES.items()}, compare)
