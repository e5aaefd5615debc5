"""Views are read in place and give the bits of their contiguous copies."""

import numpy as np
import pytest
import segloss
from catalog import CATALOG, LOSSES
from segloss import _tensor
from support import LAYOUTS, PREDICTION_TYPES, SMALL, assert_same_bits

# Rows longer than a block, an image longer than a chunk; and one that fits into neither.
SHAPES = [SMALL, (2, 41, 1613)]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_all_in_one_layout(entry, layout):
    for shape in SHAPES:
        for target in (np.float32, np.uint8):
            inputs = entry.draw(shape, dtype=np.float32, target=target)
            assert_same_bits(entry.run({k: layout(v) for k, v in inputs.items()}), entry.run(inputs))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("kind", ["f64", "f16", "bf16"])
def test_every_type_in_every_layout(kind, layout):
    for entry in CATALOG:
        inputs = entry.draw(SMALL, dtype=PREDICTION_TYPES[kind])
        assert_same_bits(entry.run({k: layout(v) for k, v in inputs.items()}), entry.run(inputs))


@pytest.mark.parametrize("target", [np.uint8, np.int32, np.int64, bool, np.float16])
def test_every_target_in_every_layout(target):
    for entry in LOSSES:
        inputs = entry.draw(SMALL, dtype=np.float32, target=target)
        want = entry.run(inputs)
        for layout in LAYOUTS.values():
            assert_same_bits(
                entry.run({k: v if k in entry.predictions else layout(v) for k, v in inputs.items()}), want
            )


@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_each_argument_in_a_layout_of_its_own(entry):
    """The walks of several arguments must not get mixed up: prediction, label and mask each go their own way through
    memory."""
    inputs = entry.draw(SHAPES[1], dtype=np.float32)
    want = entry.run(inputs)
    kinds = list(LAYOUTS.values())
    for turn in range(len(kinds)):
        mixed = {k: kinds[(turn + 3 * i) % len(kinds)](v) for i, (k, v) in enumerate(inputs.items())}
        assert_same_bits(entry.run(mixed), want)


@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("channels", [2, 4, 5, 7, 8, 12, 21])
def test_channels_last_beside_other_channels(channels, kind):
    """Predictions, targets and gradients that are some channels of an array; the others' stay what they were."""
    rng = np.random.default_rng(channels)
    dtype = PREDICTION_TYPES[kind]
    for shape in [(1, 1), (3, 5), (61, 33), (130, 140)]:
        x = rng.standard_normal((2, channels, *shape)).astype(dtype)
        one_hot = (rng.random(x.shape) < 0.5).astype(np.uint8)
        labels = rng.integers(0, channels, (2, *shape))
        for others in (0, 1, 3):
            for loss, target in (
                (segloss.CrossEntropyLoss(), labels),
                (segloss.DiceLoss(average="macro"), one_hot),
                (segloss.DiceLoss(activation="softmax"), labels),
            ):
                want = loss.value_and_grad(x, target)
                wide = {a.dtype: np.full((2, *shape, channels + others), 7, a.dtype) for a in (x, one_hot)}
                among = {k: np.moveaxis(a[..., others:], -1, 1) for k, a in wide.items()}
                among[x.dtype][...], among[one_hot.dtype][...] = x, one_hot
                gradient = np.full((2, *shape, channels + others), 7, dtype)
                out = np.moveaxis(gradient[..., others:], -1, 1)
                view = target if target is labels else among[one_hot.dtype]
                value, _ = loss.value_and_grad(among[x.dtype], view, out=out)
                assert_same_bits((value, out), want)
                assert (gradient[..., :others] == 7).all()


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_broadcast_targets(entry, axes):
    """Strides of zero: one row, one image or one number standing for all."""
    for shape in SHAPES:
        inputs = entry.draw(shape, dtype=np.float32, target=np.float32)
        for name in inputs:
            if name not in entry.predictions:
                whole, once = inputs[name].shape, inputs[name]
                for axis in axes:
                    once = once.take([0], axis=(0, -2, -1)[axis])
                inputs[name] = np.broadcast_to(once, whole)
        assert_same_bits(entry.run(inputs), entry.run({k: v.copy() for k, v in inputs.items()}))


@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_broadcast_predictions(entry):
    """Legal as inputs; the gradient has a place for every element all the same."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    for name in entry.predictions:
        inputs[name] = np.broadcast_to(inputs[name][:, :1], inputs[name].shape)
    assert_same_bits(entry.run(inputs), entry.run({k: v.copy() for k, v in inputs.items()}))


@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_inputs_are_never_written(entry):
    for dtype in (np.float32, np.float64):
        inputs = entry.draw(SMALL, dtype=dtype)
        before = {k: v.tobytes() for k, v in inputs.items()}
        entry.run(inputs)
        assert {k: v.tobytes() for k, v in inputs.items()} == before


@pytest.mark.parametrize("find", [_tensor.address, _tensor._address_asked], ids=["read", "asked"])
def test_where_the_elements_are(find, tmp_path):
    """Of arrays of every kind, as numpy says it; the second way is for interpreters other than CPython."""
    base = np.arange(24.0).reshape(4, 6)
    mapped = np.memmap(tmp_path / "mapped", np.float32, "w+", shape=(8,))
    kinds = [base, base[1:, 2:], base[::-1], base.T, np.zeros(()), base[:0], np.zeros(0), mapped]
    for array in [*kinds, np.ma.masked_array(base, base > 3), base.view(np.recarray), np.frombuffer(b"abc", np.uint8)]:
        assert find(array) == array.__array_interface__["data"][0]
