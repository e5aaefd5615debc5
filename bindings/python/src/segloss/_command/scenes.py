"""One prediction of one mask, handed to each loss in the form that it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import segloss

from .._loss import Loss

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Logits of the foreground, the mask that is their target, and which pixels count: N x H x W each."""

    logits: Array
    target: Array
    counts: Array

    @property
    def probability(self) -> Array:
        # Away from 0 and 1, where a cross-entropy of probabilities ends.
        low = 1e-6
        return np.clip(1 / (1 + np.exp(-self.logits)), low, 1 - low).astype(self.logits.dtype)

    @property
    def threshold(self) -> Array:
        """DB's threshold map as a network without an opinion has it."""
        return np.full_like(self.logits, 0.5)

    @property
    def step(self) -> Array:
        """DB's approximate binary map."""
        return np.asarray(segloss.db_step(self.probability, self.threshold))

    @property
    def threshold_target(self) -> Array:
        return (0.3 + 0.4 * self.target).astype(self.logits.dtype)

    @property
    def two_classes(self) -> Array:
        """The same probabilities as a softmax over background and foreground."""
        return np.stack([np.zeros_like(self.logits), self.logits], axis=1)


def random(shape: tuple[int, int, int], dtype: Any, target: Any = None, seed: int = 0) -> Scene:
    """Noise around a mask that covers a third."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.3
    logits = rng.standard_normal(shape, np.float32) + 2 * mask - 1
    counts = rng.random(shape) < 0.9
    kind = dtype if target is None else target
    return Scene(logits.astype(dtype), mask.astype(kind), counts.astype(kind))


# ---------------------------------------------------------------- what a call takes


def _pixels(scene: Scene) -> tuple[Array, ...]:
    return scene.logits[:, None], scene.target[:, None]


def _probabilities(scene: Scene) -> tuple[Array, ...]:
    return scene.probability[:, None], scene.target[:, None]


def _classes(scene: Scene) -> tuple[Array, ...]:
    return scene.two_classes, scene.target.astype(np.uint8)


def _masked(scene: Scene) -> tuple[Array, ...]:
    return scene.probability, scene.target, scene.counts


def _maps(scene: Scene) -> tuple[Array, ...]:
    maps = np.stack([scene.probability, scene.threshold, scene.step], axis=1)
    return maps, scene.threshold_target, scene.counts, scene.target, scene.counts


def _mhliao(scene: Scene) -> tuple[Array, ...]:
    predictions = scene.probability, scene.threshold, scene.step
    return *predictions, scene.target, scene.counts, scene.threshold_target, scene.counts


def _anchors(scene: Scene) -> tuple[Array, ...]:
    """One anchor in each pixel, whose box is a little off where there is text."""
    four = np.repeat(scene.target[..., None], 4, axis=-1)
    labels = np.where(scene.counts > 0, scene.target.astype(np.int32), np.int32(-1))[..., None]
    cls = np.moveaxis(scene.two_classes, 1, -1)
    box = np.repeat(0.2 * scene.logits[..., None], 4, axis=-1)
    return cls, box, labels, (0 * four).astype(scene.logits.dtype), four, four


_CALLS: dict[str, Callable[[Scene], tuple[Array, ...]]] = {
    "SmoothL1Loss": _probabilities,
    "ActiveContourLoss": _probabilities,
    "CrossEntropyLoss": _classes,
    "BoundaryLoss": _classes,
    "MaskDiceLoss": _masked,
    "MaskL1Loss": _masked,
    "BalanceLoss": _masked,
    "DBLoss": _maps,
    "L1BalanceCELoss": _mhliao,
    "CTPNLoss": _anchors,
}


def arguments(loss: Loss, scene: Scene) -> tuple[Array, ...]:
    """What a call of the loss takes for this scene, as contiguous arrays."""
    call = _CALLS.get(type(loss).__name__, _pixels)
    return tuple(np.ascontiguousarray(array) for array in call(scene))


def predictions(loss: Loss, inputs: tuple[Array, ...]) -> tuple[int, ...]:
    """Which of the arguments have a gradient."""
    if isinstance(loss, segloss.DBLoss):
        return (0,)
    names = type(loss)._description.predictions
    return tuple(range(2 if isinstance(loss, segloss.CTPNLoss) else len(names)))


def value_and_gradients(loss: Loss, inputs: tuple[Array, ...], **named: Any) -> tuple[float, tuple[Array, ...]]:
    """The loss itself, and its gradients in a tuple."""
    value, gradients = loss.value_and_grad(*inputs, **named)
    value = value["loss"] if isinstance(value, dict) else value
    return float(value), gradients if isinstance(gradients, tuple) else (gradients,)


# ---------------------------------------------------------------- what a network feels


def by_logit(loss: Loss, scene: Scene) -> tuple[float, Array]:
    """The loss, and its derivative by the logit of each pixel's foreground, whatever the loss reads: a probability's is
    chained through its sigmoid, and that of DB's binary map through its step."""
    inputs = arguments(loss, scene)
    value, gradients = value_and_gradients(loss, inputs)
    call = _CALLS.get(type(loss).__name__, _pixels)
    gradient = gradients[0]
    if call is _classes:
        gradient = gradient[:, 1]
    elif call is _anchors:
        gradient = gradient[..., 1]
    elif call in (_maps, _mhliao):
        on_p, _, on_b = np.moveaxis(gradient, 1, 0) if call is _maps else gradients
        through = segloss.db_step_grad(scene.probability, scene.threshold, np.ascontiguousarray(on_b))[0]
        gradient = on_p + through
    gradient = gradient.reshape(scene.logits.shape)
    if call in (_probabilities, _masked, _maps, _mhliao):
        p = scene.probability
        gradient = gradient * p * (1 - p)
    return value, gradient
