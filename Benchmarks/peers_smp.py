"""segmentation_models_pytorch: what it has of these losses, with the options that make it the same formula."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import types

import peers_torch
from peers_segloss import Differs

# Its losses alone. The package's own import would load its models too, and with them timm and torchvision, which have
# nothing to do with what is measured and are not installed for it.
_NAME = "segmentation_models_pytorch"
if _NAME not in sys.modules:
    if (_spec := importlib.util.find_spec(_NAME)) is None:
        raise ImportError(f"No module named {_NAME!r}")
    _package = types.ModuleType(_NAME)
    _package.__path__ = list(_spec.submodule_search_locations)
    sys.modules[_NAME] = _package
from segmentation_models_pytorch import losses as smp  # noqa: E402

NAME = "smp"
SETTLE = peers_torch.SETTLE
# Its intersection is made of torch.linalg.vector_norm, which adds in float32, one number after the other: over ten million
# 0.1 % off with two threads, 0.7 % with one.
TOLERANCE = {"smp": (1e-2, 5e-3)}


def versions() -> dict[str, str]:
    return {"segmentation-models-pytorch": importlib.metadata.version("segmentation-models-pytorch")}


def start(threads: int) -> None:
    peers_torch.start(threads)


# mode="binary" takes everything as one map, the published flattened form; "multiclass" has a score of each class over the
# batch. Its Dice is a Tversky of (0.5, 0.5), half of the published fraction above and below, where a smoothing of 0.5 is
# the published 1.
_OVER_BATCH = "SMP: a score of each class over the batch"
LOSSES = {
    "dice": smp.DiceLoss("binary", smooth=0.5),
    "iou": smp.JaccardLoss("binary", smooth=1.0),
    "tversky": smp.TverskyLoss("binary", smooth=1.0, alpha=0.3, beta=0.7),
    "focal-tversky": smp.TverskyLoss("binary", smooth=1.0, alpha=0.3, beta=0.7, gamma=0.75),
    "focal": smp.FocalLoss("binary", alpha=0.25, gamma=2.0),
    "bce": smp.SoftBCEWithLogitsLoss(ignore_index=None),
    "cross-entropy": smp.SoftCrossEntropyLoss(smooth_factor=0.0),
    "dice-classes": smp.DiceLoss("multiclass", smooth=0.5),
    "dice-samples": Differs(smp.DiceLoss("multiclass", smooth=1e-8), _OVER_BATCH),
    "tversky-samples": Differs(smp.TverskyLoss("multiclass", smooth=1e-8, alpha=0.3, beta=0.7), _OVER_BATCH),
}

CONTENDERS = {"smp": lambda case, inputs, mood: peers_torch.runner(LOSSES, case, inputs)}
