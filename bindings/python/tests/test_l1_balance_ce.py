"""L1BalanceCELoss: MhLiao's Dice + 10 L1 + 5 balanced cross-entropy."""

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import BY_NAME
from support import SHAPES, SMALL, UNSIGNED, bounds, check_gradient, check_value, grid, id_of, probabilities, scene

ENTRY = BY_NAME["l1-balance-ce"]


def alone(p, g, m, **options):
    """The balanced cross-entropy by itself: what a prediction without thresholds gives."""
    value, grads = segloss.L1BalanceCELoss(**options).value_and_grad(p, None, None, g, m, None, None)
    return value, grads[0] if isinstance(grads, tuple) else grads


def check_alone(p, g, m, kind, ratio=3.0):
    value, grad = alone(p, g, m, negative_ratio=ratio)
    want, wanted = ref.balanced_ce(p, g, m, ratio)
    check_value(value, want, bounds(kind)[0])
    check_gradient(grad, wanted, bounds(kind, divides=True)[1])
    return want, wanted


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
def test_sizes(shape, kind):
    inputs = ENTRY.draw(shape, dtype=kind.replace("f", "float"))
    parts, grads = ENTRY.run(inputs, {"return_parts": True})
    want, wanted = ENTRY.reference(*inputs.values())
    check_value(parts, want, bounds(kind)[0])
    for i, (grad, w) in enumerate(zip(grads, wanted, strict=True)):
        check_gradient(grad, w, bounds(kind, divides=i == 0)[1])
    assert ENTRY.make()(*inputs.values()) == parts["loss"] == ENTRY.run(inputs)[0]


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("ratio", [3.0, 0.5, 0.0, 1e6])
@pytest.mark.parametrize("name", UNSIGNED)
def test_scenes(name, ratio, kind):
    """On a grid: ties at the K-th place are settled by the index, also where soft labels have lost their weight."""
    p = grid(np.random.default_rng(3), SMALL).astype(kind.replace("f", "float"))
    g, m = (a.astype(p.dtype) for a in scene(name, SMALL))
    check_alone(p, g, m, kind, ratio)


@pytest.mark.parametrize(
    "with_channel",
    [ENTRY.predictions, (*ENTRY.predictions, "gt"), tuple(ENTRY.draw((1, 1, 1))), ("thresh", "mask")],
    ids="+".join,
)
def test_channel_axis(with_channel):
    """MhLiao's channel axis may be there or not, argument by argument (upstream: predictions and label have it, masks
    do not)."""
    inputs = ENTRY.draw(SMALL)
    want, wanted = ENTRY.run(inputs)
    shaped = {k: v[:, None] if k in with_channel else v for k, v in inputs.items()}
    value, grads = ENTRY.run(shaped)
    assert value == want
    for name, grad, flat in zip(ENTRY.predictions, grads, wanted, strict=True):
        assert grad.shape == shaped[name].shape and np.array_equal(grad.reshape(SMALL), flat)


@pytest.mark.parametrize(
    "options, reference_options",
    [
        (dict(eps=0.5), dict(eps=0.5)),
        (dict(l1_scale=3), dict(l1_scale=3)),
        (dict(bce_scale=0.25), dict(bce_scale=0.25)),
        (dict(negative_ratio=1.5), dict(ratio=1.5)),
        (dict(l1_scale=0, bce_scale=0), dict(l1_scale=0, bce_scale=0)),
    ],
    ids=str,
)
def test_options(options, reference_options):
    inputs = ENTRY.draw(SMALL)
    value, grads = ENTRY.run(inputs, {**options, "return_parts": True})
    want, wanted = ref.l1_balance_ce(*inputs.values(), **reference_options)
    check_value(value, want, 1e-12)
    for grad, w in zip(grads, wanted, strict=True):
        check_gradient(grad, w, 1e-12)


def test_without_thresholds_it_is_the_cross_entropy_with_factor_one():
    inputs = ENTRY.draw(SMALL)
    p, g, m = inputs["binary"], inputs["gt"], inputs["mask"]
    value, grads = segloss.L1BalanceCELoss(bce_scale=5).value_and_grad(p, None, None, g, m, None, None)
    want, wanted = ref.balanced_ce(p, g, m)
    check_value(value, want, 1e-12)
    check_gradient(grads[0], wanted, 1e-12)
    assert tuple(grads[1:]) == (None, None)
    assert segloss.L1BalanceCELoss()(p, None, None, g, m, None, None) == value


def test_an_empty_threshold_mask_has_no_eps_to_hide_behind():
    """Exactly 0 is guarded: value 0, no gradient. Anything else divides, a hundredth too."""
    inputs = ENTRY.draw(SMALL)
    inputs["thresh_mask"][:] = 0
    parts, grads = ENTRY.run(inputs, {"return_parts": True})
    assert parts["l1_loss"] == 0.0 and not grads[1].any()
    inputs["thresh_mask"][0, 0, 0] = 2.0**-7
    parts, grads = ENTRY.run(inputs, {"return_parts": True})
    distance = abs(inputs["thresh"] - inputs["thresh_map"])[0, 0, 0]
    assert parts["l1_loss"] == pytest.approx(distance, rel=1e-14) and abs(grads[1]).sum() == pytest.approx(
        10 if distance else 0, rel=1e-14
    )


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize(
    "weight, byte",
    [
        (-1, 0),
        (-0.5, 0),
        (0.5, 0),
        (0.999, 0),
        (1, 1),
        (1.9, 1),
        (2, 2),
        (254.5, 254),
        (255, 255),
        (256, 255),
        (300, 255),
        (1e30, 255),
        (np.inf, 255),
        (-np.inf, 0),
        (np.nan, 0),
    ],
)
def test_weights_go_through_a_byte(weight, byte, kind):
    """One pixel's mask carries the weight; what counts is its byte, for a positive as for a negative."""
    p = np.linspace(0.1, 0.9, 40).astype(kind.replace("f", "float"))[None, None]
    for label in (0.0, 1.0):
        g, m = np.zeros_like(p), np.ones_like(p)
        g[..., ::4] = 1
        g[..., 2] = label
        m[..., 2] = byte
        want, wanted = ref.balanced_ce(p, g, m, ratio=0.5)
        m[..., 2] = weight
        value, grad = alone(p, g, m, negative_ratio=0.5)
        check_value(value, want, bounds(kind)[0])
        check_gradient(grad, wanted, bounds(kind, divides=True)[1])


def test_more_mined_than_pixels():
    """A mask of 2 counts each negative twice. torch refuses to take more than there are; here all are taken, as
    Paddle's form has it."""
    p = np.linspace(0.1, 0.9, 20)[None, None]
    g = np.zeros_like(p)
    g[..., :6] = 1
    assert ref.counts(*ref.weights_of(g, 2 * np.ones_like(p), truncate=True), 3) == (12, 28)
    check_alone(p, g, np.full_like(p, 2), "f64")


def test_a_soft_label_trains_nothing():
    p = probabilities(np.random.default_rng(0), SMALL)
    g = np.clip(np.random.default_rng(1).random(SMALL), 0.01, 0.99).astype(np.float32)
    value, grad = alone(p, g, np.ones(SMALL, np.uint8))
    assert value == 0.0 and not grad.any()


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_log1p_keeps_small_probabilities(kind):
    """torch's flavour: at 1e-8 a negative costs 1e-8, where log(1 - p) would round to nothing."""
    p, g = np.full((1, 1, 2), 1e-8, kind.replace("f", "float")), np.array([[[0, 1]]], np.uint8)
    p[..., 1] = 1
    value, _ = alone(p, g, np.ones((1, 1, 2), np.uint8))
    assert value == pytest.approx(1e-8 / 2, rel=1e-6)


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_confident_probabilities(kind):
    """From 1e-7 to 1 - 6e-8, as a trained net has them: small logarithms keep their digits in the sum, large slopes in
    the gradient."""
    exponents = np.random.default_rng(0).permutation(np.linspace(-7, -0.01, 2 * 31 * 37)).reshape(2, 31, 37)
    p = (10.0**exponents).astype(np.float32)
    p[0] = 1 - p[0]
    g = scene("binary", p.shape)[0].astype(np.uint8)
    check_alone(p.astype(kind.replace("f", "float")), g, np.ones_like(g), kind)


def test_ties_go_to_the_lowest_index():
    p, g = np.full((2, 99, 991), 0.25, np.float32), np.zeros((2, 99, 991), np.uint8)
    g.reshape(-1)[5::7] = 1
    _, grad = alone(p, g, np.ones_like(g), negative_ratio=1.5)
    negative = np.flatnonzero(g.ravel() == 0)
    pushed = np.flatnonzero(grad.ravel() > 0)
    assert np.array_equal(pushed, negative[: int(1.5 * g.sum(dtype=int))])


def test_nothing_at_all():
    empty = np.zeros((0, 3, 5), np.float32)
    value, grads = segloss.L1BalanceCELoss().value_and_grad(*[empty] * 7)
    assert value == 1.0 and all(g.shape == empty.shape for g in grads)
