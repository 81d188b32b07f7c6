#!/usr/bin/python3
"""Trends of Transformer-VQ that its paper reports, on a small model: counts and means of far tokens help, more codes do not
hurt, quantisation gets better while the model learns, and most codes are used.

    LH_TRENDS_TEXT   a text of about ten megabytes; without it enwik8 is fetched, and its first ten are used
    LH_TRENDS_STEPS  updates of each run (default 3000; a run takes about twenty minutes on two cores)
"""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = os.path.join(os.environ.get("LH_BUILD", os.path.join(ROOT, "build")), "longhand")
STEPS = int(os.environ.get("LH_TRENDS_STEPS", "3000"))
BYTES = 10_000_000
SHARED = ["transformer-vq-tiny", "data.batch=4", "train.steps=%d" % STEPS, "train.unroll=4", "train.forget_every=2048",
          "train.learning_rate=1e-3", "train.warmup=%d" % max(STEPS // 20, 1), "train.clip=0.5", "train.log_every=10",
          "train.eval_every=0", "train.eval_tokens=200k", "train.checkpoint_every=0"]
RUNS = {"codes 64": [], "codes 64, no aggregate": ["memory.aggregate=false"], "codes 32": ["memory.codes=32"],
        "codes 128": ["memory.codes=128"]}


def text(folder):
    source = os.environ.get("LH_TRENDS_TEXT")
    if not source:
        subprocess.run([COMMAND, "data", "get", "enwik8", "--out", folder], check=True)
        source = next(os.path.join(path, name) for path, _, names in os.walk(folder) for name in names if name == "enwik8")
    path = os.path.join(folder, "text.txt")
    with open(source, "rb") as read, open(path, "wb") as write:
        write.write(read.read(BYTES))
    return path


def train(name, settings, path, folder):
    out = os.path.join(folder, name.replace(" ", "-").replace(",", ""))
    subprocess.run([COMMAND, "train"] + SHARED + settings + ["data.path=" + path, "--out", out], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(out, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    loss = [line["validation/bits_per_byte"] for line in lines if "validation/bits_per_byte" in line][-1]
    # the squared distance of a key from its code, as a part of the squared length of keys, which is sqrt(64) in each
    # of 8 layers; the loss has the factor 1e-4
    error = [line["train/auxiliary_loss"] / (1e-4 * 8 * 64 ** 0.5) for line in lines if "train/auxiliary_loss" in line]
    entropy = [line["memory/code_entropy"] for line in lines if "memory/code_entropy" in line][-1]
    print("%-24s %.4f bits per byte, quantisation error %.3f -> %.3f -> %.3f, code entropy %.3f" %
          (name, loss, error[0], error[len(error) // 3], error[-1], entropy), flush=True)
    return loss, error, entropy


with tempfile.TemporaryDirectory() as folder:
    path = text(folder)
    result = {name: train(name, settings, path, folder) for name, settings in RUNS.items()}
loss = {name: values[0] for name, values in result.items()}
error, entropy = result["codes 64"][1:]
checks = [
    ("the aggregate lowers the loss by 0.005 bits per byte (published, at scale: 0.016)",
     loss["codes 64"] <= loss["codes 64, no aggregate"] - 0.005),
    ("more codes do not raise it (published, 256 to 1024: 0.010 lower)",
     loss["codes 32"] >= loss["codes 64"] - 0.002 and loss["codes 64"] >= loss["codes 128"] - 0.002),
    ("the quantisation error falls in the first third and hardly moves in the last",
     error[len(error) // 3] < error[0] and abs(error[-1] - error[2 * len(error) // 3]) < 0.2 * error[0]),
    ("code entropy is above 0.6 ln S", entropy > 0.6),
]
for what, holds in checks:
    print(("ok    " if holds else "FAIL  ") + what)
sys.exit(0 if all(holds for _, holds in checks) else 1)
