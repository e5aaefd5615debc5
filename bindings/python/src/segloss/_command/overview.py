"""`python -m segloss`: what is installed, and what it runs with."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import textwrap
from collections.abc import Iterable
from pathlib import Path

import segloss

from .. import _abi
from . import console, names

# Modules of frameworks, and the distributions that may bring them.
FRAMEWORKS = {
    "torch": ("torch",),
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-intel"),
    "jax": ("jax",),
}


def framework_version(module: str) -> str | None:
    """The version of what is installed, without importing it; None where nothing is."""
    if importlib.util.find_spec(module) is None:
        return None
    for distribution in FRAMEWORKS[module]:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown version"


def show() -> None:
    library = Path(_abi.lib._name).resolve()
    found = {module: framework_version(module) for module in FRAMEWORKS}
    frameworks = [f"{m} {v} (segloss.{m})" for m, v in found.items() if v is not None]
    missing = [m for m, v in found.items() if v is None]
    if missing:
        frameworks.append(f"not installed: {', '.join(missing)}")
    rows = [
        ("segloss", segloss.__version__),
        ("library", f"{library} ({library.stat().st_size / 1e6:.1f} MB)"),
        ("instruction set", segloss.instruction_set()),
        ("threads", str(segloss.num_threads())),
        (f"{len(segloss.LOSSES)} losses", _wrapped(segloss.LOSSES)),
        ("functions", _wrapped(names.FUNCTIONS)),
        ("frameworks", "\n".join(frameworks)),
    ]
    lines = []
    for name, value in rows:
        first, *rest = value.split("\n")
        lines += [(name, first), *(("", line) for line in rest)]
    console.table(lines)
    print("\nMore: python -m segloss explain LOSS | check | bench | gallery OUT.png, and --help")


def _wrapped(words: Iterable[str]) -> str:
    return textwrap.fill(", ".join(words), 80)
