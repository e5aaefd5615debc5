"""Inputs of the losses that look at neighbours, which several tests share, and results to compare between levels."""

import numpy as np
import segloss
from support import PREDICTION_TYPES, binary

# N x C x H x W: single pixels, planes smaller than a window, around lanes of 32, several strips of rows (which end after
# half a chunk, or some 60 rows), wide, tall.
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 1, 5),
    (3, 1, 5, 1),
    (1, 2, 2, 2),
    (2, 3, 5, 7),
    (1, 2, 33, 31),
    (2, 1, 31, 64),
    (1, 1, 300, 70),
    (1, 1, 131, 1001),
    (1, 1, 3, 5003),
    (1, 1, 2111, 3),
]
SMALL = (2, 3, 13, 17)
STRIPS = (1, 2, 263, 301)


def logits(rng, shape):
    """Multiples of 1/16 within 8 of 0, exact in every element type."""
    return rng.integers(-128, 129, shape) / 16


def probabilities(rng, shape):
    """Multiples of 1/256 inside (0, 1), exact in every element type, and so are their differences."""
    return rng.integers(1, 256, shape) / 256


def mask(rng, shape, soft=False):
    return rng.integers(0, 17, shape) / 16 if soft else binary(rng, shape, 0.3)


def blobs(rng, shape):
    """Masks as they are: a few rectangles."""
    out = np.zeros(shape)
    for plane in out.reshape(-1, *shape[-2:]):
        for _ in range(3):
            top, left = rng.integers(0, plane.shape[0]), rng.integers(0, plane.shape[1])
            plane[top : top + rng.integers(1, 60), left : left + rng.integers(1, 60)] = 1
    return out


STRUCTURE = {
    "structure": {},
    "structure-paper": {"variant": "paper", "kernel_size": 7},
    "structure-uacanet": {"variant": "uacanet", "kernel_size": 3, "smooth": 0.5},
    "structure-inside": {"variant": "paper", "count_include_pad": False, "gain": 3},
}
CONTOUR = {
    "contour": {},
    "contour-aligned": {"variant": "aligned", "weight": 2, "c_in": 0.75, "c_out": 0.25, "region_weight": 3},
}
LOGITS = {
    "contour-logits": {"from_logits": True},
    "contour-aligned-logits": {"from_logits": True, "variant": "aligned"},
}
ENTRIES = {
    **{name: (segloss.StructureLoss, options, logits) for name, options in STRUCTURE.items()},
    **{name: (segloss.ActiveContourLoss, options, probabilities) for name, options in CONTOUR.items()},
    **{name: (segloss.ActiveContourLoss, options, logits) for name, options in LOGITS.items()},
}


def draw(name, shape, seed=0, soft=False):
    """(prediction, target) in float64."""
    rng = np.random.default_rng([seed, *shape])
    return ENTRIES[name][2](rng, shape), mask(rng, shape, soft)


def make(name, **options):
    cls, own, _ = ENTRIES[name]
    return cls(**own, **options)


def run(name, inputs, **keywords):
    value, grad = make(name).value_and_grad(*inputs, **keywords)
    return value, (grad,)


def results():
    """(value, gradients) of everything, at sizes that an emulated processor gets through."""
    for name in ENTRIES:
        for dtype in PREDICTION_TYPES.values():
            for shape in ((1, 1, 1, 1), (2, 3, 5, 7), SMALL):
                for soft in (False, True):
                    yield run(name, [a.astype(dtype) for a in draw(name, shape, soft=soft)], grad_output=-1.7)
        rng = np.random.default_rng(1)
        for dtype in (np.float32, np.float64):
            inputs = [rng.integers(1, 2**24, (1, 1, 97, 501)) / 2**24 for _ in range(2)]
            yield run(name, [a.astype(dtype) for a in inputs])
    levels = [draw("structure", SMALL, seed)[0].astype(np.float32) for seed in range(3)]
    yield segloss.StructureLoss().value_and_grad(levels, mask(np.random.default_rng(2), SMALL, True))
