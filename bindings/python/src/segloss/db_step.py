from __future__ import annotations

from typing import Any

import numpy as np

from . import _abi, _call
from ._loss import Loss
from ._tensor import prediction, view


class DBStep(Loss):
    """`db_step` as a loss without a reduction, which is how frameworks carry it."""

    _description = _abi.DB_STEP
    _is_reduced = False
    _has_map = True
    statistics_add = False
    statistics_add_reason = "a map has no statistics"

    def __init__(self, k: float = 50):
        super().__init__(_abi.DBStepOptions(k=_call.number("k", k)), "propagate", False)

    def _ordered(self, prob: Any, thresh: Any) -> Any:
        return prob, thresh

    def _items(self, shape: Any) -> Any:
        return shape


def db_step(prob: Any, thresh: Any, k: float = 50) -> np.ndarray:
    """The approximate step function of Differentiable Binarization, ``σ(k·(prob - thresh))``.

    Parameters
    ----------
    prob, thresh : equal shapes, one element type; float32, float64, float16 or bfloat16
    k : float, default 50
        Steepness.

    Returns
    -------
    ndarray
        In prob's shape and type.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> db_step(np.array([0.5, 0.7]), np.array([0.5, 0.3])).round(4)
    array([0.5, 1. ])
    """
    p, t = prediction("prob", prob), prediction("thresh", thresh)
    array, target = _call.output("out", p, None)
    _call.invoke(_abi.db_step, p, t, _abi.DBStepOptions(k=_call.number("k", k)), target, None)
    return array


def db_step_grad(prob: Any, thresh: Any, grad_output: Any, k: float = 50) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of ``Σ grad_output·db_step(prob, thresh, k)`` by prob and thresh.

    ``k·B·(1 - B)·grad_output`` and its negative, with all digits where B is near 0 or 1.

    Parameters
    ----------
    prob, thresh : equal shapes, one element type; float32, float64, float16 or bfloat16
    grad_output : their shape, any of these types
    k : float, default 50

    Returns
    -------
    grad_prob, grad_thresh : ndarray
        In prob's shape and type.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> db_step_grad(np.array([0.5]), np.array([0.5]), np.array([1.0]))
    (array([12.5]), array([-12.5]))
    """
    p, t, g = prediction("prob", prob), prediction("thresh", thresh), view("grad_output", grad_output)
    (grad_prob, target_prob), (grad_thresh, target_thresh) = (_call.output("out", p, None) for _ in range(2))
    options = _abi.DBStepOptions(k=_call.number("k", k))
    _call.invoke(_abi.db_step_backward, p, t, g, options, target_prob, target_thresh, None)
    return grad_prob, grad_thresh
