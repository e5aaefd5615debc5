from __future__ import annotations

from . import _abi, _call
from ._classes import PointwiseLoss
from ._loss import reduction as _reduction


class SmoothL1Loss(PointwiseLoss):
    """Smooth L1 (Huber over beta).

    With ``d = input - target``: ``l = d²/(2·beta)`` if ``|d| < beta``, else ``|d| - beta/2``; the loss is
    ``Σ l·weight·mask / Σ mask``.

    Called as ``loss(input, target, *, weight=None, mask=None)``.

    Parameters
    ----------
    beta : float, default 1
        At least 0; 0 is L1.
    sigma2 : float, optional, keyword only
        CTPN's parameter instead: ``beta = 1/sigma2``.
    reduction : {"mean", "sum", "none"}, keyword only
        "none" returns the map in the input's type; ``grad_output`` then may be an array of its shape.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. An infinite
        difference gives inf, and a finite slope.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``count`` (sum of the mask).

    Inputs
    ------
    input : any values, any shape; float32, float64, float16 or bfloat16
    target : its shape, any type
    weight, mask : its shape, or without dimension 1; optional. The weight does not enter the divisor.

    Notes
    -----
    The comparison is strict: ``|d| = beta`` is linear. Nothing to count: 0 with zero gradient. A gradient may be written
    into the input's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Girshick 2015, Fast R-CNN (arXiv 1504.08083), equation 3; the convention is that of PyTorch's ``SmoothL1Loss``.

    Examples
    --------
    >>> import numpy as np
    >>> SmoothL1Loss()(np.array([0.5, 3.0]), np.array([0.0, 0.0]))
    1.3125
    """

    _description = _abi.SMOOTH_L1

    def __init__(
        self,
        beta: float = 1.0,
        *,
        sigma2: float | None = None,
        reduction: str = "mean",
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        if sigma2 is not None:
            if beta != 1.0:
                raise ValueError("sigma2: it stands for beta = 1/sigma2; expected one of them")
            if not _call.number("sigma2", sigma2) > 0:
                raise ValueError(f"sigma2: expected more than 0, got {sigma2}")
            beta = 1 / float(sigma2)
        options = _abi.SmoothL1Options(reduction=_reduction(reduction), beta=_call.number("beta", beta))
        super().__init__(options, reduction, non_finite, return_parts)
        self._is_flat = True
