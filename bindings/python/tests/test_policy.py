"""The table of what comes of numbers that are none, in numpy's and C's way in; the frameworks' files check theirs."""

from pathlib import Path

import golden_bits
import numpy as np
import policy
import pytest
from faces import CASES, LABELS, WITH_LABELS, Face, rebuilt, run_numpy, run_program
from support import PREDICTION_TYPES


class TestNumPy(Face):
    def run(self, loss, inputs, predictions):
        return run_numpy(loss, inputs, predictions)


class TestC(Face):
    def run(self, loss, inputs, predictions):
        return run_program(loss, inputs, predictions)


def test_the_guide_has_the_table():
    guides = Path(__file__).resolve().parents[3] / "Guides"
    assert policy.table() in (guides / "Trust.md").read_text(), "python policy.py prints it"


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", CASES)
def test_outside_the_range(name, kind):
    """2 and -1 are ordinary logits, and numbers like others in formulas without a logarithm."""
    case = CASES[name]
    inputs = policy.counted(name, golden_bits.drawn(case, PREDICTION_TYPES[kind]))
    for prediction in case.predictions:
        for number in (2.0, -1.0):
            given = policy.poisoned(inputs, prediction, number)
            if policy.of(name, prediction).outside == "refused":
                with pytest.raises(ValueError, match=rf"\b{prediction}\b"):
                    run_numpy(case.make(), given, case.predictions)
            else:
                loss, gradients = run_numpy(case.make(), given, case.predictions)
                assert np.isfinite(loss).all() and all(np.isfinite(g.astype(np.float64)).all() for g in gradients)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", CASES)
def test_refuse_in_every_type(name, kind):
    case = CASES[name]
    inputs = policy.counted(name, golden_bits.drawn(case, PREDICTION_TYPES[kind]))
    loss = rebuilt(case, non_finite="refuse")
    run_numpy(loss, inputs, case.predictions)
    for prediction in case.predictions:
        for number in policy.NOT_FINITE.values():
            with pytest.raises(ValueError, match=rf"\b{prediction}\b"):
                run_numpy(loss, policy.poisoned(inputs, prediction, number), case.predictions)


@pytest.mark.parametrize("policy_", ["propagate", "refuse", "skip_masked"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("name", WITH_LABELS)
def test_labels_at_every_place(name, dtype, policy_):
    """First, last and in between, of every type of integers, under every policy."""
    case = CASES[name]
    inputs = {k: np.ones_like(v) if k == "mask" else v for k, v in golden_bits.drawn(case).items()}
    argument = next(a for a in inputs if a in LABELS)
    wrong = [
        LABELS[argument],
        *((-2, 2**31 - 1) if dtype != np.uint8 else (254,)),
        *((2**40,) if dtype == np.int64 else ()),
    ]
    loss = rebuilt(case, non_finite=policy_)
    if dtype == np.uint8 and argument == "rpn_labels":
        inputs[argument] = np.abs(inputs[argument])
    for label in wrong:
        for at in (0, inputs[argument].size // 3, -1):
            labels = inputs[argument].astype(dtype)
            labels.flat[at] = label
            with pytest.raises(ValueError, match=rf"\b{argument}\b"):
                run_numpy(loss, {**inputs, argument: labels}, case.predictions)
            if "mask" in inputs:  # masked or not, unless what is masked is not read
                given = {**inputs, argument: labels, "mask": np.zeros_like(inputs["mask"])}
                if policy_ == "skip_masked":
                    value, gradients = run_numpy(loss, given, case.predictions)
                    assert not np.any(value) and not any(g.any() for g in gradients)
                else:
                    with pytest.raises(ValueError, match=rf"\b{argument}\b"):
                        run_numpy(loss, given, case.predictions)


@pytest.mark.parametrize("name", [name for name in WITH_LABELS if not name.startswith("ctpn")])
def test_the_ignored_label_is_none_but_itself(name):
    """Labels are compared in float32: beyond 2^24 - 1 one could be taken for another, and no such is to be ignored."""
    case = CASES[name]
    inputs = golden_bits.drawn(case)
    argument = next(a for a in inputs if a in LABELS)
    inputs[argument] = np.clip(inputs[argument], 0, 2)
    for most in (2**24 - 1, -(2**24) + 1):
        for label in (most, most + 1, most - 1, most + 2**32):
            given = {**inputs, argument: inputs[argument].copy()}
            given[argument].flat[5] = label
            if label == most:
                run_numpy(rebuilt(case, ignore_index=most), given, case.predictions)
            else:
                with pytest.raises(ValueError, match=rf"\b{argument}\b"):
                    run_numpy(rebuilt(case, ignore_index=most), given, case.predictions)
    for beyond in (2**24, -(2**24)):
        with pytest.raises(ValueError, match="ignore_index"):
            run_numpy(rebuilt(case, ignore_index=beyond), inputs, case.predictions)
