"""`python -m segloss explain LOSS`: formula, options, variants and source, from the docstring and the signature."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import segloss

from . import console, names


def show(name: str | None) -> None:
    if name is None:
        overview()
    else:
        one(name)


def overview() -> None:
    """A line for each."""
    rows = []
    for key, of in names.documented().items():
        rows.append((key, names.sections(of)[""].splitlines()[0].replace("``", "")))
    console.table(rows)


def one(name: str) -> None:
    of = names.find(name)
    sections = names.sections(of)
    summary, _, formula = sections[""].partition("\n\n")
    is_loss = of.__name__ in segloss.LOSSES
    console.heading(of.__name__)
    print(summary)
    if formula:
        console.heading("Formula and call")
        _indented(formula)
    if not is_loss:
        console.heading("Signature")
        _indented(_signature(of))
    console.heading("Options" if is_loss else "Parameters")
    for option in names.options(of):
        print(f"  {option.name} : {option.kind}" if option.kind else f"  {option.name}")
        if option.text:
            _indented(option.text, 6)
    if is_loss and names.variants(of) != [{}]:
        console.heading("Variants")
        for options in names.variants(of):
            arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
            _indented(f"{of.__name__}({arguments})")
    for title, heading in (("Inputs", "Inputs"), ("Returns", "Returns"), ("Notes", "Notes"), ("Source", "References")):
        if heading in sections:
            console.heading(title)
            _indented(sections[heading])
    if is_loss:
        function = names.functions_of(of)
        console.heading("Elsewhere")
        _indented(
            f"segloss.torch.{of.__name__}, .paddle, .tensorflow; segloss.torch.{function}, … and segloss.jax.{function}"
        )
        _indented(f"C: segloss_{of._description.name}")


def _signature(of: Callable[..., Any]) -> str:
    """Names and defaults; the types stand below."""
    found = inspect.signature(of)
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return f"{of.__name__}{found.replace(parameters=plain, return_annotation=found.empty)}"


def _indented(text: str, by: int = 2) -> None:
    print(textwrap.indent(text.strip("\n").replace("``", ""), " " * by))
