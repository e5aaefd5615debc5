"""PraNet's structure loss and the active contour loss as they are published, run live in torch with its autograd, in
float32.

Their sums and averages round in float32, and a published active contour's slopes divide by roots that do: agreement ends
at 5e-6 of a value and 1e-5 of the largest entry of a gradient: their rounding, not ours.
"""

import numpy as np
import pytest
import segloss
from frameworks import framework
from support import check_gradient
from window_cases import blobs

torch = framework("torch")
import torch.nn.functional as F

SHAPES = [(2, 1, 13, 17), (2, 3, 61, 67), (1, 1, 263, 301)]


def structure(pred, mask, variant="published", kernel_size=31, count_include_pad=True):
    """The seed's lines; `reduction` where its legacy `reduce` is meant to be "none"."""
    pool = F.avg_pool2d(
        mask, kernel_size=kernel_size, stride=1, padding=kernel_size // 2, count_include_pad=count_include_pad
    )
    weit = 1 + 5 * torch.abs(pool - mask)
    reduction = "mean" if variant == "published" else "none"
    wbce = F.binary_cross_entropy_with_logits(pred, mask, reduction=reduction)
    wbce = (weit * wbce).sum(dim=(2, 3)) / weit.sum(dim=(2, 3))
    pred = torch.sigmoid(pred)
    if variant == "uacanet":
        inter, union = pred * mask, pred + mask
        wiou = 1 - (inter + 1) / (union - inter + 1)
        wiou = (weit * wiou).sum(dim=(2, 3)) / weit.sum(dim=(2, 3))
    else:
        inter = ((pred * mask) * weit).sum(dim=(2, 3))
        union = ((pred + mask) * weit).sum(dim=(2, 3))
        wiou = 1 - (inter + 1) / (union - inter + 1)
    return (wbce + wiou).mean()


def active_contour(y_true, y_pred, weight=10):
    """The seed's lines, with its names unified."""
    delta_r = y_pred[:, :, 1:, :] - y_pred[:, :, :-1, :]
    delta_c = y_pred[:, :, :, 1:] - y_pred[:, :, :, :-1]
    delta_r = delta_r[:, :, 1:, :-2] ** 2
    delta_c = delta_c[:, :, :-2, 1:] ** 2
    length = torch.mean(torch.sqrt(torch.abs(delta_r + delta_c) + 1e-8))
    c_in, c_out = torch.ones_like(y_pred), torch.zeros_like(y_pred)
    region = torch.mean(y_pred * (y_true - c_in) ** 2) + torch.mean((1 - y_pred) * (y_true - c_out) ** 2)
    return weight * length + region


def drawn(shape, soft):
    rng = np.random.default_rng([7, *shape])
    x = (3 * rng.standard_normal(shape)).astype(np.float32)
    return x, (rng.random(shape) if soft else blobs(rng, shape)).astype(np.float32)


def agree(value, grad, upstream, leaf):
    upstream.backward()
    assert value == pytest.approx(upstream.item(), rel=5e-6, abs=1e-7)
    check_gradient(grad, leaf.grad.numpy().astype(np.float64), 1e-5)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("variant", ["published", "paper", "uacanet"])
def test_structure(variant, shape, soft):
    x, y = drawn(shape, soft)
    for kernel_size, count_include_pad in ((31, True), (31, False), (3, True), (63, True)):
        options = {"variant": variant, "kernel_size": kernel_size, "count_include_pad": count_include_pad}
        leaf = torch.tensor(x, requires_grad=True)
        value, grad = segloss.StructureLoss(**options).value_and_grad(x, y)
        agree(value, grad, structure(leaf, torch.tensor(y), **options), leaf)


def test_the_legacy_argument_is_a_mean():
    """What the published line runs: the string is true, and the result one number."""
    x, y = drawn(SHAPES[0], False)
    with pytest.warns(UserWarning):
        wbce = F.binary_cross_entropy_with_logits(torch.tensor(x), torch.tensor(y), reduce="none")
    assert wbce.ndim == 0
    parts = segloss.StructureLoss(return_parts=True)(x, y)
    assert parts["bce_loss"] == pytest.approx(wbce.item(), rel=5e-6)


def test_deep_supervision():
    levels = [drawn(SHAPES[1], False)[0] + i for i in range(4)]
    y = drawn(SHAPES[1], False)[1]
    leaves = [torch.tensor(x, requires_grad=True) for x in levels]
    value, grads = segloss.StructureLoss().value_and_grad(levels, y)
    sum(structure(leaf, torch.tensor(y)) for leaf in leaves).backward()
    assert value == pytest.approx(sum(structure(leaf, torch.tensor(y)).item() for leaf in leaves), rel=5e-6)
    for grad, leaf in zip(grads, leaves, strict=True):
        check_gradient(grad, leaf.grad.numpy().astype(np.float64), 1e-5)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weight", [10, 1])
def test_active_contour(weight, shape, soft):
    x, y = drawn(shape, soft)
    p = torch.sigmoid(torch.tensor(x)).numpy()
    leaf = torch.tensor(p, requires_grad=True)
    value, grad = segloss.ActiveContourLoss(weight).value_and_grad(p, y)
    agree(value, grad, active_contour(torch.tensor(y), leaf, weight), leaf)


def test_tensors_are_read_where_they_are():
    x, y = drawn(SHAPES[1], False)
    loss = segloss.StructureLoss()
    want, wanted = loss.value_and_grad([x, x], y)
    tensor = torch.tensor(x).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    value, grads = loss.value_and_grad([tensor, torch.tensor(x)], torch.tensor(y).to(torch.bool))
    assert value == want and all(np.array_equal(a, b) for a, b in zip(grads, wanted, strict=True))
