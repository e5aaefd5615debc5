"""The bits that every loss has, written down: `golden_bits.json` says what each case of `program_cases` gives.

A change that moves a bit on purpose writes the file anew, and the difference is part of its commit:

    python bindings/python/tests/golden_bits.py --write

Inputs come from integers that are made here and from exact divisions, so that the file depends on no version of numpy and
on no mathematical library.
"""

import argparse
import functools
import hashlib
import json
from pathlib import Path
from unittest import mock

import numpy as np
from program_cases import SHAPE, cases
from support import PREDICTION_TYPES, total

FILE = Path(__file__).with_suffix(".json")
# Blocks that are not whole, several chunks, several strips of rows.
LARGE = (2, 211, 313)


class Integers:
    """What the cases ask of numpy's generators, by SplitMix64 (Steele, Lea and Flood 2014)."""

    def __init__(self, seed=0):
        self._state = np.uint64(0)
        for number in np.ravel(seed).tolist():
            self._state = np.uint64(self._bits(1)[0]) ^ np.uint64(number)

    def _bits(self, count):
        with np.errstate(over="ignore"):
            z = self._state + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
            self._state = z[-1] if count else self._state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def _shaped(self, numbers, size):
        return numbers[0] if size is None else numbers.reshape(size)

    def integers(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        drawn = self._bits(int(np.prod(size or (1,)))) >> np.uint64(11)
        return self._shaped(low + (drawn % np.uint64(high - low)).astype(np.int64), size)

    def random(self, size=None):
        return self._shaped((self._bits(int(np.prod(size or (1,)))) >> np.uint64(11)) / 2.0**53, size)

    def choice(self, values, size=None, p=None):
        at = np.searchsorted(np.cumsum(p)[:-1], self.random(size), side="right")
        return np.asarray(values)[at]


def each(value, change):
    """The change made to an array, or to each of a list."""
    return [change(v) for v in value] if isinstance(value, list) else change(value)


def drawn(case, dtype=np.float32, all_digits=False):
    """A case's inputs out of our own integers; those of the cases are exact in every type, `all_digits` fills up the
    fractions of predictions."""
    rng = Integers(1)

    def fill(array):
        return (array * (1 - rng.integers(0, 2**22, array.shape) / 2**24)).astype(dtype)

    with mock.patch("numpy.random.default_rng", Integers):
        inputs = case.draw(dtype)
    return inputs | {name: each(inputs[name], fill) for name in case.predictions if all_digits}


def all_inputs():
    """(what it is called in the file, case, inputs): each element type at a small size, float32 at a large one too."""
    for kind, dtype in PREDICTION_TYPES.items():
        yield from ((f"{case} {kind}", case, drawn(case, dtype)) for case in cases(SHAPE))
    yield from ((f"{case} f32 large", case, drawn(case, np.float32, all_digits=True)) for case in cases(LARGE))


def numbers(value):
    """Everything a call returned beside gradients, in its order: parts may be lists of parts."""
    if isinstance(value, dict):
        value = list(value.values())
    return [n for v in value for n in numbers(v)] if isinstance(value, list) else [np.asarray(value)]


def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def summary(value, gradients):
    """[the loss, readable, where it is one number; a hash of all values; a hash of the gradients]"""
    loss = total(value)
    return [float(loss).hex() if np.ndim(loss) == 0 else digest([loss]), digest(numbers(value)), digest(gradients)]


def run(case, inputs):
    """By numpy's face: (what the call returns, gradients)"""
    value, grad = case.make().value_and_grad(**inputs)
    return value, list(grad) if isinstance(grad, tuple | list) else [grad]


def compute(view=lambda array: array, only=""):
    """{name: summary}, with every array seen through `view`, of the names that end so."""
    return {
        name: summary(*run(case, {k: each(v, view) for k, v in inputs.items()}))
        for name, case, inputs in all_inputs()
        if name.endswith(only)
    }


@functools.cache
def golden():
    return json.loads(FILE.read_text())


def check_rounded(name, loss, gradients):
    """The loss of a framework, which rounds ours once to its type, and gradients, against the file."""
    written, _, hashed = golden()[name]
    if np.ndim(loss) == 0:
        assert np.asarray(loss).tobytes() == np.asarray(float.fromhex(written)).astype(np.asarray(loss).dtype).tobytes()
    assert digest(gradients) == hashed, f"{name}: other gradients"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} instead of printing what it would be")
    lines = [f'"{name}": {json.dumps(bits)}' for name, bits in compute().items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if parser.parse_args().write:
        FILE.write_text(text)
    else:
        print(text, end="")
