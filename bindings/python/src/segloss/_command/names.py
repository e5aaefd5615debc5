"""The losses and functions by any usual form of their names, and what their docstrings and signatures say."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable
from typing import Any

import segloss

from .._framework import constructor, function_name
from .._loss import Loss

#: What there is beside the classes of losses.
FUNCTIONS = ("active_contour_loss", "ctpn_anchor_targets", "db_step", "db_step_grad", "structure_loss")


def _plain(name: str) -> str:
    """A name without case, underscores and the word loss."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("loss")


def documented() -> dict[str, Any]:
    """Everything with a name that can be explained."""
    return {**segloss.LOSSES, **{name: getattr(segloss, name) for name in FUNCTIONS}}


def _find(name: str, among: dict[str, Any]) -> Any:
    if name in among:
        return among[name]
    # A class is found before the function that is made of it.
    known = {_plain(key): key for key in reversed(list(among))}
    if _plain(name) in known:
        return among[known[_plain(name)]]
    near = difflib.get_close_matches(_plain(name), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(known[n] for n in near)}?" if near else f"; there are {', '.join(among)}"
    raise LookupError(f"there is no loss {name!r}{hint}")


def find(name: str) -> Any:
    """A loss's class or a function; LookupError with what may have been meant."""
    return _find(name, documented())


def find_loss(name: str) -> type[Loss]:
    """A loss's class."""
    cls: type[Loss] = _find(name, dict(segloss.LOSSES))
    return cls


@dataclasses.dataclass(frozen=True)
class Option:
    """A parameter as its docstring has it, with the signature's default."""

    name: str
    kind: str
    text: str
    choices: tuple[str, ...]


def sections(of: Callable[..., Any]) -> dict[str, str]:
    """A numpydoc docstring by the headings of its sections; what stands before the first is ""."""
    parts = re.split(r"^(\S[^\n]*)\n-{3,}\n", inspect.getdoc(of) or "", flags=re.M)
    return {"": parts[0].strip(), **{h: text.strip("\n") for h, text in zip(parts[1::2], parts[2::2], strict=True)}}


def parameters(of: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Those of a function, or of a class's constructor."""
    if isinstance(of, type):
        return constructor(of)
    return dict(inspect.signature(of).parameters)


def options(of: Callable[..., Any]) -> list[Option]:
    """The entries of the section of parameters, in its order."""
    signature = parameters(of)
    entries = re.split(r"^(?=\S)", sections(of).get("Parameters", ""), flags=re.M)
    found = []
    for entry in filter(None, entries):
        head, _, text = entry.partition("\n")
        name, _, kind = head.partition(" : ")
        named = signature.get(name)
        if named is not None and named.default not in (named.empty, None) and "default" not in kind:
            kind = f"{kind}, default {named.default!r}".removeprefix(", ")
        braces = re.search(r"\{(.*?)\}", kind)
        choices = tuple(re.findall(r'"(\w+)"', braces[1])) if braces else ()
        found.append(Option(name, kind, inspect.cleandoc(text), choices))
    return found


def variants(cls: type[Loss]) -> list[dict[str, str]]:
    """The options that choose a loss's formula, one choice at a time, the defaults first; without any, one set of none."""
    found = {option.name: option for option in options(cls)}
    chosen = [{"variant": choice} for choice in found["variant"].choices] if "variant" in found else []
    if "main_loss_type" in found:
        # The first is what the variants have said already.
        chosen += [{"main_loss_type": c} for c in found["main_loss_type"].choices[bool(chosen) :]]
    return chosen or [{}]


def functions_of(cls: type[Loss]) -> str:
    """The name that frameworks' modules have for the function of a class."""
    return function_name(cls.__name__)
