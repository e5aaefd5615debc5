from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._classes import ignore
from ._loss import ItemLoss


class BoundaryLoss(ItemLoss):
    """F1 score of boundaries, class by class (BF1).

    With ``v = 1 - p``, ``b = max_θ0(v) - v`` and ``b⁺ = max_θ(b)`` of each class's probability p, and ``g``, ``g⁺`` the same
    of the one-hot labels: ``P = Σ b·g⁺/(Σ b + η)``, ``R = Σ b⁺·g/(Σ g + η)``, ``F = 2PR/(P + R + η)``, η = 1e-7; the loss is
    the mean of ``1 - F`` over images and classes. ``max_k`` is the largest of the k x k window around a pixel, inside the
    image.

    Called as ``loss(logits, labels)``.

    Parameters
    ----------
    theta0 : int, default 3
        Window of the boundaries themselves; odd, at least 1.
    theta : int, default 5
        Window of what counts as near a boundary; odd, at least 1.
    variant : {"published", "present_classes"}, keyword only
        Published: a class without a boundary in the labels costs 1, with zero gradient. "present_classes" averages over
        the others only; where there are none the loss is 0.
    ignore_index : int, optional, keyword only
        Pixels with this label are as if outside the image: they win no window, count in no sum, and are not read.
    from_probs : bool, default False, keyword only
        The input is probabilities: no softmax.
    reduction : {"mean", "none"}, keyword only
        "none" returns ``1 - F`` of each image and class, float64 of shape (N, C); ``grad_output`` then may be an array of
        that shape. What "present_classes" leaves out is 0.
    non_finite : {"propagate", "refuse"}, keyword only
        What NaN and infinity do: the formula's result, or ValueError. A logit of +inf gives NaN, one of -inf a class of
        probability 0.
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``count`` (scores that were averaged).

    Inputs
    ------
    logits : N x C x H x W; float32, float64, float16 or bfloat16
    labels : N x H x W or N x 1 x H x W, classes 0 ... C - 1 as bool, uint8, int32 or int64; or height and width both
        larger by an even number, whose centre counts

    Notes
    -----
    A binary prediction is two channels: of one channel the softmax is 1, the loss 1 and the gradient 0. The gradient of a
    largest goes to the first of equal ones in row-major order. Windows read neighbours, so the gradient cannot be written
    into the prediction's own memory. Unlike upstream a batch of one works, and labels outside the classes are refused
    (upstream moves them into the nearest class).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came; labels outside the classes among them.

    References
    ----------
    Bokhovkin and Burnaev 2019, Boundary Loss for Remote Sensing Imagery Semantic Segmentation (arXiv 1905.07852), section
    3; the convention is that of yiskw713's ``boundary_loss_for_remote_sensing``.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((1, 6, 6), np.uint8)
    >>> labels[:, 2:, 3:] = 1
    >>> logits = np.stack([1.0 - labels, 2.0 * labels], axis=1)
    >>> round(BoundaryLoss()(logits, labels), 4)
    0.2408
    """

    _description = _abi.BOUNDARY
    _names = {"pred": "logits", "grad_pred": "out"}

    def __init__(
        self,
        theta0: int = 3,
        theta: int = 5,
        *,
        variant: str = "published",
        ignore_index: int | None = None,
        from_probs: bool = False,
        reduction: str = "mean",
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        _call.choice("reduction", reduction, {"mean": 0, "none": 0})
        options = _abi.BoundaryOptions(
            variant=_call.choice("variant", variant, _abi.BOUNDARY_VARIANT),
            theta0=_window("theta0", theta0),
            theta=_window("theta", theta),
            from_probs=_call.boolean("from_probs", from_probs),
            **ignore(ignore_index),
        )
        super().__init__(options, reduction, non_finite, return_parts)

    statistics_add = False
    statistics_add_reason = "each image has statistics of its own: average the losses instead"

    def _ordered(self, logits: Any, labels: Any) -> Any:
        return logits, labels

    def _items(self, shape: Any) -> Any:
        return shape[:2]

    def _statistics(self, shapes: Any) -> Any:
        samples, classes = self._items(shapes[0])
        return self._description.statistics * samples * classes + 1


def _window(name: str, size: int) -> int:
    """An odd size of a window."""
    result = _call.count(name, size)
    if result % 2 == 0:
        raise ValueError(f"{name}: expected an odd number of at least 1, got {result}")
    return result
