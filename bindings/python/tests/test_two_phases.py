"""Statistics, then finish: the bits of the one call; and the statistics of parts add up to those of the whole."""

import ctypes

import numpy as np
import pytest
from catalog import LOSSES, OVERLAP, POINTWISE
from segloss import _abi, _call, _tensor
from support import bounds, check_gradient, check_value

ENTRIES = [entry for entry in OVERLAP + POINTWISE if entry in LOSSES]
WIDTHS = {"dice_bce": 5, "bce": 2, "focal": 2, "smooth_l1": 2, "cross_entropy": 3}  # of an item; 3 for the overlaps
SHAPE = (3, 41, 613)  # two chunks


def length(name, options, shape):
    """Entries of the statistics: so many for each item, of which the pointwise losses have just one."""
    width = WIDTHS.get(name, 3)
    if name in ("bce", "focal", "smooth_l1", "cross_entropy"):
        return width
    classes = options.classes.contents
    columns = (classes.classes_length or shape[1]) if classes.average == _abi.AVERAGE["macro"] else 1
    return width * columns * (shape[0] if classes.per_sample else 1)


def statistics(entry, inputs):
    loss = entry.make()
    options, ordered = loss._options, loss._bound(**inputs)[1]
    views = loss._views(ordered)
    name = loss._description.name
    array = np.full(length(name, options, views[0].shape), np.nan)
    pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
    function = getattr(_abi.lib, f"segloss_{name}_statistics")
    _call.invoke(function, *views, options, pointer, len(array), loss._execution)
    return array


def finish(entry, inputs, array, grad_output):
    """Value and gradient of these inputs, as a part of everything that the statistics are of."""
    loss = entry.make()
    options, ordered = loss._options, loss._bound(**inputs)[1]
    views = loss._views(ordered)
    description = loss._description
    pointer, parts = array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)), description.parts()
    grad = np.empty(views[0].shape, views[0].dtype)
    target = _tensor.view("out", grad)
    function = getattr(_abi.lib, f"segloss_{description.name}_finish")
    _call.invoke(function, *views, options, pointer, len(array), grad_output, parts, target, loss._execution)
    return loss._numbers(parts), grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_the_bits_of_one_call(entry, dtype):
    inputs = entry.draw(SHAPE, dtype=dtype)
    value, (grad,) = entry.run(inputs, grad_output=-1.7)
    got, slope = finish(entry, inputs, statistics(entry, inputs), -1.7)
    assert got == value and slope.tobytes() == grad.tobytes()


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_parts_add_up(entry, kind):
    """Strips of every image, so that each part has its share of every item: their statistics added are those of the
    whole, but for the order of the sums."""
    inputs = entry.draw(SHAPE, dtype=kind.replace("f", "float"))
    value, (grad,) = entry.run(inputs, grad_output=-1.7)
    strips = [slice(0, 1), slice(1, 17), slice(17, 41)]
    shards = [{name: a[..., rows, :] for name, a in inputs.items()} for rows in strips]
    array = sum(statistics(entry, shard) for shard in shards)
    for rows, shard in zip(strips, shards):
        got, slope = finish(entry, shard, array, -1.7)
        check_value(got, value, bounds(kind)[0])
        check_gradient(slope, grad[..., rows, :].astype(np.float64), bounds(kind)[1], shared=True)


@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_a_wrong_length_is_refused(entry):
    inputs = entry.draw((2, 3, 5), dtype=np.float32)
    array = statistics(entry, inputs)
    for wrong in (array[:-1].copy(), np.append(array, 0.0), array[:0].copy()):
        with pytest.raises(ValueError, match=r"^statistics: "):
            finish(entry, inputs, wrong, 1.0)
