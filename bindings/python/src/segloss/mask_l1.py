from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._loss import Loss


class MaskL1Loss(Loss):
    """Mean absolute difference under a mask.

    ``L = Σ |p - g|·m / (Σ m + eps)``; ``dL/dp = m·sgn(p - g)/(Σ m + eps)``, with ``sgn 0 = 0``.

    Called as ``loss(pred, gt, mask)``.

    Parameters
    ----------
    eps : float, default 1e-6
        Added to the denominator. With 0 an empty mask gives 0 (MhLiao's guard).
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. An infinite
        difference gives inf, under a mask of 0 NaN.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``count`` (Σ m).

    Inputs
    ------
    pred : any values and shape; float32, float64, float16 or bfloat16
    gt, mask : its shape; also bool, uint8, int32, int64

    Notes
    -----
    Everything masked: loss and gradient are 0. A gradient may be written into the prediction's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), the threshold map's term; the convention is that of PaddleOCR's
    ``MaskL1Loss``, with ``eps=0`` that of MhLiao/DB's.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.array([0.5, 0.5, 0.9])
    >>> MaskL1Loss(eps=0)(t, np.array([0.25, 0.75, 0.0]), np.array([1, 1, 0]))
    0.25
    """

    _description = _abi.MASK_L1

    def __init__(self, eps: float = 1e-6, *, non_finite: str = "propagate", return_parts: bool = False):
        super().__init__(_abi.MaskL1Options(eps=_call.number("eps", eps)), non_finite, return_parts)

    def _ordered(self, pred: Any, gt: Any, mask: Any) -> Any:
        return pred, gt, mask
