"""The Memorizing Transformer in PyTorch, written from its paper for the parity tests and the benchmarks: dense matrices
of scores, top-k over all of them, nothing of the library's code."""
import math

import torch
import torch.nn.functional as F


def t5_buckets(distance, buckets=32, far=128):
    """Unidirectional buckets of distances >= 0 (Raffel et al. 2020)."""
    near = buckets // 2
    large = near + (torch.log(distance.clamp(min=1).double() / near + 1.1920929e-7) / math.log(far / near)
                    * (buckets - near)).long()
    return torch.where(distance < near, distance, large.clamp(max=buckets - 1))


def unit(x):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


class Memorizing(torch.nn.Module):
    """c: layers, width, heads, kv_heads, segment, window, cache, size, neighbours, memory_layers, fewer, combine,
    local_bias, store, logit_scale. Parameters carry the library's names, dots replaced by two underscores."""

    def __init__(self, parameters, c):
        super().__init__()
        self.c = c
        self.p = torch.nn.ParameterDict({k.replace(".", "__"): torch.nn.Parameter(v.clone()) for k, v in parameters.items()})

    def get(self, name):
        key = name.replace(".", "__")
        return self.p[key] if key in self.p else None

    def norm(self, x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.get(name + ".weight")

    def bias(self, layer, distance):
        table = self.get(f"layers.{layer}.attention.t5")
        if table is None or (layer in self.c["memory_layers"] and not self.c["local_bias"]):
            return 0.0
        return table[:, t5_buckets(distance.clamp(min=0), table.shape[1])]

    def local(self, layer, q, k, v, cache, gamma):
        """Attention to the window tokens before each query, itself not among them."""
        c, n = self.c, q.shape[2]
        if c["cache"]:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        old = k.shape[2] - n
        group = c["heads"] // c["kv_heads"]
        distance = torch.arange(n)[:, None] + old - torch.arange(k.shape[2])[None]
        logits = gamma[:, None, None] * (q @ k.repeat_interleave(group, 1).transpose(2, 3) + self.bias(layer, distance))
        reach = c["window"] if c["cache"] else n
        logits = logits.masked_fill((distance < 1) | (distance > reach), -1e6)
        logits = torch.cat([logits, torch.full(logits.shape[:3] + (1,), -1000.0)], 3)
        out = logits.softmax(3)[..., :-1] @ v.repeat_interleave(group, 1)
        w = c["window"]
        return out, (k[:, :, -w:].detach(), v[:, :, -w:].detach()) if c["cache"] else cache

    def recall(self, q, memory, gamma):
        """Softmax over the k best keys of the memory: [lanes, heads, n, value width], and the rows that were chosen."""
        c, (keys, values) = self.c, memory
        count, group = keys.shape[2], c["heads"] // c["kv_heads"]
        k = min(c["neighbours"], count)
        if count == 0:
            return torch.zeros(q.shape[:3] + (values.shape[3],)), None
        keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
        with torch.no_grad():
            rows = (q @ keys.transpose(2, 3)).topk(k).indices
        flat = rows.flatten(2)[..., None]
        near = keys.gather(2, flat.expand(-1, -1, -1, keys.shape[3])).unflatten(2, rows.shape[2:])
        picked = values.gather(2, flat.expand(-1, -1, -1, values.shape[3])).unflatten(2, rows.shape[2:])
        logits = gamma[:, None, None] * (q[:, :, :, None] * near).sum(4)
        if c["fewer"] == "zeros":
            logits = F.pad(logits, (0, c["neighbours"] - k))
        p = logits.softmax(3)[..., :k]
        return (p[..., None] * picked).sum(3), rows

    def stored(self, x):
        """What the memory keeps of rows [.., width]."""
        if self.c["store"] == "f16":
            return x.half().float()
        if self.c["store"] == "int8":
            top = x.abs().amax(-1, keepdim=True)
            return torch.round(x * (127 / top.clamp(min=1e-30))) * (top / 127)
        return x

    def attention(self, layer, z, cache, memory):
        c, L = self.c, f"layers.{layer}.attention."
        n, heads, kv_heads = z.shape[1], c["heads"], c["kv_heads"]
        kv = self.get(L + "key_value.weight")
        q = z @ self.get(L + "query.weight").T
        dk = q.shape[2] // heads
        dv = kv.shape[0] // kv_heads - dk
        split = lambda x, h: x.reshape(x.shape[0], n, h, -1).transpose(1, 2)
        q, k, v = split(q, heads), split(z @ kv[: kv_heads * dk].T, kv_heads), split(z @ kv[kv_heads * dk:].T, kv_heads)
        q, k, gamma = unit(q), unit(k), self.get(L + "head_scale").abs()
        out, cache = self.local(layer, q, k, v, cache, gamma)
        if layer in c["memory_layers"] and c["size"]:
            recalled, _ = self.recall(q, memory, gamma)
            if c["combine"] == "add":
                out = out + recalled
            elif c["combine"] == "stop-forward":
                out = recalled + out - out.detach()
            else:
                g = torch.sigmoid(self.get(f"layers.{layer}.memory.gate"))[:, None, None]
                if c["fewer"] == "closed" and memory[0].shape[2] == 0:
                    g = g * 0
                out = g * recalled + (1 - g) * out
            memory = tuple(torch.cat([old, self.stored(new.detach())], 2)[:, :, -c["size"]:]
                           for old, new in zip(memory, (k, v)))
        return out.transpose(1, 2).reshape(z.shape[0], n, heads * dv) @ self.get(L + "output.weight").T, cache, memory

    def forward(self, ids, state):
        """ids [lanes, segment]; state: (cache, memory) per layer. Returns hidden states, 0, new state."""
        x, fresh = self.get("embedding.weight")[ids], []
        for i in range(self.c["layers"]):
            L = f"layers.{i}."
            a, cache, memory = self.attention(i, self.norm(x, L + "attention_norm"), *state[i])
            fresh.append((cache, memory))
            x = x + a
            h = F.relu(self.norm(x, L + "hidden_norm") @ self.get(L + "hidden.up.weight").T)
            x = x + h @ self.get(L + "hidden.down.weight").T
        return self.norm(x, "final_norm"), torch.zeros(()), fresh

    def loss(self, hidden, targets):
        logits = self.c["logit_scale"] * hidden @ self.get("embedding.weight").T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def start(self, lanes):
        c = self.c
        dk = self.get("layers.0.attention.query.weight").shape[0] // c["heads"]
        dv = self.get("layers.0.attention.key_value.weight").shape[0] // c["kv_heads"] - dk
        rows = lambda n: (torch.zeros(lanes, c["kv_heads"], n, dk), torch.zeros(lanes, c["kv_heads"], n, dv))
        return [(rows(c["window"]), rows(0)) for _ in range(c["layers"])]
