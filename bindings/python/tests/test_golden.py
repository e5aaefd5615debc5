"""segloss in float64 against the printed golden vectors: 1e-9, or half a unit of the last printed digit."""

import numpy as np
import pytest
import segloss

import golden
from golden import b, m, mt, p, soft, t, ts, x, y


def balance(main, ratio=3, labels=y, **options):
    return segloss.BalanceLoss(main_loss_type=main, negative_ratio=ratio, **options).value_and_grad(p, labels, m)


SINGLE = {
    "mask dice": lambda: segloss.MaskDiceLoss().value_and_grad(p, y, m),
    "balance dice r3": lambda: balance("DiceLoss"),
    "balance bce r3": lambda: balance("BCELoss"),
    "balance bce r1": lambda: balance("BCELoss", 1),
    "mask l1": lambda: segloss.MaskL1Loss().value_and_grad(t, ts, mt),
    "ohem r3": lambda: balance("DiceOHEM"),
    "ohem r3 clean": lambda: balance("DiceOHEM", clean=True),
    "ohem r1": lambda: balance("DiceOHEM", 1),
    "ohem r1 clean": lambda: balance("DiceOHEM", 1, clean=True),
    "dice": lambda: segloss.DiceLoss().value_and_grad(x, y),
    "dice bce": lambda: segloss.DiceBCELoss().value_and_grad(x, y),
    "iou": lambda: segloss.IoULoss().value_and_grad(x, y),
    "focal": lambda: segloss.FocalLoss().value_and_grad(x, y),
    "focal paper": lambda: segloss.FocalLoss(variant="paper").value_and_grad(x, y),
    "focal paper, no alpha": lambda: segloss.FocalLoss(variant="paper", alpha=-1).value_and_grad(x, y),
    "tversky": lambda: segloss.TverskyLoss(alpha=0.3, beta=0.7).value_and_grad(x, y),
    "focal tversky": lambda: segloss.FocalTverskyLoss(alpha=0.3, beta=0.7, gamma=0.75).value_and_grad(x, y),
    "balance bce soft r.5": lambda: balance("BCELoss", 0.5, soft),
    "balance dice soft r3": lambda: balance("DiceLoss", 3, soft),
}


@pytest.mark.parametrize("case", golden.SINGLE)
def test_single(case):
    value, grad = SINGLE[case]()
    golden.check(value, golden.SINGLE[case][0], case)
    golden.check_gradient(grad, golden.SINGLE[case][1:3], golden.SINGLE[case][3:], case)


@pytest.mark.parametrize("case", golden.COMPOSED)
def test_composed(case):
    third = segloss.db_step(p, t) if "step" in case else b
    if "paddle" in case:
        parts, grad = segloss.DBLoss().value_and_grad(np.stack([p, t, third], axis=1), ts, mt, y, m)
        value, grads = parts["loss"], [grad[:, c] for c in range(3)]
        assert value == pytest.approx(sum(v for k, v in parts.items() if k != "loss"), rel=1e-14)
    else:
        value, grads = segloss.L1BalanceCELoss().value_and_grad(p, t, third, y, m, ts, mt)
    if "step" in case:
        on_p, on_t = segloss.db_step_grad(p, t, np.ascontiguousarray(grads[2]))
        grads = [grads[0] + on_p, grads[1] + on_t, grads[2]]
    printed, *sums = golden.COMPOSED[case]
    golden.check(value, printed, case)
    for name, grad, wanted in zip("PTB", grads, sums):
        golden.check_gradient(grad, wanted, what=f"{case}, {name}")
