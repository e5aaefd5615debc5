"""The references themselves: against the printed golden vectors, finite differences and torch's autograd in float64.
segloss takes no part."""

import math

import numpy as np
import pytest
import reference as ref
import reference_overlap as overlap
import reference_pointwise as pointwise
from frameworks import framework
from segloss._command import golden
from segloss._command.golden import b, m, mt, p, soft, t, ts, x, y
from support import SCENES, UNSIGNED, scene, total

torch = framework("torch")
import upstream_torch as up

SHAPE = (3, 7, 11)

# ---------------------------------------------------------------- golden vectors

SINGLE = {
    "mask dice": lambda: ref.mask_dice(p, y, m),
    "balance dice r3": lambda: ref.balance(p, y, m),
    "balance bce r3": lambda: ref.balance(p, y, m, "BCELoss"),
    "balance bce r1": lambda: ref.balance(p, y, m, "BCELoss", 1),
    "mask l1": lambda: ref.mask_l1(t, ts, mt),
    "ohem r3": lambda: ref.balance(p, y, m, "DiceOHEM"),
    "ohem r3 clean": lambda: ref.balance(p, y, m, "DiceOHEM", clean=True),
    "ohem r1": lambda: ref.balance(p, y, m, "DiceOHEM", 1),
    "ohem r1 clean": lambda: ref.balance(p, y, m, "DiceOHEM", 1, clean=True),
    "dice": lambda: overlap.dice(x, y),
    "dice bce": lambda: overlap.dice_bce(x, y),
    "iou": lambda: overlap.iou(x, y),
    "focal": lambda: pointwise.focal(x, y),
    "focal paper": lambda: pointwise.focal(x, y, variant="paper"),
    "focal paper, no alpha": lambda: pointwise.focal(x, y, variant="paper", alpha=-1),
    "tversky": lambda: overlap.tversky(x, y, alpha=0.3, beta=0.7),
    "focal tversky": lambda: overlap.focal_tversky(x, y, alpha=0.3, beta=0.7, gamma=0.75),
    "bce": lambda: pointwise.bce(x, y),
    "bce p": lambda: pointwise.bce(p, y, from_logits=False),
    "smooth l1": lambda: pointwise.smooth_l1(x, 3 * t),
    "balance bce soft r.5": lambda: ref.balance(p, soft, m, "BCELoss", 0.5),
    "balance dice soft r3": lambda: ref.balance(p, soft, m),
}


@pytest.mark.parametrize("name, compute, printed", golden.CHECKSUMS)
def test_golden_inputs(name, compute, printed):
    golden.check(float(compute()), printed, name)


@pytest.mark.parametrize("case", golden.SINGLE)
def test_golden_single(case):
    value, grad = SINGLE[case]()
    golden.check(total(value), golden.SINGLE[case][0], case)
    golden.check_gradient(grad, golden.SINGLE[case][1:3], golden.SINGLE[case][3:], case)


@pytest.mark.parametrize("case", golden.SELECTED)
def test_golden_selection(case):
    selected = ref.ohem_mask(p, y, m, 1 if "r1" in case else 3, clean="clean" in case)
    assert tuple(selected.sum(axis=(1, 2))) == golden.SELECTED[case]


@pytest.mark.parametrize("case", golden.COMPOSED)
def test_golden_composed(case):
    if "paddle" in case:
        parts, grad = ref.db_loss(np.stack([p, t, b], axis=1), ts, mt, y, m)
        grads = [grad[:, c] for c in range(3)]
    else:
        parts, grads = ref.l1_balance_ce(p, t, b, y, m, ts, mt)
    if "step" in case:
        slope = ref.db_step(p, t)[1] * grads[2]
        grads = [grads[0] + slope, grads[1] - slope, grads[2]]
    value, *sums = golden.COMPOSED[case]
    golden.check(parts["loss"], value, case)
    for name, grad, printed in zip("PTB", grads, sums):
        golden.check_gradient(grad, printed, what=f"{case}, {name}")


# ---------------------------------------------------------------- finite differences and autograd


def smooth(seed, shape=SHAPE):
    """Probabilities without ties, so that no step of the differences crosses a selection."""
    return 0.05 + 0.9 * np.random.default_rng(seed).random(shape)


def detector(name):
    g, mask = scene(name, SHAPE)
    maps = smooth(1, (SHAPE[0], 3, *SHAPE[1:]))
    return maps, 0.3 + 0.4 * smooth(2), scene("binary", SHAPE, 3)[1], g, mask


def tensors(*arrays):
    return [torch.tensor(np.asarray(a, np.float64)) for a in arrays]


def leaf(a):
    return torch.tensor(np.asarray(a, np.float64), requires_grad=True)


def of_balance(main, ratio):
    def upstream(q, g, m_):
        loss = {
            "DiceLoss": up.mask_dice,
            "MaskL1Loss": up.mask_l1,
            "BCELoss": lambda q, g, _: torch.nn.functional.binary_cross_entropy(q, g, reduction="none"),
        }[main](q, g, m_)
        return up.mined(loss, g, m_, ratio)

    return lambda q, g, m_: ref.balance(q, g, m_, main, ratio), upstream


def of_detector(variant, channels=3, **options):
    """The whole loss as a function of its maps, the labels bound by the caller."""
    upstream = {"wenmuzhou": up.wenmuzhou, "paper": up.paper}[variant]

    def reference(maps, *labels):
        parts, grad = ref.db_loss(maps, *labels, variant=variant, **options)
        return parts["loss"], grad

    return reference, lambda maps, *labels: upstream(maps, *labels, **options), channels


SIMPLE = {
    "dice": (ref.mask_dice, up.mask_dice, list(SCENES)),
    "l1": (ref.mask_l1, up.mask_l1, list(SCENES)),
    "l1 guarded": (ref.mask_l1_guarded, None, ["binary", "signed", "soft, weighted mask"]),
    "balanced ce": (ref.balanced_ce, up.balanced_ce, UNSIGNED),
    "ohem": (ref.dice_ohem, None, ["binary", "soft", "no positives", "few negatives"]),
    **{
        f"balance {main} {ratio}": (*of_balance(main, ratio), UNSIGNED if main == "BCELoss" else list(SCENES))
        for main in ("DiceLoss", "MaskL1Loss", "BCELoss")
        for ratio in (3, 0.5, 0)
    },
}
COMPOSED = {
    "wenmuzhou": of_detector("wenmuzhou"),
    "wenmuzhou, two maps": of_detector("wenmuzhou", 2),
    "paper": of_detector("paper"),
    "paper, mild step": of_detector("paper", step_k=3.0),
    "paper, probability": of_detector("paper", step_k=0.0),
}


def finite_differences(value, at, grad, h=1e-6):
    """Every third coordinate by central differences: they carry an error of about 1e-16 / h from rounding and h^2 from
    curvature."""
    scale = np.abs(grad).max()
    for i in np.ndindex(at.shape):
        if sum(i) % 3 == 0:
            up_, down = at.copy(), at.copy()
            up_[i] += h
            down[i] -= h
            slope = (value(up_) - value(down)) / (2 * h)
            assert abs(slope - grad[i]) <= 1e-6 * scale + 1e-9, (i, slope, grad[i])


def against_autograd(reference, upstream, inputs):
    at = leaf(inputs[0])
    value = upstream(at, *tensors(*inputs[1:]))
    value.backward()
    got, grad = reference(*inputs)
    assert math.isclose(got, value.item(), rel_tol=1e-12, abs_tol=1e-14)
    # Where nothing depends on the prediction, autograd leaves no gradient at all.
    want = np.zeros_like(grad) if at.grad is None else at.grad.numpy()
    assert np.abs(grad - want).max() <= 1e-12 * np.abs(want).max()


@pytest.mark.parametrize("case, label", [(c, s) for c, (_, _, scenes) in SIMPLE.items() for s in scenes])
def test_simple(case, label):
    reference, upstream, _ = SIMPLE[case]
    inputs = (smooth(0), *scene(label, SHAPE))
    finite_differences(lambda q: reference(q, *inputs[1:])[0], inputs[0], reference(*inputs)[1])
    if upstream:
        against_autograd(reference, upstream, inputs)


@pytest.mark.parametrize("label", ["binary", "few negatives", "no positives", "nothing valid"])
@pytest.mark.parametrize("case", COMPOSED)
def test_composed(case, label):
    reference, upstream, channels = COMPOSED[case]
    maps, *labels = detector(label)
    maps = maps[:, :channels]
    finite_differences(lambda q: reference(q, *labels)[0], maps, reference(maps, *labels)[1])
    against_autograd(reference, upstream, (maps, *labels))


@pytest.mark.parametrize("label", ["binary", "soft", "no positives", "nothing valid"])
def test_l1_balance_ce(label):
    g, mask = scene(label, SHAPE)
    leaves = [leaf(smooth(i)) for i in range(3)]
    rest = (0.3 + 0.4 * smooth(4), scene(label, SHAPE, 5)[1])
    value = up.l1_balance_ce(*leaves, *tensors(g, mask, *rest))
    value.backward()
    parts, grads = ref.l1_balance_ce(*(at.detach().numpy() for at in leaves), g, mask, *rest)
    assert math.isclose(parts["loss"], value.item(), rel_tol=1e-12)
    for at, grad in zip(leaves, grads):
        want = np.zeros(SHAPE) if at.grad is None else at.grad.numpy()
        assert np.abs(grad - want).max() <= 1e-12 * np.abs(want).max()


def test_weights_multiply_the_mask():
    g, mask = scene("binary", SHAPE)
    weights = np.random.default_rng(0).random(SHAPE)
    against_autograd(ref.mask_dice, up.mask_dice, (smooth(0), g, mask, weights))


def test_step():
    """At P - T = -1 the reciprocal form squares a tiny number; the sigmoid does not: 9.644e-21, from 50 e^-50."""
    p, t = smooth(0), smooth(1)
    value, slope = ref.db_step(p, t)
    assert np.allclose(value, up.db_step(*tensors(p, t)).numpy(), rtol=1e-12, atol=0)
    assert np.allclose(slope, 50 / (2 + 2 * np.cosh(50 * (p - t))), rtol=1e-12, atol=0)
    against_autograd(lambda q, t: (value.sum(), slope), lambda q, t: up.db_step(q, t).sum(), (p, t))
    assert math.isclose(ref.db_step(0.0, 1.0)[1], 50 * math.exp(-50), rel_tol=1e-13)
    assert ref.db_step(0.0, 1.0)[1] == ref.db_step(1.0, 0.0)[1]


# ---------------------------------------------------------------- facts that the specification states


@pytest.mark.parametrize(
    "q, label, loss, slope",
    [
        (0.0, 1, 100, -1e12),
        (1.0, 0, 100, 1e12),
        (1e-40, 1, 92.1034, -1e12),
        (1e-13, 0, 1e-13, 0.1),
        (0.3, 1.5, 1.62762, None),
        (0.3, -0.5, -0.066974, None),
    ],
)
def test_bce_at_the_edges(q, label, loss, slope):
    value, grad = ref.bce(np.array(q), np.array(label), "paddle")
    assert math.isclose(value, loss, rel_tol=1e-5, abs_tol=1e-12 if loss > 1e-6 else 1e-15)
    assert slope is None or math.isclose(grad, slope, rel_tol=1e-12)


def test_a_negative_dice_reverses_the_order():
    """Two positives, six negatives, a loss of -0.5: the six largest products are two zeros and four times -0.5."""
    g = np.array([1.0] * 2 + [0.0] * 6)
    value, _ = ref.mined(*ref.weights_of(g, np.ones(8)), 3, -0.5, np.zeros(8))
    assert math.isclose(value, -0.375, rel_tol=1e-6)


def test_counts_truncate():
    g, mask = np.full(232, 0.45), np.ones(232)
    assert ref.counts(*ref.weights_of(g, mask), 3) == (104, 127)
    assert ref.counts(np.full(33, 1.0), np.full(99, 1.0), 0.5) == (33, 16)
    with pytest.raises(ValueError):
        ref.counts(np.array([np.nan]), np.array([1.0]), 3)


def test_the_selection_is_stable_and_ranks_nan_first():
    v = np.array([1, 2, np.nan, 2, np.inf, 2, 1])
    assert [list(np.flatnonzero(ref.top_k(v, k))) for k in range(5)] == [[], [2], [2, 4], [1, 2, 4], [1, 2, 3, 4]]
    assert list(np.flatnonzero(ref.top_k(np.array([-0.0, 0.0, -0.0]), 2))) == [0, 1]
    assert ref.top_k(np.zeros(3), 9).all()


@pytest.mark.parametrize(
    "value, byte", [(-1, 0), (-0.5, 0), (0.999, 0), (1, 1), (1.9, 1), (255.9, 255), (256, 255), (300, 255), (np.nan, 0)]
)
def test_truncation_to_a_byte(value, byte):
    assert ref.truncated_u8(np.array(value)) == byte
