"""What every loss class has in common."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import _abi, _call
from ._program import Program, make
from ._tensor import View, prediction, view

# Options that calls gave, with the programs made for them.
_REMEMBERED = 64


class Loss:
    """A loss: ``L(...)(*inputs)`` is its value, ``L(...).value_and_grad(*inputs)`` value and gradient.

    Subclasses describe themselves by `_description`, keep their options in `_options`, and turn arguments into views.
    """

    _description: _abi.Description
    _options: Any
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    # Python's names of C's parameters, where they differ.
    _names: Mapping[str, str] = {"grad_pred": "out"}
    # Arguments that may be None.
    _optional: tuple[str, ...] = ()
    # What a call returns of the parts; None: the loss alone.
    _returned: tuple[str, ...] | None = None
    # False: an array of values, before any reduction.
    _is_reduced = True
    # Whether the values are numbers of elements, in the prediction's type.
    _has_map = False
    # Whether dimension 1 of its arrays is of channels, which some keep last.
    _moves_channels = True
    # Whether an element's channel does not matter: arrays of one shape are then read as they lie in memory.
    _is_flat = False
    # A second loss, whose value is returned beside this one's.
    origin: Loss | None = None
    # Whether statistics of several batches add up to those of one; if not, why.
    statistics_add = True
    statistics_add_reason = ""

    def __new__(cls, *arguments: Any, **named: Any) -> Any:
        # Options hold pointers, which neither copy nor pickle; the arguments of the constructor do.
        self = super().__new__(cls)
        self._arguments = arguments, named
        return self

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), *self._arguments)

    def __repr__(self) -> Any:
        arguments, named = self._arguments
        given = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
        return f"{type(self).__name__}({', '.join(given)})"

    def __init__(self, options: Any, non_finite: str, return_parts: bool) -> None:
        self._options = options
        self._execution = _abi.Execution(non_finite=_call.choice("non_finite", non_finite, _abi.NON_FINITE))
        self._return_parts = _call.boolean("return_parts", return_parts)
        if self._return_parts:
            self._returned = (self._returned or ()) + tuple(
                name for name in _abi.part_names(self._description) if name not in (self._returned or ())
            )
        self._programs: dict[Any, Program] = {}
        self._given: dict[Any, ctypes.Structure] = {}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        given, ordered = self._bound(*inputs, **named)
        options = self._with(given)
        return self._numbers(self._evaluate(options, self._views(ordered)))

    def program(self, *inputs: Any, channels_last: bool = False, **named: Any) -> tuple[Program, tuple[Any, ...]]:
        """The call as data, and its arrays: for bindings of frameworks.

        Arguments are those of a call, arrays of any kind that have a ``shape``; their values are not looked at. With
        ``channels_last`` the last dimension of the predictions, and of what has as many dimensions, is the channels'.
        """
        given, ordered = self._bound(*inputs, **named)
        return self._program(given, ordered, channels_last), tuple(array for array in ordered if array is not None)

    def _program(self, given: Mapping[str, Any], ordered: tuple[Any, ...], channels_last: bool = False) -> Program:
        options = self._with(given)
        if channels_last and self._is_flat:
            shapes = {tuple(array.shape) for array in ordered if array is not None}
            # Graphs may not know extents: that of the batch, None here, is the same for all or refused.
            channels_last = len(shapes) != 1 or any([extent is None for extent in shapes.pop()[1:]])
        key = id(options), channels_last, self._pattern(ordered, channels_last)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = make(self, options, ordered, channels_last)
        return program

    def value_and_grad(self, *inputs: Any, out: Any = None, grad_output: float = 1.0, **named: Any) -> Any:
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
        given, ordered = self._bound(*inputs, **named)
        options = self._with(given)
        views = self._views(ordered)
        grads, targets = self._outputs(views, out)
        return self._numbers(self._evaluate(options, views, targets, grad_output)), grads

    def _evaluate(self, options: Any, views: Any, targets: Any = None, grad_output: Any = 1.0) -> Any:
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

    def _items(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of the values before their reduction, for a prediction of this shape."""
        raise NotImplementedError

    def _level_names(self, levels: int) -> list[str]:
        """Names of further parts, of each of several predictions."""
        raise NotImplementedError

    def _bound(self, *inputs: Any, **named: Any) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """The numbers that a call gives in place of the constructor's (or None), and its arguments in C's order."""
        return {}, self._ordered(*inputs, **named)

    def _ordered(self, *inputs: Any, **named: Any) -> tuple[Any, ...]:
        raise NotImplementedError

    def _inputs(self, ordered: tuple[Any, ...]) -> tuple[str, ...]:
        """Python's names of the arguments."""
        return tuple([self._names.get(name, name) for name in self._description.inputs])

    def _views(self, ordered: tuple[Any, ...]) -> list[Any]:
        """A view of each argument, in C's order; None stays None where the argument is optional."""
        kinds = [prediction] * len(self._description.predictions) + [view] * len(self._description.constants)
        return [
            None if value is None and name in self._optional else kind(name, value)
            for kind, name, value in zip(kinds, self._inputs(ordered), ordered)
        ]

    def _pattern(self, ordered: tuple[Any, ...], channels_last: bool) -> tuple[Any, ...]:
        """What a program depends on beside the options."""
        if channels_last:
            return tuple(None if array is None else len(array.shape) for array in ordered)
        return tuple(array is None for array in ordered)

    def _leading(self, ordered: tuple[Any, ...]) -> int:
        """How many of the arguments, the first ones, are predictions."""
        return len(self._description.predictions)

    def _slots(self, ordered: tuple[Any, ...], channels_last: bool) -> list[tuple[int, int]]:
        """Which argument each of C's tensors is, and which channel of it; -1: none, and the whole."""
        return [(-1 if array is None else i, -1) for i, array in enumerate(ordered)]

    def _statistics(self, ordered_shapes: list[tuple[Any, ...] | None]) -> Any:
        """How many statistics there are."""
        return self._description.statistics

    def _with(self, given: Mapping[str, Any]) -> Any:
        """The options with the numbers that a call gives; None leaves the constructor's."""
        given = {name: _call.number(name, value) for name, value in given.items() if value is not None}
        if not given:
            return self._options
        key = tuple(given.items())
        options = self._given.get(key)
        if options is None:
            if len(self._given) == _REMEMBERED:
                self._given.clear()
                self._programs.clear()
            options = self._given[key] = type(self._options).from_buffer_copy(self._options)
            for name, value in given.items():
                setattr(options, name, value)
        return options

    def _outputs(self, views: list[Any], out: Any) -> Any:
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

    @property
    def _program_name(self) -> str:
        return self._description.name

    def _program_names(self, levels: int) -> Mapping[str, str]:
        """Python's names for sentences about a program."""
        return self._names

    def _numbers(self, parts: ctypes.Structure) -> Any:
        """What a call returns of the numbers of C's struct."""
        return self._result(parts.loss, lambda name: _abi.part(parts, name))

    def _result(self, loss: Any, part: Callable[[str], Any], levels: int = 0) -> Any:
        """What a call returns, of numbers or of a framework's tensors."""
        if self._returned is None:
            return loss
        return {name: loss if name == "loss" else part(name) for name in self._returned}


def _rebuilt(cls: type[Loss], arguments: tuple[Any, ...], named: dict[str, Any]) -> Loss:
    return cls(*arguments, **named)


class ItemLoss(Loss):
    """A loss that is reduced from values which ``reduction="none"`` gives as an array."""

    _names = {"grad_input": "out", "bce_form": "from_logits"}

    def __init__(self, options: Any, reduction: str, non_finite: str, return_parts: bool) -> None:
        super().__init__(options, non_finite, return_parts)
        self._is_reduced = reduction != "none"
        if not self._is_reduced:
            self.statistics_add, self.statistics_add_reason = False, "reduction 'none' has no statistics"
        if self._return_parts and not self._is_reduced:
            raise ValueError("return_parts: reduction 'none' has none")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self._is_reduced:
            return super().__call__(*inputs, **named)
        given, ordered = self._bound(*inputs, **named)
        options = self._with(given)
        views = self._views(ordered)
        values, target = self._values(views)
        self._run_items(options, views, None, target, None)
        return values if values.ndim else values[()]

    def value_and_grad(self, *inputs: Any, out: Any = None, grad_output: Any = 1.0, **named: Any) -> Any:
        if self._is_reduced:
            return super().value_and_grad(*inputs, out=out, grad_output=grad_output, **named)
        given, ordered = self._bound(*inputs, **named)
        options = self._with(given)
        views = self._views(ordered)
        values, target = self._values(views)
        if np.ndim(grad_output) == 0:
            grad_output = np.broadcast_to(np.float64(_call.factor(grad_output)), values.shape)
        grad, gradient = _call.output("out", views[0], out)
        self._run_items(options, views, view("grad_output", grad_output), target, gradient)
        return (values if values.ndim else values[()]), grad

    value_and_grad.__doc__ = Loss.value_and_grad.__doc__

    def _run_items(self, options: Any, views: Any, grad_output: Any, values: Any, gradient: Any) -> None:
        _call.items(self._description, views, options, self._execution, grad_output, values, [gradient], self._names)

    def _values(self, views: Any) -> tuple[np.ndarray, View]:
        """A new array for the values."""
        shape = self._items(views[0].shape)
        if self._has_map and shape == views[0].shape:
            return _call.output("values", views[0], None)
        return _call.output("values", views[0], np.empty(shape, views[0].dtype if self._has_map else np.float64))


def reduction(value: Any) -> int:
    """The library's number of a reduction; "none" is any."""
    return _call.choice("reduction", value, {**_abi.REDUCTION, "none": 0})
