"""segloss for JAX: every loss as a function of arrays, computed by a handler of XLA's on the CPU.

``dice_loss(input, target, smooth=1.0)`` is `segloss.DiceLoss`, ``db_loss`` is `segloss.DBLoss`, and so on: a call's
arguments first, then the options of the class by name. They work under ``jit``, ``grad``, ``value_and_grad``, ``vmap``,
``pmap`` and ``shard_map``. Nothing is copied.

>>> import jax
>>> import jax.numpy as jnp
>>> x, y = jnp.array([[2.0, -1.0], [3.0, -2.0]]), jnp.array([[1, 0], [1, 0]])
>>> loss, grad = jax.jit(jax.value_and_grad(dice_loss))(x, y)
>>> round(float(loss), 4), grad.shape
(0.1062, (2, 2))
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .. import LOSSES, _abi, _framework
from .._loss import Loss
from .._program import Program
from .._tensor import _CODES, tensor
from ..active_contour import _Function as _ActiveContour
from ..db_step import DBStep as _DBStep

if TYPE_CHECKING:
    from ._names import *  # noqa: F403  (what the loop below makes)

if jax.__version_info__ < (0, 10):
    raise ImportError(f"segloss.jax needs JAX 0.10 or later, got {jax.__version__}")

for _name in ("forward", "value", "gradient"):
    _handler = getattr(_abi.lib, f"segloss_xla_{_name}")
    jax.ffi.register_ffi_target(f"segloss_{_name}", jax.ffi.pycapsule(_handler), platform="cpu")


# ---- The border: arrays pass it on their way to the library ----------------------------------------------------------


def _refuse_platform(ctx: Any, *_: Any) -> None:
    raise NotImplementedError(
        f"segloss computes on the CPU, and this is for {', '.join(ctx.module_context.platforms)}: move the arrays with "
        "jax.device_put(..., jax.devices('cpu')[0]), or compute the loss under jax.default_device"
    )


def _refuse_derivative(*_: Any) -> None:
    raise NotImplementedError(
        "segloss has first derivatives only: the gradient of a loss cannot be differentiated again; write the loss in "
        "jax.numpy where second derivatives are needed"
    )


_border_p = Primitive("segloss")
_border_p.multiple_results = True
_border_p.def_impl(lambda *arrays: arrays)
_border_p.def_abstract_eval(lambda *avals: avals)
mlir.register_lowering(_border_p, lambda ctx, *arrays: arrays, platform="cpu")
mlir.register_lowering(_border_p, _refuse_platform)
ad.primitive_jvps[_border_p] = _refuse_derivative
batching.primitive_batchers[_border_p] = lambda arrays, axes: (_border_p.bind(*arrays), axes)


def _axes(array: Any) -> frozenset[Hashable]:
    """Of a shard_map, those along which an array differs from device to device."""
    return jax.typeof(array).manual_axis_type.varying


def _together(arrays: Sequence[Any]) -> list[Any]:
    """The arrays, differing along the same axes: what meets in one call has to."""
    axes = frozenset().union(*map(_axes, arrays))
    return [
        lax.pcast(array, tuple(missing), to="varying") if (missing := axes - _axes(array)) else array
        for array in arrays
    ]


def _run(
    handler: str, program: Program, arrays: Sequence[Any], results: Sequence[tuple[Any, ...]], same_along: Any = ()
) -> Any:
    """Calls a handler; results are (shape, dtype)."""
    arrays = _together(arrays)
    kind = jax.typeof(arrays[0]).manual_axis_type
    if same_along:
        names = same_along if isinstance(same_along, tuple) else (same_along,)
        kind = kind.update(varying=kind.varying - frozenset(names))
    # Only types that belong to a mesh differ along its axes.
    place = None if kind.empty else jax.NamedSharding(jax.sharding.get_abstract_mesh(), jax.P())
    described = [jax.ShapeDtypeStruct(s, t, sharding=place, manual_axis_type=kind) for s, t in results]
    call = jax.ffi.ffi_call(f"segloss_{handler}", described, vmap_method="sequential")
    return call(*_border_p.bind(*arrays), program=np.frombuffer(program.data, np.uint8))


# ---- A program as a function that has a gradient ---------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _checked(program: Program, described: tuple[Any, ...]) -> tuple[int, tuple[Any, ...], np.dtype]:
    """Statistics, shape and type of the value; refuses what a call would."""
    statistics, _, value = program.checked([tensor(_CODES[dtype], shape) for shape, dtype in described])
    shape = tuple(value.shape[: value.rank])
    if program.outputs([jax.ShapeDtypeStruct(s, np.float32) for s, _ in described]).is_map:
        return statistics, shape, jnp.dtype(described[0][1])
    return statistics, shape, np.dtype(f"float{value.type_bits}")


def _outputs(program: Program, arrays: Sequence[Any]) -> tuple[Any, tuple[Any, ...], np.dtype]:
    described = tuple((array.shape, array.dtype.name) for array in arrays)
    if all(isinstance(extent, int) for shape, _ in described for extent in shape):
        return _checked(program, described)
    # Symbolic shapes, of jax.export: the library checks them when it knows them.
    found = program.outputs(arrays)
    dtype = arrays[0].dtype
    is_wide = dtype == np.float64
    return found.statistics, found.value, dtype if found.is_map else np.dtype(np.float64 if is_wide else np.float32)


def _forward(program: Program, axis_name: Any, arrays: tuple[Any, ...]) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    statistics, shape, dtype = _outputs(program, arrays)
    sums = (statistics, 2), np.uint32  # a float64 is two of them: JAX may not have float64
    parts = [((len(program.parts),), dtype)] if program.returns_parts else []
    if axis_name is None:
        value, sums, *parts = _run("forward", program, arrays, [(shape, dtype), sums, *parts])
    else:
        (sums,) = _run("forward", program, arrays, [sums])
        sums = lax.all_gather(sums, axis_name)
        value, *parts = _run("value", program, (*arrays, sums), [(shape, dtype), *parts], same_along=axis_name)
    return (value, parts[0] if parts else None), (arrays, sums)


def _backward(
    program: Program, axis_name: Any, saved: tuple[Any, ...], cotangents: tuple[Any, ...]
) -> tuple[tuple[Any, ...]]:
    arrays, sums = saved
    wanted = [(array.shape, array.dtype) for array in arrays[: program.predictions]]
    gradients = _run("gradient", program, (*arrays, sums, cotangents[0]), wanted)
    # Where shardings are part of types, that of the predictions. Handlers see whole arrays.
    places = [jax.typeof(array).sharding for array in arrays[: program.predictions]]
    gradients = [jax.reshard(g, place) if any(place.spec) else g for g, place in zip(gradients, places)]
    return ((*gradients, *[None] * (len(arrays) - len(gradients))),)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loss(program: Program, axis_name: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    return _forward(program, axis_name, arrays)[0]


_loss.defvjp(_forward, _backward)


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _result(program: Program, axis_name: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    value, parts = _loss(program, axis_name, arrays)
    return value, None if parts is None else tuple(lax.stop_gradient(parts))


def _evaluate(loss: Loss, inputs: Sequence[Any], named: dict[str, Any], axis_name: Any, channels_last: bool) -> Any:
    """What a call of the loss returns."""
    if axis_name is not None and not loss.statistics_add:
        raise ValueError(
            f"axis_name: the loss of {loss!r} on several devices is not that of one: {loss.statistics_add_reason}"
        )
    given, ordered = loss._bound(*inputs, **named)
    given = {name: _fixed(name, value) for name, value in given.items()}
    for array in ordered:
        _require_array(array, loss, inputs, named)
    ordered = tuple(a if a is None or isinstance(a, jax.Array) else jnp.asarray(a) for a in ordered)
    program = loss._program(given, ordered, channels_last)
    arrays = _together([array for array in ordered if array is not None])
    value = program.result(*_result(program, axis_name, tuple(arrays)))
    if loss.origin is None:
        return value
    return value, _evaluate(loss.origin, inputs, named, axis_name, channels_last)


_TYPES = {jnp.dtype(name) for name in _CODES}


def _require_array(array: Any, loss: Loss, inputs: Sequence[Any], named: dict[str, Any]) -> None:
    if array is None:
        return
    dtype = getattr(array, "dtype", None)
    if dtype is None:
        expected, got = "an array", type(array).__name__
    elif dtype not in _TYPES:
        expected, got = "float32, float64, float16, bfloat16, bool, uint8, int32 or int64", dtype.name
    elif len(array.shape) > _abi.MAX_RANK:
        expected, got = f"at most {_abi.MAX_RANK} dimensions", f"shape {array.shape}"
    else:
        return
    refusal = TypeError if dtype not in _TYPES else ValueError
    raise refusal(f"{_name_of(array, loss, inputs, named)}: expected {expected}, got {got}")


def _name_of(array: Any, loss: Loss, inputs: Sequence[Any], named: dict[str, Any]) -> str:
    """The argument that an array came as."""
    names = [parameter.name for parameter in _framework.call_parameters(type(loss))]
    for name, value in [*zip(names, inputs), *named.items()]:
        if value is array:
            return name
        if isinstance(value, (list, tuple)):
            for i, level in enumerate(value):
                if level is array:
                    return f"{name}[{i}]"
    raise AssertionError(f"{loss!r} has an array that no argument is")


# ---- The functions ---------------------------------------------------------------------------------------------------


def _fixed(name: str, value: Any) -> Any:
    """An option, which is a Python value."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{name}: an option is part of the program and cannot be traced; expected a Python value")
    return _framework.plain(value)


_DOCUMENTATION = """

As a function of JAX arrays: `segloss.{cls}`, with options by name.{renamed}
The gradient goes to the predictions; parts that are returned beside the loss have none.

Other Parameters
----------------
return_parts : bool, default False
    Return a dict of the loss and its parts.
channels_last : bool, default False
    Channels are the last dimension of the predictions, and of what has as many dimensions.
axis_name : str or tuple of str, optional
    Inside ``pmap`` or ``shard_map``, the axis that the batch is spread over: the loss is that of the whole batch, the
    same on every device, for losses whose sums can be added.

Returns
-------
jax.Array, or dict of jax.Array where the class returns one
    float32, or float64 for float64 predictions; with ``reduction="none"`` also a map in the prediction's type.

Raises
------
ValueError, TypeError
    While tracing, naming the argument, what was expected and what came.
NotImplementedError
    On platforms other than the CPU, and for second derivatives.
jax.errors.JaxRuntimeError
    For what only values show, such as a label outside the classes, with the library's sentence."""


_MORE = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
    for name, default in (("channels_last", False), ("axis_name", None))
]


def _function(name: str, cls: type[Loss]) -> Callable[..., Any]:
    """The function that a class is in JAX."""
    renamed = {key: p.name for key, p in _framework.options(cls).items() if key != p.name}

    def function(*inputs: Any, axis_name: Any = None, channels_last: Any = False, **named: Any) -> Any:
        given, options = _framework.split(cls, named)
        options = {option: _fixed(option, value) for option, value in options.items()}
        return _evaluate(_framework.configured(cls, options), inputs, given, axis_name, channels_last)

    signature = _framework.function_signature(cls)
    made: Any = function
    made.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *_MORE])
    function.__name__ = function.__qualname__ = name
    function.__doc__ = _documentation(name, cls, renamed)
    return function


def _documentation(name: str, cls: type[Loss], renamed: dict[str, str]) -> str:
    """The class's own text, as that of a function."""
    text = (inspect.getdoc(cls) or "").replace("Called as ``loss(", f"Called as ``{name}(")
    for title in ("Returns", "Raises", "Examples"):
        text = re.sub(rf"\n\n{title}\n-+\n.*?(?=\n\n\w[^\n]*\n---|\Z)", "", text, flags=re.DOTALL)
    others = "".join(f" Its ``{option}`` is ``{key}`` here." for key, option in renamed.items())
    return text + _DOCUMENTATION.format(cls=cls.__name__, renamed=others)


__all__ = ["active_contour_loss", "db_step"]
for _name, _cls in LOSSES.items():
    _name = _framework.function_name(_name)
    globals()[_name] = _function(_name, _cls)
    if _name not in __all__:
        __all__.append(_name)


def active_contour_loss(
    y_true: Any, y_pred: Any, weight: Any = 10, *, axis_name: Any = None, channels_last: Any = False, **options: Any
) -> Any:
    """`segloss.ActiveContourLoss` of JAX arrays, with the original's order of arguments.

    Parameters
    ----------
    y_true : N x C x H x W, 1 inside and 0 outside; float, bool, uint8, int32 or int64
    y_pred : probabilities of its shape; float32, float64, float16 or bfloat16. It has the gradient.
    weight : float, default 10
        Of the length.
    axis_name, channels_last
        As in `dice_loss`.
    **options
        The class's.

    Returns
    -------
    jax.Array or dict of jax.Array

    Raises
    ------
    ValueError, TypeError, NotImplementedError, jax.errors.JaxRuntimeError
        As `dice_loss`.

    References
    ----------
    Chen et al. 2019 (CVPR), equations 11 and 12.
    """
    chosen = {name: _fixed(name, value) for name, value in {"weight": weight, **options}.items()}
    return _evaluate(_framework.configured(_ActiveContour, chosen), (y_pred, y_true), {}, axis_name, channels_last)


def db_step(prob: Any, thresh: Any, k: Any = 50) -> jax.Array:
    """The approximate step function of Differentiable Binarization, ``σ(k·(prob - thresh))``, with both gradients.

    Parameters
    ----------
    prob, thresh : equal shapes, one element type; float32, float64, float16 or bfloat16
    k : float, default 50
        Steepness; a Python number.

    Returns
    -------
    jax.Array
        In prob's shape and type.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `dice_loss`.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), equations 2 and 3.
    """
    return _evaluate(_framework.configured(_DBStep, {"k": _fixed("k", k)}), (prob, thresh), {}, None, False)
