"""CTPN's published loss, run live in TensorFlow in graph mode, in float32.

Its sums round in float32, so agreement ends at 5e-6 of a value and 1e-5 of the largest entry of a gradient: its
rounding, not ours. TensorFlow has a process of its own (see `upstream_tensorflow.py`), which computes all cases at
once.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segloss
from ctpn_cases import draw, page
from frameworks import framework_elsewhere
from segloss._command import golden
from support import check_gradient

framework_elsewhere("tensorflow")


def normal(shape, seed=0, scale=1.0):
    """Numbers with all their digits, in the layout and with the labels and weights of a draw."""
    inputs = list(draw(shape, seed, np.float32, side=False).values())
    rng = np.random.default_rng(seed)
    for i in (0, 1, 3):
        inputs[i] = (scale * rng.standard_normal(inputs[i].shape)).astype(np.float32)
    return inputs


def with_labels(inputs, change):
    inputs[2] = change(inputs[2])
    return inputs


def real(seed):
    boxes, image, feature = page(seed, 60)
    targets = segloss.ctpn_anchor_targets(boxes, image, feature, seed=3)
    rng = np.random.default_rng(seed)
    return [*(0.3 * rng.standard_normal((1, *feature, 10 * k)).astype(np.float32) for k in (2, 4)), *targets[:4]]


def nan_on_the_background():
    inputs = normal((1, 7, 11, 10))
    background = np.repeat(inputs[2] == 0, 4, axis=-1)
    inputs[5] = np.where(background, 0, inputs[5])
    inputs[3] = np.where(background, np.float32(np.nan), inputs[3])
    return inputs


def nan_in_ignored():
    inputs = normal((1, 7, 11, 10))
    for i, k in ((0, 2), (1, 4), (3, 4), (4, 4), (5, 4)):
        inputs[i] = np.where(np.repeat(inputs[2] == -1, k, axis=-1), np.float32(np.nan), inputs[i])
    return inputs


CASES = {
    "golden": lambda: [np.asarray(a, np.int32 if i == 2 else np.float32) for i, a in enumerate(golden.ctpn_inputs())],
    "small": lambda: normal((1, 7, 11, 10)),
    "one": lambda: normal((1, 1, 1, 1)),
    "page": lambda: normal((1, 37, 53, 10)),
    "steep": lambda: normal((1, 7, 11, 10), scale=20.0),
    "flat": lambda: normal((1, 7, 11, 10), scale=1e-3),
    "targets": lambda: real(0),
    "no text": lambda: with_labels(normal((1, 7, 11, 10)), lambda y: np.minimum(y, 0)),
    "all text": lambda: with_labels(normal((1, 7, 11, 10)), lambda y: 0 * y + 1),
    "nan in ignored": nan_in_ignored,
    "nan on the background": nan_on_the_background,
    "nothing kept": lambda: with_labels(normal((1, 7, 11, 10)), lambda y: 0 * y - 1),
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorflow")
    arrays = {f"{name}/{i}": a for name, make in CASES.items() for i, a in enumerate(make())}
    np.savez(folder / "cases.npz", **arrays)
    worker = Path(__file__).with_name("upstream_tensorflow.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(folder / "cases.npz"), str(folder / "results.npz")],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "results.npz")


@pytest.mark.parametrize("case", CASES)
def test_published(case, upstream):
    theirs = {key: upstream[f"{case}/{key}"] for key in ("rpn_cross_entropy", "rpn_loss_box", "cls", "box")}
    parts, (on_cls, on_box) = segloss.CTPNLoss().value_and_grad(*CASES[case]())
    if case == "nothing kept":
        # The mean of nothing, which here is 0; the gradients agree that there is none.
        assert np.isnan(theirs["rpn_cross_entropy"]) and theirs["rpn_loss_box"] == 0
        assert set(parts.values()) == {0.0}
        assert not any(g.any() for g in (on_cls, on_box, theirs["cls"], theirs["box"]))
        return
    for key in ("rpn_cross_entropy", "rpn_loss_box"):
        assert parts[key] == pytest.approx(float(theirs[key]), rel=5e-6, abs=1e-7, nan_ok=True), key
    if case == "nan on the background":
        assert np.isnan(parts["rpn_loss_box"]) and np.array_equal(np.isnan(on_box), np.isnan(theirs["box"]))
        on_box, theirs["box"] = np.nan_to_num(on_box), np.nan_to_num(theirs["box"])
    for grad, key in ((on_cls, "cls"), (on_box, "box")):
        check_gradient(grad.ravel(), theirs[key].ravel().astype(np.float64), 1e-5)


def test_the_printed_run(upstream):
    """What the specification recorded of TensorFlow."""
    assert upstream["golden/rpn_cross_entropy"] == pytest.approx(0.6637668, abs=1e-7)
    assert upstream["golden/rpn_loss_box"] == pytest.approx(0.21181378, abs=1e-7)
    assert np.abs(upstream["golden/cls"]).sum() == pytest.approx(0.87842435, abs=1e-7)
    assert np.abs(upstream["golden/box"]).sum() == pytest.approx(1.4606324, abs=2e-7)
