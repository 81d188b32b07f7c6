"""The Block-Recurrent Transformer in PyTorch, written from the paper for the parity tests and the benchmarks.

Two ways to run it, which must agree: layer by layer over a whole training segment, where only the recurrent layer
walks through the blocks, and, where other layers read the state, too (feedback), the whole stack block by block."""
import math

import torch
import torch.nn.functional as F


def bucket(distance, buckets, longest):
    exact = buckets // 2
    if distance < exact:
        return max(distance, 0)
    share = math.log(distance / exact + 1.1920929e-7) / math.log(longest / exact)
    return min(buckets - 1, exact + int(share * (buckets - exact)))


def rms(x, gain, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def unit(x):
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


def attend(q, k, v, gamma, bias=None, hidden=None):
    """q [lanes, heads, n, dh], k and v [lanes, heads, m, dh]; a softmax with one more logit, -1000, that has no value."""
    logits = q @ k.transpose(-1, -2)
    if bias is not None:
        logits = logits + bias
    logits = logits * gamma.abs()[:, None, None]
    if hidden is not None:
        logits = logits.masked_fill(hidden, -1e6)
    top = logits.amax(-1, keepdim=True).clamp(min=-1000.0).detach()
    p = (logits - top).exp()
    return p @ v / (p.sum(-1, keepdim=True) + (-1000.0 - top).exp())


class BlockRecurrent(torch.nn.Module):
    """c: layers, width, heads, window, states, recurrent (layer or None: a sliding window), cell, gate, feedback, read
    (layer), clear (blocks or 0), buckets, longest, strict. Parameters carry the library's names, dots replaced by two
    underscores."""

    def __init__(self, parameters, c):
        super().__init__()
        self.c = c
        self.p = torch.nn.ParameterDict({k.replace(".", "__"): torch.nn.Parameter(v.clone()) for k, v in parameters.items()})
        self.bucket = torch.tensor([bucket(n, c["buckets"], c["longest"]) for n in range(2 * c["window"])])

    def get(self, name):
        key = name.replace(".", "__")
        return self.p[key] if key in self.p else None

    def split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.c["heads"], -1).transpose(1, 2)

    def merge(self, x):
        return x.transpose(1, 2).flatten(2)

    def linear(self, x, name):
        y = x @ self.get(name + ".weight").T
        return y if self.get(name + ".bias") is None else y + self.get(name + ".bias")

    # ---- tokens ----

    def tokens(self, i, x):
        L, d = f"layers.{i}.", self.c["width"]
        u = rms(x, self.get(L + "attention_norm.weight"))
        k, v = self.linear(u, L + "attention.key_value").chunk(2, -1)
        q = unit(self.split(self.linear(u, L + "attention.query")))
        cross = None
        if self.get(L + "memory.query.weight") is not None:
            cross = unit(self.split(self.linear(u, L + "memory.query")))
        return q, unit(self.split(k)), self.split(v), cross

    def window(self, i, q, k, v, seen):
        """One block of queries on the 2 W rows of the previous block and its own."""
        W = self.c["window"]
        r = torch.arange(2 * W)[None] - (torch.arange(W)[:, None] + W)
        bias = self.get(f"layers.{i}.attention.t5")[:, self.bucket[(-r).clamp(min=0)]]
        hidden = ((r >= 0) | (r < -W))[None, None]
        if self.c["strict"]:
            empty = (torch.arange(2 * W)[None] < W) & (seen == 0)[:, None]
            hidden = hidden | empty[:, None, None]
        return attend(q, k, v, self.get(f"layers.{i}.attention.head_scale"), bias, hidden)

    # ---- the state ----

    def normed(self, state):
        L = f"layers.{self.c['recurrent']}.memory.state."
        return rms(state, self.get(L + "norm.weight")) + self.get(L + "identity.table")

    def state_keys(self, us):
        k, v = self.linear(us, f"layers.{self.c['recurrent']}.memory.state.key_value").chunk(2, -1)
        return unit(self.split(k)), self.split(v)

    def read(self, i, q, rk, rv):
        return attend(q, rk, rv, self.get(f"layers.{i}.memory.head_scale"))

    def gate(self, state, z, h, name):
        bias, weight = self.get(name + ".bias"), self.get(name + ".weight")
        if self.c["tanh"]:
            z = torch.tanh(z)
        if self.c["gate"] == "fixed":
            g = torch.sigmoid(bias)
        else:
            g = torch.sigmoid(h @ weight.T + bias + 1)
        if self.c["gate"] == "lstm":
            return state * g + z * torch.sigmoid(h @ self.get(name + ".input.weight").T + self.get(name + ".input.bias") - 1)
        return state * g + z * (1 - g)

    def cell(self, state, a):
        L, form = f"layers.{self.c['recurrent']}.memory.state.", self.c["cell"]
        if form != "single":
            state = self.gate(state, self.linear(a, L + "output"), a, L + "gate")
        if form == "skip":
            return state
        x = a if form == "single" else rms(state, self.get(L + "hidden_norm.weight"))
        h = F.relu(self.linear(x, L + "hidden.up"))
        return self.gate(state, self.linear(h, L + "hidden.down"), h, L + "hidden_gate")

    def update(self, state, k, v, seen):
        L = f"layers.{self.c['recurrent']}.memory.state."
        us = self.normed(state)
        rk, rv = self.state_keys(us)
        q1, q2 = unit(self.split(self.linear(us, L + "query"))), unit(self.split(self.linear(us, L + "token_query")))
        hidden = None
        if self.c["strict"]:
            hidden = ((torch.arange(k.shape[2])[None] < self.c["window"]) & (seen == 0)[:, None])[:, None, None]
        a = torch.cat([self.merge(attend(q1, rk, rv, self.get(L + "head_scale"))),
                       self.merge(attend(q2, k, v, self.get(L + "token_head_scale"), None, hidden))], -1)
        return self.cell(state, a)

    # ---- the stack ----

    def finish(self, i, x, own, cross):
        L = f"layers.{i}."
        x = x + self.linear(self.merge(own), L + "attention.output")
        if cross is not None:
            x = x + self.linear(self.merge(cross), L + "memory.output")
        h = F.relu(self.linear(rms(x, self.get(L + "hidden_norm.weight")), L + "hidden.up"))
        return x + self.linear(h, L + "hidden.down")

    def incoming(self, state, age):
        start = self.get(f"layers.{self.c['recurrent']}.memory.state.start.table")
        fresh = age % self.c["clear"] == 0 if self.c["clear"] else age == 0
        return torch.where(fresh[:, None, None], start, state)

    def by_layers(self, x, s):
        c, W, keys, values = self.c, self.c["window"], [], []
        blocks, state = x.shape[1] // W, s["state"]
        for i in range(c["layers"]):
            q, k, v, cross = self.tokens(i, x)
            k, v = torch.cat([s["keys"][i], k], 2), torch.cat([s["values"][i], v], 2)
            keys.append(k[:, :, -W:])
            values.append(v[:, :, -W:])
            own, read = [], []
            for t in range(blocks):
                now, two = slice(t * W, (t + 1) * W), slice(t * W, (t + 2) * W)
                seen = s["age"] + t
                own.append(self.window(i, q[:, :, now], k[:, :, two], v[:, :, two], seen))
                if i == c["recurrent"]:
                    state = self.incoming(state, seen)
                    read.append(self.read(i, cross[:, :, now], *self.state_keys(self.normed(state))))
                    state = self.update(state, k[:, :, two], v[:, :, two], seen)
            x = self.finish(i, x, torch.cat(own, 2), torch.cat(read, 2) if read else None)
        return x, dict(keys=keys, values=values, state=state, age=s["age"] + blocks)

    def by_blocks(self, x, s):
        c, W, out = self.c, self.c["window"], []
        for block in x.split(W, 1):
            keys, values, state = [], [], s["state"]
            if c["recurrent"] is not None:
                state = self.incoming(state, s["age"])
                rk, rv = self.state_keys(self.normed(state))
            fresh = state
            for i in range(c["layers"]):
                q, k, v, cross = self.tokens(i, block)
                keys.append(k)
                values.append(v)
                k, v = torch.cat([s["keys"][i], k], 2), torch.cat([s["values"][i], v], 2)
                own = self.window(i, q, k, v, s["age"])
                block = self.finish(i, block, own, None if cross is None else self.read(i, cross, rk, rv))
                if i == c["recurrent"]:
                    fresh = self.update(state, k, v, s["age"])
            s = dict(keys=keys, values=values, state=fresh, age=s["age"] + 1)
            out.append(block)
        return torch.cat(out, 1), s

    def forward(self, ids, s, by_blocks=False):
        """ids [lanes, n W] -> hidden states and the state behind them, detached."""
        x = self.get("embedding.weight")[ids]
        apart = self.c["feedback"] or self.c["read"] != self.c["recurrent"]
        x, s = self.by_blocks(x, s) if by_blocks or apart else self.by_layers(x, s)
        x = rms(x, self.get("final_norm.weight"))
        return x, {k: [t.detach() for t in v] if isinstance(v, list) else v.detach() for k, v in s.items()}

    def loss(self, hidden, targets):
        logits = hidden @ self.get("embedding.weight").T / math.sqrt(self.c["width"])
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def start(self, lanes):
        c = self.c
        empty = [torch.zeros(lanes, c["heads"], c["window"], c["width"] // c["heads"])] * c["layers"]
        return dict(keys=empty, values=empty, state=torch.zeros(lanes, c["states"], c["width"]),
                    age=torch.zeros(lanes, dtype=torch.long))
