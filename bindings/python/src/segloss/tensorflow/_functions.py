"""Losses as functions of tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from .. import LOSSES, _framework
from .._loss import Loss
from ..db_step import DBStep
from . import _ops


@_framework.remembered()
def call_parameters(cls: type[Loss]) -> Mapping[str, inspect.Parameter]:
    """What a call of a loss takes, in its order, without the numbers that it may give."""
    return {name: p for name, p in inspect.signature(cls._ordered).parameters.items() if name != "self"}


@_framework.remembered()
def is_pair(cls: type[Loss]) -> bool:
    """Whether a call takes a prediction and a target, which Keras passes in the other order."""
    positional = [p for p in call_parameters(cls).values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return len(positional) == 2


def tensors(inputs: Any) -> Any:
    """An argument of a call as a tensor, or a list of them; numbers stay what they are."""
    if isinstance(inputs, (tf.Tensor, type(None), int, float)):
        return inputs
    if isinstance(inputs, (list, tuple)) and any(hasattr(item, "shape") for item in inputs):
        return [tensors(item) for item in inputs]
    return tf.convert_to_tensor(inputs)


def _run(core: Loss, inputs: Any, named: Mapping[str, Any], per_sample: bool) -> Any:
    inputs = [tensors(item) for item in inputs]
    if named:
        named = {name: tensors(item) for name, item in named.items()}
    if not tf.executing_eagerly():
        _refuse_unknown_ranks(core, (*inputs, *named.values()))
    program, arrays = core.program(*inputs, channels_last=True, **named)
    return program, *_ops.run(program, arrays, per_sample)


def value(core: Loss, inputs: Any, named: Mapping[str, Any], per_sample: bool = False) -> tf.Tensor:
    """The loss alone; with `per_sample` of each sample."""
    return _run(core, inputs, named, per_sample)[1]


def evaluate(core: Loss, inputs: Any, named: Mapping[str, Any]) -> Any:
    """What a call of the numpy class returns, of tensors: a value, a dict of value and parts, or (value, origin)."""
    program, loss, parts = _run(core, inputs, named, False)
    if program.returns_parts:
        return program.result(loss, tf.unstack(tf.stop_gradient(tf.cast(parts, loss.dtype))))
    if core.origin is not None:
        return loss, value(core.origin, inputs, named)
    return loss


def _refuse_unknown_ranks(core: Loss, inputs: tuple[Any, ...]) -> None:
    for item in inputs:
        if isinstance(item, tf.Tensor) and item.shape.rank is None:
            raise ValueError(
                f"{type(core).__name__}: expected tensors whose number of dimensions is known, got one of unknown "
                "shape; tensor.set_shape says it"
            )


_PAIR = """``segloss.{name}`` of tensors: a function of ``(y_true, y_pred)``, channels last.

    Parameters
    ----------
    y_true, y_pred : tensors
        `segloss.{name}`'s ``{target}`` and ``{prediction}``, their channels in the last dimension.
    **options
        Those of `segloss.{name}`{arrays}.

    Returns
    -------
    tf.Tensor, or what `segloss.{name}` returns in its place
        float32, or float64 for a float64 ``y_pred``; it carries the gradient. With ``reduction="none"`` the values,
        with ``return_parts=True`` a dict, whose parts have no gradient.

    Raises
    ------
    ValueError, TypeError
        For options, and in a graph for shapes and types that are known there.
    tf.errors.InvalidArgumentError
        For what only the data tell, with the sentence that `segloss.{name}` says.
    """

_SEVERAL = """``segloss.{name}`` of tensors, with its order of arguments, channels last.

    Parameters
    ----------
    *arrays : tensors
        ``{order}`` as in `segloss.{name}`; what has the predictions' rank has its channels in the last dimension.
    **options
        Those of `segloss.{name}`{arrays}.

    Returns
    -------
    tf.Tensor, or what `segloss.{name}` returns in its place
        float32, or float64 for float64 predictions. Of a dict ``loss`` carries the gradient, the parts have none.

    Raises
    ------
    ValueError, TypeError
        For options, and in a graph for shapes and types that are known there.
    tf.errors.InvalidArgumentError
        For what only the data tell, with the sentence that `segloss.{name}` says.
    """


def _function(cls: type[Loss]) -> Any:
    parameters = call_parameters(cls)
    order = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]

    def pair(y_true: Any, y_pred: Any, **options: Any) -> Any:
        arrays, options = _framework.split(cls, options)
        return evaluate(_framework.configured(cls, options), (y_pred, y_true), arrays)

    def several(*arrays: Any, **options: Any) -> Any:
        named, options = _framework.split(cls, options)
        return evaluate(_framework.configured(cls, options), arrays, named)

    loss: Any = pair if is_pair(cls) else several
    keywords = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    loss.__name__ = loss.__qualname__ = _framework.function_name(cls.__name__)
    loss.__module__ = __package__
    loss.__doc__ = (_PAIR if is_pair(cls) else _SEVERAL).format(
        name=cls.__name__,
        prediction=order[0],
        target=order[1],
        order=", ".join(order),
        arrays="".join(f", and the array ``{name}``" for name in keywords),
    )
    return loss


FUNCTIONS = {function.__name__: function for function in map(_function, LOSSES.values())}


def db_step(prob: Any, thresh: Any, k: float = 50) -> Any:
    """The approximate step function of Differentiable Binarization, ``σ(k·(prob - thresh))``, with its gradients.

    Parameters
    ----------
    prob, thresh : tensors of equal shapes and one element type; float32, float64, float16 or bfloat16
    k : float, default 50
        Steepness.

    Returns
    -------
    tf.Tensor
        In prob's shape and type.

    Raises
    ------
    ValueError, TypeError, tf.errors.InvalidArgumentError
        Naming the argument, what was expected and what came.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), equation 2.
    """
    return evaluate(_framework.configured(DBStep, {"k": k}), (prob, thresh), {})
