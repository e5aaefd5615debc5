from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _abi, _call
from ._classes import PointwiseLoss, elements

_ALPHA = {"published": 0.8, "paper": 0.25}


class FocalLoss(PointwiseLoss):
    """Focal loss: what people run, and what the paper says.

    published: ``L = α·(1 - e^-B)^γ·B`` of the mean cross-entropy B. Its factor is one number for the whole batch, so that it
    focuses on nothing.
    paper: ``l = α_t·(1 - p_t)^γ·CE`` of each element, with ``p_t = p·y + (1-p)·(1-y)`` and ``α_t = α·y + (1-α)·(1-y)``; the
    loss is ``Σ l·weight·class_weight·mask / Σ mask``.

    Called as ``loss(input, target, alpha=None, gamma=None, smooth=None, *, weight=None, mask=None)``; numbers at the call
    replace the constructor's; smooth is accepted and not used, as in the code that this replaces.

    Parameters
    ----------
    weight, size_average
        Accepted and not used, as in the code that this replaces.
    alpha : float, default 0.8 (published) or 0.25 (paper), keyword only
        A pure scale (published), or the weight of positives (paper; negative: no such weights).
    gamma : float, default 2, keyword only
        At least 0.
    variant : {"published", "paper"}, keyword only
    from_logits : bool, default True, keyword only
        False: the input is probabilities in [0, 1], and cross-entropy PyTorch's on them.
    class_weight : sequence of float, optional, keyword only
        A factor for each class's elements; the mean still divides by their number.
    ignore_index : int, optional, keyword only
        Elements with this target do not exist and are not read.
    reduction : {"mean", "sum", "none"}, keyword only
        "none" returns the map in the input's type; ``grad_output`` then may be an array of its shape. Published is a
        function of the mean: only "mean".
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0, the default
        of "paper". An infinite logit gives inf or NaN, as BCE; probabilities outside [0, 1], NaN among them, are always
        refused.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``bce_loss`` (published: B), ``count`` (sum of the mask).

    Inputs
    ------
    input : logits, or probabilities in [0, 1]; any shape, N x C x ... for classes; float32, float64, float16 or bfloat16
    target : its shape, any type; or integer labels of shape N x ... or N x 1 x ... where C > 1
    weight, mask : its shape, or N x ... or N x 1 x ...; optional. The weight does not enter the divisor.

    Notes
    -----
    B = 0 has zero gradient for every gamma. A gradient may be written into the input's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Lin et al. 2017 (arXiv 1708.02002), equation 5; "published" is the form of the "loss function library" that many scripts
    copy.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([2.0, -1.0, 0.0], np.float32)
    >>> y = np.array([1, 0, 1])
    >>> round(FocalLoss()(x, y), 4), round(FocalLoss(variant="paper")(x, y), 4)
    (0.0299, 0.0203)
    """

    _description = _abi.FOCAL

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = True,
        *,
        alpha: float | None = None,
        gamma: float = 2.0,
        variant: str = "published",
        from_logits: bool = True,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        non_finite: str | None = None,
        return_parts: bool = False,
    ):
        number = _call.choice("variant", variant, _abi.FOCAL_VARIANT)
        if non_finite is None:
            non_finite = "skip_masked" if variant == "paper" else "propagate"
        if variant == "published" and reduction != "mean":
            raise ValueError(
                f"reduction: the published form is a function of the mean; expected 'mean', got {reduction!r}"
            )
        options = _abi.FocalOptions(
            variant=number,
            from_logits=_call.boolean("from_logits", from_logits),
            alpha=_call.number("alpha", _ALPHA[variant] if alpha is None else alpha),
            gamma=_call.number("gamma", gamma),
            classes=elements(reduction, class_weight, ignore_index),
        )
        super().__init__(options, reduction, non_finite, return_parts)
        self._is_flat = class_weight is None

    def _bound(
        self,
        input: Any,
        target: Any,
        alpha: Any = None,
        gamma: Any = None,
        smooth: Any = None,
        *,
        weight: Any = None,
        mask: Any = None,
    ) -> Any:
        return {"alpha": alpha, "gamma": gamma}, self._ordered(input, target, weight=weight, mask=mask)
