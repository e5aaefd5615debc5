"""The references of the pointwise losses and of cross-entropy: against torch's own functions and autograd in float64,
finite differences, and what the specification states. segloss takes no part."""

import itertools
import math

import numpy as np
import pytest
import reference_pointwise as ref
from frameworks import framework

torch = framework("torch")
import torch.nn.functional as F
import upstream_losses as up
from test_reference_overlap import agree, drawn, leaf

SHAPE = (3, 4, 5, 7)


def tensor(a):
    return torch.tensor(np.asarray(a))


def weighted(shape=SHAPE, seed=7):
    rng = np.random.default_rng(seed)
    return 2 * rng.random(shape), rng.integers(0, 3, shape) / 2


# ---------------------------------------------------------------- binary cross-entropy


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("pos_weight", [None, 2.5, [1.0, 2.0, 0.5, 0.0]])
def test_bce_of_logits(pos_weight, reduction):
    x, y, _ = drawn(shape=SHAPE)
    weight, go = weighted()[0], np.random.default_rng(2).standard_normal(SHAPE) if reduction == "none" else None
    at = leaf(x)
    scale = None if pos_weight is None else tensor(pos_weight).double()
    scale = scale.reshape(-1, 1, 1) if pos_weight is not None and scale.dim() else scale
    upstream = F.binary_cross_entropy_with_logits(
        at, tensor(y), weight=tensor(weight), pos_weight=scale, reduction=reduction
    )
    options = {"pos_weight": pos_weight, "reduction": reduction, "grad_output": 1.0 if go is None else go}
    parts, grad = ref.bce(x, y, weight, **options)
    agree(parts["loss"], grad, upstream, at, weights=go)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_bce_of_probabilities(reduction):
    x, y, _ = drawn(shape=SHAPE)
    p = 1 / (1 + np.exp(-x))
    at = leaf(p)
    upstream = F.binary_cross_entropy(at, tensor(y), reduction=reduction)
    go = np.random.default_rng(2).standard_normal(SHAPE) if reduction == "none" else None
    parts, grad = ref.bce(p, y, from_logits=False, reduction=reduction, grad_output=1.0 if go is None else go)
    agree(parts["loss"], grad, upstream, at, weights=go)


@pytest.mark.parametrize("x, y, loss, slope", [
    (-200.0, 1, 200, -1), (20.0, 1, 2.0611536203e-9, -2.0611536182e-9), (1e4, 0, 1e4, 1), (1e4, 1, 0, 0),
    (np.inf, 0, np.inf, 1),
])  # fmt: skip
def test_bce_of_far_logits(x, y, loss, slope):
    with np.errstate(invalid="ignore"):
        parts, grad = ref.bce(np.array([x]), np.array([float(y)]))
    assert math.isclose(parts["loss"], loss, rel_tol=1e-10) or np.isinf(x)
    assert math.isclose(grad[0], slope, rel_tol=1e-10)


# ---------------------------------------------------------------- mask, weight, class weight, ignored


@pytest.mark.parametrize("name", ["bce", "focal", "smooth_l1"])
def test_terms_over_the_mask(name):
    """sum of l weight class_weight mask, over sum of mask; what is ignored has no mask."""
    x, y, _ = drawn(shape=SHAPE)
    weight, mask = weighted()
    y[0, 1, 2] = 9
    loss = {"bce": ref.bce, "focal": ref.focal, "smooth_l1": ref.smooth_l1}[name]
    options = {"focal": {"variant": "paper"}}.get(name, {})
    valid = np.ones(SHAPE)
    if name != "smooth_l1":
        options |= {"class_weight": [1.0, 0.5, 2.0, 0.0], "ignore_index": 9}
        valid = (y != 9) * 1.0
    at = leaf(x)
    label = tensor(np.where(valid, y, 0))
    terms = {
        "bce": lambda: F.binary_cross_entropy_with_logits(at, label, reduction="none"),
        "focal": lambda: up.sigmoid_focal(at, label),
        "smooth_l1": lambda: F.smooth_l1_loss(at, label, reduction="none"),
    }[name]()
    by_class = torch.tensor(options.get("class_weight", [1.0] * 4), dtype=torch.float64)[:, None, None]
    m = tensor(mask * valid)
    upstream = (terms * tensor(weight) * by_class * m).sum() / m.sum()
    parts, grad = loss(x, y, weight, mask, **options)
    agree(parts["loss"], grad, upstream, at)
    assert parts["count"] == (mask * valid).sum()
    for shape in ((3, 5, 7), (3, 1, 5, 7)):  # one for all classes
        one = weighted(shape)[1]
        spread = np.broadcast_to(one.reshape(3, 1, 5, 7), SHAPE)
        assert loss(x, y, one, one, **options)[0] == loss(x, y, spread, spread, **options)[0]


def test_nothing_counts():
    x, y, _ = drawn(shape=SHAPE)
    for loss in (ref.bce, ref.focal, ref.smooth_l1):
        parts, grad = loss(x, y, mask=np.zeros(SHAPE))
        assert parts["loss"] == 0 and parts["count"] == 0 and not grad.any()


# ---------------------------------------------------------------- focal


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [0.25, 0.8, 1.0, -1.0])
def test_focal(alpha, gamma):
    for soft in (False, True):
        x, y, _ = drawn(shape=SHAPE)
        y = (y + 0.5) / 2 if soft else y
        at = leaf(x)
        parts, grad = ref.focal(x, y, alpha=alpha, gamma=gamma, variant="paper")
        agree(parts["loss"], grad, up.sigmoid_focal(at, tensor(y), alpha, gamma).mean(), at)
        at = leaf(x)
        if alpha > 0:
            parts, grad = ref.focal(x, y, alpha=alpha, gamma=gamma)
            agree(parts["loss"], grad, up.focal(at, tensor(y), alpha, gamma), at)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("variant", ["published", "paper"])
def test_focal_of_probabilities(variant, gamma):
    x, y, _ = drawn(shape=SHAPE)
    at = leaf(1 / (1 + np.exp(-x)))
    ce = F.binary_cross_entropy(at, tensor(y), reduction="none")
    if variant == "published":
        upstream = 0.8 * (1 - torch.exp(-ce.mean())) ** gamma * ce.mean()
    else:
        p_t = at * tensor(y) + (1 - at) * (1 - tensor(y))
        upstream = ((0.25 * tensor(y) + 0.75 * (1 - tensor(y))) * (1 - p_t) ** gamma * ce).mean()
    parts, grad = ref.focal(at.detach().numpy(), y, gamma=gamma, variant=variant, from_logits=False)
    agree(parts["loss"], grad, upstream, at)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("variant", ["published", "paper"])
def test_perfect_focal(variant, gamma):
    """A loss of 0, and no NaN from a root at 0."""
    y = np.array([1.0, 0, 1])
    for x, options in ((np.where(y, 1e4, -1e4), {}), (y, {"from_logits": False})):
        parts, grad = ref.focal(x, y, gamma=gamma, variant=variant, **options)
        assert parts["loss"] == 0 and not grad.any()


# ---------------------------------------------------------------- smooth L1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0, 3.0])
def test_smooth_l1(beta, reduction):
    x, y, _ = drawn(shape=SHAPE)
    x[0, 0, 0] = y[0, 0, 0]
    at = leaf(x)
    go = np.random.default_rng(2).standard_normal(SHAPE) if reduction == "none" else None
    parts, grad = ref.smooth_l1(x, y, beta=beta, reduction=reduction, grad_output=1.0 if go is None else go)
    agree(parts["loss"], grad, F.smooth_l1_loss(at, tensor(y), beta=beta, reduction=reduction), at, weights=go)
    if beta:
        assert ref.smooth_l1(x, y, sigma2=1 / beta)[0]["loss"] == pytest.approx(
            ref.smooth_l1(x, y, beta=beta)[0]["loss"]
        )


def test_at_the_corner():
    """|d| equal to beta is linear: 1/18 and a slope of 1 for sigma2 = 9."""
    parts, grad = ref.smooth_l1(np.array([1 / 9]), np.array([0.0]), sigma2=9.0)
    assert parts["loss"] == pytest.approx(1 / 18, rel=1e-15) and grad[0] == 1


# ---------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("class_weight", [None, [1.0, 0.25, 0.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy(smoothing, class_weight, reduction):
    for shape, (labels, ignore) in itertools.product(
        [(3, 4, 5, 7), (6, 4), (2, 4, 9)], [(True, -100), (True, 255), (True, 1), (False, -100)]
    ):
        rng = np.random.default_rng(3)
        x = 4 * rng.standard_normal(shape)
        positions = (shape[0], *shape[2:])
        y = rng.integers(0, 4, positions) if labels else rng.random(shape)
        if labels:
            y[rng.random(positions) < 0.2] = ignore
        at = leaf(x)
        upstream = F.cross_entropy(
            at,
            tensor(y),
            weight=None if class_weight is None else tensor(class_weight),
            ignore_index=ignore,
            reduction=reduction,
            label_smoothing=smoothing,
        )
        go = rng.standard_normal(positions) if reduction == "none" else None
        for target in [y] + ([y[:, None]] if labels else []):
            parts, grad = ref.cross_entropy(
                x,
                target,
                class_weight=class_weight,
                ignore_index=ignore,
                label_smoothing=smoothing,
                reduction=reduction,
                grad_output=1.0 if go is None else go,
            )
            at.grad = None
            if upstream.requires_grad and not upstream.isnan().any():
                (upstream if go is None else (upstream * tensor(go)).sum()).backward(retain_graph=True)
            want = upstream.detach().numpy()
            assert np.abs(parts["loss"] - want).max() <= 1e-13 * max(np.abs(want).max(), 1)
            assert np.abs(grad - at.grad.numpy()).max() <= 1e-12 * np.abs(at.grad.numpy()).max()


def test_cross_entropy_of_weighted_pixels():
    x = 4 * np.random.default_rng(0).standard_normal(SHAPE)
    y = np.random.default_rng(1).integers(0, 4, (3, 5, 7))
    y[0, 0] = -100
    weight, mask = weighted((3, 5, 7))
    w = np.array([1.0, 0.25, 0.5, 3.0])
    at = leaf(x)
    terms = F.cross_entropy(at, tensor(y), weight=tensor(w), reduction="none")
    divisor = (w[np.where(y == -100, 0, y)] * (y != -100) * mask).sum()
    parts, grad = ref.cross_entropy(x, y, weight, mask, class_weight=w)
    agree(parts["loss"], grad, (terms * tensor(weight * mask)).sum() / divisor, at)
    assert parts["count"] == ((y != -100) * mask).sum() and parts["divisor"] == pytest.approx(divisor, rel=1e-14)


def test_all_ignored():
    x = np.random.default_rng(0).standard_normal(SHAPE)
    parts, grad = ref.cross_entropy(x, np.full((3, 5, 7), -100))
    assert parts == {"loss": 0.0, "count": 0.0, "divisor": 0.0} and not grad.any()


def test_cross_entropy_of_far_logits():
    x = np.array([[1e4, -1e4, 0.0], [-np.inf, 3.0, 3.0]])
    parts, grad = ref.cross_entropy(x, np.array([0, 1]), reduction="none")
    assert parts["loss"][0] == 0 and parts["loss"][1] == pytest.approx(math.log(2), rel=1e-15)
    assert np.isfinite(grad).all() and grad[1, 0] == 0
