"""Transformer-VQ in PyTorch, written from its paper (Lingle 2023) for the parity tests and the benchmarks: the block
recurrence with one-hot codes and the shift of relative positions. Nothing here follows the library's code."""
import math

import torch
import torch.nn.functional as F


def sinusoids(distances, width, base):
    w = base ** (-2.0 * torch.arange(width // 2, dtype=torch.float64) / width)
    angle = distances.double()[:, None] * w[None]
    return torch.cat([angle.sin(), angle.cos()], 1).float()


def rms(x, eps=1e-6):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def shift(x):
    """x [.., q, k] against positions from far to near -> by key: x[i, j + q - 1 - i]."""
    *lead, q, k = x.shape
    x = F.pad(x, (1, 0)).reshape(*lead, k + 1, q)
    return x[..., 1:, :].reshape(*lead, q, k)


class Model(torch.nn.Module):
    """c: layers, width, heads, kv_heads, key_width, value_width, codes, length, segment, aggregate, gated, mlp, tied,
    final_norm, affine, codebook (ema, gradient or fixed; ema if it is not there), base, commitment, decay, logit_scale, scale_bias. Parameters carry the library's names; moving averages are buffers."""

    def __init__(self, parameters, c):
        super().__init__()
        self.c = c
        statistics = {k: v for k, v in parameters.items() if k.endswith((".codebook.sum", ".codebook.count"))}
        self.p = torch.nn.ParameterDict({k.replace(".", "__"): torch.nn.Parameter(v.clone())
                                         for k, v in parameters.items() if k not in statistics})
        self.book = {k: v.clone() for k, v in statistics.items()}
        far_to_near = torch.arange(c["length"] + c["segment"] - 1, -1, -1)
        self.register_buffer("table", sinusoids(far_to_near, c["width"], c["base"]), persistent=False)
        self.gathered = {}

    def get(self, name):
        key = name.replace(".", "__")
        return self.p[key] if key in self.p else None

    def norm(self, x, name):
        y = rms(x)
        if self.get(name + ".weight") is not None:
            y = y * self.get(name + ".weight")
        if self.get(name + ".bias") is not None:
            y = y + self.get(name + ".bias")
        return y

    def heads(self, x, width):
        return x.reshape(x.shape[0], x.shape[1], -1, width).transpose(1, 2)

    def start(self, lanes):
        c, h = self.c, self.c["kv_heads"]
        return [dict(z=torch.full((lanes, h, c["length"]), c["codes"]), k=torch.zeros(lanes, h, c["length"], c["key_width"]),
                     v=torch.zeros(lanes, h, c["length"], c["value_width"]), n=torch.zeros(lanes, h, c["codes"]),
                     u=torch.zeros(lanes, h, c["codes"], c["value_width"])) for _ in range(c["layers"])]

    def codes(self, i):
        c, name = self.c, f"layers.{i}.memory.codebook."
        kind = c.get("codebook", "ema")
        if kind == "gradient":
            return self.get(name + "table")
        if kind == "fixed":
            rows = sinusoids(torch.arange(c["codes"]), c["key_width"], c["base"])
            return (rms(rows) * c["key_width"] ** -0.25)[None].repeat(c["kv_heads"], 1, 1)
        return self.book[name + "sum"] / self.book[name + "count"].clamp(min=0.01)[..., None]

    def sublayer(self, i, x, state):
        c, L, S = self.c, f"layers.{i}.attention.", self.c["codes"]
        dk, h, H, M, n = c["key_width"], c["kv_heads"], c["heads"], c["length"], x.shape[1]
        tau = dk ** -0.25
        q = rms(self.heads(x @ self.get(L + "query.weight").T, dk)) * tau
        k = rms(self.heads(x @ self.get(L + "key.weight").T, dk)) * tau
        v = self.heads(x @ self.get(L + "value.weight").T, c["value_width"])
        if c["gated"]:
            v = F.silu(v)
        trained = self.codes(i)
        book = trained.detach()
        with torch.no_grad():
            distance = k.square().sum(-1, keepdim=True) - 2 * k @ book.transpose(1, 2) + book.square().sum(-1)[:, None]
            z = distance.argmin(-1)
        code = torch.stack([book[head][z[:, head]] for head in range(h)], 1)
        commit = c["commitment"] * (k - code).square().sum(-1).mean((0, 2)).sum()
        if trained.requires_grad:
            own = torch.stack([trained[head][z[:, head]] for head in range(h)], 1)
            commit = commit + (k.detach() - own).square().sum(-1).mean((0, 2)).sum()
        self.gather(i, k.detach(), z)
        khat = code + k - k.detach()

        def wide(t):
            return t.repeat_interleave(H // h, 1)

        keys, values = torch.cat([state["k"], khat], 2), torch.cat([state["v"], v], 2)
        codes = torch.cat([state["z"], z], 2)
        u, w = self.get(L + "content_bias")[None, :, None] * tau, self.get(L + "position_bias")[None, :, None] * tau
        r = (self.table @ self.get(L + "relative.weight").T * tau).reshape(M + n, h, dk).permute(1, 2, 0)
        bias = shift((q + w) @ wide(r[None]))
        row, column = torch.arange(n)[:, None], torch.arange(M + n)[None]
        near, causal = column >= row, column - M <= row
        scores = (q + u) @ wide(keys).transpose(-1, -2) + torch.where(near & causal, bias, torch.zeros(()))
        hidden = ~causal | (wide(codes) == S)[:, :, None]
        if not c["aggregate"]:
            hidden = hidden | ~near
        scores = scores.masked_fill(hidden, -float("inf"))
        if c["aggregate"]:
            # without codes of count 0: their scores are -infinity, which no gradient may touch
            far = (q + u) @ wide(book[None]).transpose(-1, -2) + wide(state["n"].clamp(min=1).log())[:, :, None]
            far = far.masked_fill(wide(state["n"] == 0)[:, :, None], -float("inf"))
            scores, values = torch.cat([scores, far], -1), torch.cat([values, state["u"]], 2)
        out = (scores.softmax(-1) @ wide(values)).transpose(1, 2).reshape(x.shape[0], n, -1)
        if c["gated"]:
            out = out * F.silu(x @ self.get(L + "gate.weight").T)
        return out @ self.get(L + "output.weight").T, commit, self.move_on(state, keys[:, :, :], values[:, :, :M + n], codes, n)

    def move_on(self, state, keys, values, codes, n):
        S = self.c["codes"]
        one_hot = F.one_hot(codes[:, :, :n], S + 1)[..., :S].to(values.dtype)
        count = state["n"] + one_hot.sum(2)
        divisor = count.clamp(min=1)
        mean = (state["n"] / divisor)[..., None] * state["u"] + (one_hot / divisor[:, :, None]).transpose(2, 3) @ values[:, :, :n]
        return dict(z=codes[:, :, n:], k=keys[:, :, n:], v=values[:, :, n:], n=count, u=mean)

    def gather(self, i, k, z):
        one_hot = F.one_hot(z, self.c["codes"]).to(k.dtype)
        sums = torch.einsum("bhts,bhtd->hsd", one_hot, k)
        before = self.gathered.get(i, (0, 0))
        self.gathered[i] = (before[0] + sums, before[1] + one_hot.sum((0, 2)))

    def learn(self):
        """The exponential moving averages of one update."""
        for i, (sums, counts) in self.gathered.items():
            for name, new in (("sum", sums), ("count", counts)):
                key = f"layers.{i}.memory.codebook.{name}"
                if key not in self.book:
                    continue
                self.book[key] = self.c["decay"] * self.book[key] + (1 - self.c["decay"]) * new
        self.gathered = {}

    def forward(self, ids, state):
        """ids [lanes, segment]. Returns hidden states, the auxiliary loss, the new state."""
        x, commit, fresh = self.get("embedding.weight")[ids], 0.0, []
        for i in range(self.c["layers"]):
            L = f"layers.{i}."
            a, e, now = self.sublayer(i, self.norm(x, L + "attention_norm"), state[i])
            fresh.append(now)
            commit, x = commit + e, x + a
            if self.c["mlp"]:
                hidden = F.relu(self.norm(x, L + "hidden_norm") @ self.get(L + "hidden.up.weight").T).square()
                x = x + hidden @ self.get(L + "hidden.down.weight").T
        if self.c["final_norm"]:
            x = self.norm(x, "final_norm")
        return x, commit, fresh

    def loss(self, hidden, targets):
        c = self.c
        table = self.get("embedding.weight") if c["tied"] else self.get("output.weight")
        bias = self.get("output.bias") * (c["logit_scale"] if c["scale_bias"] else 1.0)
        logits = c["logit_scale"] * (hidden @ table.T) + bias
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def detach(state):
    return [{key: value.detach() for key, value in layer.items()} for layer in state]
