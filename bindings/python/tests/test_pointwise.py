"""Binary cross-entropy, focal and smooth L1: terms of single elements."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import reference_pointwise as ref
import segloss
from catalog import POINTWISE
from frameworks import framework
from hypothesis import given
from hypothesis import strategies as st
from support import (
    SHAPES,
    SMALL,
    assert_same_bits,
    bfloat16,
    binary,
    bounds,
    check,
    check_gradient,
    id_of,
    logits,
    probabilities,
)

torch = framework("torch")
import torch.nn.functional as F
import upstream_losses as up

LOSSES = {
    "bce": (segloss.BCELoss, ref.bce, {}),
    "focal": (segloss.FocalLoss, ref.focal, {}),
    "focal-paper": (segloss.FocalLoss, ref.focal, {"variant": "paper"}),
    "smooth-l1": (segloss.SmoothL1Loss, ref.smooth_l1, {}),
}
N, C = 3, 4
ENTRIES = [entry for entry in POINTWISE if not entry.name.startswith("cross-entropy")]


def both(name, *inputs, kind="f64", weight=None, mask=None, divides=False, grad_output=1.0, **options):
    """segloss against the reference; returns what segloss gave."""
    loss, reference, own = LOSSES[name]
    options = {**own, **options}
    parts = options.get("reduction") != "none"
    arrays = {"weight": weight, "mask": mask}
    result = loss(**options, return_parts=parts).value_and_grad(*inputs, **arrays, grad_output=grad_output)
    check(result, reference(*inputs, **arrays, grad_output=grad_output, **options), kind, divides)
    return result


def drawn(shape, kind="f64", seed=0, share=0.3):
    """Logits with all their digits, a binary target and a mask."""
    rng = np.random.default_rng([seed, *shape])
    return logits(rng, shape, kind), binary(rng, shape, share), binary(rng, shape, 0.8)


def of(name, **options):
    return LOSSES[name][0](**{**LOSSES[name][2], **options})


def same(got, want):
    assert_same_bits((got[0], (got[1],)), (want[0], (want[1],)))


# ---------------------------------------------------------------- against the reference


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_sizes(entry, shape, kind):
    inputs = entry.draw(shape, dtype=kind.replace("f", "float"))
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    check((value, grads[0]), (want, wanted[0]), kind, entry.divides)
    alone = entry.make(return_parts=False)(**inputs)
    assert np.array_equal(alone, value["loss"] if isinstance(value, dict) else value)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize(
    "shape", [(), (7,), (3, 5), (2, 3, 37), (2, 3, 5, 7), (2, 2, 3, 5, 7), (2, 3, 1, 3, 5, 7)], ids=id_of
)
@pytest.mark.parametrize("name", LOSSES)
def test_ranks(name, shape, kind):
    x, y, m = drawn(shape, kind)
    w = np.asarray(2 * np.random.default_rng(1).random(shape))
    both(name, x, y.astype(np.uint8), kind=kind)
    both(name, x, y, weight=w, mask=m, kind=kind)
    if len(shape) >= 2:
        both(name, x, y, weight=w[:, 0], mask=m[:, :1], kind=kind)
        both(name, x, y, weight=w[:, :1], mask=m, kind=kind)
        both(name, x, y, weight=w, mask=m[:, 0], kind=kind)


@pytest.mark.parametrize("shape", [(0,), (0, 3, 5), (2, 3, 0)], ids=id_of)
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_at_all(name, shape):
    """The mean of nothing is 0, not NaN."""
    x = np.zeros(shape, np.float32)
    value, grad = both(name, x, x)
    assert value["loss"] == 0 and value["count"] == 0 and grad.shape == shape and grad.dtype == np.float32


@pytest.mark.parametrize("target", ["binary", "soft"])
@pytest.mark.parametrize("name", LOSSES)
def test_options(name, target):
    """Weights of elements and classes, mask, what is ignored and the reduction, each with every other."""
    rng = np.random.default_rng(1)
    shape = (N, C, 7, 11)
    reductions = ["mean"] if name == "focal" else ["mean", "sum", "none"]
    for i, (class_weight, ignored, reduction, weighted, masked) in enumerate(
        itertools.product([None, [0.5, 2.0, 0.0, 1.0]], [None, 2], reductions, range(3), range(3))
    ):
        kind = ["f64", "f32"][i % 2]
        x, y, m = drawn(shape, kind, i)
        y = rng.random(shape).astype(x.dtype) if target == "soft" else y
        w = rng.random(shape)
        options = {"reduction": reduction}
        if name != "smooth-l1":
            options |= {"class_weight": class_weight, "ignore_index": ignored}
            if name == "bce":
                options["pos_weight"] = [None, 2.5, [1.0, 0.5, 0.0, 3.0]][i % 3]
            if ignored is not None:
                y[rng.random(shape) < 0.2] = ignored
        upstream = rng.standard_normal(shape).astype(x.dtype) if reduction == "none" else -1.7
        arrays = {"weight": [None, w, w[:, 0]][weighted], "mask": [None, m, m[:, 0]][masked]}
        result = both(name, x, y, kind=kind, grad_output=upstream, **arrays, **options)
        assert reduction != "none" or result[0].dtype == x.dtype
        assert reduction != "none" or np.array_equal(of(name, **options)(x, y, **arrays), result[0])


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("flavour", ["torch", "paddle"])
def test_probabilities(flavour, kind):
    """With the clamps at both ends: log at -100, p (1 - p) at 1e-12."""
    p = probabilities(np.random.default_rng(0), SMALL).astype(kind.replace("f", "float"))
    p[0, 0, :6] = 0, 1, 1e-30, 1e-8, 2.0**-24, 1 - 2.0**-24
    if flavour == "paddle":  # 1 - p rounds before its logarithm: here it does not have to
        p = np.rint(p * 256) / 256
    for target in (0.0, 1.0, 0.3):
        y = np.full(SMALL, target)
        for reduction in ("mean", "none"):
            options = {"from_logits": False, "flavour": flavour, "reduction": reduction}
            both("bce", p, y, kind=kind, divides=True, **options)


@pytest.mark.parametrize("p, y, flavour, loss, slope", [
    (0.0, 1, "torch", 100, -1e12), (1.0, 0, "torch", 100, 1e12), (1e-40, 1, "torch", 92.1034, -1e12),
    (1e-8, 0, "torch", 9.99999994e-9, 1), (1e-8, 0, "paddle", 0, 1),
    (0.3, 1.5, "paddle", 1.62762, None), (0.3, -0.5, "paddle", -0.066974, None),
])  # fmt: skip
def test_probabilities_in_print(p, y, flavour, loss, slope):
    """What the frameworks give in float32."""
    value, grad = segloss.BCELoss(from_logits=False, flavour=flavour).value_and_grad(
        np.array([p], np.float32), np.array([y], np.float32)
    )
    assert math.isclose(value, loss, rel_tol=1e-5) and (slope is None or math.isclose(grad[0], slope, rel_tol=1e-6))


@pytest.mark.parametrize("dtype", [np.float16, bfloat16], ids=["f16", "bf16"])
@pytest.mark.parametrize("name", LOSSES)
def test_halves(name, dtype):
    """The result of the widened inputs in float32, gradient and map rounded once."""
    x, y, m = drawn((2, 3, 131, 17), "f32")
    x = x.astype(dtype)
    for reduction in ["mean"] if name == "focal" else ["mean", "none"]:
        loss = of(name, reduction=reduction)
        value, grad = loss.value_and_grad(x, y, mask=m)
        want, wanted = loss.value_and_grad(x.astype(np.float32), y, mask=m)
        assert np.array_equal(value, want if reduction == "mean" else want.astype(dtype))
        assert np.array_equal(grad, wanted.astype(dtype)) and grad.dtype == dtype


# ---------------------------------------------------------------- live torch in float32: its rounding, 5e-6 and 1e-5


def against_torch(loss, upstream, inputs, weights=None):
    at = torch.tensor(inputs[0], requires_grad=True)
    want = upstream(at, *map(torch.tensor, inputs[1:]))
    (want if weights is None else (want * torch.tensor(weights)).sum()).backward()
    value, grad = loss.value_and_grad(*inputs, grad_output=1.0 if weights is None else weights)
    want = want.detach().numpy()
    # From logits torch adds terms of |x| up to 16 that cancel.
    assert np.shape(value) == want.shape and np.allclose(value, want, rtol=5e-6, atol=1e-6)
    check_gradient(grad, at.grad.numpy().astype(np.float64), 1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("pos_weight", [None, 2.5, [1.0, 2.0, 0.5, 0.0]])
def test_bce_with_logits(pos_weight, reduction):
    x, y, _ = drawn((N, C, 17, 19), "f32")
    upstream = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32) if reduction == "none" else None
    scale = None if pos_weight is None else torch.tensor(pos_weight).reshape(-1, 1, 1)
    against_torch(
        segloss.BCELoss(pos_weight=pos_weight, reduction=reduction),
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=scale, reduction=reduction),
        (x, y.astype(np.float32)),
        upstream,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_bce(reduction):
    p, (_, y, _) = probabilities(np.random.default_rng(0), SMALL), drawn(SMALL, "f32")
    p[0, 0, :2] = 0, 1
    y[0, 0, :2] = 0, 1  # no 1e12 in the gradient, which would hide all the rest
    upstream = np.random.default_rng(0).standard_normal(p.shape).astype(np.float32) if reduction == "none" else None
    against_torch(
        segloss.BCELoss(from_logits=False, reduction=reduction),
        lambda p, y: F.binary_cross_entropy(p, y, reduction=reduction),
        (p, y.astype(np.float32)),
        upstream,
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [0.25, 0.8, -1.0])
def test_focal_of_each_pixel(alpha, gamma):
    x, y, _ = drawn((2, 1, 67, 83), "f32")
    against_torch(
        segloss.FocalLoss(variant="paper", alpha=alpha, gamma=gamma),
        lambda x, y: up.sigmoid_focal(x, y, alpha, gamma).mean(),
        (x, y.astype(np.float32)),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2, 3])
@pytest.mark.parametrize("alpha", [0.25, 0.8, 1])
def test_published_focal(alpha, gamma):
    """Below 16.6, where torch's sigmoid becomes 1 and its cross-entropy jumps to 100."""
    x, y, _ = drawn((2, 1, 67, 83), "f32")
    x /= 2
    against_torch(
        segloss.FocalLoss(alpha=alpha, gamma=gamma),
        lambda x, y: up.focal(x, y, alpha, gamma),
        (x, y.astype(np.float32)),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0, 3.0])
def test_smooth_l1(beta, reduction):
    x, y, _ = drawn(SMALL, "f32")
    y = y.astype(np.float32)
    x[0, 0] = y[0, 0]
    upstream = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32) if reduction == "none" else None
    against_torch(
        segloss.SmoothL1Loss(beta, reduction=reduction),
        lambda x, y: F.smooth_l1_loss(x, y, beta=beta, reduction=reduction),
        (x, y),
        upstream,
    )


# ---------------------------------------------------------------- focal


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("name", ["focal", "focal-paper"])
def test_gammas(name, from_logits, gamma, kind):
    x, y, m = drawn(SMALL, kind)
    x = x if from_logits else probabilities(np.random.default_rng(0), SMALL).astype(x.dtype)
    for target in (y, np.random.default_rng(2).random(SMALL).astype(x.dtype)):
        for alpha in (0.25, 1.0, -1.0) if name == "focal-paper" else (0.25, 1.0):
            both(name, x, target, mask=m, kind=kind, divides=not from_logits, gamma=gamma, alpha=alpha,
                 from_logits=from_logits)  # fmt: skip


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", ["focal", "focal-paper"])
def test_perfect(name, gamma):
    """Nothing wrong: 0, with no gradient, and no NaN from the slope of a root at 0."""
    y = np.array([1.0, 0, 1])
    for x, from_logits in ((np.where(y, 1e4, -1e4), True), (y, False)):
        for dtype in (np.float32, np.float64):
            value, grad = of(name, gamma=gamma, from_logits=from_logits).value_and_grad(x.astype(dtype), y)
            assert value == 0 and not grad.any()


def test_focal_options_at_the_call():
    x, y, m = drawn(SMALL, "f32")
    for variant in ("published", "paper"):
        loss = segloss.FocalLoss(variant=variant)
        before, want = loss.value_and_grad(x, y), segloss.FocalLoss(variant=variant, alpha=0.4, gamma=1.5)
        same(loss.value_and_grad(x, y, 0.4, 1.5), want.value_and_grad(x, y))
        same(loss.value_and_grad(x, y, alpha=0.4, gamma=1.5, smooth=7), want.value_and_grad(x, y))
        assert loss(x, y, 0.4, 1.5, 1, mask=m) == want(x, y, mask=m)
        same(loss.value_and_grad(x, y, None, None), before)
        same(loss.value_and_grad(x, y), before)
        for argument in ("alpha", "gamma"):
            with pytest.raises(TypeError, match=argument):
                loss(x, y, **{argument: "x"})
            with pytest.raises(ValueError, match=argument):
                loss(x, y, **{argument: float("nan")})
    assert (
        segloss.FocalLoss(None, True)(x, y) == segloss.FocalLoss(np.ones(3), False)(x, y) == segloss.FocalLoss()(x, y)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype, least", [(np.float32, 88), (np.float64, 709)])
def test_subnormal_probabilities(gamma, dtype, least):
    """Of a pixel that is certain and right: u^(gamma - 1) overflows, u^gamma times what is divided by u does not."""
    x = -np.linspace(least, 1.06 * least, 64).reshape(1, 1, 8, 8).astype(dtype)
    loss = segloss.FocalLoss(variant="paper", alpha=-1, gamma=gamma, reduction="sum")
    p = np.exp(x.astype(np.longdouble))
    want = p**gamma * p * (1 + gamma)  # CE is p, and 1 - p is 1
    for sign, target in ((1, np.zeros_like(x)), (-1, np.ones_like(x))):
        grad = loss.value_and_grad(sign * x, target)[1]
        # The power's exponent is rounded, and so are results below the smallest normal number.
        rounded = np.finfo(dtype).eps * 2 * (2 + gamma * abs(x)) * want + 4 * np.finfo(dtype).smallest_subnormal
        assert (abs(sign * grad - want) <= rounded).all()


def test_gamma_zero_is_cross_entropy():
    x, y, _ = drawn(SMALL)
    want, wanted = segloss.BCELoss().value_and_grad(x, y)
    for loss, factor in (
        (segloss.FocalLoss(variant="paper", alpha=-1, gamma=0), 1),
        (segloss.FocalLoss(alpha=0.3, gamma=0), 0.3),
    ):
        value, grad = loss.value_and_grad(x, y)
        assert value == pytest.approx(factor * want, rel=1e-14) and np.allclose(
            grad, factor * wanted, rtol=1e-13, atol=0
        )


# ---------------------------------------------------------------- smooth L1


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0, 5.0])
def test_betas(beta, kind):
    x, y, m = drawn(SMALL, kind)
    both("smooth-l1", x, y, mask=m, kind=kind, beta=beta)
    if beta:
        both("smooth-l1", x, y, mask=m, kind=kind, sigma2=1 / beta)


def test_at_the_corner():
    """|d| equal to beta is linear already: 1/18 and a slope of 1 for sigma2 = 9; NaN is too."""
    value, grad = segloss.SmoothL1Loss(sigma2=9.0).value_and_grad(np.array([1 / 9]), np.array([0.0]))
    assert value == pytest.approx(1 / 18, rel=1e-15) and grad[0] == 1
    value, grad = segloss.SmoothL1Loss(0.0).value_and_grad(np.array([2.0, 2.0]), np.array([2.0, 5.0]))
    assert value == 1.5 and list(grad) == [0, -0.5]
    assert np.isnan(segloss.SmoothL1Loss()(np.array([np.nan]), np.array([0.0])))


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("at", [17.0, 90.0, 1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_far_logits(name, at, kind):
    """No cap at 100, no dead gradient, nothing lost of a loss near 0."""
    y = np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    x = np.array([-at, at, at, -at, at]).astype(kind.replace("f", "float"))
    both(name, x, y, kind=kind)
    if name != "focal":
        both(name, x, y, kind=kind, reduction="none")


@pytest.mark.parametrize("x, y, loss, slope", [
    (-200.0, 1, 200, -1), (20.0, 1, 2.0611536e-9, -2.0611536e-9), (17.0, 0, 17.0000000414, 1),
    (np.inf, 0, np.inf, 1),
])  # fmt: skip
def test_logits_in_print(x, y, loss, slope):
    """A certain mistake still has its gradient in float32, and a certain hit its digits."""
    value, grad = segloss.BCELoss().value_and_grad(np.array([x], np.float32), np.array([y], np.float32))
    assert math.isclose(value, loss, rel_tol=1e-6) and math.isclose(grad[0], slope, rel_tol=1e-6)


@pytest.mark.parametrize("x, y", [(np.inf, 1), (-np.inf, 0), (-np.inf, 1), (np.nan, 1)])
def test_infinite_logits(x, y):
    """0 times infinity, as in torch: whatever comes of it is no number to train on."""
    for name in ("bce", "focal-paper"):
        assert not np.isfinite(of(name)(np.array([x], np.float32), np.array([y], np.float32)))


@pytest.mark.parametrize("name", LOSSES)
def test_nearly_perfect_keeps_its_digits(name):
    """Small terms of one sign, each right to float32's last digits. (The published focal loss has the third power of
    their mean, and so three times its error.)"""
    y = binary(np.random.default_rng(0), (2, 1, 131, 97), 0.3)
    x = np.where(y, 14.0, -14.0) if name != "smooth-l1" else y + 2.0**-20
    loss, reference, options = LOSSES[name]
    for kind, dtype in (("f32", np.float32), ("f64", np.float64)):
        x = x.astype(dtype)
        value, want = loss(**options)(x, y), reference(x, y, **options)[0]["loss"]
        assert abs(value - want) <= bounds(kind)[0] * want * (3 if name == "focal" else 1) and want < 1e-5


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_counts(name):
    x, y, _ = drawn((N, C, 5), "f32")
    for mask in (np.zeros(x.shape), np.zeros((N, 5), np.uint8)):
        value, grad = both(name, x, y, mask=mask, kind="f32")
        assert value["loss"] == 0 and value["count"] == 0 and not grad.any()
    if name != "smooth-l1":
        value, grad = both(name, x, np.full(x.shape, 255), ignore_index=255, kind="f32")
        assert value["loss"] == 0 and value["count"] == 0 and not grad.any()


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("x", [-7.0, -0.85, 0.0, 2.2])
@pytest.mark.parametrize("name", LOSSES)
def test_constant_maps(name, x, kind):
    """Every partial sum rounds the same way: the worst case of a float32 sum."""
    shape = (2, 511, 513)
    y, m = binary(np.random.default_rng(0), shape, 0.2), binary(np.random.default_rng(1), shape, 0.9)
    both(name, np.full(shape, x, kind.replace("f", "float")), y.astype(np.uint8), mask=m.astype(np.uint8), kind=kind)


@pytest.mark.large
@pytest.mark.parametrize("name", LOSSES)
def test_more_than_2_to_the_24(name):
    """Counts past float32's integers: few values, so that the reference can weigh them instead of summing."""
    n = 2**24 + 4099
    x, y = np.full(n, 1.5, np.float32), np.ones(n, np.uint8)
    x[::3], y[::1000] = -0.75, 0
    pairs = [(a, b) for a in (1.5, -0.75) for b in (0, 1)]
    counts = [float(np.count_nonzero((x == a) & (y == b))) for a, b in pairs]
    value, grad = of(name, return_parts=True).value_and_grad(x, y)
    want, slope = LOSSES[name][1](*np.array(pairs).T, mask=np.array(counts), **LOSSES[name][2])
    assert value["count"] == n and abs(value["loss"] - want["loss"]) <= 1e-6 * want["loss"]
    largest = np.abs(slope / counts).max()
    for (a, b), s, count in zip(pairs, slope, counts):
        assert np.abs(grad[(x == a) & (y == b)] - s / count).max() <= 1e-6 * largest


# ---------------------------------------------------------------- what is not read


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30], ids=str)
@pytest.mark.parametrize("policy", ["propagate", "refuse", "skip_masked"])
@pytest.mark.parametrize("ignored", [255, -1, 2])
@pytest.mark.parametrize("name", ["bce", "focal", "focal-paper"])
def test_ignored_pixels_are_not_read(name, ignored, policy, value):
    """Nor does it matter that what marks them is no target: it may be negative."""
    rng = np.random.default_rng(0)
    x, y, _ = drawn((N, C, 7, 11), "f32")
    where = rng.random(x.shape) < 0.2
    y[where] = ignored
    for from_logits, gamma in itertools.product((True, False), (0.5, 2.0, 3.0) if name != "bce" else (None,)):
        p = x if from_logits else probabilities(rng, x.shape)
        options = {"ignore_index": ignored, "from_logits": from_logits, **({"gamma": gamma} if gamma else {})}
        both(name, p, y, kind="f32", divides=not from_logits, **options)
        loss = of(name, non_finite=policy, return_parts=True, **options)
        want = loss.value_and_grad(p, y)
        same(loss.value_and_grad(np.where(where, np.float32(value), p), y), want)
        assert not want[1][where].any()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("name", LOSSES)
def test_shapes(name):
    x, y, m = drawn((3, 4, 5), "f32")
    for argument, shape in itertools.product(
        ("target", "weight", "mask"), [(2, 5), (4, 5), (3, 6), (3, 2, 5), (3, 4, 6), (1, 4, 5), (60,), (3, 1, 1, 5)]
    ):
        inputs = {"target": y, argument: np.zeros(shape, np.uint8)}
        with pytest.raises(ValueError, match=rf"\b{argument}\b") as caught:
            of(name)(x, **inputs)
        assert str(shape[-1]) in str(caught.value)
    if name == "smooth-l1":  # which knows no classes
        with pytest.raises(ValueError, match=r"\btarget\b"):
            of(name)(x, np.zeros((3, 5), np.uint8))


@pytest.mark.parametrize(
    "name, option, value, error",
    [
        ("bce", "pos_weight", [1.0, 2.0], ValueError),
        ("bce", "pos_weight", [1.0, np.nan, 1.0, 1.0], ValueError),
        ("bce", "pos_weight", [], ValueError),
        ("bce", "pos_weight", "abcd", TypeError),
        ("bce", "class_weight", [1.0, 2.0], ValueError),
        ("focal-paper", "class_weight", [1.0] * 5, ValueError),
        ("focal", "class_weight", [1.0, np.inf, 1.0, 1.0], ValueError),
        ("bce", "ignore_index", 2**40, ValueError),
        ("focal", "reduction", "none", ValueError),
        ("focal", "reduction", "sum", ValueError),
        ("focal", "gamma", -0.5, ValueError),
    ],
    ids=str,
)
def test_options_refused(name, option, value, error):
    x, y, _ = drawn((N, C, 5), "f32")
    with pytest.raises(error, match=rf"\b{option}\b"):
        of(name, **{option: value})(x, y)


def test_positive_weights_are_for_logits():
    p = np.full(SMALL, 0.5)
    for value in (2.0, [1.0] * SMALL[1]):
        with pytest.raises(ValueError, match=r"\bpos_weight\b"):
            segloss.BCELoss(from_logits=False, pos_weight=value)(p, p)


def test_two_names_for_one_thing():
    with pytest.raises((TypeError, ValueError), match="sigma2"):
        segloss.SmoothL1Loss(0.5, sigma2=9.0)(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("name", ["bce", "focal-paper", "smooth-l1"])
def test_grad_output_of_a_map(name):
    x, y, _ = drawn((N, C, 5))
    loss = of(name, reduction="none")
    one = loss.value_and_grad(x, y)[1]
    assert np.array_equal(loss.value_and_grad(x, y, grad_output=2.0)[1], 2 * one)
    assert np.array_equal(loss.value_and_grad(x, y, grad_output=np.full(x.shape, 2.0))[1], 2 * one)
    for wrong in (np.ones(5), np.ones((N, 5)), np.ones((C, N, 5)), "x", None):
        with pytest.raises((ValueError, TypeError), match=r"\bgrad_output\b"):
            loss.value_and_grad(x, y, grad_output=wrong)


@pytest.mark.parametrize("name", ["bce", "focal-paper", "smooth-l1"])
def test_a_map_in_place(name):
    """The map is read off the prediction before the gradient goes over it."""
    x, y, _ = drawn((2, 3, 41, 613), "f32")
    loss = of(name, reduction="none")
    want, wanted = loss.value_and_grad(x, y)
    value, grad = loss.value_and_grad(x, y, out=x)
    assert grad is x and np.array_equal(value, want) and np.array_equal(grad, wanted)


@pytest.mark.parametrize("name", LOSSES)
def test_pickle_and_copy(name):
    x, y, _ = drawn((N, C, 5), "f32")
    loss = of(name, **({} if name == "smooth-l1" else {"class_weight": [1, 2, 3, 4], "ignore_index": 7}))
    for other in (pickle.loads(pickle.dumps(loss)), copy.copy(loss), copy.deepcopy(loss)):
        assert other(x, y) == loss(x, y)


# ---------------------------------------------------------------- properties

seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(list(LOSSES))
shapes = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 40))


def alike(got, want):
    """Other sums of the same numbers: 1e-15 for each of some hundred terms."""
    assert np.asarray(got[0]) == pytest.approx(np.asarray(want[0]), rel=1e-12, abs=1e-14)
    assert np.allclose(got[1], want[1], rtol=1e-11, atol=1e-13 * np.abs(want[1]).max(initial=0))


@given(names, seeds, shapes)
def test_a_mask_is_slicing(name, seed, shape):
    x, y, m = drawn(shape, seed=seed)
    w = np.random.default_rng(seed).random(shape)
    value, grad = of(name).value_and_grad(x, y, weight=w, mask=m)
    alike((value, grad[m == 1]), of(name).value_and_grad(x[m == 1], y[m == 1], weight=w[m == 1]))
    assert not grad[m == 0].any()


@given(names, seeds, shapes)
def test_labels_are_one_hot(name, seed, shape):
    if name == "smooth-l1":
        return
    x, _, m = drawn(shape, seed=seed)
    labels = np.random.default_rng(seed).integers(0, shape[1], (shape[0], shape[2]))
    dense = np.stack([labels == c for c in range(shape[1])], axis=1)
    want = of(name).value_and_grad(x, dense, mask=m)
    alike(of(name).value_and_grad(x, labels, mask=m), want)
    alike(of(name).value_and_grad(x, labels[:, None].astype(np.uint8), mask=m), want)


@given(names, seeds, shapes)
def test_ignoring_is_masking(name, seed, shape):
    if name == "smooth-l1":
        return
    x, y, m = drawn(shape, seed=seed)
    want = of(name).value_and_grad(x, y, mask=m)
    alike(of(name, ignore_index=5).value_and_grad(x, np.where(m, y, 5)), want)


@given(names, seeds, shapes)
def test_weights_of_classes_are_weights(name, seed, shape):
    if name == "smooth-l1":
        return
    x, y, m = drawn(shape, seed=seed)
    w = np.random.default_rng(seed).random(shape[1])
    want = of(name).value_and_grad(x, y, weight=np.broadcast_to(w[:, None], shape), mask=m)
    alike(of(name, class_weight=w).value_and_grad(x, y, mask=m), want)
    order = np.random.default_rng(seed).permutation(shape[1])
    value, grad = of(name, class_weight=w[order]).value_and_grad(x[:, order], y[:, order], mask=m[:, order])
    alike((value, grad), (want[0], want[1][:, order]))


@given(st.sampled_from(["bce", "focal-paper", "smooth-l1"]), seeds, shapes)
def test_the_map_makes_up_the_loss(name, seed, shape):
    x, y, m = drawn(shape, seed=seed)
    map_ = of(name, reduction="none")(x, y, mask=m)
    assert not map_[m == 0].any()
    assert of(name, reduction="sum")(x, y, mask=m) == pytest.approx(map_.sum(), rel=1e-12, abs=1e-14)
    assert of(name)(x, y, mask=m) == pytest.approx(map_.sum() / max(m.sum(), 1), rel=1e-12, abs=1e-14)


@given(seeds, shapes)
def test_signs_and_targets_turn_together(seed, shape):
    """-x with 1 - y is the same cross-entropy, its gradient negated."""
    x, y, _ = drawn(shape, seed=seed)
    value, grad = of("bce").value_and_grad(x, y)
    want, wanted = of("bce").value_and_grad(-x, 1 - y)
    alike((value, grad), (want, -wanted))
