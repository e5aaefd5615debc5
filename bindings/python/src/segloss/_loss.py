"""What every loss class has in common."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _abi, _call
from ._tensor import View, prediction, view


class Loss:
    """A loss: ``L(...)(*inputs)`` is its value, ``L(...).value_and_grad(*inputs)`` value and gradient.

    Subclasses describe themselves by `_description`, keep their options in `_options`, and turn arguments into views.
    """

    _description: _abi.Description
    # Python's names of C's parameters, where they differ.
    _names: Mapping[str, str] = {"grad_pred": "out"}

    def __new__(cls, *arguments, **named):
        # Options hold pointers, which neither copy nor pickle; the arguments of the constructor do.
        self = super().__new__(cls)
        self._arguments = arguments, named
        return self

    def __reduce__(self):
        return _rebuilt, (type(self), *self._arguments)

    def __repr__(self):
        arguments, named = self._arguments
        given = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
        return f"{type(self).__name__}({', '.join(given)})"

    def __init__(self, options, non_finite: str, return_parts: bool):
        self._options = options
        self._execution = _abi.Execution(non_finite=_call.choice("non_finite", non_finite, _abi.NON_FINITE))
        self._return_parts = _call.boolean("return_parts", return_parts)

    def __call__(self, *inputs, **named):
        options, views = self._bound(*inputs, **named)
        return self._result(self._evaluate(options, views))

    def value_and_grad(self, *inputs, out=None, grad_output: float = 1.0, **named):
        """Value, and the gradient times ``grad_output``, written into ``out`` if that is given.

        Parameters
        ----------
        *inputs
            As for a call.
        out : array, or tuple of arrays where there are several predictions
            Of each prediction's shape and element type. For losses of one prediction it may be the prediction itself.
        grad_output : float
            The factor that comes from what follows the loss.

        Returns
        -------
        value : float or dict
            What a call returns.
        grad : ndarray or tuple of ndarray
            In the prediction's shape and element type.
        """
        options, views = self._bound(*inputs, **named)
        grads, targets = self._outputs(views, out)
        return self._result(self._evaluate(options, views, targets, grad_output)), grads

    def _evaluate(self, options, views, targets=None, grad_output=1.0):
        return _call.evaluate(
            self._description,
            views,
            options,
            self._execution,
            targets,
            _call.factor(grad_output),
            self._names,
        )

    # What subclasses may change.

    def _bound(self, *inputs, **named) -> tuple[ctypes.Structure, list[View | None]]:
        """The options of a call and the views of its arguments."""
        return self._options, self._views(*inputs, **named)

    def _views(self, *inputs, **named) -> list[View | None]:
        raise NotImplementedError

    def _with(self, **given) -> ctypes.Structure:
        """The options with the numbers that a call gives; None leaves the constructor's."""
        given = {name: _call.number(name, value) for name, value in given.items() if value is not None}
        if not given:
            return self._options
        options = type(self._options).from_buffer_copy(self._options)
        for name, value in given.items():
            setattr(options, name, value)
        return options

    def _outputs(self, views: list[View | None], out: Any):
        """The gradient to return, and the views to write (one for each prediction)."""
        count = len(self._description.predictions)
        if count == 1:
            grad, target = _call.output("out", views[0], out)
            return grad, [target]
        if out is None:
            out = [None] * count
        elif not isinstance(out, (tuple, list)) or len(out) != count:
            raise ValueError(f"out: expected a tuple of {count} arrays, got {type(out).__name__}")
        pairs = [
            (None, None) if v is None else _call.output(f"out[{i}]", v, o) for i, (v, o) in enumerate(zip(views, out))
        ]
        return tuple(grad for grad, _ in pairs), [target for _, target in pairs]

    def _result(self, parts):
        if not self._return_parts:
            return parts.loss
        names = [name for name, _ in type(parts)._fields_ if name not in ("struct_size", "reserved")]
        return {name.rstrip("_"): getattr(parts, name) for name in names}


def _rebuilt(cls, arguments, named):
    return cls(*arguments, **named)


class ItemLoss(Loss):
    """A loss that is reduced from values which ``reduction="none"`` gives as an array."""

    _names = {"grad_input": "out", "bce_form": "from_logits"}

    def __init__(self, options, reduction: str, non_finite: str, return_parts: bool):
        super().__init__(options, non_finite, return_parts)
        self._is_reduced = reduction != "none"
        if self._return_parts and not self._is_reduced:
            raise ValueError("return_parts: reduction 'none' has none")

    def __call__(self, *inputs, **named):
        if self._is_reduced:
            return super().__call__(*inputs, **named)
        options, views = self._bound(*inputs, **named)
        values, target = self._values(views)
        self._run_items(options, views, None, target, None)
        return values if values.ndim else values[()]

    def value_and_grad(self, *inputs, out=None, grad_output=1.0, **named):
        if self._is_reduced:
            return super().value_and_grad(*inputs, out=out, grad_output=grad_output, **named)
        options, views = self._bound(*inputs, **named)
        values, target = self._values(views)
        if np.ndim(grad_output) == 0:
            grad_output = np.broadcast_to(np.float64(_call.factor(grad_output)), values.shape)
        grad, gradient = _call.output("out", views[0], out)
        self._run_items(options, views, view("grad_output", grad_output), target, gradient)
        return (values if values.ndim else values[()]), grad

    value_and_grad.__doc__ = Loss.value_and_grad.__doc__

    def _run_items(self, options, views, grad_output, values, gradient):
        _call.items(self._description, views, options, self._execution, grad_output, values, [gradient], self._names)

    def _values(self, views) -> tuple[np.ndarray, View]:
        """A new array for the values."""
        raise NotImplementedError


def reduction(value: Any) -> int:
    """The library's number of a reduction; "none" is any."""
    return _call.choice("reduction", value, {**_abi.REDUCTION, "none": 0})


def named_views(
    description: _abi.Description, values: tuple[Any, ...], optional: tuple[str, ...] = ()
) -> list[View | None]:
    """A view of each argument, in C's order; None stays None where the argument is optional."""
    return [
        None
        if value is None and name in optional
        else (prediction if name in description.predictions else view)(name, value)
        for name, value in zip(description.inputs, values)
    ]
