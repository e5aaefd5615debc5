"""Losses for TensorFlow and Keras: a class and a function for each of `segloss.LOSSES`.

``model.compile(loss=segloss.tensorflow.DiceBCELoss())`` or ``segloss.tensorflow.dice_bce_loss(y_true, y_pred)``, with
channels last: eager, in ``tf.function``, in ``model.fit``, in a SavedModel. Losses are native operations on the CPU,
which read TensorFlow's memory in place.
"""

from typing import TYPE_CHECKING

from ._ctpn import anchor_target_layer as anchor_target_layer
from ._functions import FUNCTIONS as _FUNCTIONS
from ._functions import db_step as db_step
from ._keras import CLASSES as _CLASSES
from ._keras import Loss as Loss

if TYPE_CHECKING:
    from ._names import *  # noqa: F403  (what follows)

globals().update(_FUNCTIONS)
globals().update(_CLASSES)

# Seed 3's form, in place of the one of ready targets.
from ._ctpn import ctpn_loss as ctpn_loss
