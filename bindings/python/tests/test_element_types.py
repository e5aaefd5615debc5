"""Every element type is read as it is; what is computed depends on the values alone."""

import numpy as np
import pytest
from catalog import CATALOG, LOSSES
from support import PREDICTION_TYPES, SMALL, TARGET_TYPES, assert_same_bits

SHAPES = [SMALL, (1, 67, 83)]  # one inside a few blocks, one that ends amid a block of 1024


def integral(entry, inputs):
    """Some of the catalog's maps have fractions; whole numbers let every type hold them. Predictions stay."""
    return {k: v if k in entry.predictions else np.rint(v).astype(v.dtype) for k, v in inputs.items()}


@pytest.mark.parametrize("target", TARGET_TYPES.values(), ids=list(TARGET_TYPES))
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_targets(entry, target):
    """The same bits from labels and masks in any type, for float32 and for float64 predictions."""
    for shape in SHAPES:
        drawn = integral(entry, entry.draw(shape))
        if target.kind == "b":
            drawn = {k: v if k in entry.predictions else np.minimum(v, 1) for k, v in drawn.items()}
        for prediction in (np.float32, np.float64):
            same, other = entry.run(entry.typed(drawn, prediction)), entry.run(entry.typed(drawn, prediction, target))
            assert_same_bits(other, same)
            assert all(g.dtype == prediction for g in other[1])


@pytest.mark.parametrize("target", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_fractional_targets(entry, target):
    drawn = entry.draw(SMALL)
    same = entry.run(entry.typed(drawn, np.float32))
    assert_same_bits(entry.run(entry.typed(drawn, np.float32, TARGET_TYPES[target])), same)


@pytest.mark.parametrize("prediction", ["f16", "bf16"])
@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_half_predictions(entry, prediction):
    """The float32 result, its gradient (and map of losses) rounded once."""
    dtype = PREDICTION_TYPES[prediction]
    for shape in SHAPES:
        drawn = entry.draw(shape)
        value, grads = entry.run(entry.typed(drawn, np.float32))
        if getattr(value, "dtype", None) == np.float32:
            value = value.astype(dtype)
        inputs = entry.typed(drawn, dtype, np.float32)
        half = entry.run({k: v.astype(np.uint8) if "mask" in k else v for k, v in inputs.items()})
        assert_same_bits(half, (value, [g.astype(dtype) for g in grads]))
        assert all(g.dtype == dtype for g in half[1])


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_mixed_targets(entry):
    """Each target in a type of its own, as data loaders leave them."""
    types = iter([np.uint8, np.int64, np.int32, bool] * 2)  # the first for the label of a class, where there is one
    drawn = integral(entry, entry.draw(SMALL, dtype=np.float32))
    mixed = {k: v if k in entry.predictions else np.minimum(v, 1).astype(next(types)) for k, v in drawn.items()}
    assert_same_bits(entry.run(mixed), entry.run(entry.typed(mixed, np.float32)))
