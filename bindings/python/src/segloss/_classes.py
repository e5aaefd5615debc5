"""What the losses with classes have in common: their options, and what those mean for the results' shape."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from . import _abi, _call
from ._loss import ItemLoss
from ._loss import reduction as _reduction

L = TypeVar("L", bound=ItemLoss)

_PARAMETERS = """from_logits : bool, default True, keyword only
        False: the input is probabilities, as with ``activation="none"``.
    activation : {"sigmoid", "softmax", "none"}, keyword only
        What makes probabilities of the input; softmax over dimension 1.
    average : {"micro", "macro"}, keyword only
        All classes mixed, the published form; or a score for each class and their mean.
    per_sample : bool, default False, keyword only
        A score for each sample (and class), and their mean.
    classes : sequence of int, optional, keyword only
        The classes that take part; default all.
    absent : {"count", "skip", "zero"}, keyword only
        A score whose target is empty: as the formula has it; left out of the mean; or 0 with zero gradient, in the mean.
    class_weight : sequence of float, optional, keyword only
        A factor for each class's sums (micro) or score (macro); the mean still divides by the number of scores.
    ignore_index : int, optional, keyword only
        Elements with this target do not exist and are not read.
    reduction : {"mean", "sum", "none"}, keyword only
        "none" returns the scores: float64 of shape (), (N,), (classes,) or (N, classes); ``grad_output`` then may be an
        array of that shape.
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where the mask is exactly 0. An infinite
        logit saturates a sigmoid; +inf in a softmax gives NaN. Probabilities outside [0, 1] count as they are, but are
        refused where a cross-entropy reads them too."""

_INPUTS = """input : logits (or probabilities), float32, float64, float16 or bfloat16; any shape, N x C x ... for several classes
    target : its shape, any type; or integer labels of shape N x ... or N x 1 x ... where C > 1
    mask : its shape, or N x ... or N x 1 x ...; which elements exist, 0 or 1 or any weight; optional"""

_RAISES = """ValueError, TypeError
        Naming the argument, what was expected and what came; labels outside the classes among them."""


def documented(cls: type[L]) -> type[L]:
    """Fills what all of these losses share into a docstring."""
    cls.__doc__ = (cls.__doc__ or "") % {"parameters": _PARAMETERS, "inputs": _INPUTS, "raises": _RAISES}
    return cls


def ignore(index: Any) -> dict[str, int]:
    """An ignore_index, which may be None, as the library has it."""
    if index is None:
        return {}
    return {"has_ignore_index": 1, "ignore_index": _call.whole("ignore_index", index)}


def weights(name: str, value: Any) -> tuple[Any, int]:
    return _call.numbers(name, value, _call.number, ctypes.c_double)


class OverlapLoss(ItemLoss):
    """Base of the losses that are a formula over the overlap of prediction and target."""

    def __init__(
        self,
        numbers: dict[str, float],
        *,
        from_logits: bool = True,
        activation: str = "sigmoid",
        average: str = "micro",
        per_sample: bool = False,
        classes: Sequence[int] | None = None,
        absent: str = "count",
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        if not _call.boolean("from_logits", from_logits):
            if activation not in ("sigmoid", "none"):
                raise ValueError(
                    f"from_logits: False says that the input is probabilities, activation {activation!r} not"
                )
            activation = "none"
        factors, factor_count = weights("class_weight", class_weight)
        chosen, chosen_count = _call.numbers("classes", classes, _call.whole, ctypes.c_int64)
        described = _abi.Classes(
            activation=_call.choice("activation", activation, _abi.ACTIVATION),
            average=_call.choice("average", average, _abi.AVERAGE),
            per_sample=_call.boolean("per_sample", per_sample),
            absent=_call.choice("absent", absent, _abi.ABSENT),
            reduction=_reduction(reduction),
            class_weight=factors,
            class_weight_length=factor_count,
            classes=chosen,
            classes_length=chosen_count,
            **ignore(ignore_index),
        )
        options = self._description.options(classes=ctypes.pointer(described))
        for name, value in numbers.items():
            setattr(options, name, _call.number(name, value))
        super().__init__(options, reduction, non_finite, return_parts)
        self._is_macro = average == "macro"
        self._is_flat = activation != "softmax" and not self._is_macro and class_weight is None and classes is None
        self._per_sample = bool(per_sample)
        self._chosen = None if classes is None else len(classes)
        if self._per_sample and self._is_reduced:
            self.statistics_add = False
            self.statistics_add_reason = "per_sample=True has statistics of each sample: average the losses instead"

    _optional = ("mask",)

    def _ordered(self, input: Any, target: Any, *, mask: Any = None) -> Any:
        return input, target, mask

    def _items(self, shape: Any) -> Any:
        samples = (shape[0] if shape else 1,) if self._per_sample else ()
        classes = shape[1] if len(shape) > 1 else 1
        if self._chosen is not None:
            classes = self._chosen
        return samples + ((classes,) if self._is_macro else ())

    def _statistics(self, shapes: Any) -> Any:
        return self._description.statistics * math.prod(self._items(shapes[0]))


class SmoothLoss(OverlapLoss):
    """Base of those whose only number is smooth."""

    def __init__(self, weight: Any = None, size_average: Any = True, *, smooth: float = 1.0, **options: Any):
        super().__init__({"smooth": smooth}, **options)

    def _bound(self, input: Any, target: Any, smooth: Any = None, *, mask: Any = None) -> Any:
        return {"smooth": smooth}, self._ordered(input, target, mask=mask)


class PointwiseLoss(ItemLoss):
    """Base of the means over elements."""

    _optional = ("weight", "mask")
    _has_map = True

    def _ordered(self, input: Any, target: Any, *, weight: Any = None, mask: Any = None) -> Any:
        return input, target, weight, mask

    def _items(self, shape: Any) -> Any:
        return shape


def elements(reduction: str, class_weight: Any, ignore_index: Any) -> Any:
    """The classes' options of a mean over elements."""
    factors, count = weights("class_weight", class_weight)
    return ctypes.pointer(
        _abi.Classes(
            reduction=_reduction(reduction), class_weight=factors, class_weight_length=count, **ignore(ignore_index)
        )
    )
