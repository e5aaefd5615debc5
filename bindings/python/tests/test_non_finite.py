"""NaN and infinity under each policy: propagate what IEEE gives, refuse, or do not read what the mask rules out."""

import numpy as np
import pytest
import segloss
from catalog import BY_NAME, CATALOG, LOSSES, pixel
from support import SMALL, assert_same_bits, grid, total

AT = (1, 3, 5)
MASKED = [entry for entry in LOSSES if any("mask" in name for name in entry.draw((1, 1, 1)))]
# PSENet's selection draws its negatives from ignored pixels too (unless `clean`): there "masked elements are not read"
# has no meaning.
SKIPPING = [entry for entry in MASKED if entry.name not in ("balance-ohem", "db-ohem")]


def masked(entry, dtype=np.float32):
    """Inputs with one pixel ruled out by every mask (and by no label), and the place of that pixel in each
    prediction."""
    inputs = entry.draw(SMALL, dtype=dtype)
    for name in inputs:
        if "mask" in name or name in entry.labels:
            inputs[name][pixel(inputs[name], AT)] = 0
    return inputs, {name: pixel(inputs[name], AT) for name in entry.predictions}


def poison(inputs, places, value):
    for name, at in places.items():
        inputs[name] = inputs[name].copy()
        inputs[name][at] = value
    return inputs


# ---------------------------------------------------------------- skip_masked


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 7.0], ids=str)
@pytest.mark.parametrize("entry", SKIPPING, ids=repr)
def test_skip_masked(entry, value):
    """The bits of a run where that pixel holds some ordinary number; its own gradient exactly 0. A probability of 7
    passes too: nobody reads it."""
    for dtype in (np.float32, np.float64, np.float16):
        inputs, places = masked(entry, dtype)
        want = entry.run(inputs, {"non_finite": "skip_masked"})
        got = entry.run(poison(inputs, places, value), {"non_finite": "skip_masked"})
        assert_same_bits(got, want)
        for grad, at in zip(got[1], places.values(), strict=True):
            assert not grad[at].any()


@pytest.mark.parametrize("entry", SKIPPING, ids=repr)
def test_skipping_changes_nothing_on_ordinary_inputs(entry):
    """Value for value; a gradient of -0 may come as 0."""
    for dtype in (np.float32, np.float64):
        inputs = entry.draw(SMALL, dtype=dtype)
        (value, grads), (skipped, skipped_grads) = (
            entry.run(inputs, {"non_finite": "propagate"}),
            entry.run(inputs, {"non_finite": "skip_masked"}),
        )
        assert value == skipped
        assert all(np.array_equal(a, b) for a, b in zip(grads, skipped_grads, strict=True))


@pytest.mark.parametrize("entry", [e for e in MASKED if not e.divides and not e.name.startswith("db")], ids=repr)
def test_skipping_reads_what_the_mask_lets_through(entry):
    inputs, places = masked(entry)
    inputs["mask"][:] = 1
    value, _ = entry.run(poison(inputs, places, np.nan), {"non_finite": "skip_masked"})
    assert np.isnan(total(value))


# ---------------------------------------------------------------- propagate


@pytest.mark.parametrize(
    "entry", [e for e in MASKED if not e.divides and not e.name.startswith("cross-entropy")], ids=repr
)
def test_zero_times_nan_propagates(entry):
    """The masked NaN gets through, as it does upstream; in cross-entropy, where a class of weight 0 is not looked at, it
    does not."""
    inputs, places = masked(entry)
    value, _ = entry.run(poison(inputs, places, np.nan), {"non_finite": "propagate"})
    assert np.isnan(total(value))


def test_nan_stays_in_its_own_term():
    inputs, _ = masked(BY_NAME["db"])
    _, (clean,) = BY_NAME["db"].run(inputs)
    for channel, part in enumerate(["loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps"]):
        poisoned = {**inputs, "maps": inputs["maps"].copy()}
        poisoned["maps"][AT[0], channel, AT[1], AT[2]] = np.nan
        parts, (grad,) = BY_NAME["db"].run(poisoned)
        assert {k for k, v in parts.items() if np.isnan(v)} == {"loss", part}
        others = [c for c in range(3) if c != channel]
        assert np.array_equal(grad[:, others], clean[:, others])


def test_the_slope_of_l1_elsewhere_is_untouched():
    inputs, _ = masked(BY_NAME["mask-l1"])
    _, (clean,) = BY_NAME["mask-l1"].run(inputs)
    inputs["pred"][AT] = np.nan
    value, (grad,) = BY_NAME["mask-l1"].run(inputs)
    elsewhere = np.ones(SMALL, bool)
    elsewhere[AT] = False
    assert np.isnan(value) and np.array_equal(grad[elsewhere], clean[elsewhere])


def test_infinity_is_infinitely_far():
    """In L1; its slope is still 1 / sum(m). In Dice it is inf / inf."""
    inputs = BY_NAME["mask-l1"].draw(SMALL, dtype=np.float32)
    inputs["mask"][AT], inputs["pred"][AT] = 1, -np.inf
    value, (grad,) = BY_NAME["mask-l1"].run(inputs)
    assert value == np.inf and np.isfinite(grad).all() and grad[AT] < 0
    assert np.isnan(segloss.MaskDiceLoss()(inputs["pred"], np.ones(SMALL), inputs["mask"]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.0 + 2.0**-23, -1e-45], ids=str)
@pytest.mark.parametrize("entry", [e for e in LOSSES if e.divides], ids=repr)
def test_cross_entropy_refuses_what_is_no_probability(entry, value):
    """On an ignored pixel as well, because upstream checks before it masks."""
    inputs, places = masked(entry)
    name = next(iter(places))
    inputs[name][(AT[0], 0, *AT[1:]) if inputs[name].ndim == 4 else AT] = value
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        entry.run(inputs, {"non_finite": "propagate"})


@pytest.mark.parametrize("value", [1.5, -0.5, np.nan], ids=str)
@pytest.mark.parametrize(
    "entry",
    [e for e in LOSSES if e.divides and not e.name.startswith("balance") and e.name not in ("db-bce", "bce-paddle")],
    ids=repr,
)
def test_the_torch_form_refuses_what_is_no_label(entry, value):
    """Labels too have to lie in [0, 1], as torch has it. (Paddle's form takes any.)"""
    inputs = entry.draw(SMALL, dtype=np.float32)
    name = next(name for name in inputs if name in ("gt", "shrink_map", "target"))
    inputs[name][AT] = value
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        entry.run(inputs)


@pytest.mark.parametrize("argument", ["gt", "mask"])
@pytest.mark.parametrize("entry", [BY_NAME[n] for n in ("balance-dice", "balance-l1", "balance-bce")], ids=repr)
def test_a_nan_label_is_never_a_number(entry, argument):
    """A count of NaN pixels cannot be truncated: upstream raises. Whichever is done, nothing finite may come of it."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    inputs[argument][AT] = np.nan
    try:
        value, _ = entry.run(inputs)
    except ValueError as error:
        assert argument in str(error)
    else:
        assert np.isnan(value)


# ---------------------------------------------------------------- refuse


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_refuse_predictions(entry, value):
    """Masked or not: whoever asks for it wants to hear of it."""
    for dtype in (np.float32, np.float64, np.float16):
        inputs, places = masked(entry, dtype)
        name, at = next(iter(places.items()))
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            entry.run(poison(inputs, {name: at}, value), {"non_finite": "refuse"})


@pytest.mark.parametrize(
    "entry, argument",
    [
        (e, a)
        for e in LOSSES
        for a in e.draw((1, 1, 1))
        if a not in e.predictions + e.labels and not (e.name == "db-wenmuzhou-2" and "threshold" in a)
    ],
    ids=str,
)
def test_refuse_targets(entry, argument):
    """All that are read: two maps leave nothing to do for the targets of the threshold."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    inputs[argument][pixel(inputs[argument], AT)] = np.nan
    with pytest.raises(ValueError, match=rf"\b{argument}\b"):
        entry.run(inputs, {"non_finite": "refuse"})


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_refuse_lets_ordinary_inputs_pass(entry):
    inputs = entry.draw(SMALL, dtype=np.float32)
    assert_same_bits(entry.run(inputs, {"non_finite": "refuse"}), entry.run(inputs, {"non_finite": "propagate"}))


@pytest.mark.parametrize(
    "loss, is_dense",
    [
        (segloss.CrossEntropyLoss, False),  # which ignores labels only
        (segloss.DiceLoss, False),
        (segloss.DiceLoss, True),
        (segloss.BCELoss, False),
        (segloss.BCELoss, True),
    ],
)
def test_the_sentence_names_the_first_value_that_counts(loss, is_dense):
    """Not the NaN before it, at a pixel that is ignored: by its label, or in the target of each class."""
    x, labels = np.zeros((1, 3, 1, 4), np.float32), np.array([255, 0, 1, 2]).reshape(1, 1, 4)
    if is_dense:
        labels = np.where(labels == 255, 255, labels == np.arange(3).reshape(1, 3, 1, 1))
    x[0, 1, 0, 0] = np.nan
    options = {"activation": "softmax", "average": "macro"} if loss is segloss.DiceLoss else {}
    refusing = loss(ignore_index=255, non_finite="refuse", **options)
    assert np.isfinite(refusing(x, labels))
    x[0, 2, 0, 2] = np.inf
    with pytest.raises(ValueError, match=r"input: inf at index \(0, 2, 0, 2\)"):
        refusing(x, labels)


@pytest.mark.parametrize("loss", [segloss.CrossEntropyLoss, segloss.DiceLoss])
def test_the_sentence_names_the_first_label_that_counts(loss):
    """Not the one before it, which is no class either, but masked."""
    x, mask = np.zeros((1, 3, 1, 4), np.float32), np.array([0, 1, 1, 1], np.uint8).reshape(1, 1, 4)
    options = {"activation": "softmax", "average": "macro"} if loss is segloss.DiceLoss else {}
    skipping = loss(non_finite="skip_masked", **options)
    assert np.isfinite(skipping(x, np.array([7, 0, 1, 2]).reshape(1, 1, 4), mask=mask))
    with pytest.raises(ValueError, match=r"target: 9 at index \(0, 0, 2\)"):
        skipping(x, np.array([7, 0, 9, 2]).reshape(1, 1, 4), mask=mask)


def test_a_factor_of_an_item_is_refused_too():
    x, labels, factors = np.zeros((2, 3, 2, 2), np.float32), np.zeros((2, 2, 2), int), np.ones((2, 3))
    factors[1, 1] = np.nan
    loss = segloss.DiceLoss(average="macro", per_sample=True, reduction="none", non_finite="refuse")
    with pytest.raises(ValueError, match=r"grad_output: nan at index \(1, 1\)"):
        loss.value_and_grad(x, labels, grad_output=factors)


def test_refused_values_do_not_poison_the_next_call():
    entry = BY_NAME["balance-bce"]
    inputs = entry.draw((3, 257, 263), dtype=np.float32)
    want = entry.run(inputs)
    for _ in range(3):
        with pytest.raises(ValueError):
            entry.run({**inputs, "pred": np.full_like(inputs["pred"], 2)})
        assert_same_bits(entry.run(inputs), want)


def test_probabilities_of_zero_and_one_are_fine():
    p = grid(np.random.default_rng(0), SMALL, low=0, high=257).astype(np.float32)
    assert {0.0, 1.0} <= set(np.unique(p))
    value = segloss.BalanceLoss(main_loss_type="BCELoss")(p, np.ones(SMALL, np.uint8), np.ones(SMALL, np.uint8))
    assert np.isfinite(value)


@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_denormals_survive(entry):
    """No flush to zero, not even as a side effect on the calling thread."""
    entry.run(entry.draw(SMALL, dtype=np.float32))
    tiny = np.array([1e-45, 1e-40], np.float32)
    assert (tiny * np.float32(1) != 0).all()
    t, zero = tiny.copy(), np.zeros(2, np.float32)
    assert segloss.MaskL1Loss(eps=0.0)(t, zero, np.ones(2, np.float32)) > 0
