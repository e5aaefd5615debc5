"""segloss in float64 against the printed golden vectors: 1e-9, or half a unit of the last printed digit."""

import numpy as np
import pytest
import segloss
from segloss._command import golden
from segloss._command.golden import m, mt, p, t, ts, y


@pytest.mark.parametrize("case", golden.CASES, ids=lambda case: case.name)
def test_case(case):
    case.verify()


def test_every_loss_has_a_case():
    assert {type(case.loss).__name__ for case in golden.CASES} == set(segloss.LOSSES)


def test_a_wrong_number_is_seen():
    case = golden.CASES[0]
    with pytest.raises(AssertionError, match="is not"):
        golden.check(float(case.value) * (1 + 1e-8), case.value)
    with pytest.raises(AssertionError, match=r"gradient \[17\]"):
        golden.check_gradient(np.zeros(84), ("0", "0"), ("0", ".5"))


@pytest.mark.parametrize("case", [case for case in golden.COMPOSED if "step" in case])
def test_through_the_step(case):
    third = segloss.db_step(p, t)
    if "paddle" in case:
        parts, grad = segloss.DBLoss().value_and_grad(np.stack([p, t, third], axis=1), ts, mt, y, m)
        value, grads = parts["loss"], [grad[:, c] for c in range(3)]
        assert value == pytest.approx(sum(v for k, v in parts.items() if k != "loss"), rel=1e-14)
    else:
        value, grads = segloss.L1BalanceCELoss().value_and_grad(p, t, third, y, m, ts, mt)
    on_p, on_t = segloss.db_step_grad(p, t, np.ascontiguousarray(grads[2]))
    printed, *sums = golden.COMPOSED[case]
    golden.check(value, printed, case)
    for name, grad, wanted in zip("PT", (grads[0] + on_p, grads[1] + on_t), sums[:2], strict=True):
        golden.check_gradient(grad, wanted, what=f"{case}, {name}")
