"""The parts of DBLoss under the names that PaddleOCR's ``ppocr.losses.det_basic_loss`` has them.

`DiceLoss` here is the masked one, `segloss.paddle.MaskDiceLoss`.
"""

from . import BalanceLoss, MaskDiceLoss, MaskL1Loss

__all__ = ["BalanceLoss", "DiceLoss", "MaskL1Loss"]


class DiceLoss(MaskDiceLoss):  # type: ignore[type-arg]
    __doc__ = MaskDiceLoss.__doc__
