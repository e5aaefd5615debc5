from __future__ import annotations

from . import _abi
from ._classes import SmoothLoss, documented


@documented
class DiceLoss(SmoothLoss):
    """Dice, whole batch flattened or per class.

    ``L = (FP + FN)/(2·TP + FP + FN + smooth)``, which is ``1 - (2·Σpy + smooth)/(Σp + Σy + smooth)``, with
    ``TP = Σ p·y``, ``FP = Σ p·(1-y)``, ``FN = Σ (1-p)·y`` over the elements that exist.

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
    An empty target with an empty prediction gives 0, and an empty target still has a gradient. Nothing at all with
    ``smooth=0`` gives 0. A gradient may be written into the input's own memory.

    Raises
    ------
    %(raises)s

    References
    ----------
    Milletari et al. 2016, V-Net (arXiv 1606.04797), with linear denominators; the convention is that of the "loss function
    library" that many scripts copy: sigmoid, everything flattened, smooth 1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[2.0, -1.0], [3.0, -2.0]], np.float32)
    >>> y = np.array([[1, 0], [1, 0]], np.uint8)
    >>> round(DiceLoss()(x, y), 4)
    0.1062
    """

    _description = _abi.DICE
