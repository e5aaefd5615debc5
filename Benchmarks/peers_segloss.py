"""segloss itself, on numpy arrays; and the pattern of every `peers_*.py`, which has

NAME; SETTLE, the seconds for which its threads keep a core busy after a call; TOLERANCE, by contender (value, gradient),
where its own rounding needs more than `measure.py` allows; `versions()`; `start(threads)`; LOSSES (but here), its losses by
case, of which one may be a `Differs`; and CONTENDERS: by name, a function of (case, inputs, mood) that gives a runner with the
methods below, or None for a case that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import segloss

NAME = "segloss"
SETTLE = 0.0
TOLERANCE = {}


class Differs(NamedTuple):
    """A loss of another formula than segloss's in this case: measured all the same, and marked."""

    loss: Callable
    why: str


def versions() -> dict[str, str]:
    return {"segloss": f"{segloss.__version__} ({segloss.instruction_set()})"}


def start(threads: int) -> None:
    segloss.set_num_threads(threads)


class Runner:
    def __init__(self, case, inputs, mood):
        self._loss = case.make_class(segloss)
        self._inputs = list(inputs.values())
        predictions = [inputs[name] for name in case.predictions]
        self._grads = self._out = None
        if mood == "warm":  # the caller keeps the gradient's memory from step to step
            out = tuple(np.zeros_like(p) for p in predictions)
            self._out = out if len(out) > 1 else out[0]

    def forward(self):
        return self._loss(*self._inputs)

    def step(self):
        self._grads = None  # let go of, as an optimizer's zero_grad does
        value, self._grads = self._loss.value_and_grad(*self._inputs, out=self._out)
        return value

    def value(self, result) -> float:
        return result["loss"] if isinstance(result, dict) else result

    def gradients(self) -> list[np.ndarray]:
        """Those of the last step, in the inputs' layout."""
        return list(self._grads) if isinstance(self._grads, tuple) else [self._grads]

    def clear(self) -> None:
        self._grads = None


CONTENDERS = {"segloss": Runner}
