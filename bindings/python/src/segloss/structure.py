from __future__ import annotations

import ctypes
import math
from typing import Any

from . import _abi, _call
from ._loss import ItemLoss
from ._tensor import View, prediction, view


class StructureLoss(ItemLoss):
    """Cross-entropy and overlap of logits with a mask, pixels weighted by how much they differ from their surroundings.

    ``w = 1 + gain·|mean of y over a window - y|``; with p = σ(pred) and TP, FP, FN summed under w in each plane (n, c),
    ``U = (FP + FN)/(TP + FP + FN + smooth)``, which is ``1 - (I + smooth)/(union + smooth)``.
    ``published``: mean cross-entropy of the whole tensor + mean of U over the planes;
    ``paper``: mean over the planes of ``Σ w·ℓ/Σ w + U``;
    ``uacanet``: the same with U computed of each pixel and averaged under w.

    Called as ``loss(pred, mask)``.

    Parameters
    ----------
    variant : {"published", "paper", "uacanet"}, keyword only
    kernel_size : int, default 31, keyword only
        Side of the window, odd.
    gain : float, default 5, keyword only
        Of the weights, at least 0.
    smooth : float, default 1, keyword only
        Added to numerator and denominator of the overlap, at least 0.
    count_include_pad : bool, default True, keyword only
        The window's mean counts the zeros outside the image, so that an object at the border weighs more; False: it is
        over the part inside.
    reduction : {"mean", "none"}, keyword only
        none: a float64 array of each plane's loss, of shape (N, C); ``grad_output`` is then such an array or a number.
    non_finite : {"propagate", "refuse"}, keyword only
        What NaN and infinity do: the formula's result, or ValueError. An infinite logit gives inf or NaN, as BCE.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``bce_loss``, ``iou_loss``, ``count`` (planes that were averaged) and ``levels``, a list
        with ``loss``, ``bce_loss`` and ``iou_loss`` of each prediction.

    Inputs
    ------
    pred : logits, N x C x H x W or N x H x W (one channel), or a list of up to 16 such predictions of one mask: the loss is
        then the sum of theirs, and the weights are computed once; float32, float64, float16 or bfloat16
    mask : in [0, 1], its shape; also bool, uint8, int32, int64

    Returns
    -------
    float
        ``value_and_grad`` gives it and the gradient, or the tuple of gradients for a list.

    Notes
    -----
    The published code says ``reduce="none"``, which PyTorch takes for True: its cross-entropy is one mean, and the weights
    have no part in it. NaN in a mask stays in its plane. A gradient may be written into its prediction's own memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Fan et al. 2020 (PraNet, arXiv 2006.11392); Wei et al. 2020 (F3Net, arXiv 1911.11445), whose code is the published form;
    Kim et al. 2021 (UACANet, arXiv 2107.02368).

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((1, 1, 8, 8), np.uint8)
    >>> round(StructureLoss()(np.zeros((1, 1, 8, 8), np.float32), mask), 4)
    1.6628
    """

    _description = _abi.STRUCTURE

    def __init__(
        self,
        *,
        variant: str = "published",
        kernel_size: int = 31,
        gain: float = 5.0,
        smooth: float = 1.0,
        count_include_pad: bool = True,
        reduction: str = "mean",
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        options = _abi.StructureOptions(
            variant=_call.choice("variant", variant, _abi.STRUCTURE_VARIANT),
            count_include_pad=_call.boolean("count_include_pad", count_include_pad),
            kernel_size=_call.count("kernel_size", kernel_size),
            gain=_call.number("gain", gain),
            smooth=_call.number("smooth", smooth),
        )
        _call.choice("reduction", reduction, {"mean": 0, "none": 0})
        super().__init__(options, reduction, non_finite, return_parts)

    def __call__(self, pred: Any, mask: Any) -> Any:
        if not self._is_reduced:
            return super().__call__(pred, mask)
        return self._run(pred, mask, None, 1.0)[0]

    def value_and_grad(self, pred: Any, mask: Any, *, out: Any = None, grad_output: Any = 1.0) -> Any:  # type: ignore[override]
        if not self._is_reduced:
            return super().value_and_grad(pred, mask, out=out, grad_output=grad_output)
        return self._run(pred, mask, out, _call.factor(grad_output), gradient=True)

    value_and_grad.__doc__ = ItemLoss.value_and_grad.__doc__

    # Of one prediction, before the reduction.

    _names = {"grad_pred": "out"}
    LEVEL_PARTS = ("loss", "bce_loss", "iou_loss")
    statistics_add = False
    statistics_add_reason = "each image has statistics of its own: average the losses instead"

    def _ordered(self, pred: Any, mask: Any) -> Any:
        if not isinstance(pred, (list, tuple)):
            return pred, mask
        if not self._is_reduced:
            raise ValueError("pred: reduction 'none' is of one prediction, got a list")
        return *pred, mask

    def _inputs(self, ordered: Any) -> Any:
        if len(ordered) == 2:
            return "pred", "mask"
        return *[f"pred[{i}]" for i in range(len(ordered) - 1)], "mask"

    def _leading(self, ordered: Any) -> Any:
        return len(ordered) - 1

    def _items(self, shape: Any) -> Any:
        return (shape[0], shape[1]) if len(shape) == 4 else (*shape[:1], 1)

    def _statistics(self, shapes: Any) -> Any:
        levels = len(shapes) - 1
        planes = math.prod(self._items(shapes[0]))
        return planes * (self._description.statistics + levels * _abi.STRUCTURE_LEVEL_STATISTICS)

    def _result(self, loss: Any, part: Any, levels: Any = 0) -> Any:
        result = super()._result(loss, part)
        if self._return_parts:
            result["levels"] = [{key: part(f"levels[{i}].{key}") for key in self.LEVEL_PARTS} for i in range(levels)]
        return result

    # Of one or several.

    def _run(self, pred: Any, mask: Any, out: Any, grad_output: float, gradient: bool = False) -> Any:
        is_list = isinstance(pred, (list, tuple))
        given = list(pred) if is_list else [pred]
        names = [f"pred[{i}]" if is_list else "pred" for i in range(len(given))]
        outs = [f"out[{i}]" if is_list else "out" for i in range(len(given))]
        levels = [prediction(name, value) for name, value in zip(names, given)]
        target = view("mask", mask)
        grads, targets = [], None
        if gradient:
            if not is_list or out is None:
                out = [out] * len(levels)
            elif not isinstance(out, (tuple, list)) or len(out) != len(levels):
                raise ValueError(f"out: expected a tuple of {len(levels)} arrays, got {type(out).__name__}")
            pairs = [_call.output(name, level, array) for name, level, array in zip(outs, levels, out)]
            grads = [array for array, _ in pairs]
            targets = self._array([v for _, v in pairs])
        parts = _abi.StructureParts()
        numbers = (ctypes.c_double * (_abi.STRUCTURE_LEVEL_PARTS * max(1, len(levels))))()
        _call.invoke(
            _abi.structure,
            self._array(levels),
            len(levels),
            target,
            self._options,
            grad_output,
            parts,
            numbers,
            targets,
            self._execution,
            names=self._program_names(len(levels) if is_list else 0),
        )
        found = {name: getattr(parts, name) for name in _abi.part_names(self._description)}
        found |= dict(zip(self._level_names(len(levels)), numbers))
        value = self._result(parts.loss, found.__getitem__, len(levels))
        return value, tuple(grads) if is_list else (grads[0] if grads else None)

    def _program_names(self, levels: Any) -> Any:
        names = {"preds": "pred", "levels": "pred", **self._names}
        if levels == 0:
            return {"preds[0]": "pred", "grad_preds[0]": "out", **names}
        lists = {"preds": "pred", "grad_preds": "out"}
        return {f"{c}[{i}]": f"{python}[{i}]" for c, python in lists.items() for i in range(levels)} | names

    def _level_names(self, levels: int) -> list[str]:
        return [f"levels[{i}].{key}" for i in range(levels) for key in self.LEVEL_PARTS]

    @staticmethod
    def _array(views: list[View]) -> Any:
        return (_abi.Tensor * max(1, len(views)))(*(v.descriptor() for v in views))


def structure_loss(pred: Any, mask: Any) -> float:
    """``StructureLoss()(pred, mask)``: the published form.

    Parameters
    ----------
    pred : logits, N x C x H x W or N x H x W, or a list of such; float32, float64, float16 or bfloat16
    mask : in [0, 1], its shape; any type

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Fan et al. 2020 (PraNet, arXiv 2006.11392).

    Examples
    --------
    >>> import numpy as np
    >>> round(structure_loss(np.zeros((1, 1, 8, 8)), np.ones((1, 1, 8, 8))), 4)
    1.1918
    """
    return float(StructureLoss()(pred, mask))
