"""Cross-entropy over the classes of each position: torch's, with weights and a mask of positions."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import reference_pointwise as ref
import segloss
from catalog import named
from frameworks import framework
from hypothesis import given
from hypothesis import strategies as st
from support import SHAPES, assert_same_bits, bfloat16, binary, bounds, check, check_gradient, id_of, logits

torch = framework("torch")
import torch.nn.functional as F

N, C = 3, 4


def drawn(shape, kind="f64", seed=0, ignored=-100, share=0.2):
    """Logits, labels of which some are ignored, probabilities, weights and a mask of positions."""
    rng = np.random.default_rng([seed, *shape])
    positions = (shape[0], *shape[2:])
    labels = rng.integers(0, shape[1], positions)
    labels[rng.random(positions) < share] = ignored
    dense = rng.random(shape)
    return logits(rng, shape, kind), labels, dense, 2 * rng.random(positions), binary(rng, positions, 0.8)


def both(*inputs, kind="f64", weight=None, mask=None, grad_output=1.0, class_weight=None, **options):
    """segloss against the reference; returns what segloss gave."""
    loss = segloss.CrossEntropyLoss(class_weight, **options, return_parts=options.get("reduction") != "none")
    result = loss.value_and_grad(*inputs, weight=weight, mask=mask, grad_output=grad_output)
    want = ref.cross_entropy(*inputs, weight, mask, class_weight=class_weight, grad_output=grad_output, **options)
    check(result, want, kind)
    return result


def same(got, want):
    assert_same_bits((got[0], (got[1],)), (want[0], (want[1],)))


# ---------------------------------------------------------------- against the reference


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
@pytest.mark.parametrize("entry", named("cross-entropy"), ids=repr)
def test_sizes(entry, shape, kind):
    inputs = entry.draw(shape, dtype=kind.replace("f", "float"))
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    check((value, grads[0]), (want, wanted[0]), kind)
    alone = entry.make(return_parts=False)(**inputs)
    assert np.array_equal(alone, value["loss"] if isinstance(value, dict) else value)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("classes", [2, 3, 7, 21])
@pytest.mark.parametrize("smoothing", [1e-5, 0.01, 0.1, 0.9])
def test_a_certain_prediction_of_a_smoothed_target(smoothing, classes, kind):
    """One position: every entry is the small rest of the target, and no other position's is larger."""
    rng = np.random.default_rng([classes, int(1e5 * smoothing)])
    dense = rng.dirichlet(np.full(classes, smoothing))[None]
    class_weight = rng.random(classes) + 0.5
    for label in range(classes):
        x = np.where(np.arange(classes) == label, 40, -40)[None].astype(kind.replace("f", "float"))
        for cw in (None, class_weight):
            both(x, np.array([label]), kind=kind, label_smoothing=smoothing, class_weight=cw, grad_output=-1.7)
            both(x, np.roll(dense, label), kind=kind, class_weight=cw)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize(
    "shape",
    [(5, 3), (2, 3, 37), (2, 1, 7), (2, 3, 5, 7), (2, 19, 3, 5), (2, 2, 3, 5, 7), (2, 3, 1, 3, 5, 7)],
    ids=id_of,
)
def test_options(shape, kind):
    """Labels of both ranks or probabilities, class weights, smoothing, weights, mask and reduction, each with every
    other."""
    x, labels, dense, w, m = drawn(shape, kind)
    class_weight = np.random.default_rng(1).random(shape[1])
    class_weight[-1] = 0 if shape[1] > 1 else 1
    upstream = np.random.default_rng(2).standard_normal(labels.shape).astype(x.dtype)
    targets = [labels, labels[:, None].astype(np.int32), dense] if shape[1] > 1 else [labels]
    for target, cw, smoothing, reduction, weighted, masked in itertools.product(
        targets, [None, class_weight], [0.0, 0.1, 1.0], ["mean", "sum", "none"], range(3), range(3)
    ):
        result = both(
            x,
            target,
            kind=kind,
            class_weight=cw,
            label_smoothing=smoothing,
            reduction=reduction,
            weight=[None, w, w[:, None]][weighted],
            mask=[None, m, m[:, None].astype(np.uint8)][masked],
            grad_output=upstream if reduction == "none" else -1.7,
        )
        assert reduction != "none" or (result[0].shape == labels.shape and result[0].dtype == x.dtype)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 5), (2, 3, 0)], ids=id_of)
def test_nothing_at_all(shape):
    """The mean of nothing is 0, where torch has NaN."""
    x = np.zeros(shape, np.float32)
    for target in (np.zeros((shape[0], *shape[2:]), np.uint8), x):
        value, grad = both(x, target)
        assert value == {"loss": 0.0, "count": 0.0, "divisor": 0.0} and grad.shape == shape


@pytest.mark.parametrize("dtype", [np.float16, bfloat16], ids=["f16", "bf16"])
def test_halves(dtype):
    """The result of the widened inputs in float32, gradient and map rounded once."""
    x, labels, _, w, m = drawn((2, 5, 131, 17), "f32")
    x = x.astype(dtype)
    for reduction in ("mean", "none"):
        loss = segloss.CrossEntropyLoss(reduction=reduction)
        value, grad = loss.value_and_grad(x, labels, weight=w, mask=m)
        want, wanted = loss.value_and_grad(x.astype(np.float32), labels, weight=w, mask=m)
        assert np.array_equal(value, want if reduction == "mean" else want.astype(dtype))
        assert np.array_equal(grad, wanted.astype(dtype)) and grad.dtype == dtype


# ---------------------------------------------------------------- live torch in float32: its rounding, 5e-6 and 1e-5


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("class_weight", [None, [1.0, 0.25, 0.0, 3.0]], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("target", ["labels", "labels, 255", "labels, 1 ignored", "dense"])
def test_as_torch_has_it(target, smoothing, class_weight, reduction):
    ignored = {"labels, 255": 255, "labels, 1 ignored": 1}.get(target, -100)
    for shape in ((6, 4), (2, 4, 9), (3, 4, 17, 19), (2, 4, 3, 5, 7)):
        x, labels, dense, _, _ = drawn(shape, "f32", ignored=ignored)
        y = dense.astype(np.float32) if target == "dense" else labels
        at = torch.tensor(x, requires_grad=True)
        want = F.cross_entropy(
            at,
            torch.tensor(y),
            weight=None if class_weight is None else torch.tensor(class_weight),
            ignore_index=ignored,
            reduction=reduction,
            label_smoothing=smoothing,
        )
        upstream = np.random.default_rng(0).standard_normal(labels.shape).astype(np.float32)
        (want if reduction != "none" else (want * torch.tensor(upstream)).sum()).backward()
        # By position, as torch has its constructor.
        loss = segloss.CrossEntropyLoss(class_weight, ignored, smoothing, reduction=reduction)
        value, grad = loss.value_and_grad(x, y, grad_output=upstream if reduction == "none" else 1.0)
        want = want.detach().numpy()
        assert np.shape(value) == want.shape and np.allclose(value, want, rtol=5e-6, atol=1e-6)
        check_gradient(grad, at.grad.numpy().astype(np.float64), 1e-5)


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("at", [17.0, 90.0, 1e4])
def test_far_logits(at, kind):
    """Right ones keep their digits, wrong ones their gradient."""
    x = np.array([[at, -at, 0], [-at, at, 0], [at, at, -at], [at, 0, -at]], kind.replace("f", "float"))
    for labels in ([0, 1, 0, 0], [1, 0, 2, 2], [2, 2, 1, 1]):
        for smoothing in (0.0, 0.1):
            both(x, np.array(labels), kind=kind, label_smoothing=smoothing)
            both(x, np.array(labels), kind=kind, label_smoothing=smoothing, reduction="none")


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_nearly_perfect_keeps_its_digits(kind):
    """log of 1 plus little: a float32 loss of 1e-6 right to its last digits."""
    labels = np.random.default_rng(0).integers(0, 3, (2, 131, 97))
    x = np.stack([np.where(labels == c, 14.0, 0.0) for c in range(3)], axis=1).astype(kind.replace("f", "float"))
    value, grad = segloss.CrossEntropyLoss().value_and_grad(x, labels)
    want, slope = ref.cross_entropy(x, labels)
    assert want["loss"] < 1e-5 and abs(value - want["loss"]) <= bounds(kind)[0] * want["loss"]
    check_gradient(grad, slope, bounds(kind)[1])


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_a_class_that_is_ruled_out(kind):
    """-inf: no probability and no gradient; nothing to pay as long as no target asks for it."""
    x = np.array([[-np.inf, 3.0, 3.0], [1.0, -np.inf, 0.0]], kind.replace("f", "float"))
    value, grad = both(x, np.array([1, 0]), kind=kind)
    assert np.isfinite(grad).all() and grad[0, 0] == 0 and grad[1, 1] == 0
    assert segloss.CrossEntropyLoss()(x, np.array([0, 0])) == np.inf
    assert np.isnan(segloss.CrossEntropyLoss()(np.array([[np.inf, 0.0]]), np.array([0])))


def test_all_ignored():
    x, labels, _, _, _ = drawn((N, C, 5), "f32", share=1.0)
    for options in ({}, {"label_smoothing": 0.1}, {"class_weight": [1.0, 2.0, 3.0, 4.0]}):
        value, grad = both(x, labels, kind="f32", **options)
        assert value == {"loss": 0.0, "count": 0.0, "divisor": 0.0} and not grad.any()
    value, grad = both(x, np.zeros_like(labels), mask=np.zeros(labels.shape), kind="f32")
    assert value["loss"] == 0 and not grad.any()


def test_no_weight_for_the_classes_there_are():
    """A divisor of 0: nothing to take a mean of."""
    x, labels, _, _, _ = drawn((N, C, 5), "f32")
    value, grad = both(x, np.zeros_like(labels), class_weight=[0.0, 1.0, 1.0, 1.0], kind="f32")
    assert value["loss"] == 0 and value["count"] == labels.size and not grad.any()


def test_a_single_pixel():
    both(np.array([[0.3, -0.2, 1.0]], np.float32), np.array([2]), kind="f32")
    value, grad = both(np.array([[0.3]], np.float32), np.array([0]), kind="f32")
    assert value["loss"] == 0 and not grad.any()


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_constant_maps(kind):
    """Every partial sum rounds the same way: the worst case of a float32 sum."""
    x = np.broadcast_to(np.array([0.3, -0.7, 2.2], kind.replace("f", "float")).reshape(1, 3, 1, 1), (2, 3, 511, 513))
    labels = np.random.default_rng(0).integers(0, 3, (2, 511, 513)).astype(np.uint8)
    both(x, labels, kind=kind)
    both(x, np.zeros_like(labels), kind=kind)


@pytest.mark.large
def test_more_than_2_to_the_24():
    """Counts past float32's integers: two kinds of pixels, so that the reference can weigh them instead of summing."""
    n = 2**24 + 4099
    x, labels = np.empty((1, 2, n), np.float32), np.zeros((1, n), np.uint8)
    x[:, 0], x[:, 1], labels[:, ::1000] = 0.25, -0.5, 1
    value, grad = segloss.CrossEntropyLoss(return_parts=True).value_and_grad(x, labels)
    ones = float(labels.sum(dtype=np.int64))
    want, slope = ref.cross_entropy(x[:, :, :2].astype(np.float64), [[1, 0]], mask=np.array([[ones, n - ones]]))
    assert value["count"] == value["divisor"] == n and abs(value["loss"] - want["loss"]) <= 1e-6 * want["loss"]
    for i, count in enumerate((ones, n - ones)):
        error = np.abs(grad[0][:, labels[0] == 1 - i] - slope[0, :, i : i + 1] / count)
        assert error.max() <= 1e-6 * np.abs(slope[0, :, 0]).max() / ones


# ---------------------------------------------------------------- what is not read


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30], ids=str)
@pytest.mark.parametrize("policy", ["propagate", "refuse", "skip_masked"])
@pytest.mark.parametrize("ignored, dtype", [(-100, np.int64), (-1, np.int32), (255, np.uint8), (2, np.uint8)])
def test_ignored_pixels_are_not_read(ignored, dtype, policy, value):
    x, labels, _, w, m = drawn((N, C, 7, 11), "f32", ignored=ignored)
    labels = labels.astype(dtype)
    loss = segloss.CrossEntropyLoss(
        ignore_index=ignored, label_smoothing=0.1, non_finite=policy, return_parts=True, weight=[1.0, 2.0, 3.0, 0.5]
    )
    want = loss.value_and_grad(x, labels, weight=w, mask=m)
    where = np.broadcast_to((labels == ignored)[:, None], x.shape)
    same(loss.value_and_grad(np.where(where, np.float32(value), x), labels, weight=w, mask=m), want)
    assert not want[1][where].any()
    map_, grad = segloss.CrossEntropyLoss(ignore_index=ignored, reduction="none", non_finite=policy).value_and_grad(
        np.where(where, np.float32(value), x), labels
    )
    assert not map_[labels == ignored].any() and not grad[where].any() and np.isfinite(map_).all()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_outside_the_classes(dtype):
    x, _, _, _, _ = drawn((N, C, 5), "f32")
    for label in [C, 255] + ([-1, -99] if dtype != np.uint8 else []):
        y = np.zeros((N, 5), dtype)
        y[1, 3] = label
        for reduction in ("mean", "none"):
            with pytest.raises(ValueError, match=r"\btarget\b") as caught:
                segloss.CrossEntropyLoss(reduction=reduction)(x, y)
            assert str(label) in str(caught.value)
        both(x, y, ignore_index=label, kind="f32")


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("policy", ["propagate", "refuse", "skip_masked"])
def test_a_refused_label_leaves_the_gradient_alone(policy, smoothing):
    """One pass gives value and gradient: labels are looked at before it, to the last of several threads'."""
    x = np.ones((2, 3, 300, 701), np.float32)
    y = np.zeros((2, 300, 701), np.uint8)
    y[-1, -1, -1] = 3
    out = np.full_like(x, 7)
    with pytest.raises(ValueError, match=r"\btarget\b.*\(1, 299, 700\)"):
        segloss.CrossEntropyLoss(label_smoothing=smoothing, non_finite=policy).value_and_grad(x, y, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_labels_are_whole_numbers(dtype):
    x, _, _, _, _ = drawn((N, C, 5), "f32")
    with pytest.raises(TypeError, match=r"\btarget\b"):
        segloss.CrossEntropyLoss()(x, np.zeros((N, 5), dtype))


@pytest.mark.parametrize("shape", [(), (5,)], ids=id_of)
def test_ranks(shape):
    x = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=r"\binput\b"):
        segloss.CrossEntropyLoss()(x, x)


@pytest.mark.parametrize(
    "argument, shapes",
    [
        ("target", [(2, 5), (4, 5), (3, 6), (3, 2, 5), (3, 4, 6), (15,), (3, 1, 1, 5)]),
        ("weight", [(2, 5), (3, 4, 5), (4,), (3, 6), (3, 2, 5), (3, 1, 6)]),
        ("mask", [(2, 5), (3, 4, 5), (4,), (3, 6), (3, 2, 5), (3, 1, 6)]),
    ],
)
def test_shapes(argument, shapes):
    """Weights and masks are of positions: one for each class would be another loss."""
    x, labels, _, _, _ = drawn((3, 4, 5), "f32")
    for shape in shapes:
        inputs = {"target": labels, argument: np.zeros(shape, np.uint8)}
        with pytest.raises(ValueError, match=rf"\b{argument}\b") as caught:
            segloss.CrossEntropyLoss()(x, **inputs)
        assert str(shape[-1]) in str(caught.value)


@pytest.mark.parametrize(
    "weight, error",
    [
        ([1.0, 2.0], ValueError),
        ([1.0] * 5, ValueError),
        ([], ValueError),
        ([1.0, np.nan, 1.0, 1.0], ValueError),
        ([1.0, np.inf, 1.0, 1.0], ValueError),
        ("abcd", TypeError),
        (1.0, TypeError),
    ],
    ids=str,
)
def test_class_weights_refused(weight, error):
    x, labels, _, _, _ = drawn((N, C, 5), "f32")
    with pytest.raises(error, match=r"weight\b"):
        segloss.CrossEntropyLoss(weight)(x, labels)


def test_grad_output_of_a_map():
    x, labels, _, _, _ = drawn((N, C, 5))
    loss = segloss.CrossEntropyLoss(reduction="none")
    one = loss.value_and_grad(x, labels)[1]
    assert np.array_equal(loss.value_and_grad(x, labels, grad_output=2.0)[1], 2 * one)
    assert np.array_equal(loss.value_and_grad(x, labels, grad_output=np.full((N, 5), 2.0))[1], 2 * one)
    for wrong in (np.ones(5), np.ones((N, C, 5)), np.ones((5, N)), "x", None):
        with pytest.raises((ValueError, TypeError), match=r"\bgrad_output\b"):
            loss.value_and_grad(x, labels, grad_output=wrong)


def test_a_map_in_place():
    x, labels, _, _, _ = drawn((2, 3, 41, 613), "f32")
    loss = segloss.CrossEntropyLoss(reduction="none")
    want, wanted = loss.value_and_grad(x, labels)
    value, grad = loss.value_and_grad(x, labels, out=x)
    assert grad is x and np.array_equal(value, want) and np.array_equal(grad, wanted)


def test_pickle_and_copy():
    x, labels, _, _, _ = drawn((N, C, 5), "f32")
    loss = segloss.CrossEntropyLoss([1, 2, 3, 4], label_smoothing=0.1)
    for other in (pickle.loads(pickle.dumps(loss)), copy.copy(loss), copy.deepcopy(loss)):
        assert other(x, labels) == loss(x, labels)


# ---------------------------------------------------------------- properties

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 40))
smoothings = st.sampled_from([0.0, 0.1])


def alike(got, want):
    """Other sums of the same numbers: 1e-15 for each of some hundred terms."""
    assert np.asarray(got[0]) == pytest.approx(np.asarray(want[0]), rel=1e-12, abs=1e-14)
    assert np.allclose(got[1], want[1], rtol=1e-11, atol=1e-13 * np.abs(want[1]).max(initial=0))


@given(seeds, shapes, smoothings)
def test_ignoring_and_masking_are_slicing(seed, shape, smoothing):
    x, labels, _, _, _ = drawn(shape, seed=seed)
    loss = segloss.CrossEntropyLoss(np.random.default_rng(seed).random(shape[1]), label_smoothing=smoothing)
    value, grad = loss.value_and_grad(x, labels)
    keep = labels != -100
    flat = np.moveaxis(x, 1, -1)[keep]
    want, wanted = loss.value_and_grad(flat, labels[keep])
    alike((value, np.moveaxis(grad, 1, -1)[keep]), (want, wanted))
    alike(loss.value_and_grad(x, np.where(keep, labels, 0), mask=keep), (value, grad))


@given(seeds, shapes, smoothings)
def test_labels_are_one_hot(seed, shape, smoothing):
    x, labels, _, w, m = drawn(shape, seed=seed, share=0)
    dense = np.stack([labels == c for c in range(shape[1])], axis=1) * 1.0
    loss = segloss.CrossEntropyLoss(label_smoothing=smoothing)
    alike(loss.value_and_grad(x, labels, weight=w, mask=m), loss.value_and_grad(x, dense, weight=w, mask=m))


@given(seeds, shapes, smoothings)
def test_the_order_of_classes_does_not_matter(seed, shape, smoothing):
    x, labels, _, w, _ = drawn(shape, seed=seed)
    rng = np.random.default_rng(seed)
    order, weight = rng.permutation(shape[1]), rng.random(shape[1])
    renamed = np.where(labels == -100, -100, np.argsort(order)[np.maximum(labels, 0)])
    want, wanted = segloss.CrossEntropyLoss(weight, -100, smoothing).value_and_grad(x, labels, weight=w)
    got = segloss.CrossEntropyLoss(weight[order], -100, smoothing).value_and_grad(x[:, order], renamed, weight=w)
    alike(got, (want, wanted[:, order]))


@given(seeds, shapes, smoothings)
def test_gradients_sum_to_zero_and_shifts_change_nothing(seed, shape, smoothing):
    x, labels, _, w, _ = drawn(shape, seed=seed)
    loss = segloss.CrossEntropyLoss(label_smoothing=smoothing)
    value, grad = loss.value_and_grad(x, labels, weight=w)
    assert np.abs(grad.sum(axis=1)).max() <= 1e-15 * max(np.abs(grad).max(), 1)
    # The shift itself rounds x: 1e-15 of 8.
    shifted = x + np.random.default_rng(seed).integers(-8, 9, labels.shape)[:, None]
    assert loss(shifted, labels, weight=w) == pytest.approx(value, rel=1e-12, abs=1e-14)


@given(seeds, shapes)
def test_two_classes_are_a_logit(seed, shape):
    x, _, _, w, m = drawn((shape[0], 2, shape[2]), seed=seed)
    labels = np.random.default_rng(seed).integers(0, 2, (shape[0], shape[2]))
    value, grad = segloss.CrossEntropyLoss().value_and_grad(x, labels, weight=w, mask=m)
    want, wanted = segloss.BCELoss().value_and_grad(x[:, 1] - x[:, 0], labels, weight=w, mask=m)
    alike((value, grad), (want, np.stack([-wanted, wanted], axis=1)))


@given(seeds, shapes, smoothings)
def test_the_map_makes_up_the_loss(seed, shape, smoothing):
    x, labels, _, w, m = drawn(shape, seed=seed)
    map_ = segloss.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")(x, labels, weight=w, mask=m)
    total = segloss.CrossEntropyLoss(label_smoothing=smoothing, reduction="sum")(x, labels, weight=w, mask=m)
    parts = segloss.CrossEntropyLoss(label_smoothing=smoothing, return_parts=True)(x, labels, weight=w, mask=m)
    assert total == pytest.approx(map_.sum(), rel=1e-12, abs=1e-14)
    assert parts["loss"] == pytest.approx(total / max(parts["divisor"], 1), rel=1e-12, abs=1e-14)
    assert parts["count"] == parts["divisor"] == ((labels != -100) * m).sum()
