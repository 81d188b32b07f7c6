"""The Memorizing Transformer against PyTorch: hidden states, losses, every gradient, what is stored after several segments,
and the loss curve of 20 optimizer steps."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import adamw, compare_gradients, expectations, far, np, run_cases, run_driver, text_in_a_row, zero_gradients
from torch_memorizing import Memorizing

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
    text = text_in_a_row(folder, np.random.default_rng(5), VOCAB, SEGMENTS, LANES, c["segment"])
    theirs, initial = run_driver("driver_model", folder, LANES, *arguments(c))
    faults, expect = expectations()

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
    compare_gradients(expect, model, initial, theirs, bound)
    for layer in c["memory_layers"]:
        for i, which in enumerate(("key", "value")):
            expect("stored %ss of layer %d" % (which, layer), far(visible(theirs, c, layer, which), state[layer][1][i]),
                   1e-2 if c["store"] == "int8" else 1e-3 if c["store"] == "f16" else 1e-5)

    model = Memorizing(initial, c)
    state = model.start(LANES)
    optimizer = adamw(model)
    for s in range(SEGMENTS):
        zero_gradients(model)
        hidden, auxiliary, state = model(text[s, :, :-1], state)
        loss = model.loss(hidden, text[s, :, 1:])
        loss.backward()
        optimizer.step()
        expect("loss of step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    return faults


run_cases({name: {**BASE, **changes} for name, changes in CASES.items()}, compare)
