"""Programs as TensorFlow operations: four native ones, or numpy functions where their library cannot be loaded."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .. import _library
from .._program import Plan, Program
from .._tensor import _CODES, tensor

_LIBRARY = "libsegloss_tensorflow.so"


def _load() -> Any:
    """The module of the native operations; None, and a warning, where they cannot be had."""
    tried = []
    for path in _library.beside(_LIBRARY):
        if not path.exists():
            tried.append(f"{path} (not there)")
            continue
        try:
            module = tf.load_op_library(str(path))
            if hasattr(module, "segloss_loss"):
                return module
            problem = ctypes.CDLL(str(path)).segloss_tensorflow_problem
            problem.restype = ctypes.c_char_p
            tried.append(f"{path} ({(problem() or b'it registered no operation').decode()})")
        except (OSError, RuntimeError, tf.errors.OpError) as error:
            tried.append(f"{path} ({error})")
    warnings.warn(
        f"segloss.tensorflow: its native operations could not be loaded; tried {', '.join(tried)}. "
        "tf.numpy_function stands in for them: slower, bound to this Python process, not to be saved.",
        RuntimeWarning,
        stacklevel=4,
    )
    return None


native = _load()


# ---- Running a program


def run(program: Program, arrays: Sequence[Any], per_sample: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Value and parts of a program's arrays; with `per_sample` of each sample by itself, in the first dimension."""
    count = program.predictions
    predictions, targets = list(arrays[:count]), list(arrays[count:])
    type_ = predictions[0].dtype
    if program.is_reduced or not program.loss._has_map:
        type_ = tf.float64 if type_ == tf.float64 else tf.float32
    if native is None:
        return _with_numpy(program, arrays, type_, per_sample)
    forward = _samples if per_sample else _loss if program.is_reduced else _items
    if tf.executing_eagerly():
        return forward(predictions, targets, type_, program.data)[:2]
    shapes = _static(program, arrays, per_sample)
    results = forward(predictions, targets, type_, program.data)
    for result, shape in zip(results, shapes):
        result.set_shape(shape)
    return results[:2]


if native is not None:
    _loss, _items, _samples = native.segloss_loss, native.segloss_items, native.segloss_samples


class _Shaped:
    """An array of which only the shape is known, extents that are not among them."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


def _static(program: Program, arrays: Sequence[tf.Tensor], per_sample: bool) -> list[tf.TensorShape]:
    """Shapes of value, parts and statistics while a graph is made. Shapes that do not fit are refused here already."""
    shapes = [array.shape.dims for array in arrays]
    batch = shapes[0][:1]
    if per_sample:
        shapes = [[tf.compat.v1.Dimension(1), *shape[1:]] for shape in shapes]
    if all(extent.value is not None for shape in shapes for extent in shape):
        program.checked(
            [tensor(_code(array), [extent.value for extent in shape]) for array, shape in zip(arrays, shapes)]
        )
    found = program.outputs([_Shaped(shape) for shape in shapes])
    result = [found.value, (found.parts,), (found.statistics,)]
    return [tf.TensorShape([*batch, *shape] if per_sample else list(shape)) for shape in result]


def _code(array: tf.Tensor) -> tuple[int, int]:
    """DLPack's code and bits of an element type; its opaque one for what the library cannot read."""
    return _CODES.get(array.dtype.name, (3, 0))


# ---- Gradients


def _gradient(operation: Any, grad_value: Any, *_: Any) -> Any:
    """Of the value; parts and statistics have none."""
    count = len(operation.inputs)
    if grad_value is None:
        return [None] * count
    predictions = len(operation.get_attr("P"))
    gradients = native.segloss_gradient(
        operation.inputs[:predictions],
        operation.inputs[predictions:],
        operation.outputs[2],
        grad_value,
        operation.get_attr("program"),
    )
    return [*gradients, *[None] * (count - predictions)]


def _second_derivative(*_: Any) -> None:
    raise NotImplementedError(
        "segloss.tensorflow: losses have first derivatives only; a second one, as for a gradient penalty or a Hessian, "
        "needs the loss written in TensorFlow's own operations"
    )


if native is not None:
    for _name in ("SeglossLoss", "SeglossItems", "SeglossSamples"):
        tf.RegisterGradient(_name)(_gradient)
    tf.RegisterGradient("SeglossGradient")(_second_derivative)


# ---- Without the native library


def _with_numpy(program: Program, arrays: Sequence[tf.Tensor], type_: tf.DType, per_sample: bool) -> Any:
    """`run` with Python called back."""
    count = program.predictions

    def samples(arrays: Any) -> Any:
        return [[a[i : i + 1] for a in arrays] for i in range(len(arrays[0]))] if per_sample else [arrays]

    def plan_of(arrays: Any) -> Plan:
        return Plan(program, [tensor(_CODES.get(a.dtype.name, (3, 0)), a.shape) for a in arrays], has_parts=True)

    def forward(*arrays: Any) -> Any:
        found = []
        for group in samples(arrays):
            plan = plan_of(group)
            value, statistics = np.empty(plan.shape, type_.as_numpy_dtype), np.empty(plan.count)
            parts = plan.forward([a.ctypes.data for a in group], value.ctypes.data, statistics.ctypes.data)
            found.append((value, np.array(parts, np.float64), statistics))
        return tuple(map(np.stack, zip(*found))) if per_sample else found[0]

    def backward(statistics: Any, factor: Any, *arrays: Any) -> Any:
        factor = np.asarray(factor)
        gradients = [np.empty_like(a) for a in arrays[:count]]
        groups = zip(samples(arrays), samples(gradients))
        for i, (group, outputs) in enumerate(groups):
            own, scale = (statistics[i], factor[i : i + 1]) if per_sample else (statistics, factor)
            plan_of(group).gradient(
                [a.ctypes.data for a in group],
                own.ctypes.data if own.size else None,
                own.size,
                scale.ctypes.data,
                [g.ctypes.data for g in outputs],
            )
        return gradients

    shapes = [None] * 3 if tf.executing_eagerly() else _static(program, arrays, per_sample)

    @tf.custom_gradient
    def call(*arrays: Any) -> Any:
        value, parts, statistics = tf.numpy_function(forward, arrays, [type_, tf.float64, tf.float64])
        for result, shape in zip((value, parts, statistics), shapes):
            result.set_shape(shape)

        @tf.custom_gradient
        def gradients(grad_value: Any, *arrays: Any) -> Any:
            types = [a.dtype for a in arrays[:count]]
            found = tf.nest.flatten(tf.numpy_function(backward, [statistics, grad_value, *arrays], types))
            for gradient, prediction in zip(found, arrays):
                gradient.set_shape(prediction.shape)
            return found, _second_derivative

        def grad(grad_value: Any, _: Any) -> Any:
            return [*gradients(grad_value, *arrays), *[None] * (len(arrays) - count)]

        return (value, parts), grad

    return call(*arrays)
