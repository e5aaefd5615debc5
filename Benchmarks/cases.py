"""The registry: each case is a loss with its real sizes, its inputs, its segloss form and the bytes it must move.

Peers are in `peers_*.py`; a peer that has the loss has it in its table under the case's name. What is measured of all
this, and in which order, is in `plan.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

Shape = tuple[int, ...]
Inputs = dict[str, np.ndarray]

SHAPES: dict[str, Shape] = {
    "pranet": (16, 1, 352, 352),  # polyps
    "db": (8, 3, 640, 640),  # text detection: three maps, or three classes
    "page": (8, 1, 640, 640),  # one of these maps
    "classes": (4, 21, 512, 512),  # scenes
    "remote": (2, 6, 1024, 1024),  # remote sensing
    "volume": (2, 2, 96, 96, 96),  # medical
    "tiny": (1, 1, 64, 64),
    "anchors": (1, 37, 53, 10),  # CTPN on a page of 592 x 848
}

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
TARGETS = {"float": "as the frameworks take them: in the prediction's type, labels of classes in int64", "u8": "bytes"}


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over memory: the share of each input that it reads, and the predictions whose gradients it writes."""

    reads: Mapping[str, float]
    writes: tuple[str, ...] = ()

    def bytes(self, inputs: Inputs) -> int:
        read = sum(inputs[name].nbytes * share for name, share in self.reads.items())
        return round(read) + sum(inputs[name].nbytes for name in self.writes)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    shapes: tuple[str, ...]
    """Names of `SHAPES`; the first is the one that every variant is measured at."""
    make: Callable[[Shape, np.random.Generator], Inputs]
    """Inputs by name, in the order of the call, in float32 and int64."""
    predictions: tuple[str, ...]
    """The inputs that get a gradient."""
    loss: str
    """The class in segloss."""
    options: Mapping[str, Any]
    """Its options."""
    forward: Pass
    """What the value alone must move: every input once."""
    gradient: Pass
    """What the gradient must move after that: the inputs that it depends on, and itself."""
    whole: tuple[str, ...] = ()
    """Inputs of whole numbers, which may come as bytes."""
    labels: tuple[str, ...] = ()
    """Those of them that name a class."""
    probabilities: bool = False
    """The predictions are probabilities, and their logarithms are taken."""
    channels: bool = False
    """Dimension 1 is special to the formula, so that TensorFlow, whose channels are last, gets it last."""
    no_bfloat16: str = ""
    """Why it is not measured in bfloat16."""

    def inputs(self, shape: Shape, seed: int, dtype: str = "float32", targets: str = "float") -> Inputs:
        made = {}
        for name, array in self.make(shape, np.random.default_rng(seed)).items():
            if targets == "u8" and name in self.whole:
                array = array.astype(np.uint8)
            elif array.dtype == np.float32:
                if dtype == "bfloat16" and self.probabilities and name in self.predictions:
                    # What rounds to 0 or 1 has a gradient of 1e12, beside which no other could be compared.
                    array = np.clip(array, 2.0**-8, 1 - 2.0**-8)
                array = array.astype(DTYPES[dtype])
            made[name] = np.ascontiguousarray(array)
        return made

    def passes(self, mode: str) -> tuple[Pass, ...]:
        return (self.forward,) if mode == "forward" else (self.forward, self.gradient)

    def make_class(self, module) -> Any:
        """The loss as an object of `segloss` or of its module for a framework."""
        return getattr(module, self.loss)(**self.options)

    def function(self, module) -> Callable:
        """The loss as a function of such a module, which takes the options at the call."""
        from segloss._framework import function_name

        return getattr(module, function_name(self.loss))


CASES: dict[str, Case] = {}


def case(**values: Any) -> None:
    new = Case(**values)
    CASES[new.name] = new


def _pair_case(name: str, title: str, loss: str, make, names=("input", "target"), *shapes: str, **values: Any) -> None:
    """Value and gradient each read both inputs."""
    whole = values.pop("whole", names[1:])
    case(
        name=name,
        title=title,
        shapes=shapes or ("db",),
        make=make,
        predictions=names[:1],
        loss=loss,
        options=values.pop("options", {}),
        forward=Pass({name: 1 for name in names}),
        gradient=Pass({name: 1 for name in names}, writes=names[:1]),
        whole=whole,
        **values,
    )


# ---- Inputs ----------------------------------------------------------------------------------------------------------


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


def _db_inputs(shape: Shape, rng: np.random.Generator) -> Inputs:
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


def _mhliao_inputs(shape: Shape, rng: np.random.Generator) -> Inputs:
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


def _pages(*names: str) -> Callable[[Shape, np.random.Generator], Inputs]:
    """The map P, its text and its mask, N x H x W each, under the names that a loss has for them."""

    def make(shape: Shape, rng: np.random.Generator) -> Inputs:
        n, _, height, width = shape
        inputs = _db_inputs((n, 3, height, width), rng)
        maps = inputs["maps"][:, 0], inputs["shrink_map"], inputs["shrink_mask"]
        return dict(zip(names, map(np.ascontiguousarray, maps)))

    return make


def _thresholds(shape: Shape, rng: np.random.Generator) -> Inputs:
    """The map T, what it should be, and where."""
    n, _, height, width = shape
    inputs = _db_inputs((n, 3, height, width), rng)
    return {
        "pred": np.ascontiguousarray(inputs["maps"][:, 1]),
        "gt": inputs["threshold_map"],
        "mask": inputs["threshold_mask"],
    }


def _segmentation(shape: Shape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a half-trained network, and masks of a few rectangles that cover a fifth or so."""
    masks = np.zeros(shape, np.float32)
    height, width = shape[-2:]
    for plane in masks.reshape(-1, height, width):
        for _ in range(4):
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            plane[top : top + height // 4, left : left + width // 4] = 1
    return 3 * masks - 1.5 + 1.2 * rng.standard_normal(shape, np.float32), masks


def _pair(prediction: str = "input", target: str = "target", *, probabilities: bool = False):
    def make(shape: Shape, rng: np.random.Generator) -> Inputs:
        logits, masks = _segmentation(shape, rng)
        values = 1 / (1 + np.exp(-logits)) if probabilities else logits
        return {prediction: values.astype(np.float32), target: masks}

    return make


def _classes(prediction: str, target: str, patch: int = 16):
    def make(shape: Shape, rng: np.random.Generator) -> Inputs:
        """Logits of several classes that lean towards the truth, and labels in patches."""
        n, classes, *space = shape
        labels = rng.integers(0, classes, (n, *(-(-side // patch) for side in space)))
        for axis, side in enumerate(space, 1):
            labels = np.repeat(labels, patch, axis).take(range(side), axis)
        logits = 1.5 * rng.standard_normal(shape, np.float32)
        logits += 1.5 * (labels[:, None] == np.arange(classes).reshape(-1, *(1 for _ in space)))
        return {prediction: logits, target: np.ascontiguousarray(labels, np.int64)}

    return make


def _regression(shape: Shape, rng: np.random.Generator) -> Inputs:
    """Offsets of boxes, two of each anchor, and what they should be."""
    n = 2 * int(np.prod(shape))
    target = rng.standard_normal(n, np.float32)
    return {"input": target + rng.standard_normal(n, np.float32), "target": target}


def _anchors(shape: Shape, rng: np.random.Generator) -> Inputs:
    """CTPN's heads and targets: 128 anchors of text, 172 of background, the others ignored, as its sampler has it."""
    count = int(np.prod(shape))
    labels = np.full(count, -1, np.int64)
    chosen = rng.permutation(count)[: min(300, count)]
    labels[chosen] = 0
    labels[chosen[: len(chosen) * 128 // 300]] = 1
    text = np.repeat(labels == 1, 4).astype(np.float32)

    def numbers(k: int, values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32).reshape(*shape[:-1], shape[-1] * k)

    return {
        "cls": numbers(2, 2 * rng.standard_normal(2 * count)),
        "box": numbers(4, 0.3 * rng.standard_normal(4 * count)),
        "rpn_labels": labels.reshape(shape),
        "rpn_bbox_targets": numbers(4, 0.3 * rng.standard_normal(4 * count)),
        "rpn_bbox_inside_weights": numbers(4, text),
        "rpn_bbox_outside_weights": numbers(4, text),
    }


# ---- Overlap and cross-entropy ---------------------------------------------------------------------------------------

_FLAT = ("db", "pranet", "volume", "tiny")
# What SMP and MONAI (batch=True) compute; and kornia's and MONAI's own form, each sample for itself and unsmoothed.
_PER_CLASS = dict(activation="softmax", average="macro")
_PER_SAMPLE = dict(activation="softmax", average="macro", per_sample=True, smooth=1e-8)
_LABELLED = dict(labels=("target",), channels=True)

_pair_case("dice", "Dice, everything flattened", "DiceLoss", _pair(), ("input", "target"), *_FLAT)
_pair_case("iou", "IoU, everything flattened", "IoULoss", _pair())
_pair_case(
    "tversky", "Tversky (0.3, 0.7), everything flattened", "TverskyLoss", _pair(), options=dict(alpha=0.3, beta=0.7)
)
_pair_case(
    "focal-tversky", "Focal Tversky (0.3, 0.7, γ 0.75)", "FocalTverskyLoss", _pair(),
    options=dict(alpha=0.3, beta=0.7, gamma=0.75),
)  # fmt: skip
_pair_case("dice-bce", "Dice and cross-entropy", "DiceBCELoss", _pair(), ("input", "target"), "db", "volume")
_pair_case("bce", "Binary cross-entropy of logits", "BCELoss", _pair(), ("input", "target"), "db", "pranet", "tiny")
_pair_case("focal", "Focal, of each pixel", "FocalLoss", _pair(), options=dict(variant="paper"))
_pair_case("focal-published", "Focal, of the mean (published)", "FocalLoss", _pair())
_pair_case(
    "cross-entropy", "Cross-entropy of classes", "CrossEntropyLoss", _classes("input", "target"),
    ("input", "target"), "classes", "remote", **_LABELLED,
)  # fmt: skip
_pair_case(
    "dice-classes", "Dice of each class, softmax and labels", "DiceLoss", _classes("input", "target"),
    ("input", "target"), "classes", "remote", "volume", options=_PER_CLASS, **_LABELLED,
)  # fmt: skip
_pair_case(
    "dice-samples", "Dice of each class and sample, softmax and labels", "DiceLoss", _classes("input", "target", 32),
    ("input", "target"), "remote", options=_PER_SAMPLE, **_LABELLED,
)  # fmt: skip
_pair_case(
    "tversky-samples", "Tversky (0.3, 0.7) of each class and sample, softmax and labels", "TverskyLoss",
    _classes("input", "target", 32), ("input", "target"), "remote",
    options=dict(alpha=0.3, beta=0.7, **_PER_SAMPLE), **_LABELLED,
)  # fmt: skip

# ---- Windows and differences -----------------------------------------------------------------------------------------

_pair_case(
    "structure", "Structure loss, published", "StructureLoss", _pair("pred", "mask"), ("pred", "mask"),
    "pranet", "page", channels=True,
)  # fmt: skip
_pair_case(
    "structure-paper", "Structure loss, weighted cross-entropy (paper)", "StructureLoss", _pair("pred", "mask"),
    ("pred", "mask"), "pranet", options=dict(variant="paper"), channels=True,
)  # fmt: skip
_pair_case(
    "contour", "Active contour, published", "ActiveContourLoss", _pair(probabilities=True), ("input", "target"),
    "page", channels=True,
)  # fmt: skip
_pair_case(
    "boundary", "Boundary (BF1), windows 3 and 5", "BoundaryLoss", _classes("logits", "labels"),
    ("logits", "labels"), "db", "remote", labels=("labels",), channels=True,
    no_bfloat16="1 - p rounds to ties between neighbours, of which each implementation takes others",
)  # fmt: skip

# ---- Text detection --------------------------------------------------------------------------------------------------

_TIES = "so few values are possible that the hardest negatives are ties, of which each implementation takes others"
_DB_LABELS = {"threshold_map": 1, "threshold_mask": 1, "shrink_map": 1, "shrink_mask": 1}
_DB = dict(
    shapes=("db",),
    make=_db_inputs,
    predictions=("maps",),
    loss="DBLoss",
    forward=Pass({"maps": 1, **_DB_LABELS}),
    whole=("threshold_mask", "shrink_map", "shrink_mask"),
    probabilities=True,
    channels=True,
    no_bfloat16=_TIES,
)

case(
    name="db",
    title="DB, Paddle form (Dice, L1, Dice)",
    options={},
    gradient=Pass({"maps": 1 / 3, **_DB_LABELS}, writes=("maps",)),  # Dice's gradient does not read P or B
    **_DB,
)
case(
    name="db-bce",
    title="DB, BCE-OHEM form (BCE with hard negatives, L1, Dice)",
    options=dict(main_loss_type="BCELoss"),
    gradient=Pass({"maps": 2 / 3, **_DB_LABELS}, writes=("maps",)),  # it reads P and T
    **_DB,
)
case(
    name="db-wenmuzhou",
    title="DB, WenmuZhou's form (byte weights, alpha 1)",
    options=dict(variant="wenmuzhou"),
    gradient=Pass({"maps": 2 / 3, **_DB_LABELS}, writes=("maps",)),
    **_DB,
)
_MHLIAO = {"gt": 1, "mask": 1, "thresh_map": 1, "thresh_mask": 1}
case(
    name="db-mhliao",
    title="DB, MhLiao's L1BalanceCELoss",
    shapes=("db",),
    make=_mhliao_inputs,
    predictions=("binary", "thresh", "thresh_binary"),
    loss="L1BalanceCELoss",
    options={},
    forward=Pass({"binary": 1, "thresh": 1, "thresh_binary": 1, **_MHLIAO}),
    gradient=Pass({"binary": 1, "thresh": 1, **_MHLIAO}, writes=("binary", "thresh", "thresh_binary")),
    whole=("gt", "mask", "thresh_mask"),
    probabilities=True,
    channels=True,
    no_bfloat16=_TIES,
)
_MASKED = dict(
    shapes=("page",),
    predictions=("pred",),
    forward=Pass({"pred": 1, "gt": 1, "mask": 1}),
)
case(
    name="balance",
    title="Cross-entropy with hard negatives",
    make=_pages("pred", "gt", "mask"),
    loss="BalanceLoss",
    options=dict(main_loss_type="BCELoss"),
    gradient=Pass({"pred": 1, "gt": 1, "mask": 1}, writes=("pred",)),
    whole=("gt", "mask"),
    probabilities=True,
    no_bfloat16=_TIES,
    **_MASKED,
)
case(
    name="mask-dice",
    title="Dice under a mask",
    make=_pages("pred", "gt", "mask"),
    loss="MaskDiceLoss",
    options={},
    gradient=Pass({"gt": 1, "mask": 1}, writes=("pred",)),
    whole=("gt", "mask"),
    **_MASKED,
)
case(
    name="mask-l1",
    title="L1 under a mask",
    make=_thresholds,
    loss="MaskL1Loss",
    options={},
    gradient=Pass({"pred": 1, "gt": 1, "mask": 1}, writes=("pred",)),
    whole=("mask",),
    **_MASKED,
)
_pair_case("smooth-l1", "Smooth L1", "SmoothL1Loss", _regression, ("input", "target"), "anchors", "page", whole=())
_BOXES = {"rpn_bbox_targets": 1, "rpn_bbox_inside_weights": 1, "rpn_bbox_outside_weights": 1}
case(
    name="ctpn",
    title="CTPN, published (cross-entropy and smooth L1 of anchors)",
    shapes=("anchors",),
    make=_anchors,
    predictions=("cls", "box"),
    loss="CTPNLoss",
    options={},
    forward=Pass({"cls": 1, "box": 1, "rpn_labels": 1, **_BOXES}),
    gradient=Pass({"cls": 1, "box": 1, "rpn_labels": 1, **_BOXES}, writes=("cls", "box")),
    whole=("rpn_bbox_inside_weights", "rpn_bbox_outside_weights"),
)
