"""What every way into the library has to do alike; each framework's test file makes a class of it.

class TestFace(Face):
    def run(self, loss, inputs, predictions): ...
"""

import re

import golden_bits
import numpy as np
import policy
import pytest
from program_cases import cases
from support import total

CASES = {case.name: case for case in cases()}
LABELS = {"target": 3, "labels": 3, "rpn_labels": 2}
# Arguments that name classes, by case; class 3 is not there, neither are these.
WITH_LABELS = [
    name
    for name, case in CASES.items()
    if name.startswith(("boundary", "ctpn")) or golden_bits.drawn(case).get("target", np.zeros(0)).dtype == np.int64
]


def rebuilt(case, **more):
    """The case's loss with more options."""
    positional, named = case.make()._arguments
    return type(case.make())(*positional, **{**named, **more})


def run_numpy(loss, inputs, predictions):
    value, grad = loss.value_and_grad(**inputs)
    return total(value), list(grad) if isinstance(grad, tuple | list) else [grad]


def run_program(loss, inputs, predictions):
    """The C functions that run any loss, through ctypes."""
    from test_programs import run

    program, arrays = loss.program(**inputs)
    value, _, gradients = run(program, arrays)
    return value, gradients


# What C calls some arguments: the names that a refusal has in frameworks whose kernels call the library themselves.
NAMES_IN_C = {"maps": ("prob",), "pred": ("preds",), "logits": ("pred",)}


class Face:
    """`run` gives (the loss, [the gradient of each prediction, or of each level of it]) as numpy has them."""

    refusals = (ValueError,)
    other_names = {}

    def run(self, loss, inputs, predictions):
        raise NotImplementedError

    def check_refusal(self, argument, loss, inputs, predictions):
        """The sentence names the argument."""
        with pytest.raises(self.refusals) as caught:
            self.run(loss, inputs, predictions)
        names = "|".join(re.escape(name) for name in (argument, *self.other_names.get(argument, ())))
        assert re.search(rf"\b({names})\b", str(caught.value)), f"{argument} is not named in: {caught.value}"

    @pytest.mark.parametrize("name", CASES)
    def test_golden_bits(self, name):
        """The bits that are written down."""
        case = CASES[name]
        inputs = golden_bits.drawn(case)
        golden_bits.check_rounded(f"{name} f32", *self.run(case.make(), inputs, case.predictions))

    @pytest.mark.parametrize("name", CASES)
    def test_not_finite(self, name):
        """What the table says; and under "refuse" a sentence."""
        case = CASES[name]
        inputs = policy.counted(name, golden_bits.drawn(case))
        for prediction in case.predictions:
            for value, number in policy.NOT_FINITE.items():
                given = policy.poisoned(inputs, prediction, number)
                expected = policy.of(name, prediction)[value]
                if expected == "refused":
                    self.check_refusal(prediction, case.make(), given, case.predictions)
                else:
                    loss, _ = self.run(case.make(), given, case.predictions)
                    assert policy.outcome(loss) == expected, (
                        f"{name}: {prediction} = {value} gave {policy.outcome(loss)}"
                    )
            strict = rebuilt(case, non_finite="refuse")
            self.check_refusal(prediction, strict, policy.poisoned(inputs, prediction, np.nan), case.predictions)

    @pytest.mark.parametrize("name", WITH_LABELS)
    def test_labels_that_name_no_class(self, name):
        """Refused by name, wherever they are; nothing is looked up with them."""
        case = CASES[name]
        inputs = golden_bits.drawn(case)
        argument = next(a for a in inputs if a in LABELS)
        for label in (LABELS[argument], -2, 2**31 - 1, -(2**31)):
            wrong = inputs[argument].copy()
            wrong.flat[wrong.size // 2] = label
            self.check_refusal(argument, case.make(), {**inputs, argument: wrong}, case.predictions)
