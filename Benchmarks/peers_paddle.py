"""PaddlePaddle's dynamic graph: what it has of these losses, PaddleOCR's forms with their full sort of the negatives, and
the others as PaddleSeg writes such losses; and segloss.paddle beside them."""

from __future__ import annotations

import functools

import numpy as np
import paddle
import paddle.nn.functional as F
import segloss.paddle

NAME = "paddle"
SETTLE = 0.03  # its thread team spins for 20 ms, as bench.py tells it
# Its reductions add in float32, one number after the other: a mean is 1.6e-3 off over ten million elements, and the
# gradient of a number times a map, which is such a sum, 0.6 % over 3.3 million pixels.
TOLERANCE = {"paddle dygraph": (3e-3, 1e-2)}


def versions() -> dict[str, str]:
    return {"paddle": paddle.__version__}


def start(threads: int) -> None:
    paddle.set_device("cpu")  # its threads follow OMP_NUM_THREADS, which bench.py sets


# ---- The losses, by case ---------------------------------------------------------------------------------------------


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


def _balanced(p, g, m):
    return _balance(F.binary_cross_entropy(p, g, reduction="none"), g * m, (1 - g) * m)


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


def _overlap(x, y):
    p = F.sigmoid(x).flatten()
    y = y.flatten()
    return p, y, paddle.sum(p * y)


def _dice(x, y, smooth=1):
    p, y, both = _overlap(x, y)
    return 1 - (2 * both + smooth) / (paddle.sum(p) + paddle.sum(y) + smooth)


def _iou(x, y, smooth=1):
    p, y, both = _overlap(x, y)
    return 1 - (both + smooth) / (paddle.sum(p + y) - both + smooth)


def _tversky(x, y, alpha, beta, gamma=1, smooth=1):
    p, y, both = _overlap(x, y)
    wrong = alpha * paddle.sum(p * (1 - y)) + beta * paddle.sum((1 - p) * y)
    return (1 - (both + smooth) / (both + wrong + smooth)) ** gamma


def _dice_bce(x, y):
    return _dice(x, y) + F.binary_cross_entropy(F.sigmoid(x), y)


def _focal(x, y):
    return F.sigmoid_focal_loss(x, y, alpha=0.25, gamma=2.0, reduction="mean")


def _focal_published(x, y, alpha=0.8, gamma=2):
    bce = F.binary_cross_entropy_with_logits(x, y)
    return alpha * (1 - paddle.exp(-bce)) ** gamma * bce


def _cross_entropy(x, labels):
    return F.cross_entropy(x, labels.unsqueeze(1), axis=1)


def _classes(x, labels, *, alpha=0.5, beta=0.5, smooth=1.0, per_sample=False):
    p = F.softmax(x, axis=1)
    y = paddle.moveaxis(F.one_hot(labels, x.shape[1]), -1, 1)
    space = list(range(2, x.ndim)) if per_sample else [0, *range(2, x.ndim)]
    both = paddle.sum(p * y, space)
    smooth = smooth / 2 if alpha == beta == 0.5 else smooth
    wrong = alpha * (paddle.sum(p, space) - both) + beta * (paddle.sum(y, space) - both)
    return paddle.mean(1 - (both + smooth) / (both + wrong + smooth))


def _structure(pred, mask, reduction="mean"):
    weit = 1 + 5 * paddle.abs(F.avg_pool2d(mask, 31, stride=1, padding=15, exclusive=False) - mask)
    wbce = F.binary_cross_entropy_with_logits(pred, mask, reduction=reduction)
    wbce = paddle.sum(weit * wbce, [2, 3]) / paddle.sum(weit, [2, 3])
    pred = F.sigmoid(pred)
    inter = paddle.sum(pred * mask * weit, [2, 3])
    union = paddle.sum((pred + mask) * weit, [2, 3])
    return paddle.mean(wbce + 1 - (inter + 1) / (union - inter + 1))


def _contour(p, y, weight=10):
    rows = (p[:, :, 1:, :] - p[:, :, :-1, :])[:, :, 1:, :-2] ** 2
    columns = (p[:, :, :, 1:] - p[:, :, :, :-1])[:, :, :-2, 1:] ** 2
    length = paddle.mean(paddle.sqrt(paddle.abs(rows + columns) + 1e-8))
    return weight * length + paddle.mean(p * (y - 1) ** 2) + paddle.mean((1 - p) * y**2)


def _boundary(logits, labels, theta0=3, theta=5):
    def widened(a, size):
        return F.max_pool2d(a, size, 1, (size - 1) // 2)

    p = F.softmax(logits, axis=1)
    g = paddle.moveaxis(F.one_hot(labels, p.shape[1]), -1, 1)
    b_g, b_p = widened(1 - g, theta0) - (1 - g), widened(1 - p, theta0) - (1 - p)
    sums = [2, 3]
    precision = paddle.sum(b_p * widened(b_g, theta), sums) / (paddle.sum(b_p, sums) + 1e-7)
    recall = paddle.sum(widened(b_p, theta) * b_g, sums) / (paddle.sum(b_g, sums) + 1e-7)
    return paddle.mean(1 - 2 * precision * recall / (precision + recall + 1e-7))


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
    "dice-bce": _dice_bce,
    "bce": F.binary_cross_entropy_with_logits,
    "focal": _focal,
    "focal-published": _focal_published,
    "cross-entropy": _cross_entropy,
    "dice-classes": _classes,
    "dice-samples": functools.partial(_classes, smooth=1e-8, per_sample=True),
    "tversky-samples": functools.partial(_classes, alpha=0.3, beta=0.7, smooth=1e-8, per_sample=True),
    "structure": _structure,
    "structure-paper": functools.partial(_structure, reduction="none"),
    "contour": _contour,
    "boundary": _boundary,
    "smooth-l1": F.smooth_l1_loss,
}

# ---- How they run ----------------------------------------------------------------------------------------------------


class Runner:
    def __init__(self, loss, case, inputs, takes_bytes=False):
        self._loss = loss
        tensors = {name: paddle.to_tensor(np.asarray(a, a.dtype if a.dtype.name != "bfloat16" else "float32"))
                   for name, a in inputs.items()}  # fmt: skip
        for name, array in inputs.items():
            if array.dtype.name == "bfloat16":
                tensors[name] = tensors[name].cast("bfloat16")
        self._predictions = [tensors[name] for name in case.predictions]
        for p in self._predictions:
            p.stop_gradient = False
        self._inputs = list(tensors.values())
        dtype = self._predictions[0].dtype
        # The framework wants targets in the prediction's type, and labels in int64.
        self._wanted = [
            ("int64" if name in case.labels else dtype) if array.dtype == np.uint8 and not takes_bytes else None
            for name, array in inputs.items()
        ]

    def _call(self):
        loss = self._loss(*(t if to is None else t.cast(to) for t, to in zip(self._inputs, self._wanted)))
        return loss["loss"] if isinstance(loss, dict) else loss

    def forward(self):
        with paddle.no_grad():
            return self._call()

    def step(self):
        self.clear()
        loss = self._call()
        loss.backward()
        return loss.detach()

    def value(self, result) -> float:
        return float(result)

    def gradients(self) -> list[np.ndarray]:
        return [p.grad.cast("float32").numpy() for p in self._predictions]

    def clear(self) -> None:
        for p in self._predictions:
            p.clear_gradient(set_to_zero=False)


CONTENDERS = {
    "segloss.paddle": lambda case, inputs, mood: Runner(
        case.make_class(segloss.paddle), case, inputs, takes_bytes=True
    ),
    "paddle dygraph": lambda case, inputs, mood: (
        Runner(LOSSES[case.name], case, inputs) if case.name in LOSSES else None
    ),
}
