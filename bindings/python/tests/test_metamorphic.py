"""What has to hold between two calls of any loss, whatever the inputs: hypothesis draws the shapes, types, memory and masks."""

from unittest import mock

import numpy as np
import pytest
from golden_bits import Integers, each, run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from program_cases import cases
from support import LAYOUTS, PREDICTION_TYPES, total

NAMES = [case.name for case in cases()]
MAPS = [name for name in NAMES if not name.startswith("ctpn")]
shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 40))
seeds = st.integers(0, 2**32 - 1)
# Sixty cases make up for it.
FEW = settings(max_examples=settings.default.max_examples // 4)


def drawn(name, shape, seed, dtype=np.float64, all_digits=True):
    """A case, and its inputs for maps N x H x W; `all_digits` fills up the fractions of predictions, so that nothing ties."""
    case = next(case for case in cases(shape) if case.name == name)
    rng = Integers(seed)
    with mock.patch("numpy.random.default_rng", lambda *_: Integers(seed)):
        inputs = case.draw(dtype)

    def fill(array):
        return (array * (1 - rng.integers(1, 2**22, array.shape) / 2**24)).astype(dtype)

    return case, inputs | {n: each(inputs[n], fill) for n in case.predictions if all_digits}


def mapped(inputs, change):
    return {name: each(value, change) for name, value in inputs.items()}


def same(a, b, bound=1e-12):
    """Sums in another order: float64's roundings, of values that are not below 1e-3."""
    a, b = np.asarray(total(a), np.float64), np.asarray(total(b), np.float64)
    assert a.shape == b.shape and (np.abs(a - b) <= bound * np.maximum(np.abs(b), 1e-3)).all(), (a, b)


def same_gradients(a, b, bound=1e-12):
    for g, w in zip(a, b, strict=True):
        assert g.shape == w.shape and (np.abs(g - w) <= bound * np.abs(w).max(initial=0) + 1e-300).all()


# ---------------------------------------------------------------- any memory, any type


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(seeds, shapes, st.sampled_from(list(PREDICTION_TYPES)), st.lists(st.sampled_from(list(LAYOUTS)), min_size=9))
def test_any_memory_and_type(name, seed, shape, kind, layouts):
    """Each argument in a layout of its own: the bits of dense ones; and the value that float64 has of the same numbers."""
    case, inputs = drawn(name, shape, seed, PREDICTION_TYPES[kind], all_digits=False)
    value, gradients = run(case, inputs)
    turn = iter(layouts * 2)

    def elsewhere(array):
        layout = next(turn)
        return array if array.ndim < 3 and layout in ("rows_strided", "channels_last") else LAYOUTS[layout](array)

    other, others = run(case, mapped(inputs, elsewhere))
    assert np.asarray(total(other)).tobytes() == np.asarray(total(value)).tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(others, gradients, strict=True))
    wide = {n: each(v, lambda a: a.astype(np.float64)) if n in case.predictions else v for n, v in inputs.items()}
    if kind in ("f32", "f64") or np.ndim(total(value)) == 0:  # maps of values are rounded to half precision
        same(value, run(case, wide)[0], 1e-6)


# ---------------------------------------------------------------- factors from above


def listed(gradients):
    return list(gradients) if isinstance(gradients, tuple | list) else [gradients]


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(seeds, shapes, st.sampled_from(["f32", "f64"]), st.integers(-8, 8), st.sampled_from([-1.0, 1.0]))
def test_powers_of_two_from_above_are_exact(name, seed, shape, kind, exponent, sign):
    """They move no digit of a coefficient, and so none of a gradient: another way of scaling would."""
    case, inputs = drawn(name, shape, seed, PREDICTION_TYPES[kind])
    factor = sign * 2.0**exponent
    _, gradients = run(case, inputs)
    _, scaled = case.make().value_and_grad(**inputs, grad_output=factor)
    for g, s in zip(gradients, listed(scaled), strict=True):
        assert np.array_equal(s, g * g.dtype.type(factor))


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(seeds, shapes.filter(lambda shape: shape[1] * shape[2] >= 16), st.floats(-100, 100))
def test_linear_in_the_upstream_gradient(name, seed, shape, factor):
    """A gradient is a sum of coefficients (of its loss, its classes) times what is the pixel's own, and the factor joins the
    coefficients. That costs them three roundings, of terms that are up to three times their sum, and the kernels round each
    of the two gradients three times: 16 at most. In one pixel terms may cancel to any degree, but not in all of a map at
    once, so the largest entry of 16 pixels stands for the terms. Smaller maps have the powers of two."""
    case, inputs = drawn(name, shape, seed)
    _, gradients = run(case, inputs)
    _, scaled = case.make().value_and_grad(**inputs, grad_output=factor)
    for g, s in zip(gradients, listed(scaled), strict=True):
        bound = 16 * 2.0**-53 * abs(factor) * np.abs(g).max(initial=0)
        assert np.abs(s - factor * g).max(initial=0) <= bound + 1e-300


# ---------------------------------------------------------------- the order of samples, rows and columns, classes


@pytest.mark.parametrize("name", [name for name in MAPS if "none" not in name and name != "balance-map"])
@FEW
@given(seeds, shapes)
def test_the_order_of_samples_does_not_matter(name, seed, shape):
    case, inputs = drawn(name, shape, seed)
    order = np.random.default_rng(seed).permutation(shape[0])
    (value, gradients), (other, others) = run(case, inputs), run(case, mapped(inputs, lambda a: a[order]))
    same(other, value)
    same_gradients(others, [g[order] for g in gradients])


@pytest.mark.parametrize("name", [name for name in MAPS if name.startswith(("structure", "contour", "boundary"))])
@FEW
@given(seeds, shapes)
def test_rows_and_columns_are_alike(name, seed, shape):
    """Windows are squares, and a gradient's length has no direction."""
    case, inputs = drawn(name, shape, seed)
    turned = mapped(inputs, lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)))
    (value, gradients), (other, others) = run(case, inputs), run(case, turned)
    same(other, value)
    same_gradients(others, [g.swapaxes(-1, -2) for g in gradients], 1e-11)


OF_CLASSES = {"class_weight", "classes", "pos_weight", "weight", "ignore_index"}


def treats_classes_alike(case):
    inputs = case.draw(np.float32)
    first = inputs[case.predictions[0]]
    return (
        isinstance(first, np.ndarray)
        and first.ndim == 4
        and first.shape[1] == 3
        and not case.name.startswith(("db", "ctpn"))
        and not (
            OF_CLASSES & case.make()._arguments[1].keys() - ({"ignore_index"} if "-ignored" not in case.name else set())
        )
        and "none" not in case.name
    )


@pytest.mark.parametrize("name", [case.name for case in cases() if treats_classes_alike(case)])
@FEW
@given(seeds, shapes, st.permutations(range(3)))
def test_the_order_of_classes_does_not_matter(name, seed, shape, order):
    case, inputs = drawn(name, shape, seed)
    place = np.argsort(order)  # where a class goes

    def reordered(array):
        if array.ndim == 4:
            return np.ascontiguousarray(array[:, order])
        if array.dtype.kind == "i":  # labels; 255 is ignored
            return np.where(array < 3, place[np.minimum(array, 2)], array)
        return array

    (value, gradients), (other, others) = run(case, inputs), run(case, mapped(inputs, reordered))
    same(other, value)
    same_gradients(others, [g[:, order] for g in gradients], 1e-11)


# ---------------------------------------------------------------- batches

# A mean over elements, planes or scores, of which every sample has as many.
MEANS = [name for name in MAPS if name in ("bce", "smooth-l1", "cross-entropy", "boundary")]
MEANS += [name for name in MAPS if name.startswith(("structure", "contour")) and "none" not in name]
# One score of the whole batch, or a selection among all of its pixels.
OF_THE_BATCH = ["dice", "iou", "tversky", "focal-tversky", "focal", "mask-dice", "mask-l1", "balance-bce", "db"]


@pytest.mark.parametrize("name", MEANS)
@FEW
@given(seeds, shapes, st.data())
def test_a_mean_is_that_of_the_parts_of_a_batch(name, seed, shape, data):
    assume(shape[0] > 1)
    cut = data.draw(st.integers(1, shape[0] - 1))
    case, inputs = drawn(name, shape, seed)
    value, gradients = run(case, inputs)
    parts = [run(case, mapped(inputs, lambda a, at=at: a[at])) for at in (np.s_[:cut], np.s_[cut:])]
    shares = cut / shape[0], 1 - cut / shape[0]
    same(sum(share * total(part) for share, (part, _) in zip(shares, parts)), value)
    for i, whole in enumerate(gradients):
        joined = [share * part[i] for share, (_, part) in zip(shares, parts)]
        same_gradients([np.concatenate(joined)], [whole])


@pytest.mark.parametrize("name", OF_THE_BATCH)
def test_a_score_of_a_batch_is_not_the_mean_of_its_samples(name):
    """Else a batch of one would do: it is what makes the sums of several ranks worth adding."""
    case, inputs = drawn(name, (2, 9, 11), 7)
    value, _ = run(case, inputs)
    parts = [total(run(case, mapped(inputs, lambda a, n=n: a[n : n + 1]))[0]) for n in range(2)]
    assert abs(total(value) - sum(parts) / 2) > 1e-6


def adds_up(case):
    """Selections do not; levels of predictions are several losses."""
    return case.name in OF_THE_BATCH + MEANS and case.make().statistics_add and case.name != "structure-levels"


@pytest.mark.parametrize("name", [case.name for case in cases() if adds_up(case)])
@FEW
@given(seeds, shapes, st.data())
def test_statistics_of_the_parts_of_a_batch_add_up(name, seed, shape, data):
    """And give the gradient of the whole, but for the order of one more sum."""
    from test_programs import run as run_program

    assume(shape[0] > 1)
    cut = data.draw(st.integers(1, shape[0] - 1))
    case, inputs = drawn(name, shape, seed)
    shares = []
    for at in (np.s_[:cut], np.s_[cut:]):
        program, arrays = case.make().program(**mapped(inputs, lambda a, at=at: a[at]))
        run_program(program, arrays, shards=lambda statistics: shares.append(statistics.copy()) or statistics)
    program, arrays = case.make().program(**inputs)
    _, _, wanted = run_program(program, arrays)
    _, _, gradients = run_program(program, arrays, shards=lambda _: np.concatenate(shares))
    same_gradients(gradients, wanted)


# ---------------------------------------------------------------- masks and ignored pixels


def has_masks(case):
    """PSENet's selection draws from what is masked as well; a map without a balance is there without its mask, as upstream."""
    if "ohem" in case.name or case.name == "balance-map":
        return False
    return any("mask" in name for name in case.draw(np.float32)) and not case.name.startswith(("structure", "ctpn"))


@pytest.mark.parametrize("name", [case.name for case in cases() if has_masks(case)])
@FEW
@given(seeds, shapes, st.data())
def test_a_mask_is_a_slice(name, seed, shape, data):
    """What is masked does not exist: the value is that of the rest, and its own gradient exactly 0."""
    assume(shape[2] > 1)
    cut = data.draw(st.integers(1, shape[2] - 1))
    case, inputs = drawn(name, shape, seed)
    masked = {k: np.where(np.arange(v.shape[-1]) < cut, v, 0) if "mask" in k else v for k, v in inputs.items()}
    value, gradients = run(case, masked)
    rest, slices = run(case, mapped(inputs, lambda a: np.ascontiguousarray(a[..., :cut])))
    if np.ndim(total(value)) > 2:  # a map
        assert not np.any(total(value)[..., cut:])
        value = total(value)[..., :cut]
    same(value, rest)
    same_gradients([g[..., :cut] for g in gradients], slices)
    assert not any(g[..., cut:].any() for g in gradients)


def ignores(case):
    return case.make()._arguments[1].get("ignore_index")


@pytest.mark.parametrize("name", [case.name for case in cases() if ignores(case) is not None])
@FEW
@given(seeds, shapes)
def test_ignored_pixels_have_no_gradient(name, seed, shape):
    """Exactly none, and what they predict changes no bit of the loss."""
    case, inputs = drawn(name, shape, seed)
    target = "labels" if "labels" in inputs else "target"
    ignored = inputs[target] == ignores(case)
    value, gradients = run(case, inputs)
    prediction = inputs[case.predictions[0]]
    off = np.broadcast_to(ignored if ignored.ndim == prediction.ndim else ignored[:, None], prediction.shape)
    assert not gradients[0][off].any()
    moved = np.where(off, -prediction + 0.25, prediction)
    other, _ = run(case, {**inputs, case.predictions[0]: moved})
    assert np.asarray(total(other)).tobytes() == np.asarray(total(value)).tobytes()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ctpn")])
@FEW
@given(seeds, shapes)
def test_anchors_without_a_label_have_no_score(name, seed, shape):
    case, inputs = drawn(name, shape, seed)
    off = inputs["rpn_labels"] == -1
    _, (scores, *_) = run(case, inputs)
    if name.startswith("ctpn-heads"):
        scores = np.moveaxis(scores, 1, -1)
    assert not scores.reshape(*off.shape, 2)[off].any()
