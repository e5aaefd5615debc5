"""Programs on Paddle's tensors: as they come in dygraph, as operators in static graphs."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import operator
import weakref
from collections.abc import Callable, Sequence
from ctypes import addressof
from typing import Any

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer
from paddle.jit.dy2static.py_layer import StaticPyLayerContext
from paddle.utils.dlpack import from_dlpack

from .. import _memory, _program
from .._loss import Loss
from .._program import Program
from .._tensor import _CODES, tensor

if not hasattr(paddle.static, "register_op"):
    raise ImportError(f"segloss.paddle: expected PaddlePaddle 3.3 or later, got {paddle.__version__}")

# DLPack's type code and bits of Paddle's types.
TYPES = {getattr(paddle, name): codes for name, codes in _CODES.items()}
_OF_TYPE = {codes: dtype for dtype, codes in TYPES.items()}
_CPU = paddle.CPUPlace()
# Called through map(): Paddle's own methods, without a frame of Python for each array.
_address = paddle.Tensor.data_ptr
_version = paddle.Tensor._inplace_version
# What paddle.is_grad_enabled() is a function of Python around.
_has_grad = getattr(paddle.base.core, "_has_grad", paddle.is_grad_enabled)
# What a plan depends on.
_kind = operator.attrgetter("shape", "dtype", "stop_gradient", "strides")
# As many programs, and kinds of arrays for each, are remembered.
_REMEMBERED = 256
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
    plan = planned(program, arrays)
    value = run(plan, arrays)
    return program.result(*value) if plan.has_parts else value


def _arrays(core: Loss, ordered: tuple[Any, ...], kind: Any) -> list[Any]:
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


class Plan(_program.Plan):
    """A program on tensors."""

    def __init__(self, program: Program, arrays: Sequence[paddle.Tensor]):
        tensors = [_tensor(array, None if array.is_contiguous() else array.strides) for array in arrays]
        predictions = arrays[: program.predictions]
        # Gradients are dense, as Paddle's own are.
        gradients = [None if array.stop_gradient else _tensor(array, None) for array in predictions]
        super().__init__(program, tensors, gradients)
        self.name = program.name
        self.predictions = program.predictions
        self.dtype = _OF_TYPE[self.value_type]
        self.empty_value = _maker(list(self.shape), self.dtype)
        # What reads a factor's memory: tensor.item() takes as long as the loss of a few elements.
        self.factor = ctypes.c_double if self.value_type == (2, 64) else ctypes.c_float
        self.kinds = list(map(_kind, arrays))
        # What makes each gradient that is wanted.
        self.gradients = [None if array.stop_gradient else _maker(array.shape, array.dtype) for array in predictions]
        self.has_gradient = any(self.gradients)
        # Of the only one, as nearly always.
        self.single = self.gradients[0] if program.predictions == 1 else None

    def empty_gradients(self) -> tuple[Sequence[paddle.Tensor | None], Sequence[int]]:
        """Those that are wanted, to be written, and where they are."""
        if self.single is not None:
            gradient = self.single()
            return (gradient,), (gradient.data_ptr(),)
        gradients = [None if make is None else make() for make in self.gradients]
        return gradients, [0 if gradient is None else gradient.data_ptr() for gradient in gradients]


class Plans:
    """Plans by what they depend on, the kinds of arrays. The last one is tried first: comparing costs less than hashing."""

    __slots__ = ("_known", "_last")

    def __init__(self) -> None:
        self._known: dict[Any, Plan] = {}
        self._last: Plan | None = None

    def find(self, arrays: Sequence[paddle.Tensor]) -> Plan | None:
        try:
            kinds, plan = list(map(_kind, arrays)), self._last
        except AttributeError:
            return None  # not all of them are tensors
        if _HAS_DEVICES and not all([array.place.is_cpu_place() for array in arrays]):
            return None  # none is for these
        if plan is None or plan.kinds != kinds:
            plan = self._known.get(_key(kinds))
            if plan is not None:
                self._last = plan
        return plan

    def keep(self, plan: Plan) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[_key(plan.kinds)] = self._last = plan


def _key(kinds: list[Any]) -> Any:
    """To be hashed: types by their identities, since Paddle has one object for each, which is slow to hash."""
    return tuple([(tuple(shape), id(dtype), wants, tuple(strides)) for shape, dtype, wants, strides in kinds])


_plans: dict[Program, Plans] = {}


def planned(program: Program, arrays: Sequence[paddle.Tensor]) -> Plan:
    plans = _plans.get(program)
    if plans is None:
        if len(_plans) >= _REMEMBERED:
            _plans.clear()
        plans = _plans[program] = Plans()
    plan = plans.find(arrays)
    if plan is None:
        plan = Plan(program, arrays)
        plans.keep(plan)
    return plan


def run(plan: Plan, arrays: Sequence[paddle.Tensor]) -> Any:
    """The value, or the value and the parts if the call returns them."""
    call = _call(plan, arrays)
    if plan.has_gradient and _has_grad():
        layer = _AtOnce if plan.at_once else _Loss
        value = layer.apply(call, *arrays[: plan.predictions])
        value._register_grad_hook(call.guard)  # register_hook without what can take it away again
    else:
        value = call.value()
    return (value, _Parts(call.parts, plan.dtype)) if plan.has_parts else value


class _Parts:
    """Tensors of the numbers that are looked at."""

    def __init__(self, numbers: Sequence[float], dtype: paddle.dtype):
        self.numbers = numbers
        self.dtype = dtype

    def __getitem__(self, i: int) -> paddle.Tensor:
        return _C_ops.full([], self.numbers[i], self.dtype, _CPU)


class _Call:
    """One call on tensors, and what its gradient will need."""

    __slots__ = ("addresses", "arrays", "gradients", "guard", "parts", "plan", "statistics", "versions")
    plan: Plan
    arrays: Sequence[paddle.Tensor]
    addresses: list[int]
    versions: list[int]
    statistics: Any  # None: not asked for yet
    gradients: Sequence[paddle.Tensor | None] | None  # for a factor of 1
    parts: Sequence[float]  # if the call returns them
    guard: _Guard

    def value(self) -> paddle.Tensor:
        """The value; `statistics` and `parts`."""
        value = self.plan.empty_value()
        self._forward(value.data_ptr())
        return value

    def _forward(self, value: int | None) -> None:
        plan = self.plan
        self.statistics = plan.statistics()
        self.parts = plan.forward(self.addresses, value, addressof(self.statistics) if plan.count else None)

    def gradients_times(self, factor: paddle.Tensor) -> Sequence[paddle.Tensor | None]:
        """Gradients from the inputs as they were."""
        if self.versions != list(map(_version, self.arrays)) or self.addresses != list(map(_address, self.arrays)):
            raise RuntimeError(f"{self.plan.name}: an input was modified in place after the loss had read it")
        if self.statistics is None:
            self._forward(None)
        return self.gradient(factor, addressof(self.statistics))

    def gradient(self, factor: paddle.Tensor, statistics: int) -> Sequence[paddle.Tensor | None]:
        """Gradients of the predictions that want one, from the statistics at an address."""
        plan = self.plan
        gradients, places = plan.empty_gradients()
        strides = factor.strides if plan.shape else None
        plan.gradient(
            self.addresses,
            statistics if plan.count else None,
            plan.count,
            factor.data_ptr(),
            places,
            factor_strides=strides,
        )
        return gradients


def _call(plan: Plan, arrays: Sequence[paddle.Tensor]) -> _Call:
    call = _Call()  # (an __init__ would be one more frame of Python)
    call.plan = plan
    call.arrays = arrays
    call.addresses = list(map(_address, arrays))
    return call


_referent = weakref.ref.__call__


class _Guard(weakref.ref):  # type: ignore[type-arg]
    """Paddle 3.3 lets go of a PyLayer's context after its first backward(), even where the graph is retained, and crashes in
    the second. As a hook of the value this raises before that. It holds no tensors, as the value may be kept for a log."""

    __slots__ = ("name",)
    name: str

    def __call__(self, _: Any = None) -> None:
        if _referent(self) is None:
            raise RuntimeError(
                f"{self.name}: Paddle can run backward() through a PyLayer only once, whatever retain_graph says; "
                "add the losses up before backward(), or use paddle.grad with retain_graph=True"
            )


def _maker(extents: list[int], dtype: paddle.dtype) -> Callable[[], paddle.Tensor]:
    """What makes tensors to be written. Paddle gives the memory of a large one back to the system; ours is used again."""
    width = TYPES[dtype][1] // 8
    size = math.prod(extents) * width
    if size < _memory.LEAST:
        return functools.partial(_C_ops.empty, extents, dtype, _CPU)

    def make() -> paddle.Tensor:
        # As integers, since numpy does not have all of the types.
        return from_dlpack(_memory.take(size).view(f"i{width}").reshape(extents)).view(dtype)

    return make


def _tensor(array: Any, strides: Sequence[int] | None) -> Any:
    if array.dtype not in TYPES:
        expected = ", ".join(str(dtype).rpartition(".")[2] for dtype in TYPES)
        raise TypeError(f"segloss: expected element type {expected}, got {array.dtype}")
    return tensor(TYPES[array.dtype], array.shape, strides)


def _guarded(ctx: Any, call: _Call) -> None:
    ctx.call = call
    guard = call.guard = _Guard(ctx)
    guard.name = call.plan.name
    call.versions = list(map(_version, call.arrays))


class _Loss(PyLayer):
    """Statistics in the forward, gradients in the backward."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *predictions: Any) -> Any:
        _guarded(ctx, call)
        return call.value()

    @staticmethod
    def backward(ctx: Any, factor: Any) -> Any:
        return _of_first_order(ctx.call.gradients_times(factor), factor, ctx.call)


class _AtOnce(PyLayer):
    """Value and gradients in the forward, where that costs less: those for a factor of 1, as nearly all are."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *predictions: Any) -> Any:
        _guarded(ctx, call)
        plan = call.plan
        value = plan.empty_value()
        call.gradients, places = plan.empty_gradients()
        call.parts = plan.value_and_gradient(call.addresses, value.data_ptr(), places)
        call.statistics = None
        return value

    @staticmethod
    def backward(ctx: Any, factor: Any) -> Any:
        call = ctx.call
        plan = call.plan
        gradients, call.gradients = call.gradients, None  # they are the caller's now
        if gradients is not None and plan.factor.from_address(factor.data_ptr()).value != 1:
            plan.at_once = False  # later calls leave the gradients to the backward
            gradients = None
        if gradients is None:
            gradients = call.gradients_times(factor)
        return _of_first_order(gradients, factor, call)


def _of_first_order(gradients: Sequence[paddle.Tensor | None], factor: paddle.Tensor, call: _Call) -> Any:
    """What a backward gives back, which refuses to be differentiated where that may be asked for."""
    if _has_grad():  # create_graph
        gradients = [None if g is None else _FirstOrder.apply(lambda g=g: g, factor, *call.arrays) for g in gradients]
    return tuple(gradients)


class _FirstOrder(PyLayer):
    """A gradient that refuses to be differentiated: without this it would pass for a constant."""

    @staticmethod
    def forward(ctx: Any, gradient: Any, *inputs: Any) -> Any:
        return gradient()

    @staticmethod
    def backward(ctx: Any, _: Any) -> None:
        raise RuntimeError("segloss: losses have no second derivative")


# ---------------------------------------------------------------- variables of a graph


def _in_graph(program: Program, arrays: Sequence[Any]) -> Any:
    if not paddle.framework.in_pir_mode():
        raise RuntimeError("segloss: only static graphs of PIR are supported, got one of FLAGS_enable_pir_api=0")
    # Here a refusal is an exception; of what is refused when the graph runs, only standard error has the sentence.
    if all(extent >= 0 for array in arrays for extent in array.shape):
        program.checked([_tensor(array, None) for array in arrays])
    else:
        program.outputs(arrays)  # an exception in infer_meta would end the process

    wanted = tuple(not array.stop_gradient for array in arrays[: program.predictions])
    forward, backward = _operators(program, wanted)
    if not any(wanted):
        value, parts, _ = forward(*arrays)
    else:

        def run(context: Any, *arrays: Any) -> Any:
            value, parts, statistics = forward(*arrays)
            context.save_for_backward(*arrays, statistics)
            return value, parts

        def derive(context: Any, factor: Any, _: Any) -> Any:
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
def _operators(program: Program, wanted: tuple[bool, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A program's operators: arrays -> value, parts, statistics; arrays, statistics, factor -> gradients."""
    meta = paddle.static.MetaTensor

    def forward_meta(arrays: Any) -> Any:
        outputs = program.outputs(arrays)
        dtype = arrays[0].dtype
        single = dtype if dtype == paddle.float64 else paddle.float32
        return (
            meta(shape=list(outputs.value), dtype=dtype if outputs.is_map else single),
            meta(shape=[outputs.parts if program.returns_parts else 0], dtype=single),
            meta(shape=[-1], dtype=paddle.float64),
        )

    def backward_meta(arrays: Any) -> Any:
        metas = tuple(meta(shape=a.shape, dtype=a.dtype) for a, w in zip(arrays, wanted) if w)
        return metas if len(metas) > 1 else metas[0]

    def forward(arrays: Any) -> Any:
        call = _call(planned(program, arrays), arrays)
        value = call.value()
        parts = paddle.to_tensor(call.parts, value.dtype, _CPU)
        return value, parts, paddle.to_tensor(call.statistics[: call.plan.count], paddle.float64, _CPU)

    def backward(arrays: Any) -> Any:
        *arrays, statistics, factor = arrays
        for array, is_wanted in zip(arrays, wanted):
            array.stop_gradient = not is_wanted
        found = _call(planned(program, arrays), arrays).gradient(factor, statistics.data_ptr())
        gradients = tuple(gradient for gradient in found if gradient is not None)
        return gradients if len(gradients) > 1 else gradients[0]

    # Paddle takes a name with "_grad" in it for something else.
    name = f"segloss_{program.name}_{next(_serial)}"
    arrays = [f"array{i}" for i in range(program.arrays)]
    gradients = [f"derivative{i}" for i, w in enumerate(wanted) if w]
    return (
        _register(name, forward, forward_meta, arrays, ["value", "parts", "statistics"]),
        _register(name + "_bwd", backward, backward_meta, [*arrays, "statistics", "factor"], gradients or ["none"]),
    )


def _register(
    name: str, run: Callable[..., Any], infer_meta: Callable[..., Any], inputs: list[str], outputs: list[str]
) -> Any:
    def named(function: Any) -> Any:
        # Paddle wants a function whose parameters are the operator's inputs.
        return eval(f"lambda {', '.join(inputs)}: function(({', '.join(inputs)},))", {"function": function})

    return paddle.static.register_op(
        named(run), name=name, infer_meta=named(infer_meta), input_names=inputs, output_names=outputs
    )
