#!/usr/bin/env python3
"""Compares two runs: their newest checkpoints tensor by tensor, and their metrics line by line, time apart.

    _compare.py RUN RUN     exit code 0 if they are the same, else 1 and what differs
"""
import json
import pathlib
import struct
import sys

CLOCK = {"train/seconds", "train/tokens_per_second", "train/gflop_per_second"}


def newest(run):
    files = list(pathlib.Path(run).glob("checkpoint-*.safetensors"))
    if not files:
        sys.exit("%s has no checkpoint" % run)
    return max(files, key=lambda path: int(path.stem.split("-")[1]))


def tensors(path):
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size:]
    return {name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "train.seconds"}


def metrics(run):
    lines = []
    for line in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines():
        lines.append({key: value for key, value in json.loads(line).items() if key not in CLOCK})
    return lines


def main():
    first, second = sys.argv[1:]
    a, b = newest(first), newest(second)
    if a.name != b.name:
        sys.exit("%s instead of %s" % (b.name, a.name))
    x, y = tensors(a), tensors(b)
    different = sorted(name for name in x.keys() | y.keys() if x.get(name) != y.get(name))
    if different:
        sys.exit("%s: %d of %d tensors differ: %s" % (b, len(different), len(x), ", ".join(different[:5])))
    if metrics(first) != metrics(second):
        sys.exit("the metrics of %s and %s differ" % (first, second))


main()
