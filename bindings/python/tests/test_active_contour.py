"""ActiveContourLoss: length of a contour and fit of its regions."""

import copy
import ctypes
import pickle

import numpy as np
import pytest
import reference_windows as ref
import segloss
from segloss import _abi
from segloss._command import golden
from segloss._tensor import view
from support import (
    LAYOUTS,
    PREDICTION_TYPES,
    TARGET_TYPES,
    assert_same_bits,
    bounds,
    check_gradient,
    check_value,
    id_of,
)
from window_cases import CONTOUR, LOGITS, SHAPES, SMALL, STRIPS, blobs, draw, make, mask, probabilities, run

VARIANTS = ["published", "aligned"]
NAMES = [*CONTOUR, *LOGITS]


def both(x, y, kind="f64", **options):
    """The loss against its reference, and what the loss gave."""
    dtype = PREDICTION_TYPES[kind]
    x, y = x.astype(dtype), y.astype(dtype)
    got = segloss.ActiveContourLoss(return_parts=True, **options).value_and_grad(x, y)
    value, grad = ref.active_contour(x, y, **options)
    check_value(got[0], value, bounds(kind)[0])
    if kind == "f32" and grad.size and np.abs(grad).max() < 2**-126:
        # A few units of what float32 can hold at all.
        assert np.abs(got[1] - grad).max() <= 2**-147
    else:
        check_gradient(got[1], grad, bounds(kind)[1])
    return got


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("case", golden.CONTOUR)
def test_golden(case):
    variant, weight = case.split()
    p, y = (a.reshape(2, 1, 6, 7) for a in (golden.p, golden.y))
    printed = golden.CONTOUR[case]
    value, grad = segloss.ActiveContourLoss(float(weight), variant=variant).value_and_grad(p, y)
    parts, wanted = ref.active_contour(p, y, weight=float(weight), variant=variant)
    for v, g in ((value, grad), (parts["loss"], wanted)):
        golden.check(v, printed[0], case)
        golden.check_gradient(g, printed[1:3], printed[3:], case)
    if case == "published 10":
        assert segloss.active_contour_loss(y, p) == value
    if case == "published 1":
        assert (
            segloss.active_contour_loss(y, p, 1) == segloss.active_contour_loss(y_true=y, y_pred=p, weight=1) == value
        )


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
def test_sizes(shape, name, kind):
    for soft in (False, True):
        x, y = draw(name, shape, soft=soft)
        both(x, y, kind, **make(name)._arguments[1])


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_options(variant, from_logits, kind):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal(STRIPS), blobs(rng, STRIPS)
    for options in ({"weight": 0}, {"weight": 1}, {"region_weight": 0.0}, {"c_in": 0.9, "c_out": -0.3, "weight": -2}):
        both(x, y, kind, variant=variant, from_logits=from_logits, **options)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_that_hardly_differ(variant, kind):
    """The probabilities of neighbours are nearer than their rounding, and the root is steep there."""
    rng = np.random.default_rng(4)
    for offset, spread in ((0.0, 1e-4), (0.7, 1e-5), (-3.0, 1e-3), (9.0, 0.5), (30.0, 1.0), (-80.0, 5.0)):
        x = (offset + spread * rng.standard_normal((1, 1, 33, 47))).astype(np.float32)
        both(x, mask(rng, x.shape), kind, variant=variant, from_logits=True, region_weight=0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_constant_map(variant):
    """Each length is the root of 1e-8, and has no slope."""
    x = np.full((1, 1, 40, 50), 0.5, np.float32)
    loss = segloss.ActiveContourLoss(variant=variant, return_parts=True)
    parts, grad = loss.value_and_grad(x, np.zeros_like(x))
    assert parts["length"] == pytest.approx(1e-4, rel=1e-7) and parts["region"] == 0.5
    assert parts["loss"] == pytest.approx(0.501, rel=1e-7)
    assert (grad == np.float32(1 / x.size)).all()
    x = np.full((2, 3, 257, 259), 0.1, np.float32)
    both(x, np.full_like(x, 0.7), "f32", variant=variant)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (9, 1), (2, 2), (2, 9), (9, 2), (3, 3)])
def test_small_maps(height, width, variant, from_logits):
    """Too small for a difference: length 0, where the published code has NaN, and a part that says so."""
    rng = np.random.default_rng(0)
    x, y = probabilities(rng, (2, 2, height, width)), mask(rng, (2, 2, height, width))
    parts, _ = both(x, y, variant=variant, from_logits=from_logits)
    reach = 2 if variant == "published" else 1
    assert parts["length_count"] == 4 * max(height - reach, 0) * max(width - reach, 0)
    assert parts["count"] == x.size
    assert parts["length_count"] or parts["length"] == 0


@pytest.mark.parametrize("shape", [(0, 1, 5, 5), (2, 0, 5, 5), (2, 3, 0, 5), (2, 3, 5, 0), (0, 4, 4)], ids=id_of)
def test_nothing_at_all(shape):
    for variant in VARIANTS:
        value, grad = segloss.ActiveContourLoss(variant=variant).value_and_grad(np.zeros(shape), np.zeros(shape))
        assert value == 0.0 and grad.shape == shape


def test_three_dimensions_are_one_channel():
    x, y = draw("contour", (3, 1, 37, 41))
    loss = segloss.ActiveContourLoss()
    want, wanted = loss.value_and_grad(x, y)
    for a, b in ((x[:, 0], y[:, 0]), (x, y[:, 0]), (x[:, 0], y)):
        value, grad = loss.value_and_grad(a, b)
        assert value == want and np.array_equal(grad.reshape(x.shape), wanted) and grad.shape == a.shape


def test_row_0_has_no_vertical_difference():
    """The published differences: pixels of row 0 never enter one down, those of column 0 none across."""
    rng = np.random.default_rng(1)
    x = rng.random((1, 1, 9, 9))
    loss = segloss.ActiveContourLoss(region_weight=0.0)
    _, grad = loss.value_and_grad(x, np.zeros_like(x))
    assert grad[0, 0, 0, 0] == 0 and not grad[0, 0, 8, 8] and grad[0, 0, 0, 1] != 0 and grad[0, 0, 1, 0] != 0
    moved = x.copy()
    moved[0, 0, 0, 0] += 10
    assert loss(moved, np.zeros_like(x)) == loss(x, np.zeros_like(x))


# ---------------------------------------------------------------- values that have gone wrong before


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_outside_the_unit_interval(variant, kind):
    """Taken as they come: the region may be negative."""
    rng = np.random.default_rng(5)
    x = 6 * rng.standard_normal((1, 2, 19, 23))
    both(x, mask(rng, x.shape), kind, variant=variant)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("size", [17.0, 90.0, 1e4])
def test_large_logits(size, kind):
    rng = np.random.default_rng(6)
    x = rng.choice([-size, size], (1, 2, 19, 23))
    both(x, mask(rng, x.shape), kind, from_logits=True)


def test_infinite_logits():
    """Probabilities of exactly 0 and 1: equal neighbours differ by nothing."""
    rng = np.random.default_rng(7)
    x = rng.choice([-np.inf, np.inf], (1, 1, 19, 23))
    y = mask(rng, x.shape)
    value, grad = segloss.ActiveContourLoss(from_logits=True).value_and_grad(x, y)
    assert value == pytest.approx(segloss.ActiveContourLoss()(np.where(x > 0, 1.0, 0.0), y), rel=1e-14)
    assert not grad.any()


@pytest.mark.parametrize("poison", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_not_a_number_stays_near(variant, poison):
    """In the gradient: around its pixel, in no other row of the map, and in no other map."""
    x, y = (a.astype(np.float32) for a in draw("contour", (1, 2, 71, 1001)))
    loss = segloss.ActiveContourLoss(variant=variant)
    _, wanted = loss.value_and_grad(x, y)
    x[0, 0, 40, 500] = poison
    value, grad = loss.value_and_grad(x, y)
    assert not np.isfinite(value)
    far = np.ones(x.shape, bool)
    far[0, 0, 36:45, 496:505] = False
    assert np.array_equal(grad[far], wanted[far]) and not np.isfinite(grad).all()


def test_refused_values():
    x, y = (a.astype(np.float32) for a in draw("contour", SMALL))
    loss = segloss.ActiveContourLoss(non_finite="refuse")
    assert loss(x, y) == segloss.ActiveContourLoss()(x, y)
    for name, at in (("input", 0), ("target", 1)):
        inputs = [x.copy(), y.copy()]
        inputs[at][1, 2, 12, 3] = np.nan
        with pytest.raises(ValueError, match=rf"{name}.*\(1, 2, 12, 3\)"):
            loss(*inputs)


# ---------------------------------------------------------------- types, layouts, threads


@pytest.mark.parametrize("name", NAMES)
def test_types_of_targets(name):
    for shape in (SMALL, (1, 1, 67, 83)):
        x, y = draw(name, shape)
        for prediction in (np.float32, np.float64):
            want = run(name, [x.astype(prediction), y.astype(prediction)])
            for target in TARGET_TYPES.values():
                assert_same_bits(run(name, [x.astype(prediction), y.astype(target)]), want)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_half_predictions(name, kind):
    """The float32 result, its gradient rounded once."""
    dtype = PREDICTION_TYPES[kind]
    x, y = draw(name, (1, 2, 67, 83))
    value, (grad,) = run(name, [x.astype(np.float32), y.astype(np.uint8)])
    half = run(name, [x.astype(dtype), y.astype(np.uint8)])
    assert half[1][0].dtype == dtype
    assert_same_bits(half, (value, (grad.astype(dtype),)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("name", NAMES)
def test_layouts(name, layout):
    for shape in (SMALL, (2, 2, 71, 1001), (1, 1, 65, 64)):
        for target in (np.float32, np.uint8):
            x, y = draw(name, shape)
            x, y = x.astype(np.float32), y.astype(target)
            want = run(name, [x, y])
            for inputs in ([layout(x), y], [x, layout(y)], [layout(x), layout(y)]):
                assert_same_bits(run(name, inputs), want)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_threads(name, kind, threads):
    inputs = [a.astype(PREDICTION_TYPES[kind]) for a in draw(name, STRIPS, soft=True)]
    threads(1)
    want = run(name, inputs)
    for n in (2, 3, 5):
        threads(n)
        assert_same_bits(run(name, inputs), want)


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_out(kind):
    for name in NAMES:
        x, y = (a.astype(PREDICTION_TYPES[kind]) for a in draw(name, STRIPS))
        want = run(name, [x, y])
        out = np.full_like(x, 7)
        value, (grad,) = run(name, [x, y], out=out)
        assert grad is out
        assert_same_bits((value, (out,)), want)


def test_refused_outputs():
    """The prediction's own memory among them: neighbours would be read after they are written."""
    x, y = (a.astype(np.float32) for a in draw("contour", SMALL))
    before = x.copy()
    loss = segloss.ActiveContourLoss()
    for out, error in (
        (x, ValueError),
        (y, ValueError),
        (np.empty(x.shape, np.float64), TypeError),
        (np.empty(x.shape[1:], np.float32), ValueError),
        (np.broadcast_to(np.float32(0), x.shape), ValueError),
        (x[..., ::-1], ValueError),
    ):
        with pytest.raises(error, match=r"\bout\b"):
            loss.value_and_grad(x, y, out=out)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_upstream(name):
    x, y = (a.astype(np.float32) for a in draw(name, SMALL))
    value, (grad,) = run(name, [x, y])
    for factor in (2.0, -0.5, 1024.0):
        scaled, (times,) = run(name, [x, y], grad_output=factor)
        assert scaled == value and np.array_equal(times, grad * np.float32(factor))
    assert not run(name, [x, y], grad_output=0.0)[1][0].any()
    assert np.isnan(run(name, [x, y], grad_output=np.nan)[1][0]).all()


# ---------------------------------------------------------------- refused arguments

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "option, value, error",
    [
        *((o, v, ValueError) for o in ("weight", "c_in", "c_out", "region_weight") for v in (NAN, INF)),
        *((o, v, TypeError) for o in ("weight", "c_in", "c_out", "region_weight") for v in ("x", None)),
        ("variant", "paper", ValueError),
        ("variant", 1, TypeError),
        ("from_logits", "yes", TypeError),
        ("non_finite", "ignore", ValueError),
    ],
    ids=str,
)
def test_options_that_are_refused(option, value, error):
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(error, match=rf"^{option}: expected .*got"):
        segloss.ActiveContourLoss(**{option: value})(x, x)


@pytest.mark.parametrize("how", ["rank 2", "rank 5", "target", "target rank", "channels", "integers"])
def test_shapes_that_are_refused(how):
    a = np.zeros((2, 3, 8, 9), np.float32)
    pred, target, error, name = {
        "rank 2": (a[0, 0], a[0, 0], ValueError, "input"),
        "rank 5": (a[None], a[None], ValueError, "input"),
        "target": (a, a[..., :8], ValueError, "target"),
        "target rank": (a, a[:, 0], ValueError, "target"),
        "channels": (a, a[:, :1], ValueError, "target"),
        "integers": (a.astype(np.int64), a, TypeError, "input"),
    }[how]
    with pytest.raises(error, match=f"^{name}: expected .*got"):
        segloss.ActiveContourLoss().value_and_grad(pred, target)
    with pytest.raises(error, match=f"^{ {'input': 'y_pred', 'target': 'y_true'}[name] }: expected .*got"):
        segloss.active_contour_loss(target, pred)


@pytest.mark.parametrize("thing", [None, 0.5, "pred", object()], ids=lambda v: type(v).__name__)
def test_no_arrays(thing):
    a = np.zeros((1, 1, 4, 4), np.float32)
    for arguments, name in (((thing, a), "input"), ((a, thing), "target")):
        with pytest.raises(TypeError, match=f"^{name}: expected"):
            segloss.ActiveContourLoss()(*arguments)


def test_planes_of_no_memory():
    x = np.broadcast_to(np.float32(0), (1, 1, 1, 2**50))
    with pytest.raises(MemoryError):
        segloss.ActiveContourLoss()(x, x)


def test_copies():
    x, y = (a.astype(np.float32) for a in draw("contour", SMALL))
    loss = segloss.ActiveContourLoss(3, variant="aligned", return_parts=True)
    for other in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(x, y) == loss(x, y)


# ---------------------------------------------------------------- the two phases


@pytest.mark.parametrize("name", NAMES)
def test_two_phases(name):
    """Statistics of two shards, added, then finished: the loss of both at once, and its gradients."""
    x, y = draw(name, (2, 3, 41, 67))
    want, wanted = make(name, return_parts=True).value_and_grad(x, y)
    options = ctypes.byref(make(name)._options)
    error, parts = _abi.Error(), _abi.ActiveContourParts()
    total = np.zeros(4)
    shards = []
    for i in range(2):
        arrays = [np.ascontiguousarray(a[i : i + 1]) for a in (x, y)]
        tensors = [view("tensor", a).descriptor() for a in arrays]
        shards.append((arrays, tensors))
        one = (ctypes.c_double * 4)()
        assert not _abi.lib.segloss_active_contour_statistics(
            *map(ctypes.byref, tensors), options, one, 4, None, ctypes.byref(error)
        )
        total += np.array(one)
    sums = (ctypes.c_double * 4)(*total)
    for i, (arrays, tensors) in enumerate(shards):
        grad = np.empty_like(arrays[0])
        assert not _abi.lib.segloss_active_contour_finish(
            *map(ctypes.byref, tensors),
            options,
            sums,
            4,
            1.0,
            ctypes.byref(parts),
            ctypes.byref(view("grad", grad).descriptor()),
            None,
            ctypes.byref(error),
        )
        assert parts.loss == pytest.approx(want["loss"], rel=1e-14) and parts.count == want["count"]
        check_gradient(grad, wanted[i : i + 1], 1e-14)
    assert (
        _abi.lib.segloss_active_contour_statistics(
            *map(ctypes.byref, shards[0][1]), options, sums, 3, None, ctypes.byref(error)
        )
        == 12
    )


# ---------------------------------------------------------------- the reference itself


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_reference(variant, from_logits):
    rng = np.random.default_rng(8)
    shape = (2, 2, 5, 6)
    x, y = rng.standard_normal(shape), rng.random(shape)
    options = {"variant": variant, "from_logits": from_logits, "weight": 3.0, "c_in": 0.9, "c_out": 0.2}
    grad = ref.active_contour(x, y, **options)[1]
    for at in np.ndindex(shape):
        if sum(at) % 3 == 0:
            ends = []
            for h in (1e-6, -1e-6):
                moved = x.copy()
                moved[at] += h
                ends.append(ref.active_contour(moved, y, **options)[0]["loss"])
            # 1e-16/h from rounding and h^2 from curvature.
            assert abs((ends[0] - ends[1]) / 2e-6 - grad[at]) <= 1e-6 * np.abs(grad).max() + 1e-9
