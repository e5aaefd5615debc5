"""Writes the type stubs of the package from the losses themselves: their signatures, and the choices in their docstrings.

`python make_stubs.py` writes them, and `--check` says which are not what it would write. A checker then knows each loss's
options and arguments by name, and that `DiceLoss()` gives a float where `DiceLoss(return_parts=True)` gives a dict;
frameworks' modules make their losses while they load, where no checker sees them.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from pathlib import Path

import segloss
from segloss import _framework
from segloss._command import names

PACKAGE = Path(__file__).parent / "src" / "segloss"
KEYWORD, POSITIONAL = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


@dataclasses.dataclass(frozen=True)
class Face:
    """What one of the modules calls things."""

    path: str
    imports: str
    number: str
    array: str
    base: str = ""
    extra: tuple[str, ...] = ()
    has_gradient: bool = False
    functions: bool = True


NUMPY = Face(
    "__init__.pyi",
    "import numpy as np\n\nfrom ._loss import Loss as _Loss",
    "float",
    "_Array",
    base="_Loss",
    has_gradient=True,
    functions=False,
)
FACES = (
    NUMPY,
    Face(
        "torch/_names.pyi",
        "from torch import Tensor\n\nfrom . import LossModule",
        "Tensor",
        "Tensor",
        "LossModule",
        ("process_group: Any = None", "device: str | None = None"),
    ),
    Face("paddle/_names.pyi", "from paddle import Tensor\n\nfrom . import Loss", "Tensor", "Tensor", "Loss"),
    Face("tensorflow/_names.pyi", "from ._keras import Loss", "Any", "Any", "Loss"),
    Face("jax/_names.pyi", "from jax import Array", "Array", "Array", extra=("axis_name: Any = None", "channels_last: bool = False")),
)  # fmt: skip


def literal(values) -> str:
    return f"Literal[{', '.join(map(repr, values))}]"


class Signature:
    """Parameters with the types that a stub gives them."""

    def __init__(self, cls, parameters):
        self.parameters = list(parameters)
        self.choices = {option.name: option.choices for option in names.options(cls) if option.choices}

    def text(self, changed: dict[str, str], first: str | None = "self") -> str:
        words = [] if first is None else [first]
        is_keyword = False
        for p in sorted(self.parameters, key=lambda p: p.kind is KEYWORD):
            if p.kind is KEYWORD and not is_keyword:
                words.append("*")
                is_keyword = True
            words.append(changed.get(p.name, self._plain(p)))
        return ", ".join(words)

    def _plain(self, p: inspect.Parameter) -> str:
        kind = "Any" if p.annotation is p.empty else p.annotation
        if p.name in self.choices:
            kind = literal(self.choices[p.name]) + (" | None" if p.default is None else "")
        return f"{p.name}: {kind}" + ("" if p.default is p.empty else f" = {p.default!r}")


def results(cls, face: Face):
    """What a loss returns, by options: (parameters that are narrowed, type) from the special to the general."""
    parameters = _framework.constructor(cls)
    parts = "dict[str, Any]" if cls is segloss.StructureLoss else f"dict[str, {face.number}]"
    if cls._returned is not None:
        return [({}, parts)]
    alone = {}
    if cls is segloss.BalanceLoss:
        alone = {
            "balance_loss": "balance_loss: Literal[True] = True",
            "return_origin": "return_origin: Literal[False] = False",
        }
    choices = next((o.choices for o in names.options(cls) if o.name == "reduction"), ())
    reduced = {}
    if "none" in choices and face.number != face.array:
        reduced = {"reduction": f"reduction: {literal([c for c in choices if c != 'none'])} = 'mean'"}
    found = [
        ({**alone, **reduced, "return_parts": "return_parts: Literal[False] = False"}, face.number),
        ({**alone, **reduced, "return_parts": "return_parts: Literal[True]"}, parts),
    ]
    if reduced:
        found.append(
            (
                {"reduction": "reduction: Literal['none']", "return_parts": "return_parts: Literal[False] = False"},
                face.array,
            )
        )
    assert "return_parts" in parameters
    return [*found, ({}, "Any")]


def extras(face: Face) -> str:
    return "".join(f", {extra}" for extra in face.extra)


def class_text(cls, face: Face) -> list[str]:
    name = cls.__name__
    signature = Signature(cls, _framework.constructor(cls).values())
    found = results(cls, face)
    is_generic = len(found) > 1
    bases = [face.base, *(["Generic[_V]"] if is_generic else [])]
    lines = [f"class {name}({', '.join(bases)}):"]
    for narrowed, result in found:
        first = f"self: {name}[{result}]" if is_generic else "self"
        lines += ["    @overload"] * is_generic
        lines.append(f"    def __init__({signature.text(narrowed, first)}{extras(face)}) -> None: ...")
    value = "_V" if is_generic else found[0][1]
    call = Signature(
        cls, [] if face.path.startswith("paddle") and cls is segloss.DBLoss else _framework.call_parameters(cls)
    )
    arguments = call.text({}) if call.parameters else "self, *inputs: Any, **named: Any"
    more = ""
    if face.path.startswith("torch"):
        more = (", *" if "*" not in arguments.split(", ") else "") + ", statistics: Tensor | None = None"
    lines.append(f"    def __call__({arguments}{more}) -> {value}: ...")
    if face.has_gradient:
        gradients = (
            "_Array" if len(cls._description.predictions) == 1 or cls is segloss.DBLoss else "tuple[_Array, ...]"
        )
        if cls is segloss.StructureLoss:
            gradients = "Any"  # a tuple for a list of predictions
        star = "" if "*" in arguments.split(", ") else ", *"
        named = f"{star}, out: Any = None, grad_output: Any = 1.0"
        ignored = "  # type: ignore[override]"
        lines.append(f"    def value_and_grad({arguments}{named}) -> tuple[{value}, {gradients}]: ...{ignored}")
    return [*lines, ""]


def keras_text(cls) -> list[str]:
    """Keras has a reduction of its own, and its order of arguments."""
    own = {"per_sample", "reduction"}
    signature = Signature(cls, [p for p in _framework.constructor(cls).values() if p.name not in own])
    keywords = 'per_sample: bool = False, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None'
    arguments = signature.text({})
    star = "" if "*" in arguments.split(", ") else ", *"
    pair = "y_true: Any, y_pred: Any" if sum(p.kind is POSITIONAL for p in _inputs(cls)) == 2 else "*arrays: Any"
    return [
        f"class {cls.__name__}(Loss):",
        f"    def __init__({arguments}{star}, {keywords}) -> None: ...",
        "",
        f"def {_framework.function_name(cls.__name__)}({pair}, **options: Any) -> Any: ...",
        "",
    ]


def _inputs(cls):
    return list(inspect.signature(cls._ordered).parameters.values())[1:]


def function_text(cls, face: Face) -> list[str]:
    signature = Signature(cls, _framework.function_signature(cls).parameters.values())
    found = results(cls, face)
    lines = []
    for narrowed, result in found:
        lines += ["@overload"] * (len(found) > 1)
        lines.append(
            f"def {_framework.function_name(cls.__name__)}({signature.text(narrowed, None)}{extras(face)}) -> {result}: ..."
        )
    return [*lines, ""]


#: Modules that write these themselves.
WRITTEN = {"active_contour_loss", "ctpn_loss of tensorflow", "DBLoss of paddle"}


HEADER = """# Written by make_stubs.py from the losses themselves; a test holds it to them.

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar, overload

{imports}
{names}
_V = TypeVar("_V")
"""
REST = """
LOSSES: dict[str, type[Any]]
__version__: str

def instruction_set() -> str: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def shutdown() -> None: ...
"""
FUNCTIONS = {
    "active_contour": ["active_contour_loss"],
    "ctpn_anchors": ["CTPNAnchorTargets", "ctpn_anchor_targets"],
    "db_step": ["db_step", "db_step_grad"],
    "structure": ["structure_loss"],
}


def _without_written(lines: list[str], framework: str) -> list[str]:
    """Without what the module writes itself."""
    kept, dropped = [], False
    for line in lines:
        if line.startswith(("class ", "def ")):
            name = line.split()[1].split("(")[0]
            dropped = name in WRITTEN or f"{name} of {framework}" in WRITTEN
        if line.startswith("@overload"):
            dropped = False
        if not dropped:
            kept.append(line)
    return kept


def text(face: Face) -> str:
    extra = ""
    if face is NUMPY:
        imports = [f"from .{m} import {n} as {n}" for m, found in FUNCTIONS.items() for n in found]
        extra = "\n".join(imports) + "\n\n_Array = np.ndarray[Any, np.dtype[Any]]"
    lines = [HEADER.format(imports=face.imports, names=extra)]
    framework = face.path.partition("/")[0]
    for cls in segloss.LOSSES.values():
        made = keras_text(cls) if framework == "tensorflow" else []
        if framework != "tensorflow":
            made += class_text(cls, face) if face.base else []
            made += function_text(cls, face) if face.functions else []
        lines += _without_written(made, framework)
    if face is NUMPY:
        lines.append(REST)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if something would be")
    check = parser.parse_args().check
    stale = []
    for face in FACES:
        path, wanted = PACKAGE / face.path, text(face)
        if check:
            stale += [face.path] * (not path.exists() or path.read_text() != wanted)
        else:
            path.write_text(wanted)
    if stale:
        print(f"not what make_stubs.py writes: {', '.join(stale)}; run it")
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
