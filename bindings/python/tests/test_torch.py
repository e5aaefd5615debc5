"""segloss.torch: the modules and functions that stand for a script's own losses, in eager mode and in graphs."""

import copy
import io
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import segloss
from faces import Face
from frameworks import framework
from program_cases import cases

torch = framework("torch")
import segloss.torch as st
import upstream_losses
import upstream_torch
from test_oracle_torch_windows import active_contour, structure

CASES = {case.name: case for case in cases()}
# One of every kind: overlap, pointwise, several predictions, dicts, lists, maps, scores.
KINDS = ["dice", "dice-softmax", "bce-weighted", "cross-entropy-none", "dice-softmax-none", "db", "l1-balance-ce"]
KINDS += ["structure-levels", "structure-none", "boundary", "ctpn-maps", "ctpn-rows-alone", "contour", "balance-map"]


def tensors(inputs, predictions=(), wants=True):
    """numpy's arrays as tensors, the same memory; predictions want gradients."""

    def one(a, leaf):
        if a.dtype.name == "bfloat16":
            t = torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
        else:
            t = torch.from_numpy(a)
        return t.requires_grad_() if leaf and wants else t

    return {
        name: [one(a, name in predictions) for a in v] if isinstance(v, list) else one(v, name in predictions)
        for name, v in inputs.items()
    }


def plain(t):
    """A tensor as bytes that numpy's arrays have too."""
    t = t.detach()
    return (t.view(torch.int16) if t.dtype == torch.bfloat16 else t).contiguous().numpy().tobytes()


def leaves(given, predictions):
    return [t for name in predictions for t in (given[name] if isinstance(given[name], list) else [given[name]])]


def module_of(core):
    positional, named = core._arguments
    return getattr(st, type(core).__name__)(*positional, **named)


def check_value(got, wanted, dtype):
    """The double, rounded once to the value's type; parts likewise."""
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for name, part in wanted.items():
            check_value(got[name], part, dtype)
    elif isinstance(wanted, list):
        for a, b in zip(got, wanted, strict=True):
            check_value(a, b, dtype)
    elif np.ndim(wanted) == 0 and got.dtype in (torch.float32, torch.float64):
        assert got.dtype == (torch.float64 if dtype == np.float64 else torch.float32)
        assert plain(got) == np.array(wanted, np.float64 if dtype == np.float64 else np.float32).tobytes()
    else:
        assert tuple(got.shape) == np.shape(wanted)
        rounded = torch.from_numpy(np.asarray(wanted, np.float64)).to(got.dtype)
        assert plain(got) == plain(rounded)


def type_of(kind):
    if kind == "bf16":
        return ml_dtypes.bfloat16
    return {"f32": np.float32, "f64": np.float64, "f16": np.float16}[kind]


@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_same_bits_as_numpy(name, kind):
    case, dtype = CASES[name], type_of(kind)
    wanted, gradients = case.numpy(dtype, -1.75)  # exact in every type that the factor comes in
    given = tensors(case.draw(dtype), case.predictions)
    loss = module_of(case.make())
    for _ in range(2):  # the first call of a module, and one that is like it
        got = loss(**given)
        check_value(got, wanted, dtype)
        value = got["loss"] if isinstance(got, dict) else got
        mine = torch.autograd.grad(value, leaves(given, case.predictions), torch.full_like(value, -1.75))
        for gradient, want in zip(mine, gradients, strict=True):
            assert plain(gradient) == want.tobytes()


class TestFace(Face):
    def run(self, loss, inputs, predictions):
        given = tensors(inputs, predictions)
        value = module_of(loss)(**given)
        value = value["loss"] if isinstance(value, dict) else value
        gradients = torch.autograd.grad(value, leaves(given, predictions), torch.ones_like(value))
        return value.detach().numpy(), [g.numpy() for g in gradients]


def test_positional_and_named_calls_agree():
    case = CASES["bce-weighted"]
    given = tensors(case.draw(np.float32))
    loss = module_of(case.make())
    x, y, w, m = given.values()
    assert torch.equal(loss(x, y, weight=w, mask=m)["loss"], loss(**given)["loss"])


def test_functions():
    x, y = torch.randn(2, 3, 5, 7), torch.rand(2, 3, 5, 7)
    m = (torch.rand(2, 3, 5, 7) > 0.5).float()
    assert torch.equal(
        st.dice_loss(x, y, mask=m, average="macro", smooth=0.5), st.DiceLoss(average="macro", smooth=0.5)(x, y, mask=m)
    )
    assert torch.equal(st.iou_loss(x, y), st.IoULoss()(x, y))
    assert torch.equal(st.focal_loss(x, y, 0.5, 1.0), st.FocalLoss(alpha=0.5, gamma=1.0)(x, y))
    assert torch.equal(
        st.dice_loss(x, y, average="macro", class_weight=[1, 2, 3]),
        st.DiceLoss(average="macro", class_weight=[1, 2, 3])(x, y),
    )
    for name in segloss.LOSSES:
        assert name in st.__all__ and issubclass(getattr(st, name), torch.nn.Module)
        assert getattr(st, name).__doc__.splitlines()[0] == segloss.LOSSES[name].__doc__.splitlines()[0]
    with pytest.raises(TypeError, match="smoth"):
        st.dice_loss(x, y, smoth=1)


# ---------------------------------------------------------------- the scripts' own calls


def test_seed_calls():
    x, y = torch.randn(2, 1, 9, 11), (torch.rand(2, 1, 9, 11) > 0.5).float()
    p = torch.sigmoid(x)
    assert st.structure_loss(x, y) == pytest.approx(structure(x, y).item(), rel=5e-6)
    assert st.active_contour_loss(y, p, 3) == pytest.approx(active_contour(y, p, 3).item(), rel=5e-6)
    assert st.DiceLoss()(x, y, smooth=1) == pytest.approx(upstream_losses.dice(x, y).item(), rel=5e-6)
    assert st.DiceLoss(None, True)(inputs := x, y, 1).item() == st.DiceLoss()(inputs, y).item()
    assert st.IoULoss(weight=None, size_average=True)(x, y) == pytest.approx(upstream_losses.iou(x, y).item(), rel=5e-6)
    assert st.FocalLoss()(x, y, 0.8, 2, 1) == pytest.approx(upstream_losses.focal(x, y).item(), rel=5e-6)


def test_mhliaos_call():
    case = CASES["l1-balance-ce"]
    given = tensors(case.draw(np.float32), case.predictions)
    pred = {name: given[name] for name in ("binary", "thresh", "thresh_binary")}
    batch = {name: given[name] for name in ("gt", "mask", "thresh_map", "thresh_mask")}
    loss, metrics = st.L1BalanceCELoss()(pred, batch)
    assert torch.equal(loss, st.L1BalanceCELoss()(**given))
    assert sorted(metrics) == ["bce_loss", "l1_loss", "thresh_loss"]
    assert loss.item() == pytest.approx(
        5 * metrics["bce_loss"].item() + 10 * metrics["l1_loss"].item() + metrics["thresh_loss"].item(), rel=1e-6
    )
    loss.backward()
    assert pred["binary"].grad is not None and pred["thresh"].grad is not None
    alone, metrics = st.L1BalanceCELoss()({"binary": pred["binary"]}, {k: batch[k] for k in ("gt", "mask")})
    assert list(metrics) == ["bce_loss"] and torch.equal(alone, metrics["bce_loss"])


def test_balance_loss_returns_its_origin():
    case = CASES["balance-dice"]
    pred, gt, mask = tensors(case.draw(np.float32), case.predictions).values()
    balanced, origin = st.BalanceLoss(return_origin=True)(pred, gt, mask)
    assert torch.equal(balanced, st.BalanceLoss()(pred, gt, mask))
    assert torch.equal(origin, st.BalanceLoss(False)(pred, gt, mask))
    origin.backward()
    want = pred.grad.clone()
    pred.grad = None
    st.MaskDiceLoss()(pred, gt, mask).backward()
    assert torch.equal(pred.grad, want)


def test_db_step():
    p, t = torch.rand(2, 3, 5, 7, dtype=torch.float64), torch.rand(2, 3, 5, 7, dtype=torch.float64)
    assert torch.allclose(st.db_step(p, t), upstream_torch.db_step(p, t), rtol=1e-12)
    p.requires_grad_()
    t.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, t: st.db_step(p, t, 5), (p, t))


CURVES = {
    "structure": (lambda: st.structure_loss, structure),
    "dice": (st.DiceLoss, upstream_losses.dice),
    "iou": (st.IoULoss, upstream_losses.iou),
    "dice-bce": (st.DiceBCELoss, upstream_losses.dice_bce),
}


@pytest.mark.parametrize("name", CURVES)
def test_training_goes_as_it_went(name):
    """Fifty steps of a small network: the loss curve of the script's own formula, within float32's rounding, which fifty
    steps of a network may carry on: 1e-4 of the curve, of which they differ by some 1e-6 a step."""

    def curve(loss):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3, padding=1)
        )
        image = torch.rand(2, 3, 24, 31)
        mask = (image.mean(1, keepdim=True) > 0.5).float()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        values = []
        for _ in range(50):
            optimizer.zero_grad()
            value = loss(net(image), mask)
            value.backward()
            optimizer.step()
            values.append(value.item())
        return np.array(values)

    make, upstream = CURVES[name]
    ours, theirs = curve(make()), curve(upstream)
    assert theirs[-1] < theirs[0]
    assert np.allclose(ours, theirs, rtol=1e-4)


# ---------------------------------------------------------------- autograd


def drawn(*shape, dtype=torch.float32):
    x = torch.randn(*shape, dtype=dtype, requires_grad=True)
    return x, (torch.rand(*shape) > 0.5).to(dtype)


@pytest.mark.parametrize("name", KINDS)
def test_gradcheck(name):
    case = CASES[name]
    given = tensors(case.draw(np.float64), case.predictions)
    loss = module_of(case.make())
    inputs = leaves(given, case.predictions)
    if name in ("db", "l1-balance-ce"):  # |x| has no derivative at 0, which the grid of the inputs hits
        with torch.no_grad():
            for t in inputs:
                t += 1e-3

    def call(*inputs):
        rest = iter(inputs)
        mine = {
            k: [next(rest) for _ in v] if isinstance(v, list) else next(rest) if k in case.predictions else v
            for k, v in given.items()
        }
        value = loss(**mine)
        return value["loss"] if isinstance(value, dict) else value

    if name == "boundary":  # ties of the windows, which the grid of the inputs is full of
        with torch.no_grad():
            inputs[0] += 0.01 * torch.rand_like(inputs[0])
    assert torch.autograd.gradcheck(call, inputs, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 50, 70)])
def test_retained_graph_gives_the_same_gradient(shape):
    x, y = drawn(*shape)
    value = st.DiceLoss()(x, y)
    (first,) = torch.autograd.grad(value, x, retain_graph=True)
    (second,) = torch.autograd.grad(value, x)
    assert torch.equal(first, second) and first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 50, 70)])  # gradient with the value, and after it
def test_factors_from_above(shape):
    """In the one pass: what follows a loss multiplies its gradient, zero, negative and NaN too."""
    x, y = drawn(*shape)
    for factor in (2.5, 0.0, -3.0, float("nan"), float("inf")):
        (got,) = torch.autograd.grad(st.BCELoss()(x, y) * factor, x)
        _, want = segloss.BCELoss().value_and_grad(x.detach(), y, grad_output=np.float32(factor))
        assert plain(got) == want.tobytes()


def test_maps_take_factors_in_any_layout():
    x, y = drawn(2, 3, 5, 7)
    w = torch.randn(2, 5, 7, 3).permute(0, 3, 1, 2)
    (got,) = torch.autograd.grad(st.BCELoss(reduction="none")(x, y), x, w)
    (want,) = torch.autograd.grad(st.BCELoss(reduction="none")(x, y), x, w.contiguous())
    (expanded,) = torch.autograd.grad(st.BCELoss(reduction="none")(x, y).sum(), x)
    _, ones = segloss.BCELoss(reduction="none").value_and_grad(x.detach(), y)
    assert torch.equal(got, want) and plain(expanded) == ones.tobytes()


@pytest.mark.parametrize("name", KINDS)
def test_no_gradient_work_without_a_gradient(name, monkeypatch):
    case = CASES[name]

    def refused(*_):
        raise AssertionError("a gradient was asked for")

    monkeypatch.setattr(st._ops, "backward", refused)
    loss = module_of(case.make())
    value = loss(**tensors(case.draw(np.float32)))
    assert not (value["loss"] if isinstance(value, dict) else value).requires_grad
    with torch.no_grad():
        value = loss(**tensors(case.draw(np.float32), case.predictions))
    assert not (value["loss"] if isinstance(value, dict) else value).requires_grad


def test_only_the_gradients_that_are_wanted():
    given = tensors(CASES["ctpn-maps"].draw(np.float32), ("box",))
    st.CTPNLoss()(**given)["loss"].backward()
    assert given["box"].grad is not None and given["cls"].grad is None


def test_parts_have_no_gradient():
    given = tensors(CASES["db"].draw(np.float32), ("maps",))
    losses = st.DBLoss()(**given)
    assert [part.requires_grad for part in losses.values()] == [True, False, False, False]


def test_second_derivatives_are_refused():
    x, y = drawn(2, 3, 5, 7)
    (first,) = torch.autograd.grad(st.DiceLoss()(x, y) ** 2, x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        first.sum().backward()
    # What does not ask for it is not disturbed.
    (first,) = torch.autograd.grad(st.DiceLoss()(x, y), x, create_graph=True)
    (plainly,) = torch.autograd.grad(st.DiceLoss()(x, y), x)
    assert torch.equal(first, plainly)


def test_a_target_that_wants_a_gradient():
    x, y = drawn(2, 3, 5, 7)
    loss = st.DiceLoss()
    y.requires_grad_()
    for _ in range(2):
        with torch.no_grad():
            loss(x, y)
        with pytest.raises(ValueError, match=r"^target: wants a gradient.*detach"):
            loss(x, y)
    with pytest.raises(TypeError, match="^input: expected a tensor, got ndarray"):
        st.DiceLoss(device="host")(x.detach().numpy(), y)


# ---------------------------------------------------------------- types, layouts, memory


def test_autocast():
    x, y = drawn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = torch.nn.functional.conv2d(x, torch.eye(3)[..., None, None])
        assert half.dtype == torch.bfloat16
        value = st.DiceBCELoss()(half, y)
        map_ = st.BCELoss(reduction="none")(half, y)
    assert value.dtype == torch.float32 and map_.dtype == torch.float32
    (value + map_.mean()).backward()
    assert x.grad.dtype == torch.float32 and x.grad.abs().sum() > 0


LAYOUTS = {
    "channels last": lambda t: t.to(memory_format=torch.channels_last),
    "sliced": lambda t: torch.nn.functional.pad(t, (2, 3, 1, 1))[:, :, 1:-1, 2:-3],
    "every other": lambda t: t.repeat_interleave(2, dim=3)[..., ::2],
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "expanded": lambda t: t,
    "misaligned": lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layouts(layout, dtype):
    x, y = torch.randn(2, 3, 8, 10).to(dtype), (torch.rand(2, 3, 8, 10) > 0.5).to(torch.uint8)
    for loss in (st.DiceLoss(average="macro"), st.BCELoss(), st.CrossEntropyLoss(), st.StructureLoss()):
        target = y[:, 0].long() if isinstance(loss, st.CrossEntropyLoss) else y
        results = []
        for change in (lambda t: t, LAYOUTS[layout]):
            leaf = change(x).detach().requires_grad_()
            mine = target if target.dim() == 3 else change(target)
            value = loss(leaf, mine)
            (gradient,) = torch.autograd.grad(value, leaf)
            results.append((value, gradient))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])
    if layout == "channels last":
        assert results[1][1].is_contiguous(memory_format=torch.channels_last)


def test_an_expanded_target():
    x, _ = drawn(2, 3, 5, 7)
    y = (torch.rand(2, 1, 5, 7) > 0.5).expand(2, 3, 5, 7)
    assert torch.equal(st.DiceLoss()(x, y), st.DiceLoss()(x, y.contiguous()))


def test_targets_of_any_type():
    x, y = drawn(2, 3, 5, 7)
    want = st.DiceLoss()(x, y)
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float64, torch.float16, torch.bfloat16):
        assert torch.equal(st.DiceLoss()(x, y.to(dtype)), want)


def test_nothing_is_copied():
    """Peak memory of a step: the gradient, and no more than a fraction of a tensor beside it."""
    script = """
        import torch, segloss.torch as st
        from memory import peak
        torch.set_num_threads(1)
        x = torch.ones(64, 1024, 1024, requires_grad=True)   # 256 MB
        y = torch.ones(64, 1024, 1024, dtype=torch.uint8)
        small = st.DiceLoss()
        small(x[:1, :64].detach().requires_grad_(), y[:1, :64]).backward()
        before = peak()
        small(x, y).backward()
        print(peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    grown = float(subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent).stdout)
    assert 250 < grown < 256 + 64  # a copy of the input, or of the gradient, would be 256 more


def test_empty_tensors_and_single_numbers():
    for shape in ((0,), (), (0, 3, 4, 4), (1,)):
        x, y = torch.zeros(shape, requires_grad=True), torch.zeros(shape)
        value = st.BCELoss()(x, y)
        value.backward()
        assert x.grad.shape == x.shape and torch.isfinite(value)


# ---------------------------------------------------------------- modules


@pytest.mark.parametrize("name", ["dice-weighted", "db-paper", "structure-paper", "ctpn-maps", "balance-bce"])
def test_modules_pickle_and_copy(name):
    case = CASES[name]
    loss = module_of(case.make())
    given = tensors(case.draw(np.float32))
    want = loss(**given)
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    for again in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), torch.load(file, weights_only=False)):
        got = again(**given)
        assert repr(again) == repr(loss)
        for a, b in zip(*([v.values() if isinstance(v, dict) else [v] for v in (got, want)]), strict=True):
            assert torch.equal(a, b)
    assert loss.state_dict() == {} and list(loss.parameters()) == []


def test_repr():
    assert repr(st.DiceLoss(smooth=0.5)) == "DiceLoss(smooth=0.5)"
    assert "TverskyLoss(alpha=0.3)" in repr(torch.nn.Sequential(st.TverskyLoss(alpha=0.3)))


def test_many_shapes_and_numbers():
    """What is remembered of calls is bounded."""
    loss = st.DiceLoss()
    for i in range(1, 300):
        x, y = torch.randn(i), torch.rand(i)
        assert loss(x, y, i).item() == np.float32(segloss.DiceLoss(smooth=i)(x, y))
    assert len(loss._plans) <= 128


def test_threads_share_a_module():
    from concurrent.futures import ThreadPoolExecutor

    loss = st.DiceLoss()
    inputs = [drawn(2, 1, 64, 64) for _ in range(16)]
    want = [segloss.DiceLoss().value_and_grad(x.detach(), y) for x, y in inputs]

    def work(i):
        for _ in range(50):
            x, y = inputs[i]
            value = loss(x, y)
            (gradient,) = torch.autograd.grad(value, x)
            assert value.item() == np.float32(want[i][0]) and plain(gradient) == want[i][1].tobytes()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))


# ---------------------------------------------------------------- errors


def test_sentences():
    x, y = drawn(2, 3, 5, 7)
    with pytest.raises(ValueError, match=r"^target: expected shape \(2, 3, 5, 7\).*got \(2, 3, 5, 6\)"):
        st.DiceLoss()(x, y[..., :6])
    with pytest.raises(TypeError, match="^input: expected element type"):
        st.DiceLoss()(x.long(), y)
    with pytest.raises(TypeError, match="^target: expected element type.*complex64"):
        st.DiceLoss()(x, y.to(torch.complex64))
    with pytest.raises(ValueError, match="^input: expected rank 0 to 6, got 7"):
        st.DiceLoss()(torch.zeros([1] * 7), torch.zeros([1] * 7))
    with pytest.raises(TypeError, match="^target: expected a tensor, got ndarray"):
        st.DiceLoss()(x, y.numpy())
    with pytest.raises(TypeError, match="^mask: expected a tensor, got NoneType"):
        st.MaskL1Loss()(x, y, None)
    with pytest.raises(TypeError, match="missing"):
        st.DiceLoss()(x)
    with pytest.raises(ValueError, match=r"expected a probability in \[0, 1\]"):
        st.BCELoss(from_logits=False)(x * 3, y)
    with pytest.raises(ValueError, match="^smooth: "):
        st.DiceLoss(smooth=float("nan"))
    with pytest.raises(TypeError, match="dense"):
        st.DiceLoss()(x.detach().to_sparse(), y)
    # A module goes on after a refusal.
    loss = st.DiceLoss()
    for _ in range(3):
        with pytest.raises(ValueError, match="target"):
            loss(x, y[:1])
        loss(x, y)


def test_other_devices_are_named():
    x, y = torch.empty(2, 3, device="meta"), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r'^input: expected a tensor on the CPU, got one on meta;.*device="host"'):
        st.DiceLoss()(x, y)
    with pytest.raises(ValueError, match="^device: expected None or 'host'"):
        st.DiceLoss(device="cuda")
    x, y = drawn(2, 3, 5, 7)
    for loss in (st.DiceLoss, st.DBLoss):
        assert loss(device="host").device == "host"
    value = st.DiceLoss(device="host")(x, y)
    value.backward()
    assert value.device == x.device and torch.equal(value, st.DiceLoss()(x, y))


# ---------------------------------------------------------------- graphs


@pytest.mark.parametrize("name", CASES)
def test_compiled_without_a_break(name):
    torch._dynamo.reset()
    case = CASES[name]
    given = tensors(case.draw(np.float32), case.predictions)
    loss = module_of(case.make())
    names = list(given)
    compiled = torch.compile(
        lambda *values: loss(**dict(zip(names, values))), fullgraph=True, backend="aot_eager", dynamic=False
    )
    results = []
    for call in (lambda *values: loss(**dict(zip(names, values))), compiled):
        value = call(*given.values())
        total = value["loss"] if isinstance(value, dict) else value
        gradients = torch.autograd.grad(total.sum() * 2, leaves(given, case.predictions))
        results.append((value, gradients))
    (eager, eager_gradients), (graph, graph_gradients) = results
    compare(graph, eager)
    for a, b in zip(graph_gradients, eager_gradients, strict=True):
        assert plain(a) == plain(b)


def compare(got, wanted):
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for name in wanted:
            compare(got[name], wanted[name])
    elif isinstance(wanted, list):
        for a, b in zip(got, wanted, strict=True):
            compare(a, b)
    else:
        assert plain(got) == plain(wanted)


def test_inductor_and_numbers_at_the_call():
    torch._dynamo.reset()
    loss = st.TverskyLoss()

    @torch.compile(fullgraph=True)
    def step(x, y):
        return loss(torch.sigmoid(x) * 4, y, alpha=0.25) * 2

    x, y = drawn(2, 3, 8, 8)
    (got,) = torch.autograd.grad(step(x, y), x)
    (want,) = torch.autograd.grad(loss(torch.sigmoid(x) * 4, y, alpha=0.25) * 2, x)
    assert torch.allclose(got, want, atol=1e-7)  # inductor's sigmoid is not eager's


@pytest.mark.parametrize(
    "loss",
    [
        lambda: st.DiceLoss(),
        lambda: st.DiceLoss(average="macro", per_sample=True),
        lambda: st.BCELoss(reduction="none"),
        lambda: st.StructureLoss(),
    ],
)
def test_exported_with_sizes_that_vary(loss):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 2, 1)
            self.loss = loss()

        def forward(self, x, y):
            return self.loss(self.conv(x), y)

    net = Net()
    x, y = torch.randn(4, 3, 16, 20), (torch.rand(4, 2, 16, 20) > 0.5).float()
    n, h, w = (torch.export.Dim(name, min=2, max=1024) for name in ("n", "h", "w"))
    sizes = {0: n, 2: h, 3: w}
    exported = torch.export.export(net, (x, y), dynamic_shapes=(sizes, sizes))
    assert "segloss" in str(exported.graph)
    other = torch.randn(3, 3, 10, 31), (torch.rand(3, 2, 10, 31) > 0.5).float()
    assert torch.equal(exported.module()(*other), net(*other))
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(*other), net(*other))


@pytest.mark.parametrize("name", KINDS)
def test_opcheck(name):
    case = CASES[name]
    given = tensors(case.draw(np.float32), case.predictions)
    loss = module_of(case.make())
    numbers, ordered = loss.core._bound(**given)
    leading = loss.core._leading(ordered)
    arguments = (
        [t for t in ordered[:leading] if t is not None],
        [t for t in ordered[leading:] if t is not None],
        loss._head + segloss._framework.tail(numbers, ordered),
    )
    operator = getattr(torch.ops.segloss, loss._operator).default
    torch.library.opcheck(operator, arguments)


def test_second_derivatives_of_operators_are_refused():
    x, y = drawn(2, 3, 5, 7)
    text = segloss._framework.head(segloss.DiceLoss()) + segloss._framework.tail({}, (x, y, None))
    value, _, _ = torch.ops.segloss.dice([x], [y], text)
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        first.sum().backward()


def test_transforms_are_refused():
    """Inside them a tensor is no memory: a clear error."""
    x, y = torch.randn(4, 3, 5, 7), torch.rand(4, 3, 5, 7)
    for transform in (torch.func.vmap, torch.func.grad):
        with pytest.raises(RuntimeError, match=r"segloss: .*torch\.func"):
            transform(lambda x: st.DiceLoss()(x, y[0] if x.dim() == 3 else y))(x)


GUIDE = Path(__file__).resolve().parents[3] / "Guides" / "PyTorch.md"


@pytest.mark.parametrize("snippet", re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S))
def test_guide(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


# ---------------------------------------------------------------- many ranks, many batches

ADDS = ["dice", "dice-weighted", "iou-labels", "focal-tversky-softmax", "dice-bce", "bce-weighted", "mask-dice", "db"]
ADDS += ["cross-entropy-smoothed", "focal", "smooth-l1", "contour"]


def halves(given):
    return [{name: v[i : i + 1].detach() for name, v in given.items()} for i in range(2)]


def test_statistics_leave_later_calls_their_gradient():
    loss, x, y = st.DiceLoss(), torch.zeros(1, 1, 8, 8, requires_grad=True), torch.ones(1, 1, 8, 8)
    loss.statistics(x, y)
    for _ in range(3):  # the first looks everything up, the others remember
        (gradient,) = torch.autograd.grad(loss(x, y), x)
        assert gradient.abs().min() > 0


@pytest.mark.parametrize("name", ADDS)
def test_accumulated_over_batches(name):
    """Two halves of a batch with the sum of their statistics: the loss of the whole, and its gradient in halves."""
    case = CASES[name]
    given = tensors(case.draw(np.float32), case.predictions)
    loss = module_of(case.make())
    whole = loss(**given)
    whole = whole["loss"] if isinstance(whole, dict) else whole
    gradients = torch.autograd.grad(whole, leaves(given, case.predictions))
    parts = halves(given)
    rows = torch.stack([loss.statistics(**half) for half in parts])
    for total in (rows.sum(0), rows):
        for i, half in enumerate(parts):
            for prediction in leaves(half, case.predictions):
                prediction.requires_grad_()
            value = loss(**half, statistics=total)
            value = value["loss"] if isinstance(value, dict) else value
            assert value.item() == pytest.approx(whole.item(), rel=1e-6)
            mine = torch.autograd.grad(value, leaves(half, case.predictions))
            for a, b in zip(mine, gradients):
                # Statistics differ by the rounding of one more sum, coefficients likewise.
                assert torch.allclose(a[0], b[i], rtol=1e-6, atol=1e-7 * b.abs().max().item())


def test_statistics_that_do_not_add():
    x, y = drawn(2, 1, 5, 7)
    for loss in (st.StructureLoss(), st.DiceLoss(per_sample=True), st.BalanceLoss(main_loss_type="BCELoss")):
        with pytest.raises(ValueError, match="do not add up"):
            loss.statistics(x, y)
    with pytest.raises(ValueError, match="^statistics: expected shape"):
        st.DiceLoss()(x, y, statistics=torch.zeros(4, dtype=torch.float64))
    with pytest.raises(TypeError, match="^statistics: expected the float64"):
        st.DiceLoss()(x, y, statistics=torch.zeros(3))


def test_ranks(tmp_path):
    """Two processes with half a batch each: value and gradients of one process with the whole."""
    script = tmp_path / "rank.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import torch
            import torch.distributed as dist
            import segloss.torch as st

            rank, folder = int(sys.argv[1]), sys.argv[2]
            dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
            torch.manual_seed(0)
            x = torch.randn(4, 3, 33, 35)
            y = (torch.rand(4, 3, 33, 35) > 0.7).to(torch.uint8)
            mine = slice(2 * rank, 2 * rank + 2)
            group = dist.group.WORLD
            for loss in (st.DiceLoss, st.DiceBCELoss, st.IoULoss, st.FocalLoss, st.BCELoss):
                options = {} if loss in (st.FocalLoss, st.BCELoss) else {"average": "macro"}
                whole = x.clone().requires_grad_()
                want = loss(**options)(whole, y)
                want.backward()
                half = x[mine].clone().requires_grad_()
                got = loss(**options, process_group=group)(half, y[mine])
                got.backward()
                assert torch.allclose(got, want, rtol=1e-6), (loss, got, want)
                assert torch.allclose(half.grad, whole.grad[mine], rtol=1e-6, atol=1e-9), loss
                everywhere = [torch.zeros(()) for _ in range(2)]
                dist.all_gather(everywhere, got.detach())
                assert everywhere[0] == everywhere[1]
            # Under DistributedDataParallel, which averages gradients: the loss times the number of ranks.
            torch.manual_seed(1)
            net = torch.nn.Conv2d(3, 3, 3, padding=1)
            alone = torch.nn.Conv2d(3, 3, 3, padding=1)
            alone.load_state_dict(net.state_dict())
            st.DiceLoss()(alone(x), y).backward()
            parallel = torch.nn.parallel.DistributedDataParallel(net)
            (2 * st.DiceLoss(process_group=group)(parallel(x[mine]), y[mine])).backward()
            for a, b in zip(net.parameters(), alone.parameters()):
                assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6 * b.grad.abs().max().item())
            dist.destroy_process_group()
            print("agreed")
            """
        )
    )
    running = [
        subprocess.Popen(
            [sys.executable, script, str(rank), tmp_path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(2)
    ]
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and "agreed" in output, output


def test_example(tmp_path):
    """The example learns, in fewer steps than by default, by its own verdict."""
    picture = tmp_path / "torch.png"
    example = GUIDE.parents[1] / "Examples" / "torch_structure.py"
    done = subprocess.run(
        [sys.executable, example, "--quick", "--output", picture], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG")


def in_process(script):
    """What a script prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_losses_run_on_pytorchs_threads():
    """No pool beside PyTorch's own; one thread where it has one, as in a DataLoader's worker."""
    started, again, serial = map(
        int,
        in_process("""
            import os, segloss, torch
            import segloss.torch as st
            tasks = lambda: len(os.listdir("/proc/self/task"))
            torch.set_num_threads(3)
            segloss.set_num_threads(3)  # on machines with fewer processors too
            p, y = torch.rand(2_000_000, requires_grad=True), torch.rand(2_000_000)
            before = tasks()
            st.DiceLoss()(p, y).backward()  # OpenMP's team, which PyTorch starts with its first large operation
            started = tasks() - before
            (p.detach() * 2).sum()
            torch.set_num_threads(1)
            st.DiceLoss()(p, y).backward()
            print(started, tasks() - before - started, torch.get_num_threads())
        """),
    )
    assert started == 2
    assert again == 0
    assert serial == 1


def test_fork_while_pytorch_has_a_team():
    """The team stays behind in the parent: the child computes with threads of its own, the same bits."""
    parent, child = in_process("""
        import os, torch
        import segloss.torch as st
        torch.set_num_threads(2)
        p, y = torch.rand(1_000_000), torch.rand(1_000_000)
        value = st.DiceLoss()(p, y).item()
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, repr(st.DiceLoss()(p, y).item()).encode())
            os._exit(0)
        print(value, os.read(reading, 100).decode())
    """)
    assert parent == child


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_that_are_kept_are_never_written_again(dtype):
    x, y = torch.rand(1, 2, 800, 800).to(dtype), torch.rand(1, 2, 800, 800).to(dtype)
    kept = []
    for step in range(6):
        p = (x + step).requires_grad_()
        st.BCELoss()(p, y).backward()
        gradient = p.grad[0, 1, 100:] if step % 2 else p.grad
        kept.append((gradient, gradient.clone()))
        del p, gradient
    for gradient, wanted in kept:
        assert torch.equal(gradient, wanted)


def test_one_pass_and_two_give_the_same_bits():
    """A mean over all elements is one pass until a factor comes from above."""
    x, y = torch.randn(1, 1, 300, 300), (torch.rand(1, 1, 300, 300) > 0.5).float()
    loss = st.BCELoss()
    gradients = []
    for factor in (1.0, 0.5, 1.0):
        p = x.clone().requires_grad_()
        (loss(p, y) * factor).backward()
        gradients.append(p.grad)
    assert torch.equal(gradients[0], gradients[2])
    assert torch.equal(gradients[0] * 0.5, gradients[1])  # a power of two rounds nothing


class LossesOfSamples(torch.utils.data.Dataset):
    """Samples that are chosen by their loss, say: each is computed in the loader's worker."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        logits = torch.randn(1, 3, 64, 67, generator=generator, requires_grad=True)
        loss = st.DiceLoss()(logits, (torch.rand(1, 3, 64, 67, generator=generator) < 0.3).float())
        loss.backward()
        return loss.detach(), logits.grad


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loaders_workers_compute(start):
    """After the parent has computed, and started the library's threads."""
    segloss.set_num_threads(3)
    big = torch.rand(2, 3, 503, 509)
    st.DiceLoss()(big, (big > 0.5).float())
    want = [LossesOfSamples()[i] for i in range(12)]
    segloss.set_num_threads(0)
    loader = torch.utils.data.DataLoader(
        LossesOfSamples(), batch_size=None, num_workers=2, multiprocessing_context=start, timeout=60
    )
    for got, expected in zip(loader, want, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, expected))
