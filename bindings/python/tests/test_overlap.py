"""Dice, IoU, Tversky, focal Tversky, and Dice with cross-entropy."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import reference_overlap as ref
import segloss
from catalog import BY_NAME, OVERLAP
from frameworks import framework
from hypothesis import given
from hypothesis import strategies as st
from support import SHAPES, SMALL, assert_same_bits, bfloat16, binary, bounds, check, check_gradient, id_of, logits

torch = framework("torch")
import upstream_losses as up

LOSSES = {
    "dice": (segloss.DiceLoss, ref.dice, {}),
    "iou": (segloss.IoULoss, ref.iou, {}),
    "tversky": (segloss.TverskyLoss, ref.tversky, {"alpha": 0.3, "beta": 0.7}),
    "focal-tversky": (segloss.FocalTverskyLoss, ref.focal_tversky, {"alpha": 0.3, "beta": 0.7, "gamma": 0.75}),
    "dice-bce": (segloss.DiceBCELoss, ref.dice_bce, {}),
}
N, C = 3, 4


def both(name, *inputs, kind="f64", mask=None, divides=False, grad_output=1.0, **options):
    """segloss against the reference; returns what segloss gave."""
    loss, reference, own = LOSSES[name]
    options = {**own, **options}
    parts, policy = options.get("reduction") != "none", options.pop("non_finite", "propagate")
    made = loss(**options, non_finite=policy, return_parts=parts)
    result = made.value_and_grad(*inputs, mask=mask, grad_output=grad_output)
    want = reference(*inputs, mask, grad_output=grad_output, **options)
    check(result, want, kind, divides, shared=options.get("activation") == "softmax")
    return result


def drawn(shape, kind="f64", seed=0, share=0.3):
    """Logits with all their digits, a binary target and a mask."""
    rng = np.random.default_rng([seed, *shape])
    return logits(rng, shape, kind), binary(rng, shape, share), binary(rng, shape, 0.8)


# ---------------------------------------------------------------- against the reference


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
@pytest.mark.parametrize("entry", OVERLAP, ids=repr)
def test_sizes(entry, shape, kind):
    inputs = entry.draw(shape, dtype=kind.replace("f", "float"))
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    check((value, grads[0]), (want, wanted[0]), kind, entry.divides, shared="softmax" in entry.name)
    assert np.array_equal(entry.make(return_parts=False)(**inputs), value if entry not in PARTS else value["loss"])


PARTS = [entry for entry in OVERLAP if not entry.name.endswith("-none")]
RANKS = [(), (7,), (3, 5), (2, 3, 37), (2, 3, 5, 7), (2, 2, 3, 5, 7), (2, 3, 1, 3, 5, 7)]


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", RANKS, ids=id_of)
@pytest.mark.parametrize("name", LOSSES)
def test_ranks(name, shape, kind):
    x, y, m = drawn(shape, kind)
    both(name, x, y, kind=kind)
    both(name, x, y.astype(np.uint8), mask=m, kind=kind)
    if len(shape) < 2:
        return
    for options in ({"average": "macro"}, {"per_sample": True}, {"average": "macro", "activation": "softmax"}):
        if name == "dice-bce" and "activation" in options:
            continue
        both(name, x, y, mask=m, kind=kind, **options)
        both(name, x, y, mask=m[:, 0], kind=kind, **options)
        if shape[1] > 1:
            labels = np.random.default_rng(3).integers(0, shape[1], (shape[0], *shape[2:]))
            both(name, x, labels, mask=m[:, :1], kind=kind, **options)


@pytest.mark.parametrize("shape", [(0,), (0, 3, 5), (2, 3, 0), (0, 1, 0)], ids=id_of)
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_at_all(name, shape):
    x = np.zeros(shape, np.float32)
    for options in ({}, {"smooth": 0.0}, {"average": "macro", "per_sample": True}, {"absent": "skip"}):
        if len(shape) < 2 and "average" in options:
            continue
        value, grad = both(name, x, x, **options)
        assert value["loss"] == 0 and grad.shape == shape and grad.dtype == np.float32


CHOICES = {
    "activation": ["sigmoid", "softmax", "none"],
    "average": ["micro", "macro"],
    "per_sample": [False, True],
    "classes": [None, [2, 0]],
    "absent": ["count", "skip", "zero"],
    "class_weight": [None, [0.5, 2.0, 0.0, 1.0]],
    "reduction": ["mean", "sum", "none"],
}


@pytest.mark.parametrize("targets", ["dense", "soft", "dense, ignored", "labels", "labels, ignored"])
@pytest.mark.parametrize("name", LOSSES)
def test_options(name, targets):
    """Every option with every other, a class that is nowhere and one that an image lacks."""
    rng = np.random.default_rng(1)
    shape = (N, C, 7, 11)
    for i, chosen in enumerate(itertools.product(*CHOICES.values())):
        options = dict(zip(CHOICES, chosen))
        if name == "dice-bce" and options["activation"] == "softmax":
            continue
        kind = ["f64", "f32"][i // 3 % 2]
        x, y, m = drawn(shape, kind, i)
        if options["activation"] == "none":
            x = (1 / (1 + np.exp(-x))).astype(x.dtype)
        y = rng.random(shape).astype(x.dtype) if targets == "soft" else y
        y[:, 1] = 0
        y[0, 2] = 0
        if "labels" in targets:
            y = rng.integers(0, C, (N, 7, 11))
            y[y == 1] = 3
            y[0][y[0] == 2] = 3
        if "ignored" in targets:
            ignored = 9 if "dense" in targets else 255
            where = rng.random(y.shape) < 0.2
            if options["activation"] == "softmax" and "dense" in targets:
                where[:] = where[:, :1]  # a softmax needs all the logits of a position, or none
            y[where], options["ignore_index"] = ignored, ignored
        mask = [None, m, m[:, 0]][i % 3]
        items = {(False, "micro"): (), (True, "micro"): (N,)}.get((options["per_sample"], options["average"]))
        if items is None:
            items = (N,)[: options["per_sample"]] + (len(options["classes"] or range(C)),)
        upstream = rng.standard_normal(items) if options["reduction"] == "none" else -1.7
        divides = name == "dice-bce" and options["activation"] == "none"
        result = both(name, x, y, mask=mask, kind=kind, divides=divides, grad_output=upstream, **options)
        assert options["reduction"] != "none" or (result[0].shape == items and result[0].dtype == np.float64), options


@pytest.mark.parametrize("dtype", [np.float16, bfloat16], ids=["f16", "bf16"])
@pytest.mark.parametrize("name", LOSSES)
def test_halves(name, dtype):
    """The result of the widened inputs in float32, its gradient rounded once; a sum far above float16's 65504."""
    x, y, m = drawn((1, 1, 512, 512), "f32")
    x = x.astype(dtype)
    loss = LOSSES[name][0]()
    value, grad = loss.value_and_grad(x, y, mask=m, grad_output=1e4)
    want, wanted = loss.value_and_grad(x.astype(np.float32), y, mask=m, grad_output=1e4)
    assert value == want and np.array_equal(grad, wanted.astype(dtype))


# ---------------------------------------------------------------- live torch in float32

PUBLISHED = {
    "dice": (up.dice, {"smooth": 1}),
    "iou": (up.iou, {"smooth": 1}),
    "tversky": (up.tversky, {"smooth": 1, "alpha": 0.3, "beta": 0.7}),
    "focal-tversky": (up.focal_tversky, {"smooth": 1, "alpha": 0.3, "beta": 0.7, "gamma": 0.75}),
    "dice-bce": (up.dice_bce, {"smooth": 1}),
}


@pytest.mark.parametrize("share", [0.3, 0.0, 1.0])
@pytest.mark.parametrize("shape", [(2, 1, 131, 97), (3, 4, 17, 19)], ids=id_of)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name, shape, share):
    """torch's own float32 rounding ends the agreement at 5e-6 of a value, 1e-5 of a gradient's largest entry. (Above
    16.6 its sigmoid is 1, and its cross-entropy jumps to 100: nothing that we would repeat.)"""
    upstream, options = PUBLISHED[name]
    x, y, _ = drawn(shape, "f32", share=share)
    x, y = x / 2, y.astype(np.float32)
    at = torch.tensor(x, requires_grad=True)
    want = upstream(at, torch.tensor(y), **options)
    want.backward()
    value, grad = LOSSES[name][0](**options).value_and_grad(x, y)
    # 1 - a ratio that is nearly 1 leaves torch with 6e-8 of 1, whatever the loss.
    assert value == pytest.approx(want.item(), rel=5e-6, abs=2e-7)
    check_gradient(grad, at.grad.numpy().astype(np.float64), 1e-5)


# ---------------------------------------------------------------- at the call

CALLS = {
    "dice": {"smooth": 0.25},
    "iou": {"smooth": 0.25},
    "dice-bce": {"smooth": 0.25},
    "tversky": {"smooth": 0.25, "alpha": 0.1, "beta": 0.9},
    "focal-tversky": {"smooth": 0.25, "alpha": 0.1, "beta": 0.9, "gamma": 2.0},
}


@pytest.mark.parametrize("name", CALLS)
def test_options_at_the_call(name):
    """As the published code takes them, in its order; they go for that call alone."""
    x, y, m = drawn(SMALL, "f32")
    loss, options = LOSSES[name][0](), CALLS[name]
    before = loss.value_and_grad(x, y)
    want = LOSSES[name][0](**options).value_and_grad(x, y)
    for given_ in ((tuple(options.values()), {}), ((), options)):
        assert_same_bits_of(loss.value_and_grad(x, y, *given_[0], **given_[1]), want)
        assert loss(x, y, *given_[0], **given_[1]) == want[0]
    assert loss(x, y, None) == before[0]
    assert_same_bits_of(loss.value_and_grad(x, y), before)
    masked = LOSSES[name][0](**options)(x, y, mask=m)
    assert loss(x, y, *options.values(), mask=m) == masked
    with pytest.raises(TypeError, match="smooth"):
        loss(x, y, "x")
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="smooth"):
            loss(x, y, wrong)


def assert_same_bits_of(got, want):
    assert_same_bits((got[0], (got[1],)), (want[0], (want[1],)))


def test_ignored_arguments_of_the_original():
    x, y, _ = drawn(SMALL, "f32")
    for name in ("dice", "iou", "dice-bce"):
        loss = LOSSES[name][0]
        assert loss(None, True)(x, y) == loss(np.ones(3), False)(x, y) == loss()(x, y)


@pytest.mark.parametrize("name", LOSSES)
def test_pickle_and_copy(name):
    x, y, _ = drawn((N, C, 5), "f32")
    loss = LOSSES[name][0](
        smooth=0.3, average="macro", classes=[0, 2], class_weight=[1, 2, 3, 4], per_sample=True, reduction="none"
    )
    want = loss(x, y)
    for other in (pickle.loads(pickle.dumps(loss)), copy.copy(loss), copy.deepcopy(loss)):
        assert np.array_equal(other(x, y), want)


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("at", [17.0, 90.0, 1e4, np.inf])
@pytest.mark.parametrize("name", LOSSES)
def test_far_logits(name, at, kind):
    """Right and wrong ones: no overflow, nothing lost."""
    rng = np.random.default_rng(0)
    y = binary(rng, (2, 3, 257), 0.3)
    right = np.where(y, at, -at).astype(kind.replace("f", "float"))
    for wrong in (0.0, 0.1, 1.0):
        x = np.where(rng.random(y.shape) < wrong, -right, right)
        if name == "dice-bce" and at == np.inf:
            value = segloss.DiceBCELoss()(x, y)
            assert not np.isfinite(value)  # 0 times infinity, as from torch's logits form
            continue
        both(name, x, y, kind=kind)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("at", [17.0, 90.0, 1e4])
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "dice-bce"])
def test_far_logits_of_classes(name, at, kind):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 257))
    for wrong in (0.0, 0.1, 1.0):
        winner = np.where(rng.random(labels.shape) < wrong, (labels + 1) % 3, labels)
        x = np.stack([np.where(winner == c, at, -at) for c in range(3)], axis=1)
        for average in ("micro", "macro"):
            both(name, x.astype(kind.replace("f", "float")), labels, kind=kind, activation="softmax", average=average)


@pytest.mark.parametrize("name", LOSSES)
def test_infinity_among_classes(name):
    """A class that is ruled out by -inf has probability 0, and no gradient."""
    if name == "dice-bce":
        return
    x, y, _ = drawn((2, 3, 57))
    x[:, 1] = -np.inf
    _, grad = both(name, x, y, activation="softmax", average="macro")
    assert not grad[:, 1].any()


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("name", LOSSES)
def test_nearly_perfect_keeps_its_digits(name, kind):
    """What is missed is a sum of small terms of one sign, each right to float32's last digits: so is the loss. Taken as
    1 minus a ratio it would be off by 6e-8, here a few percent of it."""
    y = binary(np.random.default_rng(0), (2, 1, 131, 97), 0.3)
    x = np.where(y, 14.0, -14.0).astype(kind.replace("f", "float"))
    loss, reference, options = LOSSES[name]
    value = loss(**options)(x, y)
    want = reference(x, y, **options)[0]["loss"]
    assert abs(value - want) <= bounds(kind)[0] * want
    assert name == "focal-tversky" or want < 1e-5


@pytest.mark.parametrize("name", LOSSES)
def test_empty_target(name):
    """smooth keeps the slope finite; without it a prediction of anything is all wrong."""
    x, _, _ = drawn(SMALL)
    for smooth in (1.0, 0.0):
        both(name, x, np.zeros(SMALL), smooth=smooth)
    for absent in ("skip", "zero"):
        value, grad = both(name, x, np.zeros(SMALL), absent=absent)
        assert value["loss"] == value.get("bce_loss", 0) and value["count"] == (absent == "zero")
        assert name == "dice-bce" or not grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_counts(name):
    """All ignored or masked: s/s, or 0/0, is a loss of 0 without gradient."""
    x, y, _ = drawn((N, C, 5), "f32")
    labels = np.full((N, 5), 255)
    for smooth in (1.0, 0.0):
        for average in ("micro", "macro"):
            for target, options in (
                (labels, {"ignore_index": 255}),
                (np.full(x.shape, -1.0), {"ignore_index": -1}),
                (y, {"mask": np.zeros(x.shape)}),
                (y, {"mask": np.zeros((N, 5), np.uint8)}),
            ):
                value, grad = both(name, x, target, kind="f32", smooth=smooth, average=average, **options)
                assert value["loss"] == 0 and not grad.any()


@pytest.mark.parametrize("y", [0.0, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_a_single_pixel(name, y):
    for shape in ((), (1,), (1, 1), (1, 1, 1, 1)):
        both(name, np.full(shape, 0.3, np.float32), np.full(shape, y, np.float32), kind="f32")


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_powers(gamma):
    x, y, m = drawn(SMALL, "f32")
    both("focal-tversky", x, y, mask=m, kind="f32", gamma=gamma)
    perfect = np.where(y, np.inf, -np.inf)
    value, grad = segloss.FocalTverskyLoss(gamma=gamma).value_and_grad(perfect, y)
    assert value == (0 if gamma else 1) and not grad.any()


def test_powers_of_one():
    """gamma = 1 is Tversky, bit for bit; alpha = beta is Dice or IoU."""
    x, y, m = drawn(SMALL)
    tversky = segloss.TverskyLoss(alpha=0.3, beta=0.7).value_and_grad(x, y, mask=m)
    assert_same_bits_of(segloss.FocalTverskyLoss(alpha=0.3, beta=0.7).value_and_grad(x, y, mask=m), tversky)
    for twin, options in ((segloss.DiceLoss(smooth=2.0), {}), (segloss.IoULoss(), {"alpha": 1, "beta": 1})):
        value, grad = segloss.TverskyLoss(**options).value_and_grad(x, y, mask=m)
        want, wanted = twin.value_and_grad(x, y, mask=m)
        assert value == pytest.approx(want, rel=1e-14) and np.allclose(grad, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("x", [-7.0, -0.85, 0.0, 2.2])
@pytest.mark.parametrize("name", LOSSES)
def test_constant_maps(name, x, kind):
    """Every partial sum rounds the same way: the worst case of a float32 sum."""
    shape = (2, 511, 513)
    y, m = binary(np.random.default_rng(0), shape, 0.2), binary(np.random.default_rng(1), shape, 0.9)
    both(name, np.full(shape, x, kind.replace("f", "float")), y.astype(np.uint8), mask=m.astype(np.uint8), kind=kind)


@pytest.mark.parametrize("name", LOSSES)
def test_one_positive_in_ten_million(name):
    """The few must not drown in the sum of the many: FN is 1e-7 of FP here."""
    n = 10**7
    x, y = np.full(n, -2.0, np.float32), np.zeros(n, np.uint8)
    y[n // 2] = 1
    loss, reference, options = LOSSES[name]
    value, grad = loss(**options).value_and_grad(x, y)
    # The same sums from two pixels, the other with the weight of them all.
    few, slope = reference(np.array([-2.0, -2.0]), np.array([1, 0]), np.array([1, n - 1.0]), **options)
    assert abs(value - few["loss"]) <= 1e-6 * few["loss"]
    assert abs(grad[n // 2] - slope[0]) <= 1e-6 * abs(slope[0])
    assert np.abs(np.delete(grad, n // 2) - slope[1] / (n - 1)).max() <= 1e-6 * abs(slope[1]) / (n - 1)


@pytest.mark.large
@pytest.mark.parametrize("name", LOSSES)
def test_more_than_2_to_the_24(name):
    """Counts past float32's integers: three values only, so that the reference can weigh them instead of summing."""
    n = 2**24 + 4099
    x, y = np.full(n, 1.5, np.float32), np.ones(n, np.uint8)
    x[::3], y[::1000] = -0.75, 0
    pairs = [(a, b) for a in (1.5, -0.75) for b in (0, 1)]
    counts = [float(np.count_nonzero((x == a) & (y == b))) for a, b in pairs]
    loss, reference, options = LOSSES[name]
    value, grad = loss(**options).value_and_grad(x, y)
    want, slope = reference(*np.array(pairs).T, np.array(counts), **options)
    assert abs(value - want["loss"]) <= 1e-6 * want["loss"]
    largest = np.abs(slope / counts).max()
    for (a, b), s, count in zip(pairs, slope, counts):
        assert np.abs(grad[(x == a) & (y == b)] - s / count).max() <= 1e-6 * largest


# ---------------------------------------------------------------- what is not read


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30], ids=str)
@pytest.mark.parametrize("policy", ["propagate", "refuse", "skip_masked"])
@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_are_not_read(name, policy, value):
    """Under every policy: the bits of any other number there, and no gradient."""
    rng = np.random.default_rng(0)
    shape = (N, C, 7, 11)
    labels = rng.integers(0, C, (N, 7, 11)).astype(np.uint8)
    dense = binary(rng, shape, 0.3)
    where = rng.random((N, 7, 11)) < 0.2
    labels[where] = 255
    dense[np.broadcast_to(where[:, None], shape)] = -1
    for activation in ("sigmoid", "softmax"):
        if name == "dice-bce" and activation == "softmax":
            continue
        for target, ignored in ((labels, 255), (dense, -1)):
            x = logits(rng, shape, "f32")
            loss = LOSSES[name][0](
                activation=activation, average="macro", ignore_index=ignored, non_finite=policy, return_parts=True
            )
            want = loss.value_and_grad(x, target)
            poisoned = np.where(where[:, None], np.float32(value), x)
            assert_same_bits_of(loss.value_and_grad(poisoned, target), want)
            assert not want[1][np.broadcast_to(where[:, None], shape)].any()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "dice-bce"])
def test_a_softmax_reads_a_position_unless_all_of_it_is_ruled_out(name):
    """The logits of one class are part of the others' probabilities, whether its own element counts or not."""
    x, y, m = drawn((N, C, 57))
    m[:, :, ::3] = 0
    options = {"activation": "softmax", "average": "macro"}
    want = both(name, x, y, mask=m, **options)
    got = both(name, x, y, mask=m, non_finite="skip_masked", **options)
    assert got[0] == want[0] and np.array_equal(got[1], want[1])
    ignoring = both(name, x, np.where(m == 1, y, -1), ignore_index=-1, **options)
    alike((ignoring[0]["loss"], ignoring[1]), (want[0]["loss"], want[1]))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_nan_elsewhere_propagates_or_is_refused(activation):
    x, _, m = drawn((N, C, 5), "f32")
    labels = np.zeros((N, 5), np.uint8)
    x[1, 2, 3] = np.nan
    options = {"activation": activation, "average": "macro"}
    assert np.isnan(segloss.DiceLoss(**options)(x, labels))
    with pytest.raises(ValueError, match=r"\binput\b"):
        segloss.DiceLoss(**options, non_finite="refuse")(x, labels)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("name", LOSSES)
def test_labels_outside_the_classes(name, dtype):
    """Never clamped to a class; the sentence says what came."""
    x, _, _ = drawn((N, C, 5), "f32")
    for label in [C, 255] + ([-1, -100] if dtype != np.uint8 else []):
        y = np.zeros((N, 5), dtype)
        y[1, 3] = label
        for options in ({}, {"ignore_index": 254}, {"average": "macro", "classes": [0]}):
            with pytest.raises(ValueError, match=r"\btarget\b") as caught:
                LOSSES[name][0](**options)(x, y)
            assert str(label) in str(caught.value)
        both(name, x, y, kind="f32", ignore_index=label)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_labels_are_whole_numbers(dtype):
    x, _, _ = drawn((N, C, 5), "f32")
    with pytest.raises(TypeError, match=r"\btarget\b"):
        segloss.DiceLoss()(x, np.zeros((N, 5), dtype))


@pytest.mark.parametrize("name", LOSSES)
def test_ranks_that_have_no_classes(name):
    x = np.zeros(5, np.float32)
    for options in (
        {"activation": "softmax"},
        {"average": "macro"},
        {"per_sample": True},
        {"class_weight": [1.0]},
        {"classes": [0]},
    ):
        if name == "dice-bce" and "activation" in options:
            continue
        with pytest.raises(ValueError, match=r"\binput\b"):
            LOSSES[name][0](**options)(x, x)


@pytest.mark.parametrize(
    "option, value, error",
    [
        ("class_weight", [1.0, 2.0], ValueError),
        ("class_weight", [1.0] * 5, ValueError),
        ("class_weight", [], ValueError),
        ("class_weight", [1.0, np.nan, 1.0, 1.0], ValueError),
        ("class_weight", [1.0, np.inf, 1.0, 1.0], ValueError),
        ("class_weight", [[1.0, 1.0, 1.0, 1.0]], (ValueError, TypeError)),
        ("class_weight", "abcd", TypeError),
        ("class_weight", 1.0, TypeError),
        ("classes", [0, 4], ValueError),
        ("classes", [-1], ValueError),
        ("classes", [1, 1], ValueError),
        ("classes", [], ValueError),
        ("classes", [0.5], TypeError),
        ("classes", "01", TypeError),
        ("classes", 1, TypeError),
        ("per_sample", "yes", TypeError),
        ("per_sample", None, TypeError),
        ("from_logits", None, TypeError),
        ("ignore_index", 2**40, ValueError),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", LOSSES)
def test_options_refused(name, option, value, error):
    x, y, _ = drawn((N, C, 5), "f32")
    for average in ("micro", "macro"):
        with pytest.raises(error, match=rf"\b{option}\b"):
            LOSSES[name][0](**{"average": average, option: value})(x, y)


def test_class_weights_take_any_sequence():
    x, y, _ = drawn((N, C, 5))
    want = segloss.DiceLoss(class_weight=[1, 2, 3, 4], classes=[0, 2])(x, y)
    for make in (tuple, np.array, lambda a: np.array(a, np.uint8)):
        assert segloss.DiceLoss(class_weight=make([1, 2, 3, 4]), classes=make([0, 2]))(x, y) == want


def test_cross_entropy_of_a_softmax_is_refused():
    x, y, _ = drawn((N, C, 5))
    with pytest.raises(ValueError, match=r"\bactivation\b"):
        segloss.DiceBCELoss(activation="softmax")(x, y)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_what_is_no_probability(value):
    """Refused where a cross-entropy takes its logarithm; a ratio of sums takes anything."""
    x, y = np.full(SMALL, 0.5, np.float32), np.zeros(SMALL, np.uint8)
    x[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"\binput\b"):
        segloss.DiceBCELoss(from_logits=False)(x, y)
    assert np.isnan(segloss.DiceLoss(from_logits=False)(x, y)) == np.isnan(value)


@pytest.mark.parametrize(
    "shape", [(2, 5), (4, 5), (3, 6), (3, 2, 5), (3, 4, 6), (1, 3, 5), (15,), (3, 1, 1, 5)], ids=id_of
)
@pytest.mark.parametrize("argument", ["target", "mask"])
def test_shapes(argument, shape):
    x, y, m = drawn((3, 4, 5), "f32")
    inputs = {"target": y, "mask": m, argument: np.zeros(shape, np.uint8)}
    with pytest.raises(ValueError, match=rf"\b{argument}\b") as caught:
        segloss.DiceLoss()(x, **inputs)
    assert str(shape[-1]) in str(caught.value)


@pytest.mark.parametrize("value", [np.ones(2), np.ones((N, C + 1)), np.ones((C, N)), "x", None], ids=str)
def test_grad_output_of_items(value):
    x, y, _ = drawn((N, C, 5))
    loss = segloss.DiceLoss(average="macro", per_sample=True, reduction="none")
    with pytest.raises((ValueError, TypeError), match=r"\bgrad_output\b"):
        loss.value_and_grad(x, y, grad_output=value)
    with pytest.raises((ValueError, TypeError), match=r"\bgrad_output\b"):
        segloss.DiceLoss().value_and_grad(x, y, grad_output=np.ones((N, C)))


# ---------------------------------------------------------------- properties

seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(list(LOSSES))
shapes = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 40))
activations = st.sampled_from(["sigmoid", "softmax"])


def of(name, activation="sigmoid", **options):
    """A loss in float64; cross-entropy knows no softmax."""
    return LOSSES[name][0](**LOSSES[name][2], activation="sigmoid" if name == "dice-bce" else activation, **options)


def alike(got, want):
    """Other sums of the same numbers: 1e-15 for each of some hundred terms."""
    assert np.asarray(got[0]) == pytest.approx(np.asarray(want[0]), rel=1e-12, abs=1e-14)
    assert np.allclose(got[1], want[1], rtol=1e-11, atol=1e-13 * np.abs(want[1]).max(initial=0))


@given(names, seeds, shapes)
def test_a_mask_is_slicing(name, seed, shape):
    x, y, m = drawn(shape, seed=seed)
    value, grad = of(name).value_and_grad(x, y, mask=m)
    want, wanted = of(name).value_and_grad(x[m == 1], y[m == 1])
    alike((value, grad[m == 1]), (want, wanted))
    assert not grad[m == 0].any()


@given(names, activations, seeds, shapes, st.booleans())
def test_the_order_of_classes_does_not_matter(name, activation, seed, shape, per_sample):
    x, y, m = drawn(shape, seed=seed)
    order = np.random.default_rng(seed).permutation(shape[1])
    weight = np.random.default_rng(seed).random(shape[1])
    for average in ("micro", "macro"):
        options = {"activation": activation, "average": average, "per_sample": per_sample}
        want, wanted = of(name, **options, class_weight=weight).value_and_grad(x, y, mask=m)
        got, grad = of(name, **options, class_weight=weight[order]).value_and_grad(
            x[:, order], y[:, order], mask=m[:, order]
        )
        alike((got, grad), (want, wanted[:, order]))


@given(names, activations, seeds, shapes, st.booleans())
def test_labels_are_one_hot(name, activation, seed, shape, macro):
    x, _, m = drawn(shape, seed=seed)
    labels = np.random.default_rng(seed).integers(0, shape[1], (shape[0], shape[2]))
    dense = np.stack([labels == c for c in range(shape[1])], axis=1)
    loss = of(name, activation=activation, average="macro" if macro else "micro")
    want = loss.value_and_grad(x, dense, mask=m[:, 0])
    alike(loss.value_and_grad(x, labels, mask=m[:, 0]), want)
    alike(loss.value_and_grad(x, labels[:, None].astype(np.uint8), mask=m[:, :1]), want)
    alike(loss.value_and_grad(x, dense, mask=np.repeat(m[:, :1], shape[1], axis=1)), want)


@given(names, activations, seeds, shapes, st.sampled_from(["count", "skip", "zero"]))
def test_items_make_up_the_loss(name, activation, seed, shape, absent):
    x, y, m = drawn(shape, seed=seed)
    y[:, 0] = 0
    options = {"activation": activation, "average": "macro", "per_sample": True, "absent": absent}
    items = of(name, **options, reduction="none")(x, y, mask=m)
    assert items.shape == shape[:2]
    assert of(name, **options, reduction="sum")(x, y, mask=m) == pytest.approx(items.sum(), rel=1e-13, abs=1e-15)
    parts = of(name, **options, return_parts=True)(x, y, mask=m)
    present = (y * m).sum(axis=2) != 0
    assert parts["count"] == (present.sum() if absent == "skip" else items.size)
    if name != "dice-bce":
        assert parts["loss"] == pytest.approx(items.sum() / max(parts["count"], 1), rel=1e-13, abs=1e-15)
        for n, c in np.ndindex(items.shape):
            if activation == "sigmoid" and (absent == "count" or present[n, c]):
                alone = of(name)(x[n, c], y[n, c], mask=m[n, c])
                assert items[n, c] == pytest.approx(alone, rel=1e-12, abs=1e-15)


@given(names, seeds, shapes)
def test_two_classes_of_a_softmax_are_a_sigmoid(name, seed, shape):
    """softmax(a, b) = sigmoid(b - a), in value and gradient."""
    if name == "dice-bce":
        return
    x, y, m = drawn((shape[0], 2, shape[2]), seed=seed)
    value, grad = of(name, "softmax", average="macro", classes=[1]).value_and_grad(x, y, mask=m)
    want, wanted = of(name).value_and_grad(x[:, 1] - x[:, 0], y[:, 1], mask=m[:, 1])
    alike((value, grad), (want, np.stack([-wanted, wanted], axis=1)))


@given(names, seeds, shapes)
def test_one_class_needs_no_dimension_of_its_own(name, seed, shape):
    """Bit for bit: N x 1 x S with a target and a mask of N x S, or of its own shape."""
    x, y, m = drawn((shape[0], 1, shape[2]), seed=seed)
    want = of(name).value_and_grad(x, y, mask=m)
    assert_same_bits_of(of(name).value_and_grad(x, y[:, 0], mask=m[:, 0]), want)


def test_a_softmax_gradient_sums_to_zero():
    """Per pixel, to what its float32 entries may be off by."""
    inputs = BY_NAME["dice-softmax"].draw(SMALL, dtype=np.float32)
    grad = BY_NAME["dice-softmax"].run(inputs)[1][0]
    assert np.abs(grad.sum(axis=1)).max() <= 1e-6 * np.abs(grad).max()
