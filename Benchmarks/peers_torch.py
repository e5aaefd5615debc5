"""torch, eager and compiled: the published losses in their own mathematics; and segloss.torch beside them.

The hardest negatives are taken as upstream takes them: by a full sort in PaddleOCR's form, by `torch.topk`, which
also sorts what it finds, in MhLiao's and WenmuZhou's (and in the BCE-OHEM form, whose torch sources these are). The
counts are Python numbers, as upstream has them; torch.compile breaks its graph there (letting it capture them gained
nothing). "torch.compile tuned" is what torch could do and nobody publishes: `topk(sorted=False)`.
"""

from __future__ import annotations

import functools

import numpy as np
import segloss.torch
import torch
import torch.nn.functional as F
from peers_segloss import Differs

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


def warm_up() -> None:
    """Compiles something, so that no case's first call pays for what torch.compile does once."""
    x = torch.ones(64, requires_grad=True)
    torch.compile(lambda x: torch.sigmoid(x).sum())(x).backward()


# ---- The losses, by case ----------------------------------------------------------------------------------------------

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


def _tversky(x, y, alpha, beta, gamma=1, smooth=1):
    p, y, both = _overlap(x, y)
    false_positive, false_negative = (p * (1 - y)).sum(), ((1 - p) * y).sum()
    return (1 - (both + smooth) / (both + alpha * false_positive + beta * false_negative + smooth)) ** gamma


def _focal_published(x, y, alpha=0.8, gamma=2):
    bce = F.binary_cross_entropy_with_logits(x, y)
    return alpha * (1 - torch.exp(-bce)) ** gamma * bce


def _classes(x, labels, *, alpha=0.5, beta=0.5, smooth=1.0, per_sample=False):
    """Dice or Tversky of each class (and sample): softmax, one-hot labels, sums."""
    p = torch.softmax(x, 1)
    y = F.one_hot(labels, x.shape[1]).movedim(-1, 1).to(p.dtype)
    space = tuple(range(2, x.dim())) if per_sample else (0, *range(2, x.dim()))
    both = (p * y).sum(space)
    # Twice a Tversky of (0.5, 0.5) is a Dice, so its smoothing is half as large.
    smooth = smooth / 2 if alpha == beta == 0.5 else smooth
    wrong = alpha * (p.sum(space) - both) + beta * (y.sum(space) - both)
    return (1 - (both + smooth) / (both + wrong + smooth)).mean()


def _structure_paper(pred, mask):
    weit = 1 + 5 * torch.abs(F.avg_pool2d(mask, kernel_size=31, stride=1, padding=15) - mask)
    wbce = F.binary_cross_entropy_with_logits(pred, mask, reduction="none")
    wbce = (weit * wbce).sum(dim=(2, 3)) / weit.sum(dim=(2, 3))
    pred = torch.sigmoid(pred)
    inter = ((pred * mask) * weit).sum(dim=(2, 3))
    union = ((pred + mask) * weit).sum(dim=(2, 3))
    return (wbce + 1 - (inter + 1) / (union - inter + 1)).mean()


def _balanced(pred, gt, mask, *, largest):
    loss = F.binary_cross_entropy(pred, gt, reduction="none")
    return _balance(loss, gt * mask, (1 - gt) * mask, largest)


def _ctpn(cls, box, labels, targets, inside, outside, sigma2=9.0):
    labels = labels.view(-1)
    keep = labels != -1
    entropy = F.cross_entropy(cls.view(-1, 2)[keep], labels[keep])
    cls, box, targets, inside, outside = (
        t.view(labels.numel(), -1)[keep] for t in (cls, box, targets, inside, outside)
    )
    terms = outside * F.smooth_l1_loss(inside * box, inside * targets, beta=1 / sigma2, reduction="none")
    return entropy + terms.sum() / ((labels == 1).sum() + 1)


_register("bce", F.binary_cross_entropy_with_logits)
_register("focal", _focal)
_register("focal-published", _focal_published)
_register("dice", _dice)
_register("iou", _iou)
_register("tversky", _tversky, alpha=0.3, beta=0.7)
_register("focal-tversky", _tversky, alpha=0.3, beta=0.7, gamma=0.75)
_register("dice-bce", _dice_bce)
_register("dice-classes", _classes)
_register("dice-samples", _classes, smooth=1e-8, per_sample=True)
_register("tversky-samples", _classes, alpha=0.3, beta=0.7, smooth=1e-8, per_sample=True)
_register("structure", _structure)
_register("structure-paper", _structure_paper)
_register("contour", _contour)
_register("boundary", _boundary)
_register("cross-entropy", F.cross_entropy)
_register("balance", _balanced, largest=_sort)
_register("mask-dice", _mask_dice)
_register("mask-l1", _mask_l1)
_register("smooth-l1", F.smooth_l1_loss)
_register("ctpn", _ctpn)


# ---- How they run ----------------------------------------------------------------------------------------------------


def tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def takes_bytes(loss, case, inputs):
    """`loss` where its targets come as bytes: torch wants them in the prediction's type, and labels in int64."""
    dtype = tensor(inputs[case.predictions[0]]).dtype
    wanted = [
        (torch.int64 if name in case.labels else dtype) if array.dtype == np.uint8 else None
        for name, array in inputs.items()
    ]
    if not any(wanted):
        return loss
    return lambda *tensors: loss(*(t if to is None else t.to(to) for t, to in zip(tensors, wanted)))


class Runner:
    def __init__(self, loss, case, inputs):
        self.differs = loss.why if isinstance(loss, Differs) else ""
        self._loss = loss.loss if isinstance(loss, Differs) else loss
        tensors = {name: tensor(array) for name, array in inputs.items()}
        self._predictions = [tensors[name].clone().requires_grad_() for name in case.predictions]
        self._inputs = list({**tensors, **dict(zip(case.predictions, self._predictions))}.values())

    def _call(self):
        loss = self._loss(*self._inputs)
        return loss["loss"] if isinstance(loss, dict) else loss

    def forward(self):
        with torch.no_grad():
            return self._call()

    def step(self):
        self.clear()
        loss = self._call()
        loss.backward()
        return loss.detach()

    def value(self, result) -> float:
        return float(result)

    def gradients(self) -> list[np.ndarray]:
        return [p.grad.float().numpy() for p in self._predictions]

    def clear(self) -> None:
        for p in self._predictions:
            p.grad = None  # zero_grad's default


def runner(losses, case, inputs):
    """A runner of the case's loss in a table like LOSSES; None where it has none."""
    loss = losses.get(case.name)
    if loss is None:
        return None
    if isinstance(loss, Differs):
        return Runner(Differs(takes_bytes(loss.loss, case, inputs), loss.why), case, inputs)
    return Runner(takes_bytes(loss, case, inputs), case, inputs)


def own(case, inputs, mood):
    return Runner(case.make_class(segloss.torch), case, inputs)


def eager(case, inputs, mood):
    return runner(LOSSES, case, inputs)


def _compiled(loss, case, inputs):
    return Runner(torch.compile(takes_bytes(loss, case, inputs)), case, inputs)


def compiled(case, inputs, mood):
    if case.name not in LOSSES:
        return None
    torch._dynamo.reset()  # each case is a program of its own: none is a recompilation of the one before
    return _compiled(LOSSES[case.name], case, inputs)


def tuned(case, inputs, mood):
    if "largest" not in getattr(LOSSES.get(case.name), "keywords", {}):
        return None
    return _compiled(functools.partial(LOSSES[case.name], largest=_topk_unsorted), case, inputs)


CONTENDERS = {"segloss.torch": own, "torch eager": eager, "torch.compile": compiled, "torch.compile tuned": tuned}
