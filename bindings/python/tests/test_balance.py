"""BalanceLoss: truncated counts, the K largest of the whole batch, and what it balances."""

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import BY_NAME, named
from support import (
    LARGE,
    PREDICTION_TYPES,
    SCENES,
    SHAPES,
    SMALL,
    bounds,
    check_gradient,
    check_value,
    grid,
    id_of,
    probabilities,
    scene,
)

MAINS = ["DiceLoss", "MaskL1Loss", "BCELoss", "DiceOHEM"]


def dtype_of(kind):
    return np.dtype(kind.replace("f", "float"))


def check(kind, p, g, m, main="BCELoss", ratio=3, eps=1e-6, fallback=0, clean=False):
    """segloss against the reference, value and gradient; gives back what the reference found."""
    p = p.astype(dtype_of(kind))
    loss = segloss.BalanceLoss(True, main, ratio, eps=eps, fallback_negative_num=fallback, clean=clean)
    value, grad = loss.value_and_grad(p, g, m)
    want, wanted = ref.balance(p, g, m, main, ratio, eps, fallback, clean)
    on_value, on_gradient = bounds(kind, divides=main == "BCELoss")
    check_value(value, want, on_value)
    check_gradient(grad, wanted, on_gradient)
    return want, wanted


def with_a_gap(kind, g, m, ratio):
    """Predictions whose K-th and next products differ by more than float32 can blur: else either one is a fair choice.

    A float32 logarithm is off by 1e-7 or so; among 200 000 pixels the gaps themselves are no wider than 1e-5.
    """
    pos, neg = ref.weights_of(g, m)
    for seed in range(20):
        p = probabilities(np.random.default_rng(seed), g.shape).astype(dtype_of(kind))
        if ref.gap(neg * ref.bce(p, g, "paddle")[0], ref.counts(pos, neg, ratio)[1]) > 2e-6:
            return p
    raise AssertionError("twenty draws without a gap")


# ---------------------------------------------------------------- sizes, labels, ratios


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
@pytest.mark.parametrize("entry", named("balance"), ids=repr)
def test_sizes(entry, shape, kind):
    """On a coarse grid of probabilities, so that the K-th place is nearly always tied."""
    inputs = entry.draw(shape, dtype=dtype_of(kind))
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    on_value, on_gradient = bounds(kind, entry.divides)
    check_value(value, want, on_value)
    check_gradient(grads[0], wanted[0], on_gradient)
    assert entry.make()(*inputs.values()) == value


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("ratio", [3, 1, 0.5, 0, -1, 1e6], ids=["r3", "r1", "r.5", "none", "below none", "all"])
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("main", MAINS)
def test_scenes(main, name, ratio, kind):
    g, m = scene(name, SMALL)
    p = with_a_gap(kind, g, m, ratio)
    check(kind, p, g.astype(p.dtype), m.astype(p.dtype), main, ratio)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("ratio", [3, 0.5])
@pytest.mark.parametrize("main", MAINS)
def test_all_digits(main, ratio, kind):
    """Predictions with their whole fraction in use, across chunks."""
    g, m = scene("binary", LARGE)
    check(kind, with_a_gap(kind, g, m, ratio), g.astype(np.uint8), m.astype(np.uint8), main, ratio)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("side", [(32, 64), (1, 2049), (256, 256)], ids=["8 bits", "16 bits", "a chunk"])
def test_digits_of_either_width(side, kind):
    """Few elements are counted by 8 bits of their order at a time, more of them by 16."""
    g, m = scene("binary", (1, *side))
    check(kind, with_a_gap(kind, g, m, 3), g.astype(np.uint8), m.astype(np.uint8), "BCELoss", 3)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.999])
@pytest.mark.parametrize("main", MAINS)
def test_constant_maps(main, p, kind):
    """Every partial sum rounds the same way: the worst case of a float32 sum. And all negatives tie."""
    shape = (2, 511, 513)
    g, m = scene("binary", shape)
    check(kind, np.full(shape, p), g.astype(np.uint8), m.astype(np.uint8), main, ratio=0.5)


@pytest.mark.parametrize("eps", [1e-6, 1e-2, 0.0])
@pytest.mark.parametrize("main", MAINS)
def test_eps(main, eps):
    g, m = scene("binary", SMALL)
    check("f64", with_a_gap("f64", g, m, 3), g, m, main, eps=eps)


def test_counts_are_truncated():
    """Soft sums of 104.40 and 129.60: the divisor holds 104 + 129, not what was summed."""
    g, m = np.full((1, 9, 26), 104.4 / 234), np.ones((1, 9, 26))
    assert ref.counts(*ref.weights_of(g, m), 3) == (104, 129)
    for main in MAINS:
        check("f64", np.linspace(0.2, 0.8, 234).reshape(g.shape), g, m, main)


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_a_float_ratio_is_multiplied_before_it_is_truncated(kind):
    """P = 33, ratio .5: 16."""
    g = np.zeros(200)
    g[:33] = 1
    p = np.linspace(0.1, 0.9, 200)
    _, grad = check(kind, p, g, np.ones(200), ratio=0.5)
    assert np.count_nonzero(grad[33:]) == 16


def test_more_mined_than_pixels():
    """A mask of 2 counts each negative twice: the selection stops at all of them, the divisor goes on."""
    g, m = np.zeros(20), np.full(20, 2.0)
    g[:6] = 1
    assert ref.counts(*ref.weights_of(g, m), 3) == (12, 28)
    for main in ("DiceLoss", "MaskL1Loss", "BCELoss"):
        check("f64", np.linspace(0.1, 0.9, 20), g, m, main)


@pytest.mark.parametrize("main", ["DiceLoss", "MaskL1Loss", "BCELoss"])
def test_no_positives_train_nothing(main):
    p = probabilities(np.random.default_rng(0), SMALL)
    value, grad = segloss.BalanceLoss(main_loss_type=main).value_and_grad(
        p, np.zeros(SMALL, np.uint8), np.ones(SMALL, np.uint8)
    )
    assert value == 0.0 and not grad.any()


# ---------------------------------------------------------------- ties


@pytest.mark.parametrize("kind", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize("positives", [1, 5, 341, 342, 21_845, 21_846, 23_334, 44_000])
def test_ties_go_to_the_lowest_index(positives, kind):
    """A constant map over four chunks of 65536: of equal negatives the first K are pushed, wherever K ends."""
    n = int(np.prod(LARGE))
    g = np.zeros(n, np.uint8)
    g[np.random.default_rng(positives).permutation(n)[:positives]] = 1
    p = np.full(n, 0.25, PREDICTION_TYPES[kind])
    _, grad = segloss.BalanceLoss(main_loss_type="BCELoss").value_and_grad(p, g, np.ones(n, np.uint8))
    pushed = np.flatnonzero((grad != 0) & (g == 0))
    assert np.array_equal(pushed, np.flatnonzero(g == 0)[: 3 * positives])
    assert len(set(grad[pushed].tolist())) == 1
    assert (grad[g == 1] < 0).all()


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("levels", [2, 3, 5, 17])
def test_few_levels_many_ties(levels, kind):
    """Masked and positive pixels interleave with the tied ones."""
    rng = np.random.default_rng(levels)
    shape = (4, 257, 253)
    g, m = scene("binary", shape)
    check(kind, grid(rng, shape, 256, low=100, high=100 + levels), g, m, ratio=0.7)


def test_ties_at_zero_follow_the_index():
    """A perfect Dice without eps is exactly 0, every product ties at 0 and the first K elements are taken, the
    positives among them."""
    g = np.zeros(64)
    g[:8] = 1
    check("f64", g.copy(), g, np.ones(64), "DiceLoss", ratio=3, eps=0.0)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("main", ["DiceLoss", "BCELoss"])
def test_weighted_negatives_tie_too(main, kind):
    """Soft labels and a few weights: products repeat, and some negative ones are among them."""
    rng = np.random.default_rng(0)
    g, m = rng.integers(0, 3, SMALL) / 2, rng.choice([-1.0, 0, 1, 2], SMALL, p=[0.05, 0.15, 0.7, 0.1])
    check(kind, np.full(SMALL, 0.25), g, m, main, ratio=0.5)


def test_a_negative_dice_takes_the_zeros_first():
    """Predictions above 1 can turn Dice negative; the largest products are then those of positive and ignored
    pixels."""
    g, m = scene("binary", SMALL)
    want, _ = check("f64", np.where(g, 5.0, 0.01), g, m, "DiceLoss", ratio=1)
    assert want < 0


# ---------------------------------------------------------------- fallback


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("main", ["DiceLoss", "MaskL1Loss", "BCELoss"])
@pytest.mark.parametrize("fallback", [1, 10, 300, 10**6])
def test_fallback_trains_on_background(main, fallback, kind):
    m = scene("binary", SMALL)[1]
    want, wanted = check(kind, with_a_gap(kind, np.zeros(SMALL), m, 0), np.zeros(SMALL), m, main, fallback=fallback)
    assert want > 0
    if main == "BCELoss":
        assert np.count_nonzero(wanted) == min(fallback, m.sum())


@pytest.mark.parametrize("name", ["binary", "faint", "nothing valid", "negative positives"])
def test_fallback_waits_for_no_positives(name):
    g, m = scene(name, SMALL)
    for main in ("DiceLoss", "BCELoss"):
        check("f64", with_a_gap("f64", g, m, 3), g, m, main, fallback=10)


# ---------------------------------------------------------------- DiceOHEM


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("ratio", [3, 0.5, 0])
def test_ohem_image_by_image(ratio, clean, kind):
    """One image each: ordinary, without text, without background, ignored, text under the mask only."""
    rng = np.random.default_rng(7)
    shape = (5, 19, 23)
    g, m = scene("binary", shape)
    g[1], g[2], m[3], m[4] = 0, 1, 0, 1 - g[4]
    check(kind, grid(rng, shape), g, m, "DiceOHEM", ratio, clean=clean)


def test_ohem_takes_the_channel_axis():
    inputs = BY_NAME["balance-ohem"].draw((3, 11, 13))
    loss = segloss.BalanceLoss(main_loss_type="DiceOHEM")
    want, wanted = loss.value_and_grad(*inputs.values())
    value, grad = loss.value_and_grad(*(a[:, None] for a in inputs.values()))
    assert value == want and grad.shape == (3, 1, 11, 13) and np.array_equal(grad[:, 0], wanted)


def test_ohem_selects_every_tie():
    """p >= threshold: a constant image takes all of its valid negatives, so the loss is plain Dice."""
    g, m = scene("binary", SMALL)
    p = np.full(SMALL, 0.5)
    assert segloss.BalanceLoss(main_loss_type="DiceOHEM", negative_ratio=1)(p, g, m) == pytest.approx(
        segloss.MaskDiceLoss()(p, g, m), rel=1e-12
    )


# ---------------------------------------------------------------- return_origin, balance off


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("main", MAINS)
def test_return_origin(main, kind):
    p, (g, m) = grid(np.random.default_rng(0), SMALL).astype(dtype_of(kind)), scene("binary", SMALL)
    balanced, origin = segloss.BalanceLoss(main_loss_type=main, return_origin=True)(p, g, m)
    want, _ = ref.balance_origin(p, g, m, main)
    check_value(balanced, ref.balance(p, g, m, main)[0], bounds(kind)[0])
    if main == "BCELoss":
        assert origin.shape == p.shape and np.allclose(origin, want, rtol=bounds(kind)[0], atol=0)
    else:
        check_value(origin, want, bounds(kind)[0])
    (again, _), grad = segloss.BalanceLoss(main_loss_type=main, return_origin=True).value_and_grad(p, g, m)
    assert again == balanced
    check_gradient(grad, ref.balance(p, g, m, main)[1], bounds(kind, divides=main == "BCELoss")[1])


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("return_origin", [False, True])
@pytest.mark.parametrize("main", MAINS)
def test_balance_off(main, return_origin, kind):
    """The main loss as it is; `return_origin` then has nothing to add."""
    p, (g, m) = grid(np.random.default_rng(0), SMALL).astype(dtype_of(kind)), scene("binary", SMALL)
    loss = segloss.BalanceLoss(False, main, return_origin=return_origin)
    value, grad = loss.value_and_grad(p, g, m)
    want, wanted = ref.balance_origin(p, g, m, main)
    if main == "BCELoss":
        assert value.shape == p.shape and np.allclose(value, want, rtol=bounds(kind)[0], atol=0)
        assert np.array_equal(loss(p, g, m), value)
    else:
        check_value(value, want, bounds(kind)[0])
        assert loss(p, g, m) == value
    check_gradient(grad, wanted, bounds(kind, divides=main == "BCELoss")[1])


def test_a_map_takes_a_map_of_upstream_gradients():
    p, (g, m) = grid(np.random.default_rng(0), SMALL), scene("binary", SMALL)
    upstream = np.random.default_rng(1).standard_normal(SMALL)
    loss = segloss.BalanceLoss(False, "BCELoss")
    _, grad = loss.value_and_grad(p, g, m, grad_output=upstream)
    check_gradient(grad, ref.bce(p, g, "paddle")[1] * upstream, 1e-12)
    _, doubled = loss.value_and_grad(p, g, m, grad_output=2.0)
    check_gradient(doubled, ref.bce(p, g, "paddle")[1] * 2, 1e-12)


def test_parts():
    inputs = BY_NAME["balance-dice"].draw(SMALL).values()
    parts = segloss.BalanceLoss(return_parts=True)(*inputs)
    assert isinstance(parts, dict) and parts["loss"] == segloss.BalanceLoss()(*inputs)


# ---------------------------------------------------------------- cross-entropy at the edges


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize(
    "p, g, loss, slope",
    [
        (0, 1, 100, -1e12),
        (1, 0, 100, 1e12),
        (0, 0, 0, 0),
        (1, 1, 0, 0),
        (1e-40, 1, 92.10340371976183, -1e12),
        (1e-13, 1, 29.933606208922594, -1e12),
        (0.5, 1, np.log(2), -2),
    ],
)
def test_saturated_probabilities(p, g, loss, slope, kind):
    """Logarithms stop at -100, the divisor of the slope at 1e-12; a denormal probability is not flushed to 0."""
    p = np.array([p, 0.5], dtype_of(kind))
    value, grad = segloss.BalanceLoss(False, "BCELoss").value_and_grad(
        p, np.array([g, 1], np.uint8), np.ones(2, np.uint8)
    )
    assert value[0] == pytest.approx(loss, rel=2e-7 if kind == "f32" else 1e-14)
    assert grad[0] == pytest.approx(slope, rel=2e-6 if kind == "f32" else 1e-12)
    check(kind, np.array([p[0]]), np.array([g], np.uint8), np.ones(1, np.uint8), fallback=1)


def test_any_label_is_taken():
    """Paddle's range check is on predictions only."""
    loss = segloss.BalanceLoss(False, "BCELoss")
    assert loss(np.array([0.3]), np.array([1.5]), np.ones(1))[0] == pytest.approx(1.62762, rel=1e-5)
    assert loss(np.array([0.3]), np.array([-0.5]), np.ones(1))[0] == pytest.approx(-0.066974, rel=1e-4)


@pytest.mark.parametrize("shape", [(0,), (0, 3, 5), (2, 3, 0)], ids=id_of)
@pytest.mark.parametrize("main", ["DiceLoss", "MaskL1Loss", "BCELoss"])
def test_nothing_at_all(main, shape):
    value, grad = segloss.BalanceLoss(main_loss_type=main).value_and_grad(*[np.zeros(shape, np.float32)] * 3)
    assert value == 0.0 and grad.shape == shape


# ---------------------------------------------------------------- large


@pytest.mark.large
def test_more_than_2_to_the_24():
    """More than 2^24 negatives counted and chosen from, in float32, the K-th place tied over millions.

    The sorted reference would take most of a minute; with sixteen levels, ranks are cumulative counts.
    """
    n = 2**24 + 4099
    level = np.random.default_rng(0).integers(1, 17, n, dtype=np.uint8)
    p, g = level.astype(np.float32) / 32, np.zeros(n, np.uint8)
    g[::5] = 1
    value, grad = segloss.BalanceLoss(main_loss_type="BCELoss").value_and_grad(p, g, np.ones(n, np.uint8))

    P = int(g.sum(dtype=np.int64))
    K = min(n - P, 3 * P)
    taken, left = np.zeros(n, bool), K
    for step in range(16, 0, -1):
        at = np.flatnonzero((level == step) & (g == 0))[:left]
        taken[at] = True
        left -= len(at)
    assert left == 0
    loss = [ref.bce(np.arange(1, 17) / 32, y, "paddle")[0] for y in (0, 1)]
    sums = [np.bincount(level[where], minlength=17)[1:] @ loss[y] for y, where in enumerate((taken, g == 1))]
    check_value(value, float(sum(sums)) / (P + K + 1e-6), 1e-6)
    assert np.array_equal(grad != 0, taken | (g == 1))
    for y in (0, 1):
        slopes = ref.bce(np.arange(1, 17) / 32, y, "paddle")[1] / (P + K + 1e-6)
        at = np.flatnonzero(taken if y == 0 else g)[::101]
        assert np.allclose(grad[at], slopes[level[at] - 1], rtol=2e-6)
