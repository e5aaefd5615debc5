from __future__ import annotations

from typing import Any

import numpy as np

from . import _abi, _call
from ._loss import Loss
from ._tensor import view


def main_loss(value: Any) -> int:
    """The number of a main loss; ValueError for PaddleOCR's dead ones."""
    if value in ("Euclidean", "CrossEntropy", "CrossEntropyLoss"):
        raise ValueError(
            f"main_loss_type: {value!r} never worked upstream (it takes no mask there); "
            f"expected one of {', '.join(map(repr, _abi.MAIN_LOSS))}"
        )
    return _call.choice("main_loss_type", value, _abi.MAIN_LOSS)


class BalanceLoss(Loss):
    """A main loss over positives and the hardest negatives.

    With ``pos = g·m``, ``neg = (1-g)·m``, ``P = trunc Σ pos`` and ``K = trunc min(Σ neg, P·negative_ratio)``:
    ``B = (Σ pos·l + Σ of the K largest neg·l) / (P + K + eps)``, or ``Σ pos·l/(P + eps)`` if ``K <= 0``.

    Called as ``loss(pred, gt, mask)``.

    Parameters
    ----------
    balance_loss : bool, default True
        False returns the main loss ``l`` itself.
    main_loss_type : {"DiceLoss", "BCELoss", "MaskL1Loss", "DiceOHEM"}, default "DiceLoss"
        ``l`` is a map for BCELoss, and this is hard-negative mining. For DiceLoss and MaskL1Loss it is one number, and
        ``B = l·(P+K)/(P+K+eps)`` for binary labels: published, and no mining. DiceOHEM is what was meant: Dice under a
        mask of each image's positives and hardest negatives.
    negative_ratio : float, default 3
        Negatives for each positive.
    return_origin : bool, default False
        Return ``(B, l)``.
    eps : float, default 1e-6
    fallback_negative_num : int, default 0, keyword only
        Negatives to take where the batch has no positive (mmocr).
    clean : bool, default False, keyword only
        DiceOHEM draws its negatives from pixels with mask > 1/2 only.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. "BCELoss"
        always refuses predictions outside [0, 1], NaN among them; an infinite one gives inf in "MaskL1Loss", NaN in the
        Dice forms.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``origin``, ``positives`` (P), ``negatives`` (K).

    Inputs
    ------
    pred : probabilities, any shape (N x H x W or N x 1 x H x W for DiceOHEM); float32, float64, float16 or bfloat16
    gt, mask : its shape; also bool, uint8, int32, int64

    Returns
    -------
    float
        B. With ``return_origin`` ``(B, l)``, where ``l`` is an array in pred's type for BCELoss. With
        ``balance_loss=False`` and BCELoss that array; ``value_and_grad`` then takes an array ``grad_output`` too.

    Notes
    -----
    The K largest are those of the whole batch, ties to the lowest index; the gradient goes to them alone. No positives:
    loss and gradient are 0 (upstream too, where plain Dice would be 1). BCELoss is Paddle's, with ``log(1 - p)``, and
    refuses probabilities outside [0, 1] as upstream does.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came. "Euclidean" and "CrossEntropy", which never worked
        upstream, are refused.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), section 3.5; the convention is that of PaddleOCR's ``BalanceLoss``; DiceOHEM
    selects as Wang et al. 2019 (PSENet, arXiv 1806.02559).

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([0.9, 0.8, 0.3, 0.1, 0.2, 0.1], np.float64)
    >>> g = np.array([1, 0, 0, 0, 0, 0])
    >>> loss = BalanceLoss(main_loss_type="BCELoss", negative_ratio=1)  # one positive, its hardest negative
    >>> round(loss(p, g, np.ones(6)), 4)
    0.8574
    """

    _description = _abi.BALANCE

    def __init__(
        self,
        balance_loss: bool = True,
        main_loss_type: str = "DiceLoss",
        negative_ratio: float = 3,
        return_origin: bool = False,
        eps: float = 1e-6,
        *,
        fallback_negative_num: int = 0,
        clean: bool = False,
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        options = _abi.BalanceOptions(
            main_loss=main_loss(main_loss_type),
            balance_loss=_call.boolean("balance_loss", balance_loss),
            bce_form=_abi.BCE_PADDLE,
            clean=_call.boolean("clean", clean),
            negative_ratio=_call.number("negative_ratio", negative_ratio),
            eps=_call.number("eps", eps),
            fallback_negative_num=_call.count("fallback_negative_num", fallback_negative_num),
        )
        super().__init__(options, non_finite, return_parts)
        self._is_map = main_loss_type == "BCELoss"
        self._is_balanced = bool(balance_loss)
        # Without its balance the loss is the original, and parts hold it.
        wanted = _call.boolean("return_origin", return_origin)
        self._return_origin = wanted and self._is_balanced and not self._return_parts
        self._is_reduced = self._is_balanced or not self._is_map
        if self._return_origin:
            self.origin = BalanceLoss(False, main_loss_type, eps=eps, clean=clean, non_finite=non_finite)
        if self._is_map:
            self.statistics_add = False
            self.statistics_add_reason = "its hardest negatives are chosen among the whole batch"

    _has_map = True

    @property
    def _program_name(self) -> Any:
        return "balance" if self._is_reduced else "balance_map"

    def __call__(self, pred: Any, gt: Any, mask: Any) -> Any:
        if self._is_map and not self._is_balanced:
            return self._map(pred, gt, mask)
        return self._with_origin(super().__call__(pred, gt, mask), pred, gt, mask)

    def value_and_grad(self, pred: Any, gt: Any, mask: Any, *, out: Any = None, grad_output: Any = 1.0) -> Any:  # type: ignore[override]
        if self._is_map and not self._is_balanced:
            return self._map(pred, gt, mask), self._map_grad(pred, gt, mask, out, grad_output)
        # The map first: the gradient may be written over the prediction.
        origin = self._map(pred, gt, mask) if self._return_origin and self._is_map else None
        value, grad = super().value_and_grad(pred, gt, mask, out=out, grad_output=grad_output)
        return self._with_origin(value, pred, gt, mask, origin), grad

    value_and_grad.__doc__ = Loss.value_and_grad.__doc__

    def _ordered(self, pred: Any, gt: Any, mask: Any) -> Any:
        return pred, gt, mask

    def _items(self, shape: Any) -> Any:
        return shape

    def _numbers(self, parts: Any) -> Any:
        if self._return_origin and not self._is_map:
            return parts.loss, parts.origin
        return super()._numbers(parts)

    def _with_origin(self, value: Any, pred: Any, gt: Any, mask: Any, origin: Any = None) -> Any:
        if not (self._return_origin and self._is_map):
            return value
        return value, self._map(pred, gt, mask) if origin is None else origin

    def _map(self, pred: Any, gt: Any, mask: Any) -> np.ndarray:
        inputs = self._views((pred, gt, mask))
        array, target = _call.output("out", inputs[0], None)
        _call.invoke(
            _abi.balance_map,
            *inputs,
            self._options,
            target,
            self._execution,
            names=self._names,
        )
        return array

    def _map_grad(self, pred: Any, gt: Any, mask: Any, out: Any, grad_output: Any) -> np.ndarray:
        inputs = self._views((pred, gt, mask))
        if np.ndim(grad_output) == 0:
            grad_output = np.broadcast_to(np.float64(_call.factor(grad_output)), inputs[0].shape)
        array, target = _call.output("out", inputs[0], out)
        _call.invoke(
            _abi.balance_map_backward,
            *inputs,
            view("grad_output", grad_output),
            self._options,
            target,
            self._execution,
            names=self._names,
        )
        return array
