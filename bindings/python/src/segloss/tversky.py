from __future__ import annotations

from typing import Any

from . import _abi
from ._classes import OverlapLoss, documented


@documented
class TverskyLoss(OverlapLoss):
    """Tversky index: Dice with a price for each kind of error.

    ``L = (α·FP + β·FN)/(TP + α·FP + β·FN + smooth)``, which is ``1 - (TP + smooth)/(TP + α·FP + β·FN + smooth)``.

    Called as ``loss(input, target, smooth=None, alpha=None, beta=None, *, mask=None)``; numbers at the call replace the
    constructor's.

    Parameters
    ----------
    alpha, beta : float, default 0.5, keyword only
        The price of a false positive, and of a false negative.
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
    ``alpha = beta = 0.5`` is Dice with twice the smooth, ``alpha = beta = 1`` IoU. A gradient may be written into the
    input's own memory.

    Raises
    ------
    %(raises)s

    References
    ----------
    Salehi et al. 2017 (arXiv 1706.05721), equation 3; the convention is that of the "loss function library" that many
    scripts copy: sigmoid, everything flattened, smooth 1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[2.0, -1.0], [3.0, -2.0]], np.float32)
    >>> y = np.array([[1, 0], [1, 0]], np.uint8)
    >>> round(TverskyLoss(alpha=0.3, beta=0.7)(x, y), 4)
    0.076
    """

    _description = _abi.TVERSKY

    def __init__(self, *, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0, **options: Any):
        super().__init__({"alpha": alpha, "beta": beta, "smooth": smooth}, **options)

    def _bound(
        self, input: Any, target: Any, smooth: Any = None, alpha: Any = None, beta: Any = None, *, mask: Any = None
    ) -> Any:
        return {"smooth": smooth, "alpha": alpha, "beta": beta}, self._ordered(input, target, mask=mask)
