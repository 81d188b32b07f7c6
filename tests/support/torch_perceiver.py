"""Perceiver AR in PyTorch, written from the paper and the description of the released code for the parity tests and the
benchmarks: one cross-attention from the last latents to all inputs, then a causal stack over the latents. Nothing here
follows the library's code."""
import math

import torch
import torch.nn.functional as F


def sinusoid_table(rows, width):
    """[sin | cos] halves; the exponent's denominator is width/2 - 1."""
    half = width // 2
    div = torch.exp(-torch.arange(half, dtype=torch.float64) * math.log(10000.0) / (half - 1))
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * div[None]
    return torch.cat([angle.sin(), angle.cos()], 1).float()


def rotate(x, positions, c):
    """x [batch, heads, n, width]; turns the first R channels. Frequencies include both ends, or RoPE's usual ones."""
    width = x.shape[-1]
    R = 2 * int(width * c["fraction"] / 2)
    i = torch.arange(R // 2, dtype=torch.float64)
    exponent = i / (R // 2 - 1) if c["closed"] and R > 2 else 2 * i / R
    angle = positions.double()[:, None] * (c["base"] ** -exponent)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    turned, rest = x[..., :R], x[..., R:]
    if c["interleaved"]:
        a, b = turned[..., 0::2], turned[..., 1::2]
        turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    else:
        a, b = turned[..., :R // 2], turned[..., R // 2:]
        turned = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    return torch.cat([turned, rest], -1)


class Perceiver(torch.nn.Module):
    """Parameters carry the library's names, dots replaced by two underscores. c: layers, width, heads, cross_heads,
    embedding, inputs, segment, positions (rotary or none), table (none or sinusoidal or learned), rms, gated,
    fraction, base, closed, interleaved; and, where they are not as published: after (layers behind which another cross
    block stands), queries (tokens, shared, indexed), copies (latents of a token), offset (0 or 1)."""

    def __init__(self, parameters, c):
        super().__init__()
        self.c = c
        self.p = torch.nn.ParameterDict(
            {k.replace(".", "__"): torch.nn.Parameter(v.clone()) for k, v in parameters.items()})

    def get(self, name):
        key = name.replace(".", "__")
        return self.p[key] if key in self.p else None

    def norm(self, x, name):
        gain, bias = self.get(name + ".weight"), self.get(name + ".bias")
        if not self.c["rms"]:
            return F.layer_norm(x, (x.shape[-1],), gain, bias, 1e-5)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * gain

    def linear(self, x, name):
        return F.linear(x, self.get(name + ".weight"), self.get(name + ".bias"))

    def heads(self, x, heads):
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    def attend(self, q, k, v, first, copies=1, key_copies=1):
        """Query i, of token i // copies, sees the keys of tokens up to first + that."""
        n, m = q.shape[-2], k.shape[-2]
        visible = torch.arange(m)[None] // key_copies <= first + torch.arange(n)[:, None] // copies
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        a = scores.masked_fill(~visible, -1e30).softmax(-1) @ v
        return a.transpose(1, 2).flatten(2)

    def mlp(self, x, up, down):
        h = F.linear(x, self.get(up + ".weight"), self.get(up + ".bias"))
        if self.c["gated"]:
            a, b = h.chunk(2, -1)
            h = F.gelu(a, approximate="tanh") * b
        else:
            h = F.relu(h) ** 2
        return F.linear(h, self.get(down + ".weight"), self.get(down + ".bias"))

    def latents(self, ids, e, latents, positions):
        """What the first block's queries are, [batch, latents copies, width]."""
        c, copies = self.c, self.c.get("copies", 1)
        own = self.get("embedding.weight")[ids[:, -latents:]]
        if c.get("queries", "tokens") != "tokens":
            own = self.get("memory.queries.table")[:latents].expand_as(own)
        z = self.linear(self.placed(own, positions[-latents:] + c.get("offset", 0)), "memory.latent")
        if copies > 1:
            z = torch.stack([z + row for row in self.get("memory.copies.table")], 2).flatten(1, 2)
        return z

    def cross(self, z, e, latents, positions, name):
        """A cross block: [batch, latents copies, width] reads e."""
        c = self.c
        m, hc, copies = e.shape[1], c["cross_heads"], c.get("copies", 1)
        q = self.heads(self.linear(self.norm(z, name + "query_norm"), name + "query"), hc)
        source = self.norm(e, name + "input_norm")
        k, v = self.heads(self.linear(source, name + "key"), hc), self.heads(self.linear(source, name + "value"), hc)
        if c["positions"] == "rotary":
            longer = dict(c, base=c["base"] + (c.get("offset", 0) if c["closed"] else 0))
            at = (positions[m - latents:] + c.get("offset", 0)).repeat_interleave(copies)
            q, k = rotate(q, at, longer), rotate(k, positions, longer)
        z = z + self.linear(self.attend(q, k, v, m - latents, copies), name + "output")
        return z + self.mlp(self.norm(z, name + "hidden_norm"), name + "up", name + "down")

    def layer(self, i, x, positions):
        c, L = self.c, f"layers.{i}."
        z = self.norm(x, L + "attention_norm")
        q = self.heads(self.linear(z, L + "attention.query"), c["heads"])
        k, v = (self.heads(t, c["heads"]) for t in self.linear(z, L + "attention.key_value").chunk(2, -1))
        if c["positions"] == "rotary":
            q, k = rotate(q, positions, c), rotate(k, positions, c)
        copies = c.get("copies", 1)
        x = x + self.linear(self.attend(q, k, v, 0, copies, copies), L + "attention.output")
        return x + self.mlp(self.norm(x, L + "hidden_norm"), L + "hidden.up", L + "hidden.down")

    def forward(self, ids, first, latents):
        """ids [batch, m <= inputs], the first of which stands at `first` in its document -> [batch, latents, width]."""
        c = self.c
        positions = torch.arange(first, first + ids.shape[1])
        e = self.placed(self.get("embedding.weight")[ids], positions)
        x = self.cross(self.latents(ids, e, latents, positions), e, latents, positions, "memory.")
        copies = c.get("copies", 1)
        for i in range(c["layers"]):
            x = self.layer(i, x, positions[-latents:].repeat_interleave(copies))
            if i in c.get("after", ()):
                x = self.cross(x, e, latents, positions, f"layers.{i}.memory.")
        return self.norm(x, "final_norm").unflatten(1, (latents, copies)).mean(2)

    def placed(self, e, positions):
        c = self.c
        if c["table"] == "sinusoidal":
            return e + self.get("memory.positions.table").detach()[positions + 1]
        return e + self.get("memory.positions.table")[positions + 1] if c["table"] == "learned" else e

    def loss(self, hidden, targets):
        logits = self.linear(hidden, "output")
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
