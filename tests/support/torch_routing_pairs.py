"""The encoder-decoder form of the Routing Transformer in PyTorch, for the parity tests. Nothing here follows the library's
code: every source is encoded alone and without padding, attention is dense with masks.

c: as in torch_routing.py, which has the decoder's own attention; and encoder_layers, source (tokens at most), source_size
(members of a cluster); cross_block, if cross attention is in blocks, and cross_heads of it that route."""
import torch
import torch.nn.functional as F

from torch_routing import RoutingModel, attend, norm_rows


class PairsModel(RoutingModel):
    def embed(self, ids):
        return self.get("embedding.weight")[ids] @ self.get("input.weight").T + self.get("input.bias")

    def project(self, name, x, y):
        """Queries of x, keys and values of y."""
        kv, width = self.get(name + ".key_value.weight"), self.c["width"]
        return self.split(x, self.get(name + ".query.weight")), self.split(y, kv[:width]), self.split(y, kv[width:])

    def both_sides(self, stack, q, k, v):
        c, at = self.c, torch.arange(q.shape[2])
        query, key = at[:, None], at[None]
        seen = (key // c["block"] - query // c["block"]).abs() <= c["back"] // c["block"]
        keys, values = (self.get(f"{stack}.memory.local_{what}.table") for what in ("keys", "values"))
        return attend(q, k, v, seen, query - key, keys, values, c["distance"], q.shape[3] ** -0.5)

    def clusters_of_source(self, stack, q, k, v, notes):
        """The best queries of a source on its best keys, cluster by cluster."""
        c, mu = self.c, self.statistics[f"{stack}.memory.centroids"]
        x, y = norm_rows(q), norm_rows(k)
        scores = [torch.einsum("bhnd,hkd->bhnk", rows, mu).detach() for rows in (x, y)]
        size = min(c["source_size"], x.shape[2])
        inside, keys = (torch.zeros_like(s).scatter(2, s.topk(size, 2).indices, 1.0) for s in scores)
        out = torch.zeros_like(v)
        for cluster in range(c["clusters"]):
            seen = keys[..., None, :, cluster].bool().expand(*keys.shape[:2], x.shape[2], x.shape[2])
            out = out + inside[..., cluster, None] * self.attend_seen(x, y, v, seen)
        for which, rows in enumerate((x, y)):
            near = scores[which].argmax(3)
            centroid = torch.stack([mu[h][near[:, h]] for h in range(mu.shape[0])], 1)
            one_hot = F.one_hot(near, c["clusters"]).to(rows.dtype)
            notes.setdefault((stack, which), []).append(
                (((rows - centroid) ** 2).sum(), rows.numel(), torch.einsum("bhnk,bhnd->hkd", one_hot, rows.detach()),
                 one_hot.sum((0, 2))))
        return out / (inside.sum(3, keepdim=True) + 0.01)

    def encode(self, ids, notes):
        """One source [n] -> [1, n, width]."""
        c, x = self.c, self.embed(ids[None])
        for i in range(c["encoder_layers"]):
            stack = f"encoder.{i}"
            q, k, v = self.project(stack + ".attention", x, x)
            first = c["routing"] if i >= c["skip"] else 0
            parts = [self.clusters_of_source(stack, q[:, :first], k[:, :first], v[:, :first], notes)] if first else []
            if first < c["heads"]:
                parts.append(self.both_sides(stack, q[:, first:], k[:, first:], v[:, first:]))
            out, mixer = torch.cat(parts, 1), self.get(stack + ".memory.mixer.weight")
            out = out if mixer is None else out @ mixer.T
            out = out.transpose(1, 2).flatten(2) @ self.get(stack + ".attention.output.weight").T
            x = self.norm(x + out, stack + ".attention_post_norm")
            x = self.norm(x + self.hidden(stack, x), stack + ".hidden_post_norm")
        return x

    def hidden(self, stack, x):
        bias = lambda y, b: y if b is None else y + b
        h = bias(x @ self.get(stack + ".hidden.up.weight").T, self.get(stack + ".hidden.up.bias"))
        if self.c["gated"]:
            a, b = h.chunk(2, -1)
            h = F.gelu(a, approximate="tanh") * b
        else:
            h = F.relu(h)
        return bias(h @ self.get(stack + ".hidden.down.weight").T, self.get(stack + ".hidden.down.bias"))

    def cross(self, i, x, encoded, aux):
        """Each lane's queries on its own source alone."""
        c, name, rows, notes = self.c, f"layers.{i}.cross_attention", [], [[], []]
        first = c.get("cross_heads", 0) if i >= c["skip"] else 0
        for lane, source in enumerate(encoded):
            q, k, v = self.project(name, x[lane:lane + 1], source)
            if "cross_block" in c:
                parts = [self.cross_clusters(i, q[:, :first], k[:, :first], v[:, :first], notes)] if first else []
                if first < c["heads"]:
                    parts.append(self.cross_blocks(q[:, first:], k[:, first:], v[:, first:]))
                rows.append(torch.cat(parts, 1))
            else:
                rows.append((q @ k.transpose(-1, -2) * q.shape[3] ** -0.5).softmax(-1) @ v)
        for note in notes if first else []:
            squares, counts, sums, totals = zip(*note)
            aux.append(c["beta"] * torch.stack(squares).sum() / sum(counts))
            self.gathered.setdefault((f"layers.{i}", "cross"), []).append(
                (torch.stack(sums).sum(0), torch.stack(totals).sum(0)))
        return torch.cat(rows).transpose(1, 2).flatten(2) @ self.get(name + ".output.weight").T

    def cross_blocks(self, q, k, v):
        c = self.c
        query, key = torch.arange(q.shape[2])[:, None] // c["block"], torch.arange(k.shape[2])[None] // c["cross_block"]
        seen = (query - key).abs() <= c["back"] // c["block"]
        logits = (q @ k.transpose(-1, -2) * q.shape[3] ** -0.5).masked_fill(~seen, -1e30)
        return (logits.softmax(-1) * seen) @ v

    def cross_clusters(self, i, q, k, v, notes):
        """Queries of the target on the best keys of the source: of the nearest centroid, or, in full mode, as the best of the
        target for each centroid."""
        c, mu = self.c, self.statistics[f"layers.{i}.memory.cross_centroids"]
        x, y = norm_rows(q), norm_rows(k)
        scores = [torch.einsum("bhnd,hkd->bhnk", rows, mu).detach() for rows in (x, y)]
        best = lambda s, size: torch.zeros_like(s).scatter(2, s.topk(min(size, s.shape[2]), 2).indices, 1.0)
        keys = best(scores[1], c["source_size"])
        near = [s.argmax(3) for s in scores]
        one_hot = [F.one_hot(n, c["clusters"]).to(x.dtype) for n in near]
        for rows, nearest, member, note in zip((x, y), near, one_hot, notes):
            centroid = torch.stack([mu[h][nearest[:, h]] for h in range(mu.shape[0])], 1)
            note.append((((rows - centroid) ** 2).sum(), rows.numel(),
                         torch.einsum("bhnk,bhnd->hkd", member, rows.detach()), member.sum((0, 2))))
        inside = one_hot[0] if c["mode"] == "causal" else best(scores[0], c["size"])
        out = torch.zeros_like(q)
        for cluster in range(c["clusters"]):
            seen = keys[..., None, :, cluster].bool().expand(*keys.shape[:2], x.shape[2], y.shape[2])
            out = out + inside[..., cluster, None] * self.attend_seen(x, y, v, seen)
        return out if c["mode"] == "causal" else out / (inside.sum(3, keepdim=True) + 0.01)

    def forward(self, ids, sources):
        """ids [lanes, segment], sources a list of id tensors. Hidden states and the auxiliary loss."""
        aux, notes = [], {}
        encoded = [self.encode(source, notes) for source in sources]
        for (stack, _), parts in notes.items():
            squares, counts, sums, totals = zip(*parts)
            aux.append(self.c["beta"] * torch.stack(squares).sum() / sum(counts))
            self.gathered.setdefault(stack, []).append((torch.stack(sums).sum(0), torch.stack(totals).sum(0)))
        x = self.embed(ids)
        for i in range(self.c["layers"]):
            x = self.norm(x + self.attention(i, x, aux), f"layers.{i}.attention_post_norm")
            x = self.norm(x + self.cross(i, x, encoded, aux), f"layers.{i}.cross_post_norm")
            x = self.norm(x + self.feed_forward(i, x), f"layers.{i}.hidden_post_norm")
        return x, torch.stack(aux).sum() if aux else torch.zeros(())
