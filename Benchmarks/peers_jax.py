"""JAX under jit: the losses in jax.numpy, as JAX's users write them; and segloss.jax beside them.

The number of hardest negatives depends on the data, which jit does not allow: the idiom is to sort all of them and to
mask what is beyond that number.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import segloss.jax
from jax import lax

NAME = "jax"
SETTLE = 0.01
TOLERANCE = {}


def versions() -> dict[str, str]:
    return {"jax": jax.__version__}


def start(threads: int) -> None:
    pass  # as many threads as the process may run on, which bench.py sets


# ---- The losses, by case ---------------------------------------------------------------------------------------------


def _bce(x, y):
    return jnp.maximum(x, 0) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _bce_of_probabilities(p, y):
    return -(y * jnp.maximum(jnp.log(p), -100) + (1 - y) * jnp.maximum(jnp.log1p(-p), -100))


def _mask_dice(p, g, m, eps=1e-6):
    return 1 - 2 * jnp.sum(p * g * m) / (jnp.sum(p * m) + jnp.sum(g * m) + eps)


def _mask_l1(p, g, m, eps=1e-6):
    return jnp.sum(jnp.abs(p - g) * m) / (jnp.sum(m) + eps)


def _balance(loss, positive, negative, ratio=3, eps=1e-6):
    positives = jnp.floor(jnp.sum(positive))
    count = jnp.minimum(jnp.floor(jnp.sum(negative)), jnp.floor(positives * ratio))
    values = jnp.sort((negative * loss).ravel(), descending=True)
    hardest = jnp.sum(jnp.where(jnp.arange(values.size) < count, values, 0))
    return (jnp.sum(positive * loss) + hardest) / (positives + count + eps)


def _balanced(p, g, m):
    return _balance(_bce_of_probabilities(p, g), g * m, (1 - g) * m)


def _db(maps, threshold_map, threshold_mask, shrink_map, shrink_mask, *, main):
    p, t, b = maps[:, 0], maps[:, 1], maps[:, 2]
    if main == "dice":
        loss = _mask_dice(p, shrink_map, shrink_mask)
    else:
        loss = _bce_of_probabilities(p, shrink_map)
    return (
        5 * _balance(loss, shrink_map * shrink_mask, (1 - shrink_map) * shrink_mask)
        + 10 * _mask_l1(t, threshold_map, threshold_mask)
        + _mask_dice(b, shrink_map, shrink_mask)
    )


def _dice(x, y, smooth=1):
    p = jax.nn.sigmoid(x)
    return 1 - (2 * jnp.sum(p * y) + smooth) / (jnp.sum(p) + jnp.sum(y) + smooth)


def _iou(x, y, smooth=1):
    p = jax.nn.sigmoid(x)
    both = jnp.sum(p * y)
    return 1 - (both + smooth) / (jnp.sum(p + y) - both + smooth)


def _tversky(x, y, alpha, beta, gamma=1, smooth=1):
    p = jax.nn.sigmoid(x)
    both = jnp.sum(p * y)
    wrong = alpha * jnp.sum(p * (1 - y)) + beta * jnp.sum((1 - p) * y)
    return (1 - (both + smooth) / (both + wrong + smooth)) ** gamma


def _focal(x, y, alpha=0.25, gamma=2):
    p = jax.nn.sigmoid(x)
    p_t = p * y + (1 - p) * (1 - y)
    return jnp.mean((alpha * y + (1 - alpha) * (1 - y)) * (1 - p_t) ** gamma * _bce(x, y))


def _focal_published(x, y, alpha=0.8, gamma=2):
    bce = jnp.mean(_bce(x, y))
    return alpha * (1 - jnp.exp(-bce)) ** gamma * bce


def _cross_entropy(x, labels):
    log_p = jax.nn.log_softmax(x, 1)
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], 1))


def _classes(x, labels, *, alpha=0.5, beta=0.5, smooth=1.0, per_sample=False):
    p = jax.nn.softmax(x, 1)
    y = jax.nn.one_hot(labels, x.shape[1], dtype=p.dtype, axis=1)
    space = tuple(range(2, x.ndim)) if per_sample else (0, *range(2, x.ndim))
    both = jnp.sum(p * y, space)
    smooth = smooth / 2 if alpha == beta == 0.5 else smooth
    wrong = alpha * (jnp.sum(p, space) - both) + beta * (jnp.sum(y, space) - both)
    return jnp.mean(1 - (both + smooth) / (both + wrong + smooth))


def _window(x, operation, initial, size):
    return lax.reduce_window(x, initial, operation, (1, 1, size, size), (1, 1, 1, 1), "SAME")


def _structure(pred, mask, mean=jnp.mean):
    # In float32, as other frameworks add up a window of any type: in bfloat16 961 numbers would come to 256.
    mean_of_window = _window(mask.astype(jnp.float32), lax.add, jnp.float32(0), 31) / 961
    weit = 1 + 5 * jnp.abs(mean_of_window.astype(mask.dtype) - mask)
    wbce = mean(_bce(pred, mask))
    wbce = jnp.sum(weit * wbce, (2, 3)) / jnp.sum(weit, (2, 3))
    pred = jax.nn.sigmoid(pred)
    inter = jnp.sum(pred * mask * weit, (2, 3))
    union = jnp.sum((pred + mask) * weit, (2, 3))
    return jnp.mean(wbce + 1 - (inter + 1) / (union - inter + 1))


def _contour(p, y, weight=10):
    rows = jnp.diff(p, axis=2)[:, :, 1:, :-2] ** 2
    columns = jnp.diff(p, axis=3)[:, :, :-2, 1:] ** 2
    length = jnp.mean(jnp.sqrt(jnp.abs(rows + columns) + 1e-8))
    return weight * length + jnp.mean(p * (y - 1) ** 2) + jnp.mean((1 - p) * y**2)


def _boundary(logits, labels, theta0=3, theta=5):
    def widened(a, size):
        return _window(a, lax.max, -jnp.inf, size)

    p = jax.nn.softmax(logits, 1)
    g = jax.nn.one_hot(labels, p.shape[1], dtype=p.dtype, axis=1)
    b_g, b_p = widened(1 - g, theta0) - (1 - g), widened(1 - p, theta0) - (1 - p)
    sums = (2, 3)
    precision = jnp.sum(b_p * widened(b_g, theta), sums) / (jnp.sum(b_p, sums) + 1e-7)
    recall = jnp.sum(widened(b_p, theta) * b_g, sums) / (jnp.sum(b_g, sums) + 1e-7)
    return jnp.mean(1 - 2 * precision * recall / (precision + recall + 1e-7))


def _smooth_l1(x, y):
    d = jnp.abs(x - y)
    return jnp.mean(jnp.where(d < 1, 0.5 * d * d, d - 0.5))


LOSSES = {
    "db": functools.partial(_db, main="dice"),
    "db-bce": functools.partial(_db, main="bce"),
    "balance": _balanced,
    "mask-dice": _mask_dice,
    "mask-l1": _mask_l1,
    "dice": _dice,
    "iou": _iou,
    "tversky": functools.partial(_tversky, alpha=0.3, beta=0.7),
    "focal-tversky": functools.partial(_tversky, alpha=0.3, beta=0.7, gamma=0.75),
    "dice-bce": lambda x, y: _dice(x, y) + jnp.mean(_bce(x, y)),
    "bce": lambda x, y: jnp.mean(_bce(x, y)),
    "focal": _focal,
    "focal-published": _focal_published,
    "cross-entropy": _cross_entropy,
    "dice-classes": _classes,
    "dice-samples": functools.partial(_classes, smooth=1e-8, per_sample=True),
    "tversky-samples": functools.partial(_classes, alpha=0.3, beta=0.7, smooth=1e-8, per_sample=True),
    "structure": _structure,
    "structure-paper": functools.partial(_structure, mean=lambda bce: bce),
    "contour": _contour,
    "boundary": _boundary,
    "smooth-l1": _smooth_l1,
}

# ---- How they run ----------------------------------------------------------------------------------------------------


class Runner:
    def __init__(self, loss, case, inputs, takes_bytes=False):
        arrays = [jnp.asarray(array) for array in inputs.values()]
        count = len(case.predictions)
        dtype = arrays[0].dtype
        # jax.numpy's formulas are of the prediction's type, and its indices are int32.
        wanted = [
            (jnp.int32 if name in case.labels else dtype) if array.dtype == np.uint8 and not takes_bytes else None
            for name, array in inputs.items()
        ]

        def call(*arrays):
            value = loss(*(a if to is None else a.astype(to) for a, to in zip(arrays, wanted)))
            return value["loss"] if isinstance(value, dict) else value

        self._forward = jax.jit(call)
        self._step = jax.jit(jax.value_and_grad(call, tuple(range(count))))
        self._inputs = jax.block_until_ready(arrays)
        self._grads = None

    def forward(self):
        return self._forward(*self._inputs).block_until_ready()

    def step(self):
        self._grads = None
        value, self._grads = jax.block_until_ready(self._step(*self._inputs))
        return value

    def value(self, result) -> float:
        return float(result)

    def gradients(self) -> list[np.ndarray]:
        return [np.asarray(g, np.float32) for g in self._grads]

    def clear(self) -> None:
        self._grads = None


def own(case, inputs, mood):
    function = functools.partial(case.function(segloss.jax), **case.options)
    if case.name == "contour":  # keeps its original's order
        return Runner(lambda p, y: function(y, p), case, inputs, takes_bytes=True)
    return Runner(function, case, inputs, takes_bytes=True)


def jitted(case, inputs, mood):
    if case.name not in LOSSES:
        return None
    runner = Runner(LOSSES[case.name], case, inputs)
    if case.name == "structure" and inputs["pred"].dtype.name == "bfloat16":
        runner.differs = "XLA adds up the gradient of the mean cross-entropy in bfloat16"
    return runner


CONTENDERS = {"segloss.jax": own, "jax jit": jitted}
