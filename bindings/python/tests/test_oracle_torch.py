"""MhLiao's and WenmuZhou's losses, run live in torch with its autograd, in float32.

Their sums round in float32 and their cross-entropies go through float32 logarithms, so agreement ends at 5e-6 of a
value and 1e-5 of the largest entry of a gradient: their rounding, not ours. Inputs leave a gap at the K-th place,
because torch does not say which of equals it takes.
"""

import ctpn_cases
import numpy as np
import pytest
import reference as ref
import segloss
from frameworks import framework
from support import SMALL, bfloat16, check_gradient, probabilities, scene

torch = framework("torch")
import upstream_torch as up

SCENES = ["binary", "no positives", "all positive", "few negatives", "nothing valid", "soft"]
SHAPES = [SMALL, (2, 131, 97)]


def leaf(a):
    return torch.tensor(a, requires_grad=True)


def gradient(tensor):
    return np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy().astype(np.float64)


def agree(value, grads, upstream, leaves):
    upstream.backward()
    assert value == pytest.approx(upstream.item(), rel=5e-6, abs=1e-7)
    for grad, tensor in zip(grads, leaves, strict=True):
        check_gradient(grad, gradient(tensor), 1e-5)


def maps_with_gaps(shape, g, m, truncate=True, channels=3, step_k=0.0):
    """Maps whose every mined term has a gap at its K-th place that float32 cannot close."""
    n, h, w = shape
    pos, neg = ref.weights_of(g, m, truncate)
    K = ref.counts(pos, neg, 3)[1]
    for seed in range(50):
        maps = probabilities(np.random.default_rng(seed), (n, channels, h, w))
        losses = [ref.bce(maps[:, 0], g, "torch")[0]]
        if channels == 3:
            losses.append(
                ref.bce_logits(step_k * (maps[:, 0].astype(float) - maps[:, 1]), g)[0]
                if step_k
                else ref.bce(maps[:, 2], g, "torch")[0]
            )
        if all(ref.gap(neg * loss, K) > 1e-5 for loss in losses):
            return maps
    raise AssertionError("fifty draws without a gap")


def targets(name, shape):
    """(threshold map, its mask, label, mask), all float32."""
    g, m = scene(name, shape)
    _, mt = scene("nothing valid" if name == "nothing valid" else "binary", shape, seed=5)
    return [a.astype(np.float32) for a in (0.3 + 0.4 * probabilities(np.random.default_rng(9), shape), mt, g, m)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("channels", [3, 2])
def test_wenmuzhou(channels, name, shape):
    labels = targets(name, shape)
    maps = maps_with_gaps(shape, *labels[2:], channels=channels)
    parts, grad = segloss.DBLoss(variant="wenmuzhou").value_and_grad(maps, *labels)
    tensor = leaf(maps)
    agree(parts["loss"], [grad], up.wenmuzhou(tensor, *map(torch.tensor, labels)), [tensor])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SCENES)
def test_mhliao(name, shape):
    ts, mt, g, m = targets(name, shape)
    maps = maps_with_gaps(shape, g, m)
    predictions = [np.ascontiguousarray(maps[:, c]) for c in range(3)]
    value, grads = segloss.L1BalanceCELoss().value_and_grad(*predictions, g, m, ts, mt)
    leaves = [leaf(a) for a in predictions]
    agree(value, grads, up.l1_balance_ce(*leaves, *map(torch.tensor, (g, m, ts, mt))), leaves)


@pytest.mark.parametrize("name", SCENES)
def test_mhliao_without_thresholds(name):
    _, _, g, m = targets(name, SMALL)
    p = np.ascontiguousarray(maps_with_gaps(SMALL, g, m)[:, 0])
    value, grads = segloss.L1BalanceCELoss().value_and_grad(p, None, None, g, m, None, None)
    tensor = leaf(p)
    agree(
        value, grads[:1], up.l1_balance_ce(tensor, None, None, torch.tensor(g), torch.tensor(m), None, None), [tensor]
    )


@pytest.mark.parametrize("step_k", [50.0, 5.0, 0.0])
@pytest.mark.parametrize("name", [s for s in SCENES if s != "soft"])
def test_paper(name, step_k):
    """The paper's formula has no code base of its own; torch's operations and autograd stand for one."""
    labels = targets(name, SMALL)
    maps = maps_with_gaps(SMALL, *labels[2:], truncate=False, step_k=step_k)
    parts, grad = segloss.DBLoss(variant="paper", step_k=step_k).value_and_grad(maps, *labels)
    tensor = leaf(maps)
    agree(parts["loss"], [grad], up.paper(tensor, *map(torch.tensor, labels), step_k=step_k), [tensor])


@pytest.mark.parametrize("name", SCENES)
def test_dice_and_l1(name):
    p, (_, _, g, m) = probabilities(np.random.default_rng(0), SMALL), targets(name, SMALL)
    for loss, upstream in ((segloss.MaskDiceLoss(), up.mask_dice), (segloss.MaskL1Loss(), up.mask_l1)):
        value, grad = loss.value_and_grad(p, g, m)
        tensor = leaf(p)
        agree(value, [grad], upstream(tensor, *map(torch.tensor, (g, m))), [tensor])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_tensors_are_read_where_they_are(dtype):
    """By DLPack, strided and with any target type: the bits that numpy arrays of the same numbers give."""
    p, (_, _, g, m) = probabilities(np.random.default_rng(0), SMALL), targets("binary", SMALL)
    tensor = torch.tensor(p).to(dtype)
    loss = segloss.MaskDiceLoss()
    want, wanted = loss.value_and_grad(
        p.astype(str(dtype).removeprefix("torch.")) if dtype != torch.bfloat16 else as_bfloat16(tensor), g, m
    )
    for view in (
        tensor,
        tensor.transpose(1, 2).contiguous().transpose(1, 2),
        torch.stack([tensor, tensor], -1)[..., 1],
    ):
        for target in (torch.uint8, torch.bool, torch.int64):
            value, grad = loss.value_and_grad(view, torch.tensor(g).to(target), torch.tensor(m).to(target))
            assert value == want and grad.dtype == wanted.dtype and grad.tobytes() == wanted.tobytes()


def as_bfloat16(tensor):
    return tensor.view(torch.int16).numpy().view(bfloat16)


def test_step():
    """Where the reciprocal form still has its digits: within P - T of 1/2 either way it squares nothing smaller than
    e^-25."""
    p, t = 0.25 + 0.5 * probabilities(np.random.default_rng(0), (2, *SMALL))
    upstream = np.random.default_rng(1).standard_normal(SMALL).astype(np.float32)
    leaves = [leaf(p), leaf(t)]
    value = up.db_step(*leaves)
    value.backward(torch.tensor(upstream))
    assert np.allclose(segloss.db_step(p, t), value.detach().numpy(), rtol=2e-5, atol=0)
    for grad, tensor in zip(segloss.db_step_grad(p, t, upstream), leaves, strict=True):
        check_gradient(grad, gradient(tensor), 1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_ctpn_paper(seed):
    """CrossEntropyLoss and SmoothL1Loss as CTPN's readers use them: the mean over kept anchors, of the vertical
    coordinates of text over the text anchors, of the side anchors over these."""
    functional = torch.nn.functional
    inputs = ctpn_cases.rows(ctpn_cases.draw((1, 13, 17, 10), seed, np.float32))
    text = inputs["rpn_labels"] == 1
    inputs["rpn_bbox_inside_weights"] = inputs["rpn_bbox_outside_weights"] = text[:, None] * np.float32([0, 1, 0, 1])
    inputs["side_mask"] = inputs["side_mask"] * text
    parts, grads = segloss.CTPNLoss(variant="paper").value_and_grad(*inputs.values())
    leaves = [leaf(inputs[name]) for name in ctpn_cases.PREDICTIONS]
    cls, box, side = leaves
    labels = torch.tensor(inputs["rpn_labels"], dtype=torch.int64)
    sides = torch.tensor(inputs["side_mask"] == 1)
    l_s = functional.cross_entropy(cls, labels, ignore_index=-1)
    targets = torch.tensor(inputs["rpn_bbox_targets"])
    l_v = functional.smooth_l1_loss(box[text][:, 1::2], targets[text][:, 1::2], reduction="sum") / text.sum()
    l_o = functional.smooth_l1_loss(side[sides], torch.tensor(inputs["side_targets"])[sides])
    agree(parts["loss"], grads, l_s + l_v + 2 * l_o, leaves)
