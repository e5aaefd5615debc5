"""CTPNLoss: cross-entropy of the kept anchors, smooth L1 of their offsets, and of the sides where they are given."""

import copy
import ctypes
import math
import pickle

import numpy as np
import pytest
import reference_ctpn as ref
import segloss
from ctpn_cases import NUMBERS, PREDICTIONS, draw, heads, rows, run
from segloss import _abi
from segloss._command import golden
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

VARIANTS = ["published", "paper"]
FORMS = {"maps": dict, "rows": rows, "heads": heads}
SHAPES = [(1, 1, 1, 1), (1, 1, 2, 1), (1, 3, 5, 2), (1, 7, 11, 10), (1, 31, 33, 1), (1, 37, 53, 10), (1, 97, 89, 13)]
SMALL = (1, 7, 11, 10)
REST = [
    "rpn_labels",
    "rpn_bbox_targets",
    "rpn_bbox_inside_weights",
    "rpn_bbox_outside_weights",
    "side_targets",
    "side_mask",
]


def wanted(inputs, **options):
    """The reference's parts, and its gradients in the shape of the inputs (rows or maps)."""
    parts, grads = ref.ctpn_loss(*rows(inputs).values(), **options)
    return parts, tuple(g.reshape(inputs[name].shape) for g, name in zip(grads, PREDICTIONS))


def agree(got, want, kind):
    check_value(got[0], want[0], bounds(kind)[0])
    for g, w in zip(got[1], want[1], strict=True):
        check_gradient(g.reshape(-1), w.reshape(-1), bounds(kind)[1])


# ---------------------------------------------------------------- printed numbers


def test_golden():
    parts, (on_cls, on_box) = segloss.CTPNLoss().value_and_grad(*golden.ctpn_inputs())
    for name, printed in golden.CTPN.items():
        golden.check(parts[name], printed, name)
    for grad, printed in zip((on_cls, on_box), golden.CTPN_GRADIENTS, strict=True):
        golden.check_gradient(grad, printed)
    golden.check(float(on_box.ravel()[17]), golden.CTPN_BOX_17)
    assert set(parts) == {"loss", "model_loss", "rpn_cross_entropy", "rpn_loss_box", "rpn_loss_side"}


def test_golden_inside_weights_of_one():
    parts = segloss.CTPNLoss()(*golden.ctpn_inputs((1, 1, 1, 1)))
    golden.check(parts["rpn_loss_box"], ".432711697388")
    golden.check(parts["loss"], "1.09647849715")


def test_golden_without_text():
    cls, box, labels, targets, inside, outside = golden.ctpn_inputs()
    labels = np.where(labels == 1, 0, labels)
    parts, (_, on_box) = segloss.CTPNLoss().value_and_grad(cls, box, labels, targets, 0 * inside, 0 * outside)
    golden.check(parts["rpn_cross_entropy"], ".7106571")
    assert parts["rpn_loss_box"] == 0.0 and not on_box.any()


# ---------------------------------------------------------------- against the reference


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
def test_sizes(shape, variant, kind):
    for side in (True, False):
        inputs = draw(shape, dtype=PREDICTION_TYPES[kind], side=side)
        got = run(inputs, {"variant": variant})
        agree(got, wanted(inputs, variant=variant), kind)
        assert segloss.CTPNLoss(variant=variant, return_parts=True)(*inputs.values()) == got[0]
        assert all(
            g.dtype == PREDICTION_TYPES[kind] and g.shape == inputs[n].shape for g, n in zip(got[1], PREDICTIONS)
        )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "options", [{"sigma2": 1.0}, {"sigma2": 4.0, "lambda1": 0.5, "lambda2": -3.0}, {"sigma2": 1e4}], ids=str
)
def test_options(options, variant):
    inputs = draw(SMALL)
    agree(run(inputs, {"variant": variant, **options}), wanted(inputs, variant=variant, **options), "f64")


def test_defaults_of_the_variants():
    inputs = draw(SMALL)
    for variant, sigma2 in (("published", 9.0), ("paper", 1.0)):
        assert_same_bits(run(inputs, {"variant": variant}), run(inputs, {"variant": variant, "sigma2": sigma2}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_finite_differences(variant):
    """Steps of 1e-6 on numbers that lie well away from every kink: a central difference is off by some 1e-10."""
    rng = np.random.default_rng(5)
    inputs = draw((1, 2, 3, 2))
    for name in PREDICTIONS:
        inputs[name] = inputs[name] + 0.0037 * rng.random(inputs[name].shape)
    _, grads = run(inputs, {"variant": variant})
    for name, grad in zip(PREDICTIONS, grads, strict=True):
        for index in np.ndindex(inputs[name].shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = {**inputs, name: inputs[name].copy()}
                moved[name][index] += step
                values.append(run(moved, {"variant": variant})[0]["loss"])
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(grad[index], abs=1e-8)


def test_the_kink_belongs_to_the_line():
    """|d| = 1/9 in the same precision: value 1/18, slope 1. One step below it the parabola's, all but the same."""
    for dtype in (np.float64, np.float32):
        d = dtype(1) / dtype(9)
        box = np.array([[d, -d, np.nextafter(d, dtype(0)), 0]], dtype)
        ones = np.ones((1, 4), dtype)
        parts, (_, grad) = segloss.CTPNLoss().value_and_grad(
            np.zeros((1, 2), dtype), box, np.ones(1, int), 0 * box, ones, ones
        )
        assert parts["rpn_loss_box"] == pytest.approx(3 / 18 / 2, rel=1e-6 if dtype == np.float32 else 1e-15)
        assert grad[0].tolist() == [0.5, -0.5, pytest.approx(0.5, rel=1e-6), 0]


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), SMALL, (1, 37, 53, 10), (3, 5, 4, 2)], ids=id_of)
def test_rows_are_maps(shape, variant, kind):
    inputs = draw(shape, dtype=PREDICTION_TYPES[kind])
    value, grads = run(inputs, {"variant": variant})
    flat = run(rows(inputs), {"variant": variant})
    assert_same_bits(
        flat, (value, [g.reshape(-1, NUMBERS[n]) if n in NUMBERS else g.ravel() for g, n in zip(grads, PREDICTIONS)])
    )
    # Predictions and targets need not have come the same way.
    mixed = {**rows(inputs), **{k: inputs[k] for k in REST}}
    assert_same_bits(run(mixed, {"variant": variant}), flat)
    mixed = {**inputs, **{k: rows(inputs)[k] for k in REST}}
    assert_same_bits(run(mixed, {"variant": variant}), (value, grads))


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("variant", VARIANTS)
# Extents that coincide: an axis taken for another would still fit.
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), SMALL, (1, 37, 53, 10), (2, 4, 4, 4), (1, 8, 8, 2), (1, 4, 4, 2), (3, 3, 3, 3)], ids=id_of
)
def test_heads(shape, variant, kind):
    """The (anchor, number) channels of a convolution are maps, channels first, and a box without dx and dw."""
    inputs = draw(shape, dtype=PREDICTION_TYPES[kind])
    vertical = np.tile([0, 1, 0, 1], shape[3])
    inputs["rpn_bbox_inside_weights"] = (inputs["rpn_bbox_inside_weights"] * vertical).astype(PREDICTION_TYPES[kind])
    value, (on_cls, on_box, on_side) = run(inputs, {"variant": variant})
    n, h, w, a = shape
    on_box = on_box.reshape(n, h, w, a, 4)[..., 1::2].reshape(n, h, w, 2 * a)
    first = [np.moveaxis(g, -1, 1) for g in (on_cls, on_box, on_side)]
    assert_same_bits(run(heads(inputs), {"variant": variant}), (value, first))


def test_channels_of_heads():
    """By hand: anchor 1 of two is text, its dy is off by 1, its dh by nothing."""
    cls = np.zeros((1, 4, 1, 1))
    cls[0, 3] = 2  # text of anchor 1
    box = np.array([7, 7, 1, 0.0]).reshape(1, 4, 1, 1)
    labels = np.array([-1, 1]).reshape(1, 1, 1, 2)
    targets, weights = np.zeros((1, 1, 1, 8)), np.ones((1, 1, 1, 8))
    parts, (on_cls, on_box) = segloss.CTPNLoss(variant="paper").value_and_grad(
        cls, box, labels, targets, weights, weights
    )
    assert parts["rpn_cross_entropy"] == pytest.approx(math.log1p(math.exp(-2)), rel=1e-14)
    assert parts["rpn_loss_box"] == 0.5
    p = 1 / (1 + math.exp(2))
    assert on_cls.ravel() == pytest.approx([0, 0, p, -p], rel=1e-14)
    assert on_box.ravel().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_views(form, layout):
    for shape in ((1, 7, 11, 10), (1, 3, 97, 31)):
        inputs = form(draw(shape, dtype=np.float32))
        want = run(inputs)
        # A row of a single number per anchor has no second axis to lay out otherwise.
        laid = {k: layout(v) if v.ndim > 1 else v[::1] for k, v in inputs.items()}
        assert_same_bits(run(laid), want)
        before = {k: v.tobytes() for k, v in laid.items()}
        run(laid)
        assert {k: v.tobytes() for k, v in laid.items()} == before


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_in_place(form, kind):
    for shape in ((1, 1, 1, 1), SMALL, (1, 31, 33, 1), (1, 97, 89, 13)):
        inputs = form(draw(shape, dtype=PREDICTION_TYPES[kind]))
        want = run(inputs)
        out = tuple(inputs[name] for name in PREDICTIONS)
        got = run(inputs, out=out)
        assert all(g is o for g, o in zip(got[1], out, strict=True))
        assert_same_bits(got, want)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_out_in_a_view(form):
    """Written where it belongs, and nowhere else."""
    inputs = form(draw(SMALL, dtype=np.float32))
    value, grads = run(inputs)
    rooms = [np.full((*g.shape[:-1], 2 * g.shape[-1]), 7, np.float32) for g in grads]
    out = tuple(room[..., ::2] for room in rooms)
    assert_same_bits((run(inputs, out=out)[0], out), (value, grads))
    assert all((room[..., 1::2] == 7).all() for room in rooms)


def test_several_images_are_one():
    """Maps of N images: the kept anchors of all are one mean, as those of their rows."""
    inputs = draw((3, 5, 7, 2))
    assert run(inputs)[0] == run(rows(inputs))[0]


# ---------------------------------------------------------------- element types


@pytest.mark.parametrize("target", TARGET_TYPES)
def test_types_of_targets(target):
    """The same bits from labels, targets and weights in any type that holds them."""
    inputs = draw(SMALL, dtype=np.float32, kept=1.0)
    inputs.update({k: np.clip(np.rint(inputs[k]), 0, 1) for k in REST})
    same = run({k: v.astype(np.float32) for k, v in inputs.items()})
    other = {k: v.astype(TARGET_TYPES[target]) if k in REST else v for k, v in inputs.items()}
    assert_same_bits(run(other), same)


@pytest.mark.parametrize("label", ["i32", "i64", "f32", "f64", "f16", "bf16"])
def test_ignored_in_any_type_that_has_a_sign(label):
    inputs = draw(SMALL, dtype=np.float32)
    assert_same_bits(run({**inputs, "rpn_labels": inputs["rpn_labels"].astype(TARGET_TYPES[label])}), run(inputs))


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_half_predictions(variant, kind):
    """The float32 result, its gradient rounded once."""
    inputs = draw(SMALL)
    value, grads = run({k: v.astype(np.float32) for k, v in inputs.items()}, {"variant": variant})
    half = {k: v.astype(PREDICTION_TYPES[kind] if k in PREDICTIONS else np.float32) for k, v in inputs.items()}
    assert_same_bits(run(half, {"variant": variant}), (value, [g.astype(PREDICTION_TYPES[kind]) for g in grads]))


# ---------------------------------------------------------------- what is kept


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_kept(variant):
    """Upstream's mean of nothing is NaN; here it is 0 and a count says so."""
    inputs = draw(SMALL)
    inputs["rpn_labels"][...] = -1
    parts, grads = run(inputs, {"variant": variant})
    assert set(parts.values()) == {0.0} and not any(g.any() for g in grads)


def repr_of(value):
    """Without addresses: names are compared between processes."""
    return getattr(value, "__name__", None) or str(value)


@pytest.mark.parametrize(
    "form, shape",
    [(rows, (1, 0, 3, 2)), (dict, (1, 0, 3, 2)), (dict, (0, 2, 3, 2)), (heads, (1, 2, 0, 2))],
    ids=repr_of,
)
def test_no_anchors(form, shape):
    inputs = form(draw(shape))
    parts, grads = run(inputs)
    assert set(parts.values()) == {0.0}
    assert [g.shape for g in grads] == [inputs[n].shape for n in PREDICTIONS]


@pytest.mark.parametrize("variant", VARIANTS)
def test_divisors(variant):
    """One text anchor, its dy and its end off by 10: out there the parts say what they are divided by."""
    for sides in (1, 2):
        cls, labels = np.zeros((3, 2)), np.array([1, 0, -1])
        box, zero = np.zeros((3, 4)), np.zeros((3, 4))
        box[0, 1] = 10
        ones = np.ones((3, 4))
        mask = np.array([1, sides - 1, 1])
        parts = segloss.CTPNLoss(variant=variant, return_parts=True)(
            cls, box, labels, zero, ones, ones, np.array([10.0, 10, 10]), np.zeros(3), mask
        )
        beta = {"published": 1 / 9, "paper": 1.0}[variant]
        assert parts["rpn_cross_entropy"] == pytest.approx(math.log(2), rel=1e-15)
        assert parts["rpn_loss_box"] == pytest.approx(
            (10 - beta / 2) / {"published": 2, "paper": 1}[variant], rel=1e-15
        )
        assert parts["rpn_loss_side"] == pytest.approx(2 * (10 - beta / 2), rel=1e-15)
        assert (parts["kept"], parts["positives"], parts["sides"]) == (2.0, 1.0, float(sides))
        assert parts["model_loss"] == parts["rpn_cross_entropy"] + parts["rpn_loss_box"]
        assert parts["loss"] == parts["model_loss"] + parts["rpn_loss_side"]


def test_ignored_anchors_are_not_there():
    """Whatever stands in them, and they get no gradient; not even under the policy that lets everything through."""
    inputs = draw(SMALL)
    want = run(inputs)
    ignored = inputs["rpn_labels"] == -1
    assert ignored.any()
    for value in (np.nan, np.inf, -np.inf, 1e300):
        for name in ["cls", "box", "side", *REST[1:]]:
            filled = dict(inputs)
            filled[name] = np.where(np.repeat(ignored, NUMBERS.get(name, 1), axis=-1), value, inputs[name])
            assert_same_bits(run(filled), want)
    for name, grad in zip(PREDICTIONS, want[1]):
        assert not grad[np.repeat(ignored, NUMBERS.get(name, 1), axis=-1)].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_targets_of_the_background(value):
    """Upstream's 0 * NaN, from a box of no height: reproduced by default, harmless where weights of 0 are not read."""
    inputs = draw(SMALL)
    background = np.repeat(inputs["rpn_labels"] == 0, 4, axis=-1)
    inputs["rpn_bbox_outside_weights"] = np.where(background, 0, inputs["rpn_bbox_outside_weights"])
    clean = run(inputs, {"non_finite": "skip_masked"})
    agree(clean, run(inputs), "f64")
    inputs["rpn_bbox_targets"] = np.where(background, value, inputs["rpn_bbox_targets"])
    parts, (on_cls, on_box, _) = run(inputs)
    assert math.isnan(parts["rpn_loss_box"]) and math.isfinite(parts["rpn_cross_entropy"])
    assert np.isfinite(on_cls).all() and np.isnan(on_box[background]).all() and np.isfinite(on_box[~background]).all()
    assert_same_bits(run(inputs, {"non_finite": "skip_masked"}), clean)
    assert_same_bits(run(inputs, {"variant": "paper"}), run(inputs, {"variant": "paper", "non_finite": "skip_masked"}))
    assert math.isfinite(run(inputs, {"variant": "paper"})[0]["loss"])
    with pytest.raises(ValueError, match=r"rpn_bbox_targets: (nan|-?inf) at index \(0, \d+, \d+, \d+\)"):
        run(inputs, {"non_finite": "refuse"})


def test_the_side_of_weight_zero():
    inputs = draw(SMALL)
    clean = run(inputs, {"non_finite": "skip_masked"})
    inputs["side_targets"] = np.where(inputs["side_mask"] == 0, np.nan, inputs["side_targets"])
    assert math.isnan(run(inputs)[0]["rpn_loss_side"])
    assert_same_bits(run(inputs, {"non_finite": "skip_masked"}), clean)


@pytest.mark.parametrize(
    "name, index",
    [
        ("cls", (0, 6, 10, 19)),
        ("box", (0, 3, 4, 21)),
        ("rpn_bbox_inside_weights", (0, 0, 1, 3)),
        ("side_mask", (0, 2, 3, 4)),
    ],
)
def test_refused_values_are_named_with_their_place(name, index):
    inputs = draw(SMALL)
    inputs[name][index] = np.nan
    with pytest.raises(ValueError, match=rf"{name}: nan at index \({', '.join(map(str, index))}\)"):
        run(inputs, {"non_finite": "refuse"})
    flat = rows(inputs)
    row = np.ravel_multi_index((*index[:3], index[3] // NUMBERS.get(name, 1)), SMALL)
    place = rf"\({row}, {index[3] % NUMBERS[name]}\)" if name in NUMBERS else rf"\({row},\)"
    with pytest.raises(ValueError, match=rf"{name}: nan at index {place}"):
        run(flat, {"non_finite": "refuse"})


def test_refused_values_of_heads_have_the_heads_places():
    inputs = heads(draw(SMALL))
    inputs["cls"][0, 13, 2, 5] = np.inf
    with pytest.raises(ValueError, match=r"cls: inf at index \(0, 13, 2, 5\)"):
        run(inputs, {"non_finite": "refuse"})


def test_saturated_logits_keep_their_digits():
    """p - 1 would be 0 in float32 at half of these; the sigmoid of the difference is not."""
    for dtype, rel in ((np.float32, 1e-6), (np.float64, 1e-14)):
        cls = np.array([[-40, 40], [9, -9], [-20.5, 19.5], [0, 100]], dtype)
        labels = np.array([1, 0, 1, 0])
        zero = np.zeros((4, 4), dtype)
        parts, (grad, _) = segloss.CTPNLoss().value_and_grad(cls, zero, labels, zero, zero, zero)
        slopes = [1 / (1 + math.exp(d)) for d in (80, 18, 40)] + [1]
        assert grad[0] == pytest.approx([slopes[0] / 4, -slopes[0] / 4], rel=rel)
        assert grad[1] == pytest.approx([-slopes[1] / 4, slopes[1] / 4], rel=rel)
        assert grad[2] == pytest.approx([slopes[2] / 4, -slopes[2] / 4], rel=rel)
        assert grad[3] == pytest.approx([-0.25, 0.25], rel=rel)
        assert parts["rpn_cross_entropy"] == pytest.approx(
            (sum(math.log1p(math.exp(-d)) for d in (80, 18, 40)) + 100) / 4, rel=rel
        )


def test_sure_and_right_costs_next_to_nothing():
    cls = np.array([[-30, 30.0]] * 5, np.float32)
    zero = np.zeros((5, 4), np.float32)
    assert segloss.CTPNLoss()(cls, zero, np.ones(5, int), zero, zero, zero)["loss"] == pytest.approx(
        math.exp(-60), rel=1e-6
    )


# ---------------------------------------------------------------- upstream factor, statistics, threads


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_upstream_factor(kind):
    inputs = draw(SMALL, dtype=PREDICTION_TYPES[kind])
    value, grads = run(inputs)
    for factor in (2.0, -0.5, 0.0):
        again, scaled = run(inputs, grad_output=factor)
        assert again == value and all(np.array_equal(s, g * g.dtype.type(factor)) for s, g in zip(scaled, grads))


def two_phases(batches, whole, options):
    """Statistics of each batch added up, then finished on the whole."""
    loss = segloss.CTPNLoss(return_parts=True, **options)
    sums = np.zeros(6)

    def call(function, inputs, *middle):
        tensors = [ctypes.byref(v.descriptor()) for v in loss._views(loss._ordered(*inputs.values()))]
        error = _abi.Error()
        status = function(
            *tensors, ctypes.byref(loss._options), *middle, ctypes.byref(loss._execution), ctypes.byref(error)
        )
        assert status == 0, error.message

    for batch in batches:
        one = (ctypes.c_double * 6)()
        call(_abi.lib.segloss_ctpn_statistics, batch, one, 6)
        sums += one
    views = loss._views(loss._ordered(*whole.values()))
    grads, targets = loss._outputs(views, None)
    parts = _abi.CTPNParts()
    array = (ctypes.c_double * 6)(*sums)
    call(
        _abi.lib.segloss_ctpn_finish,
        whole,
        array,
        6,
        1.0,
        ctypes.byref(parts),
        *(ctypes.byref(t.descriptor()) for t in targets),
    )
    return loss._numbers(parts), grads


@pytest.mark.parametrize("variant", VARIANTS)
def test_statistics_add_over_images(variant):
    images = [draw((1, 5 + i, 7, 3), seed=i) for i in range(3)]
    whole = {k: np.concatenate([rows(image)[k] for image in images]) for k in images[0]}
    got = two_phases(map(rows, images), whole, {"variant": variant})
    want = run(whole, {"variant": variant})
    agree(got, want, "f64")
    assert [got[0][k] for k in ("kept", "positives", "sides")] == [want[0][k] for k in ("kept", "positives", "sides")]
    assert_same_bits(two_phases([whole], whole, {"variant": variant}), want)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_threads(form, kind, threads):
    """Five chunks with an odd end."""
    inputs = form(draw((1, 173, 191, 10), dtype=PREDICTION_TYPES[kind]))
    threads(1)
    want = run(inputs)
    for n in (2, 3):
        threads(n)
        assert_same_bits(run(inputs), want)


# ---------------------------------------------------------------- refused


def refuses(error, text, inputs, options=None, **keywords):
    with pytest.raises(error, match=text):
        run(inputs, options, **keywords)


@pytest.mark.parametrize(
    "value, kind",
    [(2, "i32"), (-2, "i64"), (255, "u8"), (0.5, "f32"), (np.nan, "f64"), (3, "f32"), (2**62, "i64")],
    ids=str,
)
def test_labels(value, kind):
    inputs = draw(SMALL, kept=1.0)
    inputs["rpn_labels"] = inputs["rpn_labels"].astype(TARGET_TYPES[kind])
    inputs["rpn_labels"][0, 3, 10, 7] = value
    refuses(ValueError, rf"rpn_labels: {value}(\.0)? at index \(0, 3, 10, 7\).*-1", inputs)


@pytest.mark.parametrize("name", [*PREDICTIONS, *REST])
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_shapes(form, name):
    inputs = form(draw(SMALL))
    a = inputs[name]
    for wrong in (
        (a[:, 1:], a[..., 1:], a[None], a.ravel()[1:], a[1:]) if a.ndim > 1 else (a[1:], a[None], a[:, None, None])
    ):
        if wrong.shape == a.shape:
            continue
        first = "box|cls|side|rpn" if name == "cls" else name
        refuses(ValueError, rf"({first})\w*: ", {**inputs, name: wrong})


def test_a_shape_that_is_no_layout():
    for shape in ((3,), (), (2, 3, 4), (3, 3), (1, 3, 3, 5), (1, 1, 1, 1, 2)):
        inputs = {**draw(SMALL), "cls": np.zeros(shape)}
        refuses(ValueError, r"cls: expected rows \(n, 2\), maps .* or heads .* got shape \(", inputs)


def test_types_of_predictions():
    for name in PREDICTIONS:
        inputs = draw(SMALL, dtype=np.float32)
        inputs[name] = inputs[name].astype(np.int32)
        refuses(TypeError, name, inputs)
    for name in ("box", "side"):
        inputs = draw(SMALL, dtype=np.float32)
        inputs[name] = inputs[name].astype(np.float64)
        refuses(TypeError, rf"{name}: expected element type float32 like cls", inputs)


def test_sides_come_together():
    inputs = draw(SMALL)
    for name in ("side", "side_targets", "side_mask"):
        refuses(ValueError, rf"{name}: expected side, side_targets and side_mask", {**inputs, name: None})


@pytest.mark.parametrize(
    "options, error",
    [
        ({"sigma2": 0.0}, ValueError),
        ({"sigma2": -1}, ValueError),
        ({"sigma2": math.nan}, ValueError),
        ({"sigma2": "9"}, TypeError),
        ({"lambda1": math.inf}, ValueError),
        ({"lambda2": math.nan}, ValueError),
        ({"lambda2": None}, TypeError),
        ({"variant": "banjin"}, ValueError),
        ({"variant": 1}, TypeError),
        ({"non_finite": "skip"}, ValueError),
        ({"return_parts": 3}, TypeError),
    ],
    ids=str,
)
def test_refused_options(options, error):
    with pytest.raises(error, match=next(iter(options))):
        segloss.CTPNLoss(**options)


def test_options_are_named():
    with pytest.raises(TypeError):
        segloss.CTPNLoss(9.0)
    with pytest.raises(TypeError):
        segloss.CTPNLoss(no_such_option=1)


def test_refused_outputs():
    inputs = draw(SMALL, dtype=np.float32)
    cls, box, side = (inputs[name] for name in PREDICTIONS)
    fresh = [np.full_like(a, 7) for a in (cls, box, side)]
    refuses(ValueError, r"\bout\b", inputs, out=fresh[:2])
    refuses(ValueError, r"\bout\b", inputs, out=fresh[0])
    refuses(ValueError, r"out\[1\]", inputs, out=(fresh[0], inputs["rpn_bbox_targets"], fresh[2]))
    refuses(ValueError, r"out\[2\]", inputs, out=(fresh[0], fresh[1], inputs["side_mask"]))
    refuses(ValueError, r"out\[0\]", inputs, out=(cls[:, ::-1], fresh[1], fresh[2]))
    refuses(ValueError, r"out\[1\]", inputs, out=(fresh[0], box[..., ::-1], fresh[2]))
    refuses(TypeError, r"out\[0\]", inputs, out=(fresh[0].astype(np.float64), fresh[1], fresh[2]))
    refuses(
        ValueError,
        r"out\[1\]",
        inputs,
        out=(fresh[0], np.broadcast_to(fresh[1][:, :1], box.shape).copy()[:, :-1], fresh[2]),
    )
    shared = np.zeros(box.shape, np.float32)
    refuses(ValueError, r"out\[", inputs, out=(shared[..., : cls.shape[-1]], shared, fresh[2]))
    assert all((f == 7).all() for f in fresh)


def test_copies_and_pickles():
    inputs = draw(SMALL)
    loss = segloss.CTPNLoss(variant="paper", lambda2=3.0)
    for other in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(*inputs.values()) == loss(*inputs.values())
