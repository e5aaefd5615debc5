"""kornia 0.9: what it has of these losses, with the options that make it the same formula."""

from __future__ import annotations

import functools

import kornia
import kornia.losses
import peers_torch
from peers_segloss import Differs

NAME = "kornia"
SETTLE = peers_torch.SETTLE
# Its sums of a million pixels are 1e-4 off in float32; in float64 it is within 3e-11.
TOLERANCE = {"kornia": (3e-4, 5e-4)}


def versions() -> dict[str, str]:
    return {"kornia": kornia.__version__}


def start(threads: int) -> None:
    peers_torch.start(threads)


# Its Dice and Tversky are of each sample and class, and smooth the divisor alone (eps): with next to no smoothing, that
# is per_sample=True, average="macro". Its mean is over the classes present, which all are here.
_PER_SAMPLE = "kornia: a score of each sample and class, unsmoothed"
LOSSES = {
    "focal": functools.partial(kornia.losses.binary_focal_loss_with_logits, alpha=0.25, gamma=2.0, reduction="mean"),
    "dice-samples": functools.partial(kornia.losses.dice_loss, average="macro"),
    "dice-classes": Differs(functools.partial(kornia.losses.dice_loss, average="macro"), _PER_SAMPLE),
    "tversky-samples": functools.partial(kornia.losses.tversky_loss, alpha=0.3, beta=0.7),
}

CONTENDERS = {"kornia": lambda case, inputs, mood: peers_torch.runner(LOSSES, case, inputs)}
