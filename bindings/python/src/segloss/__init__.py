"""segloss: segmentation and text-detection training losses, value and gradient, from a Swift core.

Every loss is a class: ``loss = L(...)(*inputs)`` is its value, ``value, grad = L(...).value_and_grad(*inputs)`` value and
gradient. Inputs are numpy arrays, or any array on the CPU that shares its memory; nothing is copied.
"""

from __future__ import annotations

from . import _abi, _call, _memory
from ._loss import Loss as _Loss
from .active_contour import ActiveContourLoss as ActiveContourLoss
from .active_contour import active_contour_loss as active_contour_loss
from .balance import BalanceLoss as BalanceLoss
from .bce import BCELoss as BCELoss
from .boundary import BoundaryLoss as BoundaryLoss
from .cross_entropy import CrossEntropyLoss as CrossEntropyLoss
from .ctpn import CTPNLoss as CTPNLoss
from .ctpn_anchors import CTPNAnchorTargets as CTPNAnchorTargets
from .ctpn_anchors import ctpn_anchor_targets as ctpn_anchor_targets
from .db import DBLoss as DBLoss
from .db_step import db_step as db_step
from .db_step import db_step_grad as db_step_grad
from .dice import DiceLoss as DiceLoss
from .dice_bce import DiceBCELoss as DiceBCELoss
from .focal import FocalLoss as FocalLoss
from .focal_tversky import FocalTverskyLoss as FocalTverskyLoss
from .iou import IoULoss as IoULoss
from .l1_balance_ce import L1BalanceCELoss as L1BalanceCELoss
from .mask_dice import MaskDiceLoss as MaskDiceLoss
from .mask_l1 import MaskL1Loss as MaskL1Loss
from .smooth_l1 import SmoothL1Loss as SmoothL1Loss
from .structure import StructureLoss as StructureLoss
from .structure import structure_loss as structure_loss
from .tversky import TverskyLoss as TverskyLoss

#: The classes by their names: what the modules of frameworks are made of.
LOSSES: dict[str, type[_Loss]] = {
    name: value
    for name, value in globals().copy().items()
    if isinstance(value, type) and issubclass(value, _Loss) and value is not _Loss
}

__version__ = _abi.version().decode()


def instruction_set() -> str:
    """The kernels that run: "baseline", "avx2" or "avx512", the processor's best or what SEGLOSS_ISA forces."""
    error = _abi.Error()
    name = _abi.instruction_set(error)
    _abi.check(error.status, error)
    return str(name.decode())


def num_threads() -> int:
    """Threads of a call: what `set_num_threads` says, else SEGLOSS_NUM_THREADS, else the processors there are."""
    return int(_abi.num_threads())


def set_num_threads(n: int) -> None:
    """Sets the threads of later calls; 0 goes back to the default. Results do not depend on it."""
    _abi.set_num_threads(min(_call.count("n", n), 2**31 - 1))


def shutdown() -> None:
    """Ends the library's threads, and gives back the memory that waits for the next call. That starts and takes new ones."""
    _abi.shutdown()
    _memory.release()


try:
    instruction_set()
except RuntimeError as _error:
    raise ImportError(f"segloss: {_error}") from None
