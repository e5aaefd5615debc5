"""Every loss in every form, for the tests of what carries losses into frameworks: `cases()` names them, `Case` draws the
inputs and gives numpy's result, which every framework has to reach bit for bit."""

from collections.abc import Callable
from dataclasses import dataclass

import boundary_cases
import ctpn_cases
import numpy as np
import segloss
import window_cases
from catalog import CATALOG

SHAPE = (2, 9, 11)


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable  # () -> loss
    draw: Callable  # dtype -> {argument: array}, predictions in that type
    predictions: tuple

    def __repr__(self):
        return self.name

    def numpy(self, dtype=np.float32, grad_output=1.0):
        """(what the call returns, [the gradient of each prediction])."""
        inputs = self.draw(dtype)
        value, grad = self.make().value_and_grad(**inputs, grad_output=grad_output)
        return value, list(grad) if isinstance(grad, tuple) else [grad]


def from_catalog(entry, shape=SHAPE):
    def draw(dtype):
        inputs = entry.draw(shape, dtype=np.dtype(dtype), target=np.float32)
        return {k: v.astype(np.int64) if k in entry.labels else v for k, v in inputs.items()}

    return Case(entry.name, entry.make, draw, entry.predictions)


def of_windows(name, shape=SHAPE):
    def draw(dtype):
        inputs = window_cases.draw(name, (shape[0], 3, *shape[1:]))
        target = "mask" if name.startswith("structure") else "target"
        pred = "pred" if name.startswith("structure") else "input"
        return {pred: inputs[0].astype(dtype), target: inputs[1].astype(np.uint8)}

    return Case(name, lambda: window_cases.make(name), draw, ("pred",) if name.startswith("structure") else ("input",))


def levels(shape):
    shape = (shape[0], 1, *shape[1:])

    def draw(dtype):
        drawn = [window_cases.draw("structure", shape, seed)[0].astype(dtype) for seed in range(3)]
        return {"pred": drawn, "mask": window_cases.blobs(np.random.default_rng(0), shape).astype(np.float32)}

    return draw


def ctpn(form, side, shape):
    def draw(dtype):
        return form(ctpn_cases.draw((1, *shape[1:], 3), dtype=dtype, target=np.float32, side=side))

    return draw


def cases(shape=SHAPE):
    """Every one of them, for maps N x H x W."""
    n, h, w = shape
    boundary = {"boundary": {}, "boundary-present": {"variant": "present_classes", "theta": 11}}
    boundary |= {"boundary-ignored": {"ignore_index": 1}, "boundary-none": {"reduction": "none"}}
    forms = {"maps": lambda inputs: inputs, "rows": ctpn_cases.rows, "heads": ctpn_cases.heads}
    return [
        *(from_catalog(entry, shape) for entry in CATALOG if entry.name != "step"),
        *(of_windows(name, shape) for name in window_cases.ENTRIES),
        Case("structure-levels", lambda: segloss.StructureLoss(return_parts=True), levels(shape), ("pred",)),
        Case(
            "structure-none",
            lambda: segloss.StructureLoss(reduction="none"),
            of_windows("structure", shape).draw,
            ("pred",),
        ),
        *(
            Case(
                name,
                lambda options=options: segloss.BoundaryLoss(**options),
                lambda dtype: boundary_cases.draw((n, 3, h, w), dtype=dtype, labels=np.int64),
                ("logits",),
            )
            for name, options in boundary.items()
        ),
        *(
            Case(
                f"ctpn-{name}{'' if side else '-alone'}",
                segloss.CTPNLoss,
                ctpn(form, side, shape),
                ctpn_cases.PREDICTIONS if side else ctpn_cases.PREDICTIONS[:2],
            )
            for name, form in forms.items()
            for side in (True, False)
        ),
        Case(
            "balance-map",
            lambda: segloss.BalanceLoss(False, "BCELoss"),
            from_catalog(next(e for e in CATALOG if e.name == "balance-bce"), shape).draw,
            ("pred",),
        ),
    ]
