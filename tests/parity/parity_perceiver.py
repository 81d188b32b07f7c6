"""Perceiver AR against PyTorch: hidden states, losses, every gradient, and the loss curve of 20 optimizer steps over a
text whose inputs grow from the latents alone to all that the model sees."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from parity import expectations, far, np, run_cases, run_driver, torch
from torch_perceiver import Perceiver, sinusoid_table

LANES, SEGMENTS, VOCAB = 3, 20, 37

BASE = dict(layers=2, width=32, heads=4, cross_heads=4, embedding=32, segment=12, inputs=40, positions="rotary",
            table="none", rms=False, gated=False, fraction=0.5, base=40, closed=True, interleaved=True)
CASES = {
    "rotary as published": {},
    "wide embedding, many cross heads": dict(embedding=48, cross_heads=6, width=24, heads=2),
    "one cross head, a quarter turns": dict(cross_heads=1, fraction=0.25),
    "sinusoids": dict(positions="none", table="sinusoidal"),
    "learned positions": dict(positions="none", table="learned"),
    "second released form": dict(rms=True, gated=True, fraction=1.0, base=10000, closed=False, interleaved=False),
    "latents are all inputs": dict(inputs=12),
    "three cross-attentions": dict(after=[0, 2], layers=3),
    "two cross-attentions, learned positions": dict(after=[1], positions="none", table="learned", embedding=24),
    "one learned query": dict(queries="shared"),
    "learned queries, sinusoids": dict(queries="indexed", positions="none", table="sinusoidal"),
    "three latents of a token": dict(copies=3),
    "queries a place behind": dict(offset=1),
    "queries a place behind, learned positions": dict(offset=1, positions="none", table="learned"),
    "all of it": dict(after=[0], queries="indexed", copies=2, offset=1, layers=2),
    "as many inputs as there are": dict(train_inputs=40),
}


def arguments(c):
    given = {"model.vocab": VOCAB, "model.layers": c["layers"], "model.width": c["width"], "model.heads": c["heads"],
             "model.hidden": 48, "model.segment": c["segment"], "model.embedding_width": c["embedding"],
             "model.positions": c["positions"], "model.tied": "false", "model.embedding_scaled": "false",
             "model.init": "fan-in", "model.activation": "geglu" if c["gated"] else "relu2",
             "model.norm": "rms" if c["rms"] else "layer", "memory.kind": "perceiver-ar", "memory.inputs": c["inputs"],
             "memory.cross_heads": c["cross_heads"], "memory.position_table": c["table"]}
    if c["positions"] == "rotary":
        given.update({"model.rope_base": c["base"], "model.rope_fraction": c["fraction"],
                      "model.rope_spacing": "closed" if c["closed"] else "open",
                      "model.rope_interleaved": str(c["interleaved"]).lower()})
    if c["table"] != "none":
        given["memory.position_rows"] = SEGMENTS * c["segment"] + 1 + c.get("offset", 0)
    if "after" in c:
        given["memory.cross_after"] = ",".join(map(str, c["after"]))
    given.update({"memory.queries": c.get("queries", "tokens"), "memory.latents_per_token": c.get("copies", 1),
                  "memory.query_offset": "true" if c.get("offset") else "false",
                  "memory.train_inputs": c.get("train_inputs", 0)})
    bias = "false" if c["rms"] else "true"
    given.update({"model.attention_bias": bias, "model.projection_bias": bias, "model.hidden_bias": bias,
                  "model.output_bias": bias})
    return ["%s=%s" % item for item in given.items()]


def segment_loss(model, c, text, s):
    """Segment s with what stands before it: text [lanes, tokens]."""
    n, end = c["segment"], (s + 1) * c["segment"]
    first = max(0, end - c["inputs"])
    hidden = model(text[:, first:end], first, n)
    return hidden, model.loss(hidden, text[:, end - n + 1:end + 1])


def compare(c, folder):
    rng = np.random.default_rng(5)
    n = c["segment"]
    text = rng.integers(0, VOCAB, size=(LANES, SEGMENTS * n + 1), dtype=np.int32)
    ids = np.stack([text[:, s * n:(s + 1) * n + 1] for s in range(SEGMENTS)])
    np.ascontiguousarray(ids).tofile(os.path.join(folder, "tokens.i32"))
    theirs, initial = run_driver("driver_model", folder, LANES, *arguments(c))
    text = torch.from_numpy(text.astype(np.int64))
    faults, expect = expectations()

    if c["table"] == "sinusoidal":
        table = initial["memory.positions.table"]
        noise = float((table - sinusoid_table(*table.shape)).abs().max())
        expect("constant table", noise if noise > 1e-6 else 0.0, 0.5)  # the driver adds noise of 0.05 to everything
    fixed = {"memory.positions.table"} if c["table"] == "sinusoidal" else set()
    model = Perceiver(initial, c)
    for s in range(4):
        model.zero_grad()
        hidden, loss = segment_loss(model, c, text, s)
        loss.backward()
        expect("loss of segment %d" % s, far(loss.detach(), theirs["fixed"][s]), 1e-5)
    expect("hidden states", far(hidden.detach(), theirs["hidden"]), 1e-5)
    for name in initial:
        grad = model.get(name).grad
        grad = torch.zeros_like(initial[name]) if grad is None else grad
        if name.endswith("memory.key.bias") and c["positions"] == "none":  # it shifts all logits of a query: exactly no gradient
            expect(name, float(theirs["grad." + name].abs().max()), 1e-7)
        elif name not in fixed:
            expect("gradient of " + name, far(grad, theirs["grad." + name]), 1e-5)

    model = Perceiver(initial, c)
    trained = [p for name, p in model.p.items() if name.replace("__", ".") not in fixed]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    for s in range(SEGMENTS):
        for p in trained:
            p.grad = torch.zeros_like(p)
        _, loss = segment_loss(model, c, text, s)
        loss.backward()
        optimizer.step()
        expect("loss of step %d" % s, far(loss.detach(), theirs["losses"][s]), 1e-4)
    return faults


run_cases({name: {**BASE, **changes} for name, changes in CASES.items()}, compare)
