"""The same training step in PyTorch, for bench/compare.sh: one JSON line with tokens per second and peak memory.

    peer_torch.py MODEL LANES SEGMENT STEPS      MODEL: vanilla, transformer-xl, compressive, block-recurrent,
                                                 sliding-window, memorizing:N with a memory of N that is full,
                                                 routing-causal or routing-full (6 layers, width 512)
"""
import json
import os
import resource
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "support"))
import torch
import torch.nn.functional as F
from torch_block_recurrent import BlockRecurrent
from torch_memorizing import Memorizing, unit
from torch_models import Model
from torch_routing import RoutingBlocks

kind, lanes, segment, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.manual_seed(1)
torch.set_num_threads(os.cpu_count())
WIDTH, HEADS, LAYERS, HIDDEN, VOCAB = 512, 8, 6, 2048, 256


class Vanilla(torch.nn.Module):
    """A plain pre-norm decoder of library modules, with the best attention this PyTorch has."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCAB, WIDTH)
        self.blocks = torch.nn.ModuleList()
        for _ in range(LAYERS):
            self.blocks.append(torch.nn.ModuleDict(dict(
                n1=torch.nn.LayerNorm(WIDTH), qkv=torch.nn.Linear(WIDTH, 3 * WIDTH, bias=False),
                out=torch.nn.Linear(WIDTH, WIDTH), n2=torch.nn.LayerNorm(WIDTH),
                up=torch.nn.Linear(WIDTH, HIDDEN), down=torch.nn.Linear(HIDDEN, WIDTH))))
        self.norm = torch.nn.LayerNorm(WIDTH)
        angle = torch.arange(segment)[:, None] * 10000.0 ** (-torch.arange(0, 64, 2) / 64)[None]
        self.cos, self.sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
        self.mask = torch.ones(segment, segment, dtype=torch.bool).triu(1)

    def turn(self, x):
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, ids):
        x = self.embedding(ids)
        for b in self.blocks:
            q, k, v = b["qkv"](b["n1"](x)).view(lanes, segment, 3, HEADS, 64).permute(2, 0, 3, 1, 4)
            q, k = self.turn(q), self.turn(k)
            if hasattr(F, "scaled_dot_product_attention"):
                a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                a = (q @ k.transpose(-1, -2) * 0.125).masked_fill(self.mask, -float("inf")).softmax(-1) @ v
            x = x + b["out"](a.transpose(1, 2).reshape(lanes, segment, WIDTH))
            x = x + b["down"](F.gelu(b["up"](b["n2"](x))))
        return self.norm(x) @ self.embedding.weight.T


def memory_model():
    compressive = kind == "compressive"
    c = dict(layers=LAYERS, width=WIDTH, heads=HEADS, segment=segment, length=512, compressed=512 if compressive else 0,
             rate=4, function="conv", layout="input", share=False, scale_logits=False, same_length=False, clamp=0,
             final_norm=True, kind=kind)
    p = {"embedding.weight": (VOCAB, WIDTH), "output.bias": (VOCAB,), "final_norm.weight": (WIDTH,),
         "final_norm.bias": (WIDTH,)}
    for i in range(LAYERS):
        L = "layers.%d." % i
        for name in ("attention_norm", "hidden_norm"):
            p[L + name + ".weight"] = p[L + name + ".bias"] = (WIDTH,)
        for name in ("query", "output", "relative"):
            p[L + "attention.%s.weight" % name] = (WIDTH, WIDTH)
        p[L + "attention.key_value.weight"] = (2 * WIDTH, WIDTH)
        p[L + "attention.output.bias"] = p[L + "hidden.down.bias"] = (WIDTH,)
        p[L + "attention.content_bias"] = p[L + "attention.position_bias"] = (HEADS, 64)
        p[L + "hidden.up.weight"], p[L + "hidden.up.bias"] = (HIDDEN, WIDTH), (HIDDEN,)
        p[L + "hidden.down.weight"] = (WIDTH, HIDDEN)
        if compressive:
            p[L + "compression.weight"] = (WIDTH, 4, WIDTH)
            p[L + "attention.compressed_relative.weight"] = (WIDTH, WIDTH)
            p[L + "attention.compressed_position_bias"] = (HEADS, 64)
    return Model({name: torch.randn(shape) * 0.02 for name, shape in p.items()}, c)


def window_model():
    """Blocks of 512, the fifth layer recurrent if any is: the shapes of the preset block-recurrent-small."""
    states = 512 if kind == "block-recurrent" else 0
    c = dict(layers=LAYERS, width=WIDTH, heads=HEADS, hidden=HIDDEN, window=512, states=states,
             recurrent=4 if states else None, read=4 if states else None, cell="skip", gate="fixed", feedback=False,
             clear=0, buckets=32, longest=128, strict=False, tanh=False)
    p = {"embedding.weight": (VOCAB, WIDTH), "final_norm.weight": (WIDTH,)}
    for i in range(LAYERS):
        L = "layers.%d." % i
        p[L + "attention_norm.weight"] = p[L + "hidden_norm.weight"] = (WIDTH,)
        p[L + "attention.query.weight"] = p[L + "attention.output.weight"] = (WIDTH, WIDTH)
        p[L + "attention.key_value.weight"] = (2 * WIDTH, WIDTH)
        p[L + "attention.head_scale"], p[L + "attention.t5"] = (HEADS,), (HEADS, 32)
        p[L + "hidden.up.weight"], p[L + "hidden.down.weight"] = (HIDDEN, WIDTH), (WIDTH, HIDDEN)
    if states:
        L = "layers.4.memory."
        p[L + "head_scale"] = p[L + "state.head_scale"] = p[L + "state.token_head_scale"] = (HEADS,)
        for name in ("query", "output", "state.query", "state.token_query"):
            p[L + name + ".weight"] = (WIDTH, WIDTH)
        p[L + "state.key_value.weight"], p[L + "state.output.weight"] = (2 * WIDTH, WIDTH), (WIDTH, 2 * WIDTH)
        p[L + "state.norm.weight"] = p[L + "state.gate.bias"] = (WIDTH,)
        p[L + "state.identity.table"] = p[L + "state.start.table"] = (states, WIDTH)
    return BlockRecurrent({name: torch.randn(shape) * 0.02 for name, shape in p.items()}, c)


def memorizing_model():
    """The shapes of the preset memorizing-small, and a state whose memory is full."""
    c = dict(layers=LAYERS, width=WIDTH, heads=HEADS, kv_heads=HEADS, segment=segment, window=512, cache=True,
             size=int(kind.split(":")[1]), neighbours=32, memory_layers=[3], fewer="softmax", combine="gate",
             local_bias=True, store="f32", logit_scale=WIDTH ** -0.5)
    p = {"embedding.weight": (VOCAB, WIDTH), "final_norm.weight": (WIDTH,), "layers.3.memory.gate": (HEADS,)}
    for i in range(LAYERS):
        L = "layers.%d." % i
        p[L + "attention_norm.weight"] = p[L + "hidden_norm.weight"] = (WIDTH,)
        p[L + "attention.query.weight"] = p[L + "attention.output.weight"] = (WIDTH, WIDTH)
        p[L + "attention.key_value.weight"] = (2 * WIDTH, WIDTH)
        p[L + "attention.head_scale"], p[L + "attention.t5"] = (HEADS,), (HEADS, 32)
        p[L + "hidden.up.weight"], p[L + "hidden.down.weight"] = (HIDDEN, WIDTH), (WIDTH, HIDDEN)
    model = Memorizing({name: torch.ones(shape) if name.endswith("head_scale") else torch.randn(shape) * 0.04
                        for name, shape in p.items()}, c)
    state = model.start(lanes)
    rows = torch.randn(lanes, HEADS, c["size"], WIDTH // HEADS)
    state[3] = (state[3][0], (unit(rows), torch.randn_like(rows)))
    return model, state


windows = kind in ("block-recurrent", "sliding-window")
def routing_model():
    """As the preset routing-small: the upper three layers route half of their heads."""
    c = dict(layers=LAYERS, width=WIDTH, heads=HEADS, routing=4, skip=3, segment=segment, clusters=16, size=128, block=128,
             back=128, distance=255, mode=kind[len("routing-"):], start="counted", decay=0.999, beta=1e-4, gated=False)
    d = WIDTH // HEADS
    p = {"embedding.weight": (VOCAB, WIDTH), "output.weight": (VOCAB, WIDTH), "output.bias": (VOCAB,),
         "input.weight": (WIDTH, WIDTH), "input.bias": (WIDTH,)}
    for i in range(LAYERS):
        L = "layers.%d." % i
        for name in ("attention_post_norm", "hidden_post_norm"):
            p[L + name + ".weight"] = p[L + name + ".bias"] = (WIDTH,)
        p[L + "attention.query.weight"] = p[L + "attention.output.weight"] = (WIDTH, WIDTH)
        p[L + "attention.key_value.weight"] = (2 * WIDTH, WIDTH)
        p[L + "hidden.up.weight"], p[L + "hidden.up.bias"] = (HIDDEN, WIDTH), (HIDDEN,)
        p[L + "hidden.down.weight"], p[L + "hidden.down.bias"] = (WIDTH, HIDDEN), (WIDTH,)
        p[L + "memory.mixer.weight"] = (d, d)
        for where in ("local", "cluster") if i >= c["skip"] else ("local",):
            p[L + "memory.%s_keys.table" % where] = p[L + "memory.%s_values.table" % where] = (2 * c["distance"] + 1, d)
        if i >= c["skip"]:
            p[L + "memory.centroids"] = p[L + "memory.centroid_means"] = (c["routing"], c["clusters"], d)
            p[L + "memory.centroid_counts"] = (c["routing"], c["clusters"])
    weights = {name: torch.randn(shape) * (1 if "centroids" in name else 0.05) for name, shape in p.items()}
    return RoutingBlocks(weights, c)


routing = kind.startswith("routing")
if kind.startswith("memorizing"):
    model, state = memorizing_model()
else:
    model = Vanilla() if kind == "vanilla" else window_model() if windows else routing_model() if routing else memory_model()
    state = None if kind == "vanilla" or routing else model.start(lanes)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
times = []
for step in range(steps + 1):
    ids, targets = torch.randint(VOCAB, (lanes, segment)), torch.randint(VOCAB, (lanes, segment))
    start = time.perf_counter()
    optimizer.zero_grad()
    if kind == "vanilla":
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    elif windows:
        hidden, state = model(ids, state)
        loss = model.loss(hidden, targets)
    else:
        hidden, auxiliary, state = model(ids, state)
        loss = model.loss(hidden, targets) + auxiliary
    loss.backward()
    optimizer.step()
    if routing:
        model.learn()
    times.append(time.perf_counter() - start)
seconds = statistics.median(times[1:])
print(json.dumps({"model": kind, "torch": torch.__version__, "lanes": lanes, "segment": segment,
                  "train_tokens_per_s": round(lanes * segment / seconds, 1),
                  "resident_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1)}))
