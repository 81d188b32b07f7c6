#!/usr/bin/python3
"""Every op against PyTorch: results and gradients in float32, with the plain C kernels and the fast ones.

Each case is run by PyTorch's own functions (or, for attention, by the whole matrix of logits) and by the library
through the driver_ops program. For every result and gradient the largest absolute difference must be at most 1e-5 of
the largest absolute value of PyTorch's. Optimizer steps are compared with torch.optim, Adafactor with the algorithm
as its paper writes it.

    parity_ops.py [TEXT]     only the cases whose name contains TEXT
    LH_BUILD                 where driver_ops is (default: build/ beside tests/)
"""
import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    print("skipped: %s" % missing)
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

TOLERANCE = 1e-5
# Every level of the CPU's kernels; one that the machine lacks is run with the best it has.
LEVELS = ("ref", "avx2", "avx512")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("LH_BUILD", os.path.join(ROOT, "build"))
torch.manual_seed(0)
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(20)
CASES = []


def randn(*shape):
    return torch.randn(*shape, generator=generator)


def whole(values):
    return torch.as_tensor(np.asarray(values, dtype=np.int32))


class Case:
    """inputs: name -> tensor (float tensors want gradients unless listed in `constant`); calls: the library's program;
    reference: a function from the inputs to {name: tensor}. Results named in `silent` have no gradient."""

    def __init__(self, name, inputs, calls, reference, constant=(), silent=(), compare_gradients=True):
        self.name, self.inputs, self.calls, self.reference = name, inputs, list(calls), reference
        self.constant, self.silent, self.compare_gradients = constant, silent, compare_gradients
        self.worst = 0.0
        CASES.append(self)

    def run_reference(self):
        tensors = {}
        for name, value in self.inputs.items():
            tensors[name] = value.clone()
            if value.dtype == torch.float32 and name not in self.constant and self.compare_gradients:
                tensors[name].requires_grad_(True)
        results = self.reference(**tensors)
        expected = {name: value.detach().double().numpy() for name, value in results.items()}
        if self.compare_gradients:
            total = None
            for name, value in list(results.items()):
                if name in self.silent or not value.requires_grad:
                    continue
                weight = torch.randn(value.shape, generator=generator)
                self.inputs["weight of " + name] = weight
                total = (value * weight).sum() if total is None else total + (value * weight).sum()
            if total is not None:
                total.backward()
                for name, value in tensors.items():
                    if value.requires_grad:
                        gradient = value.grad if value.grad is not None else torch.zeros_like(value)
                        expected["d " + name] = gradient.double().numpy()
        self.expected, self.outputs = expected, list(results)
        self.wanted = [name for name, value in tensors.items() if value.requires_grad]

    def program(self, raw):
        calls, sums = list(self.calls), []
        for name in self.inputs:
            if name.startswith("weight of "):
                result = name[len("weight of "):]
                calls.append({"op": "multiply", "in": [result, name], "out": ["weighted " + result]})
                calls.append({"op": "sum", "in": ["weighted " + result], "out": ["sum " + result]})
                sums.append("sum " + result)
        while len(sums) > 1:
            joined = "total %d" % len(sums)
            calls.append({"op": "add", "in": [sums.pop(), sums.pop()], "out": [joined]})
            sums.append(joined)
        inputs = []
        for name, value in self.inputs.items():
            array = value.detach().numpy()
            inputs.append({"name": name, "dtype": "i32" if array.dtype == np.int32 else "f32",
                           "shape": list(array.shape), "offset": raw.tell() // 4, "grad": name in self.wanted})
            raw.write(np.ascontiguousarray(array, dtype="<i4" if array.dtype == np.int32 else "<f4").tobytes())
        case = {"name": self.name, "inputs": inputs, "calls": calls, "outputs": self.outputs}
        if sums:
            case["loss"] = sums[0]
        return case

    def judge(self, result, raw):
        """None, or what is wrong."""
        if "error" in result:
            return result["error"]
        got = {tensor["name"]: tensor for tensor in result["tensors"]}
        worst = 0.0
        for name, expected in self.expected.items():
            if name not in got:
                return "%s is missing" % name
            count = int(np.prod(got[name]["shape"], dtype=np.int64))
            values = raw[got[name]["offset"]:got[name]["offset"] + count]
            if count != expected.size:
                return "%s has shape %s, expected %s" % (name, got[name]["shape"], list(expected.shape))
            if count == 0:
                continue
            difference = np.max(np.abs(values - expected.reshape(-1)))
            scale = np.max(np.abs(expected))
            error = difference / scale if scale > 0 else difference
            if not error <= TOLERANCE:
                return "%s: relative difference %.2e" % (name, error)
            worst = max(worst, error)
        self.worst = max(self.worst, worst)
        return None


def call(op, inputs, outputs=("y",), **options):
    return dict(options, op=op, **{"in": list(inputs), "out": list(outputs)})


# ---- shape, elementwise, reductions ----------------------------------------------------------------------------------

Case("reshape, transpose, slice, concat", {"x": randn(3, 4, 6), "z": randn(4, 2, 5)},
     [call("transpose", ["x"], ["t"], a=0, b=2), call("slice", ["t"], ["s"], dim=0, start=1, length=4),
      call("reshape", ["s"], ["r"], shape=[4, -1]), call("reshape", ["z"], ["q"], shape=[4, 10]),
      call("concat", ["r", "q", "r"], ["y"], dim=1)],
     lambda x, z: {"y": torch.cat([x.transpose(0, 2)[1:5].reshape(4, -1), z.reshape(4, 10),
                                   x.transpose(0, 2)[1:5].reshape(4, -1)], 1)})
Case("expand", {"x": randn(3, 1, 4)}, [call("expand", ["x"], dim=1, times=5)],
     lambda x: {"y": x.expand(3, 5, 4) * 1})
for op, function in (("add", torch.add), ("subtract", torch.sub), ("multiply", torch.mul)):
    Case(op, {"a": randn(5, 1, 7), "b": randn(3, 7)}, [call(op, ["a", "b"])],
         lambda a, b, function=function: {"y": function(a, b)})
Case("divide", {"a": randn(5, 3, 7), "b": randn(3, 1).abs() + 0.5}, [call("divide", ["a", "b"])],
     lambda a, b: {"y": a / b})
FUNCTIONS = {
    "identity": lambda x: x * 1, "relu": F.relu, "relu_squared": lambda x: F.relu(x) ** 2, "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "exp": torch.exp, "log": torch.log, "square": torch.square, "sqrt": torch.sqrt,
    "abs": torch.abs, "negate": torch.neg, "reciprocal": torch.reciprocal}
for name, function in FUNCTIONS.items():
    x = randn(4, 33) * 2
    if name in ("log", "sqrt", "reciprocal"):
        x = x.abs() + 0.3
    Case("unary " + name, {"x": x}, [call("unary", ["x"], function=name)],
         lambda x, function=function: {"y": function(x)})
Case("scale", {"x": randn(7, 5)}, [call("scale", ["x"], factor=-0.7)], lambda x: {"y": x * -0.7})
Case("sum and mean", {"x": randn(50, 70)}, [call("sum", ["x"], ["y"]), call("mean", ["x"], ["z"])],
     lambda x: {"y": x.sum().reshape(1), "z": x.mean().reshape(1)})
for dim in range(3):
    Case("sum and mean over dimension %d" % dim, {"x": randn(6, 5, 40)},
         [call("sum_dim", ["x"], ["y"], dim=dim), call("mean_dim", ["x"], ["z"], dim=dim)],
         lambda x, dim=dim: {"y": x.sum(dim), "z": x.mean(dim)})
Case("mean square error", {"a": randn(6, 50), "b": randn(6, 50)}, [call("mean_square_error", ["a", "b"])],
     lambda a, b: {"y": F.mse_loss(a, b).reshape(1)})

# ---- products, norms, activations ------------------------------------------------------------------------------------

Case("linear", {"x": randn(3, 17, 65), "w": randn(33, 65), "b": randn(33)}, [call("linear", ["x", "w", "b"])],
     lambda x, w, b: {"y": F.linear(x, w, b)})
Case("linear of a slice", {"x": randn(3, 17, 130), "w": randn(33, 65)},
     [call("slice", ["x"], ["s"], dim=2, start=65, length=65), call("linear", ["s", "w", None])],
     lambda x, w: {"y": F.linear(x[:, :, 65:], w)})
Case("matmul", {"a": randn(2, 3, 19, 21), "b": randn(2, 3, 21, 18)}, [call("matmul", ["a", "b"])],
     lambda a, b: {"y": a @ b})
Case("matmul transposed", {"a": randn(4, 19, 21), "b": randn(4, 18, 21)},
     [call("matmul", ["a", "b"], transpose_b=True)], lambda a, b: {"y": a @ b.transpose(1, 2)})
Case("layer norm", {"x": randn(7, 5, 96), "g": randn(96), "b": randn(96)},
     [call("layer_norm", ["x", "g", "b"], eps=1e-5)], lambda x, g, b: {"y": F.layer_norm(x, (96,), g, b, 1e-5)})
Case("layer norm, bare", {"x": randn(7, 96) + 3}, [call("layer_norm", ["x"], eps=1e-6)],
     lambda x: {"y": F.layer_norm(x, (96,), None, None, 1e-6)})


def rms_norm(x, g, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * g


Case("rms norm", {"x": randn(7, 5, 96), "g": randn(96)}, [call("rms_norm", ["x", "g"], eps=1e-6)],
     lambda x, g: {"y": rms_norm(x, g, 1e-6)})
Case("residual rms norm", {"x": randn(9, 64), "r": randn(9, 64), "g": randn(64)},
     [call("residual_norm", ["x", "r", "g", None], ["y", "s"], eps=1e-5, rms=True)],
     lambda x, r, g: {"y": rms_norm(x + r, g, 1e-5), "s": x + r})
Case("residual layer norm", {"x": randn(9, 64), "r": randn(9, 64), "g": randn(64), "b": randn(64)},
     [call("residual_norm", ["x", "r", "g", "b"], ["y", "s"], eps=1e-5)],
     lambda x, r, g, b: {"y": F.layer_norm(x + r, (64,), g, b, 1e-5), "s": x + r})
for name in ("gelu", "gelu_tanh", "silu", "relu_squared"):
    Case("bias and " + name, {"x": randn(5, 48), "b": randn(48)},
         [call("bias_activation", ["x", "b"], function=name)],
         lambda x, b, function=FUNCTIONS[name]: {"y": function(x + b)})
for name in ("gelu", "relu_squared"):
    Case("linear of bias and " + name, {"x": randn(5, 3, 48), "b": randn(48), "w": randn(20, 48), "o": randn(20)},
         [call("activation_linear", ["x", "b", "w", "o"], function=name)],
         lambda x, b, w, o, function=FUNCTIONS[name]: {"y": F.linear(function(x + b), w, o)})
for name in ("silu", "gelu", "gelu_tanh", "sigmoid"):
    Case("gated " + name, {"x": randn(5, 3, 94)}, [call("gated", ["x"], function=name)],
         lambda x, function=FUNCTIONS[name]: {"y": function(x[..., :47]) * x[..., 47:]})
for name in ("silu", "gelu_tanh"):
    Case("gated linear " + name, {"g": randn(5, 3, 47), "v": randn(5, 3, 47), "w": randn(20, 47)},
         [call("gated_linear", ["g", "v", "w"], function=name)],
         lambda g, v, w, function=FUNCTIONS[name]: {"y": F.linear(function(g) * v, w)})
Case("softmax", {"x": randn(6, 5, 77) * 3}, [call("softmax", ["x"], ["y"]), call("softmax", ["x"], ["z"], log=True)],
     lambda x: {"y": F.softmax(x, -1), "z": F.log_softmax(x, -1)})

# ---- embeddings, losses, positions -----------------------------------------------------------------------------------

IDS = whole([[1, 7, 3, 3], [0, 11, 3, 5]])
Case("embedding", {"t": randn(12, 24), "ids": IDS}, [call("embedding", ["t", "ids"], scale=4.9)],
     lambda t, ids: {"y": 4.9 * F.embedding(ids.long(), t)})
Case("gather rows", {"x": randn(12, 24), "ids": IDS}, [call("gather_rows", ["x", "ids"])],
     lambda x, ids: {"y": x[ids.long()]})
TARGETS = whole([3, 250, -100, 17, 0, 250, -100, 99, 101, 12, 13])


def loss_of(logits, targets, weights=None, z_loss=0.0):
    nll = F.cross_entropy(logits, targets.long(), reduction="none", ignore_index=-100)
    lse = torch.logsumexp(logits, -1)
    nll = nll + z_loss * torch.where(targets < 0, torch.zeros_like(lse), lse ** 2)
    weighted = nll if weights is None else nll * weights
    return {"y": weighted.sum().reshape(1), "nll": nll}


Case("cross-entropy", {"x": randn(11, 300) * 2, "t": TARGETS}, [call("cross_entropy", ["x", "t", None], ["y", "nll"])],
     lambda x, t: loss_of(x, t), silent=("nll",))
Case("cross-entropy, weights", {"x": randn(11, 300) * 2, "t": TARGETS, "w": randn(11).abs()},
     [call("cross_entropy", ["x", "t", "w"], ["y", "nll"])],
     lambda x, t, w: loss_of(x, t, w), silent=("nll",), constant=("w",))
Case("linear cross-entropy", {"h": randn(11, 32), "w": randn(300, 32) * 0.3, "t": TARGETS},
     [call("linear_cross_entropy", ["h", "w", None, "t", None], ["y", "nll"])],
     lambda h, w, t: loss_of(h @ w.t(), t), silent=("nll",))
Case("linear cross-entropy, everything",
     {"h": randn(11, 32), "w": randn(300, 32) * 0.3, "b": randn(300), "t": TARGETS, "weights": randn(11).abs()},
     [call("linear_cross_entropy", ["h", "w", "b", "t", "weights"], ["y", "nll"], scale=0.5, z_loss=0.01)],
     lambda h, w, b, t, weights: loss_of(0.5 * (h @ w.t()) + b, t, weights, 0.01), silent=("nll",),
     constant=("weights",))


def rope(x, position, rotated, interleaved, frequency, magnitude):
    """Pairs of channels as complex numbers, turned by e^(i position frequency)."""
    turning, rest = x[..., :rotated], x[..., rotated:]
    half = rotated // 2
    if interleaved:
        real, imaginary = turning[..., 0::2], turning[..., 1::2]
    else:
        real, imaginary = turning[..., :half], turning[..., half:]
    position = position if position.dim() == 2 else position[None]
    angle = position.double()[:, :, None, None] * torch.tensor(frequency, dtype=torch.float64)
    turned = torch.complex(real, imaginary) * torch.polar(torch.full_like(angle, magnitude), angle).to(torch.complex64)
    if interleaved:
        joined = torch.stack([turned.real, turned.imag], -1).flatten(-2)
    else:
        joined = torch.cat([turned.real, turned.imag], -1)
    return {"y": torch.cat([joined, rest], -1)}


for interleaved in (False, True):
    for rotated, magnitude, position in ((32, 1.0, whole(range(40, 49))), (20, 1.2, whole(np.arange(18).reshape(2, 9) * 37))):
        frequency = [10000 ** (-2 * i / rotated) for i in range(rotated // 2)]
        Case("rope, %s, %d of 32 channels" % ("interleaved" if interleaved else "halves", rotated),
             {"x": randn(2, 9, 3, 32), "p": position},
             [call("rope", ["x", "p"], rotated=rotated, interleaved=interleaved, frequency=frequency,
                   magnitude=magnitude)],
             lambda x, p, r=rotated, i=interleaved, f=frequency, m=magnitude: rope(x, p, r, i, f, m))


def sinusoids(first, count, width, base, clamp):
    distance = torch.arange(first, first + count, dtype=torch.float64)
    distance = torch.minimum(distance, torch.tensor(float(clamp))) if clamp else distance
    inverse = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = distance[:, None] * inverse
    return {"y": torch.cat([angle.sin(), angle.cos()], 1).float()}


Case("sinusoids", {}, [call("sinusoids", [], first=-4, count=300, width=64, base=10000, clamp=250)],
     lambda: sinusoids(-4, 300, 64, 10000.0, 250))


def t5_bucket(distance, buckets, max_distance):
    """The buckets of the T5 paper's code for a decoder, in float32 as there."""
    exact = buckets // 2
    distance = distance.clamp(min=0)
    far = exact + (torch.log(distance.float() / exact) / math.log(max_distance / exact) * (buckets - exact)).long()
    return torch.where(distance < exact, distance, far.clamp(max=buckets - 1))


for buckets, max_distance in ((32, 128), (32, 1000), (64, 4096), (8, 20)):
    Case("t5 bias, %d buckets to %d" % (buckets, max_distance), {"t": randn(4, buckets)},
         [call("t5_bias", ["t"], first=-3, count=2 * max_distance, max_distance=max_distance)],
         lambda t, b=buckets, m=max_distance: {"y": t[:, t5_bucket(torch.arange(-3, 2 * m - 3), b, m)]})
Case("alibi", {}, [call("alibi", [], heads=8, first=2, count=50)],
     lambda: {"y": -(2.0 ** -torch.arange(1.0, 9.0))[:, None] * torch.arange(2.0, 52.0)})

# ---- time ------------------------------------------------------------------------------------------------------------

for length, kernel, stride, dilation in ((20, 3, 1, 1), (21, 3, 2, 1), (30, 4, 3, 3), (24, 4, 4, 1), (26, 4, 4, 1), (29, 2, 5, 1)):
    Case("conv1d, length %d kernel %d stride %d dilation %d" % (length, kernel, stride, dilation),
         {"x": randn(3, length, 6), "w": randn(10, kernel, 6)},
         [call("conv1d", ["x", "w"], stride=stride, dilation=dilation)],
         lambda x, w, s=stride, d=dilation: {
             "y": F.conv1d(x.transpose(1, 2), w.transpose(1, 2), stride=s, dilation=d).transpose(1, 2)})
for kernel, stride in ((3, 1), (3, 2), (4, 4), (2, 5)):
    Case("conv1d transpose, kernel %d stride %d" % (kernel, stride), {"x": randn(3, 9, 6), "w": randn(6, kernel, 5)},
         [call("conv1d_transpose", ["x", "w"], stride=stride)],
         lambda x, w, s=stride: {
             "y": F.conv_transpose1d(x.transpose(1, 2), w.transpose(1, 2), stride=s).transpose(1, 2)})
for maximum, function in ((True, F.max_pool1d), (False, F.avg_pool1d)):
    for kernel, stride in ((3, 2), (4, 4), (2, 3)):
        Case("pool1d %s, kernel %d stride %d" % ("maximum" if maximum else "mean", kernel, stride),
             {"x": randn(3, 17, 8)}, [call("pool1d", ["x"], kernel=kernel, stride=stride, maximum=maximum)],
             lambda x, f=function, k=kernel, s=stride: {"y": f(x.transpose(1, 2), k, s).transpose(1, 2)})
Case("top k", {"x": randn(9, 200)}, [call("top_k", ["x"], k=17)],
     lambda x: {"y": x.topk(17).indices.sort().values.float()})
Case("argmax", {"x": randn(3, 11, 70)}, [call("argmax", ["x"], dim=1)],
     lambda x: {"y": x.argmax(1).float()})
PICKED = torch.randint(0, 31, (2, 3, 50), generator=generator)
Case("group gather", {"x": randn(2, 3, 31, 40), "index": whole(PICKED)}, [call("group_gather", ["x", "index"])],
     lambda x, index: {"y": x.gather(2, PICKED[..., None].expand(-1, -1, -1, 40))})
MEMBERS = torch.zeros(2, 3, 31, 1).scatter_add_(2, PICKED[..., None], torch.ones(2, 3, 50, 1))
Case("group mean", {"x": randn(2, 3, 50, 40), "index": whole(PICKED)},
     [call("group_mean", ["x", "index"], groups=31, extra=0.01)],
     lambda x, index: {"y": torch.zeros(2, 3, 31, 40).scatter_add(2, PICKED[..., None].expand(-1, -1, -1, 40), x) /
                       (MEMBERS + 0.01)})

# ---- vector quantisation ---------------------------------------------------------------------------------------------


def quantise(k, c):
    distance = ((k[:, :, :, None] - c[None, :, None]) ** 2).sum(-1)
    least, z = distance.min(-1)
    nearest = torch.stack([c[h][z[:, h]] for h in range(c.shape[0])], 1)
    return {"y": k + (nearest - k).detach(), "z": (z + 1).float(), "e": ((k - nearest.detach()) ** 2).sum(-1)}


def code_means(u, n, z, v):
    one_hot = F.one_hot(z.long().clamp(min=0), u.shape[2] + 1)[..., 1:].float()
    more = n + one_hot.sum(2)
    divisor = more.clamp(min=1)
    return {"y": (n / divisor)[..., None] * u + (one_hot / divisor[:, :, None]).transpose(2, 3) @ v, "m": more}


def code_sums(x, z, w, like):
    one_hot = F.one_hot(z.long().clamp(min=0), like.shape[1] + 1)[..., 1:].float() * w[:, None, :, None]
    return {"y": torch.einsum("bhts,bhtd->hsd", one_hot, x), "m": one_hot.sum((0, 2))}


for length in (3, 50):
    Case("quantise %d keys" % length, {"k": randn(2, 3, length, 24), "c": randn(3, 31, 24)},
         [call("quantise", ["k", "c"], ["y", "z", "e"])], quantise, constant=("c",), silent=("z",))
CODES_OF_ROWS = whole(np.random.default_rng(3).integers(-1, 12, (2, 3, 50)))
Case("code means",
     {"u": randn(2, 3, 11, 24), "n": whole(np.random.default_rng(4).integers(0, 9, (2, 3, 11))), "z": CODES_OF_ROWS,
      "v": randn(2, 3, 50, 24)},
     [call("code_means", ["u", "n", "z", "v"], ["y", "m"])], code_means, silent=("m",))
Case("code sums",
     {"x": randn(2, 3, 50, 24), "z": CODES_OF_ROWS, "w": torch.rand(2, 50, generator=generator).round(),
      "like": randn(3, 11, 24)},
     [call("code_sums", ["x", "z", "w", "like"], ["y", "m"])], code_sums, compare_gradients=False)

# ---- attention -------------------------------------------------------------------------------------------------------


def table_rows(n, m, length, rel_first=0, rel_step=1, rel_offset=0, rel_clamp=False, **unused):
    """The row of a relative table for each query and key [n, m], and whether it has one."""
    i, j = torch.arange(n)[:, None], torch.arange(m)[None]
    t = i - rel_step * j + rel_offset - rel_first
    return t.clamp(0, length - 1), ((t >= 0) & (t < length)) | rel_clamp


def logits_of(q, scale, head_scale, k, offset=0, min_distance=None, max_distance=None, low=None, high=None,
              content_bias=None, position_bias=None, rel_k=None, distance_bias=None, key_bias=None,
              bias_scaled=False, times=None, **source):
    """All logits [batch, heads, queries, keys] of one source; -infinity where a key is not seen."""
    heads, n, m = q.shape[1], q.shape[2], k.shape[2]
    k = k.repeat_interleave(heads // k.shape[1], 1)
    i, j = torch.arange(n)[:, None], torch.arange(m)[None]
    scores = ((q if content_bias is None else q + content_bias[:, None]) @ k.transpose(2, 3))
    added = 0
    if rel_k is not None or distance_bias is not None:
        t, inside = table_rows(n, m, rel_k.shape[1] if rel_k is not None else distance_bias.shape[1], **source)
        if rel_k is not None:
            by_distance = q if position_bias is None else q + position_bias[:, None]
            relative = torch.einsum("bhnd,hnmd->bhnm", by_distance, rel_k[:, t])
            scores = scores + torch.where(inside, relative, torch.zeros(()))
        if distance_bias is not None:
            added = torch.where(inside, distance_bias[:, t], torch.zeros(()))
    factor = scale if head_scale is None else scale * head_scale[:, None, None]
    logits = factor * (scores + added) if bias_scaled else factor * scores + added
    if key_bias is not None:
        logits = logits + key_bias[:, :, None]
    distance = i - j + offset
    seen = torch.ones(n, m, dtype=torch.bool)
    if min_distance is not None:
        seen = seen & (distance >= min_distance)
    if max_distance is not None:
        seen = seen & (distance <= max_distance)
    if low is not None:
        seen = seen & (j >= low[..., None]) & (j < high[..., None])
    if times is not None:  # how often a list names the key
        logits = logits + torch.log(times)
    return logits.masked_fill(~seen, -math.inf)


def dense_attention(q, sources, scale=None, head_scale=None, null_logit=None, mass_weight=None):
    scale = scale if scale is not None else q.shape[3] ** -0.5
    heads = q.shape[1]
    logits = [logits_of(q, scale, head_scale, **source) for source in sources]
    sizes = [part.shape[3] for part in logits]
    if null_logit is not None:
        logits.append(torch.full(logits[0].shape[:3] + (1,), null_logit))
    joint = torch.cat([part.expand(q.shape[0], -1, -1, -1) for part in logits], 3)
    dead = torch.isinf(joint).all(3, keepdim=True)
    lse = torch.logsumexp(joint.masked_fill(dead, 0), 3)
    probability = torch.softmax(joint.masked_fill(dead, 0), 3).masked_fill(dead, 0)
    out, at, mass = 0, 0, []
    for source, size in zip(sources, sizes):
        part = probability[..., at:at + size]
        out = out + part @ source["v"].repeat_interleave(heads // source["v"].shape[1], 1)
        if "rel_v" in source:
            t, inside = table_rows(part.shape[2], size, source["rel_v"].shape[1], **source)
            out = out + torch.einsum("bhnm,hnmd->bhnd", part * inside, source["rel_v"][:, t])
        mass.append(part.sum((1, 2)))
        at += size
    results = {"y": out}
    if not dead.any():
        results["lse"] = lse
    if mass_weight is not None:
        for s, part in enumerate(mass):
            results["mass %d" % s] = mass_weight * part
    return results


INTEGER_FIELDS = ("low", "high", "gather", "tile_row", "tile_start", "column_row", "column", "times")


def attention_case(name, q, sources, constant=(), **options):
    """sources: dictionaries of tensors and numbers; equal tensors (the same object) become one input."""
    inputs, names = {"q": q}, {id(q): "q"}
    described, keys = [], []
    for s, source in enumerate(sources):
        description, names_of_source = {}, {}
        for key, value in source.items():
            if torch.is_tensor(value):
                if id(value) not in names:
                    names[id(value)] = "%s_%d" % (key, s)
                    inputs[names[id(value)]] = value
                names_of_source[key] = names[id(value)]
                if key != "times":
                    description[key] = names[id(value)]
            elif value is not None:
                description[key] = value
        described.append(description)
        keys.append(names_of_source)
    mass = options.pop("mass", None)
    step = call("attention", ["q"], ["y", "lse"], sources=described,
                **{key: value for key, value in options.items() if not torch.is_tensor(value)})
    if "head_scale" in options:
        inputs["head_scale"] = options["head_scale"]
        step["head_scale"] = "head_scale"
    silent = []
    if mass is not None:
        step["mass"], step["weight"] = True, mass
        silent = ["mass %d" % s for s in range(len(sources))]
        step["out"] += silent

    def reference(**tensors):
        given = []
        for source, names_of_source in zip(sources, keys):
            one = {key: tensors[names_of_source[key]] if torch.is_tensor(value) else value
                   for key, value in source.items()}
            if one.get("stop_gradient"):
                one["k"], one["v"] = one["k"].detach(), one["v"].detach()
            given.append(one)
        arguments = {key: tensors["head_scale"] if key == "head_scale" else value for key, value in options.items()}
        return dense_attention(tensors["q"], given, mass_weight=mass, **arguments)

    case = Case("attention, " + name, inputs, [step], reference, silent=silent,
                constant=tuple(key for key in inputs if key.startswith("times")) + tuple(constant))
    return case


def heads_of(batch, heads, length, width):
    return randn(batch, heads, length, width)


B, H, N, M, D = 2, 4, 33, 70, 32
CAUSAL = {"offset": M - N, "min_distance": 0}


def source(**more):
    return dict({"k": heads_of(B, H, M, D), "v": heads_of(B, H, M, D)}, **more)


attention_case("all keys", heads_of(B, H, N, D), [source()])
attention_case("causal", heads_of(B, H, N, D), [source(**CAUSAL)], mass=0.25)
attention_case("window", heads_of(B, H, N, D), [source(offset=M - N, min_distance=0, max_distance=16)])
attention_case("strictly before", heads_of(B, H, N, D), [source(offset=-5, min_distance=1, max_distance=9)])
attention_case("wide values", heads_of(B, H, N, 24), [{"k": heads_of(B, H, M, 24), "v": heads_of(B, H, M, 40)}])
attention_case("head width 64, grouped, causal", heads_of(B, 8, 50, 64),
               [{"k": heads_of(B, 2, 50, 64), "v": heads_of(B, 2, 50, 64), "min_distance": 0}])
attention_case("head width 80", heads_of(1, 2, 40, 80),
               [{"k": heads_of(1, 2, 90, 80), "v": heads_of(1, 2, 90, 80), "offset": 50, "min_distance": 0}])
attention_case("one query", heads_of(B, H, 1, D), [source(offset=M - 1, min_distance=0)])
attention_case("keys of the whole batch", heads_of(B, H, N, D), [{"k": heads_of(1, H, M, D), "v": heads_of(1, H, M, D)}])
attention_case("stopped", heads_of(B, H, N, D), [source(stop_gradient=True, content_bias=randn(H, D))])
lanes = torch.randint(0, M - 12, (B, H, N), generator=generator)
attention_case("intervals", heads_of(B, H, N, D), [source(low=whole(lanes), high=whole(lanes + 12))])
shared = torch.arange(N)[None, None] // 11 * 20
attention_case("intervals of all lanes, causal", heads_of(B, H, N, D),
               [source(low=whole(shared), high=whole(shared + 25), **CAUSAL)])
attention_case("null logit", heads_of(B, H, N, D), [source(**CAUSAL)], null_logit=0.5)
attention_case("head scale", heads_of(B, H, N, D), [source()], head_scale=randn(H).abs() + 0.5, scale=0.3)
attention_case("Transformer-XL", heads_of(B, H, N, D),
               [source(content_bias=randn(H, D), position_bias=randn(H, D), rel_k=randn(H, M + 1, D),
                       rel_offset=M - N, **CAUSAL)])
attention_case("relative keys, clamped", heads_of(B, H, N, D),
               [source(rel_k=randn(H, 21, D), rel_first=-10, rel_clamp=True)])
attention_case("relative keys, compressed steps", heads_of(B, H, N, D),
               [source(rel_k=randn(H, 300, D), rel_step=4, rel_offset=4 * M)])
attention_case("relative keys, none outside", heads_of(B, H, N, D), [source(rel_k=randn(H, 9, D))])
attention_case("relative keys and values, causal, clamped", heads_of(B, H, N, D),
               [source(rel_k=randn(H, 41, D), rel_v=randn(H, 41, D), rel_first=-20, rel_clamp=True, **CAUSAL)])
attention_case("relative values in intervals, none outside", heads_of(B, H, N, D),
               [source(rel_v=randn(H, 12, D), rel_offset=M - N, low=whole(lanes), high=whole(lanes + 12))])
attention_case("distance bias", heads_of(B, H, N, D),
               [source(distance_bias=randn(H, M), rel_offset=M - N, **CAUSAL)])
attention_case("distance bias, clamped, scaled", heads_of(B, H, N, D),
               [source(distance_bias=randn(H, 16), rel_offset=M - N, rel_clamp=True, bias_scaled=True, **CAUSAL)],
               head_scale=randn(H).abs() + 0.5)
attention_case("key bias", heads_of(B, H, N, D), [source(key_bias=randn(B, H, M))])
attention_case("key bias of all heads", heads_of(B, H, N, D), [source(key_bias=randn(B, 1, M), **CAUSAL)])
attention_case("key bias of all lanes", heads_of(B, H, N, D), [source(key_bias=randn(1, H, M))])
attention_case("everything", heads_of(B, H, N, D),
               [source(content_bias=randn(H, D), position_bias=randn(H, D), rel_k=randn(H, M + 1, D),
                       distance_bias=randn(H, M + 1), key_bias=randn(B, H, M), rel_offset=M - N, bias_scaled=True,
                       low=whole(lanes), high=whole(lanes + 12))],
               head_scale=randn(H).abs() + 0.5, null_logit=-0.2)
memory, tables = source(offset=M, max_distance=M), {"content_bias": randn(H, D), "position_bias": randn(H, D)}
relative = randn(H, M + N, D)
attention_case("three sources", heads_of(B, H, N, D),
               [dict(memory, rel_k=relative, rel_offset=M, **tables),
                {"k": heads_of(B, H, N, D), "v": heads_of(B, H, N, D), "min_distance": 0, "rel_k": relative, **tables},
                {"k": heads_of(1, H, 20, D), "v": heads_of(1, H, 20, D), "key_bias": randn(B, H, 20)}], mass=1.0)
same = heads_of(B, H, N, D)
attention_case("queries, keys and values are one", same, [{"k": same, "v": same, "min_distance": 0}, {"k": same, "v": same}])
G = 9
rows = torch.stack([torch.randperm(M, generator=generator)[:G] for _ in range(B * H * N)]).reshape(B, H, N, G)
rows[..., -1] = torch.where(rows[..., -1] % 3 == 0, torch.tensor(-1), rows[..., -1])
counts = torch.zeros(B, H, N, M + 1).scatter_(3, torch.where(rows < 0, torch.tensor(M), rows), 1.0)[..., :M]
attention_case("gathered", heads_of(B, H, N, D), [source(layout="gathered", gather=whole(rows), times=counts)])
attention_case("gathered, grouped, biased", heads_of(B, H, N, D),
               [{"k": heads_of(B, 2, M, D), "v": heads_of(B, 2, M, D), "layout": "gathered", "gather": whole(rows),
                 "times": counts, "content_bias": randn(H, D), "key_bias": randn(B, H, M)}])


def block_lists(block_size, blocks):
    """Random tiles, and columns outside of them: the lists, and how often each query meets each key."""
    tile_row, tile, column_row, column = [0], [], [0], []
    counted = torch.zeros(B, H, blocks * block_size, M)
    for lane in range(B * H):
        for block in range(blocks):
            tiles = torch.randperm(M // block_size, generator=generator)[:3].sort().values * block_size
            listed = torch.zeros(M)
            for start in tiles.tolist():
                listed[start:start + block_size] = 1
            free = torch.nonzero(listed == 0).flatten()
            columns = free[torch.randperm(len(free), generator=generator)[:5]].sort().values
            listed[columns] = 1
            tile += tiles.tolist()
            column += columns.tolist()
            tile_row.append(len(tile))
            column_row.append(len(column))
            counted[lane // H, lane % H, block * block_size:(block + 1) * block_size] = listed
    return {"layout": "blocks", "block_size": block_size, "tile_row": whole(tile_row), "tile_start": whole(tile),
            "column_row": whole(column_row), "column": whole(column), "times": counted[:, :, :N].clone()}


def retrieved(q, keys, values, head_scale, window, k, half):
    """Softmax over the k largest inner products with the last `window` keys."""
    if half:
        keys, values = keys.half().float(), values.half().float()
    group = q.shape[1] // keys.shape[1]
    keys = keys[:, :, -window:].repeat_interleave(group, 1)
    values = values[:, :, -window:].repeat_interleave(group, 1)
    scores, rows = (q @ keys.transpose(2, 3)).topk(min(k, keys.shape[2]))
    p = torch.softmax(q.shape[3] ** -0.5 * head_scale[:, None, None] * scores, 3)
    picked = values.gather(2, rows.flatten(2)[..., None].expand(-1, -1, -1, values.shape[3]))
    return (p[..., None] * picked.unflatten(2, rows.shape[2:])).sum(3)


for name, heads, q_len, rows, slots, window, k, half in (
        ("few queries", 2, 3, 40, 64, 40, 8, False), ("many queries, ring gone round", 4, 70, 150, 96, 90, 32, False),
        ("of f16", 4, 40, 100, 100, 100, 5, True), ("fewer rows than asked for", 2, 40, 20, 32, 32, 32, False)):
    Case("retrieval, " + name, {"q": randn(2, heads, q_len, 24), "keys": randn(2, 2, rows, 24),
                                "values": randn(2, 2, rows, 16), "head_scale": randn(heads).abs() + 0.5},
         [call("retrieve", ["q", "keys", "values", "head_scale"], slots=slots, window=window, k=k, f16=half)],
         lambda q, keys, values, head_scale, w=window, k=k, h=half: {
             "y": retrieved(q, keys, values, head_scale, w, k, h)}, constant=("keys", "values"))
attention_case("blocks", heads_of(B, H, N, D), [source(**block_lists(16, 3))])
attention_case("blocks, distance bias", heads_of(B, H, N, D),
               [source(distance_bias=randn(H, M + N), rel_first=-M, **block_lists(8, 5))])
attention_case("long", heads_of(1, 2, 300, 64),
               [{"k": heads_of(1, 2, 700, 64), "v": heads_of(1, 2, 700, 64), "offset": 400, "min_distance": 0}])
Case("attention, a joint projection", {"x": randn(2, 40, 3 * 4 * 16)},
     [call("slice", ["x"], ["x%d" % i], dim=2, start=64 * i, length=64) for i in range(3)] +
     [call("reshape", ["x%d" % i], ["r%d" % i], shape=[2, 40, 4, 16]) for i in range(3)] +
     [call("transpose", ["r%d" % i], ["t%d" % i], a=1, b=2) for i in range(3)] +
     [call("attention", ["t0"], ["o", None], sources=[{"k": "t1", "v": "t2", "min_distance": 0}]),
      call("transpose", ["o"], ["m"], a=1, b=2), call("reshape", ["m"], ["y"], shape=[2, 40, 64])],
     lambda x: {"y": dense_attention(
         *[x.reshape(2, 40, 3, 4, 16)[:, :, 0].transpose(1, 2),
           [{"k": x.reshape(2, 40, 3, 4, 16)[:, :, 1].transpose(1, 2),
             "v": x.reshape(2, 40, 3, 4, 16)[:, :, 2].transpose(1, 2), "min_distance": 0}]])["y"]
                .transpose(1, 2).reshape(2, 40, 64)})


def merged(q, k, v, kk, vv):
    joint = dense_attention(q, [{"k": torch.cat([k, kk], 2), "v": torch.cat([v, vv], 2)}])
    return joint


Case("attention in two parts, merged",
     {"q": heads_of(B, H, N, D), "k": heads_of(B, H, M, D), "v": heads_of(B, H, M, D), "kk": heads_of(B, H, 20, D),
      "vv": heads_of(B, H, 20, D)},
     [call("attention", ["q"], ["a", "la"], sources=[{"k": "k", "v": "v"}]),
      call("attention", ["q"], ["b", "lb"], sources=[{"k": "kk", "v": "vv"}]),
      call("attention_merge", ["a", "la", "b", "lb"], ["y", "lse"])], merged)

# ---- optimizers ------------------------------------------------------------------------------------------------------


def optimizer_case(name, step, make, states, shape=(17, 9), steps=7):
    """`make` gives the torch optimizer of a parameter; the kernel runs on the same gradients."""
    start, gradients = randn(*shape), [randn(*shape) * (1 + 0.5 * t) for t in range(steps)]
    inputs = {"p": start.clone()}
    inputs.update({"g%d" % t: gradient.clone() for t, gradient in enumerate(gradients)})
    inputs.update({state: torch.zeros(size) for state, size in states.items()})
    calls = [step(t) for t in range(steps)]

    def reference(p, **unused):
        parameter = torch.nn.Parameter(p.clone())
        optimizer = make(parameter)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        return {"p": parameter.detach()}

    Case(name, inputs, calls, reference, compare_gradients=False)


STATES = {"m": (17, 9), "v": (17, 9)}
optimizer_case("adamw", lambda t: call("adamw", ["p", "g%d" % t, "m", "v"], [], step=t + 1, lr=0.01, decay=0.1),
               lambda p: torch.optim.AdamW([p], lr=0.01, weight_decay=0.1), STATES)
optimizer_case("adamw, other numbers",
               lambda t: call("adamw", ["p", "g%d" % t, "m", "v"], [], step=t + 1, lr=0.003, beta1=0.8, beta2=0.95,
                              eps=1e-5, decay=0.0),
               lambda p: torch.optim.AdamW([p], lr=0.003, betas=(0.8, 0.95), eps=1e-5, weight_decay=0.0), STATES)
optimizer_case("sgd", lambda t: call("sgd", ["p", "g%d" % t, None], [], lr=0.1),
               lambda p: torch.optim.SGD([p], lr=0.1), {})
optimizer_case("sgd, momentum and decay",
               lambda t: call("sgd", ["p", "g%d" % t, "m"], [], lr=0.1, momentum=0.9, decay=0.01),
               lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01), {"m": (17, 9)})
optimizer_case("sgd, Nesterov",
               lambda t: call("sgd", ["p", "g%d" % t, "m"], [], lr=0.1, momentum=0.8, nesterov=True),
               lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.8, nesterov=True), {"m": (17, 9)})


class Adafactor:
    """Algorithms 4 and 5 of Shazeer & Stern 2018 in double precision: the row and column estimates are kept as SUMS, as the
    paper writes them, and V is their outer product over the total."""

    def __init__(self, parameter, lr, factored=True, beta1=0.0, decay=0.0, relative=False, clip=1.0, grad_scale=1.0):
        self.parameter, self.lr, self.factored, self.beta1, self.decay = parameter, lr, factored, beta1, decay
        self.relative, self.clip, self.grad_scale = relative, clip, grad_scale
        shape = parameter.shape
        self.t = 0
        self.r, self.c, self.v = np.zeros(shape[0]), np.zeros(shape[-1]), np.zeros(shape)
        self.m = np.zeros(shape)
        self.x = parameter.detach().double().numpy()

    def step(self):
        self.t += 1
        g = self.parameter.grad.double().numpy() * self.grad_scale
        beta2 = 1 - self.t ** -0.8
        square = g * g + 1e-30
        if self.factored:
            self.r = beta2 * self.r + (1 - beta2) * square.sum(1)
            self.c = beta2 * self.c + (1 - beta2) * square.sum(0)
            v = np.outer(self.r, self.c) / self.r.sum()
        else:
            self.v = beta2 * self.v + (1 - beta2) * square
            v = self.v
        u = g / np.sqrt(v)
        u = u / max(1.0, math.sqrt((u * u).mean()) / self.clip)
        size = max(1e-3, math.sqrt((self.x * self.x).mean())) if self.relative else 1.0
        change = self.lr * size * u
        if self.beta1:
            self.m = self.beta1 * self.m + (1 - self.beta1) * change
            change = self.m
        self.x = self.x - change - self.lr * self.decay * self.x
        with torch.no_grad():
            self.parameter.copy_(torch.from_numpy(self.x))


FACTORS = {"row": (17,), "column": (9,)}
optimizer_case("adafactor", lambda t: call("adafactor", ["p", "g%d" % t, "row", "column"], [], step=t + 1, lr=0.02),
               lambda p: Adafactor(p, 0.02), FACTORS)
optimizer_case("adafactor, everything",
               lambda t: call("adafactor", ["p", "g%d" % t, "row", "column", None, "m"], [], step=t + 1, lr=0.02,
                              beta1=0.9, decay=0.1, scale_by_parameter=True, clip_threshold=0.5, grad_scale=0.3),
               lambda p: Adafactor(p, 0.02, beta1=0.9, decay=0.1, relative=True, clip=0.5, grad_scale=0.3),
               dict(FACTORS, m=(17, 9)))
optimizer_case("adafactor of a vector",
               lambda t: call("adafactor", ["p", "g%d" % t, None, None, "v"], [], step=t + 1, lr=0.02,
                              scale_by_parameter=True),
               lambda p: Adafactor(p, 0.02, factored=False, relative=True), {"v": (40,)}, shape=(40,))

# ---- running ---------------------------------------------------------------------------------------------------------


def main():
    driver = os.path.join(BUILD, "driver_ops")
    if not os.path.exists(driver):
        print("%s is missing: build first" % driver)
        print("0 passed, 1 failed")
        return 1
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    cases = [case for case in CASES if wanted in case.name]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("cases.json", "inputs.raw", "results.json", "results.raw")]
        with open(paths[1], "wb") as raw:
            programs = []
            for case in cases:
                case.run_reference()
                programs.append(case.program(raw))
        with open(paths[0], "w") as file:
            json.dump(programs, file)
        faults = [[] for _ in cases]
        for level in LEVELS:
            finished = subprocess.run([driver] + paths, stderr=subprocess.PIPE, text=True,
                                      env=dict(os.environ, LH_CPU=level))
            if finished.returncode != 0:
                print("driver_ops (%s) ended with %d: %s" % (level, finished.returncode, finished.stderr.strip()))
                print("0 passed, %d failed" % len(cases))
                return 1
            with open(paths[2]) as file:
                results = json.load(file)
            raw = np.fromfile(paths[3], dtype="<f8")
            for case, result, found in zip(cases, results, faults):
                fault = case.judge(result, raw)
                if fault:
                    found.append("%s (%s)" % (fault, level))
    failed = 0
    for case, found in zip(cases, faults):
        failed += bool(found)
        if found:
            print("FAIL  %s: %s" % (case.name, "; ".join(found)))
        else:
            print("ok    %-60s %.1e" % (case.name, case.worst))
    print("%d passed, %d failed" % (len(cases) - failed, failed))
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
