from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._loss import Loss


class ActiveContourLoss(Loss):
    """Length of a prediction's contour, and how far its regions are from the target.

    ``L = weight·length + region_weight·region``; ``length`` is the mean of ``√(a² + b² + 1e-8)``, a and b being the
    differences of p down and across, ``region`` the mean of ``p·(y - c_in)² + (1 - p)·(y - c_out)²``.

    Called as ``loss(input, target)``.

    Parameters
    ----------
    weight : float, default 10
        Of the length.
    variant : {"published", "aligned"}, keyword only
        ``published``: ``a = p[i+2, j] - p[i+1, j]`` and ``b = p[i, j+2] - p[i, j+1]``, which belong to two different
        pixels, of ``(H-2)·(W-2)`` places; ``aligned``: ``p[i+1, j] - p[i, j]`` and ``p[i, j+1] - p[i, j]``, of
        ``(H-1)·(W-1)``.
    c_in, c_out : float, default 1 and 0, keyword only
        The target's values inside and outside.
    region_weight : float, default 1, keyword only
    from_logits : bool, default False, keyword only
        Apply the sigmoid. Without it ``input`` is taken as it comes, outside [0, 1] too.
    non_finite : {"propagate", "refuse"}, keyword only
        What NaN and infinity do: the formula's result, or ValueError. An infinite logit saturates, an infinite
        probability gives NaN; probabilities outside [0, 1] count as they are.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``length`` and ``region`` (without their weights), ``length_count`` and ``count`` (over how
        many places each is a mean).

    Inputs
    ------
    input : probabilities, N x C x H x W or N x H x W; float32, float64, float16 or bfloat16
    target : its shape; also bool, uint8, int32, int64

    Notes
    -----
    A map with H or W below 3 (``aligned``: 2) has no differences: its length is 0, where the published code gives NaN. A
    constant map has length 1e-4 and no gradient of it. The gradient at a pixel needs its neighbours, so that it cannot be
    written into the input's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Chen et al. 2019, Learning Active Contour Models for Medical Image Segmentation (CVPR), equations 11 and 12; the
    published form is that of the PyTorch port, with means for sums and the weight on the length.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.zeros((1, 1, 8, 8), np.uint8); y[..., 2:6, 2:6] = 1
    >>> round(ActiveContourLoss(weight=1)(0.8 * y + 0.1, y), 4)
    0.4426
    """

    _description = _abi.ACTIVE_CONTOUR
    _names = {"grad_input": "out"}

    def __init__(
        self,
        weight: float = 10,
        *,
        variant: str = "published",
        c_in: float = 1.0,
        c_out: float = 0.0,
        region_weight: float = 1.0,
        from_logits: bool = False,
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        options = _abi.ActiveContourOptions(
            variant=_call.choice("variant", variant, _abi.CONTOUR_VARIANT),
            from_logits=_call.boolean("from_logits", from_logits),
            weight=_call.number("weight", weight),
            region_weight=_call.number("region_weight", region_weight),
            c_in=_call.number("c_in", c_in),
            c_out=_call.number("c_out", c_out),
        )
        super().__init__(options, non_finite, return_parts)

    def _ordered(self, input: Any, target: Any) -> Any:
        return input, target


def active_contour_loss(y_true: Any, y_pred: Any, weight: float = 10) -> float:
    """``ActiveContourLoss(weight)(y_pred, y_true)``: the published form, with the original's order of arguments.

    Parameters
    ----------
    y_true : N x C x H x W, 1 inside and 0 outside; any type
    y_pred : probabilities of its shape; float32, float64, float16 or bfloat16
    weight : float, default 10
        Of the length.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Chen et al. 2019 (CVPR), equations 11 and 12.

    Examples
    --------
    >>> import numpy as np
    >>> round(active_contour_loss(np.zeros((1, 1, 4, 4)), np.full((1, 1, 4, 4), 0.5)), 6)
    0.501
    """
    return float(_Function(weight)(y_pred, y_true))


class _Function(ActiveContourLoss):
    """The class, with the function's names in its sentences."""

    _names = {"input": "y_pred", "target": "y_true"}
