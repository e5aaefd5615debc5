"""`segloss.paddle`: numpy's bits in dygraph and in graphs, gradients as Paddle wants them, PaddleOCR's places.

What a loss computes is tested elsewhere; here only how it gets in and out of Paddle.
"""

import copy
import pickle
import re
import resource
import runpy
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import boundary_cases
import ctpn_cases
import ml_dtypes
import numpy as np
import pytest
import segloss
import window_cases
from catalog import BY_NAME, CATALOG
from faces import Face
from frameworks import framework
from segloss import _framework
from support import SMALL, binary, probabilities, total

paddle = framework("paddle")
import segloss.paddle
import upstream_paddle as up
from segloss.paddle import _run, det_basic_loss

TYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


@pytest.fixture(autouse=True, scope="module")
def on_the_cpu():
    paddle.set_device("cpu")


def tensor(array, wants=False):
    """A tensor of an array's numbers and type."""
    array = np.asarray(array)
    if array.dtype == ml_dtypes.bfloat16:
        result = paddle.to_tensor(array.astype(np.float32)).astype("bfloat16")
    else:
        result = paddle.to_tensor(array)
    result.stop_gradient = not wants
    return result


def array(tensor):
    found = tensor.numpy()
    return found.view(ml_dtypes.bfloat16) if tensor.dtype == paddle.bfloat16 else found


def same(got, want, what):
    want = np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape, f"{what}: {got.dtype} {got.shape}"
    assert got.tobytes() == want.tobytes(), f"{what} differs: {got} / {want}"


# ---------------------------------------------------------------- every loss once: (numpy's loss, inputs, predictions)


def cases():
    for entry in CATALOG:
        if entry.name != "step":
            yield entry.name, entry.make(), entry.draw(SMALL, dtype=np.float32), entry.predictions
    for name in window_cases.ENTRIES:
        loss = window_cases.make(name, return_parts=True)
        pred, mask = window_cases.draw(name, window_cases.SMALL)
        inputs = dict(zip(loss._description.inputs, (pred.astype(np.float32), mask.astype(np.float32))))
        yield name, loss, inputs, tuple(inputs)[:1]
    pred, mask = window_cases.draw("structure", window_cases.SMALL)
    pred = pred.astype(np.float32)
    levels = {"pred": [pred, pred / 2, -pred], "mask": mask.astype(np.uint8)}
    yield "structure-levels", segloss.StructureLoss(return_parts=True), levels, ("pred",)
    none = {"pred": pred, "mask": mask.astype(np.float32)}
    yield "structure-none", segloss.StructureLoss(reduction="none"), none, ("pred",)
    inputs = boundary_cases.draw((2, 3, 13, 17), dtype=np.float32)
    yield "boundary", segloss.BoundaryLoss(), inputs, ("logits",)
    yield "boundary-none", segloss.BoundaryLoss(reduction="none"), inputs, ("logits",)
    for name, arrange in (("maps", dict), ("rows", ctpn_cases.rows), ("heads", ctpn_cases.heads)):
        inputs = arrange(ctpn_cases.draw((1, 5, 7, 3), dtype=np.float32))
        yield f"ctpn-{name}", segloss.CTPNLoss(), inputs, ctpn_cases.PREDICTIONS
    inputs = ctpn_cases.draw((1, 5, 7, 3), dtype=np.float32, side=False)
    yield "ctpn-no-side", segloss.CTPNLoss(return_parts=True), inputs, ctpn_cases.PREDICTIONS[:2]
    inputs = BY_NAME["balance-bce"].draw(SMALL, dtype=np.float32)
    yield "balance-map", segloss.BalanceLoss(False, "BCELoss"), inputs, ("pred",)


CASES = {name: rest for name, *rest in cases()}


def test_no_loss_is_left_out():
    assert {type(loss).__name__ for loss, _, _ in CASES.values()} == set(segloss.LOSSES)


def layer_of(loss):
    """Paddle's layer of a loss of numpy."""
    arguments, named = loss._arguments
    return getattr(segloss.paddle, type(loss).__name__)(*arguments, **named)


def tensors(inputs, predictions):
    """The inputs as tensors, and those that want a gradient."""
    made = {
        name: [tensor(v, True) for v in value] if isinstance(value, list) else tensor(value, name in predictions)
        for name, value in inputs.items()
    }
    wanting = [made[name] for name in predictions]
    return made, [t for w in wanting for t in (w if isinstance(w, list) else [w])]


def call(layer, inputs):
    if type(layer).__name__ == "DBLoss":
        return layer({"maps": inputs["maps"]}, [None, *list(inputs.values())[1:]])
    return layer(**inputs)


def factor_for(value):
    """An upstream factor that is exact in every type."""
    shape = np.shape(total(value))
    return np.random.default_rng(5).integers(-8, 9, shape) / 4 if shape else np.float64(-1.75)


def backward(value, factor):
    loss = total(value)
    assert not loss.stop_gradient
    paddle.autograd.backward([loss], [paddle.to_tensor(factor, loss.dtype).reshape(loss.shape)])


def check_value(got, want):
    """Numpy's doubles, rounded once to the value's type."""
    if isinstance(want, dict):
        assert list(got) == list(want)
        for name, number in want.items():
            if isinstance(number, list):
                for g, w in zip(got[name], number, strict=True):
                    check_value(g, w)
            else:
                assert name == "loss" or got[name].stop_gradient
                same(array(got[name]), np.asarray(number, np.float32), name)
    else:
        found = array(got)
        same(found, np.asarray(want).astype(found.dtype), "value")


def expected(loss, inputs):
    value = loss(**inputs)
    factor = factor_for(value)
    value, grads = loss.value_and_grad(**inputs, grad_output=factor if np.ndim(factor) else float(factor))
    return value, grads if isinstance(grads, tuple) else (grads,), factor


def check_gradients(wanting, grads):
    assert len(wanting) == len(grads)
    for i, (t, grad) in enumerate(zip(wanting, grads)):
        same(array(t.grad), grad, f"gradient {i}")


@pytest.mark.parametrize("name", CASES)
def test_same_bits(name):
    loss, inputs, predictions = CASES[name]
    want, grads, factor = expected(loss, inputs)
    made, wanting = tensors(inputs, predictions)
    got = call(layer_of(loss), made)
    check_value(got, want)
    backward(got, factor)
    check_gradients(wanting, grads)


class TestFace(Face):
    def run(self, loss, inputs, predictions):
        made, wanting = tensors(inputs, predictions)
        value = total(call(layer_of(loss), made))
        value = value[0] if isinstance(value, tuple) else value
        paddle.autograd.backward([value], [paddle.ones_like(value)])
        return array(value), [array(t.grad) for t in wanting]


@pytest.mark.parametrize("kind", ["f64", "f16", "bf16"])
@pytest.mark.parametrize("name", ["dice", "bce-none", "db", "l1-balance-ce", "cross-entropy", "balance-bce"])
def test_element_types(name, kind):
    """Read as they are; the gradient in the prediction's type, the loss in float32 or float64."""
    entry = BY_NAME[name]
    loss, inputs = entry.make(), entry.draw(SMALL, dtype=TYPES[kind], target=np.uint8)
    want, grads, factor = expected(loss, inputs)
    made, wanting = tensors(inputs, entry.predictions)
    got = call(layer_of(loss), made)
    single = paddle.float64 if kind == "f64" else paddle.float32
    assert total(got).dtype == (wanting[0].dtype if name == "bce-none" else single)
    found = array(total(got))
    same(found, np.asarray(total(want)).astype(found.dtype), "value")
    backward(got, factor)
    check_gradients(wanting, grads)


@pytest.mark.parametrize("target", [np.float32, np.uint8, bool, np.int32, np.int64])
def test_target_types(target):
    entry = BY_NAME["mask-dice"]
    inputs = entry.draw(SMALL, dtype=np.float32, target=target)
    value = segloss.paddle.MaskDiceLoss()(**tensors(inputs, ())[0])
    check_value(value, entry.make()(**inputs))
    assert value.stop_gradient


def test_db_step():
    inputs = BY_NAME["step"].draw(SMALL, dtype=np.float32)
    prob, thresh = tensor(inputs["prob"], True), tensor(inputs["thresh"], True)
    got = segloss.paddle.db_step(prob, thresh, k=10)
    same(array(got), segloss.db_step(inputs["prob"], inputs["thresh"], k=10), "map")
    got.backward(tensor(inputs["grad_output"]))
    check_gradients([prob, thresh], segloss.db_step_grad(**inputs, k=10))


# ---------------------------------------------------------------- memory layouts


def views(a):
    """Tensors of the same numbers elsewhere in memory."""
    rng = np.random.default_rng(0)
    big = paddle.to_tensor(rng.random((a.shape[0], a.shape[1] + 2, 2 * a.shape[2], a.shape[3] + 1)).astype(a.dtype))
    big[:, 1:-1, ::2, :-1] = paddle.to_tensor(a)
    yield "sliced", big[:, 1:-1, ::2, :-1]
    yield "channels last", paddle.to_tensor(np.ascontiguousarray(a.transpose(0, 2, 3, 1))).transpose([0, 3, 1, 2])
    yield "reversed", paddle.to_tensor(np.ascontiguousarray(a[..., ::-1]))[..., ::-1]
    memory = np.frombuffer(bytearray(a.nbytes + 1), a.dtype, a.size, offset=1).reshape(a.shape)
    memory[...] = a
    yield "misaligned", paddle.utils.dlpack.from_dlpack(memory)


@pytest.mark.parametrize("layout", ["sliced", "channels last", "reversed", "misaligned"])
def test_layouts(layout):
    """Views are read where they are, and their gradients are those of dense tensors."""
    a = window_cases.logits(np.random.default_rng(1), (2, 3, 13, 17)).astype(np.float32)
    y = binary(np.random.default_rng(2), a.shape, 0.3).astype(np.float32)
    want, grad = segloss.DiceBCELoss().value_and_grad(a, y)
    pred, target = dict(views(a))[layout], dict(views(y))[layout]
    assert not pred.is_contiguous() or pred.data_ptr() % 4
    pred.stop_gradient = False
    value = segloss.paddle.DiceBCELoss()(pred, target)
    check_value(value, want)
    value.backward()
    same(array(pred.grad), grad, "gradient")


def test_an_upstream_factor_that_is_a_view():
    """`sum` spreads one number, a transposed loss hands a strided factor down."""
    inputs = BY_NAME["bce-none"].draw(SMALL, dtype=np.float32)
    loss = BY_NAME["bce-none"].make()
    made, (pred,) = tensors(inputs, ("input",))
    value = layer_of(loss)(**made)
    factor = np.random.default_rng(5).integers(-8, 9, SMALL[::-1]).astype(np.float32) / 4
    (value.transpose([2, 1, 0]) * tensor(factor)).sum().backward()
    _, grad = loss.value_and_grad(**inputs, grad_output=np.ascontiguousarray(factor.transpose()))
    same(array(pred.grad), grad, "gradient")


def test_nothing_is_copied():
    """64 MiB of predictions: the loss adds next to nothing to the peak, its gradient 64 MiB, views too."""
    script = """
import paddle, segloss.paddle
from memory import peak
paddle.set_device("cpu")
loss = segloss.paddle.DiceLoss()
small = paddle.rand([8, 8]); small.stop_gradient = False
loss(small, small.detach()).backward()  # what a first call loads
x = paddle.full([16, 1024, 1024], 0.5); x.stop_gradient = False
view = x.transpose([2, 0, 1])
y = paddle.zeros([1024, 16, 1024], "uint8")
start = peak()
value = loss(view, y)
forward = peak() - start
start = peak()
grad, = paddle.grad(value, view)
print(forward, peak() - start, grad.shape, view.is_contiguous())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    forward, backward = map(float, done.stdout.split()[:2])
    assert forward < 8, done.stdout  # scratch, and pages that the allocator keeps
    assert 60 < backward < 72, done.stdout


def test_memory_of_gradients_is_used_again():
    """Once nobody holds the tensor, a view of it or what shares its memory; and without a page fault."""
    segloss.shutdown()
    x, t = tensor(np.zeros((1, 1, 1024, 1024), np.float32), True), tensor(np.zeros((1, 1, 1024, 1024), np.uint8))
    loss = segloss.paddle.DiceLoss()

    def gradient():
        return paddle.grad(loss(x, t), x)[0]

    first = gradient()
    address = first.data_ptr()
    for share in (
        lambda g: g,
        lambda g: g[0, 0, ::7],
        lambda g: g.detach(),
        lambda g: paddle.utils.dlpack.to_dlpack(g),
    ):
        held = share(first)
        del first
        other = gradient()
        assert other.data_ptr() != address
        del held
        first = gradient()
        assert first.data_ptr() == address
        del other


def test_a_step_has_no_page_faults():
    """Where Paddle's own allocator has one for each page of a large gradient, in every step."""
    x, t = tensor(np.zeros((8, 3, 640, 640), np.float32), True), tensor(np.zeros((8, 3, 640, 640), np.uint8))
    loss, faults = segloss.paddle.DiceLoss(), []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        loss(x, t).backward()
        x.clear_gradient(False)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    # 9600 pages of 4096 bytes, or 19 of 2 MiB and what is left.
    assert max(faults[2:]) < 15, faults


def test_gradients_that_are_kept_are_never_written_again():
    p, y = np.zeros((2, 1, 600, 600), np.float32), np.zeros((2, 1, 600, 600), np.uint8)
    t, loss, kept = tensor(y), segloss.paddle.BCELoss(), []
    for step in range(6):
        x = tensor(p + step, True)
        loss(x, t).backward()
        wanted = segloss.BCELoss().value_and_grad(p + step, y)[1]
        kept.append((x.grad, wanted) if step % 2 else (x.grad[0, 0, ::7], wanted[0, 0, ::7]))
    for found, wanted in kept:
        same(array(found), wanted, "gradient")


@pytest.mark.parametrize("kind", TYPES)
def test_large_gradients_of_each_type(kind):
    p, y = np.full((1, 1, 1024, 1024), 0.25, TYPES[kind]), np.ones((1, 1, 1024, 1024), np.uint8)
    for loss in (segloss.DiceLoss(), segloss.BCELoss()):  # two passes, one
        x = tensor(p, True)
        (layer_of(loss)(x, tensor(y)) * 3).backward()
        same(array(x.grad), loss.value_and_grad(p, y, grad_output=3.0)[1], "gradient")


# ---------------------------------------------------------------- gradients as Paddle wants them


def simple(wants=True):
    rng = np.random.default_rng(4)
    p, y = rng.random((2, 3, 5, 7), dtype=np.float32), (rng.random((2, 3, 5, 7)) < 0.3).astype(np.float32)
    return p, y, tensor(p, wants), tensor(y)


def test_any_factor():
    p, y, x, t = simple()
    _, grad = segloss.DiceLoss().value_and_grad(p, y, grad_output=float(np.float32(0.3)) * 2)
    (segloss.paddle.DiceLoss()(x, t) * 0.3 * 2).backward()
    same(array(x.grad), grad, "gradient")


def test_through_what_comes_before():
    """Two uses of one loss, and a network before it."""
    p, y, x, t = simple()
    loss = segloss.paddle.DiceLoss()
    (loss(x * 2, t) + loss(x * 2, t)).backward()
    _, grad = segloss.DiceLoss().value_and_grad(p * 2, y)
    same(array(x.grad), 4 * grad, "gradient")


def test_the_same_gradient_twice():
    p, y, x, t = simple()
    value = segloss.paddle.DiceLoss()(x, t)
    first, second = (paddle.grad(value, x, retain_graph=True)[0] for _ in range(2))
    value.backward()
    _, grad = segloss.DiceLoss().value_and_grad(p, y)
    for found in (first, second, x.grad):
        same(array(found), grad, "gradient")


def test_backward_twice_is_a_sentence():
    """Paddle 3.3 would crash: it drops the context of a PyLayer."""
    *_, x, t = simple()
    value = segloss.paddle.DiceLoss()(x, t)
    value.backward(retain_graph=True)
    with pytest.raises(OSError, match="dice: Paddle can run backward.. through a PyLayer only once"):
        value.backward()


def test_a_loss_that_is_kept_keeps_nothing_else():
    """As in a list for a log: once its gradient is there, the inputs may go."""
    *_, x, t = simple()
    moved = x * 1
    address, kept = weakref.ref(moved), segloss.paddle.DiceLoss()(moved, t)
    del moved
    assert address() is not None
    kept.backward()
    assert address() is None


def test_no_second_derivative():
    """Neither of the gradient itself nor of a sum with it, where it would pass for a constant."""
    *_, x, t = simple()
    value = segloss.paddle.DiceLoss()(x, t)
    (grad,) = paddle.grad(value, x, create_graph=True)
    with pytest.raises(OSError, match="no second derivative"):
        (value + (grad * grad).sum()).backward()


def test_create_graph_changes_nothing():
    p, y, x, t = simple()
    (found,) = paddle.grad(segloss.paddle.DiceLoss()(x, t), x, create_graph=True)
    same(array(found), segloss.DiceLoss().value_and_grad(p, y)[1], "gradient")


def test_no_gradient_that_nobody_wants(monkeypatch):
    *_, x, t = simple()
    monkeypatch.setattr(_run._Loss, "forward", None)
    with paddle.no_grad():
        assert segloss.paddle.DiceLoss()(x, t).stop_gradient
    x.stop_gradient = True
    assert segloss.paddle.DiceLoss()(x, t).stop_gradient
    x.stop_gradient = False
    with pytest.raises(TypeError):  # and here it is called
        segloss.paddle.DiceLoss()(x, t)


def test_wishes_change_from_call_to_call():
    """What is remembered of a call is not held against the next."""
    p, y, x, t = simple()
    loss = segloss.paddle.DiceLoss()
    t.stop_gradient = False
    with paddle.no_grad():
        loss(x, t)
    with pytest.raises(ValueError, match="target: wants a gradient"):
        loss(x, t)
    t.stop_gradient = True
    for wants in (True, False, True):
        x.stop_gradient = not wants
        assert loss(x, t).stop_gradient is not wants
    _, grad = segloss.DiceLoss().value_and_grad(p, y)
    loss(x, t).backward()
    same(array(x.grad), grad, "gradient")


def test_only_the_gradients_that_are_wanted():
    inputs = BY_NAME["l1-balance-ce"].draw(SMALL, dtype=np.float32)
    made, _ = tensors(inputs, ("thresh",))
    segloss.paddle.L1BalanceCELoss()(**made).backward()
    _, grads = segloss.L1BalanceCELoss().value_and_grad(**inputs)
    same(array(made["thresh"].grad), grads[1], "gradient")
    assert made["binary"].grad is None and made["thresh_binary"].grad is None


def test_an_input_that_was_modified():
    """Where the backward reads it again: for another factor than 1, or of more than a few elements."""
    *_, x, t = simple()
    value = segloss.paddle.DiceLoss()(x * 1, t)
    t.add_(paddle.ones_like(t))
    with pytest.raises(OSError, match="dice: an input was modified in place"):
        (value * 2).backward()
    t = paddle.ones([2, 3, 50, 70])
    value = segloss.paddle.DiceLoss()(paddle.zeros_like(t) + x.sum(), t)
    t.add_(paddle.ones_like(t))
    with pytest.raises(OSError, match="dice: an input was modified in place"):
        value.backward()


def test_a_gradient_that_was_there_before_an_input_was_modified():
    """It is of what the loss has read; once a factor other than 1 has come, it is made later. (A smooth of no other test.)"""
    p, y, x, t = simple()
    loss = segloss.paddle.DiceLoss(smooth=0.625)
    value = loss(x, t)
    t.add_(paddle.ones_like(t))
    value.backward()
    same(array(x.grad), segloss.DiceLoss(smooth=0.625).value_and_grad(p, y)[1], "gradient")
    (loss(x, t) * 2).backward()
    value = loss(x, t)
    t.add_(paddle.ones_like(t))
    with pytest.raises(OSError, match="dice: an input was modified in place"):
        value.backward()


def test_parts_are_detached():
    inputs = BY_NAME["db"].draw(SMALL, dtype=np.float32)
    made, _ = tensors(inputs, ("maps",))
    losses = call(segloss.paddle.DBLoss(), made)
    assert [losses[name].stop_gradient for name in losses] == [False, True, True, True]


def test_amp():
    """Half precision is read directly, whatever auto_cast would do, and the loss is float32."""
    p, y, x, t = simple()
    with paddle.amp.auto_cast(level="O2", dtype="bfloat16"):
        value = segloss.paddle.DiceLoss()(x.astype("bfloat16"), t)
    assert value.dtype == paddle.float32
    value.backward()
    want, grad = segloss.DiceLoss().value_and_grad(p.astype(ml_dtypes.bfloat16), y)
    check_value(value, want)
    same(array(x.grad), grad.astype(np.float32), "gradient")


def test_threads():
    """Frames of descriptors are shared between calls, but not at the same time."""
    p, y, _, t = simple()
    loss, wrong = segloss.paddle.DiceLoss(), []

    def work(scale):
        for _ in range(200):
            x = tensor(p * scale, True)
            value = loss(x, t)
            value.backward()
            want, grad = expectations[scale]
            if float(value) != np.float32(want) or not np.array_equal(array(x.grad), grad):
                wrong.append(scale)

    expectations = {scale: segloss.DiceLoss().value_and_grad(p * scale, y) for scale in np.float32([1, 2, 3, 4])}
    workers = [threading.Thread(target=work, args=(scale,)) for scale in expectations]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# ---------------------------------------------------------------- layers and functions


@pytest.mark.parametrize("name", CASES)
def test_layers_copy_pickle_and_print(name):
    loss, inputs, _ = CASES[name]
    layer = layer_of(loss)
    assert repr(layer) == repr(loss)
    assert layer.state_dict() == {} and layer.parameters() == []
    made, _ = tensors(inputs, ())
    want = total(call(layer, made))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(other) is type(layer) and repr(other) == repr(layer)
        found = total(call(other, made))
        assert array(found).tobytes() == array(want).tobytes()


def test_hooks_and_other_forwards():
    """What `Layer.__call__` looks for is found, though our layers do not go through it otherwise."""
    p, y, x, t = simple()
    want = segloss.DiceLoss()(p, y)
    seen = []
    loss = segloss.paddle.DiceLoss()
    hooks = [
        loss.register_forward_pre_hook(lambda layer, inputs: seen.append("before")),
        loss.register_forward_post_hook(lambda layer, inputs, output: output * 2),
    ]
    for _ in range(2):
        check_value(loss(x, t), 2 * np.float32(want))
    assert seen == ["before", "before"]
    for hook in hooks:
        hook.remove()
    check_value(loss(x, t), want)
    loss.forward = lambda x, t: "the instance's"
    assert loss(x, t) == "the instance's"

    class Mine(segloss.paddle.DiceLoss):
        def forward(self, x, t):
            return super().forward(x, t) * 3

    check_value(Mine()(x, t), 3 * np.float32(want))


def test_a_network_that_holds_a_loss_saves_and_loads(tmp_path):
    network = paddle.nn.Sequential(paddle.nn.Linear(3, 3))
    network.add_sublayer("criterion", segloss.paddle.FocalLoss(gamma=1.0))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    network.set_state_dict(paddle.load(str(tmp_path / "w.pdparams")))


@pytest.mark.parametrize("name", CASES)
def test_functions(name):
    """The options by their names."""
    loss, inputs, _ = CASES[name]
    arguments, options = loss._arguments
    function = getattr(segloss.paddle, _framework.function_name(type(loss).__name__))
    if arguments or isinstance(loss, segloss.ActiveContourLoss) or "weight" in options:
        return  # options without names; the original's order, below; a weight that is the call's
    made, _ = tensors(inputs, ())
    check_value(function(**made, **options), loss(**inputs))


def test_the_function_with_the_order_of_its_original():
    a, y = (v.astype(np.float32) for v in window_cases.draw("contour", window_cases.SMALL))
    value = segloss.paddle.active_contour_loss(tensor(y), tensor(a), 3)
    check_value(value, segloss.active_contour_loss(y, a, 3))


def test_options_at_the_call():
    p, y, x, t = simple()
    loss = segloss.paddle.DiceLoss()
    for _ in range(2):
        check_value(loss(x, t), segloss.DiceLoss()(p, y))
        check_value(loss(x, t, smooth=2.0), segloss.DiceLoss()(p, y, smooth=2.0))
        check_value(loss(x, t, 2.0), segloss.DiceLoss()(p, y, smooth=2.0))


# ---------------------------------------------------------------- static graphs

GRAPHS = [
    "dice",
    "dice-softmax",
    "dice-per-sample",
    "dice-softmax-none",
    "bce-weighted",
    "bce-none",
    "cross-entropy-smoothed",
    "mask-dice-weighted",
    "balance-bce",
    "balance-map",
    "db",
    "db-paper",
    "l1-balance-ce",
    "structure",
    "structure-levels",
    "structure-none",
    "contour",
    "boundary",
    "ctpn-heads",
]


class Net(paddle.nn.Layer):
    """A loss behind an operation of Paddle's, which hands gradients on as they are."""

    def __init__(self, loss, predictions):
        super().__init__()
        self.loss, self.predictions = layer_of(loss), predictions

    def forward(self, inputs):
        return call(self.loss, self.prepared(inputs))

    @paddle.jit.not_to_static
    def prepared(self, inputs):
        moved = {name: paddle.utils.map_structure(paddle.assign, inputs[name]) for name in self.predictions}
        return {**inputs, **moved}


@pytest.mark.parametrize("full_graph", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_to_static(name, full_graph):
    loss, inputs, predictions = CASES[name]
    want, grads, factor = expected(loss, inputs)
    made, wanting = tensors(inputs, predictions)
    net = paddle.jit.to_static(Net(loss, predictions), full_graph=full_graph)
    for _ in range(2):  # the second time from Paddle's cache
        for t in wanting:
            t.clear_gradient(False)
        got = net(made)
        check_value(got, want)
        backward(got, factor)
        check_gradients(wanting, grads)


@pytest.mark.parametrize("full_graph", [True, False])
def test_functions_to_static(full_graph):
    p, y, _, t = simple()

    def loss(x, t):
        return segloss.paddle.dice_loss(segloss.paddle.db_step(x, 1 - x, k=3), t, from_logits=False)

    step = paddle.jit.to_static(loss, full_graph=full_graph)
    x = tensor(p, True)
    value = step(x, t)
    binary_map = segloss.db_step(p, 1 - p, k=3)
    want, grad = segloss.DiceLoss(from_logits=False).value_and_grad(binary_map, y)
    check_value(value, want)
    value.backward()
    prob, thresh = segloss.db_step_grad(p, 1 - p, grad, k=3)
    np.testing.assert_array_equal(array(x.grad), prob - thresh)


def test_a_batch_of_any_size():
    spec = [paddle.static.InputSpec([-1, 3, -1, 7], "float32", name) for name in ("input", "target")]
    layer = paddle.jit.to_static(segloss.paddle.DiceLoss(average="macro", per_sample=True), spec, full_graph=True)
    rng = np.random.default_rng(4)
    for n, h in ((2, 5), (4, 9)):
        p, y = rng.random((n, 3, h, 7), dtype=np.float32), (rng.random((n, 3, h, 7)) < 0.3).astype(np.float32)
        want, grad = segloss.DiceLoss(average="macro", per_sample=True).value_and_grad(p, y)
        x = tensor(p, True)
        value = layer(x, tensor(y))
        check_value(value, want)
        value.backward()
        same(array(x.grad), grad, "gradient")


@pytest.fixture
def static_mode():
    paddle.enable_static()
    yield
    paddle.disable_static()


@pytest.mark.parametrize("name", ["dice", "bce-none", "l1-balance-ce", "db"])
def test_a_static_program(name, static_mode):
    loss, inputs, predictions = CASES[name]
    want, grads, _ = expected(loss, inputs)
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        made = {k: paddle.static.data(k, [-1, *v.shape[1:]], str(v.dtype)) for k, v in inputs.items()}
        for k in predictions:
            made[k].stop_gradient = False
        value = total(call(layer_of(loss), made))
        derived = paddle.static.gradients([value], [made[k] for k in predictions])
    found, *found_grads = paddle.static.Executor().run(main, feed=inputs, fetch_list=[value, *derived])
    same(found, np.asarray(total(want)).astype(np.float32), "value")
    _, grads = loss.value_and_grad(**inputs)
    for got, grad in zip(found_grads, grads if isinstance(grads, tuple) else (grads,), strict=True):
        same(got, grad, "gradient")


def test_a_large_gradient_in_a_static_program(static_mode):
    p, y = np.full((1, 1, 1024, 1024), 0.25, np.float32), np.ones((1, 1, 1024, 1024), np.float32)
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x, t = paddle.static.data("x", p.shape), paddle.static.data("t", p.shape)
        x.stop_gradient = False
        derived = paddle.static.gradients([segloss.paddle.DiceLoss()(x, t)], [x])
    (found,) = paddle.static.Executor().run(main, feed={"x": p, "t": y}, fetch_list=derived)
    same(found, segloss.DiceLoss().value_and_grad(p, y)[1], "gradient")


def test_training_in_a_static_program(static_mode):
    main, start = paddle.static.Program(), paddle.static.Program()
    rng = np.random.default_rng(0)
    feed = {"x": rng.random((8, 4), dtype=np.float32)}
    feed["y"] = (feed["x"] @ [[1, -1], [2, 0], [-1, 1], [0, 1]] > 0.5).astype(np.float32)
    with paddle.static.program_guard(main, start):
        x, y = paddle.static.data("x", [-1, 4]), paddle.static.data("y", [-1, 2])
        loss = segloss.paddle.DiceBCELoss()(paddle.nn.Linear(4, 2)(x), y)
        paddle.optimizer.Adam(0.1).minimize(loss)
    executor = paddle.static.Executor()
    executor.run(start)
    curve = [float(executor.run(main, feed=feed, fetch_list=[loss])[0]) for _ in range(60)]
    assert curve[-1] < 0.3 * curve[0], curve


def test_a_refusal_while_the_graph_is_made():
    """Not when it runs, where Paddle swallows the sentence."""
    layer = paddle.jit.to_static(segloss.paddle.MaskDiceLoss(), full_graph=True)
    with pytest.raises(ValueError, match="gt: expected shape"):
        layer(paddle.ones([2, 3, 4]), paddle.ones([2, 3, 5]), paddle.ones([2, 3, 4]))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_refusal_with_unknown_dimensions(reduction):
    """Here the rank is wrong: an exception, though Paddle ends the process for one while it asks for shapes."""
    spec = [paddle.static.InputSpec([-1], "float32", name) for name in ("input", "target")]
    layer = segloss.paddle.DiceLoss(average="macro", per_sample=True, reduction=reduction)
    with pytest.raises(Exception, match="Execution of the Python OP|index out of range"):
        paddle.jit.to_static(layer, spec, full_graph=True)(paddle.ones([4]), paddle.ones([4]))


def test_a_refusal_while_the_graph_runs(capfd):
    """An error of Paddle's; the sentence stands on standard error. What comes after is as if nothing had been."""
    p, y, x, t = simple()
    layer = paddle.jit.to_static(segloss.paddle.BCELoss(from_logits=False), full_graph=True)
    with pytest.raises(Exception, match="Execution of the Python OP"):
        layer(x + 1, t)
    assert "ValueError: input:" in capfd.readouterr().err
    check_value(layer(x, t), segloss.BCELoss(from_logits=False)(p, y))


# ---------------------------------------------------------------- refusals


def test_shapes_and_types():
    x = paddle.ones([2, 3, 4])
    with pytest.raises(ValueError, match="gt: expected shape"):
        segloss.paddle.MaskDiceLoss()(x, paddle.ones([2, 3, 5]), x)
    with pytest.raises(TypeError, match="pred: expected element type float32"):
        segloss.paddle.MaskDiceLoss()(x.astype("int32"), x, x)
    with pytest.raises(TypeError, match="expected element type .*complex64"):
        segloss.paddle.MaskDiceLoss()(x.astype("complex64"), x, x)
    with pytest.raises(TypeError, match="gt: expected a paddle.Tensor, got ndarray"):
        segloss.paddle.MaskDiceLoss()(x, x.numpy(), x)
    with pytest.raises(TypeError, match="mask: expected a paddle.Tensor, got NoneType"):
        segloss.paddle.MaskDiceLoss()(x, x, None)
    wanting = paddle.ones([2, 3, 4])
    wanting.stop_gradient = False
    with pytest.raises(ValueError, match="gt: wants a gradient, .* pass gt.detach"):
        segloss.paddle.MaskDiceLoss()(x, wanting, x)
    with pytest.raises(ValueError, match="probabilit"):
        segloss.paddle.BCELoss(from_logits=False)(2 * x, x)
    with pytest.raises(ValueError, match="average: expected one of"):
        segloss.paddle.DiceLoss(average="mezzo")
    with pytest.raises(TypeError, match="unexpected keyword"):
        segloss.paddle.dice_loss(x, x, smoth=1)


def test_after_a_refusal_all_is_well():
    p, y, x, t = simple()
    loss = segloss.paddle.BCELoss(from_logits=False)
    with pytest.raises(ValueError):
        loss(x + 1, t)
    check_value(loss(x, t), segloss.BCELoss(from_logits=False)(p, y))


def test_memory_elsewhere(monkeypatch):
    """There is no other device here: the tensors say that they are on one."""
    monkeypatch.setattr(_run, "_HAS_DEVICES", True)
    loss = segloss.paddle.DiceLoss()
    for _ in range(2):
        assert loss(paddle.ones([3]), paddle.ones([3])).item() < 1
    monkeypatch.setattr(type(paddle.ones([3]).place), "is_cpu_place", lambda place: False)
    with pytest.raises(ValueError, match=r"input: expected a tensor in the memory of the CPU, got one on .*\.cpu\(\)"):
        loss(paddle.ones([3]), paddle.ones([3]))


# ---------------------------------------------------------------- PaddleOCR


def ocr_batch(rng, n=2, h=24, w=32):
    """Labels as PaddleOCR's loader has them: image, threshold map and mask, shrink map and mask."""
    shrink, mask = binary(rng, (n, h, w), 0.2), binary(rng, (n, h, w), 0.9)
    threshold = 0.3 + 0.4 * probabilities(rng, (n, h, w))
    arrays = [probabilities(rng, (n, 3, h, w)), threshold, binary(rng, (n, h, w), 0.4), shrink, mask]
    return [paddle.to_tensor(a.astype(np.float32)) for a in arrays]


# The `Loss` of a configuration of PaddleOCR's, as its builder passes it.
CONFIG = {"balance_loss": True, "main_loss_type": "DiceLoss", "alpha": 5, "beta": 10, "ohem_ratio": 3}


def test_db_loss_in_a_configuration():
    labels = ocr_batch(np.random.default_rng(0))
    maps = paddle.to_tensor(probabilities(np.random.default_rng(1), (2, 3, 24, 32)))
    plain = segloss.paddle.DBLoss(**CONFIG)({"maps": maps}, labels)
    other = segloss.paddle.DBLoss(**CONFIG, model_name="det", use_rec=False)({"maps": maps}, labels)
    assert list(plain) == ["loss", "loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps"]
    upstream = up.db_loss(maps, *labels[1:])
    for name in plain:
        assert float(plain[name]) == float(other[name])
        assert float(plain[name]) == pytest.approx(float(upstream[name]), rel=5e-6)
    with pytest.raises(ValueError, match="labels: expected .image, threshold_map"):
        segloss.paddle.DBLoss()({"maps": maps}, labels[1:])
    with pytest.raises(ValueError, match="alpha"):
        segloss.paddle.DBLoss(alpha=float("nan"), model_name="det")


@pytest.mark.parametrize("options", [{}, {"main_loss_type": "BCELoss", "ohem_ratio": 2}], ids=str)
def test_db_loss_with_the_maps_of_newer_heads(options):
    labels = ocr_batch(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    maps, cbn = (paddle.to_tensor(probabilities(rng, (2, c, 24, 32)), stop_gradient=False) for c in (3, 1))
    found = segloss.paddle.DBLoss(**options)({"maps": maps, "distance_maps": cbn, "cbn_maps": cbn}, labels)
    main, ratio = options.get("main_loss_type", "DiceLoss"), options.get("ohem_ratio", 3)
    wanted = up.balance(cbn[:, 0], labels[3], labels[4], main, ratio)
    whole = up.db_loss(maps, *labels[1:], main=main, ratio=ratio)["loss"] + wanted
    assert float(found["loss_cbn"]) == pytest.approx(float(wanted), rel=5e-6)
    assert float(found["loss"]) == pytest.approx(float(whole), rel=5e-6)
    grads = paddle.grad(found["loss"], [maps, cbn]), paddle.grad(whole, [maps, cbn])
    for got, want in zip(*grads):  # 1e-5: Paddle's own rounding, see test_oracle_paddle.py
        assert np.abs(got.numpy() - want.numpy()).max() <= 1e-5 * np.abs(want.numpy()).max()


def test_db_loss_with_auxiliary_maps():
    labels = ocr_batch(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    maps, p4, p3 = (paddle.to_tensor(probabilities(rng, (2, 3, 24, 32)), stop_gradient=False) for _ in range(3))
    criterion = segloss.paddle.DBLoss(**CONFIG, aux_weight_p4=0.5, aux_weight_p2=1.0)
    found = criterion({"maps": maps, "aux_maps_p4": p4, "aux_maps_p3": p3}, labels)
    main, aux = (up.db_loss(m, *labels[1:])["loss"] for m in (maps, p4))
    assert float(found["loss"]) == pytest.approx(float(main + 0.5 * aux), rel=5e-6)
    assert float(found["loss_aux_maps_p4"]) == pytest.approx(float(aux), rel=5e-6)
    assert "loss_aux_maps_p3" not in found
    found["loss"].backward()
    assert float(p4.grad.abs().sum()) > 0 and p3.grad is None
    with pytest.raises(ValueError, match="main_loss_type: expected one of"):
        segloss.paddle.DBLoss(main_loss_type="DiceFocalLoss")


def test_the_names_of_det_basic_loss():
    maps = [paddle.to_tensor(probabilities(np.random.default_rng(1), (2, 24, 32)))]
    *_, gt, mask = ocr_batch(np.random.default_rng(0))
    pred = maps[0]
    dice = det_basic_loss.DiceLoss(eps=1e-6)(pred, gt, mask, weights=None)
    assert float(dice) == pytest.approx(float(up.mask_dice(pred, gt, mask)), rel=5e-6)
    l1 = det_basic_loss.MaskL1Loss(eps=1e-6)(pred, gt, mask)
    assert float(l1) == pytest.approx(float(up.mask_l1(pred, gt, mask)), rel=5e-6)
    for main in ("DiceLoss", "BCELoss"):
        loss = det_basic_loss.BalanceLoss(
            balance_loss=True, main_loss_type=main, negative_ratio=3, return_origin=True, eps=1e-6
        )
        balanced, origin = loss(pred, gt, mask)
        assert float(balanced) == pytest.approx(float(up.balance(pred, gt, mask, main)), rel=5e-6)
        assert np.allclose(origin.numpy(), up.main_loss(main, pred, gt, mask).numpy(), rtol=5e-6, atol=1e-7)
    assert repr(det_basic_loss.DiceLoss(eps=0.5)) == "DiceLoss(eps=0.5)"
    assert repr(pickle.loads(pickle.dumps(det_basic_loss.DiceLoss(eps=0.5)))) == "DiceLoss(eps=0.5)"


def train(loss_of, steps=50):
    """A small detector trained as PaddleOCR trains: `loss(predicts, labels)["loss"].backward()`."""
    paddle.seed(3)
    channels = 8
    head = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, channels, 3, padding=1),
        paddle.nn.ReLU(),
        paddle.nn.Conv2D(channels, 2, 3, padding=1),
        paddle.nn.Sigmoid(),
    )
    optimizer = paddle.optimizer.Adam(1e-2, parameters=head.parameters())
    curve = []
    for step in range(steps):
        labels = ocr_batch(np.random.default_rng(step % 5))
        prob, thresh = head(labels[0]).unbind(1)
        binary_map = paddle.nn.functional.sigmoid(50 * (prob - thresh))
        losses = loss_of({"maps": paddle.stack([prob, thresh, binary_map], 1)}, labels)
        losses["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()
        curve.append([float(losses[name]) for name in sorted(losses)])
    return np.array(curve)


def test_the_same_curve_as_upstream():
    """Swapping the class changes the curve by no more than float32's rounding, which training amplifies: a step of Adam
    divides by the size of a gradient, so that its last bits become those of a weight."""
    ours = train(segloss.paddle.DBLoss(**CONFIG))
    upstream = train(lambda predicts, labels: up.db_loss(predicts["maps"], *labels[1:]))
    assert ours[-1].sum() < 0.9 * ours[0].sum()
    np.testing.assert_allclose(ours[:5], upstream[:5], rtol=1e-5)
    np.testing.assert_allclose(ours, upstream, rtol=1e-3)


ROOT = Path(__file__).resolve().parents[3]
SNIPPETS = re.findall(r"^```python\n(.*?)^```", (ROOT / "Guides/PaddlePaddle.md").read_text(), re.M | re.S)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_guide(number, tmp_path):
    # From a file: to_static reads the source of what it is given.
    snippet = tmp_path / f"snippet_{number}.py"
    snippet.write_text(SNIPPETS[number])
    runpy.run_path(str(snippet))


def test_the_example_learns(tmp_path):
    """By its own verdict: every loss falls, and the detector clearly beats thresholds on what it never saw."""
    picture = tmp_path / "page.png"
    command = [sys.executable, str(ROOT / "Examples/paddle_db.py"), "--steps", "150", "--output", str(picture)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG") and "held-out" in done.stdout
