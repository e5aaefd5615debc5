from __future__ import annotations

from . import _abi
from ._classes import SmoothLoss, documented


@documented
class IoULoss(SmoothLoss):
    """Intersection over union (Jaccard), whole batch flattened or per class.

    ``L = (FP + FN)/(TP + FP + FN + smooth)``, which is ``1 - (intersection + smooth)/(union + smooth)``.

    Called as ``loss(input, target, smooth=None, *, mask=None)``; a smooth at the call replaces the constructor's.

    Parameters
    ----------
    weight, size_average
        Accepted and not used, as in the code that this replaces.
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
    Nothing at all with ``smooth=0`` gives 0. A gradient may be written into the input's own memory.

    Raises
    ------
    %(raises)s

    References
    ----------
    Rahman and Wang 2016, Optimizing intersection-over-union in deep neural networks (ISVC); the convention is that of the
    "loss function library" that many scripts copy: sigmoid, everything flattened, smooth 1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[2.0, -1.0], [3.0, -2.0]], np.float32)
    >>> y = np.array([[1, 0], [1, 0]], np.uint8)
    >>> round(IoULoss()(x, y), 4)
    0.1637
    """

    _description = _abi.IOU
