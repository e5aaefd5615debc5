"""PaddleOCR's losses, run live in Paddle's dygraph with its autograd, in float32.

The bounds, and why inputs leave a gap at the K-th place: see `test_oracle_torch.py`; Paddle's sort is not stable
either.
"""

import numpy as np
import pytest
import reference as ref
import segloss
from frameworks import framework
from segloss._command import golden
from support import SMALL, check_gradient, probabilities, scene

paddle = framework("paddle")
import upstream_paddle as up

SCENES = [
    "binary",
    "no positives",
    "all positive",
    "few negatives",
    "nothing valid",
    "soft",
    "soft, weighted mask",
    "signed",
    "negative negatives",
]
# The slope of a scalar main loss is broadcast over the batch, and Paddle adds its shares up one by one in float32: at
# 5000 pixels that alone is off by more than 1e-5. A map of losses has nothing to add up.
MAINS_AND_SHAPES = [("DiceLoss", SMALL), ("MaskL1Loss", SMALL), ("BCELoss", SMALL), ("BCELoss", (2, 131, 97))]
PARTS = ["loss", "loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps"]


@pytest.fixture(autouse=True, scope="module")
def on_the_cpu():
    paddle.set_device("cpu")


def leaf(a):
    return paddle.to_tensor(a, stop_gradient=False)


def gradient(tensor):
    return np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy().astype(np.float64)


def with_gaps(shape, g, m, ratio):
    """Predictions whose K-th and next mined cross-entropy differ by more than float32 can blur."""
    pos, neg = ref.weights_of(g, m)
    K = ref.counts(pos, neg, ratio)[1]
    for seed in range(50):
        p = probabilities(np.random.default_rng(seed), shape)
        if ref.gap(neg * ref.bce(p, g, "paddle")[0], K) > 1e-5:
            return p
    raise AssertionError("fifty draws without a gap")


def targets(name, shape):
    """(label, mask), float32."""
    return [a.astype(np.float32) for a in scene(name, shape)]


@pytest.mark.parametrize("ratio", [3, 0.5, 0])
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("main, shape", MAINS_AND_SHAPES, ids=str)
def test_balance(main, name, ratio, shape):
    g, m = targets(name, shape)
    p = with_gaps(shape, g, m, ratio)
    value, grad = segloss.BalanceLoss(main_loss_type=main, negative_ratio=ratio).value_and_grad(p, g, m)
    tensor = leaf(p)
    upstream = up.balance(tensor, paddle.to_tensor(g), paddle.to_tensor(m), main, ratio)
    upstream.backward()
    assert value == pytest.approx(upstream.item(), rel=5e-6, abs=1e-7)
    check_gradient(grad, gradient(tensor), 1e-5)


@pytest.mark.parametrize("main", ["DiceLoss", "BCELoss", "MaskL1Loss"])
def test_balance_off(main):
    g, m = targets("binary", SMALL)
    p = probabilities(np.random.default_rng(0), SMALL)
    value, grad = segloss.BalanceLoss(False, main).value_and_grad(p, g, m)
    tensor = leaf(p)
    upstream = up.balance(tensor, paddle.to_tensor(g), paddle.to_tensor(m), main, balanced=False)
    upstream.sum().backward()
    assert np.allclose(value, upstream.numpy(), rtol=5e-6, atol=1e-7)
    check_gradient(grad, gradient(tensor), 1e-5)


@pytest.mark.parametrize("name", SCENES)
def test_dice_and_l1(name):
    p, (g, m) = probabilities(np.random.default_rng(0), SMALL), targets(name, SMALL)
    for loss, upstream in ((segloss.MaskDiceLoss(), up.mask_dice), (segloss.MaskL1Loss(), up.mask_l1)):
        value, grad = loss.value_and_grad(p, g, m)
        tensor = leaf(p)
        other = upstream(tensor, paddle.to_tensor(g), paddle.to_tensor(m))
        other.backward()
        assert value == pytest.approx(other.item(), rel=5e-6, abs=1e-7)
        check_gradient(grad, gradient(tensor), 1e-5)


def test_dice_weights():
    p, (g, m) = probabilities(np.random.default_rng(0), SMALL), targets("binary", SMALL)
    weights = np.random.default_rng(1).random(SMALL).astype(np.float32)
    value, grad = segloss.MaskDiceLoss().value_and_grad(p, g, m, weights)
    tensor = leaf(p)
    other = up.mask_dice(tensor, *map(paddle.to_tensor, (g, m, weights)))
    other.backward()
    assert value == pytest.approx(other.item(), rel=5e-6)
    check_gradient(grad, gradient(tensor), 1e-5)


def compare_db(maps, labels, main="DiceLoss", balanced=True, **options):
    parts, grad = segloss.DBLoss(balanced, main, **options).value_and_grad(maps, *labels)
    tensor = leaf(maps)
    short = {"ohem_ratio": "ratio"}
    other = up.db_loss(
        tensor,
        *map(paddle.to_tensor, labels),
        main=main,
        balanced=balanced,
        **{short.get(k, k): v for k, v in options.items()},
    )
    other["loss"].backward()
    for part in PARTS:
        assert parts[part] == pytest.approx(other[part].item(), rel=5e-6, abs=1e-7), part
    check_gradient(grad, gradient(tensor), 1e-5)


@pytest.mark.parametrize("name", ["binary", "no positives", "few negatives", "nothing valid", "soft"])
@pytest.mark.parametrize("main, shape", MAINS_AND_SHAPES, ids=str)
def test_db(main, name, shape):
    g, m = targets(name, shape)
    rng = np.random.default_rng(2)
    maps = np.stack([with_gaps(shape, g, m, 3), probabilities(rng, shape), probabilities(rng, shape)], axis=1)
    mt = targets("nothing valid" if name == "nothing valid" else "binary", shape)[1]
    compare_db(maps, [0.3 + 0.4 * probabilities(rng, shape), mt, g, m], main)


@pytest.mark.parametrize(
    "options",
    [dict(alpha=2, beta=7), dict(eps=0.5), dict(ohem_ratio=0.5, main="BCELoss"), dict(balanced=False)],
    ids=str,
)
def test_db_options(options):
    """The constructor's eps in particular, which upstream does not hand on to its balanced term."""
    g, m = targets("binary", SMALL)
    rng = np.random.default_rng(2)
    maps = np.stack(
        [with_gaps(SMALL, g, m, options.get("ohem_ratio", 3)), probabilities(rng, SMALL), probabilities(rng, SMALL)],
        axis=1,
    )
    compare_db(maps, [0.3 + 0.4 * probabilities(rng, SMALL), m, g, m], **options)


def test_db_on_the_golden_inputs():
    maps = np.stack([golden.p, golden.t, golden.b], axis=1).astype(np.float32)
    compare_db(maps, [a.astype(np.float32) for a in (golden.ts, golden.mt, golden.y, golden.m)])
