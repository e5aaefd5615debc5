"""Programs as operations of PyTorch.

In eager mode an autograd Function, whose cost a training of small tensors notices; under ``torch.compile`` and
``torch.export`` operators ``segloss::<loss>`` that graphs can hold. Both run the same two functions below.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import LOSSES, _abi, _framework, _memory, _program
from .._program import Program
from .._tensor import _CODES, tensor
from ..db_step import DBStep

TYPES = {getattr(torch, name): codes for name, codes in _CODES.items()}
_DTYPES = {codes: dtype for dtype, codes in TYPES.items()}
_SECOND = (
    "segloss: the gradient of a loss has no gradient of its own here; second derivatives need a loss written in "
    "PyTorch's operations"
)


def _described(arrays: Sequence[Tensor]) -> list[_abi.Tensor]:
    return [tensor(TYPES[array.dtype], array.shape, array.stride()) for array in arrays]


class Plan(_program.Plan):
    """A program on tensors, with gradients of those that are wanted, laid out as PyTorch lays out its own."""

    def __init__(self, program: Program, arrays: Sequence[Tensor], wanted: Sequence[bool]):
        gradients = [
            _described([torch.empty_like(array, device="meta")])[0] if is_wanted else None
            for array, is_wanted in zip(arrays[: program.predictions], wanted)
        ]
        super().__init__(program, _described(arrays), gradients)
        self.wanted = wanted[: program.predictions]
        self.has_gradient = any(self.wanted)
        self.dtype = _DTYPES[self.value_type]
        # What the value and, if there is one prediction, its gradient look like: PyTorch copies that faster than it makes
        # tensors of shapes and types.
        self.value_like = torch.empty(self.shape, dtype=self.dtype)
        self.is_plain = self.has_gradient and program.predictions == 1 and self.is_small and arrays[0].is_contiguous()
        # Of a backward: what has no gradient behind the predictions.
        self.rest = (None,) * (program.arrays - program.predictions)


def value_type(program: Program, prediction: Tensor, is_map: bool) -> torch.dtype:
    """Of the value: losses are float32, or float64 where the prediction is; maps have the prediction's type."""
    return prediction.dtype if is_map or prediction.dtype == torch.float64 else torch.float32


class Reduction:
    """Statistics of other ranks or batches: what makes one loss of several."""

    def __init__(self, group: Any = None, given: Tensor | None = None):
        self.group = group
        self.given = given

    def __call__(self, statistics: Tensor) -> Tensor:
        if self.given is not None:
            if self.given.dtype != torch.float64 or not self.given.is_cpu:
                raise TypeError("statistics: expected the float64 tensor on the CPU that `statistics` returns")
            if self.given.shape[-1:] != statistics.shape or self.given.dim() > 2:
                raise ValueError(
                    f"statistics: expected shape {tuple(statistics.shape)}, or several such rows, got "
                    f"{tuple(self.given.shape)}"
                )
            return self.given.detach().contiguous()
        torch.distributed.all_reduce(statistics, group=self.group)
        return statistics


def forward(
    plan: Plan, arrays: Sequence[Tensor], reduction: Reduction | None = None
) -> tuple[Tensor, Tensor | None, Any, int, int]:
    """Value, parts (if the call returns them), and the statistics: an owner of their memory, the address, their number."""
    value = torch.empty_like(plan.value_like)
    count = plan.count
    if reduction is None:
        memory: Any = plan.statistics()
        at = ctypes.addressof(memory)
        parts = plan.forward([array.data_ptr() for array in arrays], value.data_ptr(), at if count else None)
    else:
        memory = reduction(statistics(plan, arrays))
        at, count = memory.data_ptr(), memory.numel()
        parts = plan.value([array.data_ptr() for array in arrays], value.data_ptr(), at, count)
    return value, torch.tensor(parts, dtype=value.dtype) if plan.has_parts else None, memory, at, count


def _empty_like(array: Tensor) -> Tensor:
    size = array.numel() * array.element_size()
    if size < _memory.LEAST or not array.is_contiguous():
        return torch.empty_like(array)
    return torch.frombuffer(_memory.take(size), dtype=array.dtype).view(array.shape)


def _empty(plan: Plan, arrays: Sequence[Tensor]) -> tuple[list[Tensor | None], list[int]]:
    """Gradients to be written, and where they are."""
    if plan.is_plain:
        gradient = torch.empty_like(arrays[0])
        return [gradient], [gradient.data_ptr()]
    gradients = [_empty_like(array) if is_wanted else None for array, is_wanted in zip(arrays, plan.wanted)]
    return gradients, [0 if gradient is None else gradient.data_ptr() for gradient in gradients]


def forward_with_gradient(plan: Plan, arrays: Sequence[Tensor]) -> tuple[Tensor, Tensor | None, list[Tensor | None]]:
    """Value, parts, and the gradients for a factor of 1."""
    gradients, places = _empty(plan, arrays)
    value = torch.empty_like(plan.value_like)
    parts = plan.value_and_gradient([array.data_ptr() for array in arrays], value.data_ptr(), places)
    return value, torch.tensor(parts, dtype=value.dtype) if plan.has_parts else None, gradients


def statistics(plan: Plan, arrays: Sequence[Tensor]) -> Tensor:
    """Those of these arrays alone."""
    own = torch.empty(plan.count, dtype=torch.float64)
    plan.forward([array.data_ptr() for array in arrays], None, own.data_ptr())
    return own


def backward(plan: Plan, arrays: Sequence[Tensor], at: int, count: int, factor: Tensor) -> list[Tensor | None]:
    """The gradients that are wanted, in their predictions' types and orders of dimensions."""
    gradients, places = _empty(plan, arrays)
    plan.gradient(
        [array.data_ptr() for array in arrays],
        at if count else None,
        count,
        factor.data_ptr(),
        places,
        TYPES[factor.dtype],
        factor.stride() if plan.shape else None,
    )
    return gradients


class Evaluate(torch.autograd.Function):
    """A loss in eager mode: statistics in the forward, the gradient in the backward, times whatever comes from above."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, reduction: Reduction | None, *arrays: Tensor) -> Any:
        if plan.at_once and reduction is None:
            memory, at, count = None, 0, 0  # asked for in the backward, where a factor needs them
            value, parts, gradients = forward_with_gradient(plan, arrays)
        else:
            gradients = None
            value, parts, memory, at, count = forward(plan, arrays, reduction)
        # (One attribute, since each costs as much as a loss of a few elements.)
        ctx.call = [plan, memory, at, count, gradients]
        ctx.save_for_backward(*arrays)
        if parts is None:
            return value
        ctx.mark_non_differentiable(parts)
        return value, parts

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Any) -> Any:
        plan, memory, at, count, gradients = ctx.call
        if gradients is not None:
            ctx.call[4] = None  # it is the caller's now
            if grad_output.item() != 1:
                plan.at_once = False  # later calls leave the gradient to the backward
                gradients = None
        if gradients is None:
            arrays = ctx.saved_tensors
            if memory is None:
                memory = statistics(plan, arrays)
                at, count = memory.data_ptr(), memory.numel()
            gradients = backward(plan, arrays, at, count, grad_output)
        if torch.is_grad_enabled():  # create_graph: what is made of these gradients has none by itself
            arrays = ctx.saved_tensors
            gradients = [None if g is None else _Once.apply(g, grad_output, *arrays) for g in gradients]
        return None, None, *gradients, *plan.rest


class _Once(torch.autograd.Function):
    """A gradient that says what it depends on, so that differentiating it is an error and not silence."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:
        raise RuntimeError(_SECOND)


# ---------------------------------------------------------------- operators, for graphs

_library = torch.library.Library("segloss", "DEF")


def _plan(program: str, arrays: list[Tensor], has_gradient: bool) -> Plan:
    return Plan(_framework.program(program, arrays), arrays, [has_gradient] * len(arrays))


def _op_forward(predictions: list[Tensor], constants: list[Tensor], program: str) -> tuple[Tensor, Tensor, Tensor]:
    arrays = [*predictions, *constants]
    value, parts, memory, _, count = forward(_plan(program, arrays, False), arrays)
    if parts is None:
        parts = torch.empty(0, dtype=value.dtype)
    return value, parts, torch.tensor(memory[:count], dtype=torch.float64).view(torch.int64)


def _op_fake(predictions: list[Tensor], constants: list[Tensor], program: str) -> tuple[Tensor, Tensor, Tensor]:
    arrays = [*predictions, *constants]
    bound = _framework.program(program, arrays)
    outputs = bound.outputs(arrays)
    dtype = value_type(bound, predictions[0], outputs.is_map)
    return (
        predictions[0].new_empty(outputs.value, dtype=dtype),
        predictions[0].new_empty((outputs.parts if bound.returns_parts else 0,), dtype=dtype),
        predictions[0].new_empty((outputs.statistics,), dtype=torch.int64),
    )


def _op_setup(ctx: Any, inputs: Any, output: Any) -> None:
    predictions, constants, ctx.program = inputs
    _, parts, statistics = output
    ctx.mark_non_differentiable(parts, statistics)
    ctx.counts = len(predictions), len(constants)
    ctx.save_for_backward(*predictions, *constants, statistics)


def _backward_operator(name: str) -> Any:
    def run(
        factor: Tensor, predictions: list[Tensor], constants: list[Tensor], statistics: Tensor, program: str
    ) -> list[Tensor]:
        arrays = [*predictions, *constants]
        return backward(_plan(program, arrays, True), arrays, statistics.data_ptr(), statistics.numel(), factor)

    def fake(
        factor: Tensor, predictions: list[Tensor], constants: list[Tensor], statistics: Tensor, program: str
    ) -> list[Tensor]:
        return [torch.empty_like(prediction) for prediction in predictions]

    def refuse(ctx: Any, *_: Any) -> None:
        raise RuntimeError(_SECOND)

    _library.define(
        f"{name}_backward(Tensor grad_output, Tensor[] predictions, Tensor[] constants, Tensor statistics, str program)"
        " -> Tensor[]"
    )
    _library.impl(f"{name}_backward", run, "CPU")
    torch.library.register_fake(f"segloss::{name}_backward", fake, lib=_library)
    torch.library.register_autograd(
        f"segloss::{name}_backward", refuse, setup_context=lambda ctx, inputs, output: None, lib=_library
    )
    return getattr(torch.ops.segloss, f"{name}_backward")


def _operator(name: str) -> None:
    """``segloss::<name>``: arrays in, value, parts and the bits of the statistics out, with its gradient."""
    gradient = _backward_operator(name)

    def derivative(ctx: Any, grad_output: Tensor, *_: Any) -> Any:
        saved = ctx.saved_tensors
        predictions, constants = ctx.counts
        gradients = gradient(
            grad_output, saved[:predictions], saved[predictions : predictions + constants], saved[-1], ctx.program
        )
        return list(gradients), [None] * constants, None

    _library.define(f"{name}(Tensor[] predictions, Tensor[] constants, str program) -> (Tensor, Tensor, Tensor)")
    _library.impl(name, _op_forward, "CPU")
    torch.library.register_fake(f"segloss::{name}", _op_fake, lib=_library)
    torch.library.register_autograd(f"segloss::{name}", derivative, setup_context=_op_setup, lib=_library)


OPERATORS = {name: _framework.function_name(name).removesuffix("_loss") for name in [*LOSSES, DBStep.__name__]}
for _name in OPERATORS.values():
    _operator(_name)
