"""The Routing Transformer in PyTorch, written from its paper for the parity tests and the benchmarks. Nothing here follows
the library's code: local and causal clustered attention are dense with masks, full clusters are gathered and scattered,
the tables of relative positions are looked up pair by pair.

c: width, heads, routing (heads of them), skip (first layers without), clusters, size, block, back, distance, segment,
layers, mode (causal or full), start (counted or official), decay, beta, relative, mixer, gated, embedding, own (keys that
are not the queries; False if it is not given), hashed (clusters by projections, not centroids), spread (cluster-strided
heads behind the routing ones; 0)."""
import math

import torch
import torch.nn.functional as F


def norm_rows(x):
    """Layer norm without gain and bias of x / sqrt(width)."""
    return F.layer_norm(x / math.sqrt(x.shape[-1]), (x.shape[-1],), None, None, 1e-6)


def attend(q, k, v, seen, distance, keys, values, reach, scale):
    """q, k, v [.., n, d]; seen and distance [.., n, n] (query, key); tables [2 reach + 1, d] or None."""
    logits = q @ k.transpose(-1, -2)
    if keys is not None:
        row = (distance.clamp(-reach, reach) + reach).expand(logits.shape)
        logits = logits + (q @ keys.T).gather(-1, row)
    a = (logits * scale).masked_fill(~seen, -float("inf")).softmax(-1)
    out = a @ v
    if values is not None:
        out = out + torch.zeros(*a.shape[:-1], values.shape[0]).scatter_add(-1, row, a) @ values
    return out


def far_to_near(table, reach, count):
    """The rows of a table for distances count - 1 .. 0."""
    return None if table is None else table[reach + torch.arange(count - 1, -1, -1).clamp(max=reach)]


def by_key(x):
    """[.., q, k] by position from far to near -> by key, the last query standing on the last key (Dai et al. 2019)."""
    *lead, q, k = x.shape
    return F.pad(x, (1, 0)).reshape(*lead, k + 1, q)[..., 1:, :].reshape(*lead, q, k)


def by_position(x):
    """The way back: later keys must hold zeros."""
    *lead, q, k = x.shape
    return F.pad(x.reshape(*lead, k, q), (0, 0, 1, 0)).reshape(*lead, q, k + 1)[..., 1:]


def attend_blocks(q, k, v, seen, keys, values, scale):
    """As attend, where the last query stands on the last key and nothing later is seen; tables far to near."""
    logits = q @ k.transpose(-1, -2)
    if keys is not None:
        logits = logits + by_key(q @ keys.T)
    a = (logits * scale).masked_fill(~seen, -float("inf")).softmax(-1)
    return a @ v if values is None else a @ v + by_position(a) @ values


class RoutingModel(torch.nn.Module):
    """Parameters carry the library's names, dots replaced by two underscores; those learned without gradients are buffers."""

    def __init__(self, parameters, c):
        super().__init__()
        self.c, self.gathered = c, {}
        learned = (".memory.centroid", ".memory.cross_centroid", ".memory.projections")
        statistics = {k: v.clone() for k, v in parameters.items() if any(name in k for name in learned)}
        self.statistics = statistics
        self.p = torch.nn.ParameterDict({k.replace(".", "__"): torch.nn.Parameter(v.clone())
                                         for k, v in parameters.items() if k not in statistics})

    def get(self, name):
        key = name.replace(".", "__")
        return self.p[key] if key in self.p else None

    def norm(self, x, name):
        return F.layer_norm(x, (x.shape[-1],), self.get(name + ".weight"), self.get(name + ".bias"), 1e-6)

    def split(self, x, weight):
        heads = self.c["heads"]
        return (x @ weight.T).reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    def local(self, i, q, k, v):
        c, n = self.c, q.shape[2]
        at = torch.arange(n)
        query, key = at[:, None], at[None]
        seen = (key <= query) & (key // c["block"] >= query // c["block"] - c["back"] // c["block"])
        keys, values = self.get(f"layers.{i}.memory.local_keys.table"), self.get(f"layers.{i}.memory.local_values.table")
        return attend(q, k, v, seen, query - key, keys, values, c["distance"], q.shape[3] ** -0.5)

    def causal(self, i, x, v, near):
        c = self.c
        member = F.one_hot(near, c["clusters"])
        rank = member.cumsum(2).gather(3, near[..., None])[..., 0]  # of a token among those of its cluster
        distance = rank[..., :, None] - rank[..., None, :]
        seen = (near[..., :, None] == near[..., None, :]) & (distance >= 0) & (distance < c["size"])
        keys, values = self.get(f"layers.{i}.memory.cluster_keys.table"), self.get(f"layers.{i}.memory.cluster_values.table")
        return attend(x, x, v, seen, distance, keys, values, c["distance"], 1.0)

    def inside(self, i, x, v):
        """Attention of clusters [.., size, d]."""
        at = torch.arange(x.shape[-2])
        keys, values = self.get(f"layers.{i}.memory.cluster_keys.table"), self.get(f"layers.{i}.memory.cluster_values.table")
        return attend(x, x, v, at[:, None] >= at[None], at[:, None] - at[None], keys, values, self.c["distance"], 1.0)

    def full(self, i, x, v, scores):
        c = self.c
        size = min(c["size"], x.shape[2])
        # of equal scores the first, which topk does not promise
        best = scores.transpose(2, 3).sort(dim=-1, descending=True, stable=True).indices[..., :size]
        return self.gathered_full(i, x, v, best.sort(-1).values)

    def gathered_full(self, i, x, v, chosen):
        """chosen: tokens [lanes, heads, clusters, size], rising."""
        c, size = self.c, chosen.shape[-1]
        pick = chosen.flatten(2)[..., None]
        gather = lambda rows: rows.gather(2, pick.expand(*pick.shape[:3], rows.shape[3])).unflatten(2, (c["clusters"], size))
        out = self.inside(i, gather(x), gather(v)).flatten(2, 3)
        sums = torch.zeros_like(v).scatter_add(2, pick.expand_as(out), out)
        counts = torch.zeros(*v.shape[:3], 1).scatter_add(2, pick, torch.ones_like(pick, dtype=v.dtype))
        return sums / (counts + 0.01)

    def causal_keys(self, x, y, v, near, near_keys):
        """Each query sees the latest keys of its cluster up to its own time; zeros where there is none."""
        c, n = self.c, x.shape[2]
        at = torch.arange(n)
        same = (near[..., :, None] == near_keys[..., None, :]) & (at[None] <= at[:, None])
        later = same.flip(-1).cumsum(-1).flip(-1) - same.int()  # keys of the cluster between this one and the query
        return self.attend_seen(x, y, v, same & (later < c["size"]))

    def attend_seen(self, x, y, v, seen):
        logits = (x @ y.transpose(-1, -2)).masked_fill(~seen, -1e30)
        return (logits.softmax(-1) * seen) @ v

    def full_keys(self, x, y, v, scores, scores_keys):
        """Dense, cluster by cluster: its best queries on its best keys that are not later."""
        c, n = self.c, x.shape[2]
        size = min(c["size"], n)
        best = lambda s: torch.zeros_like(s).scatter(2, s.topk(size, 2).indices, 1.0)  # [lanes, heads, n, clusters]
        inside, keys = best(scores), best(scores_keys).bool()
        at = torch.arange(n)
        out = torch.zeros_like(v)
        for k in range(c["clusters"]):
            seen = keys[..., None, :, k] & (at[None] <= at[:, None])
            out = out + inside[..., k, None] * self.attend_seen(x, y, v, seen)
        return out / (inside.sum(3, keepdim=True) + 0.01)

    def routing_keys(self, i, q, k, v, aux):
        """Queries and keys that are clustered each on their own."""
        c, mu, gathered = self.c, self.statistics[f"layers.{i}.memory.centroids"], []
        x, y = norm_rows(q), norm_rows(k)
        scores = [torch.einsum("bhnd,hkd->bhnk", rows, mu).detach() for rows in (x, y)]
        near = [s.argmax(3) for s in scores]
        for rows, nearest in zip((x, y), near):
            centroid = torch.stack([mu[h][nearest[:, h]] for h in range(mu.shape[0])], 1)
            aux.append(c["beta"] * ((rows - centroid) ** 2).mean())
            one_hot = F.one_hot(nearest, c["clusters"]).to(rows.dtype)
            gathered.append((torch.einsum("bhnk,bhnd->hkd", one_hot, rows.detach()), one_hot.sum((0, 2))))
        self.gathered[f"layers.{i}"] = gathered
        return self.causal_keys(x, y, v, *near) if c["mode"] == "causal" else self.full_keys(x, y, v, *scores)

    def hashed(self, i, x):
        """Scores [lanes, heads, n, clusters]: 1 for the bucket that the signs of orthogonal projections name."""
        drawn = self.statistics[f"layers.{i}.memory.projections"].double().transpose(1, 2)
        axes, upper = torch.linalg.qr(drawn)
        axes = axes * torch.sign(torch.diagonal(upper, dim1=1, dim2=2))[:, None]  # as the drawn ones point
        bits = torch.einsum("bhnd,hdk->bhnk", x.double(), axes) > 0
        bucket = (bits.long() * 2 ** torch.arange(bits.shape[-1])).sum(-1)
        return F.one_hot(bucket, self.c["clusters"]).to(x.dtype)

    def spread(self, i, x, v, scores):
        """As full, of tokens at even steps in the order of their scores."""
        n = x.shape[2]
        size = min(self.c["size"], n)
        order = scores.transpose(2, 3).sort(dim=-1, descending=True, stable=True).indices
        return self.gathered_full(i, x, v, order[..., ::n // size][..., :size].sort(-1).values)

    def routing(self, i, q, v, aux):
        c = self.c
        if c.get("hashed"):
            x = norm_rows(q)
            scores = self.hashed(i, x.detach())
            return self.causal(i, x, v, scores.argmax(3)) if c["mode"] == "causal" else self.full(i, x, v, scores)
        mu = self.statistics[f"layers.{i}.memory.centroids"]
        x = norm_rows(q)
        scores = torch.einsum("bhnd,hkd->bhnk", x, mu).detach()
        near = scores.argmax(3)
        nearest = torch.stack([mu[h][near[:, h]] for h in range(mu.shape[0])], 1)
        aux.append(2 * c["beta"] * ((x - nearest) ** 2).mean())
        one_hot = F.one_hot(near, c["clusters"]).to(x.dtype)
        self.gathered[f"layers.{i}"] = [(torch.einsum("bhnk,bhnd->hkd", one_hot, x.detach()), one_hot.sum((0, 2)))]
        if c.get("spread", 0):
            parts = [slice(0, c["routing"]), slice(c["routing"], None)]
            forms = zip((self.full, self.spread), parts)
            return torch.cat([form(i, x[:, p], v[:, p], scores[:, p]) for form, p in forms], 1)
        return self.causal(i, x, v, near) if c["mode"] == "causal" else self.full(i, x, v, scores)

    def learn(self):
        """The moving averages behind the centroids after each iteration: once, or by queries and then by keys."""
        lam, eps = self.c["decay"], 1e-5
        for stack, sums, counts in [(stack, *move) for stack, moves in self.gathered.items() for move in moves]:
            name = f"{stack}.memory.centroid" if isinstance(stack, str) else f"{stack[0]}.memory.cross_centroid"
            mu, mean, count = (self.statistics[name + end] for end in ("s", "_means", "_counts"))
            fresh = count < 0
            mean = torch.where(fresh[..., None], mu, mean)
            count = torch.where(fresh, torch.full_like(count, 0.0 if self.c["start"] == "official" else 1.0), count)
            mean, count = lam * mean + (1 - lam) * sums, lam * count + (1 - lam) * counts
            total = count.sum(-1, keepdim=True)
            smooth = (count + eps) / (total + self.c["clusters"] * eps) * total
            moved = mean / smooth[..., None]
            if self.c["start"] != "official":
                moved = torch.where(counts[..., None] > 0, moved, mu)
            self.statistics[name + "s"], self.statistics[name + "_means"], self.statistics[name + "_counts"] = \
                moved, mean, count
        self.gathered = {}

    def attention(self, i, x, aux):
        c, L = self.c, f"layers.{i}.attention."
        kv = self.get(L + "key_value.weight")
        q, k = self.split(x, self.get(L + "query.weight")), self.split(x, kv[: c["width"]])
        v = self.split(x, kv[c["width"]:])
        first = c["routing"] + c.get("spread", 0) if i >= c["skip"] else 0
        parts = [self.routing(i, q[:, :first], v[:, :first], aux)] if first and not c.get("own") else \
            [self.routing_keys(i, q[:, :first], k[:, :first], v[:, :first], aux)] if first else []
        if first < c["heads"]:
            parts.append(self.local(i, q[:, first:], k[:, first:], v[:, first:]))
        out = torch.cat(parts, 1)
        mixer = self.get(f"layers.{i}.memory.mixer.weight")
        out = out if mixer is None else out @ mixer.T
        return out.transpose(1, 2).flatten(2) @ self.get(L + "output.weight").T

    def feed_forward(self, i, x):
        L, bias = f"layers.{i}.hidden.", lambda y, b: y if b is None else y + b
        h = bias(x @ self.get(L + "up.weight").T, self.get(L + "up.bias"))
        if self.c["gated"]:
            a, b = h.chunk(2, -1)
            h = F.gelu(a, approximate="tanh") * b
        else:
            h = F.relu(h)
        return bias(h @ self.get(L + "down.weight").T, self.get(L + "down.bias"))

    def forward(self, ids, state=None):
        """ids [lanes, segment]. Returns hidden states, the auxiliary loss, and nothing that lives on."""
        aux = []
        x = self.get("embedding.weight")[ids] @ self.get("input.weight").T + self.get("input.bias")
        for i in range(self.c["layers"]):
            x = self.norm(x + self.attention(i, x, aux), f"layers.{i}.attention_post_norm")
            x = self.norm(x + self.feed_forward(i, x), f"layers.{i}.hidden_post_norm")
        return x, torch.stack(aux).sum() if aux else torch.zeros(()), None

    def loss(self, hidden, targets):
        back = self.get("output.projection.weight")
        if back is not None:
            hidden = hidden @ back + self.get("output.projection.bias")
        logits = hidden @ self.get("output.weight").T + self.get("output.bias")
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class RoutingBlocks(RoutingModel):
    """The same model as one would run it: local heads block by block, clusters in tiles that look at themselves and the tile
    before. For the benchmarks."""

    def windows(self, x, block, back):
        """[.., n, d] -> [.., n / block, back + block, d]: each block with what stands before it."""
        return F.pad(x, (0, 0, back, 0)).unfold(2, back + block, block).transpose(-1, -2)

    def tables(self, i, where, count):
        return (far_to_near(self.get(f"layers.{i}.memory.{where}_{what}.table"), self.c["distance"], count)
                for what in ("keys", "values"))

    def local(self, i, q, k, v):
        block, back, n = self.c["block"], self.c["back"], q.shape[2]
        query, key = torch.arange(block)[:, None], torch.arange(back + block)[None] - back
        seen = (key <= query) & (torch.arange(n // block)[:, None, None] * block + key >= 0)
        return attend_blocks(q.unflatten(2, (-1, block)), self.windows(k, block, back), self.windows(v, block, back), seen,
                             *self.tables(i, "local", back + block), q.shape[3] ** -0.5).flatten(2, 3)

    def causal(self, i, x, v, near):
        size, n = self.c["size"], x.shape[2]
        order = near.sort(stable=True).indices[..., None]
        row = lambda rows: rows.gather(2, order.expand(*order.shape[:3], rows.shape[3]))
        place = near[..., None].gather(2, order)
        label = self.windows(place, size, size)[..., 0]
        query, key = torch.arange(size)[:, None], torch.arange(2 * size)[None] - size
        inside = torch.arange(n // size)[:, None, None] * size + key >= 0
        seen = (key <= query) & (key > query - size) & inside & \
            (place.unflatten(2, (-1, size)) == label[..., None, :])
        xs, vs = row(x), row(v)
        out = attend_blocks(xs.unflatten(2, (-1, size)), self.windows(xs, size, size), self.windows(vs, size, size), seen,
                            *self.tables(i, "cluster", 2 * size), 1.0).flatten(2, 3)
        return torch.zeros_like(v).scatter(2, order.expand_as(out), out)

    def inside(self, i, x, v):
        size = x.shape[-2]
        return attend_blocks(x, x, v, torch.ones(size, size, dtype=torch.bool).tril(), *self.tables(i, "cluster", size), 1.0)
