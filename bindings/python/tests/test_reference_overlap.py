"""The references of the overlap losses: against torch's autograd in float64, finite differences, and what the
specification states. segloss takes no part."""

import itertools

import numpy as np
import pytest
import reference_overlap as ref
from frameworks import framework

torch = framework("torch")
import upstream_losses as up

N, C, S = 3, 4, 23


def drawn(seed=0, shape=(N, C, S), share=0.3):
    rng = np.random.default_rng(seed)
    return 4 * rng.standard_normal(shape), (rng.random(shape) < share) * 1.0, (rng.random(shape) < 0.8) * 1.0


def leaf(a):
    return torch.tensor(np.asarray(a, np.float64), requires_grad=True)


def agree(got, grad, upstream, at, what="", weights=None):
    """Float64 on both sides: sums of some hundred terms in different orders."""
    (upstream if weights is None else (upstream * torch.tensor(weights)).sum()).backward()
    want = upstream.detach().numpy()
    assert np.shape(got) == want.shape and np.abs(got - want).max() <= 1e-13 * max(np.abs(want).max(), 1), what
    slope = np.zeros(at.shape) if at.grad is None else at.grad.numpy()
    assert np.abs(grad - slope).max() <= 1e-12 * max(np.abs(slope).max(), 1e-9), what


# ---------------------------------------------------------------- published

PUBLISHED = {
    "dice": (ref.dice, up.dice, {}),
    "dice, smooth .3": (ref.dice, up.dice, {"smooth": 0.3}),
    "iou": (ref.iou, up.iou, {}),
    "tversky": (ref.tversky, up.tversky, {"alpha": 0.3, "beta": 0.7}),
    "focal tversky": (ref.focal_tversky, up.focal_tversky, {"alpha": 0.3, "beta": 0.7, "gamma": 0.75}),
    "focal tversky, gamma 3": (ref.focal_tversky, up.focal_tversky, {"smooth": 0.5, "gamma": 3.0}),
    "dice bce": (ref.dice_bce, up.dice_bce, {}),
}


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 5), (2, 1, 6, 7)], ids=str)
@pytest.mark.parametrize("case", PUBLISHED)
def test_published(case, shape):
    reference, upstream, options = PUBLISHED[case]
    for share in (0.3, 0.0, 1.0):
        x, y, _ = drawn(shape=shape, share=share)
        at = leaf(x)
        parts, grad = reference(x, y, **options)
        agree(parts["loss"], grad, upstream(at, torch.tensor(y), **options), at, share)


# ---------------------------------------------------------------- every option with every other

CHOICES = {
    "activation": ["sigmoid", "softmax", "none"],
    "average": ["micro", "macro"],
    "per_sample": [False, True],
    "classes": [None, [2, 0]],
    "absent": ["count", "skip", "zero"],
    "class_weight": [None, [0.5, 2.0, 0.0, 1.0]],
    "reduction": ["mean", "sum", "none"],
}


@pytest.mark.parametrize("targets", ["dense", "dense, ignored", "labels", "labels, ignored"])
@pytest.mark.parametrize("cross_entropy", [False, True])
def test_options(cross_entropy, targets):
    rng = np.random.default_rng(1)
    for i, chosen in enumerate(itertools.product(*CHOICES.values())):
        options = dict(zip(CHOICES, chosen))
        if cross_entropy and options["activation"] == "softmax":
            continue
        x, y, m = drawn(i)
        if options["activation"] == "none":
            x = 1 / (1 + np.exp(-x))
        y[:, 1] = 0  # a class that is nowhere
        y[0, 2] = 0  # and one that an image lacks
        mask = [None, m, m[:, :1]][i % 3]
        if "labels" in targets:
            y = rng.integers(0, C, (N, S))
            y[y == 1] = 2
        if "ignored" in targets:
            options["ignore_index"] = 3 if "dense" in targets else 255
            y = np.where(rng.random(y.shape) < 0.2, options["ignore_index"], y)
        reference, score = (ref.dice_bce if cross_entropy else ref.iou), up.SCORES["dice" if cross_entropy else "iou"]
        upstream = {**options, "score": score, "cross_entropy": cross_entropy}
        at = leaf(x)
        value = up.overlap(at, torch.tensor(y), None if mask is None else torch.tensor(mask), **upstream)
        weights = rng.standard_normal(value.shape) if options["reduction"] == "none" else None
        parts, grad = reference(x, y, mask, grad_output=1.0 if weights is None else weights, **options)
        agree(parts["loss"], grad, value, at, options, weights)


# ---------------------------------------------------------------- finite differences and facts


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "none"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_finite_differences(gamma, activation):
    """Central differences carry 1e-16 / h of rounding and h^2 of curvature."""
    x, y, m = drawn(shape=(2, 3, 5))
    x = 1 / (1 + np.exp(-x)) if activation == "none" else x
    options = {"alpha": 0.3, "beta": 0.7, "gamma": gamma, "smooth": 0.1, "activation": activation, "average": "macro"}
    value = lambda x: ref.focal_tversky(x, y, m, **options)[0]["loss"]  # noqa: E731
    _, grad = ref.focal_tversky(x, y, m, **options)
    for i in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[i] = 1e-6
        assert abs((value(x + step) - value(x - step)) / 2e-6 - grad[i]) <= 1e-6 * np.abs(grad).max() + 1e-9


def test_nothing_over_nothing():
    zero = np.zeros((1, 2, 3))
    for loss in (ref.dice, ref.iou, ref.tversky, ref.focal_tversky):
        parts, grad = loss(zero, zero, smooth=0.0, activation="none")
        assert parts["loss"] == 0 and not grad.any()


def test_far_logits():
    """exp of nothing larger than 0: the loss is that of zeros and ones."""
    y = np.array([[[1.0, 1, 0, 0]]])
    for at in (90.0, 1e4):
        for loss in (ref.dice, ref.iou, ref.tversky, ref.focal_tversky, ref.dice_bce):
            parts, grad = loss(np.where(y == 1, at, -at), y)
            assert 0 <= parts["loss"] <= np.exp(-80) and np.isfinite(grad).all()
            parts, grad = loss(np.where(y == 1, -at, at), y)
            assert np.isfinite(parts["loss"]) and np.isfinite(grad).all()
        x = np.concatenate([np.where(y == 1, at, -at), np.where(y == 1, -at, at)], axis=1)
        parts, grad = ref.dice(x, np.array([[0, 0, 1, 1]]), activation="softmax", average="macro")
        assert 0 <= parts["loss"] <= np.exp(-80) and np.isfinite(grad).all()


def test_softmax_gradients_sum_to_zero():
    x, y, _ = drawn()
    grad = ref.dice(x, y, activation="softmax", average="macro")[1]
    assert np.abs(grad.sum(axis=1)).max() <= 1e-15
