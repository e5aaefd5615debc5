"""torch, eager and compiled: the published losses in their own mathematics.

The hardest negatives are taken as upstream takes them: by a full sort in PaddleOCR's form, by `torch.topk`, which
also sorts what it finds, in MhLiao's and WenmuZhou's (and in the BCE-OHEM form, whose torch sources these are). The
counts are Python numbers, as upstream has them; torch.compile breaks its graph there (letting it capture them gained
nothing). "torch.compile tuned" is what torch could do and nobody publishes: `topk(sorted=False)`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F

NAME = "torch"
SETTLE = 0.01  # seconds until the workers of its thread team stop spinning
# Compiled code adds up a map in float32, one number after the other.
TOLERANCE = {"torch.compile": (2e-4, 2e-4), "torch.compile tuned": (2e-4, 2e-4)}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def start(threads: int) -> None:
    import torch._inductor.config as inductor

    torch.set_num_threads(threads)
    inductor.cpp.threads = threads  # part of the key of its cache of compiled code


# The losses, by case.

LOSSES = {}


def _register(name, function, **options):
    LOSSES[name] = functools.partial(function, **options)


def _mask_dice(p, g, m, eps=1e-6):
    intersection = (p * g * m).sum()
    union = (p * m).sum() + (g * m).sum() + eps
    return 1 - 2 * intersection / union


def _mask_l1(p, g, m, eps=1e-6):
    return ((p - g).abs() * m).sum() / (m.sum() + eps)


def _sort(values, k):
    return torch.sort(values, descending=True).values[:k]


def _topk(values, k):
    return torch.topk(values, k).values


def _topk_unsorted(values, k):
    return torch.topk(values, k, sorted=False).values


def _balance(loss, positive, negative, largest, ratio=3, eps=1e-6):
    """`loss`, a number or a map, over the positives and the hardest negatives."""
    positives = int(positive.sum())
    negatives = min(int(negative.sum()), int(positives * ratio))
    total = (positive * loss).sum()
    if negatives > 0:
        total = total + largest((negative * loss).view(-1), negatives).sum()
    return total / (positives + negatives + eps)


def _db(
    maps, threshold_map, threshold_mask, shrink_map, shrink_mask, *, main, largest, alpha=5, beta=10, truncate=False
):
    p, t, b = maps[:, 0], maps[:, 1], maps[:, 2]
    positive = shrink_map * shrink_mask
    negative = (1 - shrink_map) * shrink_mask
    if truncate:
        positive, negative = positive.byte().float(), negative.byte().float()
    if main == "dice":
        loss = _mask_dice(p, shrink_map, shrink_mask)
    else:
        loss = F.binary_cross_entropy(p, shrink_map, reduction="none")
    return (
        alpha * _balance(loss, positive, negative, largest)
        + beta * _mask_l1(t, threshold_map, threshold_mask)
        + _mask_dice(b, shrink_map, shrink_mask)
    )


def _mhliao(binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask, *, largest):
    g = gt[:, 0]
    positive, negative = (g * mask).byte().float(), ((1 - g) * mask).byte().float()
    loss = F.binary_cross_entropy(binary, gt, reduction="none")[:, 0]
    return (
        5 * _balance(loss, positive, negative, largest)
        + 10 * _mask_l1(thresh[:, 0], thresh_map, thresh_mask, eps=0)
        + _mask_dice(thresh_binary[:, 0], g, mask)
    )


_register("db", _db, main="dice", largest=_sort)
_register("db-bce", _db, main="bce", largest=_topk)
_register("db-wenmuzhou", _db, main="bce", alpha=1, truncate=True, largest=_topk)
_register("db-mhliao", _mhliao, largest=_topk)


# The losses of the seed documents, as they are published.


def _overlap(x, y):
    p = torch.sigmoid(x).view(-1)
    y = y.view(-1)
    return p, y, (p * y).sum()


def _dice(x, y, smooth=1):
    p, y, both = _overlap(x, y)
    return 1 - (2 * both + smooth) / (p.sum() + y.sum() + smooth)


def _iou(x, y, smooth=1):
    p, y, both = _overlap(x, y)
    return 1 - (both + smooth) / ((p + y).sum() - both + smooth)


def _dice_bce(x, y):
    return _dice(x, y) + F.binary_cross_entropy(torch.sigmoid(x), y)


def _focal(x, y, alpha=0.25, gamma=2):
    p = torch.sigmoid(x)
    p_t = p * y + (1 - p) * (1 - y)
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none") * (1 - p_t) ** gamma
    return ((alpha * y + (1 - alpha) * (1 - y)) * loss).mean()


def _structure(pred, mask):
    weit = 1 + 5 * torch.abs(F.avg_pool2d(mask, kernel_size=31, stride=1, padding=15) - mask)
    wbce = F.binary_cross_entropy_with_logits(pred, mask)
    wbce = (weit * wbce).sum(dim=(2, 3)) / weit.sum(dim=(2, 3))
    pred = torch.sigmoid(pred)
    inter = ((pred * mask) * weit).sum(dim=(2, 3))
    union = ((pred + mask) * weit).sum(dim=(2, 3))
    return (wbce + 1 - (inter + 1) / (union - inter + 1)).mean()


def _contour(p, y, weight=10):
    rows = (p[:, :, 1:, :] - p[:, :, :-1, :])[:, :, 1:, :-2] ** 2
    columns = (p[:, :, :, 1:] - p[:, :, :, :-1])[:, :, :-2, 1:] ** 2
    length = torch.sqrt(torch.abs(rows + columns) + 1e-8).mean()
    return weight * length + (p * (y - 1) ** 2).mean() + ((1 - p) * y**2).mean()


def _boundary(logits, labels, theta0=3, theta=5):
    def widened(a, size):
        return F.max_pool2d(a, size, 1, (size - 1) // 2)

    p = torch.softmax(logits, 1)
    g = F.one_hot(labels, p.shape[1]).permute(0, 3, 1, 2).float()
    b_g, b_p = widened(1 - g, theta0) - (1 - g), widened(1 - p, theta0) - (1 - p)
    sums = (2, 3)
    precision = (b_p * widened(b_g, theta)).sum(sums) / (b_p.sum(sums) + 1e-7)
    recall = (widened(b_p, theta) * b_g).sum(sums) / (b_g.sum(sums) + 1e-7)
    return (1 - 2 * precision * recall / (precision + recall + 1e-7)).mean()


_register("bce", F.binary_cross_entropy_with_logits)
_register("focal", _focal)
_register("dice", _dice)
_register("dice-u8", _dice)
_register("iou", _iou)
_register("dice-bce", _dice_bce)
_register("structure", _structure)
_register("contour", _contour)
_register("boundary", _boundary)
_register("cross-entropy", F.cross_entropy)


# How they run.


class Runner:
    def __init__(self, loss, case, inputs):
        self._loss = loss
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        self._predictions = [tensors[name].clone().requires_grad_() for name in case.predictions]
        self._inputs = list({**tensors, **dict(zip(case.predictions, self._predictions))}.values())

    def forward(self):
        with torch.no_grad():
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
            p.grad = None  # zero_grad's default


def eager(case, inputs, mood):
    return Runner(LOSSES[case.name], case, inputs) if case.name in LOSSES else None


def compiled(case, inputs, mood):
    return Runner(torch.compile(LOSSES[case.name]), case, inputs) if case.name in LOSSES else None


def tuned(case, inputs, mood):
    if "largest" not in getattr(LOSSES.get(case.name), "keywords", {}):
        return None
    loss = functools.partial(LOSSES[case.name], largest=_topk_unsorted)
    return Runner(torch.compile(loss), case, inputs)


CONTENDERS = {"torch eager": eager, "torch.compile": compiled, "torch.compile tuned": tuned}
