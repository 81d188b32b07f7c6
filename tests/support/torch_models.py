"""Transformer-XL and the Compressive Transformer in PyTorch, written from their papers for the parity tests and the
benchmarks. Nothing here follows the library's code: one module, the shift trick for relative positions, plain softmax."""
import math

import torch
import torch.nn.functional as F


def sinusoids(distances, width, clamp=0):
    d = distances.clamp(max=clamp) if clamp else distances
    w = 10000.0 ** (-2.0 * torch.arange(width // 2, dtype=torch.float64) / width)
    angle = d.double()[:, None] * w[None]
    return torch.cat([angle.sin(), angle.cos()], 1).float()


def shift(x):
    """[.., q, k] logits against positions from far to near -> logits by key (Dai et al. 2019, appendix B)."""
    *lead, q, k = x.shape
    x = F.pad(x, (1, 0)).reshape(*lead, k + 1, q)
    return x[..., 1:, :].reshape(*lead, q, k)


class Model(torch.nn.Module):
    """kind: transformer-xl or compressive. Parameters carry the library's names, dots replaced by two underscores."""

    def __init__(self, parameters, c):
        super().__init__()
        self.c = c
        self.p = torch.nn.ParameterDict({k.replace(".", "__"): torch.nn.Parameter(v.clone()) for k, v in parameters.items()})

    def get(self, name):
        key = name.replace(".", "__")
        return self.p[key] if key in self.p else None

    def norm(self, x, name):
        return F.layer_norm(x, (x.shape[-1],), self.get(name + ".weight"), self.get(name + ".bias"), 1e-5)

    def heads(self, x, width):
        return x.reshape(x.shape[0], x.shape[1], -1, width).transpose(1, 2)

    def attention(self, i, z, m, cm, aux):
        c, L = self.c, f"layers.{i}.attention."
        H, dk = c["heads"], c["width"] // c["heads"]
        ns, nm, ncm = z.shape[1], m.shape[1], cm.shape[1]
        owner = 0 if c["share"] else i
        u, w = self.get(f"layers.{owner}.attention.content_bias"), self.get(f"layers.{owner}.attention.position_bias")
        kv = self.get(L + "key_value.weight")
        wk, wv = kv[: H * dk], kv[H * dk:]
        s = torch.cat([cm, m, z], 1)
        q = self.heads(z @ self.get(L + "query.weight").T, dk)
        scale = dk ** -0.5
        if not c["scale_logits"]:
            q, scale = q * scale, 1.0
        k, v = self.heads(s @ wk.T, dk), self.heads(s @ wv.T, dk)
        content = (q + u[None, :, None]) @ k.transpose(-1, -2)

        def relative(table, bias, length):
            far_to_near = torch.arange(length - 1, -1, -1)
            r = sinusoids(far_to_near, c["width"], c["clamp"]) @ table.T
            r = r.reshape(length, H, dk).permute(1, 2, 0)
            return shift((q + bias[None, :, None]) @ r)

        pos = relative(self.get(L + "relative.weight"), w, nm + ns)
        if ncm:
            table = self.get(L + "compressed_relative.weight")
            pos = torch.cat([relative(table, self.get(L + "compressed_position_bias"), ncm + ns)[..., :ncm], pos], -1)
        hidden = torch.ones(ns, ncm + nm + ns, dtype=torch.bool).triu(ncm + nm + 1)
        if c["same_length"]:
            hidden = hidden | torch.ones(ns, ncm + nm + ns, dtype=torch.bool).tril(-1)
        a = ((content + pos) * scale).masked_fill(hidden, -float("inf")).softmax(-1)
        out = (a @ v).transpose(1, 2).reshape(z.shape[0], ns, H * dk)
        out = out @ self.get(L + "output.weight").T
        if self.get(L + "output.bias") is not None:
            out = out + self.get(L + "output.bias")
        return out, self.compress(i, z, m, cm, q, wk, wv, scale, aux)

    def compress(self, i, z, m, cm, q, wk, wv, scale, aux):
        c = self.c
        every = torch.cat([m, z], 1)
        new_m = every[:, every.shape[1] - m.shape[1]:].detach()
        if c["kind"] != "compressive":
            return new_m, cm
        block = every[:, : z.shape[1]].detach()
        function, rate = c["function"], c["rate"]
        if function == "conv":
            weight = self.get(f"layers.{i}.compression.weight").permute(0, 2, 1)  # [out, in, kernel]
            slots = F.conv1d(block.transpose(1, 2), weight, stride=rate).transpose(1, 2)
        elif function == "max":
            slots = F.max_pool1d(block.transpose(1, 2), rate).transpose(1, 2)
        else:
            slots = F.avg_pool1d(block.transpose(1, 2), rate).transpose(1, 2)
        if function == "conv":
            dk = c["width"] // c["heads"]
            q, wk, wv = q.detach(), wk.detach(), wv.detach()
            q = q[:, :, max(block.shape[1] - m.shape[1], 0):]

            def read(x):
                k, v = self.heads(x @ wk.T, dk), self.heads(x @ wv.T, dk)
                return (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v

            aux.append(((read(block) - read(slots)) ** 2).mean())
        return new_m, torch.cat([cm, slots], 1)[:, -cm.shape[1]:].detach()

    def forward(self, ids, state):
        """ids [lanes, segment]; state: list of (memory, compressed) per layer. Returns hidden states, auxiliary, new state."""
        c, aux, fresh = self.c, [], []
        x = self.get("embedding.weight")[ids] * math.sqrt(c["width"])
        pre, post = c["layout"] in ("input", "both"), c["layout"] in ("output", "both")
        for i in range(c["layers"]):
            L = f"layers.{i}."
            z = self.norm(x, L + "attention_norm") if pre else x
            a, now = self.attention(i, z, *state[i], aux)
            fresh.append(now)
            x = x + a
            x = self.norm(x, L + "attention_post_norm") if post else x
            h = self.norm(x, L + "hidden_norm") if pre else x
            h = F.relu(h @ self.get(L + "hidden.up.weight").T + self.get(L + "hidden.up.bias"))
            x = x + h @ self.get(L + "hidden.down.weight").T + self.get(L + "hidden.down.bias")
            x = self.norm(x, L + "hidden_post_norm") if post else x
        if c["final_norm"]:
            x = self.norm(x, "final_norm")
        auxiliary = torch.stack(aux).mean() if aux else torch.zeros(())
        return x, auxiliary, fresh

    def loss(self, hidden, targets):
        logits = hidden @ self.get("embedding.weight").T + self.get("output.bias")
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def start(self, lanes):
        c = self.c
        return [(torch.zeros(lanes, c["length"], c["width"]), torch.zeros(lanes, c["compressed"], c["width"]))
                for _ in range(c["layers"])]
