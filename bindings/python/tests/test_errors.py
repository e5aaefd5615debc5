"""What is refused, and that the sentence names the argument."""

import numpy as np
import pytest
import segloss
from catalog import BY_NAME, CATALOG, LOSSES
from support import SMALL

EACH_ARGUMENT = [(entry, name) for entry in CATALOG for name in entry.draw((1, 1, 1))]


def refuses(error, name, call):
    with pytest.raises(error, match=rf"\b{name}\b") as caught:
        call()
    assert type(caught.value) is error, "a subclass hides what a script would catch"
    return str(caught.value)


# ---------------------------------------------------------------- shapes

WRONG_SHAPES = {
    "an image less": lambda a: a[1:],
    "a column more": lambda a: np.concatenate([a, a[..., :1]], axis=-1),
    "to be broadcast": lambda a: a[:1],
    "an axis less": lambda a: a[0],
    "an axis more": lambda a: a[None],
    "flat": lambda a: a.ravel(),
    "turned": lambda a: np.swapaxes(a, -1, -2),
}


@pytest.mark.parametrize("how", WRONG_SHAPES)
@pytest.mark.parametrize(
    "entry, name", [(e, n) for e, n in EACH_ARGUMENT if n != next(iter(e.draw((1, 1, 1))))], ids=str
)
def test_shapes(entry, name, how):
    """Every argument after the first, against the first: its name, and both shapes."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    inputs[name] = np.ascontiguousarray(WRONG_SHAPES[how](inputs[name]))
    sentence = refuses(ValueError, name, lambda: entry.run(inputs))
    assert str(inputs[name].shape[-1]) in sentence


@pytest.mark.parametrize(
    "loss", [segloss.MaskDiceLoss(), segloss.MaskL1Loss(), segloss.BalanceLoss()], ids=lambda x: type(x).__name__
)
def test_rank_seven(loss):
    a = np.full((1, 2, 1, 2, 1, 2, 1), 0.5, np.float32)
    refuses(ValueError, "pred", lambda: loss(a, a, a))


@pytest.mark.parametrize("name", ["DiceLoss", "TverskyLoss", "DiceBCELoss", "BCELoss", "FocalLoss", "CrossEntropyLoss"])
def test_rank_seven_of_ours(name):
    a = np.full((1, 2, 1, 2, 1, 2, 1), 0.5, np.float32)
    refuses(ValueError, "input", lambda: getattr(segloss, name)()(a, a))


@pytest.mark.parametrize("shape", [(), (5,), (13, 17), (13, 17, 2), (2, 3, 13, 17, 1)], ids=str)
def test_rank_of_maps(shape):
    inputs = {**BY_NAME["db"].draw(SMALL, dtype=np.float32), "maps": np.full(shape, 0.5, np.float32)}
    refuses(ValueError, "maps", lambda: segloss.DBLoss()(*inputs.values()))


@pytest.mark.parametrize(
    "variant, channels",
    [(v, c) for v in ("published", "wenmuzhou", "paper") for c in (0, 1, 2, 4) if (v, c) != ("wenmuzhou", 2)],
)
def test_channels_of_maps(variant, channels):
    n, h, w = SMALL
    inputs = {**BY_NAME["db"].draw(SMALL, dtype=np.float32), "maps": np.full((n, channels, h, w), 0.5, np.float32)}
    sentence = refuses(ValueError, "maps", lambda: segloss.DBLoss(variant=variant)(*inputs.values()))
    assert "3" in sentence and str(channels) in sentence


@pytest.mark.parametrize("shape", [(26, 17), (2, 2, 13, 17), (442,), (1, 1, 2, 13, 17)], ids=str)
def test_ohem_needs_images(shape):
    a = np.full(shape, 0.5, np.float32)
    refuses(ValueError, "pred", lambda: segloss.BalanceLoss(main_loss_type="DiceOHEM")(a, a, a))


@pytest.mark.parametrize("shape", [(13, 17), (2, 2, 13, 17), (2, 1, 1, 13, 17)], ids=str)
def test_channels_of_mhliao(shape):
    inputs = BY_NAME["l1-balance-ce"].draw(SMALL, dtype=np.float32)
    inputs["binary"] = np.full(shape, 0.5, np.float32)
    refuses(ValueError, "binary", lambda: segloss.L1BalanceCELoss()(*inputs.values()))


@pytest.mark.parametrize("missing", ["thresh", "thresh_binary"])
def test_thresholds_come_together(missing):
    inputs = {**BY_NAME["l1-balance-ce"].draw(SMALL, dtype=np.float32), missing: None}
    with pytest.raises((ValueError, TypeError), match=r"\bthresh"):
        segloss.L1BalanceCELoss()(*inputs.values())


@pytest.mark.parametrize("shape", [(2, 13, 16), (2, 13), (1, 13, 17)], ids=str)
def test_step_shapes(shape):
    p, other = np.full(SMALL, 0.5), np.full(shape, 0.5)
    refuses(ValueError, "thresh", lambda: segloss.db_step(p, other))
    refuses(ValueError, "thresh", lambda: segloss.db_step_grad(p, other, p))
    refuses(ValueError, "grad_output", lambda: segloss.db_step_grad(p, p, other))


# ---------------------------------------------------------------- element types


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int32, np.int64, bool, np.complex64, object, "U4", "M8[s]", ">f4", np.longdouble], ids=str
)
@pytest.mark.parametrize(
    "entry, name", [(e, n) for e, n in EACH_ARGUMENT if n in e.predictions and n != "grad_output"], ids=str
)
def test_types_of_predictions(entry, name, dtype):
    """Floats of 2, 4 or 8 bytes in the machine's own order; another order must not be read as if it were."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    inputs[name] = np.zeros(inputs[name].shape, dtype)
    sentence = refuses(TypeError, name, lambda: entry.run(inputs))
    assert "float32" in sentence or "f32" in sentence


@pytest.mark.parametrize("entry", [BY_NAME["l1-balance-ce"], BY_NAME["step"]], ids=repr)
def test_predictions_share_a_type(entry):
    """They come from one network; a mixture is a mistake, and whose precision counts would be anybody's guess."""
    for name in entry.predictions[1:]:
        if name != "grad_output":
            inputs = entry.draw(SMALL, dtype=np.float32)
            inputs[name] = inputs[name].astype(np.float64)
            refuses(TypeError, name, lambda: entry.run(inputs))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U4", "M8[s]", ">f4", ">i4", np.longdouble], ids=str)
@pytest.mark.parametrize("entry, name", [(e, n) for e, n in EACH_ARGUMENT if n not in e.predictions], ids=str)
def test_types_of_targets(entry, name, dtype):
    inputs = entry.draw(SMALL, dtype=np.float32)
    inputs[name] = np.zeros(inputs[name].shape, dtype)
    refuses(TypeError, name, lambda: entry.run(inputs))


@pytest.mark.parametrize(
    "entry, name, thing",
    [
        pytest.param(entry, name, thing, id=f"{entry}-{name}-{type(thing).__name__}")
        for entry, name in EACH_ARGUMENT
        for thing in (None, 0.5, "pred", {"pred": 1}, object())
        if not (thing is None and name in entry.optional)
    ],
)
def test_no_arrays(entry, name, thing):
    inputs = {**entry.draw(SMALL, dtype=np.float32), name: thing}
    refuses(TypeError, name, lambda: entry.run(inputs))


# ---------------------------------------------------------------- options

NAN, INF = float("nan"), float("inf")
OPTIONS = [
    ("mask-dice", "eps", [NAN, INF], ["x", None, [1.0]]),
    ("mask-l1", "eps", [NAN, INF], ["x", None]),
    ("balance-dice", "eps", [NAN, INF], ["x", None]),
    ("balance-bce", "negative_ratio", [NAN, INF], ["x", None]),
    ("balance-bce", "fallback_negative_num", [-1], ["x", 2.5, None]),
    ("balance-bce", "main_loss_type", ["Euclidean", "CrossEntropyLoss", "dice", "", "DiceFocalLoss"], []),
    ("db", "main_loss_type", ["Euclidean", "CrossEntropyLoss", "dice"], []),
    ("db", "alpha", [NAN, INF], ["x"]),
    ("db", "beta", [NAN, INF], ["x"]),
    ("db", "ohem_ratio", [NAN, INF], ["x", None]),
    ("db", "eps", [NAN, INF], ["x", None]),
    ("db", "variant", ["mhliao", "", "Paper"], []),
    ("db-paper", "step_k", [NAN, INF], ["x", None]),
    ("db", "fallback_negative_num", [-1], ["x"]),
    ("l1-balance-ce", "eps", [NAN, INF], ["x"]),
    ("l1-balance-ce", "l1_scale", [NAN, INF], ["x", None]),
    ("l1-balance-ce", "bce_scale", [NAN, INF], ["x", None]),
    ("l1-balance-ce", "negative_ratio", [NAN, INF], ["x", None]),
    *[
        (name, option, values, types)
        for name in ("dice", "iou", "tversky", "focal-tversky", "dice-bce")
        for option, values, types in [
            ("smooth", [NAN, INF], ["x", [1.0]]),
            ("activation", ["relu", "", "Softmax"], [None, 1]),
            ("average", ["weighted", "", "none"], [None, 1]),
            ("absent", ["ignore", ""], [None, 0]),
            ("reduction", ["max", ""], [None, 1]),
            ("ignore_index", [], ["x", 1.5]),
        ]
    ],
    ("tversky", "alpha", [NAN, INF], ["x", None]),
    ("tversky", "beta", [NAN, INF], ["x", None]),
    ("focal-tversky", "gamma", [NAN, INF], ["x", None]),
    ("bce", "flavour", ["tensorflow", ""], [None]),
    ("bce", "pos_weight", [NAN, INF], ["x"]),
    ("bce", "reduction", ["max", ""], [None, 1]),
    ("focal", "alpha", [NAN, INF], ["x"]),
    ("focal", "gamma", [NAN, INF], ["x", None]),
    ("focal", "variant", ["aligned", ""], [None]),
    ("focal-paper", "reduction", ["max", ""], [None, 1]),
    ("smooth-l1", "beta", [NAN, INF, -1.0], ["x", None]),
    ("smooth-l1", "sigma2", [NAN, INF, 0.0, -1.0], ["x"]),
    ("cross-entropy", "label_smoothing", [NAN, INF, -0.1, 1.5], ["x", None]),
    ("cross-entropy", "ignore_index", [], ["x", 1.5]),
    ("cross-entropy", "reduction", ["max", ""], [None, 1]),
]


@pytest.mark.parametrize(
    "entry, option, value, error",
    [
        (e, o, v, error)
        for e, o, values, types in OPTIONS
        for error, vs in ((ValueError, values), (TypeError, types))
        for v in vs
    ],
    ids=str,
)
def test_options(entry, option, value, error):
    """When it is built or when it is called, whichever knows first."""
    sentence = refuses(error, option, lambda: BY_NAME[entry].run(BY_NAME[entry].draw(SMALL), {option: value}))
    came = (
        repr(value)
        if isinstance(value, str) and error is ValueError
        else type(value).__name__
        if error is TypeError
        else str(value)
    )
    assert came in sentence, "what came belongs in the sentence"


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_policies(entry):
    sentence = refuses(ValueError, "non_finite", lambda: entry.run(entry.draw(SMALL), {"non_finite": "ignore"}))
    assert all(policy in sentence for policy in ("propagate", "refuse", "skip_masked"))


@pytest.mark.parametrize("name", ["Euclidean", "CrossEntropyLoss"])
def test_dead_options_say_so(name):
    """They exist in the original's list and never worked there."""
    sentence = refuses(
        ValueError,
        "main_loss_type",
        lambda: segloss.BalanceLoss(main_loss_type=name)(*BY_NAME["mask-dice"].draw(SMALL).values()),
    )
    assert name in sentence and "DiceLoss" in sentence


def test_a_total_must_be_a_number():
    """Cross-entropy without balancing is a map: upstream's backward quietly sums it."""
    inputs = BY_NAME["db"].draw(SMALL).values()
    with pytest.raises(ValueError, match="balance_loss"):
        segloss.DBLoss(balance_loss=False, main_loss_type="BCELoss")(*inputs)


@pytest.mark.parametrize("value", [NAN, "x", None, np.ones(3), [1.0, 2.0]], ids=str)
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_grad_output(entry, value):
    """One number for a loss that is one number. NaN may be refused or go through, but must not get lost."""
    inputs = entry.draw(SMALL)
    try:
        _, grads = entry.run(inputs, grad_output=value)
    except (ValueError, TypeError) as error:
        assert "grad_output" in str(error)
    else:
        assert isinstance(value, float) and all(np.isnan(g).any() for g in grads)


def test_an_argument_that_is_not_read_is_checked_all_the_same():
    """Cross-entropy without balancing ignores its mask: one of the wrong shape is still a mistake worth hearing of."""
    p, g, m = BY_NAME["mask-dice"].draw(SMALL).values()
    loss = segloss.BalanceLoss(False, "BCELoss")
    for call in (loss, loss.value_and_grad):
        refuses(ValueError, "mask", lambda: call(p, g, m[1:]))
        refuses(TypeError, "mask", lambda: call(p, g, "all of it"))


def test_a_map_of_upstream_gradients_has_the_maps_shape():
    p, g, m = BY_NAME["mask-dice"].draw(SMALL).values()
    refuses(
        ValueError,
        "grad_output",
        lambda: segloss.BalanceLoss(False, "BCELoss").value_and_grad(p, g, m, grad_output=np.ones((3, 4))),
    )


@pytest.mark.parametrize("k", [NAN, INF], ids=str)
def test_step_k(k):
    p = np.full(SMALL, 0.5)
    refuses(ValueError, "k", lambda: segloss.db_step(p, p, k))
    refuses(ValueError, "k", lambda: segloss.db_step_grad(p, p, p, k))


POSITIONS = {
    "MaskDiceLoss": 1,
    "MaskL1Loss": 1,
    "BalanceLoss": 5,
    "DBLoss": 6,
    "L1BalanceCELoss": 3,
    "DiceLoss": 2,
    "IoULoss": 2,
    "DiceBCELoss": 2,
    "TverskyLoss": 0,
    "FocalTverskyLoss": 0,
    "BCELoss": 0,
    "FocalLoss": 2,
    "SmoothL1Loss": 1,
    "CrossEntropyLoss": 3,
}


@pytest.mark.parametrize("name", POSITIONS)
def test_unknown_options_and_positions(name):
    """Ours are keyword-only: a position that the original does not have must not be taken for one of them."""
    with pytest.raises(TypeError, match="no_such_option"):
        getattr(segloss, name)(no_such_option=1)
    with pytest.raises(TypeError, match="positional"):
        getattr(segloss, name)(*[None] * (POSITIONS[name] + 1))


HALF, ONES = np.full((1, 3, 2, 2), 0.5, np.float32), np.ones((1, 2, 2), np.float32)
# Elements of a structured array, whose strides no descriptor has.
FIELD = np.zeros((1, 2, 2), [("loss", np.float32), ("mask", np.uint8)])["loss"]


@pytest.mark.parametrize(
    "error, name, call",
    [
        (ValueError, "flavour", lambda: segloss.BCELoss(flavour="paddle")),
        (ValueError, "from_logits", lambda: segloss.DiceLoss(from_logits=False, activation="softmax")),
        (ValueError, "main_loss_type", lambda: segloss.DBLoss(variant="paper", main_loss_type="MaskL1Loss")),
        (ValueError, "theta0", lambda: segloss.BoundaryLoss(theta0=2**63)),
        (TypeError, "thresh_map", lambda: segloss.L1BalanceCELoss()(ONES / 2, ONES / 2, ONES / 2, ONES, ONES)),
        (ValueError, r"pred\[1\]:", lambda: segloss.StructureLoss()([HALF[:, :1], HALF[:, :1, :1]], ONES[:, None])),
        (TypeError, "out", lambda: segloss.DBLoss().value_and_grad(HALF, *[ONES] * 4, out=HALF.astype(np.float64))),
        (ValueError, "out", lambda: segloss.DBLoss().value_and_grad(HALF, *[ONES] * 4, out=HALF[..., :1].copy())),
        (ValueError, "out", lambda: segloss.MaskL1Loss().value_and_grad(ONES, ONES, ONES, out=FIELD)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_combinations_that_have_no_meaning(error, name, call):
    with pytest.raises(error, match=rf"^{name}"):
        call()


def test_a_field_of_a_structured_array_is_read():
    assert segloss.MaskL1Loss()(FIELD, ONES, ONES) == segloss.MaskL1Loss()(FIELD.copy(), ONES, ONES)
