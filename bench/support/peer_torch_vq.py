"""A training step of transformer-vq-small in PyTorch, for bench/compare_vq.sh: one JSON line with tokens per second and
peak memory.

    peer_torch_vq.py LANES UNROLL STEPS      UNROLL segments of 256 tokens in one graph
"""
import json
import os
import resource
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "support"))
import torch
from torch_vq import Model, detach

lanes, unroll, steps = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(1)
torch.set_num_threads(os.cpu_count())
WIDTH, LAYERS, KEY, VALUE, CODES, SEGMENT, VOCAB = 512, 12, 128, 1024, 256, 256, 256
c = dict(layers=LAYERS, width=WIDTH, heads=1, kv_heads=1, key_width=KEY, value_width=VALUE, codes=CODES, length=SEGMENT,
         segment=SEGMENT, aggregate=True, gated=True, mlp=False, tied=False, final_norm=False, base=100000.0,
         commitment=1e-4, decay=0.99, logit_scale=1.0, scale_bias=False)
p = {"embedding.weight": (VOCAB, WIDTH), "output.weight": (VOCAB, WIDTH), "output.bias": (VOCAB,)}
for i in range(LAYERS):
    L = "layers.%d." % i
    p[L + "attention_norm.weight"] = p[L + "attention_norm.bias"] = (WIDTH,)
    for name, rows in (("query", KEY), ("key", KEY), ("value", VALUE), ("gate", VALUE), ("relative", KEY)):
        p[L + "attention.%s.weight" % name] = (rows, WIDTH)
    p[L + "attention.output.weight"] = (WIDTH, VALUE)
    p[L + "attention.content_bias"] = p[L + "attention.position_bias"] = (1, KEY)
    p[L + "memory.codebook.sum"], p[L + "memory.codebook.count"] = (1, CODES, KEY), (1, CODES)
parameters = {name: torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0) for name, shape in p.items()}
for name in parameters:
    if name.endswith("count"):
        parameters[name] = torch.ones(p[name])
model = Model(parameters, c)
state = model.start(lanes)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
times = []
for step in range(steps + 1):
    ids = torch.randint(VOCAB, (unroll, lanes, SEGMENT + 1))
    start = time.perf_counter()
    optimizer.zero_grad()
    state, total = detach(state), 0.0
    for u in range(unroll):
        hidden, commitment, state = model(ids[u, :, :-1], state)
        total = total + (model.loss(hidden, ids[u, :, 1:]) + commitment) / unroll
    total.backward()
    model.learn()
    optimizer.step()
    times.append(time.perf_counter() - start)
seconds = statistics.median(times[1:])
print(json.dumps({"torch": torch.__version__, "lanes": lanes, "unroll": unroll,
                  "train_tokens_per_s": round(lanes * unroll * SEGMENT / seconds, 1),
                  "resident_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1)}))
