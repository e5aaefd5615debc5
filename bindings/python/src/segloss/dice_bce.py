from __future__ import annotations

from . import _abi
from ._classes import SmoothLoss, documented


@documented
class DiceBCELoss(SmoothLoss):
    """Dice plus mean binary cross-entropy, 1 : 1, from one read.

    ``L = Dice + Σ l / n`` of each score; ``l`` is the logits form of cross-entropy, or PyTorch's on probabilities.

    Called as ``loss(input, target, smooth=None, *, mask=None)``; a smooth at the call replaces the constructor's.

    Parameters
    ----------
    weight, size_average
        Accepted and not used, as in the code that this replaces.
    smooth : float, default 1, keyword only
        Added above and below, in Dice.
    %(parameters)s
    return_parts : bool, default False, keyword only
        Return a dict ``loss``, ``bce_loss``, ``dice_loss``, ``count`` (scores whose Dice was averaged), ``elements``.

    Inputs
    ------
    %(inputs)s

    Notes
    -----
    From logits nothing is capped at 100 and no gradient dies where the sigmoid rounds to 0 or 1. Probabilities and their
    targets must lie in [0, 1]. ``absent`` concerns Dice alone. Softmax is refused: binary cross-entropy goes with sigmoid.

    Raises
    ------
    %(raises)s

    References
    ----------
    Isensee et al. 2021, nnU-Net, for the sum of both; the convention is that of the "loss function library" that many
    scripts copy: sigmoid, everything flattened, smooth 1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[2.0, -1.0], [3.0, -2.0]], np.float32)
    >>> y = np.array([[1, 0], [1, 0]], np.uint8)
    >>> round(DiceBCELoss()(x, y), 4)
    0.2602
    """

    _description = _abi.DICE_BCE
