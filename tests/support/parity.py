"""What the comparisons of whole models with PyTorch share: reading the drivers' files, distances, running the cases.

Importing this without PyTorch ends the program as skipped."""
import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
except ImportError as missing:
    print("%s: %s; skipped" % (os.path.splitext(os.path.basename(sys.argv[0]))[0], missing))
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

BUILD = os.environ.get("LH_BUILD", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build"))
TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "F16": np.float16, "I8": np.int8}
torch.set_num_threads(2)


def read(path):
    """The tensors of a safetensors file."""
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(np.frombuffer(data, TYPES[t["dtype"]], offset=8 + length + t["data_offsets"][0],
                                                 count=int(np.prod(t["shape"]))).reshape(t["shape"]).copy())
            for name, t in header.items()}


def run_driver(name, folder, *arguments):
    """Runs one of the build's drivers on the folder: (its results, the parameters that it began with)."""
    subprocess.run([os.path.join(BUILD, name), folder] + [str(a) for a in arguments], check=True)
    return read(os.path.join(folder, "result.safetensors")), read(os.path.join(folder, "init.safetensors"))


def far(a, b):
    """Largest difference relative to the larger tensor's largest element."""
    top = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a.double() - b.double()).abs().max()) / top


def expectations():
    """A list of faults, and a function that adds to it when a distance is above its bound, or no number."""
    faults = []

    def expect(what, distance, bound):
        if not distance <= bound:
            faults.append("%s differs by %.2g" % (what, distance))

    return faults, expect


def text_in_a_row(folder, rng, vocab, segments, lanes, length):
    """tokens.i32 of [segments][lanes][length + 1] tokens, each row begun by the last token of the one before."""
    ids = rng.integers(0, vocab, size=(segments, lanes, length + 1), dtype=np.int32)
    ids[1:, :, 0] = ids[:-1, :, -1]
    ids.tofile(os.path.join(folder, "tokens.i32"))
    return torch.from_numpy(ids.astype(np.int64))


def zero_gradients(model):
    """As the library has them: zeros, so that AdamW also decays what no gradient reached."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def adamw(model, betas=(0.9, 0.999)):
    return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=betas, eps=1e-8, weight_decay=0.01)


def compare_gradients(expect, model, initial, theirs, bound, without=()):
    for name in initial:
        if name not in without:
            grad = model.get(name).grad
            expect("gradient of " + name, far(torch.zeros_like(initial[name]) if grad is None else grad,
                                              theirs["grad." + name]), bound)


def run_cases(cases, compare):
    """cases: name -> what compare(case, folder) takes; it returns the faults. Ends the program."""
    passed = failed = 0
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            faults = compare(case, folder)
        passed += not faults
        failed += bool(faults)
        print(("ok    " if not faults else "FAIL  ") + name + "".join("\n      " + f for f in faults[:8]))
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)
