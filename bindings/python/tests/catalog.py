"""Every loss of the family with inputs, call and reference, so that a test of types, layouts, threads or levels is
written once.

All inputs are exact in every element type (see `support.grid`).
"""

from dataclasses import dataclass
from typing import Callable

import numpy as np
import segloss

import reference as ref
from support import binary, grid


@dataclass(frozen=True)
class Entry:
    name: str
    make: Callable  # (**options) -> loss
    inputs: Callable  # (rng, N x H x W) -> {argument: float64 array}
    reference: Callable  # (*inputs) -> (value or parts, tuple of gradients)
    predictions: tuple = ("pred",)
    divides: bool = False  # whether the gradient divides by p (1 - p)

    def __repr__(self):
        return self.name

    def draw(self, shape, seed=0, dtype=np.float64, target=None):
        """Inputs for N x H x W maps: predictions in `dtype`, the rest in `target`, which is `dtype` unless told."""
        drawn = self.inputs(np.random.default_rng([seed, *shape]), shape)
        return {k: v.astype(dtype if k in self.predictions or target is None else target) for k, v in drawn.items()}

    def run(self, inputs, options=None, **keywords):
        """(value, tuple of gradients)."""
        value, grad = self.make(**(options or {})).value_and_grad(*inputs.values(), **keywords)
        return value, grad if isinstance(grad, tuple) else (grad,)


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


# ---------------------------------------------------------------- the catalog


def balance_entry(name, main, divides=False, **options):
    """`fallback_negative_num` is `fallback` and `negative_ratio` is `ratio` in the reference."""
    short = {"fallback_negative_num": "fallback", "negative_ratio": "ratio"}
    return Entry(
        name,
        lambda **o: segloss.BalanceLoss(main_loss_type=main, **options, **o),
        triple,
        one(ref.balance, main=main, **{short.get(k, k): v for k, v in options.items()}),
        divides=divides,
    )


def db_entry(name, channels=3, divides=False, main="DiceLoss", **options):
    return Entry(
        name,
        lambda **o: segloss.DBLoss(main_loss_type=main, **options, **o),
        detector(channels),
        one(ref.db_loss, main=main, **options),
        ("maps",),
        divides,
    )


CATALOG = [
    Entry("dice", lambda **o: segloss.MaskDiceLoss(**o), triple, one(ref.mask_dice)),
    Entry("dice-weighted", lambda **o: segloss.MaskDiceLoss(**o), weighted, one(ref.mask_dice)),
    Entry("l1", lambda **o: segloss.MaskL1Loss(**o), triple, one(ref.mask_l1)),
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
    ),
    Entry("step", lambda **o: Step(), step, step_reference, ("prob", "thresh", "grad_output")),
]
BY_NAME = {entry.name: entry for entry in CATALOG}
LOSSES = [entry for entry in CATALOG if entry.name != "step"]


def named(*prefixes):
    return [entry for entry in CATALOG if any(entry.name == p or entry.name.startswith(p + "-") for p in prefixes)]
