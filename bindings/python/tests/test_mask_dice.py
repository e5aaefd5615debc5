"""MaskDiceLoss: 1 - 2I/U with eps in the denominator alone, over the whole batch."""

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import BY_NAME, named
from support import SCENES, SHAPES, SMALL, bounds, check_gradient, check_value, id_of, probabilities, scene


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
@pytest.mark.parametrize("entry", named("mask-dice"), ids=repr)
def test_sizes(entry, shape, kind):
    inputs = entry.draw(shape, dtype=kind.replace("f", "float"))
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    check_value(value, want, bounds(kind)[0])
    check_gradient(grads[0], wanted[0], bounds(kind)[1])
    assert entry.make()(*inputs.values()) == value


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("name", SCENES)
def test_scenes(name, kind):
    p = probabilities(np.random.default_rng(1), SMALL).astype(kind.replace("f", "float"))
    g, m = (a.astype(p.dtype) for a in scene(name, SMALL))
    for eps in (1e-6, 0.5):
        value, grad = segloss.MaskDiceLoss(eps=eps).value_and_grad(p, g, m)
        want, wanted = ref.mask_dice(p, g, m, eps=eps)
        check_value(value, want, bounds(kind)[0])
        check_gradient(grad, wanted, bounds(kind)[1])


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 5, 7), (2, 1, 3, 5, 7), (2, 2, 1, 3, 5, 7)], ids=id_of)
def test_ranks(shape):
    rng = np.random.default_rng(0)
    inputs = [np.asarray(rng.random(shape)), np.asarray(rng.integers(0, 2, shape), np.uint8), np.ones(shape)]
    value, grad = segloss.MaskDiceLoss().value_and_grad(*inputs)
    want, wanted = ref.mask_dice(*inputs)
    check_value(value, want, 1e-12)
    assert grad.shape == shape and np.abs(grad - wanted).max() <= 1e-12 * np.abs(wanted).max()


@pytest.mark.parametrize("shape", [(0,), (0, 3, 5), (2, 0, 5), (2, 3, 0)], ids=id_of)
def test_nothing_at_all(shape):
    """0 / eps: the same 1 that an ignored batch gives."""
    value, grad = segloss.MaskDiceLoss().value_and_grad(*[np.zeros(shape, np.float32)] * 3)
    assert value == 1.0 and grad.shape == shape and grad.dtype == np.float32


def test_no_positives_and_nothing_valid():
    p = probabilities(np.random.default_rng(0), SMALL)
    zeros, ones = np.zeros(SMALL, np.uint8), np.ones(SMALL, np.uint8)
    for g, m in ((zeros, ones), (ones, zeros)):
        value, grad = segloss.MaskDiceLoss().value_and_grad(p, g, m)
        assert value == 1.0 and not grad.any(), "false positives are never pushed down: that is what is published"


@pytest.mark.parametrize("kind", ["f64", "f32"])
def test_nearly_perfect_keeps_its_digits(kind):
    """A loss of 1e-6 taken as 1 minus a ratio would be a few float32 roundings; taken as what is missed it is exact."""
    g = scene("binary", SMALL)[0]
    p = np.where(g, 1 - 2.0**-20, 2.0**-20).astype(kind.replace("f", "float"))
    value, grad = segloss.MaskDiceLoss().value_and_grad(p, g, np.ones(SMALL))
    want, wanted = ref.mask_dice(p, g, np.ones(SMALL))
    assert abs(value - want) <= (1e-10 if kind == "f32" else 1e-15) * 1.0
    check_gradient(grad, wanted, bounds(kind)[1])


def test_perfect():
    """eps alone keeps it off zero, 3.6e-8 for 14 positives; the gradient still pushes: -1/(2 sum g) on positives, +1/(2
    sum g) elsewhere."""
    g = np.zeros(84)
    g[::6] = 1
    value, grad = segloss.MaskDiceLoss().value_and_grad(g.copy(), g, np.ones(84))
    assert value == pytest.approx(1e-6 / 28, rel=1e-6)
    assert np.allclose(grad, np.where(g, -1, 1) / 28, rtol=1e-6)


def test_predictions_above_one_are_taken():
    value, _ = segloss.MaskDiceLoss().value_and_grad(np.array([3.0]), np.array([1.0]), np.array([1.0]))
    assert value == pytest.approx(-0.5, rel=1e-6)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.999])
def test_constant_maps(p, kind):
    """Every partial sum rounds the same way: the worst case of a float32 sum, and the one that fixed the block at
    1024."""
    shape = (2, 511, 513)
    p, (g, m) = np.full(shape, p, kind.replace("f", "float")), scene("binary", shape)
    value, grad = segloss.MaskDiceLoss().value_and_grad(p, g.astype(np.uint8), m.astype(np.uint8))
    want, wanted = ref.mask_dice(p, g, m)
    check_value(value, want, bounds(kind)[0])
    check_gradient(grad, wanted, bounds(kind)[1])


def test_parts():
    inputs = BY_NAME["mask-dice"].draw(SMALL).values()
    parts = segloss.MaskDiceLoss(return_parts=True)(*inputs)
    assert isinstance(parts, dict) and parts["loss"] == segloss.MaskDiceLoss()(*inputs)


@pytest.mark.large
def test_more_than_2_to_the_24():
    """Counts past float32's integers. One byte of label and mask each, so that the inputs stay at 6 bytes a pixel."""
    n = 2**24 + 4099
    p = np.random.default_rng(0).integers(0, 256, n, dtype=np.uint8).astype(np.float32) / 256
    g = np.ones(n, np.uint8)
    g[::1000] = 0
    value, grad = segloss.MaskDiceLoss().value_and_grad(p, g, np.ones(n, np.uint8))
    inter, union = p.sum(dtype=np.float64, where=g == 1), p.sum(dtype=np.float64) + g.sum(dtype=np.int64) + 1e-6
    check_value(value, float(1 - 2 * inter / union), 1e-6)
    positive, negative = -2 * (union - inter) / union**2, 2 * inter / union**2
    assert np.allclose(grad[[1, -1]], positive, rtol=1e-6) and np.allclose(grad[[0, 1000]], negative, rtol=1e-6)
    assert np.array_equal(grad, np.where(g, grad[1], grad[0]))
