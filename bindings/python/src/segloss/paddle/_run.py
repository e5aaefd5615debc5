"""Programs on Paddle's tensors: as they come in dygraph, as operators in static graphs."""

from __future__ import annotations

import ctypes
import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from ctypes import addressof
from typing import Any

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer
from paddle.jit.dy2static.py_layer import StaticPyLayerContext

from .. import _program
from .._loss import Loss
from .._program import Frame, Program

# DLPack's type code and bits of Paddle's types.
TYPES = {
    paddle.float32: (2, 32),
    paddle.float64: (2, 64),
    paddle.float16: (2, 16),
    paddle.bfloat16: (4, 16),
    paddle.bool: (6, 8),
    paddle.uint8: (1, 8),
    paddle.int32: (0, 32),
    paddle.int64: (0, 64),
}
_OF_TYPE = {codes: dtype for dtype, codes in TYPES.items()}
_CPU = paddle.CPUPlace()
_HAS_DEVICES = (
    paddle.is_compiled_with_cuda() or paddle.is_compiled_with_xpu() or bool(paddle.device.get_all_custom_device_type())
)


@paddle.jit.marker.unified
def evaluate(core: Loss, given: dict[str, Any], ordered: tuple[Any, ...]) -> Any:
    """What a call returns: the value, with a gradient if an input wants one, and detached parts."""
    is_graph = not paddle.in_dynamic_mode()
    arrays = _arrays(core, ordered, paddle.pir.Value if is_graph else paddle.Tensor)
    program = core._program(given, ordered)
    if is_graph:
        return _in_graph(program, arrays)
    call = _Call(program, arrays)
    if paddle.is_grad_enabled() and True in call.wanted:
        value = _Loss.apply(call, *arrays[: program.predictions])
        value.register_hook(call.refuse_again)
    else:
        value = call.value()
    return value if call.parts is None else program.result(value, call.parts.unbind())


def _arrays(core: Loss, ordered: tuple[Any, ...], kind: type) -> list[Any]:
    """The tensors that are there."""
    arrays = []
    for i, array in enumerate(ordered):
        if not isinstance(array, kind):
            name = core._inputs(ordered)[i]
            if array is None and name in core._optional:
                continue
            expected = "a paddle.Tensor" if kind is paddle.Tensor else "a variable of the graph"
            raise TypeError(f"{name}: expected {expected}, got {type(array).__name__}")
        if _HAS_DEVICES and kind is paddle.Tensor and not array.place.is_cpu_place():
            raise ValueError(
                f"{core._inputs(ordered)[i]}: expected a tensor in the memory of the CPU, got one on {array.place}; "
                "move it with .cpu()"
            )
        if not array.stop_gradient and i >= core._leading(ordered) and paddle.is_grad_enabled():
            name = core._inputs(ordered)[i]
            raise ValueError(f"{name}: wants a gradient, and the loss has none for it; pass {name}.detach()")
        arrays.append(array)
    return arrays


# ---------------------------------------------------------------- tensors that are there


class _Call:
    """One call on tensors, and what its gradient will need."""

    __slots__ = ("_addresses", "_frame", "_versions", "arrays", "context", "parts", "program", "statistics", "wanted")

    def __init__(self, program: Program, arrays: Sequence[paddle.Tensor]):
        self.program = program
        self.arrays = arrays
        self.wanted = [not array.stop_gradient for array in arrays[: program.predictions]]
        self._addresses = [array.data_ptr() for array in arrays]
        self._versions = [array.inplace_version for array in arrays]
        self.statistics = self.parts = None

    def _new_frame(self) -> Frame:
        # By the types' identities: Paddle has one object for each, which is slow to hash.
        key = tuple(
            [(id(a.dtype), tuple(a.shape), None if a.is_contiguous() else tuple(a.strides)) for a in self.arrays]
        )
        return self.program.frame(key, self._describe)

    def _describe(self) -> list:
        return [_tensor(array, None if array.is_contiguous() else array.strides) for array in self.arrays]

    def value(self) -> paddle.Tensor:
        """The value; `statistics`, and `parts` if they are asked for, as one tensor."""
        frame = self._frame = self._new_frame()
        value = _C_ops.empty(frame.value_shape, _OF_TYPE[frame.value_type], _CPU)
        at = None
        if frame.count:
            self.statistics = (ctypes.c_double * frame.count)()
            at = addressof(self.statistics)
        frame.forward(self._addresses, value.data_ptr(), at)
        if self.program.returns_parts:
            self.parts = paddle.to_tensor(frame.parts[:], value.dtype, _CPU)
        frame.release()
        return value

    def gradient(self, factor: paddle.Tensor, at: int | None) -> list[paddle.Tensor | None]:
        """Gradients of the predictions that want one, from the statistics at an address."""
        frame = self._frame.again() or self._new_frame()
        gradients, places = [], []
        for array, wanted in zip(self.arrays, self.wanted):
            if wanted:
                gradient = _C_ops.empty(array.shape, array.dtype, _CPU)
                gradients.append(gradient)
                places.append((gradient.data_ptr(), None if array.is_contiguous() else gradient.strides))
            else:
                gradients.append(None)
                places.append(None)
        strides = factor.strides if frame.value_shape else None
        frame.gradient(self._addresses, at, frame.count, factor.data_ptr(), places, factor_strides=strides)
        frame.release()
        return gradients

    def check_unchanged(self) -> None:
        if self._versions != [array.inplace_version for array in self.arrays] or (
            self._addresses != [array.data_ptr() for array in self.arrays]
        ):
            raise RuntimeError(f"{self.program.name}: an input was modified in place after the loss had read it")

    def refuse_again(self, _) -> None:
        # Paddle 3.3 lets go of a PyLayer's context after its first backward(), even where the graph is retained, and
        # crashes in the second.
        if self.context() is None:
            raise RuntimeError(
                f"{self.program.name}: Paddle can run backward() through a PyLayer only once, whatever retain_graph says; "
                "add the losses up before backward(), or use paddle.grad with retain_graph=True"
            )


def _tensor(array: Any, strides: Sequence[int] | None):
    if array.dtype not in TYPES:
        expected = ", ".join(str(dtype).rpartition(".")[2] for dtype in TYPES)
        raise TypeError(f"segloss: expected element type {expected}, got {array.dtype}")
    return _program.tensor(TYPES[array.dtype], array.shape, strides)


class _Loss(PyLayer):
    @staticmethod
    def forward(ctx, call, *predictions):
        ctx.call = call
        call.context = weakref.ref(ctx)
        return call.value()

    @staticmethod
    def backward(ctx, factor):
        call = ctx.call
        call.check_unchanged()
        gradients = call.gradient(factor, addressof(call.statistics) if call.statistics else None)
        if paddle.is_grad_enabled():  # create_graph
            gradients = [
                None if g is None else _FirstOrder.apply(lambda g=g: g, factor, *call.arrays) for g in gradients
            ]
        return tuple(gradients)


class _FirstOrder(PyLayer):
    """A gradient that refuses to be differentiated: without this it would pass for a constant."""

    @staticmethod
    def forward(ctx, gradient, *inputs):
        return gradient()

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError("segloss: losses have no second derivative")


# ---------------------------------------------------------------- variables of a graph


def _in_graph(program: Program, arrays: Sequence[Any]) -> Any:
    if not paddle.framework.in_pir_mode():
        raise RuntimeError("segloss: only static graphs of PIR are supported, got one of FLAGS_enable_pir_api=0")
    # Here a refusal is an exception; of what is refused when the graph runs, only standard error has the sentence.
    if all(extent >= 0 for array in arrays for extent in array.shape):
        program.checked([_tensor(array, None) for array in arrays])

    wanted = tuple(not array.stop_gradient for array in arrays[: program.predictions])
    forward, backward = _operators(program, wanted)
    if not any(wanted):
        value, parts, _ = forward(*arrays)
    else:

        def run(context, *arrays):
            value, parts, statistics = forward(*arrays)
            context.save_for_backward(*arrays, statistics)
            return value, parts

        def derive(context, factor, _):
            found = backward(*context.saved_tensor(), factor)
            found = iter(found if isinstance(found, (list, tuple)) else [found])
            return tuple(next(found) if i < len(wanted) and wanted[i] else None for i in range(len(arrays)))

        context = StaticPyLayerContext()
        value, parts = paddle.static.nn.static_pylayer(
            functools.partial(run, context), list(arrays), functools.partial(derive, context)
        )
        parts.stop_gradient = True
    return program.result(value, parts.unbind() if program.returns_parts else None)


_serial = itertools.count()


@functools.cache
def _operators(program: Program, wanted: tuple[bool, ...]) -> tuple[Callable, Callable]:
    """A program's operators: arrays -> value, parts, statistics; arrays, statistics, factor -> gradients."""
    meta = paddle.static.MetaTensor

    # An exception in these would end the process.
    def forward_meta(arrays):
        outputs = program.outputs(arrays)
        dtype = arrays[0].dtype
        single = dtype if dtype == paddle.float64 else paddle.float32
        return (
            meta(shape=list(outputs.value), dtype=dtype if outputs.is_map else single),
            meta(shape=[outputs.parts if program.returns_parts else 0], dtype=single),
            meta(shape=[-1], dtype=paddle.float64),
        )

    def backward_meta(arrays):
        metas = tuple(meta(shape=a.shape, dtype=a.dtype) for a, w in zip(arrays, wanted) if w)
        return metas if len(metas) > 1 else metas[0]

    def forward(arrays):
        call = _Call(program, arrays)
        value = call.value()
        parts = _C_ops.empty([0], value.dtype, _CPU) if call.parts is None else call.parts
        return value, parts, paddle.to_tensor([*(call.statistics or ())], paddle.float64, _CPU)

    def backward(arrays):
        *arrays, statistics, factor = arrays
        call = _Call(program, arrays)
        call.wanted, call._frame = wanted, call._new_frame()
        call._frame.release()
        gradients = tuple(g for g in call.gradient(factor, statistics.data_ptr() or None) if g is not None)
        return gradients if len(gradients) > 1 else gradients[0]

    # Paddle takes a name with "_grad" in it for something else.
    name = f"segloss_{program.name}_{next(_serial)}"
    arrays = [f"array{i}" for i in range(program.arrays)]
    gradients = [f"derivative{i}" for i, w in enumerate(wanted) if w]
    return (
        _register(name, forward, forward_meta, arrays, ["value", "parts", "statistics"]),
        _register(name + "_bwd", backward, backward_meta, [*arrays, "statistics", "factor"], gradients or ["none"]),
    )


def _register(name: str, run: Callable, infer_meta: Callable, inputs: list[str], outputs: list[str]) -> Callable:
    def named(function):
        # Paddle wants a function whose parameters are the operator's inputs.
        return eval(f"lambda {', '.join(inputs)}: function(({', '.join(inputs)},))", {"function": function})

    return paddle.static.register_op(
        named(run), name=name, infer_meta=named(infer_meta), input_names=inputs, output_names=outputs
    )
