from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _abi, _call
from ._classes import PointwiseLoss, ignore, weights
from ._loss import reduction as _reduction


class CrossEntropyLoss(PointwiseLoss):
    """Cross-entropy over classes, from logits.

    ``l = -Σ_c t_c·log softmax(x)_c`` of each position, ``t_c = w_c·((1-ε)·y_c + ε/C)`` with class weights w and label
    smoothing ε. Labels: ``Σ l·weight·mask / Σ w_y·mask`` over those that are not ignored; class probabilities:
    ``Σ l·weight·mask / Σ mask``.

    Called as ``loss(input, target, *, weight=None, mask=None)``.

    Parameters
    ----------
    weight : sequence of float, optional
        A factor for each class.
    ignore_index : int, default -100
        Positions with this label do not exist and are not read; None: every label is a class.
    label_smoothing : float, default 0
        In [0, 1].
    reduction : {"mean", "sum", "none"}, keyword only
        "none" returns the map N x ... in the input's type; ``grad_output`` then may be an array of its shape.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. A logit of
        +inf gives inf where another class is the target, else NaN; one of -inf gives inf where its class is the target.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``count`` (positions that counted), ``divisor``.

    Inputs
    ------
    input : logits, N x C x ...; float32, float64, float16 or bfloat16
    target : integer labels, N x ... or N x 1 x ...; or class probabilities of the input's shape
    weight : of positions, N x ... or N x 1 x ..., such as U-Net's; optional. It does not enter the divisor.
    mask : of positions, likewise; optional

    Notes
    -----
    A position or class of weight 0 contributes nothing, whatever it holds, unless ``non_finite="refuse"``. Nothing to
    count: 0 with zero gradient (PyTorch: NaN). A gradient may be written into the input's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came; labels outside the classes among them.

    References
    ----------
    ``CrossEntropyLoss`` of PyTorch, whose convention this is; Ronneberger et al. 2015, U-Net (arXiv 1505.04597), equation
    1, for the weight of positions; Szegedy et al. 2016 (arXiv 1512.00567), section 7, for label smoothing.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], np.float32)
    >>> round(CrossEntropyLoss()(x, np.array([0, 2])), 4)
    0.8606
    """

    _description = _abi.CROSS_ENTROPY

    def __init__(
        self,
        weight: Sequence[float] | None = None,
        ignore_index: int | None = -100,
        label_smoothing: float = 0.0,
        *,
        reduction: str = "mean",
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        factors, count = weights("weight", weight)
        options = _abi.CrossEntropyOptions(
            reduction=_reduction(reduction),
            label_smoothing=_call.number("label_smoothing", label_smoothing),
            class_weight=factors,
            class_weight_length=count,
            **{"has_ignore_index": 0, "ignore_index": 0, **ignore(ignore_index)},
        )
        super().__init__(options, reduction, non_finite, return_parts)

    _names = {**PointwiseLoss._names, "class_weight": "weight"}

    def _items(self, shape: Any) -> Any:
        return shape[:1] + shape[2:]
