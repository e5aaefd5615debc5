from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._loss import Loss


class L1BalanceCELoss(Loss):
    """MhLiao's loss of Differentiable Binarization.

    ``L = MaskDice(thresh_binary) + l1_scale·MaskL1(thresh) + bce_scale·BalanceBCE(binary)``.

    Called as ``loss(binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask)``.

    Parameters
    ----------
    eps : float, default 1e-6
        Of the Dice term.
    l1_scale : float, default 10
    bce_scale : float, default 5
    negative_ratio : float, default 3, keyword only
        Negatives for each positive.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where a map's mask is exactly 0.
        ``binary`` outside [0, 1], NaN among it, is always refused.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``bce_loss``, ``l1_loss``, ``dice_loss`` (the terms without their scales, as
        upstream's metrics), ``positives``, ``negatives``, ``threshold_count``.

    Inputs
    ------
    binary, thresh, thresh_binary : N x 1 x H x W or N x H x W, one element type: the probability map, the threshold
        map and the approximate binary map, in MhLiao's names; float32, float64, float16 or bfloat16
    gt, mask, thresh_map, thresh_mask : N x H x W or N x 1 x H x W; also bool, uint8, int32, int64

    Returns
    -------
    float
        ``value_and_grad`` gives it and the tuple of the gradients of ``binary``, ``thresh`` and ``thresh_binary``.

    Notes
    -----
    ``thresh`` and ``thresh_binary`` may be None: the loss is then BalanceBCE(binary) alone, without ``bce_scale``. The
    weights of positives and negatives are truncated to bytes as upstream's cast has it, so that a soft label counts as
    neither. An empty threshold mask gives 0.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came; also for probabilities and labels outside [0, 1], which
        PyTorch's cross-entropy refuses.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947); MhLiao/DB ``L1BalanceCELoss`` (65ca77a).

    Examples
    --------
    >>> import numpy as np
    >>> p = np.full((1, 1, 4, 4), 0.5, np.float32)
    >>> gt = np.zeros((1, 1, 4, 4), np.uint8); gt[..., 0] = 1
    >>> ones = np.ones((1, 4, 4), np.uint8)
    >>> round(L1BalanceCELoss()(p, p, p, gt, ones, 0.5 * ones, ones), 4)
    4.1324
    """

    _description = _abi.L1_BALANCE_CE
    _names = {"grad_binary": "out[0]", "grad_thresh": "out[1]", "grad_thresh_binary": "out[2]"}

    def __init__(
        self,
        eps: float = 1e-6,
        l1_scale: float = 10,
        bce_scale: float = 5,
        *,
        negative_ratio: float = 3.0,
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        options = _abi.L1BalanceCEOptions(
            eps=_call.number("eps", eps),
            l1_scale=_call.number("l1_scale", l1_scale),
            bce_scale=_call.number("bce_scale", bce_scale),
            negative_ratio=_call.number("negative_ratio", negative_ratio),
        )
        super().__init__(options, non_finite, return_parts)

    _optional = ("thresh", "thresh_binary", "thresh_map", "thresh_mask")
    statistics_add = False
    statistics_add_reason = "its hardest negatives are chosen among the whole batch"

    def _ordered(
        self,
        binary: Any,
        thresh: Any,
        thresh_binary: Any,
        gt: Any,
        mask: Any,
        thresh_map: Any = None,
        thresh_mask: Any = None,
    ) -> Any:
        if (thresh is None) != (thresh_binary is None):
            missing = "thresh" if thresh is None else "thresh_binary"
            raise ValueError(f"{missing}: expected both thresh and thresh_binary, or neither; got None")
        if thresh is None:
            thresh_map = thresh_mask = None
        elif thresh_map is None or thresh_mask is None:
            missing = "thresh_map" if thresh_map is None else "thresh_mask"
            raise TypeError(f"{missing}: expected an array beside thresh, got None")
        return binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask

    def _statistics(self, shapes: Any) -> Any:
        return _abi.DB_STATISTICS["shrink" if shapes[1] is None else "published"]
