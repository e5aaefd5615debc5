"""What has to hold whatever the inputs: hypothesis looks for those where it does not."""

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import CATALOG, LOSSES
from hypothesis import assume, given
from hypothesis import strategies as st
from support import total

shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 40))
seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.95, 1.0])


def drawn(seed, shape, positive=0.2, valid=0.9):
    """Probabilities with all their digits, binary labels and masks of the given shares."""
    rng = np.random.default_rng(seed)
    return 0.02 + 0.96 * rng.random(shape), (rng.random(shape) < positive) * 1.0, (rng.random(shape) < valid) * 1.0


@given(seeds, shapes, shares, shares, st.sampled_from([3, 1, 0.5, 7.25]))
def test_balanced_dice_is_dice(seed, shape, positive, valid, ratio):
    """For binary labels a scalar is not mined: Balance = Dice (P + K) / (P + K + eps)."""
    p, g, m = drawn(seed, shape, positive, valid)
    P, K = ref.counts(*ref.weights_of(g, m), ratio)
    dice, dice_grad = segloss.MaskDiceLoss().value_and_grad(p, g, m)
    value, grad = segloss.BalanceLoss(negative_ratio=ratio).value_and_grad(p, g, m)
    factor = (P + K) / (P + K + 1e-6)
    assert value == pytest.approx(dice * factor, rel=1e-12, abs=1e-15)
    assert np.allclose(grad, dice_grad * factor, rtol=1e-12, atol=0)


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
@given(seeds, shapes)
def test_masked_pixels_have_no_gradient(entry, seed, shape):
    """Exactly none, in each map under its own masks; nor has what the target ignores."""
    inputs = entry.draw(shape, seed, np.float32)
    _, grads = entry.run(inputs)
    for name, grad in zip(entry.predictions, grads):
        if name == "maps":
            off = inputs["shrink_mask"] == 0
            assert not grad[:, 0][off].any() and not grad[:, 2:][np.repeat(off[:, None], grad[:, 2:].shape[1], 1)].any()
            both = off & (inputs["threshold_mask"] == 0)  # in the paper's form T takes part in the binary term too
            assert not grad[:, 1][both].any()
        else:
            rules = [inputs["thresh_mask" if name == "thresh" else "mask"] == 0] if "mask" in inputs else []
            rules += [inputs[label] == 255 for label in entry.labels]
            for off in rules:
                off = off[:, None] if off.ndim < grad.ndim else off
                assert not grad[np.broadcast_to(off, grad.shape)].any()


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
@given(seeds, shapes)
def test_the_order_of_pixels_does_not_matter(entry, seed, shape):
    """Nor does it move a gradient from one pixel to another, as long as nothing ties: every image is shuffled the same
    way."""
    inputs = entry.draw(shape, seed)
    rng = np.random.default_rng(seed)
    for name in entry.predictions:
        inputs[name] = entry.anywhere(rng, inputs[name].shape, 0.02)
    n, h, w = shape
    order = rng.permutation(h * w)
    shuffled = {k: v.reshape(*v.shape[:-2], h * w)[..., order].reshape(v.shape) for k, v in inputs.items()}
    (value, grads), (other, other_grads) = entry.run(inputs), entry.run(shuffled)
    assert total(other) == pytest.approx(total(value), rel=1e-12, abs=1e-15)
    for g, o in zip(grads, other_grads):
        moved = g.reshape(*g.shape[:-2], h * w)[..., order].reshape(g.shape)
        assert np.allclose(o, moved, rtol=1e-12, atol=1e-15 * np.abs(g).max(initial=0))


@given(seeds, shapes, shares)
def test_the_value_does_not_depend_on_the_order_of_ties(seed, shape, positive):
    """Which of the tied negatives are taken is a matter of the gradient alone."""
    p, g, m = drawn(seed, shape, positive)
    p = np.rint(p * 4) / 8 + 0.1
    loss = segloss.BalanceLoss(main_loss_type="BCELoss")
    backwards = [np.ascontiguousarray(a.ravel()[::-1]).reshape(a.shape) for a in (p, g, m)]
    assert loss(*backwards) == pytest.approx(loss(p, g, m), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
@given(seeds, st.tuples(st.integers(1, 2), st.integers(2, 5), st.integers(2, 9)))
def test_finite_differences(entry, seed, shape):
    """Along one random direction, in float64, at a point where no step crosses a selection or a kink of L1."""
    inputs = entry.draw(shape, seed)
    rng = np.random.default_rng(seed)
    for name in entry.predictions:
        inputs[name] = entry.anywhere(rng, inputs[name].shape, 0.1)
    h, directions = 1e-6, {name: rng.choice([-1.0, 1.0], inputs[name].shape) for name in entry.predictions}
    _, grads = entry.run(inputs)
    moved = [
        entry.run({**inputs, **{n: inputs[n] + sign * h * directions[n] for n in entry.predictions}})
        for sign in (1, -1)
    ]
    # Where a step crossed something, the gradients on its two sides differ by far more than the curvature allows.
    scale = max(np.abs(g).max(initial=0) for g in grads)
    assume(all(np.abs(a - b).max() <= 1e-2 * scale for a, b in zip(moved[0][1], moved[1][1])))
    slope = (total(moved[0][0]) - total(moved[1][0])) / (2 * h)
    want = sum((g * d).sum() for g, d in zip(grads, directions.values()))
    magnitude = sum(np.abs(g).sum() for g in grads)
    # 1e-16 / h of rounding in values up to a few tens; curvature of the steep step (k = 50) times h^2.
    assert abs(slope - want) <= 1e-6 * magnitude + 1e-8


@given(seeds, shapes, st.sampled_from([1, 10, 50]))
def test_the_step_is_odd(seed, shape, k):
    """B(P, T) + B(T, P) = 1, and the slopes agree."""
    p, t, _ = drawn(seed, shape)
    assert np.allclose(segloss.db_step(p, t, k) + segloss.db_step(t, p, k), 1, rtol=1e-15)
    one = np.ones(shape)
    assert np.allclose(segloss.db_step_grad(p, t, one, k)[0], segloss.db_step_grad(t, p, one, k)[0], rtol=1e-12)


@given(seeds, shapes)
def test_single_and_double_agree(seed, shape):
    """float32 against float64 on the same inputs, for every entry of the catalog: 1e-6 of max(|v|, 1e-3)."""
    for entry in CATALOG:
        inputs = entry.draw(shape, seed, np.float32)
        single, double = (np.asarray(total(entry.run(entry.typed(inputs, t))[0])) for t in (np.float32, np.float64))
        assert np.all(np.abs(single - double) <= 1e-6 * np.maximum(np.abs(double), 1e-3))
