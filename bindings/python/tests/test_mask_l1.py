"""MaskL1Loss: sum(|t - ts| m) / (sum(m) + eps)."""

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import BY_NAME
from support import SCENES, SHAPES, SMALL, bounds, check_gradient, check_value, id_of, probabilities, scene

ENTRY = BY_NAME["mask-l1"]


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
def test_sizes(shape, kind):
    inputs = ENTRY.draw(shape, dtype=kind.replace("f", "float"))
    value, grads = ENTRY.run(inputs)
    want, wanted = ENTRY.reference(*inputs.values())
    check_value(value, want, bounds(kind)[0])
    check_gradient(grads[0], wanted[0], bounds(kind)[1])
    assert ENTRY.make()(*inputs.values()) == value


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("name", SCENES)
def test_scenes(name, kind):
    """Signed and weighted masks give whatever the quotient gives; nothing guards it upstream either."""
    p = probabilities(np.random.default_rng(1), SMALL).astype(kind.replace("f", "float"))
    g, m = (a.astype(p.dtype) for a in scene(name, SMALL))
    for eps in (1e-6, 0.5):
        value, grad = segloss.MaskL1Loss(eps=eps).value_and_grad(p, g, m)
        want, wanted = ref.mask_l1(p, g, m, eps=eps)
        check_value(value, want, bounds(kind)[0])
        check_gradient(grad, wanted, bounds(kind)[1])


@pytest.mark.parametrize("shape", [(0,), (0, 3, 5), (2, 3, 0)], ids=id_of)
def test_nothing_at_all(shape):
    value, grad = segloss.MaskL1Loss().value_and_grad(*[np.zeros(shape)] * 3)
    assert value == 0.0 and grad.shape == shape


@pytest.mark.parametrize("eps", [1e-6, 0.0])
def test_an_empty_mask_costs_nothing(eps):
    """Also without eps: the mean of nothing is 0 with no gradient, never NaN."""
    t, ts = probabilities(np.random.default_rng(0), (2, *SMALL))
    value, grad = segloss.MaskL1Loss(eps=eps).value_and_grad(t, ts, np.zeros(SMALL))
    assert value == 0.0 and not grad.any()


def test_equal_has_no_slope():
    t = probabilities(np.random.default_rng(0), SMALL)
    value, grad = segloss.MaskL1Loss().value_and_grad(t, t.copy(), np.ones(SMALL))
    assert value == 0.0 and not grad.any()


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_constant_maps(kind):
    shape = (2, 511, 513)
    t, ts, m = (
        np.full(shape, 0.1, kind.replace("f", "float")),
        np.full(shape, 0.7, kind.replace("f", "float")),
        scene("binary", shape)[1],
    )
    value, grad = segloss.MaskL1Loss().value_and_grad(t, ts, m.astype(np.uint8))
    want, wanted = ref.mask_l1(t, ts, m)
    check_value(value, want, bounds(kind)[0])
    check_gradient(grad, wanted, bounds(kind)[1])


def test_parts():
    inputs = ENTRY.draw(SMALL).values()
    parts = segloss.MaskL1Loss(return_parts=True)(*inputs)
    assert isinstance(parts, dict) and parts["loss"] == segloss.MaskL1Loss()(*inputs)
