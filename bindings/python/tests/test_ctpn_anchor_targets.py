"""ctpn_anchor_targets: labels, offsets and weights of CTPN's anchors, and numpy's draws number for number."""

import math

import numpy as np
import pytest
import reference_ctpn as ref
import segloss
from ctpn_cases import page
from support import LAYOUTS, TARGET_TYPES

VARIANTS = ["published", "paper"]
FIELDS = (
    "rpn_labels",
    "rpn_bbox_targets",
    "rpn_bbox_inside_weights",
    "rpn_bbox_outside_weights",
    "rpn_side_targets",
    "rpn_side_mask",
)


def check(got, want):
    """Bit by bit: float64 arithmetic in the same order, rounded once. Only a logarithm may land on the other side of a
    rounding to float32, one in 2^28 of them; none of these does."""
    assert got._fields == FIELDS
    for name, g, w in zip(FIELDS, got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape and g.flags.c_contiguous, name
        assert np.array_equal(g, w, equal_nan=True), (
            f"{name}: {np.argwhere((g != w) & ~(np.isnan(g) & np.isnan(w)))[:5]}"
        )


def both(boxes, image, feature, seed=None, **options):
    """Ours, held against the reference with numpy's own generator."""
    got = segloss.ctpn_anchor_targets(boxes, image, feature, seed=seed, **options)
    generator = None if seed is None else np.random.RandomState(seed)
    check(got, ref.anchor_targets(boxes, image, feature, seed=generator, **options))
    return got


def counts(targets):
    return [int((targets.rpn_labels == label).sum()) for label in (1, 0, -1)]


# ---------------------------------------------------------------- anchors


def test_base_anchors():
    """The specification's ten, read off the offsets to one box in the middle of a large page."""
    row = column = 20
    targets = both([[300, 300, 363, 363]], (1000, 1000), (62, 62))
    dx, dy, dw, dh = targets.rpn_bbox_targets[0, row, column].reshape(10, 4).astype(np.float64).T
    w, h = 64 / np.exp(dw), 64 / np.exp(dh)
    x1 = 332 - dx * w - w / 2 - 16 * column
    y1 = 332 - dy * h - h / 2 - 16 * row
    corners = np.stack([x1, y1, x1 + w - 1, y1 + h - 1], axis=1)
    printed = [
        (0, 2, 15, 13), (0, 0, 15, 15), (0, -4, 15, 19), (0, -9, 15, 24), (0, -16, 15, 31), (0, -26, 15, 41),
        (0, -41, 15, 56),
        (0, -62, 15, 77), (0, -91, 15, 106), (0, -134, 15, 149),
    ]  # fmt: skip
    # Offsets are float32: of some 300 pixels that leaves 1e-4.
    assert np.abs(corners - printed).max() < 1e-3
    assert np.array_equal(ref.base_anchors(), printed)


def test_an_anchor_that_is_a_box():
    """Offsets 0 and label 1 there, and nowhere else where 24 of 34 rows are not enough."""
    targets = both([[160, 151, 175, 184]], (400, 400), (25, 25), variant="paper", positive_overlap=0.8)
    assert counts(targets)[0] == 1 and targets.rpn_labels[0, 10, 10, 3] == 1
    assert not targets.rpn_bbox_targets[0, 10, 10, 12:16].any()
    assert targets.rpn_bbox_inside_weights[0, 10, 10, 12:16].tolist() == [0, 1, 0, 1]
    assert targets.rpn_bbox_outside_weights[0, 10, 10, 12:16].tolist() == [1, 1, 1, 1]
    assert not targets.rpn_bbox_outside_weights[targets.rpn_labels.repeat(4, axis=-1) != 1].any()


@pytest.mark.parametrize(
    "image",
    [(64, 64), (63, 64), (64, 63), (64.5, 63.25), (16, 16), (15, 16), (0, 0), (-5, 100), (1e300, 1e300)],
    ids=str,
)
def test_inside(image):
    """x2 < width: an anchor that ends on the last pixel is inside, one past it is not."""
    targets = both([[3, 3, 30, 30]], image, (4, 4), batch_size=10**6)
    x1, y1, x2, y2 = ref.all_anchors(4, 4).T
    inside = (x1 >= 0) & (y1 >= 0) & (x2 < image[1]) & (y2 < image[0])
    assert np.array_equal(targets.rpn_bbox_targets.reshape(-1, 4).any(axis=1), inside)


# ---------------------------------------------------------------- pages against the reference


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("clobber", [False, True])
@pytest.mark.parametrize("seed", [None, 0, 3, 12345, 2**32 - 1])
def test_pages(seed, clobber, variant):
    for i, boxes in enumerate((1, 7, 40)):
        both(*page(i, boxes), seed=seed, variant=variant, clobber_positives=clobber)


@pytest.mark.parametrize("variant", VARIANTS)
def test_fractional_boxes(variant):
    boxes, image, feature = page(4, 30)
    both(boxes + np.random.default_rng(0).random(boxes.shape), image, feature, seed=1, variant=variant)


@pytest.mark.parametrize("options", [
    {"stride": 8, "heights": (5, 8.5, 13), "width": 8}, {"stride": 16, "heights": (16,), "width": 31.5},
    {"stride": 7, "heights": (1, 2, 400)},
    {"negative_overlap": 0.5, "positive_overlap": 0.5},
    {"negative_overlap": 0.7, "positive_overlap": 0.3, "clobber_positives": True},
    {"negative_overlap": -1.0}, {"positive_overlap": 2.0}, {"batch_size": 0}, {"batch_size": 1},
    {"batch_size": 7, "fg_fraction": 0.3},
    {"fg_fraction": 0.0}, {"fg_fraction": 1.0, "batch_size": 3}, {"batch_size": 2**31 - 1},
    {"inside_weights": (1, 2, 3, 4.5)},
    {"positive_weight": 0.25}, {"positive_weight": 0.25, "batch_size": 2}, {"side_distance": 0.0},
    {"side_distance": 8}, {"side_distance": 1e9},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("variant", VARIANTS)
def test_options(variant, options):
    boxes, image, feature = page(2, 25, 300, 400)
    both(boxes, image, feature, seed=5, variant=variant, **options)
    both(boxes, image, feature, variant=variant, **options)


def test_thresholds_are_inclusive_above_and_strict_below():
    """An anchor 32 rows high, and a box that is the anchor of 16 rows in its middle: they overlap by exactly 1/2."""
    box = [[160, 160, 175, 175]]
    for negative, positive, label in ((0.5, 0.5, 1), (0.5, 0.6, -1), (np.nextafter(0.5, 1), 0.6, 0)):
        targets = both(
            box,
            (400, 400),
            (25, 25),
            negative_overlap=negative,
            positive_overlap=positive,
            heights=(16, 32),
            batch_size=10**6,
        )
        assert targets.rpn_labels[0, 10, 10].tolist() == [1, label]


# ---------------------------------------------------------------- what the variants differ in


def test_a_box_off_the_page_makes_everything_text():
    """The published code's trap, with the specification's numbers: of 130 anchors inside 1 is text, 120 background and 9
    ignored; with a box off the page 130 are text."""
    image, feature, outside = (96, 80), (6, 5), 170
    near, far = [16, 2, 31, 50], [500, 500, 520, 520]
    everything = {"batch_size": 10**6, "fg_fraction": 1.0}
    assert counts(both([near], image, feature, **everything)) == [1, 120, 9 + outside]
    assert counts(both([near, far], image, feature, **everything)) == [130, 0, outside]
    assert counts(both([near, far], image, feature, variant="paper", **everything)) == [1, 120, 9 + outside]


def test_the_trap_fills_the_batch_with_false_text():
    boxes, image, feature = page(1, 3)
    boxes[-1] = [5000, 10, 5015, 40]
    assert counts(both(boxes, image, feature, seed=0))[:2] == [150, 0]
    assert counts(both(boxes, image, feature, seed=0, variant="paper"))[1] > 200


def test_ties_are_all_flagged():
    """A wide box holds many anchors equally well; each of them is text though none overlaps it by much."""
    for variant in VARIANTS:
        targets = both([[32, 96, 271, 111]], (300, 304), (18, 19), variant=variant)
        assert (targets.rpn_labels[0, 6, 2:17, 1] == 1).all() and counts(targets)[0] == 15


def test_clobbered():
    wide = [[32, 96, 271, 111]]  # overlaps of 1/15
    for variant in VARIANTS:
        assert counts(both(wide, (300, 304), (18, 19), variant=variant, clobber_positives=True))[0] == 0


def test_outside_weights():
    boxes, image, feature = page(3, 20)
    for variant, batch in (("published", 300), ("paper", 300), ("published", 20)):
        targets = both(boxes, image, feature, variant=variant, positive_weight=0.25, batch_size=batch)
        f, b, _ = counts(targets)
        of = [
            float(targets.rpn_bbox_outside_weights.reshape(-1, 4)[targets.rpn_labels.ravel() == label].mean())
            for label in (1, 0)
        ]
        assert f > 0 and b > 0
        want = (0.25 / f + 1, 0.75 / b + 1) if variant == "published" else (0.25 / (f + 1), 0.75 / (b + 1))
        assert of == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    "box", [[40, 40, 30, 60], [40, 40, 60, 30], [40, 40, 39, 60], [40, 40, 60, 39], [40, 72, 60, 39]], ids=str
)
def test_boxes_turned_round(box):
    """Published: a logarithm of what is not above 0, in every anchor whose box it is. Paper: refused."""
    targets = both([box, [100, 100, 115, 130]], (200, 200), (12, 12))
    assert not np.isfinite(targets.rpn_bbox_targets).all()
    with pytest.raises(ValueError, match=r"gt_boxes: box 1 is \(.*\): expected x1 <= x2 and y1 <= y2"):
        segloss.ctpn_anchor_targets([[100, 100, 115, 130], box], (200, 200), (12, 12), variant="paper")
    with pytest.raises(ValueError, match="line_boxes: box 0"):
        segloss.ctpn_anchor_targets([[100, 100, 115, 130]], (200, 200), (12, 12), variant="paper", line_boxes=[box])


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("seed", [0, 1, 3, 42, 2**31, 2**32 - 1])
def test_numpys_generator(seed):
    """From one stream, first of the text and then of the background: 200 text anchors and thousands of others."""
    boxes, image, feature = page(9, 200)
    everything = segloss.ctpn_anchor_targets(boxes, image, feature, batch_size=10**6, fg_fraction=1.0, variant="paper")
    assert counts(everything)[0] > 150 and counts(everything)[1] > 5000
    labels = everything.rpn_labels.ravel().copy()
    np.random.seed(seed)
    text = np.flatnonzero(labels == 1)
    labels[np.random.choice(text, size=len(text) - 150, replace=False)] = -1
    background = np.flatnonzero(labels == 0)
    labels[np.random.choice(background, size=len(background) - 150, replace=False)] = -1
    got = segloss.ctpn_anchor_targets(boxes, image, feature, seed=seed, variant="paper")
    assert np.array_equal(got.rpn_labels.ravel(), labels) and counts(got)[:2] == [150, 150]


def test_a_generator_goes_on_from_image_to_image():
    """RandomState, numpy's global generator and a stored state: each is left where numpy's own draws would leave it."""
    pages = [page(seed, 200) for seed in (9, 10, 11)]
    ours, theirs = np.random.RandomState(7), np.random.RandomState(7)
    ours.randn(), theirs.randn()  # leaves half a pair of normal numbers behind
    for boxes, image, feature in pages:
        check(
            segloss.ctpn_anchor_targets(boxes, image, feature, seed=ours),
            ref.anchor_targets(boxes, image, feature, seed=theirs),
        )
    assert ours.randn() == theirs.randn() and ours.randint(2**31) == theirs.randint(2**31)
    np.random.seed(7)
    theirs = np.random.RandomState(7)
    for boxes, image, feature in pages:
        check(
            segloss.ctpn_anchor_targets(boxes, image, feature, seed=np.random),
            ref.anchor_targets(boxes, image, feature, seed=theirs),
        )
    assert np.random.randint(2**31) == theirs.randint(2**31)


def test_without_a_generator_the_first_are_kept():
    boxes, image, feature = page(9, 200)
    everything = segloss.ctpn_anchor_targets(boxes, image, feature, batch_size=10**6, fg_fraction=1.0)
    got = both(boxes, image, feature)
    for label in (1, 0):
        found = np.flatnonzero(everything.rpn_labels.ravel() == label)
        assert np.array_equal(np.flatnonzero(got.rpn_labels.ravel() == label), found[:150])


def test_a_refused_call_leaves_the_generator_alone():
    generator = np.random.RandomState(3)
    before = generator.get_state()
    with pytest.raises(ValueError):
        segloss.ctpn_anchor_targets([[math.nan] * 4], (100, 100), (6, 6), seed=generator)
    assert all(np.array_equal(a, b) for a, b in zip(before, generator.get_state()))


# ---------------------------------------------------------------- sides


def test_sides():
    """A line of 10 pieces: text anchors within 32 px of its ends, those of the two first and two last pieces."""
    line = [160, 100, 319, 133]
    pieces = [[160 + 16 * i, 100, 175 + 16 * i, 133] for i in range(10)]
    targets = both(pieces, (400, 480), (25, 30), line_boxes=[line], variant="paper")
    text, side = targets.rpn_labels == 1, targets.rpn_side_mask == 1
    assert set(np.argwhere(side)[:, 2]) == {10, 11, 18, 19} and (text | ~side).all()
    column = np.argwhere(side)[:, 2]
    centre = 16 * column + 8
    end = np.where(column < 15, 160, 319)
    assert np.array_equal(targets.rpn_side_targets[side], ((end - centre) / 16).astype(np.float32))
    assert not targets.rpn_side_targets[~side].any()
    # Without the line every piece is one.
    assert np.array_equal(both(pieces, (400, 480), (25, 30), variant="paper").rpn_side_mask == 1, text)


def test_a_line_that_is_not_there():
    pieces = [[160, 100, 175, 133]]
    for lines in ([[0, 300, 100, 320]], []):
        targets = both(pieces, (400, 480), (25, 30), line_boxes=np.reshape(lines, (-1, 4)))
        assert counts(targets)[0] >= 1 and not targets.rpn_side_mask.any()


# ---------------------------------------------------------------- nothing there


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "boxes", [[], np.zeros((0, 4)), np.zeros((0, 5), np.float32), np.zeros(0)], ids=lambda b: str(np.shape(b))
)
def test_no_boxes(boxes, variant):
    """Every anchor inside is background, and a batch of them is kept."""
    targets = segloss.ctpn_anchor_targets(boxes, (300, 400), (18, 25), seed=3, variant=variant)
    check(
        targets,
        ref.anchor_targets(np.zeros((0, 4)), (300, 400), (18, 25), seed=np.random.RandomState(3), variant=variant),
    )
    assert counts(targets)[:2] == [0, 300] and not any(a.any() for a in targets[1:])


@pytest.mark.parametrize("feature", [(0, 5), (5, 0), (0, 0), (0, 2**40)], ids=str)
def test_no_places(feature):
    targets = segloss.ctpn_anchor_targets([[1, 1, 20, 20]], (1e300, 1e300), feature, seed=1)
    assert targets.rpn_labels.shape == (1, *feature, 10) and targets.rpn_bbox_targets.shape == (1, *feature, 40)


def test_no_anchor_inside():
    targets = segloss.ctpn_anchor_targets([[1, 1, 20, 20]], (8, 8), (1, 1), seed=1)
    assert (targets.rpn_labels == -1).all() and not any(a.any() for a in targets[1:])


# ---------------------------------------------------------------- what boxes come in


@pytest.mark.parametrize(
    "dtype",
    [*TARGET_TYPES.values(), np.int8, np.int16, np.uint16, np.uint32, np.uint64, ">f4", ">i2", np.longdouble],
    ids=str,
)
def test_types_of_boxes(dtype):
    boxes = np.array([[16, 8, 31, 40], [32, 8, 47, 40], [0, 48, 15, 60]])
    if np.dtype(dtype) == np.bool_:
        boxes = boxes > 20  # a box of corners 0 and 1
    want = segloss.ctpn_anchor_targets(boxes.astype(np.float64), (100, 100), (6, 6))
    for given in (boxes.astype(dtype), np.concatenate([boxes, np.ones((3, 1))], axis=1).astype(dtype)):
        check(segloss.ctpn_anchor_targets(given, (100, 100), (6, 6)), want)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_views_of_boxes(layout):
    boxes, image, feature = page(0, 30)
    want = segloss.ctpn_anchor_targets(boxes, image, feature, seed=1)
    check(segloss.ctpn_anchor_targets(layout(boxes), image, feature, seed=1, line_boxes=layout(boxes)), want)
    classes = np.concatenate([boxes, np.full((30, 1), np.nan)], axis=1)  # never read
    check(segloss.ctpn_anchor_targets(layout(classes), image, feature, seed=1), want)


def test_lists_and_other_arrays():
    want = segloss.ctpn_anchor_targets(np.array([[16.0, 8, 31, 40]]), (100, 100), (6, 6), heights=(16, 33))
    check(
        segloss.ctpn_anchor_targets([(16, 8, 31, 40)], [100, 100], np.array([6, 6]), heights=[16.0, np.float32(33)]),
        want,
    )
    check(
        segloss.ctpn_anchor_targets(
            ([16, 8, 31, 40, 1],), np.array([100.0, 100.0]), (6, 6), heights=np.array([16, 33])
        ),
        want,
    )
    check(
        segloss.ctpn_anchor_targets(memoryview(np.array([[16.0, 8, 31, 40]])), (100, 100), (6, 6), heights=(16, 33)),
        want,
    )


def test_the_ten_heights():
    boxes, image, feature = page(0, 30)
    check(
        segloss.ctpn_anchor_targets(boxes, image, feature, heights=ref.HEIGHTS),
        segloss.ctpn_anchor_targets(boxes, image, feature),
    )


def test_into_the_loss():
    """The maps go in as they are, and every text anchor of the batch counts."""
    boxes, image, feature = page(0, 30)
    targets = segloss.ctpn_anchor_targets(boxes, image, feature, seed=1, variant="paper")
    rng = np.random.default_rng(0)
    cls, box, side = (rng.standard_normal((1, *feature, 10 * k)).astype(np.float32) for k in (2, 4, 1))
    loss = segloss.CTPNLoss(variant="paper", return_parts=True)
    parts, grads = loss.value_and_grad(cls, box, *targets[:4], side, *targets[4:])
    f, b, _ = counts(targets)
    assert (parts["positives"], parts["kept"], parts["sides"]) == (f, f + b, targets.rpn_side_mask.sum())
    assert [g.shape for g in grads] == [cls.shape, box.shape, side.shape]


# ---------------------------------------------------------------- hostile numbers


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("variant", VARIANTS)
def test_coordinates_that_are_none(variant, value):
    boxes = np.array([[16.0, 8, 31, 40, 0], [16, 8, 31, 40, 0]])
    boxes[1, 2] = value
    with pytest.raises(ValueError, match=rf"gt_boxes: {value} at index \(1, 2\)"):
        segloss.ctpn_anchor_targets(boxes, (100, 100), (6, 6), variant=variant)
    with pytest.raises(ValueError, match=rf"line_boxes: {value} at index \(1, 2\)"):
        segloss.ctpn_anchor_targets(boxes[:1], (100, 100), (6, 6), variant=variant, line_boxes=boxes)


@pytest.mark.parametrize("box", [
    [-1e308, -1e308, 1e308, 1e308], [1e308, 1e308, 1.7e308, 1.7e308], [-1.7e308, 0, 1.7e308, 20], [0, 0, 2**62, 2**62],
    [5e-324, 0, 1e-300, 1e-300],
], ids=str)  # fmt: skip
def test_huge_boxes(box):
    for variant in VARIANTS:
        targets = segloss.ctpn_anchor_targets([box, [16, 8, 31, 40]], (100, 100), (6, 6), variant=variant, seed=0)
        check(
            targets,
            ref.anchor_targets(
                [box, [16, 8, 31, 40]], (100, 100), (6, 6), variant=variant, seed=np.random.RandomState(0)
            ),
        )


def test_many_broadcast_boxes():
    once = np.array([[16.0, 8, 31, 40]])
    want = segloss.ctpn_anchor_targets(once, (100, 100), (6, 6))
    check(segloss.ctpn_anchor_targets(np.broadcast_to(once, (1000, 4)), (100, 100), (6, 6)), want)
    with pytest.raises(ValueError, match="gt_boxes: .* boxes"):
        segloss.ctpn_anchor_targets(np.broadcast_to(once, (2**40, 4)), (100, 100), (6, 6))


@pytest.mark.parametrize("arguments, error, name", [
    (([[1, 2, 3]], (9, 9), (1, 1)), ValueError, "gt_boxes"),
    ((np.zeros((2, 6)), (9, 9), (1, 1)), ValueError, "gt_boxes"),
    ((np.zeros((1, 2, 4)), (9, 9), (1, 1)), ValueError, "gt_boxes"),
    ((np.zeros(4), (9, 9), (1, 1)), ValueError, "gt_boxes"),
    (([["a", 2, 3, 4]], (9, 9), (1, 1)), ValueError, "gt_boxes"), (("boxes", (9, 9), (1, 1)), TypeError, "gt_boxes"),
    ((None, (9, 9), (1, 1)), TypeError, "gt_boxes"),
    ((np.zeros((1, 4), complex), (9, 9), (1, 1)), TypeError, "gt_boxes"),
    ((np.zeros((1, 4), "U3"), (9, 9), (1, 1)), TypeError, "gt_boxes"),
    (([], (9,), (1, 1)), ValueError, "image_size"), (([], (9, math.nan), (1, 1)), ValueError, "image_size"),
    (([], 9, (1, 1)), TypeError, "image_size"),
    (([], ("9", 9), (1, 1)), TypeError, "image_size"), (([], (9, 9), (1,)), ValueError, "feature_size"),
    (([], (9, 9), (-1, 1)), ValueError, "feature_size"),
    (([], (9, 9), (1.5, 1)), TypeError, "feature_size"), (([], (9, 9), 7), ValueError, "feature_size"),
    (([], (9, 9), (2**62, 2**62)), ValueError, "feature_size"),
    (([], (9, 9), (2**40, 2**40)), ValueError, "feature_size"),
], ids=lambda x: str(x)[:40])  # fmt: skip
def test_refused_arguments(arguments, error, name):
    with pytest.raises(error, match=rf"\b{name}\b"):
        segloss.ctpn_anchor_targets(*arguments)


@pytest.mark.parametrize("option, value, error", [
    ("variant", "banjin", ValueError), ("stride", 0, ValueError), ("stride", 65537, ValueError),
    ("stride", 2**40, ValueError), ("stride", 1.5, TypeError),
    ("heights", (), ValueError), ("heights", (0,), ValueError), ("heights", [16] * 1025, ValueError),
    ("heights", (-3,), ValueError),
    ("heights", (math.nan,), ValueError), ("heights", (1e9,), ValueError),
    ("heights", 16, TypeError), ("heights", ("a",), TypeError), ("width", 0.0, ValueError),
    ("width", math.inf, ValueError), ("width", 1e9, ValueError),
    ("negative_overlap", math.nan, ValueError), ("positive_overlap", math.inf, ValueError),
    ("batch_size", -1, ValueError), ("batch_size", 2**31, ValueError),
    ("batch_size", 1.5, TypeError), ("fg_fraction", -0.1, ValueError), ("fg_fraction", 1.1, ValueError),
    ("fg_fraction", math.nan, ValueError),
    ("clobber_positives", 2, TypeError), ("inside_weights", (1, 1, 1), ValueError),
    ("inside_weights", (1, 1, 1, math.nan), ValueError), ("inside_weights", 1.0, TypeError),
    ("positive_weight", 0.0, ValueError), ("positive_weight", 1.0, ValueError),
    ("positive_weight", math.nan, ValueError), ("side_distance", -1.0, ValueError),
    ("side_distance", math.inf, ValueError), ("seed", -1, ValueError), ("seed", 2**32, ValueError),
    ("seed", 1.5, TypeError), ("seed", "3", TypeError),
    ("seed", np.random.RandomState(np.random.PCG64(1)), ValueError), ("seed", np.random.default_rng(1), TypeError),
    ("line_boxes", [[1, 2]], ValueError), ("no_such", 1, TypeError),
], ids=lambda x: str(x)[:30])  # fmt: skip
def test_refused_options(option, value, error):
    with pytest.raises(error, match=rf"\b{option}\b"):
        segloss.ctpn_anchor_targets([[16, 8, 31, 40]], (100, 100), (6, 6), **{option: value})


def test_options_are_named():
    with pytest.raises(TypeError):
        segloss.ctpn_anchor_targets([], (100, 100), (6, 6), 3)
