"""Every loss of the family with inputs, call and reference, so that a test of types, layouts, threads or levels is
written once.

All inputs are exact in every element type (see `support.grid`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import reference as ref
import reference_overlap as overlap
import reference_pointwise as pointwise
import segloss
from support import binary, grid

CLASSES = 3


@dataclass(frozen=True)
class Entry:
    name: str
    make: Callable  # (**options) -> loss
    inputs: Callable  # (rng, N x H x W) -> {argument: array of N x H x W or N x channels x H x W}
    reference: Callable  # (*inputs) -> (value or parts, tuple of gradients)
    predictions: tuple = ("pred",)
    divides: bool = False  # whether the gradient divides by p (1 - p); such a loss refuses what is no probability
    optional: tuple = ()  # arguments that may be left out
    labels: tuple = ()  # arguments that name a class: whole numbers, whatever type the other targets have
    span: tuple = (0.0, 1.0)  # where predictions lie

    def __repr__(self):
        return self.name

    def draw(self, shape, seed=0, dtype=np.float64, target=None):
        """Inputs for N x H x W maps: predictions in `dtype`, the rest in `target`, which is `dtype` unless told."""
        return self.typed(self.inputs(np.random.default_rng([seed, *shape]), shape), dtype, target)

    def typed(self, inputs, dtype, target=None):
        """The inputs in other types. Labels follow `target` where it is a type of integers."""
        target = np.dtype(dtype if target is None else target)
        types = {name: np.dtype(dtype) for name in self.predictions}
        types |= {name: target if target.kind in "iu" else np.dtype(np.int64) for name in self.labels}
        return {name: value.astype(types.get(name, target)) for name, value in inputs.items()}

    def anywhere(self, rng, shape, margin=0.0):
        """Predictions with 24 bits to their fraction, at least a margin (a share of the span) inside."""
        low, high = self.span
        return low + (high - low) * (margin + (1 - 2 * margin) * rng.integers(1, 2**24, shape) / 2**24)

    def run(self, inputs, options=None, **keywords):
        """(value, tuple of gradients)."""
        value, grad = self.make(**(options or {})).value_and_grad(**inputs, **keywords)
        return value, grad if isinstance(grad, tuple) else (grad,)


def pixel(array, at):
    """Where the pixel n, y, x is in N x H x W or, with all its channels, in N x channels x H x W."""
    return at if array.ndim == 3 else (at[0], slice(None), *at[1:])


class Step:
    """`db_step` in the shape of a loss: the map goes with the gradients."""

    def value_and_grad(self, prob, thresh, grad_output):
        return 0.0, (segloss.db_step(prob, thresh), *segloss.db_step_grad(prob, thresh, grad_output))


def step_reference(p, t, grad_output):
    value, slope = ref.db_step(p, t)
    return 0.0, (value, slope * grad_output, -slope * grad_output)


def one(function, **options):
    """A reference with one gradient, as one with a tuple of them."""

    def call(*inputs):
        value, grad = function(*inputs, **options)
        return value, (grad,)

    return call


# ---------------------------------------------------------------- inputs


def triple(rng, shape):
    return {"pred": grid(rng, shape), "gt": binary(rng, shape, 0.2), "mask": binary(rng, shape, 0.9)}


def weighted(rng, shape):
    return {**triple(rng, shape), "weights": rng.integers(0, 5, shape).astype(np.float64)}


def detector(channels):
    def draw(rng, shape):
        n, h, w = shape
        return {
            "maps": grid(rng, (n, channels, h, w)),
            "threshold_map": grid(rng, shape, low=77, high=180),
            "threshold_mask": binary(rng, shape, 0.4),
            "shrink_map": binary(rng, shape, 0.2),
            "shrink_mask": binary(rng, shape, 0.9),
        }

    return draw


def mhliao(rng, shape):
    return {
        "binary": grid(rng, shape),
        "thresh": grid(rng, shape),
        "thresh_binary": grid(rng, shape),
        "gt": binary(rng, shape, 0.2),
        "mask": binary(rng, shape, 0.9),
        "thresh_map": grid(rng, shape, low=77, high=180),
        "thresh_mask": binary(rng, shape, 0.4),
    }


def step(rng, shape):
    return {"prob": grid(rng, shape), "thresh": grid(rng, shape), "grad_output": grid(rng, shape, low=-256)}


def logits(rng, shape):
    """Multiples of 1/32 within 8: bfloat16's eight bits hold them all."""
    return grid(rng, shape, 32, -256, 257)


def pixels(classes=None, *, probabilities=False, target="binary", mask=None, weight=None, ignored=None):
    """`input` and `target` of N x H x W or N x classes x H x W, then `weight` and `mask`, which are "full" in that
    shape, or "broadcast" over the classes. A target is "binary", "soft", "distance" or class "labels"."""

    def draw(rng, shape):
        n, h, w = shape
        full = shape if classes is None else (n, classes, h, w)
        shapes = {"full": full, "broadcast": shape}
        inputs = {"input": (grid if probabilities else logits)(rng, full)}
        inputs["target"] = {
            "binary": lambda: binary(rng, full, 0.3),
            "soft": lambda: grid(rng, full, 16, 0, 17),
            "distance": lambda: grid(rng, full, 32, 0, 129),
            "labels": lambda: rng.integers(0, classes, shape),
        }[target]()
        if ignored is not None:
            inputs["target"][rng.random(inputs["target"].shape) < 0.1] = ignored
        if weight:
            inputs["weight"] = rng.integers(0, 5, shapes[weight]).astype(np.float64)
        if mask:
            inputs["mask"] = binary(rng, shapes[mask], 0.9)
        return inputs

    return draw


# ---------------------------------------------------------------- the catalog


def balance_entry(name, main, divides=False, **options):
    """`fallback_negative_num` is `fallback` and `negative_ratio` is `ratio` in the reference."""
    short = {"fallback_negative_num": "fallback", "negative_ratio": "ratio"}
    return Entry(
        name,
        lambda **o: segloss.BalanceLoss(**{"main_loss_type": main, **options, **o}),
        triple,
        one(ref.balance, main=main, **{short.get(k, k): v for k, v in options.items()}),
        divides=divides,
    )


def db_entry(name, channels=3, divides=False, main="DiceLoss", **options):
    return Entry(
        name,
        lambda **o: segloss.DBLoss(**{"main_loss_type": main, **options, **o}),
        detector(channels),
        one(ref.db_loss, main=main, **options),
        ("maps",),
        divides,
    )


def pixel_entry(name, loss, reference, draw=None, **options):
    """A loss of `input` and `target`: `draw` are the options of `pixels`, the others those of the loss. Cross-entropy's
    own `weight`, one for each class, is `class_weight` in the reference."""
    draw = draw or {}
    from_logits = options.get("from_logits", True)
    arguments = ["input", "target", *(name for name in ("weight", "mask") if draw.get(name))]
    others = {"class_weight" if k == "weight" else k: v for k, v in options.items()}

    def call(*inputs):
        parts, grad = reference(**dict(zip(arguments, inputs)), **others)
        return parts, (grad,)

    return Entry(
        name,
        lambda **o: getattr(segloss, loss)(**{"return_parts": options.get("reduction") != "none", **options, **o}),
        pixels(probabilities=not from_logits, **draw),
        call,
        ("input",),
        divides=not from_logits and loss in ("DiceBCELoss", "BCELoss", "FocalLoss"),
        optional=("weight", "mask"),
        labels=("target",) if draw.get("target") == "labels" else (),
        span=(-16.0, 16.0) if from_logits else (0.0, 1.0),
    )


def labels(ignored=None, **draw):
    return {"classes": CLASSES, "target": "labels", "ignored": ignored, **draw}


def dense(**draw):
    return {"classes": CLASSES, **draw}


# Together they take every option of the overlap losses, with every kind of target, mask and activation.
OVERLAP = [
    pixel_entry("dice", "DiceLoss", overlap.dice),
    pixel_entry(
        "dice-softmax", "DiceLoss", overlap.dice, labels(255), activation="softmax", average="macro", ignore_index=255
    ),
    pixel_entry(
        "dice-per-sample",
        "DiceLoss",
        overlap.dice,
        dense(mask="broadcast"),
        average="macro",
        per_sample=True,
        absent="skip",
        smooth=0.5,
    ),
    pixel_entry(
        "dice-weighted", "DiceLoss", overlap.dice, dense(mask="full", target="soft"), class_weight=[1.0, 0.5, 2.0]
    ),
    pixel_entry("dice-probabilities", "DiceLoss", overlap.dice, {"mask": "full"}, from_logits=False),
    pixel_entry("iou", "IoULoss", overlap.iou),
    pixel_entry(
        "iou-labels",
        "IoULoss",
        overlap.iou,
        labels(255, mask="broadcast"),
        average="macro",
        absent="zero",
        ignore_index=255,
    ),
    pixel_entry("tversky", "TverskyLoss", overlap.tversky, alpha=0.3, beta=0.7),
    pixel_entry(
        "tversky-softmax",
        "TverskyLoss",
        overlap.tversky,
        dense(mask="broadcast"),
        activation="softmax",
        average="macro",
        per_sample=True,
        classes=[2, 0],
        class_weight=[1.0, 0.5, 2.0],
        alpha=0.3,
        beta=0.7,
    ),
    pixel_entry("focal-tversky", "FocalTverskyLoss", overlap.focal_tversky, alpha=0.3, beta=0.7, gamma=0.75),
    pixel_entry(
        "focal-tversky-softmax",
        "FocalTverskyLoss",
        overlap.focal_tversky,
        labels(mask="broadcast"),
        activation="softmax",
        average="macro",
        gamma=2.0,
    ),
    pixel_entry("dice-bce", "DiceBCELoss", overlap.dice_bce),
    pixel_entry(
        "dice-bce-labels",
        "DiceBCELoss",
        overlap.dice_bce,
        labels(255, mask="broadcast"),
        average="macro",
        per_sample=True,
        absent="skip",
        ignore_index=255,
    ),
    pixel_entry("dice-bce-probabilities", "DiceBCELoss", overlap.dice_bce, {"mask": "full"}, from_logits=False),
    pixel_entry(
        "dice-softmax-none",
        "DiceLoss",
        overlap.dice,
        labels(mask="broadcast"),
        activation="softmax",
        average="macro",
        per_sample=True,
        reduction="none",
    ),
]
POINTWISE = [
    pixel_entry("bce", "BCELoss", pointwise.bce),
    pixel_entry(
        "bce-weighted",
        "BCELoss",
        pointwise.bce,
        dense(target="soft", weight="full", mask="broadcast"),
        pos_weight=[1.0, 3.0, 0.5],
        class_weight=[1.0, 0.5, 2.0],
    ),
    pixel_entry("bce-probabilities", "BCELoss", pointwise.bce, {"weight": "full", "mask": "full"}, from_logits=False),
    pixel_entry("bce-paddle", "BCELoss", pointwise.bce, {"mask": "full"}, from_logits=False, flavour="paddle"),
    pixel_entry("bce-none", "BCELoss", pointwise.bce, {"ignored": 2, "mask": "full"}, ignore_index=2, reduction="none"),
    pixel_entry("focal", "FocalLoss", pointwise.focal),
    pixel_entry("focal-weighted", "FocalLoss", pointwise.focal, dense(weight="broadcast", mask="full"), gamma=0.5),
    pixel_entry("focal-paper", "FocalLoss", pointwise.focal, {"mask": "full"}, variant="paper"),
    pixel_entry(
        "focal-paper-weighted",
        "FocalLoss",
        pointwise.focal,
        dense(target="soft", weight="broadcast", mask="broadcast"),
        variant="paper",
        alpha=-1.0,
        gamma=1.5,
        class_weight=[1.0, 0.5, 2.0],
    ),
    pixel_entry(
        "focal-probabilities", "FocalLoss", pointwise.focal, {"mask": "full"}, variant="paper", from_logits=False
    ),
    pixel_entry("smooth-l1", "SmoothL1Loss", pointwise.smooth_l1, {"target": "distance"}),
    pixel_entry(
        "smooth-l1-weighted",
        "SmoothL1Loss",
        pointwise.smooth_l1,
        dense(target="distance", weight="full", mask="broadcast"),
        sigma2=4.0,
    ),
    pixel_entry("cross-entropy", "CrossEntropyLoss", pointwise.cross_entropy, labels()),
    pixel_entry(
        "cross-entropy-smoothed",
        "CrossEntropyLoss",
        pointwise.cross_entropy,
        labels(255, weight="broadcast", mask="broadcast"),
        weight=[1.0, 0.5, 2.0],
        ignore_index=255,
        label_smoothing=0.1,
    ),
    pixel_entry(
        "cross-entropy-dense", "CrossEntropyLoss", pointwise.cross_entropy, dense(target="soft", mask="broadcast")
    ),
    pixel_entry(
        "cross-entropy-none",
        "CrossEntropyLoss",
        pointwise.cross_entropy,
        labels(255),
        ignore_index=255,
        reduction="none",
    ),
]
CATALOG = [
    Entry("mask-dice", lambda **o: segloss.MaskDiceLoss(**o), triple, one(ref.mask_dice)),
    Entry(
        "mask-dice-weighted",
        lambda **o: segloss.MaskDiceLoss(**o),
        weighted,
        one(ref.mask_dice),
        optional=("weights",),
    ),
    Entry("mask-l1", lambda **o: segloss.MaskL1Loss(**o), triple, one(ref.mask_l1)),
    balance_entry("balance-dice", "DiceLoss"),
    balance_entry("balance-l1", "MaskL1Loss"),
    balance_entry("balance-bce", "BCELoss", divides=True),
    balance_entry("balance-bce-half", "BCELoss", divides=True, negative_ratio=0.5),
    balance_entry("balance-ohem", "DiceOHEM"),
    balance_entry("balance-ohem-clean", "DiceOHEM", clean=True),
    db_entry("db"),
    db_entry("db-bce", main="BCELoss", divides=True),
    db_entry("db-l1", main="MaskL1Loss"),
    db_entry("db-ohem", main="DiceOHEM"),
    db_entry("db-wenmuzhou", divides=True, variant="wenmuzhou"),
    db_entry("db-wenmuzhou-2", channels=2, divides=True, variant="wenmuzhou"),
    db_entry("db-paper", divides=True, variant="paper"),
    db_entry("db-paper-probability", divides=True, variant="paper", step_k=0.0),
    Entry(
        "l1-balance-ce",
        lambda **o: segloss.L1BalanceCELoss(**o),
        mhliao,
        ref.l1_balance_ce,
        ("binary", "thresh", "thresh_binary"),
        divides=True,
        optional=("thresh", "thresh_binary", "thresh_map", "thresh_mask"),
    ),
    Entry("step", lambda **o: Step(), step, step_reference, ("prob", "thresh", "grad_output")),
    *OVERLAP,
    *POINTWISE,
]
BY_NAME = {entry.name: entry for entry in CATALOG}
# Those whose value is a number, or parts that are.
LOSSES = [entry for entry in CATALOG if entry.name != "step" and not entry.name.endswith("-none")]


def named(*prefixes):
    return [entry for entry in CATALOG if any(entry.name == p or entry.name.startswith(p + "-") for p in prefixes)]
