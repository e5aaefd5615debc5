"""segloss for PaddlePaddle: a layer and a function for each loss, on tensors in the memory of the CPU.

Constructors are those of the classes of `segloss`, and so are calls::

    loss = segloss.paddle.DiceLoss(smooth=1.0)(logits, target)
    loss = segloss.paddle.dice_loss(logits, target, smooth=1.0)

Works in dygraph and, through operators that are registered on first use, in `paddle.jit.to_static` and static graphs.
"""

from __future__ import annotations

import functools
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle
import segloss
from paddle.profiler.utils import in_profiler_mode

from .. import _call, _framework
from .._loss import Loss as _Core
from ..active_contour import _Function as _ActiveContourFunction
from ..db_step import DBStep as _DBStep
from . import _run

if TYPE_CHECKING:
    from ._names import *  # noqa: F403  (what the loop below makes)

__all__ = ["active_contour_loss", "db_step"]


def _value(core: _Core, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    given, ordered = core._bound(*inputs, **named)
    value = _run.evaluate(core, given, ordered)
    return value if core.origin is None else (value, _run.evaluate(core.origin, given, ordered))


class Loss(paddle.nn.Layer):
    """What every loss layer has in common.

    A call gives a tensor of rank 0, float32 (float64 for float64 predictions); the values that ``reduction="none"`` names;
    or a dict of such tensors, of which ``"loss"`` alone has a gradient. Inputs are tensors on the CPU of any strides and
    of the element types that the class of `segloss` takes; nothing is copied. A gradient has its prediction's type.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.
    OSError
        From ``backward()``, in Paddle's wrapping: an input was modified in place; a second derivative; a second
        ``backward()`` through one loss, which Paddle's PyLayer cannot do.
    """

    _of: type[_Core]
    _forward: Any  # as it was made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()
        self._core = self._of(*arguments, **named)
        # Where a call is its tensors and gives one, nearly every one is like one before.
        is_plain = self._core.origin is None and self._core._returned is None
        self._plans = _run.Plans() if is_plain else None
        self._is_ours = type(self).forward is type(self)._forward

    def __getstate__(self) -> Any:
        plans = None if self._plans is None else _run.Plans()  # those are about this process's memory
        return {**self.__dict__, "_plans": plans}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        # Layer.__call__ takes as long as the loss of a few elements: it is for where one of its questions has an answer.
        # (Not by self: the attributes of what has a __getattr__, as layers do, are slow.)
        own = self.__dict__
        if (
            own["_is_ours"]
            and "forward" not in own  # to_static leaves one there
            and not own["_forward_pre_hooks"]
            and not own["_forward_post_hooks"]
            and not in_profiler_mode()
            and paddle.in_dynamic_mode()
        ):
            plans = own["_plans"]
            plan = None if named or plans is None else plans.find(inputs)
            return _called(self, inputs, named) if plan is None else _run.run(plan, inputs)
        return super().__call__(*inputs, **named)

    def extra_repr(self) -> Any:
        return repr(self._core).partition("(")[2][:-1]


def _called(layer: Loss, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """A call in dygraph, unlike those before it."""
    core, plans = layer._core, layer._plans
    if named or plans is None:
        return _value(core, inputs, named)
    given, ordered = core._bound(*inputs)
    value = _run.evaluate(core, given, ordered)
    program = core._program(given, ordered)
    is_in_order = len(inputs) == program.arrays and all(a is b for a, b in zip(inputs, ordered))
    # One whose target wants a gradient, which is refused where gradients are made, is looked at each time.
    if is_in_order and all(array.stop_gradient for array in inputs[program.predictions :]):
        plans.keep(_run.planned(program, inputs))
    return value


def _layer(core: type[_Core]) -> type[Loss]:
    @paddle.jit.marker.unified
    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        return _called(self, inputs, named) if paddle.in_dynamic_mode() else _value(self._core, inputs, named)

    # to_static counts the parameters.
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = inspect.Signature([self, *_framework.call_parameters(core)])
    members = {"_of": core, "forward": forward, "_forward": forward, "__module__": __name__}
    members |= {"__doc__": _framework.documented(core, ""), "__signature__": inspect.signature(core)}
    return type(core.__name__, (Loss,), members)


def _function(core: type[_Core]) -> Any:
    @paddle.jit.marker.unified
    def function(*inputs: Any, **named: Any) -> Any:
        call, options = _framework.split(core, named)
        return _value(_framework.configured(core, options), inputs, call)

    function.__name__ = function.__qualname__ = _framework.function_name(core.__name__)
    function.__doc__ = f"``{core.__name__}(**options)(...)``: see there."
    function.__signature__ = _framework.function_signature(core)
    return function


for _core in segloss.LOSSES.values():
    globals()[_core.__name__] = _layer(_core)
    globals()[_framework.function_name(_core.__name__)] = _function(_core)
    __all__ += [_core.__name__, _framework.function_name(_core.__name__)]


_LEVELS = ("p4", "p3", "p2")


_DBLayer: Any = globals()["DBLoss"]


class DBLoss(_DBLayer):
    """PaddleOCR's ``DBLoss``, called as that: ``loss(predicts, labels)``.

    Takes its configuration's keywords, and like it ignores those that it does not know; `segloss.DBLoss` describes them and
    the ones that are ours. The place of the class in a configuration is all that changes.

    Inputs
    ------
    predicts : dict
        ``"maps"``, N x 3 x H x W, are P, T and B. With ``"distance_maps"`` the first of ``"cbn_maps"`` is balanced like P,
        with weight 1, and there is a part ``"loss_cbn"``. ``"aux_maps_p4"``, ``"aux_maps_p3"`` and ``"aux_maps_p2"`` add
        this loss of theirs times ``aux_weight_p4`` and so on, where that is above 0, and are parts ``"loss_aux_maps_p4"``
        and so on, without the weight.
    labels : list
        Image, threshold map, threshold mask, shrink map and shrink mask. The image is not looked at.

    Or ``loss(maps, threshold_map, threshold_mask, shrink_map, shrink_mask)``, as in `segloss`.

    Returns
    -------
    dict of Tensor
        ``loss``, which has the gradient, ``loss_shrink_maps``, ``loss_threshold_maps`` and ``loss_binary_maps``.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        known = inspect.signature(segloss.DBLoss).parameters
        super().__init__(*arguments, **{name: value for name, value in named.items() if name in known})
        weights = {level: _call.number(f"aux_weight_{level}", named.get(f"aux_weight_{level}", 0)) for level in _LEVELS}
        self._aux = {f"aux_maps_{level}": weight for level, weight in weights.items() if weight > 0}

    @paddle.jit.marker.unified
    def forward(
        self, predicts: Any, labels: Any, threshold_mask: Any = None, shrink_map: Any = None, shrink_mask: Any = None
    ) -> Any:
        if not isinstance(predicts, dict):
            return _value(self._core, (predicts, labels, threshold_mask, shrink_map, shrink_mask), {})
        if not isinstance(labels, (list, tuple)) or len(labels) != 5:
            raise ValueError(
                "labels: expected [image, threshold_map, threshold_mask, shrink_map, shrink_mask], got "
                + (f"{len(labels)} of them" if isinstance(labels, (list, tuple)) else type(labels).__name__)
            )
        losses = _value(self._core, (predicts["maps"], *labels[1:]), {})
        if "distance_maps" in predicts:
            balanced = _value(self._balance, (predicts["cbn_maps"][:, 0], *labels[3:]), {})
            losses["loss"] = losses["loss"] + balanced
            losses["loss_cbn"] = balanced.detach()
        for key, weight in self._aux.items():
            if key in predicts:
                loss = _value(self._core, (predicts[key], *labels[1:]), {})["loss"]
                losses["loss"] = losses["loss"] + weight * loss
                losses[f"loss_{key}"] = loss.detach()
        return losses

    @functools.cached_property
    def _balance(self) -> _Core:
        given = inspect.signature(segloss.DBLoss).bind(*self._core._arguments[0], **self._core._arguments[1]).arguments
        shared = ("balance_loss", "main_loss_type", "fallback_negative_num", "non_finite")
        options = {name: given[name] for name in shared if name in given}
        return segloss.BalanceLoss(**options, negative_ratio=given.get("ohem_ratio", 3))


@paddle.jit.marker.unified
def active_contour_loss(y_true: Any, y_pred: Any, weight: float = 10) -> Any:
    """``ActiveContourLoss(weight)(y_pred, y_true)``: the published form, with the original's order of arguments."""
    return _value(_framework.configured(_ActiveContourFunction, {"weight": weight}), (y_pred, y_true), {})


@paddle.jit.marker.unified
def db_step(prob: Any, thresh: Any, k: float = 50) -> Any:
    """The approximate step function of Differentiable Binarization, ``σ(k·(prob - thresh))``, with both gradients.

    Parameters
    ----------
    prob, thresh : equal shapes, one element type; float32, float64, float16 or bfloat16
    k : float, default 50
        Steepness.

    Returns
    -------
    Tensor
        In prob's shape and type.
    """
    return _value(_framework.configured(_DBStep, {"k": k}), (prob, thresh), {})


# Paddle computes with one thread unless it is told otherwise: then there is no team to share.
if os.environ.get("OMP_NUM_THREADS", "1") != "1":
    _framework.share_team(Path(paddle.__file__).parent / "base" / "libpaddle.so")
