"""segloss in PyTorch: every loss as a ``torch.nn.Module`` and as a function.

``loss = L(...)(*inputs)`` is a tensor to call ``backward`` on. Constructors and calls are those of `segloss`; inputs are
tensors on the CPU of any strides, float32, float64, float16 or bfloat16 where they are predictions, which are read as they
are; the loss is float32 (float64 for float64), gradients have their prediction's type. Of a loss that returns a dict the
entry ``loss`` carries the gradient, the rest are numbers to look at.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import LOSSES, _abi, _framework
from .._loss import Loss as _Loss
from ..db_step import DBStep as _DBStep
from . import _ops

if TYPE_CHECKING:
    from ._names import *  # noqa: F403  (what the loop below makes)

_EXTRA = """
    process_group : torch.distributed.ProcessGroup, optional, keyword only
        The loss of the batches of all its ranks together, and the gradient of that by this rank's; every rank calls.
        Averaging gradients over R ranks, as DistributedDataParallel does, divides by R once more: multiply the loss by R.
    device : {"host"}, optional, keyword only
        "host": inputs on another device go through host memory, and so do their gradients. Default: they are refused.
"""


# As many combinations of shapes are remembered.
_REMEMBERED = 128
# What a call of a few elements looks up, once.
_apply = _ops.Evaluate.apply
_is_compiling = torch.compiler.is_compiling
_transforms_are_active = torch._C._are_functorch_transforms_active


class LossModule(torch.nn.Module):
    """Base of the modules: a loss of `segloss`, run on tensors."""

    _core: type[_Loss]

    def __init__(self, *arguments: Any, process_group: Any = None, device: str | None = None, **options: Any) -> None:
        super().__init__()
        if device not in (None, "host"):
            raise ValueError(f"device: expected None or 'host', got {device!r}")
        self.core = self._core(*arguments, **options)
        self.device = device
        self.process_group = process_group
        if process_group is not None:
            self._require_sums("process_group")
        self._head = _framework.head(self.core)
        self._operator = _ops.OPERATORS.get(type(self.core).__name__)
        self._plans: dict[Any, _ops.Plan] = {}
        self._parts = _abi.part_names(self.core._description)
        self._origin = None
        if self.core.origin is not None:
            self._origin = type(self)._of(self.core.origin, device)
        # Whether a call is its tensors and gives one.
        self._is_plain = (
            process_group is None and device is None and self._origin is None and self.core._returned is None
            and self.core._is_reduced
        )  # fmt: skip

    @classmethod
    def _of(cls, core: _Loss, device: str | None) -> LossModule:
        positional, named = core._arguments
        return cls(*positional, device=device, **named)

    def __getstate__(self) -> Any:
        # What is remembered is about this process's memory.
        return {**self.__dict__, "_plans": {}, "_with_parts": None}

    def extra_repr(self) -> str:
        return repr(self.core).split("(", 1)[1].removesuffix(")")

    def forward(self, *inputs: Any, statistics: Tensor | None = None, **named: Any) -> Any:
        key = None
        if self._is_plain and not named and statistics is None and not _in_graph():
            # Nearly every call is like one before.
            try:
                key = _kinds(inputs)
            except (AttributeError, RuntimeError):  # not tensors, or sparse ones: refused by name below
                pass
            plan = self._plans.get(key)
            if plan is not None:
                if plan.has_gradient and torch.is_grad_enabled():
                    return _apply(plan, None, *inputs)
                return _ops.forward(plan, inputs)[0]
        given, ordered = self.core._bound(*inputs, **named)
        if any([number is not None for number in given.values()]):
            key = None
        result = self._run(given, ordered, statistics, key)
        return result if self._origin is None else (result, self._origin._run(given, ordered, None))

    def statistics(self, *inputs: Any, **named: Any) -> Tensor:
        """What this batch adds to a loss of several: float64, to be summed over batches (or stacked, a row each).

        ``loss(*inputs, statistics=total)`` is then the loss of all of them, with the gradient of it by these inputs.
        """
        self._require_sums("statistics")
        given, ordered = self.core._bound(*inputs, **named)
        with torch.no_grad():
            arrays = self._arrays(ordered)
            return _ops.statistics(self._plan(given, ordered, arrays), arrays)

    def _run(self, given: dict[str, Any], ordered: tuple[Any, ...], statistics: Tensor | None, key: Any = None) -> Any:
        if not self.core._is_reduced and torch.is_autocast_enabled("cpu"):
            ordered = self._widened(ordered)
        home = None
        if self.device is not None and isinstance(ordered[0], Tensor):
            home = ordered[0].device
            ordered = tuple([array.to("cpu") if isinstance(array, Tensor) else array for array in ordered])
        if _in_graph():
            value = self._graph(given, ordered, statistics)
            return value if home is None else _moved(value, home)
        arrays = self._arrays(ordered)
        plan = self._plan(given, ordered, arrays)
        constants = arrays[plan.program.predictions :]
        if key is not None and key == _kinds(arrays) and not any([array.requires_grad for array in constants]):
            self._plans[key] = plan
        reduction = None
        if statistics is not None:
            self._require_sums("statistics")
            reduction = _ops.Reduction(given=statistics)
        elif self.process_group is not None:
            reduction = _ops.Reduction(self.process_group)
        if plan.has_gradient and torch.is_grad_enabled():
            value = _apply(plan, reduction, *arrays)
        else:
            value, parts, *_ = _ops.forward(plan, arrays, reduction)
            value = value if parts is None else (value, parts)
        if plan.has_parts:
            value = plan.program.result(*value)
        return value if home is None else _moved(value, home)

    def _plan(self, given: Any, ordered: Any, arrays: list[Tensor]) -> _ops.Plan:
        program = self.core._program(given, ordered)
        key = program, _kinds(arrays)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            plan = self._plans[key] = _ops.Plan(program, arrays, [array.requires_grad for array in arrays])
        return plan

    def _arrays(self, ordered: tuple[Any, ...]) -> list[Tensor]:
        """The tensors that are there."""
        leading = self.core._leading(ordered)
        arrays: list[Tensor] = []
        for i, array in enumerate(ordered):
            if not isinstance(array, Tensor):
                if array is None and self.core._inputs(ordered)[i] in self.core._optional:
                    continue
                raise TypeError(f"{self.core._inputs(ordered)[i]}: expected a tensor, got {type(array).__name__}")
            if not array.is_cpu or array.layout is not torch.strided or array.dtype not in _ops.TYPES:
                _refuse(self.core._inputs(ordered)[i], array)
            if i >= leading and array.requires_grad:
                _refuse_gradient(self.core._inputs(ordered)[i])
            arrays.append(array.resolve_neg() if array.is_neg() else array)
        return arrays

    def _graph(self, given: dict[str, Any], ordered: tuple[Any, ...], statistics: Tensor | None) -> Any:
        """The same as an operator, which a graph can hold."""
        if statistics is not None or self.process_group is not None:
            raise ValueError(
                "segloss: statistics of other ranks or batches do not go into a graph; compile the model and leave "
                "the loss outside"
            )
        leading = self.core._leading(ordered)
        predictions = [array for array in ordered[:leading] if array is not None]
        constants = [array for array in ordered[leading:] if array is not None]
        operator = getattr(torch.ops.segloss, str(self._operator))
        value, parts, _ = operator(predictions, constants, self._head + _framework.tail(given, ordered))
        if not self.core._is_reduced or self.core._returned is None:
            return value
        names = self._parts
        levels = 0
        if self.core._description.is_list:
            levels = leading
            names = names + tuple(self.core._level_names(leading))
        return self.core._result(value, lambda name: parts[names.index(name)], levels)

    def _widened(self, ordered: tuple[Any, ...]) -> tuple[Any, ...]:
        """Under autocast a map is float32, as PyTorch's own losses are."""
        leading = self.core._leading(ordered)
        halves = (torch.float16, torch.bfloat16)
        return tuple(
            [
                array.float() if i < leading and isinstance(array, Tensor) and array.dtype in halves else array
                for i, array in enumerate(ordered)
            ]
        )

    def _require_sums(self, name: str) -> None:
        if not self.core.statistics_add:
            raise ValueError(f"{name}: the statistics of batches do not add up here: {self.core.statistics_add_reason}")


def _in_graph() -> bool:
    if _is_compiling():
        return True
    if _transforms_are_active():
        raise RuntimeError(
            "segloss: inside torch.func's transforms tensors have no memory that a loss could read; use "
            "torch.autograd.grad, and a loss with per_sample=True or reduction='none' in place of vmap"
        )
    return False


def _kinds(arrays: Any) -> tuple[Any, ...]:
    """What a plan depends on."""
    return tuple([(a.dtype, a.shape, a.stride(), a.is_cpu, a.requires_grad, a.is_neg()) for a in arrays])


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, list):
        return [_moved(part, device) for part in value]
    return value.to(device)


def _refuse(name: str, array: Tensor) -> None:
    if array.layout is not torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {array.layout}")
    if array.is_cpu:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _ops.TYPES)
        raise TypeError(f"{name}: expected element type {expected}, got {array.dtype}")
    raise ValueError(
        f"{name}: expected a tensor on the CPU, got one on {array.device}; move it with .cpu(), or give the loss "
        'device="host" to have it go through host memory'
    )


def _refuse_gradient(name: str) -> None:
    if torch.is_grad_enabled():
        raise ValueError(f"{name}: wants a gradient, and the loss has none for it; pass {name}.detach()")


# ---------------------------------------------------------------- the modules and functions, from the classes


def _module(core: type[_Loss]) -> type[LossModule]:
    own = {
        "_core": core,
        "__doc__": _framework.documented(core, _EXTRA),
        "__module__": __name__,
        "__signature__": _signature(core),
    }
    if core is LOSSES["L1BalanceCELoss"]:
        own["forward"] = _mhliao
    return type(core.__name__, (LossModule,), own)


def _mhliao(self: LossModule, *inputs: Any, **named: Any) -> Any:
    """Also MhLiao's call: dicts of predictions and of labels -> (loss, metrics)."""
    if len(inputs) != 2 or not isinstance(inputs[0], dict):
        return LossModule.forward(self, *inputs, **named)
    pred, batch = inputs
    with_parts = self.__dict__.get("_with_parts")
    if with_parts is None:
        positional, options = self.core._arguments
        with_parts = type(self)(*positional, device=self.device, **{**options, "return_parts": True})
        self.__dict__["_with_parts"] = with_parts
    maps = [pred[name] if "thresh" in pred else None for name in ("thresh", "thresh_binary")]
    labels = [batch[name] if "thresh" in pred else None for name in ("thresh_map", "thresh_mask")]
    parts = with_parts(pred["binary"], *maps, batch["gt"], batch["mask"], *labels, **named)
    metrics = {"bce_loss": parts["bce_loss"]}
    if "thresh" in pred:
        metrics |= {"thresh_loss": parts["dice_loss"], "l1_loss": parts["l1_loss"]}
    return parts["loss"], metrics


def _signature(core: type[_Loss]) -> inspect.Signature:
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in ("process_group", "device")
    ]
    options = list(inspect.signature(core).parameters.values())
    named = [p for p in options if p.kind is not inspect.Parameter.VAR_KEYWORD]
    rest = [p for p in options if p.kind is inspect.Parameter.VAR_KEYWORD]
    return inspect.Signature([*named, *own, *rest])


def _function(module: type[LossModule]) -> Any:
    core = module._core
    name = _framework.function_name(core.__name__)
    plain = functools.cache(module)

    def function(*inputs: Any, process_group: Any = None, device: Any = None, **named: Any) -> Any:
        if not named and process_group is None and device is None:
            return plain()(*inputs)
        call, options = _framework.split(core, named)
        options |= {"process_group": process_group, "device": device}
        return _framework.configured(module, options)(*inputs, **call)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``{core.__name__}(**options)(...)``: see there."
    made: Any = function
    made.__signature__ = _framework.function_signature(core)
    return made


__all__ = ["LossModule", "active_contour_loss", "db_step"]
for _name, _class in LOSSES.items():
    _made = globals()[_name] = _module(_class)
    __all__ += [_name, _framework.function_name(_name)]
    globals()[_framework.function_name(_name)] = _function(_made)


_contour = globals()["active_contour_loss"]


def active_contour_loss(y_true: Tensor, y_pred: Tensor, weight: float = 10) -> Tensor:
    """``ActiveContourLoss(weight)(y_pred, y_true)``: the published form, with the original's order of arguments."""
    return _contour(y_pred, y_true, weight=weight)


def db_step(prob: Tensor, thresh: Tensor, k: float = 50) -> Tensor:
    """The approximate step function ``σ(k·(prob - thresh))``, with gradients of both; see `segloss.db_step`."""
    return _step(prob, thresh, k=k)


_step = _function(_module(_DBStep))

_framework.share_team(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")
