"""segloss.jax: the bits of numpy, under every transformation; what it refuses; several devices; memory; a training.

The tests need two devices, which XLA makes of one CPU if it is told before JAX is imported: this file has a process of
its own.
"""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

from frameworks import framework, not_run

framework("jax")

import contextlib
import doctest
import inspect
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boundary_cases
import ctpn_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import segloss
import segloss.jax as sj
import window_cases
from catalog import BY_NAME, CATALOG
from faces import NAMES_IN_C, Face
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from segloss import _program
from segloss._tensor import _CODES, tensor
from support import PREDICTION_TYPES, SMALL

ROOT = Path(__file__).resolve().parents[3]
BOTH = "ctpn", "ctpn-rows", "ctpn-heads"


# ---------------------------------------------------------------- every call, in numpy and in JAX


def function_of(cls):
    """The function that a class is in JAX."""
    names = {"BCELoss": "bce_loss", "IoULoss": "iou_loss", "CTPNLoss": "ctpn_loss", "DBLoss": "db_loss"}
    names |= {"DiceBCELoss": "dice_bce_loss", "L1BalanceCELoss": "l1_balance_ce_loss"}
    return getattr(sj, names.get(cls.__name__) or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower())


class Case:
    """A loss with its inputs: `numpy` gives value and gradients, `jax` a function of the predictions."""

    def __init__(self, loss, inputs, predictions, call=None):
        self.loss, self.inputs, self.predictions = loss, inputs, predictions
        options = dict(loss._arguments[1])
        if isinstance(loss, segloss.CrossEntropyLoss) and "weight" in options:
            options["class_weight"] = options.pop("weight")
        self.options = options
        self.call = call or function_of(type(loss))

    def numpy(self, grad_output=1.0):
        value, grad = self.loss.value_and_grad(**self.inputs, grad_output=grad_output)
        return value, list(grad) if isinstance(grad, tuple) else [grad]

    def arrays(self):
        """(predictions, other arguments) for JAX"""
        given = {name: jnp.asarray(value) for name, value in self.inputs.items()}
        return [given.pop(name) for name in self.predictions], given

    def function(self, **more):
        def call(predictions, others):
            return self.call(**dict(zip(self.predictions, predictions)), **others, **self.options, **more)

        return call


def case_of(name, kind, shape=SMALL):
    dtype = PREDICTION_TYPES[kind]
    if name in BY_NAME:
        entry = BY_NAME[name]
        inputs = {k: v for k, v in entry.draw(shape, dtype=dtype, target=np.float32).items() if v is not None}
        return Case(entry.make(), inputs, entry.predictions)
    n, h, w = shape
    if name in window_cases.ENTRIES:
        prediction, mask = window_cases.draw(name, (n, 3, h, w))
        loss = window_cases.make(name, return_parts=True)
        inputs = {"pred": prediction.astype(dtype), "mask": mask.astype(np.uint8)}
        if isinstance(loss, segloss.ActiveContourLoss):

            def call(input, target, weight=10, **options):
                return sj.active_contour_loss(target, input, weight, **options)

            return Case(loss, dict(zip(("input", "target"), inputs.values())), ("input",), call)
        return Case(loss, inputs, ("pred",))
    if name.startswith("boundary"):
        options = {"reduction": "none"} if name.endswith("none") else {"theta": 7, "ignore_index": 2}
        inputs = boundary_cases.draw((n, 3, h, w), dtype=dtype, labels=np.uint8)
        return Case(segloss.BoundaryLoss(**options), inputs, ("logits",))
    layout = {"ctpn": dict, "ctpn-rows": ctpn_cases.rows, "ctpn-heads": ctpn_cases.heads}[name]
    inputs = layout(ctpn_cases.draw((1, h, w, 3), dtype=dtype, target=np.float32))
    return Case(segloss.CTPNLoss(return_parts=True), inputs, ctpn_cases.PREDICTIONS)


NAMES = [entry.name for entry in CATALOG if entry.name != "step"]
NAMES += [*window_cases.ENTRIES, "boundary", "boundary-none", *BOTH]


def wide(kind):
    """Float64 exists in JAX only if asked for."""
    return jax.enable_x64(True) if kind == "f64" else contextlib.nullcontext()


def leaves(value):
    """A value and its parts, as (name, array), by their names: jit sorts them."""
    if isinstance(value, dict):
        return [leaf for k, v in sorted(value.items()) for leaf in leaves_under(k, v)]
    return [] if value is None else leaves_under("value", value)


def leaves_under(name, value):
    if isinstance(value, (list, tuple)):
        return [leaf for i, v in enumerate(value) for k, v in leaves(v) for leaf in leaves_under(f"{name}[{i}].{k}", v)]
    return [(name, np.asarray(value))]


def assert_same(got, want, rounded):
    """Numbers are numpy's double, rounded once; maps and gradients are numpy's."""
    (value, grads), (numbers, gradients) = got, want
    assert [k for k, _ in leaves(value)] == [k for k, _ in leaves(numbers)]
    for (name, a), (_, b) in zip(leaves(value), leaves(numbers)):
        expected = b if b.ndim and b.dtype != np.float64 else b.astype(rounded)
        assert a.dtype == expected.dtype and a.shape == expected.shape, (name, a.dtype, a.shape, b.dtype, b.shape)
        assert a.tobytes() == expected.tobytes(), f"{name}: {a!r}, numpy has {expected!r}"
    for i, (a, b) in enumerate(zip(grads, gradients, strict=True)):
        a = np.asarray(a)
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == np.ascontiguousarray(b).tobytes(), f"gradient {i} differs"


def number(value):
    """What is differentiated: the loss, or the sum of the values before a reduction."""
    return jnp.sum(value["loss"] if isinstance(value, dict) else value)


def value_and_grad(function):
    def both(predictions, others):
        def scalar(predictions):
            value = function(predictions, others)
            return number(value), value

        (_, value), grads = jax.value_and_grad(scalar, has_aux=True)(predictions)
        return value, grads

    return both


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_of_numpy(name, kind):
    case = case_of(name, kind)
    want, rounded = case.numpy(), np.float64 if kind == "f64" else np.float32
    with wide(kind):
        predictions, others = case.arrays()
        both = value_and_grad(case.function())
        assert_same(jax.jit(both)(predictions, others), want, rounded)
        if kind == "f32":
            assert_same(both(predictions, others), want, rounded)
        alone = jax.jit(case.function())(predictions, others)  # no gradient wanted
        assert_same((alone, ()), (want[0], ()), rounded)


class TestFace(Face):
    refusals = (ValueError, jax.errors.JaxRuntimeError)
    other_names = NAMES_IN_C

    def run(self, loss, inputs, predictions):
        positional, named = loss._arguments
        options = inspect.signature(type(loss)).bind(*positional, **named).arguments
        options |= options.pop("options", {})
        if isinstance(loss, segloss.CrossEntropyLoss) and "weight" in options:
            options["class_weight"] = options.pop("weight")
        given = jax.tree.map(jnp.asarray, dict(inputs))
        wanted = {name: given.pop(name) for name in predictions}
        keras = {"input": "y_pred", "target": "y_true"} if isinstance(loss, segloss.ActiveContourLoss) else {}

        def scalar(wanted):
            arguments = {keras.get(name, name): value for name, value in {**wanted, **given}.items()}
            found = function_of(type(loss))(**arguments, **options)
            found = found[0] if isinstance(found, tuple) else found
            value = found["loss"] if isinstance(found, dict) else found
            return jnp.sum(value), value

        (_, value), gradients = jax.value_and_grad(scalar, has_aux=True)(wanted)
        return np.asarray(value), [np.asarray(g) for name in predictions for g in jax.tree.leaves(gradients[name])]


@pytest.mark.parametrize("name", NAMES)
def test_targets_in_every_type(name):
    """Whole numbers, as data loaders leave them; int64 needs the wide types of JAX."""
    case = case_of(name, "f32")
    types = iter([np.int32, np.uint8, np.int64, np.bool_] * 3)
    for key, value in case.inputs.items():
        if key not in case.predictions:
            case.inputs[key] = np.clip(np.rint(value), -1 if key == "rpn_labels" else 0, 1).astype(next(types))
    if "rpn_labels" in case.inputs:
        case.inputs["rpn_labels"] = case.inputs["rpn_labels"].astype(np.int32)
    with jax.enable_x64(True):
        assert_same(jax.jit(value_and_grad(case.function()))(*case.arrays()), case.numpy(), np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_factor_costs_nothing_and_changes_nothing_else(name):
    case = case_of(name, "f32")
    predictions, others = case.arrays()
    _, back = jax.vjp(lambda p: number(case.function()(p, others)), predictions)
    (grads,) = back(jnp.float32(-1.75))
    assert_same((None, grads), (None, case.numpy(-1.75)[1]), np.float32)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_the_step(kind):
    inputs = BY_NAME["step"].draw(SMALL, dtype=PREDICTION_TYPES[kind])
    (prob, thresh, factor) = inputs.values()
    with wide(kind):
        for function in (sj.db_step, jax.jit(sj.db_step)):
            value, back = jax.vjp(function, jnp.asarray(prob), jnp.asarray(thresh))
            assert_same(
                (value, back(jnp.asarray(factor))),
                (segloss.db_step(prob, thresh), segloss.db_step_grad(prob, thresh, factor)),
                None,
            )
    assert np.asarray(sj.db_step(prob, thresh, k=3)).tobytes() != np.asarray(value).tobytes()


def test_a_list_of_predictions():
    rng = np.random.default_rng(0)
    levels = [window_cases.logits(rng, (2, 1, 40, 50)).astype(np.float32) for _ in range(3)]
    mask = window_cases.mask(rng, (2, 1, 40, 50)).astype(np.uint8)
    want = segloss.StructureLoss(return_parts=True).value_and_grad(levels, mask)
    both = value_and_grad(lambda p, m: sj.structure_loss(p, m, return_parts=True))
    assert_same(jax.jit(both)([jnp.asarray(level) for level in levels], jnp.asarray(mask)), want, np.float32)


@pytest.mark.parametrize("main", ["DiceLoss", "BCELoss", "MaskL1Loss"])
def test_the_origin_has_a_gradient_of_its_own(main):
    inputs = list(BY_NAME["balance-dice"].draw(SMALL, dtype=np.float32).values())
    options = {"main_loss_type": main, "return_origin": True}
    balanced, origin = sj.balance_loss(*inputs, **options)
    want = segloss.BalanceLoss(**options)(*inputs)
    assert np.float32(want[0]) == balanced
    np.testing.assert_array_equal(np.asarray(origin), np.asarray(want[1], np.float32))
    grad = jax.grad(lambda p: jnp.sum(sj.balance_loss(p, *inputs[1:], **options)[1]))(inputs[0])
    alone = segloss.BalanceLoss(balance_loss=False, main_loss_type=main).value_and_grad(*inputs)[1]
    np.testing.assert_array_equal(np.asarray(grad), alone)


def test_channels_last():
    case = case_of("dice-softmax", "f32")
    value, (grad,) = case.numpy()
    last = [jnp.moveaxis(p, 1, -1) for p in case.arrays()[0]]
    got, (got_grad,) = value_and_grad(case.function(channels_last=True))(last, case.arrays()[1])
    assert_same((got, [jnp.moveaxis(got_grad, -1, 1)]), (value, [grad]), np.float32)
    maps = sj.cross_entropy_loss(last[0], case.inputs["target"] % 3, reduction="none", channels_last=True)
    assert maps.shape == SMALL


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), ()])
def test_nothing_and_a_single_number(shape):
    x, y = np.full(shape, 0.5, np.float32), np.ones(shape, np.float32)
    got = value_and_grad(lambda p, t: sj.dice_loss(p[0], t))([jnp.asarray(x)], jnp.asarray(y))
    assert_same(got, listed(segloss.DiceLoss().value_and_grad(x, y)), np.float32)


# ---------------------------------------------------------------- transformations

X = np.random.default_rng(0).standard_normal((4, 3, 5, 7)).astype(np.float32)
Y = (np.random.default_rng(1).random((4, 3, 5, 7)) < 0.4).astype(np.uint8)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (1, 1), (-1, 2)])
def test_vmap(axes):
    y = Y if axes[1] is not None else Y[0]
    if axes == (-1, 2):
        y = np.moveaxis(Y, -1, 2)
    got = jax.vmap(jax.value_and_grad(sj.dice_loss), in_axes=axes)(X, y)
    x = np.moveaxis(X, axes[0], 0)
    y = [y] * len(x) if axes[1] is None else np.moveaxis(y, axes[1], 0)
    for i, (a, b) in enumerate(zip(x, y)):
        value, grad = segloss.DiceLoss().value_and_grad(a, b)
        assert np.float32(value) == got[0][i]
        np.testing.assert_array_equal(np.asarray(got[1][i]), grad)


def test_vmap_of_parts_and_maps_and_within_itself():
    def items(x, y):
        return sj.bce_loss(x, y, reduction="none")

    np.testing.assert_array_equal(np.asarray(jax.vmap(jax.vmap(items))(X, Y)), segloss.BCELoss(reduction="none")(X, Y))
    parts = jax.jit(jax.vmap(lambda x, y: sj.dice_loss(x, y, return_parts=True)))(X, Y)
    want = [segloss.DiceLoss(return_parts=True)(x, y) for x, y in zip(X, Y)]
    for name in want[0]:
        np.testing.assert_array_equal(np.asarray(parts[name]), np.float32([w[name] for w in want]))


def test_targets_have_no_gradient():
    soft = jnp.asarray(Y, jnp.float32)
    assert not np.asarray(jax.grad(sj.dice_loss, argnums=1)(X, soft)).any()
    grad, none = jax.grad(sj.dice_loss, argnums=(0, 1), allow_int=True)(jnp.asarray(X), jnp.asarray(Y))
    np.testing.assert_array_equal(np.asarray(grad), segloss.DiceLoss().value_and_grad(X, Y)[1])
    assert none.dtype == jax.dtypes.float0


def test_parts_have_no_gradient():
    def part(x):
        return sj.dice_bce_loss(x, Y, return_parts=True)["bce_loss"]

    assert part(X) > 0
    assert not np.asarray(jax.grad(part)(jnp.asarray(X))).any()


def test_the_gradient_goes_on_through_what_follows_and_precedes():
    x = jnp.asarray(X)
    got = jax.jit(jax.grad(lambda x: jnp.exp(sj.dice_loss(2 * x, Y)) ** 2))(x)
    value, grad = segloss.DiceLoss().value_and_grad(2 * X, Y)
    np.testing.assert_allclose(np.asarray(got), 4 * np.exp(2 * value) * grad, rtol=1e-5)  # float32 in JAX


def test_scan_checkpoint_and_linearize():
    x = jnp.asarray(X)
    want = np.asarray(jax.grad(sj.dice_loss)(x, Y))

    def scanned(x):
        return jax.lax.scan(lambda total, pair: (total + sj.dice_loss(*pair), None), 0.0, (x, jnp.asarray(Y)))[0]

    each = np.stack([segloss.DiceLoss().value_and_grad(a, b)[1] for a, b in zip(X, Y)])
    np.testing.assert_array_equal(np.asarray(jax.jit(jax.grad(scanned))(x)), each)
    again = jax.grad(jax.checkpoint(lambda x: sj.dice_loss(x, Y)))
    np.testing.assert_array_equal(np.asarray(jax.jit(again)(x)), want)
    _, back = jax.vjp(lambda x: sj.dice_loss(x, Y), x)
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(back(jnp.float32(1))[0]), want)


def test_exported_with_symbolic_shapes():
    from jax import export

    n, h = export.symbolic_shape("n, h")
    arguments = [jax.ShapeDtypeStruct((n, 3, h, 7), dtype) for dtype in (np.float32, np.uint8)]
    checks = [export.DisabledSafetyCheck.custom_call(f"segloss_{name}") for name in ("forward", "gradient")]
    exported = export.export(jax.jit(jax.value_and_grad(sj.dice_loss)), disabled_checks=checks)(*arguments)
    got = exported.call(X, Y)
    assert_same((got[0], [got[1]]), listed(segloss.DiceLoss().value_and_grad(X, Y)), np.float32)
    with pytest.raises(ValueError, match="n"):
        exported.call(X, Y[:2])


def listed(result):
    return result[0], [result[1]]


def test_from_many_threads_at_once():
    names = ["dice", "db-bce", "cross-entropy", "boundary", "structure", "bce-none"]
    cases = [case_of(name, "f32", (3, 257, 263)) for name in names]
    functions = [jax.jit(value_and_grad(case.function())) for case in cases]
    want = [case.numpy() for case in cases]

    def run(i):
        got = functions[i](*cases[i].arrays())
        assert_same(jax.block_until_ready(got), want[i], np.float32)
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(run, [*range(len(cases))] * 6))


# ---------------------------------------------------------------- what is refused


def test_a_wrong_shape_while_tracing():
    x, y = jnp.asarray(X), jnp.asarray(Y)
    with pytest.raises(ValueError, match=r"target: expected shape \(4, 3, 5, 7\)"):
        jax.jit(sj.dice_loss).lower(x, y[:, :, :4])
    with pytest.raises(ValueError, match="mask: expected"):
        jax.eval_shape(lambda x, y: sj.dice_loss(x, y, mask=y[0]), x, y)
    with pytest.raises(ValueError, match="maps: expected shape N x 3 x H x W"):
        sj.db_loss(x[:, :2], *[y[:, 0]] * 4)
    with pytest.raises(ValueError, match="y_true: expected shape"):
        sj.active_contour_loss(y[0], x)
    with pytest.raises(ValueError, match="input: expected at most 6 dimensions"):
        sj.bce_loss(x.reshape(1, 1, 1, 1, 1, 1, -1), y.reshape(1, 1, 1, 1, 1, 1, -1))


def test_a_wrong_type_while_tracing():
    x, y = jnp.asarray(X), jnp.asarray(Y)
    with pytest.raises(TypeError, match="input: expected element type float32, float64, float16 or bfloat16"):
        jax.jit(sj.dice_loss).lower(y, y)
    with pytest.raises(TypeError, match="target: expected float32, .* got int16"):
        jax.jit(sj.dice_loss).lower(x, y.astype(jnp.int16))
    with pytest.raises(TypeError, match=r"pred\[1\]: expected .* got complex64"):
        sj.structure_loss([x, x.astype(jnp.complex64)], y)
    with pytest.raises(TypeError, match="mask: expected .* got uint16"):
        sj.dice_loss(x, y, mask=np.asarray(Y, np.uint16))
    with pytest.raises(TypeError, match="target: expected an array, got float"):
        sj.dice_loss(x, 1.0)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"smooth": "1"}, "smooth: expected a number"),
        ({"average": "both"}, "average: expected one of"),
        ({"smoth": 1}, r"dice_loss\(\) got an unexpected keyword argument 'smoth'"),
        ({"class_weight": [1, "a"]}, "class_weight: expected a number"),
    ],
)
def test_a_wrong_option(options, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        sj.dice_loss(X, Y, **options)


def test_an_option_cannot_be_traced():
    with pytest.raises(TypeError, match="smooth: an option is part of the program and cannot be traced"):
        jax.jit(lambda s: sj.dice_loss(X, Y, smooth=s))(1.0)


def test_a_missing_argument():
    with pytest.raises(TypeError, match="target"):
        sj.dice_loss(X)


def test_options_may_be_arrays_and_lists():
    want = np.float32(segloss.DiceLoss(class_weight=[1, 0.5, 2])(X, Y))
    for weights in ([1, 0.5, 2], (1, 0.5, 2), np.array([1, 0.5, 2]), jnp.array([1, 0.5, 2])):
        assert sj.dice_loss(X, Y, class_weight=weights) == want


def test_a_wrong_value_when_it_is_read():
    labels = np.full((4, 5, 7), 3, np.uint8)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INVALID_ARGUMENT: target: .*3"):
        jax.block_until_ready(jax.jit(sj.cross_entropy_loss)(X, labels))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INVALID_ARGUMENT: input: "):
        jax.block_until_ready(jax.jit(lambda x: sj.bce_loss(x, Y, from_logits=False))(X))


@pytest.mark.parametrize(
    "second",
    [lambda f: jax.jacrev(jax.grad(f)), jax.hessian, lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2))],
)
@pytest.mark.parametrize("jit", [jax.jit, lambda f: f])
def test_no_second_derivative(second, jit):
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jit(second(lambda x: sj.dice_loss(x, Y) ** 2))(jnp.asarray(X))


def test_no_forward_mode():
    with pytest.raises(TypeError, match="jvp"):
        jax.jvp(lambda x: sj.dice_loss(x, Y), (X,), (X,))


@pytest.mark.parametrize("platforms", [("cuda",), ("cpu", "tpu")])
def test_no_other_platform(platforms):
    for function in (sj.dice_loss, jax.grad(sj.dice_loss)):
        with pytest.raises(NotImplementedError, match="segloss computes on the CPU.*" + platforms[-1]):
            jax.jit(function).trace(X, Y).lower(lowering_platforms=platforms)


# ---------------------------------------------------------------- handlers that are called by hand


def call(handler, results, *arrays, **attributes):
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in results]
    return jax.block_until_ready(jax.ffi.ffi_call(f"segloss_{handler}", results)(*arrays, **attributes))


NUMBER, SUMS, LIKE_X = ((), np.float32), ((3, 2), np.uint32), (X.shape, np.float32)
STATISTICS = np.zeros((3, 2), np.uint32)
DICE = np.frombuffer(segloss.DiceLoss().program(X, Y)[0].data, np.uint8)


@pytest.mark.parametrize(
    "handler, results, arrays, attributes, sentence",
    [
        ("forward", [NUMBER, SUMS], [X, Y], {}, "expected one attribute"),
        ("forward", [NUMBER, SUMS], [X, Y], {"program": DICE, "more": 1}, "expected one attribute"),
        ("forward", [NUMBER, SUMS], [X, Y], {"program": "dice"}, "expected one attribute"),
        ("forward", [NUMBER, SUMS], [X, Y], {"program": DICE.astype(np.int32)}, "array of uint8"),
        ("forward", [NUMBER, SUMS], [X, Y], {"program": DICE[:20]}, "program: expected at least"),
        ("forward", [NUMBER, SUMS], [X], {"program": DICE}, "count: expected 2 arrays, got 1"),
        ("forward", [NUMBER, SUMS], [], {"program": DICE}, "count: expected 2 arrays, got 0"),
        ("forward", [NUMBER, SUMS], [X, Y.astype(np.int16)], {"program": DICE}, "got XLA's type 3"),
        ("forward", [NUMBER, NUMBER], [X, Y], {"program": DICE}, "statistics as pairs of uint32"),
        ("forward", [NUMBER, ((5,), np.uint32)], [X, Y], {"program": DICE}, "statistics as pairs of uint32"),
        ("forward", [NUMBER, ((4, 2), np.uint32)], [X, Y], {"program": DICE}, "statistics: expected 3"),
        ("forward", [NUMBER, SUMS, NUMBER, NUMBER], [X, Y], {"program": DICE}, "expected 1 to 3 results"),
        ("forward", [((2,), np.float32), SUMS], [X, Y], {"program": DICE}, "value: "),
        ("forward", [NUMBER, SUMS, ((9,), np.float32)], [X, Y], {"program": DICE}, "parts_length: expected"),
        ("forward", [NUMBER, SUMS, ((2,), np.int32)], [X, Y], {"program": DICE}, "parts as float32 or float64"),
        ("value", [NUMBER], [], {"program": DICE}, "expected statistics"),
        ("value", [NUMBER], [X, Y, np.zeros((4, 2), np.uint32)], {"program": DICE}, "statistics: expected 3"),
        ("gradient", [LIKE_X], [X], {"program": DICE}, "expected statistics and an upstream gradient"),
        ("gradient", [LIKE_X], [X, Y, STATISTICS, X], {"program": DICE}, "grad_output: expected shape"),
        ("gradient", [LIKE_X] * 2, [X, Y, STATISTICS, np.float32(1)], {"program": DICE}, "expected 1 gradients, got 2"),
        ("gradient", [NUMBER], [X, Y, STATISTICS, np.float32(1)], {"program": DICE}, "grad_input: expected shape"),
    ],
)
def test_a_handler_refuses(handler, results, arrays, attributes, sentence):
    with pytest.raises(jax.errors.JaxRuntimeError, match="INVALID_ARGUMENT: .*" + sentence):
        call(handler, results, *map(jnp.asarray, arrays), **attributes)


# ---------------------------------------------------------------- XLA's structs

# Ours (Sources/CXLA) beside XLA's: {struct: (XLA's, {field: XLA's})}, fields of equal names apart.
STRUCTS = {
    "extension": ("Extension_Base", {}),
    "api_version": ("Api_Version", {}),
    "error_create_args": ("Error_Create_Args", {}),
    "api": ("Api", {"error_create": "XLA_FFI_Error_Create"}),
    "buffer": ("Buffer", {}),
    "array": ("Array", {}),
    "buffers": ("Args", {"values": "args"}),
    "buffers ": ("Rets", {"values": "rets"}),
    "attributes": ("Attrs", {"values": "attrs"}),
    "call_frame": ("CallFrame", {"context": "ctx", "arguments": "args", "results": "rets", "attributes": "attrs"}),
    "metadata": ("Metadata", {}),
    "metadata_extension": ("Metadata_Extension", {"base": "extension_base"}),
}
PREFIXES = (
    ("CXLA_VERSION_", "XLA_FFI_API_"), ("CXLA_EXTENSION_METADATA", "XLA_FFI_Extension_Metadata"),
    ("CXLA_STAGE_", "XLA_FFI_ExecutionStage_"), ("CXLA_BUFFER", "XLA_FFI_ArgType_BUFFER"),
    ("CXLA_ATTRIBUTE_", "XLA_FFI_AttrType_"), ("CXLA_INVALID", "XLA_FFI_Error_Code_INVALID"),
    ("CXLA_RESOURCE", "XLA_FFI_Error_Code_RESOURCE"), ("CXLA_FAILED", "XLA_FFI_Error_Code_FAILED"),
    ("CXLA_", "XLA_FFI_DataType_"),
)  # fmt: skip


def test_xlas_structs_are_as_declared(tmp_path):
    """Every struct, field and number of our header against the one that comes with jaxlib."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        not_run("no C compiler: none of cc, gcc, clang is installed")
    header = (ROOT / "Sources/CXLA/include/cxla.h").read_text()
    declared = dict(re.findall(r"typedef struct cxla_(\w+) \{(.*?)\} cxla_\1;", header, re.DOTALL))
    assert set(declared) == {name.strip() for name in STRUCTS}
    lines = []
    for name, (theirs, renamed) in STRUCTS.items():
        ours, theirs = f"cxla_{name.strip()}", f"XLA_FFI_{theirs}"
        fields = re.findall(r"(\w+)(?:\)\([^)]*\))?;", declared[name.strip()])
        assert len(fields) == declared[name.strip()].count(";")
        for field in fields:
            other = renamed.get(field, field)
            lines.append(f"offsetof({ours}, {field}) == offsetof({theirs}, {other})")
            lines.append(f"sizeof((({ours} *)0)->{field}) == sizeof((({theirs} *)0)->{other})")
        # Functions that we do not call, and what was appended to the frame, come after our last field.
        if name not in ("api", "call_frame"):
            lines.append(f"sizeof({ours}) == sizeof({theirs})")
    for enumerator in re.findall(r"CXLA_[A-Z0-9_]+(?= = )", header):
        mine, theirs = next(pair for pair in PREFIXES if enumerator.startswith(pair[0]))
        lines.append(f"{enumerator} == {theirs + enumerator.removeprefix(mine)}")
    source = tmp_path / "same.c"
    source.write_text(
        "#include <xla/ffi/api/c_api.h>\n#include <cxla.h>\n"
        + "\n".join(f'_Static_assert((int){line.replace("== ", "== (int)")}, "{line}");' for line in lines)
    )
    includes = [f"-I{jax.ffi.include_dir()}", f"-I{ROOT / 'Sources/CXLA/include'}"]
    done = subprocess.run(
        [compiler, "-std=c11", "-c", *includes, str(source), "-o", str(tmp_path / "same.o")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(lines) > 80


# ---------------------------------------------------------------- two devices

HALVES = (4, 13, 17)
ADD = [name for name in NAMES if case_of(name, "f32", HALVES).loss.statistics_add and not name.startswith("ctpn")]
REST = [name for name in NAMES if not case_of(name, "f32", HALVES).loss.statistics_add]


def test_some_of_each():
    assert len(jax.devices()) == 2 and len(ADD) > 20 and {"boundary", "db-bce", "dice-per-sample"} <= set(REST)


def in_shards(case):
    """numpy: value, parts and gradients of both halves, from the statistics of both."""
    halves = [{k: v[i : i + 2] for k, v in case.inputs.items()} for i in (0, 2)]
    runs, sums = [], []
    for half in halves:
        program, arrays = case.loss.program(**half)
        described = [tensor(_CODES[a.dtype.name], a.shape) for a in arrays]
        plan = _program.Plan(program, described, has_parts=True)
        runs.append((plan, arrays, [a.ctypes.data for a in arrays]))
        sums.append(np.empty(plan.count))
        plan.forward(runs[-1][2], None, sums[-1].ctypes.data)
    sums, one = np.concatenate(sums), np.ones((), np.float64)
    grads = []
    for plan, arrays, addresses in runs:
        program = plan.program
        parts = plan.value(addresses, None, sums.ctypes.data, sums.size)
        own = [np.empty_like(a) for a in arrays[: program.predictions]]
        targets = [g.ctypes.data for g in own]
        plan.gradient(addresses, sums.ctypes.data, sums.size, one.ctypes.data, targets, factor_type=(2, 64))
        grads.append(own)
    return program.result(parts[0], parts), [np.concatenate(pair) for pair in zip(*grads)]


def on_two_devices(function, how):
    """A function of (predictions, others) with the batch spread over the axis "batch"; its value is one device's."""
    if how == "pmap":

        def run(predictions, others):
            cut = jax.tree.map(lambda a: a.reshape(2, len(a) // 2, *a.shape[1:]), (predictions, others))
            value, grads = jax.pmap(function, axis_name="batch")(*cut)
            jax.tree.map(lambda v: np.testing.assert_array_equal(v[0], v[1]), value)
            return jax.tree.map(lambda v: v[0], value), jax.tree.map(lambda g: g.reshape(-1, *g.shape[2:]), grads)

        return run
    if how == "vmap":

        def run(predictions, others):
            cut = jax.tree.map(lambda a: a.reshape(2, len(a) // 2, *a.shape[1:]), (predictions, others))
            value, grads = jax.vmap(function, axis_name="batch")(*cut)
            return jax.tree.map(lambda v: v[1], value), jax.tree.map(lambda g: g.reshape(-1, *g.shape[2:]), grads)

        return run
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    return jax.jit(
        jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(P("batch"), P("batch")),
            out_specs=(P(), P("batch")),
            check_vma=how == "shard_map",
        )
    )


FEW = ["dice-softmax", "db-l1", "cross-entropy-smoothed"]
WAYS = [(name, "shard_map") for name in ADD] + [
    (n, how) for n in FEW for how in ("shard_map unchecked", "pmap", "vmap")
]


@pytest.mark.parametrize("name, how", WAYS)
def test_two_devices_are_one_with_the_whole_batch(name, how):
    for kind, bound in (("f32", 1e-6), ("f64", 1e-12)):
        case = case_of(name, kind, HALVES)
        with wide(kind):
            both = on_two_devices(value_and_grad(case.function(axis_name="batch")), how)
            value, grads = both(*case.arrays())
            # Shard after shard is what is promised to the bit; the whole batch adds up in another order.
            assert_same((value, grads), in_shards(case), np.float64 if kind == "f64" else np.float32)
        want, gradients = case.numpy()
        for (part, a), (_, b) in zip(leaves(value), leaves(want)):
            np.testing.assert_allclose(a, b, rtol=bound, atol=1e-3 * bound, err_msg=part)
        for a, b in zip(grads, gradients):
            np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=2 * bound * np.abs(b).max())


@pytest.mark.parametrize("name", REST)
def test_sums_that_cannot_be_added_are_refused(name):
    case = case_of(name, "f32", HALVES)
    with pytest.raises(ValueError, match=re.escape(case.loss.statistics_add_reason)):
        case.function(axis_name="batch")(*case.arrays())


def test_an_axis_that_is_not_there():
    with pytest.raises(NameError, match="batch"):
        sj.dice_loss(X, Y, axis_name="batch")


@pytest.mark.parametrize("how", ["shard_map", "shard_map unchecked", "pmap"])
def test_parameters_on_two_devices(how):
    """A training step: parameters on every device, the batch spread over them, gradients of the whole."""
    weights = jnp.array([0.7, -0.3, 1.1])

    def loss(weights, x, y, axis_name=None):
        return sj.dice_loss(x * weights[:, None, None], y, axis_name=axis_name)

    want = jax.value_and_grad(loss)(weights, X, Y)

    def step(weights, x, y):
        value, grad = jax.value_and_grad(loss)(weights, x, y, axis_name="batch")
        # shard_map knows that the parameters are the same everywhere, and adds their gradients by itself.
        return value, grad if how == "shard_map" else jax.lax.psum(grad, "batch")

    if how == "pmap":
        got = jax.pmap(step, axis_name="batch", in_axes=(None, 0, 0))(
            weights, X.reshape(2, 2, 3, 5, 7), Y.reshape(2, 2, 3, 5, 7)
        )
        got = [v[1] for v in got]
    else:
        mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
        specs = {"in_specs": (P(), P("batch"), P("batch")), "out_specs": P(), "check_vma": how == "shard_map"}
        got = jax.shard_map(step, mesh=mesh, **specs)(weights, X, Y)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5)  # sums of products in float32


def test_without_an_axis_every_device_has_its_own_loss():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    both = jax.shard_map(
        lambda x, y: sj.dice_loss(x, y)[None], mesh=mesh, in_specs=(P("batch"), P("batch")), out_specs=P("batch")
    )
    want = [np.float32(segloss.DiceLoss()(X[i : i + 2], Y[i : i + 2])) for i in (0, 2)]
    np.testing.assert_array_equal(np.asarray(both(X, Y)), want)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_array_in_jit(kind):
    """XLA brings the shards together: the right number, if not the fast way."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(kind,))
    spread = jax.NamedSharding(mesh, P("batch"))
    with jax.set_mesh(mesh) if kind == AxisType.Explicit else contextlib.nullcontext():
        got = jax.jit(jax.value_and_grad(sj.dice_loss))(jax.device_put(X, spread), jax.device_put(Y, spread))
    assert_same((got[0], [got[1]]), listed(segloss.DiceLoss().value_and_grad(X, Y)), np.float32)


# ---------------------------------------------------------------- a training


def dice_of(logits, labels):
    p, y = jax.nn.sigmoid(logits), labels.astype(jnp.float32)
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def boundary_of(logits, labels, theta0=3, theta=5):
    """yiskw713's BoundaryLoss in jax.numpy."""

    def largest(a, k):
        return jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, (1, 1, k, k), (1, 1, 1, 1), "SAME")

    def outline(a):
        return largest(1 - a, theta0) - (1 - a)

    b, g = outline(jax.nn.softmax(logits, axis=1)), outline(jax.nn.one_hot(labels, logits.shape[1], axis=1))
    precision = (b * largest(g, theta)).sum((2, 3)) / (b.sum((2, 3)) + 1e-7)
    recall = (largest(b, theta) * g).sum((2, 3)) / (g.sum((2, 3)) + 1e-7)
    return jnp.mean(1 - 2 * precision * recall / (precision + recall + 1e-7))


def curve(loss, images, labels, channels, steps=50):
    """Losses of a small convolution that learns by gradient descent with momentum."""
    keys = jax.random.split(jax.random.key(0), 2)
    weights = [
        jax.random.normal(keys[0], (8, 1, 3, 3)) / 3,
        jax.random.normal(keys[1], (channels, 8, 3, 3)) / 8,
    ]

    def objective(weights):
        hidden = jnp.tanh(jax.lax.conv(images, weights[0], (1, 1), "SAME"))
        return loss(jax.lax.conv(hidden, weights[1], (1, 1), "SAME"), labels)

    @jax.jit
    def step(weights, speed):
        value, grads = jax.value_and_grad(objective)(weights)
        speed = [0.9 * s - 0.3 * g for s, g in zip(speed, grads)]
        return value, [w + s for w, s in zip(weights, speed)], speed

    values, speed = [], [jnp.zeros_like(w) for w in weights]
    for _ in range(steps):
        value, weights, speed = step(weights, speed)
        values.append(float(value))
    return np.array(values)


@pytest.mark.parametrize("ours, theirs, channels", [(sj.dice_loss, dice_of, 1), (sj.boundary_loss, boundary_of, 2)])
def test_the_same_training_as_the_formula(ours, theirs, channels):
    rng = np.random.default_rng(0)
    labels = boundary_cases.blobs(rng, (2, 40, 48), 2, size=8)
    images = (labels[:, None] + rng.standard_normal((2, 1, 40, 48)) / 2).astype(np.float32)
    labels = labels if channels == 2 else labels[:, None].astype(np.float32)
    got, want = (curve(loss, images, labels, channels) for loss in (ours, theirs))
    assert want[-1] < 0.8 * want[0], "the formula learns nothing here, so there is nothing to compare"
    # The rounding of float32 sums, which training carries on: a hundred units in the last place.
    np.testing.assert_allclose(got, want, rtol=1.2e-5)


# ---------------------------------------------------------------- memory

MEMORY = """
import jax, jax.numpy as jnp, segloss.jax as sj
from memory import peak
x = jnp.ones((64, 1, 1024, 1024)); y = jnp.ones(x.shape, jnp.uint8)   # 256 MB, 64 MB
for function in (sj.dice_loss, jax.value_and_grad(sj.dice_loss)):
    compiled = jax.jit(function).lower(x, y).compile()
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    result = jax.block_until_ready(compiled(x, y))
    print(peak() - before)
"""


def test_no_copy_of_inputs_nor_of_the_gradient():
    if not os.access("/proc/self/clear_refs", os.W_OK):
        not_run("no /proc/self/clear_refs")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent
    )
    assert done.returncode == 0, done.stderr[-2000:]
    forward, both = map(float, done.stdout.split())
    # The gradient is 256 MB. 16 MB for threads, their scratch and pages that the allocator keeps; a copy of the smaller
    # input would be four times that.
    assert forward < 16, f"{forward} MB for a value"
    assert both < 256 + 16, f"{both} MB for a value and 256 MB of gradient"


# ---------------------------------------------------------------- the functions as such


@pytest.mark.parametrize("name", sj.__all__)
def test_signature_and_documentation(name):
    function = getattr(sj, name)
    assert function.__name__ == name and len(function.__doc__) > 400
    for section in ("Parameters", "Returns", "Raises", "References"):
        assert re.search(rf"^ *{section}\n *-+$", function.__doc__, re.MULTILINE), section
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            assert re.search(rf"\b{parameter.name}\b", function.__doc__), parameter.name


def test_every_class_has_a_function():
    assert {function_of(cls).__name__ for cls in segloss.LOSSES.values()} | {"db_step"} == set(sj.__all__)


def test_defaults_are_the_class_s():
    for name in ("dice_loss", "db_loss", "ctpn_loss"):
        cls = {"dice_loss": segloss.DiceLoss, "db_loss": segloss.DBLoss, "ctpn_loss": segloss.CTPNLoss}[name]
        found = inspect.signature(getattr(sj, name)).parameters
        for parameter in inspect.signature(cls.__init__).parameters.values():
            if parameter.name not in ("self", "smooth") and parameter.kind is not parameter.VAR_KEYWORD:
                assert found[parameter.name].default == parameter.default


def test_docstrings():
    results = doctest.testmod(sj)
    assert results.attempted > 0 and results.failed == 0


@pytest.mark.parametrize(
    "snippet", re.findall(r"^```python\n(.*?)^```", (ROOT / "Guides/JAX.md").read_text(), re.MULTILINE | re.DOTALL)
)
def test_the_guide(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


def test_the_example_learns(tmp_path):
    picture = tmp_path / "jax.png"
    command = [sys.executable, str(ROOT / "Examples/jax_boundary.py"), "--quick", "--output", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG")
