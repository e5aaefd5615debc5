"""What is measured: each case is a loss with its real size, its inputs, its segloss form and the bytes it must move.

Peers are in `peers_*.py`; a peer that has the loss registers it there under the case's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over memory: the share of each input that it reads, and the predictions whose gradients it writes."""

    reads: Mapping[str, float]
    writes: tuple[str, ...] = ()

    def bytes(self, inputs: Mapping[str, np.ndarray]) -> int:
        read = sum(inputs[name].nbytes * share for name, share in self.reads.items())
        return round(read) + sum(inputs[name].nbytes for name in self.writes)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    shape: tuple[int, ...]
    make: Callable[[tuple[int, ...], np.random.Generator], dict[str, np.ndarray]]
    """Inputs by name, in the order of the call."""
    predictions: tuple[str, ...]
    """The inputs that get a gradient."""
    loss: Callable[[], Any]
    """The loss as segloss has it."""
    forward: Pass
    """What the value alone must move: every input once."""
    gradient: Pass
    """What the gradient must move after that: the inputs that it depends on, and itself."""

    def inputs(self, shape: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
        return self.make(shape, np.random.default_rng(seed))

    def passes(self, mode: str) -> tuple[Pass, ...]:
        return (self.forward,) if mode == "forward" else (self.forward, self.gradient)


CASES: dict[str, Case] = {}


def case(**values: Any) -> None:
    new = Case(**values)
    CASES[new.name] = new


# Differentiable Binarization


def _text(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Labels of one page of upright text boxes: threshold map and mask, shrink map and mask.

    As the label makers have it: a box of area A and perimeter L moves in and out by D = A(1 - 0.4²)/L; the threshold
    map falls from 0.7 at the border to 0.3 at distance D. Text covers a tenth of the page; one box in ten is ignored.
    """
    threshold_map = np.zeros((height, width), np.float32)
    threshold_mask = np.zeros((height, width), np.float32)
    shrink_map = np.zeros((height, width), np.float32)
    shrink_mask = np.ones((height, width), np.float32)
    page = height * width
    for _ in range(1000):  # small pages may never reach their tenth
        if shrink_map.sum() >= 0.1 * page:
            break
        h = min(int(rng.integers(10, 49)), height // 2)
        w = min(int(h * rng.uniform(1.5, 8)), width // 2)
        distance = 0.84 * h * w / (2 * (h + w))
        top, left = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        if rng.random() < 0.1:
            shrink_mask[top : top + h, left : left + w] = 0
            continue
        pad = int(np.ceil(distance))
        y0, y1 = max(top - pad, 0), min(top + h + pad, height)
        x0, x1 = max(left - pad, 0), min(left + w + pad, width)
        window = np.s_[y0:y1, x0:x1]
        y, x = np.arange(y0, y1)[:, None], np.arange(x0, x1)[None, :]
        inside = np.minimum(np.minimum(y - top, top + h - 1 - y), np.minimum(x - left, left + w - 1 - x))
        ramp = np.clip(1 - np.abs(inside) / distance, 0, 1)
        threshold_map[window] = np.maximum(threshold_map[window], ramp)
        threshold_mask[window] = 1
        shrink_map[window][inside > distance] = 1
    return 0.3 + 0.4 * threshold_map, threshold_mask, shrink_map, shrink_mask


def _db_inputs(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps P, T, B of a half-trained head, and labels."""
    n, channels, height, width = shape
    if channels != 3:
        raise ValueError(f"shape: the maps of DB are N x 3 x H x W, got {shape}")
    labels = [np.stack(maps) for maps in zip(*(_text(height, width, rng) for _ in range(n)))]
    threshold_map, threshold_mask, shrink_map, shrink_mask = labels

    def noise(scale: float) -> np.ndarray:
        return scale * rng.standard_normal((n, height, width), np.float32)

    def probability(logits: np.ndarray) -> np.ndarray:
        return np.clip(1 / (1 + np.exp(-logits)), 1e-4, 1 - 1e-4)

    p = probability(4 * shrink_map - 2 + noise(1.2))
    t = np.clip(threshold_map + noise(0.1), 1e-4, 1 - 1e-4)
    b = probability(50 * (p - t))
    maps = np.stack([p, t, b], 1).astype(np.float32)
    return {
        "maps": maps,
        "threshold_map": threshold_map.astype(np.float32),
        "threshold_mask": threshold_mask,
        "shrink_map": shrink_map,
        "shrink_mask": shrink_mask,
    }


def _mhliao_inputs(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The same, as MhLiao's head and loader have it: N x 1 x H x W predictions and gt, N x H x W masks."""
    inputs = _db_inputs(shape, rng)
    p, t, b = (np.ascontiguousarray(inputs["maps"][:, i : i + 1]) for i in range(3))
    return {
        "binary": p,
        "thresh": t,
        "thresh_binary": b,
        "gt": inputs["shrink_map"][:, None],
        "mask": inputs["shrink_mask"],
        "thresh_map": inputs["threshold_map"],
        "thresh_mask": inputs["threshold_mask"],
    }


def _segloss_db(**options: Any) -> Callable[[], Any]:
    def loss():
        import segloss

        return segloss.DBLoss(**options)

    return loss


def _segloss_mhliao() -> Any:
    import segloss

    return segloss.L1BalanceCELoss()


_DB_LABELS = {"threshold_map": 1, "threshold_mask": 1, "shrink_map": 1, "shrink_mask": 1}
_DB = dict(
    shape=(8, 3, 640, 640),
    make=_db_inputs,
    predictions=("maps",),
    forward=Pass({"maps": 1, **_DB_LABELS}),
)

case(
    name="db",
    title="DB, Paddle form (Dice, L1, Dice)",
    loss=_segloss_db(),
    gradient=Pass({"maps": 1 / 3, **_DB_LABELS}, writes=("maps",)),  # Dice's gradient does not read P or B
    **_DB,
)
case(
    name="db-bce",
    title="DB, BCE-OHEM form (BCE with hard negatives, L1, Dice)",
    loss=_segloss_db(main_loss_type="BCELoss"),
    gradient=Pass({"maps": 2 / 3, **_DB_LABELS}, writes=("maps",)),  # it reads P and T
    **_DB,
)
case(
    name="db-wenmuzhou",
    title="DB, WenmuZhou's form (byte weights, alpha 1)",
    loss=_segloss_db(variant="wenmuzhou"),
    gradient=Pass({"maps": 2 / 3, **_DB_LABELS}, writes=("maps",)),
    **_DB,
)
case(
    name="db-mhliao",
    title="DB, MhLiao's L1BalanceCELoss",
    shape=(8, 3, 640, 640),
    make=_mhliao_inputs,
    predictions=("binary", "thresh", "thresh_binary"),
    loss=_segloss_mhliao,
    forward=Pass({"binary": 1, "thresh": 1, "thresh_binary": 1, "gt": 1, "mask": 1, "thresh_map": 1, "thresh_mask": 1}),
    gradient=Pass(
        {"binary": 1, "thresh": 1, "gt": 1, "mask": 1, "thresh_map": 1, "thresh_mask": 1},
        writes=("binary", "thresh", "thresh_binary"),
    ),
)


# The losses of the seed documents


def _segmentation(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a half-trained network, and masks of a few rectangles that cover a fifth or so."""
    masks = np.zeros(shape, np.float32)
    height, width = shape[-2:]
    for plane in masks.reshape(-1, height, width):
        for _ in range(4):
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            plane[top : top + height // 4, left : left + width // 4] = 1
    return 3 * masks - 1.5 + 1.2 * rng.standard_normal(shape, np.float32), masks


def _pair(prediction: str = "input", target: str = "target", *, probabilities: bool = False, dtype: type = np.float32):
    def make(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
        logits, masks = _segmentation(shape, rng)
        values = 1 / (1 + np.exp(-logits)) if probabilities else logits
        return {prediction: values.astype(np.float32), target: masks.astype(dtype)}

    return make


def _classes(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Logits of several classes, and labels in patches of 16 x 16."""
    n, classes, height, width = shape
    patches = rng.integers(0, classes, (n, -(-height // 16), -(-width // 16)))
    labels = np.repeat(np.repeat(patches, 16, 1), 16, 2)[:, :height, :width]
    return {"logits": 2 * rng.standard_normal(shape, np.float32), "labels": np.ascontiguousarray(labels)}


def _segloss(name: str, **options: Any) -> Callable[[], Any]:
    def loss():
        import segloss

        return getattr(segloss, name)(**options)

    return loss


def _pair_case(
    name: str, title: str, loss: Callable[[], Any], make=None, names=("input", "target"), shape=None
) -> None:
    """Value and gradient each read both."""
    case(
        name=name,
        title=title,
        shape=shape or (8, 3, 640, 640),
        make=make or _pair(),
        predictions=names[:1],
        loss=loss,
        forward=Pass({name: 1 for name in names}),
        gradient=Pass({name: 1 for name in names}, writes=names[:1]),
    )


_pair_case("bce", "Binary cross-entropy of logits", _segloss("BCELoss"))
_pair_case("focal", "Focal, of each pixel", _segloss("FocalLoss", variant="paper"))
_pair_case("dice", "Dice, everything flattened", _segloss("DiceLoss"))
_pair_case("dice-u8", "Dice, targets in bytes", _segloss("DiceLoss"), _pair(dtype=np.uint8))
_pair_case("iou", "IoU, everything flattened", _segloss("IoULoss"))
_pair_case("dice-bce", "Dice and cross-entropy", _segloss("DiceBCELoss"))
_pair_case(
    "structure", "Structure loss, published", _segloss("StructureLoss"), _pair("pred", "mask"), ("pred", "mask"),
    (8, 1, 640, 640),
)  # fmt: skip
_pair_case(
    "contour", "Active contour, published", _segloss("ActiveContourLoss"), _pair(probabilities=True),
    shape=(8, 1, 640, 640),
)  # fmt: skip
_pair_case("boundary", "Boundary (BF1), windows 3 and 5", _segloss("BoundaryLoss"), _classes, ("logits", "labels"))
_pair_case(
    "cross-entropy", "Cross-entropy over 21 classes", _segloss("CrossEntropyLoss"), _classes, ("logits", "labels"),
    (4, 21, 512, 512),
)  # fmt: skip
