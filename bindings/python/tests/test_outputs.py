"""Where gradients go, and what multiplies them."""

import numpy as np
import pytest
import segloss
from catalog import BY_NAME, CATALOG, LOSSES
from support import PREDICTION_TYPES, SMALL, assert_same_bits, bits, channels_last, misaligned, strided

SHAPES = [SMALL, (2, 41, 1613)]
ONE_MAP = [entry for entry in LOSSES if entry.predictions in (("pred",), ("input",))]


def given(entry, inputs, make=np.empty_like):
    """`out` as the call takes it: one array, or a tuple in argument order."""
    out = tuple(make(inputs[name]) for name in entry.predictions)
    return out if len(out) > 1 else out[0]


def as_tuple(out):
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_out(entry, kind):
    inputs = entry.draw(SMALL, dtype=PREDICTION_TYPES[kind])
    out = given(entry, inputs, lambda a: np.full_like(a, 7))
    value, grads = entry.run(inputs, out=out)
    assert_same_bits((value, as_tuple(out)), entry.run(inputs))
    assert all(g is o for g, o in zip(grads, as_tuple(out), strict=True))


@pytest.mark.parametrize("view", [strided, channels_last, misaligned], ids=lambda f: f.__name__)
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_out_in_a_view(entry, view):
    """Written where it belongs, and nowhere else."""
    for shape in SHAPES:
        inputs = entry.draw(shape, dtype=np.float32)
        out = given(entry, inputs, lambda a: view(np.zeros_like(a)))
        surroundings = [o.base if isinstance(o.base, np.ndarray) else None for o in as_tuple(out)]
        value, _ = entry.run(inputs, out=out)
        assert_same_bits((value, as_tuple(out)), entry.run(inputs))
        if view is strided:
            assert all(np.isnan(s[..., 1::2]).all() for s in surroundings)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_in_place(entry, kind):
    """The prediction's own memory takes the gradient: the bits of a fresh one."""
    for shape in SHAPES:
        inputs = entry.draw(shape, dtype=PREDICTION_TYPES[kind])
        want = entry.run(inputs)
        out = given(entry, inputs, lambda a: a)
        got = entry.run(inputs, out=out)
        assert all(g is o for g, o in zip(got[1], as_tuple(out), strict=True))
        assert_same_bits(got, want)


def test_a_map_of_losses_in_place():
    """The map is read off the prediction before the gradient goes over it, with and without balancing."""
    for balanced, options in ((False, {}), (True, {"return_origin": True})):
        loss = segloss.BalanceLoss(balanced, "BCELoss", **options)
        inputs = BY_NAME["balance-bce"].draw(SHAPES[1], dtype=np.float32)
        want, wanted = loss.value_and_grad(*inputs.values())
        got, grad = loss.value_and_grad(*inputs.values(), out=inputs["pred"])
        assert grad is inputs["pred"] and np.array_equal(grad, wanted)
        for a, b in zip(np.atleast_1d(*got) if balanced else [got], np.atleast_1d(*want) if balanced else [want]):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_in_place_in_a_view(entry):
    inputs = entry.draw(SHAPES[1], dtype=np.float32)
    want = entry.run(inputs)
    inputs.update({name: channels_last(inputs[name]) for name in entry.predictions})
    assert_same_bits(entry.run(inputs, out=given(entry, inputs, lambda a: a)), want)


# ---------------------------------------------------------------- refused


def refused_outputs(entry):
    """(what, the inputs that it changes, out, error)."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    first = entry.predictions[0]
    pred = inputs[first]
    room = np.zeros(pred.size + 1, pred.dtype)
    room[:-1] = pred.ravel()
    shifted = {first: room[:-1].reshape(pred.shape)}
    fixed = np.zeros_like(pred)
    fixed.flags.writeable = False
    yield "too small", {}, np.zeros_like(pred)[:-1], ValueError
    yield "other shape, same size", {}, np.zeros(pred.shape[::-1], pred.dtype), ValueError
    yield "other type", {}, np.zeros(pred.shape, np.float64), TypeError
    yield "integers", {}, np.zeros(pred.shape, np.int32), TypeError
    yield "no array", {}, 3.0, TypeError
    yield "read-only", {}, fixed, ValueError
    yield "one place for many", {}, np.broadcast_to(np.zeros(1, pred.dtype), pred.shape), ValueError
    yield "half onto the prediction", shifted, room[1:].reshape(pred.shape), ValueError
    yield "backwards onto the prediction", {first: pred}, pred[::-1], ValueError
    for name in [n for n in inputs if n not in entry.predictions + entry.labels]:
        if inputs[name].shape == pred.shape:
            yield f"onto {name}", {name: inputs[name]}, inputs[name], ValueError


@pytest.mark.parametrize(
    "entry, what", [(entry, what) for entry in ONE_MAP for what, *_ in refused_outputs(entry)], ids=str
)
def test_refused(entry, what):
    """Refused by a sentence about `out`, before anything is written."""
    changes, out, error = next(rest for name, *rest in refused_outputs(entry) if name == what)
    inputs = {**entry.draw(SMALL, dtype=np.float32), **changes}
    before = [np.array(a) for a in (*inputs.values(), out)]
    with pytest.raises(error, match=r"\bout\b"):
        entry.run(inputs, out=out)
    for a, b in zip((*inputs.values(), out), before):
        assert np.array_equal(np.asarray(a), b)


def test_refused_arguments_leave_out_alone():
    inputs = BY_NAME["mask-dice"].draw(SMALL, dtype=np.float32)
    out = np.full(SMALL, 7, np.float32)
    with pytest.raises(ValueError, match=r"\bmask\b"):
        segloss.MaskDiceLoss().value_and_grad(inputs["pred"], inputs["gt"], inputs["mask"][1:], out=out)
    assert (out == 7).all()


def test_a_tuple_for_several_predictions():
    entry = BY_NAME["l1-balance-ce"]
    inputs = entry.draw(SMALL, dtype=np.float32)
    for out in ((np.empty(SMALL, np.float32),) * 2, np.empty(SMALL, np.float32)):
        with pytest.raises((ValueError, TypeError), match=r"\bout\b"):
            entry.run(inputs, out=out)
    shared = np.empty(SMALL, np.float32)
    with pytest.raises(ValueError, match=r"\bout\b"):
        entry.run(inputs, out=(shared, shared, shared))


# ---------------------------------------------------------------- upstream gradients


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("factor", [2.0, -0.5, 1024.0])
@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_powers_of_two_scale_exactly(entry, factor, kind):
    """Nothing rounds differently when only exponents change; the value does not change at all."""
    inputs = entry.draw(SMALL, dtype=PREDICTION_TYPES[kind])
    value, grads = entry.run(inputs)
    scaled_value, scaled = entry.run(inputs, grad_output=factor)
    assert scaled_value == value
    for g, s in zip(grads, scaled, strict=True):
        assert np.array_equal(s, g * g.dtype.type(factor))


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_any_factor_scales(entry):
    """One or two roundings away from the scaled gradient, entry by entry."""
    for dtype, bound in ((np.float32, 5e-7), (np.float64, 1e-15)):
        inputs = entry.draw(SMALL, dtype=dtype)
        _, grads = entry.run(inputs)
        for g, s in zip(grads, entry.run(inputs, grad_output=-1.7)[1], strict=True):
            largest = np.abs(g).max(initial=0)
            assert np.abs(s - g * -1.7).max() <= bound * 1.7 * largest


@pytest.mark.parametrize("entry", LOSSES, ids=repr)
def test_zero_upstream(entry):
    _, grads = entry.run(entry.draw(SMALL, dtype=np.float32), grad_output=0.0)
    assert not any(g.any() for g in grads)


def test_the_step_takes_a_map_of_upstream_gradients():
    """Linear in it, pixel by pixel: a zero stays a zero."""
    p, t, upstream = BY_NAME["step"].draw(SMALL, dtype=np.float32).values()
    upstream[0] = 0
    on_p, on_t = segloss.db_step_grad(p, t, upstream)
    twice, _ = segloss.db_step_grad(p, t, 2 * upstream)
    assert np.array_equal(twice, 2 * on_p) and not on_p[0].any() and not on_t[0].any()


@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_again_and_again(entry):
    """No state: a second call, after another loss on the same inputs, gives the same bits."""
    inputs = entry.draw(SMALL, dtype=np.float32)
    first = bits(entry.run(inputs))
    for other in CATALOG[:4]:
        other.run(other.draw((1, 5, 7), seed=9, dtype=np.float64))
    assert bits(entry.run(inputs)) == first


def test_gradients_that_are_kept_are_never_written_again():
    """Memory of gradients is used again, but not while the array, or a view of it, is somebody's."""
    segloss.shutdown()
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 1, 600, 600)).astype(np.float32)
    y = (x > 1).astype(np.uint8)
    loss = segloss.BCELoss()
    kept = []
    for step in range(6):
        _, grad = loss.value_and_grad(x + step, y)
        wanted = grad.copy()
        kept.append((grad if step % 2 else grad[0, 0, ::7], wanted if step % 2 else wanted[0, 0, ::7]))
        del grad
    for grad, wanted in kept:
        assert np.array_equal(grad, wanted)


def test_memory_of_gradients_is_used_again():
    segloss.shutdown()
    x = np.zeros((1, 1, 1024, 1024), np.float32)
    y = np.zeros((1, 1, 1024, 1024), np.uint8)
    loss = segloss.BCELoss()
    _, grad = loss.value_and_grad(x, y)
    first = grad.ctypes.data
    _, other = loss.value_and_grad(x, y)
    assert other.ctypes.data != first
    del grad
    _, again = loss.value_and_grad(x, y)
    assert again.ctypes.data == first
