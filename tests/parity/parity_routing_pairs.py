"""The encoder-decoder form of the Routing Transformer against PyTorch: hidden states, losses, every gradient, and 20
optimizer steps with the centroids that they leave behind, over sources of different lengths."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import adamw, compare_gradients, expectations, far, np, run_cases, run_driver, torch, zero_gradients
from torch_routing_pairs import PairsModel

LANES, STEPS, VOCAB = 3, 20, 37

BASE = dict(layers=2, encoder_layers=3, width=32, heads=4, hidden=48, routing=2, skip=1, segment=24, source=60, clusters=4,
            size=12, block=8, back=8, distance=9, mode="causal", start="counted", decay=0.9, beta=0.05,
            relative=True, mixer=True, gated=False, embedding=32, own=False, ranks=True)
# Where nothing tells equal tokens of a block apart (a first layer that routes, or no tables before one), they have equal
# scores, and who is among the best is a matter of rounding.
CASES = {
    "causal": {},
    "decoder in full mode": dict(mode="full", layers=3),
    "all heads, published start, keys of their own": dict(routing=4, own=True, ranks=False, start="official", decay=0.5),
    "gated, factorised, without mixer": dict(gated=True, embedding=12, mixer=False),
    "distances beyond the tables": dict(distance=5, back=16, routing=1),
    "local": dict(routing=0),
    "local, without tables": dict(routing=0, relative=False),
    "cross attention in clusters and blocks": dict(cross_heads=2, cross_block=20),
    "cross attention in clusters alone, own keys": dict(cross_heads=4, cross_block=20, start="official", decay=0.5,
                                                              own=True, ranks=False),
    "cross attention in small blocks, full mode": dict(cross_heads=1, cross_block=12, back=16, mode="full", layers=3),
    "cross attention in blocks alone, local": dict(cross_heads=0, cross_block=20, routing=0),
}


def arguments(c):
    flag = lambda name: str(c[name]).lower()
    return ["model.vocab=%d" % VOCAB, "model.layers=%d" % c["layers"], "model.width=%d" % c["width"],
            "model.heads=%d" % c["heads"], "model.hidden=%d" % c["hidden"], "model.segment=%d" % c["segment"],
            "model.positions=none", "model.norm_layout=output", "model.norm_eps=1e-6", "model.final_norm=false",
            "model.projection_bias=false", "model.init=unit-uniform", "model.tied=false", "model.embedding_scaled=false",
            "model.input_projection=linear", "model.embedding_width=%d" % c["embedding"],
            "model.activation=" + ("geglu" if c["gated"] else "relu"),
            "model.hidden_bias=" + str(not c["gated"]).lower(), "memory.kind=routing-pairs",
            "memory.encoder_layers=%d" % c["encoder_layers"], "memory.source=%d" % c["source"],
            "memory.routing=" + c["mode"], "memory.routing_heads=%d" % c["routing"], "memory.skip_first=%d" % c["skip"],
            "memory.clusters=%d" % c["clusters"], "memory.cluster_size=%d" % c["size"], "memory.block=%d" % c["block"],
            "memory.look_back=%d" % c["back"], "memory.distance=%d" % c["distance"], "memory.relative=" + flag("relative"),
            "memory.cluster_relative=" + str(c["relative"] and c["ranks"]).lower(),
            "memory.share_keys=" + str(not c["own"]).lower(), "memory.head_mixer=" + flag("mixer"),
            "memory.commitment=%g" % c["beta"], "memory.centroid_decay=%g" % c["decay"],
            "memory.centroid_start=" + c["start"]] + ([] if "cross_block" not in c else
            ["memory.cross_attention=blocks", "memory.cross_routing_heads=%d" % c["cross_heads"],
             "memory.cross_block=%d" % (0 if c["cross_block"] == 20 else c["cross_block"])])  # 3 blocks of the target


def make_sources(c, rng, folder):
    """[steps][lanes] sources of 9 tokens to the most, the longest not always in the same lane."""
    rows = np.full((STEPS, LANES, c["source"]), -1, dtype=np.int32)
    for row in rows.reshape(-1, c["source"]):
        length = int(rng.integers(9, c["source"] + 1))
        row[c["source"] - length:] = rng.integers(0, VOCAB, size=length)
    rows.tofile(os.path.join(folder, "sources.i32"))
    return [[torch.from_numpy(row[row >= 0].astype(np.int64)) for row in step] for step in rows]


def compare(c, folder):
    rng = np.random.default_rng(5)
    ids = rng.integers(0, VOCAB, size=(STEPS, LANES, c["segment"] + 1), dtype=np.int32)
    ids.tofile(os.path.join(folder, "tokens.i32"))
    text = torch.from_numpy(ids.astype(np.int64))
    sources = make_sources(c, rng, folder)
    theirs, initial = run_driver("driver_model", folder, LANES, *arguments(c))
    faults, expect = expectations()

    model = PairsModel(initial, c)
    for s in range(4):
        model.zero_grad()
        hidden, auxiliary = model(text[s, :, :-1], sources[s])
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        expect("loss of pairs %d" % s, far(loss.detach(), theirs["fixed"][s]), 1e-5)
        expect("auxiliary loss of pairs %d" % s, far(auxiliary.detach(), theirs["fixed_auxiliary"][s]), 1e-5)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), 1e-5)
    compare_gradients(expect, model, initial, theirs, 2e-5, without=model.statistics)

    model = PairsModel(initial, c)
    optimizer = adamw(model)
    for s in range(STEPS):
        zero_gradients(model)
        hidden, auxiliary = model(text[s, :, :-1], sources[s])
        loss = model.loss(hidden, text[s, :, 1:])
        (loss + auxiliary).backward()
        optimizer.step()
        model.learn()
        expect("loss of step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    for name, value in model.statistics.items():
        expect("final " + name, far(value, theirs["final." + name]), 1e-4)
        assert not torch.equal(value, initial[name])
    return faults


cases = {name: {**BASE, **changes} for name, changes in CASES.items()}
for case in cases.values():
    case["source_size"] = case["size"]  # memory.cluster_size is of both
run_cases(cases, compare)
