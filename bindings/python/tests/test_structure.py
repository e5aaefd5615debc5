"""StructureLoss: cross-entropy and overlap under weights that grow where a pixel differs from its surroundings."""

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
from window_cases import SHAPES, SMALL, STRIPS, STRUCTURE, blobs, draw, logits, make, mask, run

VARIANTS = ["published", "paper", "uacanet"]
# Nothing, the least, the original, more than half a strip, more than most images.
KERNELS = [1, 3, 31, 63, 301]


def agree(got, want, kind):
    value, grad = got
    check_value(value, want[0], bounds(kind)[0])
    check_gradient(grad, want[1], bounds(kind)[1])


def both(x, y, kind="f64", **options):
    """The loss against its reference, and what the loss gave."""
    dtype = PREDICTION_TYPES[kind]
    x, y = x.astype(dtype), y.astype(dtype)
    got = segloss.StructureLoss(return_parts=True, **options).value_and_grad(x, y)
    agree(got, ref.structure(x, y, **options), kind)
    return got


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden(variant):
    x, y = (a.reshape(2, 1, 6, 7) for a in (golden.x, golden.y))
    value, grad = segloss.StructureLoss(variant=variant).value_and_grad(x, y)
    printed = golden.STRUCTURE[variant]
    golden.check(value, printed[0], variant)
    golden.check_gradient(grad, printed[1:3], printed[3:], variant)
    got = ref.structure(x, y, variant=variant)
    golden.check(got[0]["loss"], printed[0], variant)
    golden.check_gradient(got[1], printed[1:3], printed[3:], variant)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
def test_sizes(shape, kind):
    for seed, kernel in enumerate(KERNELS):
        for soft in (False, True):
            x, y = draw("structure", shape, seed, soft)
            if soft and x.size == 1 and kind == "f32":
                continue  # All there is is p - y, which has p's rounding and may be small beside it.
            both(x, y, kind, variant=VARIANTS[(seed + soft) % 3], kernel_size=kernel)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_options(variant, kind):
    rng = np.random.default_rng(3)
    x, y = 4 * rng.standard_normal(STRIPS), blobs(rng, STRIPS)
    for options in (
        {},
        {"kernel_size": 15, "gain": 0.0},
        {"kernel_size": 5, "gain": 2.5, "smooth": 0.0},
        {"smooth": 100.0, "count_include_pad": False},
        {"kernel_size": 1001, "count_include_pad": False},
    ):
        both(x, y, kind, variant=variant, **options)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", [STRIPS, (1, 1, 61, 4099)], ids=id_of)
def test_soft_masks_do_not_drift(shape, kind):
    """Sums run along thousands of columns and from row to row: fractions with all their digits stay as they are."""
    rng = np.random.default_rng(4)
    both(logits(rng, shape), rng.random(shape), kind, variant="paper")


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_masks_that_are_soft_in_places(variant, kind):
    """Strips of zeros and ones are summed in the elements' type, others in float64, and a strip sees rows of the next."""
    rng = np.random.default_rng(5)
    x, y = 4 * rng.standard_normal(STRIPS), blobs(rng, STRIPS)
    for rows in (slice(-1, None), slice(0, 1), slice(STRIPS[2] // 2, STRIPS[2] // 2 + 1)):
        soft = y.copy()
        soft[:, :, rows] = rng.random(soft[:, :, rows].shape)
        both(x, soft, kind, variant=variant)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_constant_maps(variant, value, kind):
    shape = (1, 1, 257, 259)
    for x in (0.0, 2.5):
        both(np.full(shape, x), np.full(shape, value), kind, variant=variant)


def test_values_of_the_specification():
    """Printed of float32 runs: a unit of the last place."""
    x = np.zeros((1, 1, 8, 8))
    assert segloss.structure_loss(x, np.zeros_like(x)) == pytest.approx(1.662844, abs=1e-6)
    assert segloss.structure_loss(x, np.ones_like(x)) == pytest.approx(1.191773, abs=1e-6)


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_weights(kind):
    """With a smooth that drowns the overlap, and logits of 0, the paper's gradient is the weights. Of ones they are 1
    inside, 1 + 5 (1 - 256/961) in the corners, 1 + 5 (1 - 496/961) amid an edge; 1 everywhere where padding does not
    count."""
    dtype = PREDICTION_TYPES[kind]
    y = np.ones((1, 1, 100, 90), dtype)
    loss = segloss.StructureLoss(variant="paper", smooth=1e30)
    w = loss.value_and_grad(np.zeros_like(y), y)[1][0, 0].astype(np.float64)
    w /= w[50, 45]
    exact = 4 * float(np.finfo(dtype).eps)
    assert w[0, 0] == pytest.approx(1 + 5 * (1 - 256 / 961), rel=exact)
    assert w[0, 45] == pytest.approx(1 + 5 * (1 - 496 / 961), rel=exact)
    assert (w[15:-15, 15:-15] == 1).all()
    inside = segloss.StructureLoss(variant="paper", smooth=1e30, count_include_pad=False)
    w = inside.value_and_grad(np.zeros_like(y), y)[1]
    assert (w == w[0, 0, 0, 0]).all()
    want = ref.structure_weights(y.astype(np.float64))[0, 0]
    w = loss.value_and_grad(np.zeros_like(y), y)[1][0, 0].astype(np.float64)
    assert np.abs(w / w[50, 45] - want).max() <= exact * want.max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_three_dimensions_are_one_channel(variant):
    rng = np.random.default_rng(0)
    x, y = logits(rng, (3, 1, 37, 41)), mask(rng, (3, 1, 37, 41))
    loss = segloss.StructureLoss(variant=variant)
    want, wanted = loss.value_and_grad(x, y)
    for a, b in ((x[:, 0], y[:, 0]), (x, y[:, 0]), (x[:, 0], y)):
        value, grad = loss.value_and_grad(a, b)
        assert value == want and np.array_equal(grad.reshape(x.shape), wanted) and grad.shape == a.shape


@pytest.mark.parametrize("shape", [(0, 1, 5, 5), (2, 0, 5, 5), (2, 3, 0, 5), (2, 3, 5, 0), (0, 4, 4)], ids=id_of)
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_at_all(variant, shape):
    value, grad = segloss.StructureLoss(variant=variant).value_and_grad(np.zeros(shape), np.zeros(shape))
    assert value == 0.0 and grad.shape == shape


# ---------------------------------------------------------------- properties


def test_the_published_cross_entropy_has_no_weights():
    """Bit for bit: the kernel reaches the overlap alone."""
    x, y = (a.astype(np.float32) for a in draw("structure", STRIPS))
    parts = [
        segloss.StructureLoss(kernel_size=k, gain=g, return_parts=True)(x, y)
        for k, g in ((31, 5), (3, 5), (31, 0), (999, 2))
    ]
    assert len({p["bce_loss"] for p in parts}) == 1 and len({p["iou_loss"] for p in parts}) == 4
    weighted = [segloss.StructureLoss(kernel_size=k, variant="paper", return_parts=True)(x, y) for k in (31, 3)]
    assert weighted[0]["bce_loss"] != weighted[1]["bce_loss"]


@pytest.mark.parametrize("name", STRUCTURE)
@pytest.mark.parametrize("count", [1, 2, 4, 16])
def test_deep_supervision(name, count):
    """A list is the sum of single calls, bit for bit, and so are its gradients."""
    shape = SMALL if count > 4 else (2, 1, 113, 203)
    y = draw(name, shape, soft=True)[1].astype(np.float32)
    levels = [draw(name, shape, seed)[0].astype(np.float32) for seed in range(count)]
    parts, grads = make(name, return_parts=True).value_and_grad(levels, y, grad_output=-1.5)
    singles = [make(name, return_parts=True).value_and_grad(x, y, grad_output=-1.5) for x in levels]
    assert parts["loss"] == sum(value["loss"] for value, _ in singles)
    for part, (value, single), grad in zip(parts["levels"], singles, grads, strict=True):
        assert part == {k: value[k] for k in ("loss", "bce_loss", "iou_loss")} == value["levels"][0]
        assert np.array_equal(grad, single)
    assert isinstance(grads, tuple)
    assert make(name)(tuple(levels), y) == parts["loss"]
    assert parts["count"] == shape[0] * shape[1]


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_planes_by_themselves(variant, kind):
    """Without the reduction: each plane's value, and a factor for each plane's gradient."""
    dtype = PREDICTION_TYPES[kind]
    x, y = (a.astype(dtype) for a in draw("structure", (2, 3, 61, 67), soft=True))
    upstream = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 0.25]])
    loss = segloss.StructureLoss(variant=variant, reduction="none")
    values, grad = loss.value_and_grad(x, y, grad_output=upstream)
    _, wanted, items = ref.structure(x, y, variant=variant, upstream=upstream)
    assert values.dtype == np.float64 and values.shape == (2, 3)
    assert np.abs(values - items).max() <= bounds(kind)[0] * items.max()
    check_gradient(grad, wanted, bounds(kind)[1])
    assert np.array_equal(loss(x, y), values)
    assert values.mean() == pytest.approx(segloss.StructureLoss(variant=variant)(x, y), rel=1e-14)
    _, grad = loss.value_and_grad(x, y, grad_output=1 / 6)
    check_gradient(grad, segloss.StructureLoss(variant=variant).value_and_grad(x, y)[1], 4 * np.finfo(dtype).eps)
    one, _ = loss.value_and_grad(x[:, 0], y[:, 0])
    assert one.shape == (2, 1) and one.dtype == np.float64


# ---------------------------------------------------------------- logits and masks that have gone wrong before


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [17.0, 90.0, 1e4])
def test_large_logits(size, variant, kind):
    """Nothing saturates: the loss goes on growing, and a wrong pixel keeps its gradient."""
    rng = np.random.default_rng(5)
    x = rng.choice([-size, size], (1, 2, 19, 23))
    both(x, mask(rng, x.shape), kind, variant=variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_infinite_logits(variant):
    """As PyTorch's cross-entropy has them: infinity where a pixel is infinitely wrong, NaN for the rest."""
    x, y = np.zeros((1, 1, 9, 9), np.float32), np.zeros((1, 1, 9, 9), np.float32)
    y[..., 4:] = 1
    for value, at, want in (
        (np.inf, (0, 0, 0, 0), np.inf),
        (np.inf, (0, 0, 0, 8), np.nan),
        (-np.inf, (0, 0, 0, 0), np.nan),
    ):
        x[:] = 0
        x[at] = value
        got, grad = segloss.StructureLoss(variant=variant).value_and_grad(x, y)
        assert np.array_equal(got, want, equal_nan=True) and np.isfinite(grad).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("variant", ["paper", "uacanet"])
def test_what_is_not_a_number_stays_in_its_plane(variant, poison):
    """It is in every sum of its plane; the planes around it, whose rows lie beside, have their bits."""
    x, y = (a.astype(np.float32) for a in draw("structure", (2, 3, 71, 1001)))
    loss = segloss.StructureLoss(variant=variant, reduction="none")
    want, wanted = loss.value_and_grad(x, y)
    for target in (0, 1):
        inputs = [x.copy(), y.copy()]
        inputs[target][0, 1, 70, 1000] = poison
        values, grad = loss.value_and_grad(*inputs)
        others = np.ones((2, 3), bool)
        others[0, 1] = False
        assert not np.isfinite(values[0, 1])
        assert np.array_equal(values[others], want[others])
        assert np.array_equal(grad[others], wanted[others])


def test_refused_values():
    x, y = (a.astype(np.float32) for a in draw("structure", SMALL))
    loss = segloss.StructureLoss(non_finite="refuse")
    assert loss(x, y) == segloss.StructureLoss()(x, y)
    for poison in (np.nan, -np.inf):
        for name, at in (("pred", 0), ("mask", 1)):
            inputs = [x.copy(), y.copy()]
            inputs[at][1, 2, 12, 3] = poison
            with pytest.raises(ValueError, match=rf"{name}.*\(1, 2, 12, 3\)"):
                loss(*inputs)
    with pytest.raises(ValueError, match=r"pred\[1\]"):
        loss([x, np.full_like(x, np.nan)], y)


# ---------------------------------------------------------------- types, layouts, threads


@pytest.mark.parametrize("name", STRUCTURE)
def test_types_of_targets(name):
    for shape in (SMALL, (1, 1, 67, 83)):
        x, y = draw(name, shape)
        for prediction in (np.float32, np.float64):
            want = run(name, [x.astype(prediction), y.astype(prediction)])
            for target in TARGET_TYPES.values():
                assert_same_bits(run(name, [x.astype(prediction), y.astype(target)]), want)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("name", STRUCTURE)
def test_half_predictions(name, kind):
    """The float32 result, its gradient rounded once."""
    dtype = PREDICTION_TYPES[kind]
    x, y = draw(name, (1, 2, 67, 83))
    value, (grad,) = run(name, [x.astype(np.float32), y.astype(np.uint8)])
    half = run(name, [x.astype(dtype), y.astype(np.uint8)])
    assert half[1][0].dtype == dtype
    assert_same_bits(half, (value, (grad.astype(dtype),)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("name", STRUCTURE)
def test_layouts(name, layout):
    for shape in (SMALL, (2, 2, 71, 1001), (1, 1, 65, 64)):
        for target in (np.float32, np.uint8):
            x, y = draw(name, shape)
            x, y = x.astype(np.float32), y.astype(target)
            want = run(name, [x, y])
            for inputs in ([layout(x), y], [x, layout(y)], [layout(x), layout(y)]):
                assert_same_bits(run(name, inputs), want)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", STRUCTURE)
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
    for name in STRUCTURE:
        x, y = (a.astype(PREDICTION_TYPES[kind]) for a in draw(name, STRIPS))
        want = run(name, [x, y])
        out = np.full_like(x, 7)
        value, (grad,) = run(name, [x, y], out=out)
        assert grad is out
        assert_same_bits((value, (out,)), want)
        # In place: the mask alone has neighbours.
        x = x.copy()
        assert_same_bits(run(name, [x, y], out=x), want)


def test_out_of_a_list():
    y = draw("structure", SMALL)[1].astype(np.float32)
    levels = [draw("structure", SMALL, seed)[0].astype(np.float32) for seed in range(3)]
    loss = segloss.StructureLoss()
    want, wanted = loss.value_and_grad(levels, y)
    out = [np.empty_like(x) for x in levels]
    value, grads = loss.value_and_grad(levels, y, out=out)
    assert value == want and all(a is b for a, b in zip(grads, out, strict=True))
    mine = [x.copy() for x in levels]
    _, grads = loss.value_and_grad(mine, y, out=mine)
    assert all(np.array_equal(a, b) for a, b in zip(grads, wanted, strict=True))
    with pytest.raises(ValueError, match=r"out\[1\].*out\[0\]|out\[1\].*grad_preds\[0\]"):
        loss.value_and_grad(levels[:2], y, out=(out[0], out[0]))
    for bad in (out[:2], out[0]):
        with pytest.raises(ValueError, match="out"):
            loss.value_and_grad(levels, y, out=bad)


def test_refused_outputs():
    x, y = (a.astype(np.float32) for a in draw("structure", SMALL))
    loss = segloss.StructureLoss()
    room = np.zeros(x.size + 1, np.float32)
    for out, error in (
        (y, ValueError),
        (np.empty(x.shape, np.float64), TypeError),
        (np.empty(x.shape[1:], np.float32), ValueError),
        (np.broadcast_to(np.float32(0), x.shape), ValueError),
        (x[..., ::-1], ValueError),
    ):
        with pytest.raises(error, match=r"\bout\b"):
            loss.value_and_grad(x, y, out=out)
    room[:-1] = x.ravel()
    with pytest.raises(ValueError, match=r"\bout\b"):
        loss.value_and_grad(room[:-1].reshape(x.shape), y, out=room[1:].reshape(x.shape))


@pytest.mark.parametrize("name", STRUCTURE)
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
        *(("kernel_size", v, ValueError) for v in (0, 2, 30, -1, 2**62)),
        *(("kernel_size", v, TypeError) for v in (3.0, "3", None)),
        *((o, v, ValueError) for o in ("gain", "smooth") for v in (NAN, INF, -1)),
        *((o, v, TypeError) for o in ("gain", "smooth") for v in ("x", None)),
        ("variant", "weighted", ValueError),
        ("variant", 1, TypeError),
        ("reduction", "sum", ValueError),
        ("count_include_pad", 2, TypeError),
        ("non_finite", "ignore", ValueError),
    ],
    ids=str,
)
def test_options_that_are_refused(option, value, error):
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(error, match=rf"^{option}: expected .*got"):
        segloss.StructureLoss(**{option: value})(x, x)


@pytest.mark.parametrize("how", ["rank 2", "rank 5", "mask", "mask rank", "channels", "levels", "types", "integers"])
def test_shapes_that_are_refused(how):
    a = np.zeros((2, 3, 8, 9), np.float32)
    loss = segloss.StructureLoss()
    pred, target, error, name = {
        "rank 2": (a[0, 0], a[0, 0], ValueError, "pred"),
        "rank 5": (a[None], a[None], ValueError, "pred"),
        "mask": (a, a[..., :8], ValueError, "mask"),
        "mask rank": (a, a[:, 0], ValueError, "mask"),
        "channels": (a, a[:, :1], ValueError, "mask"),
        "levels": ([a, a[:1]], a, ValueError, r"pred\[1\]"),
        "types": ([a, a.astype(np.float64)], a, TypeError, r"pred\[1\]"),
        "integers": ([a, a.astype(np.int32)], a, TypeError, r"pred\[1\]"),
    }[how]
    with pytest.raises(error, match=f"^{name}: expected .*got"):
        loss.value_and_grad(pred, target)


@pytest.mark.parametrize("count", [0, 17])
def test_lists_that_are_refused(count):
    a = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match=f"^pred: expected 1 to 16 predictions, got {count}"):
        segloss.StructureLoss()([a] * count, a)
    with pytest.raises(ValueError, match="^pred: .*'none'.* list"):
        segloss.StructureLoss(reduction="none")([a], a)


@pytest.mark.parametrize("thing", [None, 0.5, "pred", object()], ids=lambda v: type(v).__name__)
def test_no_arrays(thing):
    a = np.zeros((1, 1, 4, 4), np.float32)
    for arguments, name in (((thing, a), "pred"), ((a, thing), "mask"), (([a, thing], a), r"pred\[1\]")):
        with pytest.raises(TypeError, match=f"^{name}: expected"):
            segloss.StructureLoss()(*arguments)


def test_planes_of_no_memory():
    """A broadcast number stands for more than there is memory for: refused, no trap."""
    x = np.broadcast_to(np.float32(0), (1, 1, 1, 2**50))
    with pytest.raises(MemoryError):
        segloss.StructureLoss()(x, x)


def test_copies():
    x, y = (a.astype(np.float32) for a in draw("structure", SMALL))
    loss = segloss.StructureLoss(variant="uacanet", kernel_size=5, return_parts=True)
    for other in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(x, y) == loss(x, y)


# ---------------------------------------------------------------- the two phases


@pytest.mark.parametrize("name", STRUCTURE)
def test_two_phases(name):
    """Statistics, then value and gradients, with the bits of one call; as many entries as the header says."""
    levels = [draw(name, STRIPS, seed)[0].astype(np.float32) for seed in range(2)]
    y = draw(name, STRIPS)[1].astype(np.uint8)
    loss = make(name, return_parts=True)
    want, wanted = loss.value_and_grad(levels, y, grad_output=2.5)

    preds = (_abi.Tensor * 2)(*(view("pred", x).descriptor() for x in levels))
    target = view("mask", y).descriptor()
    grads = [np.empty_like(x) for x in levels]
    outs = (_abi.Tensor * 2)(*(view("out", g).descriptor() for g in grads))
    length = STRIPS[0] * STRIPS[1] * (1 + 2 * 4)
    error, parts = _abi.Error(), _abi.StructureParts()
    for short in (length - 1, length + 1, 0):
        array = (ctypes.c_double * max(short, 1))()
        status = _abi.lib.segloss_structure_statistics(
            preds, 2, ctypes.byref(target), ctypes.byref(loss._options), array, short, None, ctypes.byref(error)
        )
        assert status == 12 and str(length).encode() in error.message
    array = (ctypes.c_double * length)()
    options = ctypes.byref(loss._options)
    assert not _abi.lib.segloss_structure_statistics(
        preds, 2, ctypes.byref(target), options, array, length, None, ctypes.byref(error)
    )
    numbers = (ctypes.c_double * 6)()
    assert not _abi.lib.segloss_structure_finish(
        preds,
        2,
        ctypes.byref(target),
        options,
        array,
        length,
        2.5,
        ctypes.byref(parts),
        numbers,
        outs,
        None,
        ctypes.byref(error),
    )
    assert parts.loss == want["loss"] and list(numbers) == [v for level in want["levels"] for v in level.values()]
    assert all(np.array_equal(a, b) for a, b in zip(grads, wanted, strict=True))


def test_arguments_that_only_c_can_give():
    """A status and a sentence that names the argument, for each; the outputs stay as they were."""
    x = np.zeros((1, 1, 4, 4), np.float32)
    pred, target = view("pred", x).descriptor(), view("mask", x).descriptor()
    broken = view("mask", x).descriptor()
    broken.data = None
    small, odd = _abi.StructureOptions(kernel_size=31), _abi.StructureOptions(kernel_size=31, variant=3)
    small.struct_size = 4
    parts, numbers = _abi.StructureParts(loss=7.0), (ctypes.c_double * 3)(7, 7, 7)
    good = [ctypes.byref(pred), 1, ctypes.byref(target), None, 1.0, ctypes.byref(parts), numbers, None, None]
    for at, argument, status, name in (
        (0, None, 1, b"preds:"),
        (1, 0, 8, b"levels:"),
        (1, -1, 8, b"levels:"),
        (1, 17, 8, b"levels:"),
        (2, None, 1, b"mask:"),
        (2, ctypes.byref(broken), 1, b"mask:"),
        (3, ctypes.byref(small), 15, b"options:"),
        (3, ctypes.byref(odd), 8, b"variant:"),
        (5, ctypes.byref(_abi.StructureParts.from_buffer_copy(bytes(48))), 15, b"parts:"),
        (7, ctypes.byref(broken), 1, b"grad_preds[0]:"),
    ):
        error = _abi.Error()
        arguments = [*good[:at], argument, *good[at + 1 :], ctypes.byref(error)]
        assert _abi.lib.segloss_structure(*arguments) == status == error.status
        assert error.message.startswith(name), error.message
        assert parts.loss == 7 and list(numbers) == [7, 7, 7]
    assert _abi.lib.segloss_structure(*good, None) == 0 and parts.loss != 7


# ---------------------------------------------------------------- the reference itself


@pytest.mark.parametrize("variant", VARIANTS)
def test_reference(variant):
    rng = np.random.default_rng(6)
    shape = (2, 2, 5, 6)
    x, y = rng.standard_normal(shape), rng.random(shape)
    upstream = rng.random((2, 2))
    options = {"variant": variant, "kernel_size": 3, "gain": 2.0, "smooth": 0.7}
    grad = ref.structure(x, y, **options, upstream=upstream)[1]
    for at in np.ndindex(shape):
        if sum(at) % 3 == 0:
            ends = []
            for h in (1e-6, -1e-6):
                moved = x.copy()
                moved[at] += h
                ends.append((upstream * ref.structure(moved, y, **options)[2]).sum())
            # 1e-16/h from rounding and h^2 from curvature.
            assert abs((ends[0] - ends[1]) / 2e-6 - grad[at]) <= 1e-6 * np.abs(grad).max() + 1e-9
