from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._loss import Loss


class MaskDiceLoss(Loss):
    """Dice under a mask, over the whole batch, on probabilities.

    ``L = 1 - 2I/U`` with ``I = Σ p·g·m`` and ``U = Σ p·m + Σ g·m + eps``; ``dL/dp = -2m(gU - I)/U²``.

    Called as ``loss(pred, gt, mask, weights=None)``.

    Parameters
    ----------
    eps : float, default 1e-6
        Added to the denominator.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. An infinite
        prediction gives NaN; those outside [0, 1] count as they are.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``intersection``, ``union``.

    Inputs
    ------
    pred : probabilities, any shape; float32, float64, float16 or bfloat16
    gt, mask : its shape; also bool, uint8, int32, int64. The mask is 1 where a pixel counts, or any weight.
    weights : its shape, optional; multiplies the mask

    Notes
    -----
    No positives: the loss is 1 and its gradient 0. Everything masked: the same. Upstream's ``assert loss <= 1`` is
    left out. A gradient may be written into the prediction's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Liao et al. 2020, Real-time Scene Text Detection with Differentiable Binarization (arXiv 1911.08947); the
    convention is that of PaddleOCR's and MhLiao/DB's ``DiceLoss``.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([[0.9, 0.2], [0.8, 0.1]], np.float32)
    >>> g = np.array([[1, 0], [1, 0]], np.uint8)
    >>> round(MaskDiceLoss()(p, g, np.ones_like(g)), 4)
    0.15
    """

    _description = _abi.MASK_DICE

    def __init__(self, eps: float = 1e-6, *, non_finite: str = "propagate", return_parts: bool = False):
        super().__init__(_abi.MaskDiceOptions(eps=_call.number("eps", eps)), non_finite, return_parts)

    _optional = ("weights",)

    def _ordered(self, pred: Any, gt: Any, mask: Any, weights: Any = None) -> Any:
        return pred, gt, mask, weights
