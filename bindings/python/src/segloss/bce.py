from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import _abi, _call
from ._classes import PointwiseLoss, elements, weights

_FLAVOURS = {"paddle": _abi.BCE_PADDLE, "torch": _abi.BCE_TORCH}


class BCELoss(PointwiseLoss):
    """Binary cross-entropy, from logits or from probabilities.

    ``l = (1-y)·softplus(x) + pos_weight·y·softplus(-x)`` from logits;
    ``l = -y·max(log p, -100) - (1-y)·max(log(1-p), -100)`` from probabilities, with gradient
    ``(p-y)/max(p·(1-p), 1e-12)``. The loss is ``Σ l·weight·class_weight·mask / Σ mask``.

    Called as ``loss(input, target, *, weight=None, mask=None)``.

    Parameters
    ----------
    from_logits : bool, default True, keyword only
    flavour : {"torch", "paddle"}, keyword only
        Of probabilities: ``log1p(-p)`` and targets in [0, 1]; or ``log(1-p)`` rounded first, and any target.
    pos_weight : float or sequence of float, optional, keyword only
        A factor for positives: one, or one a class; from logits only.
    class_weight : sequence of float, optional, keyword only
        A factor for each class's elements; the mean still divides by their number.
    ignore_index : int, optional, keyword only
        Elements with this target do not exist and are not read.
    reduction : {"mean", "sum", "none"}, keyword only
        "none" returns the map in the input's type; ``grad_output`` then may be an array of its shape.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. An infinite
        logit gives inf or NaN, as in PyTorch; probabilities outside [0, 1], NaN among them, are always refused.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``count`` (sum of the mask).

    Inputs
    ------
    input : logits, or probabilities in [0, 1]; any shape, N x C x ... for classes; float32, float64, float16 or bfloat16
    target : its shape, any type; or integer labels of shape N x ... or N x 1 x ... where C > 1
    weight, mask : its shape, or N x ... or N x 1 x ...; optional. The weight does not enter the divisor.

    Notes
    -----
    From logits nothing is capped and no gradient dies. Infinite logits as PyTorch has them: infinity for x = ∞, y = 0, else
    NaN. Nothing to count: 0 with zero gradient. A gradient may be written into the input's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came; probabilities outside [0, 1] among them.

    References
    ----------
    ``BCEWithLogitsLoss`` and ``BCELoss`` of PyTorch, ``BCELoss`` of PaddlePaddle.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([2.0, -1.0, 0.0], np.float32)
    >>> round(BCELoss()(x, np.array([1, 0, 1])), 4)
    0.3778
    """

    _description = _abi.BCE

    def __init__(
        self,
        *,
        from_logits: bool = True,
        flavour: str = "torch",
        pos_weight: float | Sequence[float] | None = None,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        form = _call.choice("flavour", flavour, _FLAVOURS)
        if from_logits and form != _abi.BCE_TORCH:
            raise ValueError(f"flavour: {flavour!r} is a form on probabilities; from_logits is True")
        if pos_weight is not None and np.ndim(pos_weight) == 0:
            pos_weight = [pos_weight]  # type: ignore[list-item]
        factors, count = weights("pos_weight", pos_weight)
        if pos_weight is not None and count == 0:
            raise ValueError("pos_weight: expected one number, or one a class, got none")
        options = _abi.BCEOptions(
            form=_abi.BCE_LOGITS if _call.boolean("from_logits", from_logits) else form,
            pos_weight=factors,
            pos_weight_length=count,
            classes=elements(reduction, class_weight, ignore_index),
        )
        super().__init__(options, reduction, non_finite, return_parts)
        self._is_flat = class_weight is None and count <= 1
