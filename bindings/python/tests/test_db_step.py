"""db_step: sigmoid(k (P - T)), and both of its gradients."""

import math

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import BY_NAME
from support import PREDICTION_TYPES, SHAPES, SMALL, bounds, grid, id_of

ENTRY = BY_NAME["step"]


def close(got, want, kind):
    """Of the largest entry; and entry by entry, because a tiny tail is a result too: the argument k (P - T), exact to
    half a unit on these grids, carries up to 50 x 6e-8 relative into the exponential."""
    assert got.shape == want.shape
    assert np.abs(got - want).max(initial=0) <= bounds(kind)[1] * np.abs(want).max(initial=0)
    assert np.allclose(got, want, rtol=1e-5 if kind == "f32" else 1e-12, atol=0)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
def test_sizes(shape, kind):
    p, t, upstream = ENTRY.draw(shape, dtype=kind.replace("f", "float")).values()
    value, slope = ref.db_step(p, t)
    on_p, on_t = segloss.db_step_grad(p, t, upstream)
    close(segloss.db_step(p, t), value, kind)
    close(on_p, slope * upstream, kind)
    close(on_t, -slope * upstream, kind)
    assert on_p.dtype == on_t.dtype == p.dtype


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("k", [50, 10, 1.0, 0.5, 200])
def test_steepness(k, kind):
    """By position too, as the original takes it."""
    p, t, upstream = ENTRY.draw(SMALL, dtype=kind.replace("f", "float")).values()
    value, slope = ref.db_step(p, t, k)
    # k = 200 takes the sigmoid below the smallest normal float32, where digits run out.
    normal = slope > (1e-36 if kind == "f32" else 0)
    assert np.allclose(segloss.db_step(p, t, k)[normal], value[normal], rtol=4e-5 if kind == "f32" else 1e-12, atol=0)
    on_p, on_t = segloss.db_step_grad(p, t, upstream, k)
    assert np.allclose(on_p[normal], (slope * upstream)[normal], rtol=4e-5 if kind == "f32" else 1e-12, atol=0)
    assert np.array_equal(on_t, -on_p)


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_the_gradient_does_not_square_a_tiny_number(kind):
    """At P - T = -1 the reciprocal form gives 9.808e-21 in float32, or 0 where denormals are flushed; the truth is 50
    e^-50."""
    one, zero = np.ones(3, kind.replace("f", "float")), np.zeros(3, kind.replace("f", "float"))
    for p, t in ((zero, one), (one, zero)):
        on_p, on_t = segloss.db_step_grad(p, t, one)
        assert on_p == pytest.approx(50 * math.exp(-50), rel=1e-5 if kind == "f32" else 1e-13)
        assert np.array_equal(on_t, -on_p)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_half_precision_never_overflows(kind):
    """e^50 is infinite in float16: upstream's 0 * inf. Computed in float32 there is nothing to overflow, and one
    rounding at the end."""
    inputs = ENTRY.draw(SMALL, dtype=np.float32)
    inputs["prob"][0, 0, :2], inputs["thresh"][0, 0, :2] = [0, 1], [1, 0]
    single = ENTRY.run(inputs)[1]
    half = ENTRY.run({k: v.astype(PREDICTION_TYPES[kind]) for k, v in inputs.items()})[1]
    for h, s in zip(half, single, strict=True):
        assert np.isfinite(h.astype(np.float32)).all()
        assert h.dtype == PREDICTION_TYPES[kind] and h.tobytes() == s.astype(h.dtype).tobytes()


def test_where_they_meet():
    p = grid(np.random.default_rng(0), SMALL)
    assert (segloss.db_step(p, p.copy()) == 0.5).all()
    assert np.allclose(segloss.db_step_grad(p, p.copy(), np.ones(SMALL))[0], 12.5, rtol=1e-15)


@pytest.mark.parametrize("shape", [(), (5,), (2, 1, 3, 4), (0,), (2, 0, 3)], ids=id_of)
def test_any_shape(shape):
    p = np.full(shape, 0.5, np.float32)
    assert segloss.db_step(p, p.copy()).shape == shape
    assert all(g.shape == shape for g in segloss.db_step_grad(p, p.copy(), p.copy()))


def test_saturation_and_nan():
    p = np.array([np.inf, -np.inf, np.nan, 1e30], np.float32)
    value = segloss.db_step(p, np.zeros(4, np.float32))
    assert value[0] == 1 and value[1] == 0 and np.isnan(value[2]) and value[3] == 1
