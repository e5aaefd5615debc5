"""BoundaryLoss: the mean of 1 - BF1 over images and classes."""

import copy
import ctypes
import math
import pickle

import numpy as np
import pytest
import reference_boundary as ref
import segloss
from boundary_cases import SIZES, blobs, draw, run
from frameworks import framework
from segloss import _abi
from segloss._command import golden
from support import (
    LAYOUTS,
    PREDICTION_TYPES,
    assert_same_bits,
    bounds,
    check_gradient,
    check_value,
    id_of,
)

torch = framework("torch")
import upstream_torch as up

SHAPES = [
    (1, 2, 1, 1),
    (2, 3, 1, 17),
    (1, 3, 31, 1),
    (1, 2, 2, 2),
    (2, 1, 5, 6),
    (1, 5, 7, 13),
    (2, 3, 13, 32),
    (1, 2, 40, 33),
    (1, 33, 11, 9),
    (1, 2, 150, 70),
]
SMALL = (2, 3, 13, 17)


def fine(shape, seed=0, spread=2.0, kind="f64"):
    """Logits that use every bit: no two windows tie, in float32 or in float64."""
    rng = np.random.default_rng([seed, *shape])
    logits = (spread * rng.standard_normal(shape)).astype(np.float32)
    return {"logits": logits.astype(PREDICTION_TYPES[kind]), "labels": blobs(rng, (shape[0], *shape[2:]), shape[1])}


def agree(got, inputs, kind, *options, **named):
    (loss, count), items, grad = ref.boundary(*inputs.values(), *options, **named)
    check_value(got[0], {"loss": loss, "count": count}, bounds(kind)[0])
    # Below the smallest normal number there are fewer digits.
    if np.abs(grad).max(initial=0) > 1e-30:
        check_gradient(got[1][0], grad, bounds(kind)[1])
    else:
        assert np.abs(got[1][0] - grad).max(initial=0) <= 2e-38
    return items


# ---------------------------------------------------------------- printed numbers, upstream, the reference


@pytest.mark.parametrize("size", golden.BOUNDARY, ids=str)
def test_golden(size):
    value, grad = segloss.BoundaryLoss(*size).value_and_grad(*golden.boundary_inputs())
    loss, magnitude, first = golden.BOUNDARY[size]
    golden.check(value, loss, size)
    golden.check_gradient(grad, ("", magnitude), (first, ""), size)
    assert abs(grad.sum(axis=1)).max() < 1e-17, "the gradients of a pixel's classes cancel"


def upstream(inputs, *size):
    leaf = torch.tensor(inputs["logits"], requires_grad=True)
    items = up.boundary(leaf, torch.tensor(inputs["labels"]), *size)
    items.mean().backward()
    return items.mean().item(), leaf.grad.numpy(), items.detach().numpy()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (5, 3), (7, 11), (31, 3), (3, 31)], ids=str)
@pytest.mark.parametrize("shape", [(1, 3, 37, 41), (2, 2, 16, 64)], ids=id_of)
def test_upstream(shape, size):
    """Windows no larger than the image, as PyTorch wants them."""
    inputs = fine(shape)
    loss, want, items = upstream(inputs, *size)
    (value, _), reference_items, reference = ref.boundary(*inputs.values(), *size)
    assert math.isclose(value, loss, rel_tol=1e-12) and np.allclose(reference_items, items, rtol=1e-12, atol=1e-14)
    check_gradient(reference, want, 1e-11)
    got = run(inputs, *size)
    check_value(got[0]["loss"], loss, bounds("f64")[0])
    check_gradient(got[1][0], want, 1e-11)

    # In float32 upstream's sums and its 1 - p round: 5e-6 of the value, 1e-5 of the largest entry; and more than that
    # where one pixel is the largest of a hundred windows.
    if max(size) > 5:
        return
    inputs["logits"] = inputs["logits"].astype(np.float32)
    loss, want, _ = upstream(inputs, *size)
    got = run(inputs, *size)
    assert got[0]["loss"] == pytest.approx(loss, rel=5e-6, abs=1e-7)
    check_gradient(got[1][0], want, 1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 19, 23), (2, 2, 9, 33)], ids=id_of)
def test_upstream_where_everything_ties(shape):
    """Few levels of logits: most windows hold several equal ones, and the first of them takes the gradient. The levels
    are such that no two differences of probabilities are equal but for their rounding."""
    rng = np.random.default_rng(0)
    for levels in ([0.0], [0.0, 0.5], [-0.5, 0.0, 2.0]):
        inputs = {**draw(shape), "logits": np.zeros(shape)}
        inputs["logits"][:, 0] = rng.choice(levels, inputs["labels"].shape)
        for size in ((3, 5), (5, 3), (7, 7)):
            loss, want, _ = upstream(inputs, *size)
            for kind in ("f64", "f32"):
                got = run({**inputs, "logits": inputs["logits"].astype(PREDICTION_TYPES[kind])}, *size)
                assert got[0]["loss"] == pytest.approx(loss, rel=1e-6)
                # PyTorch's 1 - p leaves rounding where ours cancels: of the size of its own unit.
                assert np.abs(got[1][0] - want).max() <= 1e-6 * np.abs(want).max() + 1e-16


def test_the_first_of_equals_takes_it():
    """A constant map from probabilities: what each pixel gets counts the windows that it comes first in."""
    p = np.full((1, 1, 5, 5), 0.25)
    labels = np.zeros((1, 5, 5), int)
    # A bump makes an edge in the middle; everywhere else all is equal.
    p[0, 0, 2, 2] = 0.75
    inputs = {"logits": p, "labels": labels}
    got = run(inputs, 3, 3, from_probs=True)
    agree(got, inputs, "f64", 3, 3, from_probs=True)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(size, kind):
    for shape in SHAPES:
        inputs = fine(shape, kind=kind)
        agree(run(inputs, *size), inputs, kind, *size)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("size", [(201, 301), (3, 10**9 + 1), (2**62 + 1, 5)], ids=str)
def test_windows_larger_than_the_image(size, kind):
    inputs = fine((1, 3, 29, 37), kind=kind)
    agree(run(inputs, *size), inputs, kind, *(min(s, 99) for s in size))


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize(
    "shape, size", [((1, 2, 300, 290), (3, 5)), ((2, 2, 121, 1100), (5, 7)), ((1, 2, 300, 70), (3, 61))]
)
def test_strips(shape, size, kind):
    """Images of several strips."""
    inputs = fine(shape, kind=kind)
    agree(run(inputs, *size), inputs, kind, *size)


@pytest.mark.parametrize("variant", ["published", "present_classes"])
@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_options(kind, variant):
    inputs = fine(SMALL, kind=kind)
    inputs["labels"][1] %= 2
    for named in ({"ignore_index": 1}, {"ignore_index": 255}, {}):
        agree(run(inputs, variant=variant, **named), inputs, kind, variant=variant, **named)


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_probabilities(kind):
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 9, 11), (2, 3, 40, 33)):
        p = (rng.integers(0, 2**20 + 1, shape) / 2**20).astype(PREDICTION_TYPES[kind])
        p[..., 0] = 0
        p[..., -1] = 1
        inputs = {"logits": p, "labels": blobs(rng, (shape[0], *shape[2:]), shape[1])}
        for named in ({}, {"ignore_index": 0}):
            agree(run(inputs, from_probs=True, **named), inputs, kind, from_probs=True, **named)


def test_probabilities_are_checked():
    inputs = {"logits": np.full((1, 2, 3, 4), 0.5), "labels": np.zeros((1, 3, 4), int)}
    for wrong in (-0.25, 1.5, np.nan):
        inputs["logits"][0, 1, 2, 3] = wrong
        with pytest.raises(ValueError, match=r"^logits: .*\(0, 1, 2, 3\)"):
            run(inputs, from_probs=True)
        inputs["labels"][0, 2, 3] = 9
        run(inputs, from_probs=True, ignore_index=9)
        inputs["labels"][0, 2, 3] = 0
    inputs["logits"][0, 1, 2, 3] = -0.0
    assert run(inputs, from_probs=True)[0]["loss"] == 1


@pytest.mark.parametrize("size", [(3, 5), (5, 3)], ids=str)
def test_finite_differences(size):
    """Away from ties, in which the loss has no derivative."""
    inputs = fine((1, 3, 6, 7))
    grad = run(inputs, *size)[1][0]
    for i in list(np.ndindex(grad.shape))[::5]:
        sides = []
        for h in (1e-6, -1e-6):
            x = inputs["logits"].copy()
            x[i] += h
            sides.append(segloss.BoundaryLoss(*size)(x, inputs["labels"]))
        slope = (sides[0] - sides[1]) / 2e-6
        # Central differences: 1e-16/h of rounding, h² of curvature.
        assert abs(slope - grad[i]) <= 1e-6 * np.abs(grad).max() + 1e-9


# ---------------------------------------------------------------- edges of the formula


def test_one_pixel_costs_1():
    for c in (1, 2, 5):
        got = run({"logits": np.ones((3, c, 1, 1)), "labels": np.zeros((3, 1, 1), int)})
        assert got[0] == {"loss": 1.0, "count": 3.0 * c} and not got[1][0].any()


def test_one_class_costs_1():
    """Its softmax is 1 everywhere."""
    inputs = {"logits": fine((2, 1, 9, 9))["logits"], "labels": np.zeros((2, 9, 9), int)}
    got = run(inputs)
    assert got[0] == {"loss": 1.0, "count": 2.0} and not got[1][0].any()
    assert run(inputs, variant="present_classes")[0] == {"loss": 0.0, "count": 0.0}


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_absent_classes(kind):
    """Published: each costs about 1, with hardly a gradient; or they are left out."""
    inputs = fine((2, 4, 12, 15), kind=kind)
    inputs["labels"] = np.where(inputs["labels"] > 1, 1, inputs["labels"])
    published = agree(run(inputs), inputs, kind)
    assert (published[:, 2:] > 1 - 1e-6).all()
    present = run(inputs, variant="present_classes")
    items = agree(present, inputs, kind, variant="present_classes")
    assert present[0]["count"] == 4 and not items[:, 2:].any()
    assert present[0]["loss"] == pytest.approx(published[:, :2].mean(), rel=1e-6)

    inputs["labels"][:] = 3
    got = run(inputs, variant="present_classes")
    assert got[0] == {"loss": 0.0, "count": 0.0} and not got[1][0].any()
    assert run(inputs)[0]["loss"] == 1.0


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)], ids=id_of)
def test_nothing_at_all(shape):
    got = run({"logits": np.zeros(shape), "labels": np.zeros((shape[0], *shape[2:]), int)})
    assert got[1][0].shape == shape
    assert got[0] == {"loss": float(shape[0] > 0), "count": shape[0] * 3.0}


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("scale", [17, 90, 1e4])
def test_saturated_logits(scale, kind):
    """What is nearly certain keeps its digits at both ends: no plateau of equal ones, no loss of a small loss."""
    inputs = fine((1, 3, 30, 41), spread=0.05 * min(scale, 100), kind=kind)
    for sign in (1, -1):
        certain = sign * scale * (inputs["labels"][:, None] == np.arange(3)[None, :, None, None])
        x = {**inputs, "logits": (inputs["logits"] + certain).astype(PREDICTION_TYPES[kind])}
        agree(run(x), x, kind)
    x = {**inputs, "logits": (scale * np.sign(inputs["logits"])).astype(PREDICTION_TYPES[kind])}
    if kind == "f64":
        agree(run(x), x, kind)
    else:
        # 1 - 1/2 and 1/2 - e^-34 are one number in float32: the gradient may go to either.
        check_value(run(x)[0]["loss"], ref.boundary(*x.values())[0][0], bounds(kind)[0])


def test_a_nearly_perfect_prediction_keeps_its_digits():
    labels = blobs(np.random.default_rng(0), (1, 40, 40), 2, 8)
    for margin in (8, 12, 16):
        x = np.where(labels[:, None] == np.arange(2)[None, :, None, None], margin, 0).astype(np.float32)
        value = segloss.BoundaryLoss()(x, labels)
        (want, _), _, _ = ref.boundary(x, labels)
        assert 1e-7 < want < 1e-3 and abs(value - want) <= 1e-6 * want


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_infinite_logits(kind):
    """-inf is a probability of 0; +inf has no softmax."""
    inputs = fine((2, 3, 9, 11), kind=kind)
    low = {**inputs, "logits": inputs["logits"].copy()}
    low["logits"][0, 1, 3:6, 2:9] = -np.inf
    got = run(low)
    finite = {**low, "logits": np.maximum(low["logits"], -1e4)}
    assert_same_bits(got, run(finite))
    for bad in (np.inf, np.nan):
        low["logits"][0, 2, 4, 4] = bad
        value, (grad,) = run(low)
        assert math.isnan(value["loss"]) and np.isnan(grad[0]).all()
        assert np.isfinite(grad[1]).all(), "the other image has scores of its own"
        with pytest.raises(ValueError, match=r"^logits: .* non-finite"):
            run(low, non_finite="refuse")


def test_nan_among_probabilities_is_refused():
    p = np.full((1, 2, 4, 4), 0.5, np.float32)
    p[0, 1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="logits"):
        segloss.BoundaryLoss(from_probs=True)(p, np.zeros((1, 4, 4), int))


# ---------------------------------------------------------------- ignored pixels


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("size", [(3, 5), (1, 9), (13, 3), (51, 55)], ids=str)
def test_ignored_pixels_are_outside(size, kind):
    for shape in ((1, 3, 21, 35), (2, 2, 64, 32)):
        inputs = fine(shape, kind=kind)
        rng = np.random.default_rng(0)
        inputs["labels"] = np.where(blobs(rng, inputs["labels"].shape, 3, 5) == 0, 255, inputs["labels"])
        agree(run(inputs, *size, ignore_index=255), inputs, kind, *size, ignore_index=255)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_ignored_pixels_are_not_read(kind):
    inputs = draw((1, 3, 40, 33), dtype=PREDICTION_TYPES[kind])
    inputs["labels"][:, 5:9, 4:] = -1
    want = run(inputs, ignore_index=-1)
    assert not want[1][0][:, :, 5:9, 4:].any()
    for bad in (np.nan, np.inf, -np.inf):
        inputs["logits"][:, :, 5:9, 4:] = bad
        assert_same_bits(run(inputs, ignore_index=-1), want)
        assert_same_bits(run(inputs, ignore_index=-1, non_finite="refuse"), want)


def test_an_ignored_frame_is_a_smaller_image():
    """The border of an image makes no boundary, and neither does what is ignored."""
    inner = fine((1, 3, 12, 15), kind="f64")
    outer = {"logits": np.zeros((1, 3, 18, 21)), "labels": np.full((1, 18, 21), 7)}
    for name, a in inner.items():
        outer[name][..., 3:-3, 3:-3] = a
    value, (grad,) = run(outer, ignore_index=7)
    want, (wanted,) = run(inner)
    # The same terms, in rows that start elsewhere among the lanes of a sum.
    check_value(value, want, 1e-14)
    check_gradient(grad[..., 3:-3, 3:-3], wanted, 1e-14)


def test_everything_ignored():
    inputs = fine(SMALL)
    inputs["labels"][:] = 2
    got = run(inputs, ignore_index=2)
    assert got[0]["loss"] == 1.0 and not got[1][0].any()
    assert run(inputs, ignore_index=2, variant="present_classes")[0] == {"loss": 0.0, "count": 0.0}


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", [np.uint8, np.int32, np.int64, bool])
def test_types_and_ranks_of_labels(labels):
    for dtype in (np.float32, np.float64):
        inputs = draw((2, 2, 13, 33), dtype=dtype)
        want = run(inputs)
        inputs["labels"] = inputs["labels"].astype(labels)
        assert_same_bits(run(inputs), want)
        inputs["labels"] = inputs["labels"][:, None]
        assert_same_bits(run(inputs), want)


@pytest.mark.parametrize("bad", [-1, 3, 255, 2**31, -(2**40)])
def test_labels_outside_the_classes(bad):
    inputs = draw(SMALL)
    inputs["labels"][1, 2, 3] = bad
    with pytest.raises(ValueError, match=rf"^labels: {bad} at index \(1, 2, 3\): expected a label from 0 to 2$"):
        run(inputs)
    with pytest.raises(ValueError, match=r"^labels: .* or 7, the one to ignore"):
        run(inputs, ignore_index=7)
    if abs(bad) <= 2**24:
        run(inputs, ignore_index=bad)


@pytest.mark.parametrize("surplus", [(2, 2), (4, 2), (10, 26)], ids=str)
def test_larger_labels_are_cropped(surplus):
    inputs = draw(SMALL)
    want = run(inputs)
    top, left = (s // 2 for s in surplus)
    # What is cut away is not read: no class.
    large = np.full((2, 13 + surplus[0], 17 + surplus[1]), 99)
    large[:, top:-top, left:-left] = inputs["labels"]
    for labels in (large, large[:, None], np.asfortranarray(large)):
        assert_same_bits(run({**inputs, "labels": labels}), want)


@pytest.mark.parametrize(
    "surplus", [(1, 1), (2, 1), (3, 2), (2, 0), (0, 2), (0, 1), (-2, -2), (2, -2), (-1, 0)], ids=str
)
def test_other_sizes_of_labels_are_refused(surplus):
    labels = np.zeros((2, 13 + surplus[0], 17 + surplus[1]), int)
    with pytest.raises(ValueError, match=r"^labels: expected shape \(2, 13, 17\), or .* got \(2, "):
        segloss.BoundaryLoss()(draw(SMALL)["logits"], labels)


@pytest.mark.parametrize("shape", [(13, 17), (1, 13, 17), (3, 13, 17), (2, 3, 13, 17), (2, 1, 1, 13, 17)], ids=str)
def test_shapes_of_labels(shape):
    with pytest.raises(ValueError, match="^labels: expected shape"):
        segloss.BoundaryLoss()(draw(SMALL)["logits"], np.zeros(shape, int))


@pytest.mark.parametrize("shape", [(13, 17), (2, 13, 17), (2, 3, 13, 17, 1)], ids=str)
def test_shapes_of_logits(shape):
    with pytest.raises(ValueError, match="^logits: expected rank 4"):
        segloss.BoundaryLoss()(np.zeros(shape), np.zeros((2, 13, 17), int))


def test_no_classes():
    with pytest.raises(ValueError, match="^logits: expected 1 to 65536 classes"):
        segloss.BoundaryLoss()(np.zeros((2, 0, 3, 3)), np.zeros((2, 3, 3), int))


def test_types():
    inputs = draw(SMALL)
    with pytest.raises(TypeError, match="^logits"):
        run({**inputs, "logits": inputs["logits"].astype(np.int32)})
    with pytest.raises(TypeError, match="^labels: labels are expected as"):
        run({**inputs, "labels": inputs["labels"].astype(np.float32)})


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"theta0": 2}, ValueError, "theta0"),
        ({"theta": 0}, ValueError, "theta"),
        ({"theta": -3}, ValueError, "theta"),
        ({"theta": 3.0}, TypeError, "theta"),
        ({"theta0": True}, TypeError, "theta0"),
        ({"variant": "paper"}, ValueError, "variant"),
        ({"ignore_index": 2**24 + 1}, ValueError, "ignore_index"),
        ({"ignore_index": 0.5}, TypeError, "ignore_index"),
        ({"from_probs": "yes"}, TypeError, "from_probs"),
        ({"reduction": "sum"}, ValueError, "reduction"),
    ],
    ids=str,
)
def test_options_are_checked(options, error, name):
    with pytest.raises(error, match=f"^{name}: expected"):
        segloss.BoundaryLoss(**options)(*draw(SMALL).values())


# ---------------------------------------------------------------- items


@pytest.mark.parametrize("variant", ["published", "present_classes"])
def test_items(variant):
    inputs = fine((2, 4, 12, 15))
    inputs["labels"] %= 3
    named = {"variant": variant}
    loss = segloss.BoundaryLoss(reduction="none", **named)
    items = loss(*inputs.values())
    (_, count), want, _ = ref.boundary(*inputs.values(), **named)
    assert items.dtype == np.float64 and np.abs(items - want).max() <= 1e-12
    assert items.sum() / count == pytest.approx(segloss.BoundaryLoss(**named)(*inputs.values()), rel=1e-14)
    factors = np.random.default_rng(1).standard_normal((2, 4))
    _, _, wanted = ref.boundary(*inputs.values(), factors=factors, **named)
    for given in (factors, factors.astype(np.float32), factors.T.copy().T):
        value, grad = loss.value_and_grad(*inputs.values(), grad_output=given)
        assert np.array_equal(value, items)
        check_gradient(grad, wanted, 1e-6 if given.dtype == np.float32 else 1e-12)
    _, grad = loss.value_and_grad(*inputs.values(), grad_output=1 / count)
    check_gradient(grad, run(inputs, **named)[1][0], 1e-14)
    with pytest.raises(ValueError, match="grad_output"):
        loss.value_and_grad(*inputs.values(), grad_output=np.ones(4))


def test_grad_output():
    inputs = draw(SMALL)
    want = run(inputs)
    for factor in (2.0, -0.5, 0.0):
        value, (grad,) = run(inputs, grad_output=factor)
        assert value == want[0] and np.array_equal(grad, want[1][0] * factor)


# ---------------------------------------------------------------- types, layouts, threads, outputs


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_half_predictions(kind):
    """The float32 result, its gradient rounded once."""
    for shape in (SMALL, (1, 2, 70, 160)):
        inputs = draw(shape, dtype=np.float32)
        value, (grad,) = run(inputs)
        dtype = PREDICTION_TYPES[kind]
        assert_same_bits(run({**inputs, "logits": inputs["logits"].astype(dtype)}), (value, (grad.astype(dtype),)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_layouts(kind, layout):
    for shape in (SMALL, (1, 3, 40, 64)):
        for named in ({}, {"ignore_index": 1}):
            inputs = draw(shape, dtype=PREDICTION_TYPES[kind], labels=np.uint8)
            want = run(inputs, **named)
            assert_same_bits(run({**inputs, "logits": layout(inputs["logits"])}, **named), want)
            assert_same_bits(run({**inputs, "labels": layout(inputs["labels"])}, **named), want)


def test_broadcast_labels():
    inputs = draw(SMALL)
    for labels in (inputs["labels"][:1], inputs["labels"][:, :1], inputs["labels"][..., :1]):
        labels = np.broadcast_to(labels, (2, 13, 17))
        assert_same_bits(run({**inputs, "labels": labels}), run({**inputs, "labels": labels.copy()}))


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_threads(kind, threads):
    for shape, size in (((2, 3, 190, 330), (3, 5)), ((1, 2, 400, 257), (11, 61))):
        inputs = draw(shape, dtype=PREDICTION_TYPES[kind])
        threads(1)
        want = run(inputs, *size)
        for n in (2, 3):
            threads(n)
            assert_same_bits(run(inputs, *size), want)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_out(kind):
    for shape in (SMALL, (1, 3, 40, 64)):
        inputs = draw(shape, dtype=PREDICTION_TYPES[kind])
        want = run(inputs)
        for view in (np.empty_like, lambda a: np.empty((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[..., ::2]):
            out = view(inputs["logits"])
            got = run(inputs, out=out)
            assert got[1][0] is out
            assert_same_bits(got, want)


def test_the_gradient_is_not_written_over_what_is_read():
    inputs = draw(SMALL, dtype=np.float32)
    before = inputs["logits"].copy()
    for out in (inputs["logits"], inputs["logits"][::-1]):
        with pytest.raises(ValueError, match="^out: shares memory with"):
            run(inputs, out=out)
    memory = np.zeros(inputs["logits"].nbytes, np.uint8)
    labels = memory[: 2 * 17 * 21].reshape(2, 17, 21)
    with pytest.raises(ValueError, match="^out: shares memory with"):
        run({**inputs, "labels": labels}, out=memory.view(np.float32).reshape(SMALL))
    assert np.array_equal(inputs["logits"], before)


def test_copies_and_pickles():
    inputs = draw(SMALL)
    loss = segloss.BoundaryLoss(5, 3, ignore_index=1, variant="present_classes")
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(*inputs.values()) == loss(*inputs.values())


@pytest.mark.large
def test_more_than_two_to_the_24():
    """16.9 million pixels of tiles. Each sum is so much a tile, so much a seam, and so much for border and corners: what
    four small images of them say about the large one."""
    tile = draw((1, 2, 64, 64), dtype=np.float32)

    def tiles(rows, columns):
        return {k: np.tile(v, (1,) * (v.ndim - 2) + (rows, columns)) for k, v in tile.items()}

    sums = {(i, j): through_c(tiles(i, j))[4] for i in (2, 3) for j in (2, 3)}
    down, right = sums[3, 2] - sums[2, 2], sums[2, 3] - sums[2, 2]
    both = sums[3, 3] - sums[3, 2] - right
    big = tiles(65, 64)
    assert big["labels"].size > 2**24
    _, _, loss, grad, got = through_c(big)
    want = sums[2, 2] + 63 * down + 62 * right + 63 * 62 * both
    # Each side adds 1 float32 rounding a thousand numbers.
    assert np.abs(got - want).max() <= 1e-6 * want.max()
    assert loss == segloss.BoundaryLoss()(*big.values())
    # Away from the border one tile's gradient is another's.
    inside = grad[:, :, 64:-64, 64:-64].reshape(2, 63, 64, 62, 64)
    assert (inside == inside[:, :1, :, :1]).all()


# ---------------------------------------------------------------- C


def through_c(inputs, statistics=None, options=None):
    """(status, sentence, loss, gradient, statistics) of the two halves."""
    views = segloss.BoundaryLoss()._views(tuple(inputs.values()))
    tensors = [ctypes.byref(v.descriptor()) for v in views]
    options = ctypes.byref(options or _abi.BoundaryOptions(theta0=3, theta=5))
    n, c = inputs["logits"].shape[:2]
    given = (ctypes.c_double * (4 * n * c + 1))(*([] if statistics is None else statistics))
    error = _abi.Error()
    if statistics is None:
        status = _abi.lib.segloss_boundary_statistics(*tensors, options, given, len(given), None, ctypes.byref(error))
        assert status == 0, error.message
    parts = _abi.BoundaryParts()
    grad = np.empty_like(inputs["logits"])
    target = segloss._tensor.view("out", grad, writable=True).descriptor()
    status = _abi.lib.segloss_boundary_finish(
        *tensors, options, given, len(given), 1.0, ctypes.byref(parts), ctypes.byref(target), None, ctypes.byref(error)
    )
    return status, error.message.decode(), parts.loss, grad, np.array(given)


def test_two_halves():
    inputs = draw(SMALL, dtype=np.float32)
    status, _, loss, grad, statistics = through_c(inputs)
    want, (wanted,) = run(inputs)
    assert status == 0 and loss == want["loss"] and np.array_equal(grad, wanted)

    # Those of a batch are those of its images, one after the other.
    ones = [through_c({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(2)]
    assert np.array_equal(statistics, np.concatenate([ones[0][4][:-1], ones[1][4]]))
    assert loss == pytest.approx((ones[0][2] + ones[1][2]) / 2, rel=1e-14)


def test_added_statistics_are_refused():
    inputs = draw(SMALL, dtype=np.float32)
    statistics = through_c(inputs)[4]
    status, sentence, *_ = through_c(inputs, statistics + statistics)
    assert status == 12 and sentence.startswith("statistics: those of several batches were added")


@pytest.mark.parametrize(
    "field, value", [("variant", 2), ("theta0", 4), ("theta", -1), ("from_probs", 2), ("has_ignore_index", -1)]
)
def test_options_in_c(field, value):
    options = _abi.BoundaryOptions(theta0=3, theta=5)
    setattr(options, field, value)
    inputs = draw(SMALL, dtype=np.float32)
    status, sentence, *_ = through_c(inputs, np.zeros(25), options)
    assert status == 8 and sentence.startswith(field + ": expected")
