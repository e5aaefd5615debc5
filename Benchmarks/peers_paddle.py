"""PaddlePaddle's dynamic graph: PaddleOCR's form, with its full sort of the negatives."""

from __future__ import annotations

import functools

import numpy as np
import paddle
import paddle.nn.functional as F

NAME = "paddle"
SETTLE = 0.25  # its thread team spins for 200 ms
# The gradient of a number times a map is a sum in float32: 0.6 % off over 3.3 million pixels.
TOLERANCE = {"paddle dygraph": (1e-5, 1e-2)}


def versions() -> dict[str, str]:
    return {"paddle": paddle.__version__}


def start(threads: int) -> None:
    paddle.set_device("cpu")  # its threads follow OMP_NUM_THREADS, which bench.py sets


def _mask_dice(p, g, m, eps=1e-6):
    intersection = paddle.sum(p * g * m)
    union = paddle.sum(p * m) + paddle.sum(g * m) + eps
    return 1 - 2.0 * intersection / union


def _mask_l1(p, g, m, eps=1e-6):
    return paddle.sum(paddle.abs(p - g) * m) / (paddle.sum(m) + eps)


def _balance(loss, positive, negative, ratio=3, eps=1e-6):
    positives = int(paddle.sum(positive))
    negatives = int(min(float(paddle.sum(negative)), positives * ratio))
    total = paddle.sum(positive * loss)
    if negatives > 0:
        hardest = paddle.sort((negative * loss).reshape([-1]), descending=True)[:negatives]
        total = total + paddle.sum(hardest)
    return total / (positives + negatives + eps)


def _db(maps, threshold_map, threshold_mask, shrink_map, shrink_mask, *, main):
    p, t, b = maps[:, 0], maps[:, 1], maps[:, 2]
    positive = shrink_map * shrink_mask
    negative = (1 - shrink_map) * shrink_mask
    if main == "dice":
        loss = _mask_dice(p, shrink_map, shrink_mask)
    else:
        loss = F.binary_cross_entropy(p, shrink_map, reduction="none")
    return (
        5 * _balance(loss, positive, negative)
        + 10 * _mask_l1(t, threshold_map, threshold_mask)
        + _mask_dice(b, shrink_map, shrink_mask)
    )


LOSSES = {"db": functools.partial(_db, main="dice"), "db-bce": functools.partial(_db, main="bce")}


class Runner:
    def __init__(self, case, inputs, mood):
        self._loss = LOSSES[case.name]
        tensors = {name: paddle.to_tensor(array) for name, array in inputs.items()}
        self._predictions = [tensors[name] for name in case.predictions]
        for p in self._predictions:
            p.stop_gradient = False
        self._inputs = list(tensors.values())

    def forward(self):
        with paddle.no_grad():
            return self._loss(*self._inputs)

    def step(self):
        self.clear()
        loss = self._loss(*self._inputs)
        loss.backward()
        return loss.detach()

    def value(self, result) -> float:
        return float(result)

    def gradients(self) -> list[np.ndarray]:
        return [p.grad.numpy() for p in self._predictions]

    def clear(self) -> None:
        for p in self._predictions:
            p.clear_gradient(set_to_zero=False)


CONTENDERS = {
    "paddle dygraph": lambda case, inputs, mood: Runner(case, inputs, mood) if case.name in LOSSES else None,
}
