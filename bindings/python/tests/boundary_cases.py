"""Inputs of the boundary loss, for every test that needs some."""

import numpy as np
import segloss


def blobs(rng, shape, classes, size=4):
    """Labels in patches, so that there are insides and boundaries."""
    n, h, w = shape
    coarse = rng.integers(0, classes, (n, -(-h // size), -(-w // size)))
    return np.repeat(np.repeat(coarse, size, axis=1), size, axis=2)[:, :h, :w]


def draw(shape, seed=0, dtype=np.float64, labels=np.int64):
    """{argument: array} for logits N x C x H x W: multiples of 1/16 up to 4, exact in every element type."""
    rng = np.random.default_rng([seed, *shape])
    logits = rng.integers(-64, 65, shape) / 16
    return {
        "logits": logits.astype(dtype),
        "labels": blobs(rng, (shape[0], *shape[2:]), shape[1]).astype(labels),
    }


def run(inputs, *options, grad_output=1.0, out=None, **named):
    """(parts, (gradient,))"""
    loss = segloss.BoundaryLoss(*options, **{"return_parts": True, **named})
    value, grad = loss.value_and_grad(*inputs.values(), grad_output=grad_output, out=out)
    return value, (grad,)


SIZES = [(3, 5), (5, 3), (1, 1), (7, 1), (1, 9), (11, 31), (55, 3), (3, 55)]


def results():
    """What every instruction set has to give alike."""
    for dtype in (np.float32, np.float64):
        for size in SIZES:
            yield run(draw((1, 3, 21, 37), 0, dtype), *size)
        yield run(draw((2, 4, 67, 64), 1, dtype), ignore_index=2, grad_output=-1.7)
        yield run(draw((1, 35, 9, 33), 2, dtype), variant="present_classes")
        # All 24 bits of a fraction in use.
        rng = np.random.default_rng(3)
        fine = {
            **draw((1, 3, 40, 50), 3, dtype),
            "logits": (rng.integers(-(2**24), 2**24, (1, 3, 40, 50)) / 2**21).astype(dtype),
        }
        yield run(fine)
        probabilities = (rng.integers(0, 2**24 + 1, (1, 2, 33, 31)) / 2**24).astype(dtype)
        yield run({"logits": probabilities, "labels": blobs(rng, (1, 33, 31), 2)}, from_probs=True)
