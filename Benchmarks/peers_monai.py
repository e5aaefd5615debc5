"""MONAI: what it has of these losses, with the options that make it the same formula."""

from __future__ import annotations

import monai
import monai.losses as losses
import peers_torch

NAME = "monai"
SETTLE = peers_torch.SETTLE
TOLERANCE = {}


def versions() -> dict[str, str]:
    return {"monai": monai.__version__}


def start(threads: int) -> None:
    peers_torch.start(threads)


def _flat(loss):
    """Its scores are of each channel: everything in one channel is the published flattened form."""
    return lambda x, y: loss(x.view(1, 1, -1), y.view(1, 1, -1))


def _labels(loss):
    """It takes labels N x 1 x ..., and makes them one-hot."""
    return lambda x, labels: loss(x, labels.unsqueeze(1))


# batch=True: a score of each class over the batch; otherwise of each sample and class.
_SMOOTH = dict(smooth_nr=1.0, smooth_dr=1.0)
_NEARLY_NONE = dict(smooth_nr=1e-8, smooth_dr=1e-8)
_CLASSES = dict(softmax=True, to_onehot_y=True)
LOSSES = {
    "dice": _flat(losses.DiceLoss(sigmoid=True, **_SMOOTH)),
    # Its formula is of twice the sums, where a smoothing of 2 is the published 1.
    "iou": _flat(losses.DiceLoss(sigmoid=True, jaccard=True, smooth_nr=2.0, smooth_dr=2.0)),
    "tversky": _flat(losses.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, **_SMOOTH)),
    "dice-bce": _flat(losses.DiceCELoss(sigmoid=True, **_SMOOTH)),
    "focal": losses.FocalLoss(alpha=0.25, gamma=2.0),
    "dice-classes": _labels(losses.DiceLoss(batch=True, **_CLASSES, **_SMOOTH)),
    "dice-samples": _labels(losses.DiceLoss(**_CLASSES, **_NEARLY_NONE)),
    "tversky-samples": _labels(losses.TverskyLoss(alpha=0.3, beta=0.7, **_CLASSES, **_NEARLY_NONE)),
}

CONTENDERS = {"monai": lambda case, inputs, mood: peers_torch.runner(LOSSES, case, inputs)}
