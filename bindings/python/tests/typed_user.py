"""What a type checker makes of a user's code: `make lint` checks this file. An error that it does not find is an unused
`type: ignore`, which is one."""

from typing import Any, assert_type

import numpy as np
import segloss
import segloss.jax
import segloss.paddle
import segloss.tensorflow
import segloss.torch

x = np.zeros((1, 1, 4, 4), np.float32)

assert_type(segloss.DiceLoss()(x, x), float)
assert_type(segloss.DiceLoss(return_parts=True)(x, x), dict[str, float])
assert_type(segloss.DiceLoss(reduction="none")(x, x), np.ndarray[Any, np.dtype[Any]])
assert_type(segloss.DBLoss()(x, x, x, x, x), dict[str, float])
assert_type(segloss.FocalLoss(variant="paper").value_and_grad(x, x), tuple[float, np.ndarray[Any, np.dtype[Any]]])
assert_type(segloss.torch.dice_loss(x, x, return_parts=True), dict[str, Any])

segloss.FocalLoss(variant="papper")  # type: ignore[call-overload]
segloss.DiceLoss(smoth=1)  # type: ignore[call-overload]
segloss.DiceLoss()(x)  # type: ignore[call-arg]
segloss.torch.DiceLoss(smooth=1, averag="macro")  # type: ignore[call-overload]
segloss.paddle.boundary_loss(x, x, theta=7, thata=3)  # type: ignore[call-overload]
segloss.tensorflow.TverskyLoss(alpha=0.3, gamma=2)  # type: ignore[call-arg]
segloss.jax.focal_loss(x, x, variant="paper", axis="batch")  # type: ignore[call-overload]
