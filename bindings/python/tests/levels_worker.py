"""Prints, as JSON, the instruction set in use and a sha256 of everything that every loss computes over a set of inputs.

Run it under SEGLOSS_ISA, or on an emulated processor, and compare the lines:

    SEGLOSS_ISA=baseline python3 levels_worker.py
    qemu-x86_64 -cpu Nehalem python3 levels_worker.py

Everything that goes in comes from integers and exact divisions: numpy's own exp or sin might differ between processors,
and would be blamed on us.
"""

import hashlib
import json
import sys

import boundary_cases
import ctpn_cases
import numpy as np
import segloss
import window_cases
from catalog import CATALOG, LOSSES
from support import PREDICTION_TYPES, bits, channels_last, scene

# Less than a lane, less than a block, about a block, a few of them.
SHAPES = [(1, 1, 1), (1, 3, 11), (2, 13, 17), (1, 11, 93), (3, 37, 41)]
# A chunk and a bit, once for each loss, with bytes for targets: an emulated processor takes a second for it.
LONG = (1, 1, 65537)


def cases(entry):
    yield entry.draw(LONG, 0, np.float32, np.uint8), {}
    for dtype in PREDICTION_TYPES.values():
        for shape in SHAPES:
            yield entry.draw(shape, 0, dtype), {}
            if shape != SHAPES[4]:
                yield entry.draw(shape, 0, dtype, np.uint8), {}
        if entry in LOSSES:
            yield {k: channels_last(v) for k, v in entry.draw(SHAPES[2], 1, dtype).items()}, {"grad_output": -1.7}
    if entry not in LOSSES:
        return
    # All 24 bits of a float32's fraction in use, and targets between 0 and 1: what the grid of the catalog spares the
    # arithmetic.
    for seed in range(2):
        for dtype in (np.float32, np.float64):
            inputs = entry.draw(SHAPES[4], seed, dtype)
            rng = np.random.default_rng(seed)
            for name in entry.predictions:
                inputs[name] = entry.anywhere(rng, inputs[name].shape).astype(dtype)
            label = next(name for name in inputs if name in ("gt", "shrink_map", "target"))
            if label not in entry.labels:
                inputs[label] = scene("soft", inputs[label].shape, seed)[0].astype(dtype)
            yield inputs, {}


def main():
    hashes, everything = {}, hashlib.sha256()
    for entry in CATALOG:
        one = hashlib.sha256()
        for inputs, options in cases(entry):
            for part in bits(entry.run(inputs, **options)):
                one.update(part)
        hashes[entry.name] = one.hexdigest()
        everything.update(one.digest())
    for name, fixed in (("boundary", boundary_cases), ("ctpn", ctpn_cases), ("windows", window_cases)):
        one = hashlib.sha256()
        for result in fixed.results():
            for part in bits(result):
                one.update(part)
        hashes[name] = one.hexdigest()
        everything.update(one.digest())
    json.dump(
        {"instruction_set": segloss.instruction_set(), "sha256": everything.hexdigest(), "losses": hashes},
        sys.stdout,
        indent=1,
    )
    print()


if __name__ == "__main__":
    main()
