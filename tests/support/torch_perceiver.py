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
    fraction, base, closed, interleaved."""

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

    def attend(self, q, k, v, first):
        """Query i sees the keys up to first + i."""
        n, m = q.shape[-2], k.shape[-2]
        visible = torch.arange(m)[None] <= first + torch.arange(n)[:, None]
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

    def cross(self, e, latents, positions):
        c = self.c
        m, hc = e.shape[1], c["cross_heads"]
        z = self.linear(e[:, m - latents:], "memory.latent")
        q = self.heads(self.linear(self.norm(z, "memory.query_norm"), "memory.query"), hc)
        source = self.norm(e, "memory.input_norm")
        k, v = self.heads(self.linear(source, "memory.key"), hc), self.heads(self.linear(source, "memory.value"), hc)
        if c["positions"] == "rotary":
            q, k = rotate(q, positions[m - latents:], c), rotate(k, positions, c)
        z = z + self.linear(self.attend(q, k, v, m - latents), "memory.output")
        return z + self.mlp(self.norm(z, "memory.hidden_norm"), "memory.up", "memory.down")

    def layer(self, i, x, positions):
        c, L = self.c, f"layers.{i}."
        z = self.norm(x, L + "attention_norm")
        q = self.heads(self.linear(z, L + "attention.query"), c["heads"])
        k, v = (self.heads(t, c["heads"]) for t in self.linear(z, L + "attention.key_value").chunk(2, -1))
        if c["positions"] == "rotary":
            q, k = rotate(q, positions, c), rotate(k, positions, c)
        x = x + self.linear(self.attend(q, k, v, 0), L + "attention.output")
        return x + self.mlp(self.norm(x, L + "hidden_norm"), L + "hidden.up", L + "hidden.down")

    def forward(self, ids, first, latents):
        """ids [batch, m <= inputs], the first of which stands at `first` in its document -> [batch, latents, width]."""
        c = self.c
        positions = torch.arange(first, first + ids.shape[1])
        e = self.get("embedding.weight")[ids]
        if c["table"] == "sinusoidal":
            e = e + self.get("memory.positions.table").detach()[positions + 1]
        elif c["table"] == "learned":
            e = e + self.get("memory.positions.table")[positions + 1]
        x = self.cross(e, latents, positions)
        for i in range(c["layers"]):
            x = self.layer(i, x, positions[-latents:])
        return self.norm(x, "final_norm")

    def loss(self, hidden, targets):
        logits = self.linear(hidden, "output")
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
