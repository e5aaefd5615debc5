"""One way into the library for every loss that `_abi` describes."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _abi
from ._tensor import View, view


def number(name: str, value: Any, *, finite: bool = True) -> float:
    """A number that is not an array of several."""
    if type(value) is not float and (
        isinstance(value, (str, bytes)) or not hasattr(value, "__float__") or np.ndim(value) > 0
    ):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    result = float(value)
    if finite and not math.isfinite(result):
        raise ValueError(f"{name}: expected a finite number, got {result}")
    return result


def factor(value: Any) -> float:
    """An upstream gradient: NaN and infinity go through, as everywhere."""
    return number("grad_output", value, finite=False)


def count(name: str, value: Any) -> int:
    """An option that is a whole number of at least 0."""
    result = whole(name, value)
    if result < 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {result}")
    return result


def boolean(name: str, value: Any) -> bool:
    """An option that is true or false."""
    if not isinstance(value, (bool, np.bool_)) and value not in (0, 1):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def choice(name: str, value: Any, choices: Mapping[str, int]) -> int:
    """An option that is one of several names."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[value]


def whole(name: str, value: Any) -> int:
    """An option that is a whole number."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected a whole number, got {type(value).__name__}")
    result = int(value.__index__())
    if not -(2**63) <= result < 2**63:
        raise ValueError(f"{name}: expected a number of 64 bits, got {result}")
    return result


def numbers(name: str, value: Any, of: Callable[[str, Any], Any], kind: Any) -> tuple[Any, int]:
    """An option that is an array of numbers: a pointer to them, which keeps them, and how many; None is none."""
    if value is None:
        return None, 0
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or np.ndim(value) != 1:
        raise TypeError(f"{name}: expected a sequence of numbers, got {type(value).__name__}")
    values = [of(name, v) for v in value]
    return ctypes.cast((kind * max(1, len(values)))(*values), ctypes.POINTER(kind)), len(values)


def invoke(function: Any, *arguments: Any, names: Mapping[str, str] = {}) -> None:
    """Calls a function of the library, whose last parameter is the error, and raises what it refuses.

    Views become descriptors; those and other structs, pointers.
    """
    error = _abi.Error()
    given = [a.descriptor() if type(a) is View else a for a in arguments]
    _abi.check(function(*given, error), error, names)


def evaluate(
    description: _abi.Description,
    inputs: Sequence[View | None],
    options: ctypes.Structure,
    execution: _abi.Execution,
    gradients: Sequence[View | None] | None = None,
    grad_output: float = 1.0,
    names: Mapping[str, str] = {},
) -> ctypes.Structure:
    """Value and parts of a loss, and its gradients into the views that are given."""
    parts = description.parts()
    if gradients is None:
        gradients = [None] * len(description.predictions)
    function = getattr(_abi.lib, "segloss_" + description.name)
    invoke(function, *inputs, options, grad_output, parts, *gradients, execution, names=names)
    return parts


def items(
    description: _abi.Description,
    inputs: Sequence[View | None],
    options: ctypes.Structure,
    execution: _abi.Execution,
    grad_output: View | None,
    values: View | None,
    gradients: Sequence[View | None],
    names: Mapping[str, str] = {},
) -> None:
    """The values of a loss before their reduction, and the gradient with a factor for each."""
    function = getattr(_abi.lib, f"segloss_{description.name}_items")
    invoke(function, *inputs, options, grad_output, values, *gradients, execution, names=names)


def output(name: str, like: View, out: Any) -> tuple[np.ndarray, View]:
    """The array to write into, given or new."""
    array = like.empty() if out is None else out
    return array, view(name, array, writable=True)
