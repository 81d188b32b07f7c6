"""A Perceiver AR's training step in PyTorch, for bench/compare_perceiver.sh: one JSON line.

    peer_perceiver.py INPUTS LATENTS STEPS        one lane, width 128, 4 heads, 2 layers, as bench_perceiver
"""
import json
import os
import resource
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "support"))
import torch
from torch_perceiver import Perceiver

inputs, latents, steps = (int(x) for x in sys.argv[1:4])
torch.manual_seed(1)
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
WIDTH, HEADS, LAYERS, HIDDEN, VOCAB = 128, 4, 2, 512, 259
c = dict(layers=LAYERS, width=WIDTH, heads=HEADS, cross_heads=HEADS, embedding=WIDTH, segment=latents, inputs=inputs,
         positions="rotary", table="none", rms=False, gated=False, fraction=0.5, base=inputs, closed=True,
         interleaved=True)


def linear(p, name, out, width):
    p[name + ".weight"], p[name + ".bias"] = torch.randn(out, width) * width ** -0.5, torch.zeros(out)


def norm(p, name):
    p[name + ".weight"], p[name + ".bias"] = torch.ones(WIDTH), torch.zeros(WIDTH)


p = {"embedding.weight": torch.randn(VOCAB, WIDTH)}
for name in ("latent", "query", "key", "value", "output"):
    linear(p, "memory." + name, WIDTH, WIDTH)
for name in ("memory.query_norm", "memory.input_norm", "memory.hidden_norm", "final_norm"):
    norm(p, name)
linear(p, "memory.up", HIDDEN, WIDTH)
linear(p, "memory.down", WIDTH, HIDDEN)
linear(p, "output", VOCAB, WIDTH)
for i in range(LAYERS):
    L = "layers.%d." % i
    norm(p, L + "attention_norm")
    norm(p, L + "hidden_norm")
    linear(p, L + "attention.query", WIDTH, WIDTH)
    linear(p, L + "attention.key_value", 2 * WIDTH, WIDTH)
    linear(p, L + "attention.output", WIDTH, WIDTH)
    linear(p, L + "hidden.up", HIDDEN, WIDTH)
    linear(p, L + "hidden.down", WIDTH, HIDDEN)
model = Perceiver(p, c)
text = torch.randint(0, 256, (1, inputs + 1))


def step():
    model.zero_grad()
    start = time.perf_counter()
    loss = model.loss(model(text[:, :-1], 0, latents), text[:, -latents:])
    loss.backward()
    return time.perf_counter() - start


step()
seconds = statistics.median(step() for _ in range(steps))
print(json.dumps(dict(inputs=inputs, latents=latents, seconds=seconds, tokens_per_s=latents / seconds,
                      resident_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))
