"""What the modules of frameworks share: names and signatures, all from the classes of losses."""

from __future__ import annotations

import ctypes
import functools
import inspect
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from . import LOSSES, _abi
from ._loss import Loss
from ._program import Program

F = TypeVar("F", bound=Callable[..., Any])


def remembered(count: int | None = None, *, typed: bool = False) -> Callable[[F], F]:
    """`functools.lru_cache` of functions whose types should still be known."""

    def decorate(function: F) -> F:
        return cast(F, functools.lru_cache(maxsize=count, typed=typed)(function))

    return decorate


def share_team(library: Path) -> None:
    """Has losses run on the OpenMP team that a framework's library computes with: its threads go on looking for work for a
    while after each operation, and a pool of ours would have to share the processors with them."""
    try:
        host = ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        parallel, max_threads = host.GOMP_parallel, host.omp_get_max_threads
    except (OSError, AttributeError):
        return  # built without OpenMP: the pool it is
    _abi.set_openmp(ctypes.cast(parallel, _abi.OMPParallel), ctypes.cast(max_threads, _abi.OMPMaxThreads))


def function_name(class_name: str) -> str:
    """``DiceBCELoss`` as a function: ``dice_bce_loss``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()
    # Names that are one word for all their capitals.
    return words.replace("io_u", "iou")


def call_parameters(cls: type[Loss]) -> list[inspect.Parameter]:
    """The parameters of a call of a loss, its options left out."""
    bound = cls._ordered if cls._bound is Loss._bound else cls._bound
    return list(inspect.signature(bound).parameters.values())[1:]


def constructor(cls: type[Loss]) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor, those included that it hands on to its base."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        found = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        kinds = [inspect.Parameter.KEYWORD_ONLY] + [inspect.Parameter.POSITIONAL_OR_KEYWORD] * (not parameters)
        parameters |= {p.name: p for p in found if p.kind in kinds and p.name not in parameters}
        if all(p.kind is not p.VAR_KEYWORD for p in found):
            break
    return parameters


def options(cls: type[Loss]) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor by the names of a function's keywords: where an argument of the call has a name
    already, the option goes by C's, or is the same number."""
    parameters = constructor(cls)
    call = {p.name for p in call_parameters(cls)}
    of_c = {python: c for c, python in cls._names.items()}
    names = {name: of_c.get(name) if name in call else name for name in parameters}
    return {new: parameters[name] for name, new in names.items() if new is not None}


def function_signature(cls: type[Loss]) -> inspect.Signature:
    """A call's parameters, then the class's options as keywords."""
    keywords = [p.replace(name=name, kind=inspect.Parameter.KEYWORD_ONLY) for name, p in options(cls).items()]
    return inspect.Signature([*call_parameters(cls), *keywords])


def documented(cls: type[Loss], options: str) -> str:
    """A class's docstring with a framework's own options behind the others, and without examples of arrays."""
    doc = inspect.getdoc(cls) or ""
    before, inputs, after = doc.partition("\n\nInputs\n")
    after = after.partition("\n\nExamples\n")[0]
    return f"{before}\n{inspect.cleandoc(options)}{inputs}{after}\n"


@remembered()
def _keywords(cls: type[Loss]) -> tuple[frozenset[str], dict[str, str]]:
    """Those of a call, and those of the constructor with the constructor's names."""
    call = frozenset(parameter.name for parameter in call_parameters(cls))
    return call, {keyword: parameter.name for keyword, parameter in options(cls).items()}


def plain(value: Any) -> Any:
    """An option as something that can be compared: arrays and lists as tuples."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(map(plain, value)) if isinstance(value, (list, tuple)) else value


@remembered(256, typed=True)
def _configured(cls: type[Any], **options: Any) -> Any:
    return cls(**options)


def configured(cls: type[Any], options: dict[str, Any]) -> Any:
    """The loss (or the module) of these options, made once."""
    try:
        return _configured(cls, **{name: plain(value) for name, value in options.items()})
    except TypeError:  # what cannot be compared is for the constructor to refuse
        return cls(**options)


def split(cls: type[Loss], named: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of a function: those of the call, and those of the constructor."""
    call, of_constructor = _keywords(cls)
    given, chosen = {}, {}
    for keyword, value in named.items():
        if keyword in call:
            given[keyword] = value
        elif keyword in of_constructor:
            chosen[of_constructor[keyword]] = value
        else:
            raise TypeError(f"{function_name(cls.__name__)}() got an unexpected keyword argument {keyword!r}")
    return given, chosen


# ---------------------------------------------------------------- a call as text, for graphs


def head(loss: Loss) -> str:
    """A configured loss as text: its class and the arguments of its constructor."""
    name = next((cls.__name__ for cls in type(loss).__mro__ if LOSSES.get(cls.__name__) is cls), type(loss).__name__)
    positional, named = loss._arguments
    return json.dumps([name, list(positional), named], default=_plain)


def tail(given: dict[str, Any], ordered: tuple[Any, ...]) -> str:
    """What a call adds: which of its arguments are there, and the numbers that replace the constructor's."""
    numbers = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    return "|" + "".join(["-" if array is None else "+" for array in ordered]) + "|" + ",".join(numbers)


@remembered(256)
def _parsed(text: str) -> tuple[Loss, str, dict[str, float]]:
    described, present, numbers = text.rsplit("|", 2)
    name, positional, named = json.loads(described)
    given = dict(item.split("=") for item in numbers.split(",") if item)
    return _classes()[name](*positional, **named), present, {key: float(value) for key, value in given.items()}


def program(text: str, arrays: list[Any]) -> Program:
    """The program that head and tail describe, for its arrays."""
    loss, present, given = _parsed(text)
    rest = iter(arrays)
    return loss._program(given, tuple(next(rest) if mark == "+" else None for mark in present))


def _classes() -> dict[str, Callable[..., Loss]]:
    from .db_step import DBStep

    return {**LOSSES, "DBStep": DBStep}


def _plain(value: Any) -> Any:
    """Numbers and arrays that JSON does not know."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"an option of type {type(value).__name__} cannot be written down")
