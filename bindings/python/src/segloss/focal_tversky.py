from __future__ import annotations

from typing import Any

from . import _abi
from ._classes import OverlapLoss, documented


@documented
class FocalTverskyLoss(OverlapLoss):
    """The Tversky loss to a power.

    ``L = T**gamma`` with ``T = (α·FP + β·FN)/(TP + α·FP + β·FN + smooth)``.

    Called as ``loss(input, target, smooth=None, alpha=None, beta=None, gamma=None, *, mask=None)``; numbers at the call
    replace the constructor's.

    Parameters
    ----------
    alpha, beta : float, default 0.5, keyword only
        The price of a false positive, and of a false negative.
    gamma : float, default 1, keyword only
        The exponent itself, not its inverse as in the paper.
    smooth : float, default 1, keyword only
        Added above and below.
    %(parameters)s
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``count`` (scores that were averaged).

    Inputs
    ------
    %(inputs)s

    Notes
    -----
    Where T is exactly 0 and ``gamma < 1`` the derivative is infinite; the gradient there is 0. A gradient may be written
    into the input's own memory.

    Raises
    ------
    %(raises)s

    References
    ----------
    Abraham and Khan 2019 (arXiv 1810.07842), equation 4; the convention is that of the "loss function library" that many
    scripts copy: sigmoid, everything flattened, smooth 1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[2.0, -1.0], [3.0, -2.0]], np.float32)
    >>> y = np.array([[1, 0], [1, 0]], np.uint8)
    >>> round(FocalTverskyLoss(gamma=0.75)(x, y), 4)
    0.1632
    """

    _description = _abi.FOCAL_TVERSKY

    def __init__(
        self, *, alpha: float = 0.5, beta: float = 0.5, gamma: float = 1.0, smooth: float = 1.0, **options: Any
    ):
        super().__init__({"alpha": alpha, "beta": beta, "gamma": gamma, "smooth": smooth}, **options)

    def _bound(
        self,
        input: Any,
        target: Any,
        smooth: Any = None,
        alpha: Any = None,
        beta: Any = None,
        gamma: Any = None,
        *,
        mask: Any = None,
    ) -> Any:
        given = {"smooth": smooth, "alpha": alpha, "beta": beta, "gamma": gamma}
        return given, self._ordered(input, target, mask=mask)
