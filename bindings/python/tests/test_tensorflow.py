"""segloss.tensorflow beside numpy, bit for bit, and in everything that TensorFlow and Keras do with a loss.

A process of its own runs this file: PaddlePaddle imported after TensorFlow kills the process that both are in.
"""

import concurrent.futures
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import segloss
from frameworks import framework, not_run

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = framework("tensorflow")

import keras
import segloss.tensorflow as st
import upstream_tensorflow
from catalog import CATALOG
from ctpn_cases import draw as ctpn_draw
from ctpn_cases import page, rows
from faces import NAMES_IN_C, Face
from support import bfloat16
from window_cases import CONTOUR, STRUCTURE
from window_cases import logits as window_logits
from window_cases import mask as window_mask
from window_cases import probabilities as window_probabilities

SHAPE = (2, 9, 7)


def test_the_native_library_is_loaded():
    if st._ops.native is None:
        not_run("the native operations of segloss.tensorflow: numpy functions stood in for them")


# ---------------------------------------------------------------- the same bits as numpy


class Case:
    """A loss, the arrays of a call by their names, and which of them have gradients."""

    def __init__(self, core, arrays, predictions):
        self.core, self.arrays, self.predictions = core, arrays, predictions
        self.name = type(core).__name__

    def numpy(self, grad_output=1.0):
        """(value, {prediction: gradient})"""
        value, grads = self.core.value_and_grad(**self.arrays, grad_output=grad_output)
        if isinstance(value, dict):
            value = value["loss"]
        given = [p for p in self.predictions if p in self.arrays]
        if isinstance(self.arrays[given[0]], list) or not isinstance(grads, tuple):
            grads = (grads,)
        return value, dict(zip(given, grads, strict=True))

    def moves(self, array):
        first = next(iter(self.arrays.values()))
        first = first[0] if isinstance(first, list) else first
        if self.core._is_flat and all(array.shape == first.shape for array in self.arrays.values()):
            return False  # whatever a channel is, the same numbers in the same order
        return self.core._moves_channels and array.ndim == first.ndim > 1

    def last(self, array):
        """With channels last, where numpy has them in dimension 1."""
        if isinstance(array, list):
            return [self.last(item) for item in array]
        return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if self.moves(array) else array

    def first(self, array):
        return np.moveaxis(array, -1, 1) if self.moves(array) else array

    def keras(self, **more):
        """The Keras class with the same options."""
        arguments, options = self.core._arguments
        options = {key: value for key, value in options.items() if key not in ("return_parts", "return_origin")}
        if options.pop("per_sample", False) and "per_sample" not in more:
            return self.function  # in a class it is Keras's reduction, with its rounding
        reduction = options.pop("reduction", "mean")
        return getattr(st, self.name)(*arguments, **{"reduction": reduction, **options, **more})

    def function(self, y_true, y_pred, **arrays):
        """The function with the same options, and of what it returns the loss."""
        function = getattr(st, f"{self.core._description.name}_loss")
        found = function(y_true, y_pred, **arrays, **self.core._arguments[1])
        return found["loss"] if isinstance(found, dict) else found

    def run(self, loss, factor=None, function=False):
        """What `numpy` gives, by TensorFlow: numpy arrays with the channels where numpy has them."""
        inputs = {name: tf.nest.map_structure(tf.constant, self.last(a)) for name, a in self.arrays.items()}

        def call(inputs):
            watched = {name: inputs[name] for name in self.predictions if name in inputs}
            with tf.GradientTape() as tape:
                tape.watch(watched)
                value = loss(**keras_arguments(self.core, inputs))
            return value, tape.gradient(value, watched, output_gradients=factor)

        value, grads = (tf.function(call) if function else call)(inputs)
        grads = {name: tf.nest.map_structure(lambda g: self.first(g.numpy()), grad) for name, grad in grads.items()}
        return self.first(value.numpy()), grads


def keras_arguments(core, inputs):
    """y_true, y_pred and what else a Keras class takes by name."""
    inputs = dict(inputs)
    if st._functions.is_pair(type(core)):
        pred, target = list(st._functions.call_parameters(type(core)))[:2]
        return {"y_true": inputs.pop(target), "y_pred": inputs.pop(pred), **inputs}
    predictions = type(core)._description.predictions if "maps" not in inputs else ("maps",)
    y_pred = {name: inputs.pop(name) for name in predictions if name in inputs}
    return {"y_true": inputs, "y_pred": y_pred}


def same(found, expected, type_=None):
    """The same bits; NaN is NaN, and a value is numpy's double rounded once."""
    expected = np.asarray(expected)
    expected = expected.astype(type_ or found.dtype)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    unsigned = f"u{found.dtype.itemsize}"
    nan = np.isnan(found)
    assert np.array_equal(nan, np.isnan(expected))
    found, expected = np.ascontiguousarray(found)[~nan], np.ascontiguousarray(expected)[~nan]
    assert np.array_equal(found.view(unsigned), expected.view(unsigned))


def check(case, value, grads, grad_output=1.0):
    expected, expected_grads = case.numpy(grad_output)
    same(value, expected)
    assert grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        grad = grad if isinstance(grad, (list, tuple)) else [grad]
        found = grads[name] if isinstance(grads[name], (list, tuple)) else [grads[name]]
        for one, other in zip(found, grad, strict=True):
            same(one, other)


def catalog_case(entry, dtype=np.float32, target=None, shape=SHAPE):
    return Case(entry.make(), entry.draw(shape, dtype=dtype, target=target), entry.predictions)


def others():
    """The losses that the catalog has not."""
    rng = np.random.default_rng(5)
    for name, options in STRUCTURE.items():
        shape = (2, 3, 13, 17)
        arrays = {"pred": window_logits(rng, shape).astype("f"), "mask": window_mask(rng, shape).astype("u1")}
        yield name, Case(segloss.StructureLoss(**options), arrays, ("pred",))
    arrays = {"pred": [window_logits(rng, (2, 1, 13, 17)).astype("f") for _ in range(3)]}
    yield (
        "structure-levels",
        Case(segloss.StructureLoss(), {**arrays, "mask": window_mask(rng, (2, 1, 13, 17)).astype("f")}, ("pred",)),
    )
    yield (
        "structure-none",
        Case(
            segloss.StructureLoss(reduction="none"),
            {
                "pred": window_logits(rng, (2, 3, 13, 17)).astype("f"),
                "mask": window_mask(rng, (2, 3, 13, 17)).astype("f"),
            },
            ("pred",),
        ),
    )
    for name, options in CONTOUR.items():
        shape = (2, 3, 13, 17)
        arrays = {"input": window_probabilities(rng, shape).astype("f"), "target": window_mask(rng, shape).astype("u1")}
        yield name, Case(segloss.ActiveContourLoss(**options), arrays, ("input",))
    for options in ({}, {"variant": "present_classes", "ignore_index": 1}, {"reduction": "none"}):
        arrays = {
            "logits": window_logits(rng, (2, 3, 13, 17)).astype("f"),
            "labels": rng.integers(0, 3, (2, 13, 17)).astype("u1"),
        }
        yield f"boundary-{'-'.join(options) or 'published'}", Case(segloss.BoundaryLoss(**options), arrays, ("logits",))
    for side in (False, True):
        arrays = ctpn_draw((1, 5, 7, 10), dtype=np.float32, side=side)
        yield f"ctpn-side-{side}", Case(segloss.CTPNLoss(), arrays, ("cls", "box", "side"))
    yield (
        "ctpn-rows",
        Case(
            segloss.CTPNLoss(variant="paper"), rows(ctpn_draw((1, 5, 7, 10), dtype=np.float32)), ("cls", "box", "side")
        ),
    )
    inputs = dict(next(e for e in CATALOG if e.name == "balance-bce").draw(SHAPE, dtype=np.float32))
    yield "balance-map", Case(segloss.BalanceLoss(False, "BCELoss"), inputs, ("pred",))


ENTRIES = [entry for entry in CATALOG if entry.name != "step"]
OTHERS = dict(others())
MODES = pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])


@MODES
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_the_catalog(entry, function):
    case = catalog_case(entry)
    check(case, *case.run(case.keras(), function=function))


@MODES
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_losses(name, function):
    case = OTHERS[name]
    check(case, *case.run(case.keras(), function=function))


class TestFace(Face):
    refusals = (tf.errors.InvalidArgumentError, ValueError)
    other_names = NAMES_IN_C

    def run(self, loss, inputs, predictions):
        case = Case(loss, inputs, predictions)
        value, grads = case.run(case.keras())
        return value, [g for name in predictions if name in grads for g in tf.nest.flatten(grads[name])]


TYPES = {
    "f64": (np.float64, None),
    "f16": (np.float16, None),
    "bf16": (bfloat16, None),
    "f32-u8": (np.float32, np.uint8),
    "f32-i32": (np.float32, np.int32),
    "f16-i64": (np.float16, np.int64),
    "bf16-bool": (bfloat16, np.bool_),
    "f32-f64": (np.float32, np.float64),
}


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_element_types(entry, types):
    dtype, target = TYPES[types]
    case = catalog_case(entry, dtype, target)
    value, grads = case.run(case.keras())
    check(case, value, grads)
    if case.core._is_reduced:
        assert value.dtype == (np.float64 if dtype == np.float64 else np.float32)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name in ("dice", "bce", "db", "l1-balance-ce")], ids=repr)
def test_an_upstream_factor(entry):
    case = catalog_case(entry)
    check(case, *case.run(case.keras(), factor=tf.constant(-0.375)), grad_output=-0.375)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name.endswith("-none")], ids=repr)
def test_an_upstream_factor_of_each_value(entry):
    case = catalog_case(entry)
    values, _ = case.run(case.keras())
    factor = np.random.default_rng(2).integers(-8, 9, values.shape).astype(values.dtype)
    check(case, *case.run(case.keras(), factor=tf.constant(case.last(factor))), grad_output=factor)


@pytest.mark.parametrize("k", [50, 3.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16], ids=lambda t: np.dtype(t).name)
@MODES
def test_db_step(dtype, k, function):
    rng = np.random.default_rng(0)
    prob, thresh, factor = (np.asarray(rng.integers(0, 257, (2, 5, 6)) / 256).astype(dtype) for _ in range(3))

    def call(prob, thresh):
        with tf.GradientTape() as tape:
            tape.watch([prob, thresh])
            value = st.db_step(prob, thresh, k)
        return value, tape.gradient(value, [prob, thresh], output_gradients=tf.constant(factor))

    value, grads = (tf.function(call) if function else call)(tf.constant(prob), tf.constant(thresh))
    same(value.numpy(), segloss.db_step(prob, thresh, k))
    for grad, expected in zip(grads, segloss.db_step_grad(prob, thresh, factor, k), strict=True):
        same(grad.numpy(), expected)


# ---------------------------------------------------------------- functions


def test_a_function_and_a_class_for_every_loss():
    for name, core in segloss.LOSSES.items():
        assert issubclass(getattr(st, name), keras.losses.Loss) and f"segloss.{name}" in getattr(st, name).__doc__
        function = getattr(st, f"{core._description.name}_loss")
        assert function.__name__.endswith("_loss") and name in function.__doc__


def test_functions_take_options_and_arrays_by_name():
    entry = next(e for e in ENTRIES if e.name == "dice-per-sample")
    case = catalog_case(entry)
    _, options = case.core._arguments
    arrays = {name: case.last(a) for name, a in case.arrays.items()}
    found = st.dice_loss(arrays["target"], arrays["input"], mask=arrays["mask"], **options)
    expected = case.core(**case.arrays)
    assert found.keys() == expected.keys() == {"loss", "count"}
    for key in expected:
        same(found[key].numpy(), expected[key], np.float32)


def test_functions_of_several_inputs():
    entry = next(e for e in ENTRIES if e.name == "db")
    case = catalog_case(entry)
    maps, *labels = (case.last(a) for a in case.arrays.values())
    maps = tf.Variable(maps)
    with tf.GradientTape(persistent=True) as tape:
        found = st.db_loss(maps, *labels)
    expected, grad = case.core.value_and_grad(**case.arrays)
    for key in expected:
        same(found[key].numpy(), expected[key], np.float32)
    same(case.first(tape.gradient(found["loss"], maps).numpy()), grad)
    assert tape.gradient(found["loss_shrink_maps"], maps) is None  # parts are to be looked at


def test_the_original_beside_the_balanced_loss():
    case = catalog_case(next(e for e in ENTRIES if e.name == "balance-bce"))
    core = segloss.BalanceLoss(main_loss_type="BCELoss", return_origin=True)
    pred, gt, mask = case.arrays.values()
    arrays = map(case.last, (pred, gt, mask))
    balanced, origin = st.balance_loss(*arrays, main_loss_type="BCELoss", return_origin=True)
    expected = core(pred, gt, mask)
    same(balanced.numpy(), expected[0], np.float32)
    same(case.first(origin.numpy()), expected[1])


# ---------------------------------------------------------------- Keras


def image_batch(seed=0, n=4, h=8, w=6, channels=1):
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n, h, w, channels)) < 0.3).astype(np.uint8)
    return y_true, rng.standard_normal((n, h, w, channels)).astype(np.float32)


@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_config_round_trip(entry):
    case = catalog_case(entry)
    case.core._arguments[1].pop("per_sample", None)
    case.core = case.core.__reduce__()[0](*case.core.__reduce__()[1])
    loss = case.keras(name="mine")
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    assert config["registered_name"] == f"segloss>{case.name}"
    again = keras.losses.deserialize(config)
    assert type(again) is type(loss) and again.name == "mine" and again.get_config() == loss.get_config()
    check(case, *case.run(again))
    assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()


@pytest.mark.parametrize("name", segloss.LOSSES)
def test_config_of_every_class(name):
    loss = getattr(st, name)(dtype="float64", per_sample=True, reduction="sum")
    again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert (again.per_sample, again.reduction, again.dtype) == (True, "sum", "float64")
    assert repr(again._loss) == repr(loss._loss)


def test_config_of_arrays():
    loss = st.BCELoss(pos_weight=np.array([1.0, 3.0]))
    assert json.loads(json.dumps(loss.get_config()))["pos_weight"] == [1.0, 3.0]


PER_SAMPLE = ["dice", "dice-softmax", "dice-bce-labels", "bce-weighted", "focal", "cross-entropy-smoothed", "db",
              "l1-balance-ce", "balance-ohem", "mask-dice"]  # fmt: skip


@MODES
@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name in PER_SAMPLE], ids=repr)
def test_per_sample(entry, function):
    """The loss of each sample is that of a batch of it alone, and so is the gradient, times the sample's weight."""
    case = catalog_case(entry, shape=(3, 9, 7))
    weight = np.array([1.0, -0.5, 3.0], np.float32)
    values, grads = case.run(case.keras(per_sample=True, reduction="none"), tf.constant(weight), function)
    assert values.shape == (3,)
    for i in range(3):
        one = Case(case.core, {name: a[i : i + 1] for name, a in case.arrays.items()}, case.predictions)
        check(one, values[i], {name: g[i : i + 1] for name, g in grads.items()}, weight[i])


def test_structure_per_sample():
    case = OTHERS["structure-levels"]
    values, grads = case.run(case.keras(per_sample=True, reduction="none"))
    for i in range(2):
        arrays = {"pred": [p[i : i + 1] for p in case.arrays["pred"]], "mask": case.arrays["mask"][i : i + 1]}
        check(Case(case.core, arrays, ("pred",)), values[i], {"pred": [g[i : i + 1] for g in grads["pred"]]})


def test_arrays_of_numpy_in_lists():
    case = OTHERS["structure-levels"]
    levels, mask = case.last(case.arrays["pred"]), case.last(case.arrays["mask"])
    same(st.structure_loss(mask, levels).numpy(), case.numpy()[0], np.float32)


def test_sample_weight_and_kerass_reductions():
    y_true, y_pred = image_batch()
    each = np.array([segloss.DiceLoss()(y_pred[i : i + 1], y_true[i : i + 1]) for i in range(4)], np.float32)
    weight = np.array([1.0, 2.0, 0.0, 4.0], np.float32)
    for reduction, expected in {
        "sum_over_batch_size": (each * weight).mean(),
        "sum": (each * weight).sum(),
        "mean_with_sample_weight": (each * weight).sum() / weight.sum(),
        "none": each * weight,
        None: each * weight,
    }.items():
        found = st.DiceLoss(per_sample=True, reduction=reduction)(y_true, y_pred, sample_weight=weight)
        # Keras's own sums in float32.
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    found = st.DiceLoss(per_sample=True)(y_true, y_pred)
    np.testing.assert_allclose(found.numpy(), segloss.DiceLoss(per_sample=True)(y_pred, y_true), rtol=1e-6)


def test_weights_of_samples_are_refused_for_a_batch():
    y_true, y_pred = image_batch()
    with pytest.raises(ValueError, match="sample_weight: DiceLoss is one number .* per_sample=True"):
        st.DiceLoss()(y_true, y_pred, sample_weight=np.ones(4))


def test_reductions_of_one_number():
    y_true, y_pred = image_batch()
    same(st.BCELoss(reduction="sum")(y_true, y_pred).numpy(), segloss.BCELoss(reduction="sum")(y_pred, y_true))
    same(st.BCELoss(reduction=None)(y_true, y_pred).numpy(), segloss.BCELoss(reduction="none")(y_pred, y_true))
    with pytest.raises(ValueError, match="reduction: .* one number of DBLoss, got 'sum'; per_sample=True"):
        st.DBLoss(reduction="sum")
    with pytest.raises(ValueError, match="DBLoss: .* the function db_loss returns them"):
        st.DBLoss(return_parts=True)
    with pytest.raises(ValueError, match="reduction"):
        st.BoundaryLoss(reduction="sum")


def test_dtype_casts_the_prediction():
    y_true, y_pred = image_batch()
    same(st.DiceLoss(dtype="float64")(y_true, y_pred).numpy(), segloss.DiceLoss()(y_pred.astype("d"), y_true))


def test_arrays_by_name():
    y_true, y_pred = image_batch(channels=3)
    mask = (np.random.default_rng(1).random(y_true.shape[:-1]) < 0.5).astype(np.float32)
    first = [np.moveaxis(a, -1, 1) for a in (y_pred, y_true)]
    same(st.DiceLoss()(y_true, y_pred, mask=mask).numpy(), segloss.DiceLoss()(*first, mask=mask))


def model(channels=1, seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
                             keras.layers.Conv2D(channels, 3, padding="same")])  # fmt: skip


def squares(n=16, size=16):
    rng = np.random.default_rng(0)
    y = np.zeros((n, size, size, 1), np.uint8)
    for image in y:
        top, left = rng.integers(0, size - 6, 2)
        image[top : top + 6, left : left + 6] = 1
    return (y + 0.3 * rng.standard_normal(y.shape)).astype(np.float32), y


@pytest.mark.parametrize(
    "loss", [st.DiceBCELoss(), st.DiceLoss(per_sample=True), st.FocalLoss(variant="paper"), st.BoundaryLoss()]
)
@pytest.mark.parametrize("eager", [False, True], ids=["graph", "eager"])
def test_fit(loss, eager):
    x, y = squares()
    classes = 2 if isinstance(loss, st.BoundaryLoss) else 1
    net = model(classes)
    net.compile(optimizer=keras.optimizers.Adam(0.02), loss=loss, run_eagerly=eager)
    history = net.fit(x, y if classes == 1 else y[..., 0], batch_size=8, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(history).all() and history[-1] < 0.9 * history[0]
    assert net.evaluate(x, y if classes == 1 else y[..., 0], verbose=0) < 0.9 * history[0]


def test_fit_with_sample_weight():
    """Samples of weight 0 teach nothing: their labels might as well be others."""
    x, y = squares()
    weight = np.repeat([1.0, 0.0], 8)
    curves = []
    for labels in (y, np.concatenate((y[:8], 1 - y[8:]))):
        net = model()
        net.compile(optimizer="adam", loss=st.DiceLoss(per_sample=True))
        curves.append(net.fit(x, labels, sample_weight=weight, epochs=3, shuffle=False, verbose=0).history["loss"])
    assert curves[0] == curves[1]
    net.compile(optimizer="adam", loss=st.DiceLoss())
    with pytest.raises(ValueError, match="per_sample=True"):
        net.fit(x, y, sample_weight=weight, verbose=0)


def test_a_compiled_model_is_saved_with_its_loss(tmp_path):
    x, y = squares()
    net = model()
    net.compile(optimizer="adam", loss=st.TverskyLoss(alpha=0.3, beta=0.7))
    net.fit(x, y, verbose=0)
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert isinstance(again.loss, st.TverskyLoss) and again.loss.get_config() == net.loss.get_config()
    assert again.evaluate(x, y, verbose=0) == net.evaluate(x, y, verbose=0)


def test_mixed_precision():
    x, y = squares()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = model()
        net.compile(optimizer=keras.optimizers.Adam(0.02), loss=st.DiceBCELoss())
        history = net.fit(x, y, epochs=6, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert history[-1] < history[0]


# ---------------------------------------------------------------- graphs


def test_unknown_extents():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.uint8), tf.TensorSpec([None, None, None, 1])])
    def step(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            loss = st.dice_loss(y_true, y_pred)
            scores = st.dice_loss(y_true, y_pred, per_sample=True, reduction="none")
            each = st.DiceLoss(per_sample=True, reduction="none")(y_true, y_pred)
            values = st.bce_loss(y_true, y_pred, reduction="none")
        grad = tape.gradient(loss, y_pred)
        assert loss.shape == [] and scores.shape.rank == each.shape.rank == 1
        assert values.shape.rank == grad.shape.rank == 4 and values.shape[-1] == grad.shape[-1] == 1
        return loss, grad

    for n, h, w in ((2, 5, 7), (4, 8, 6), (1, 1, 1)):
        y_true, y_pred = image_batch(n=n, h=h, w=w)
        loss, grad = step(y_true, y_pred)
        expected, expected_grad = segloss.DiceLoss().value_and_grad(y_pred, y_true)
        same(loss.numpy(), expected)
        same(grad.numpy(), expected_grad)


def test_shapes_that_are_known_stay_known():
    @tf.function
    def shapes(y_true, y_pred):
        items = st.dice_loss(y_true, y_pred, average="macro", per_sample=True, reduction="none")
        parts = st.dice_loss(y_true, y_pred, return_parts=True)
        entropy = st.cross_entropy_loss(y_true[..., 0], y_pred, reduction="none")
        assert items.shape == [4, 3] and parts["count"].shape == [] and entropy.shape == [4, 8, 6]
        return items

    y_true, y_pred = image_batch(channels=3)
    assert shapes(y_true.astype(np.int32), y_pred).shape == (4, 3)


def test_an_unknown_rank_is_refused():
    step = tf.function(st.dice_loss, input_signature=[tf.TensorSpec(None), tf.TensorSpec(None)])
    with pytest.raises(ValueError, match="number of dimensions is known"):
        step(np.zeros((1, 2), "f"), np.zeros((1, 2), "f"))


class Saved(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.uint8), tf.TensorSpec([None, None, None, 1])])
    def step(self, y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            loss = st.tversky_loss(y_true, y_pred, alpha=0.3, beta=0.7)
        return loss, tape.gradient(loss, y_pred)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.uint8), tf.TensorSpec([None, None, None, 1])])
    def loss(self, y_true, y_pred):
        return st.tversky_loss(y_true, y_pred, alpha=0.3, beta=0.7)


def test_saved_model(tmp_path):
    tf.saved_model.save(Saved(), str(tmp_path / "saved"))
    again = tf.saved_model.load(str(tmp_path / "saved"))
    y_true, y_pred = image_batch()
    loss, grad = again.step(y_true, y_pred)
    expected, expected_grad = segloss.TverskyLoss(alpha=0.3, beta=0.7).value_and_grad(y_pred, y_true)
    same(loss.numpy(), expected)
    same(grad.numpy(), expected_grad)
    x = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = again.loss(y_true, x)
    same(tape.gradient(loss, x).numpy(), expected_grad)

    # A process that knows the operations' library alone, and no Python of ours.
    np.savez(tmp_path / "arrays.npz", y_true=y_true, y_pred=y_pred, loss=np.float32(expected), grad=expected_grad)
    done = script(f"""
        import numpy as np, tensorflow as tf
        tf.load_op_library({str(library())!r})
        arrays = np.load({str(tmp_path / "arrays.npz")!r})
        loss, grad = tf.saved_model.load({str(tmp_path / "saved")!r}).step(arrays["y_true"], arrays["y_pred"])
        assert loss.numpy() == arrays["loss"] and np.array_equal(grad.numpy(), arrays["grad"])
        import sys
        assert "segloss" not in sys.modules
    """)
    assert done.returncode == 0, done.stderr[-2000:]


def library():
    return next(path for path in segloss._library.beside("libsegloss_tensorflow.so") if path.exists())


def script(text):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ,
        cwd=Path(__file__).parent,
    )


def test_the_library_is_needed_to_load_a_saved_model(tmp_path):
    tf.saved_model.save(Saved(), str(tmp_path / "saved"))
    done = script(f"import tensorflow as tf; tf.saved_model.load({str(tmp_path / 'saved')!r})")
    assert done.returncode != 0 and "Segloss" in done.stderr


# ---------------------------------------------------------------- errors


def logits_and_target():
    y_true, y_pred = image_batch()
    return tf.constant(y_true), tf.constant(y_pred)


def test_shapes_that_differ():
    y_true, y_pred = logits_and_target()
    sentence = r"target: expected shape \(4, 1, 8, 6\) like input.*got \(3, 1, 8, 6\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        st.dice_loss(y_true[:3], y_pred)
    with pytest.raises(ValueError, match=sentence):  # a graph knows before it runs
        tf.function(st.dice_loss)(y_true[:3], y_pred)
    free = tf.function(
        st.dice_loss, input_signature=[tf.TensorSpec([None, 8, 6, 1], tf.uint8), tf.TensorSpec([None, 8, 6, 1])]
    )
    # One that took them for equal reads them as they lie.
    sentence = r"target: expected shape \(4, 8, 6, 1\) like input.*got \(3, 8, 6, 1\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        free(y_true[:3], y_pred)
    with pytest.raises(ValueError, match=r"maps: expected shape N x H x W x 3 \(P, T, B\)"):
        st.db_loss(y_pred, *[y_pred[..., 0]] * 4)


def test_types_that_are_no_numbers_of_ours():
    y_true, y_pred = logits_and_target()
    for bad in (tf.cast(y_pred, tf.int32), tf.cast(y_pred, tf.complex64), tf.fill(y_pred.shape, "a")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="input: expected .*float32, .* got "):
            st.dice_loss(y_true, bad)
        with pytest.raises(TypeError, match="input: expected .*float32, .* got "):
            tf.function(st.dice_loss)(y_true, bad)


def test_what_is_no_probability():
    y_true, y_pred = logits_and_target()
    for call in (st.bce_loss, tf.function(st.bce_loss), st.BCELoss(from_logits=False, per_sample=True)):
        options = {} if isinstance(call, keras.losses.Loss) else {"from_logits": False}
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"input: .* at index .*: expected a probability in"):
            call(y_true, y_pred, **options)


def test_options():
    y_true, y_pred = logits_and_target()
    with pytest.raises(TypeError, match="smoth"):
        st.dice_loss(y_true, y_pred, smoth=1)
    with pytest.raises(TypeError, match="smoth"):
        st.DiceLoss(smoth=1)
    with pytest.raises(ValueError, match="average: "):
        st.DiceLoss(average="both")
    with pytest.raises(ValueError, match="reduction"):
        st.DiceLoss(reduction="sometimes")


def test_a_batch_is_needed_for_samples():
    y_true, y_pred = logits_and_target()
    with pytest.raises(tf.errors.InvalidArgumentError, match="per_sample: .* 4 samples in the first array and 3"):
        st.DiceLoss(per_sample=True)(y_true[:3], y_pred)


def test_broken_operations():
    """What a graph that somebody made by hand may ask for."""
    if st._ops.native is None:
        not_run("native operations that do not fit")
    y_true, y_pred = logits_and_target()
    program, _ = segloss.DiceLoss().program(y_pred, y_true, channels_last=True)
    three, one = tf.zeros(3, tf.float64), tf.constant(1.0)
    loss, gradient = st._ops.native.segloss_loss, st._ops.native.segloss_gradient
    for call in (
        lambda: loss([y_pred], [y_true], tf.float32, program.data[:-8]),
        lambda: loss([y_pred], [y_true], tf.float32, b""),
        lambda: loss([y_pred], [], tf.float32, program.data),
        lambda: gradient([y_pred, y_pred], [y_true], three, one, program.data),
        lambda: gradient([y_pred], [y_true], three[:2], one, program.data),
        lambda: gradient([y_pred], [y_true], one[None, None, None], one, program.data),
        lambda: gradient([y_pred], [y_true], three, y_pred, program.data),
        lambda: gradient([y_pred], [y_true], three[None], one[None], program.data),
        lambda: gradient([y_pred], [y_true], three, one, b"\xff" * 200),
    ):
        with pytest.raises((tf.errors.InvalidArgumentError, TypeError)):
            call()


def test_second_derivatives_are_refused():
    y_true, y_pred = logits_and_target()
    with tf.GradientTape() as outer:
        outer.watch(y_pred)
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            loss = st.dice_loss(y_true, y_pred)
        grad = tape.gradient(loss, y_pred)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        outer.gradient(grad, y_pred)


def test_xla_is_refused():
    y_true, y_pred = logits_and_target()
    with pytest.raises(tf.errors.InvalidArgumentError, match="unsupported operations.*SeglossLoss"):
        tf.function(st.dice_loss, jit_compile=True)(y_true, y_pred)


def test_nothing_at_all():
    for n in (0, 3):
        y_true, y_pred = np.zeros((n, 0, 4, 1), "f"), np.zeros((n, 0, 4, 1), "f")
        same(st.dice_loss(y_true, y_pred).numpy(), segloss.DiceLoss()(y_pred, y_true))
    assert st.DiceLoss(per_sample=True, reduction="none")(np.zeros((0, 4, 1)), np.zeros((0, 4, 1))).shape == (0,)


# ---------------------------------------------------------------- seed 3's loss


def anchors(seed=0):
    boxes, image, feature = page(seed, 40, height=208, width=304)
    info = np.array([[*image, 1.0]], np.float32)
    rng = np.random.default_rng(seed)
    return np.c_[boxes, np.ones(len(boxes))].astype(np.float32), info, feature, rng


@MODES
def test_ctpn_beside_upstream(function):
    boxes, info, feature, rng = anchors()
    cls, box = (tf.constant(rng.standard_normal((1, *feature, 10 * k)).astype("f")) for k in (2, 4))
    decay = [tf.constant(0.25), tf.constant(0.5)]

    def call(cls, box):
        with tf.GradientTape() as tape:
            tape.watch([cls, box])
            losses = st.ctpn_loss(box, cls, boxes, info, decay)
        return losses, tape.gradient(losses[0], [cls, box])

    np.random.seed(3)
    losses, grads = (tf.function(call) if function else call)(cls, box)
    np.random.seed(3)
    targets = segloss.ctpn_anchor_targets(boxes, info[0, :2], feature, seed=np.random)[:4]
    parts, expected = segloss.CTPNLoss().value_and_grad(cls.numpy(), box.numpy(), *targets)
    for found, value in zip(
        losses[1:], (parts["loss"], parts["rpn_cross_entropy"], parts["rpn_loss_box"]), strict=True
    ):
        same(found.numpy(), value)
    assert losses[0].numpy() == np.float32(0.75) + losses[1].numpy()
    for found, grad in zip(grads, expected, strict=True):
        same(found.numpy(), grad)
    same(st.CTPNLoss()(targets, (cls, box)).numpy(), parts["loss"])
    # The published formula, whose float32 sums round (see test_oracle_tensorflow.py).
    entropy, boxes_loss, on_cls, on_box = upstream_tensorflow.ctpn(cls, box, *map(tf.constant, targets))
    np.testing.assert_allclose([losses[2], losses[3]], [entropy, boxes_loss], rtol=5e-6)
    for found, grad in zip(grads, (on_cls, on_box), strict=True):
        np.testing.assert_allclose(found, grad, rtol=0, atol=1e-5 * np.abs(grad).max())


def test_the_targets_of_anchors():
    boxes, info, feature, _ = anchors()
    cls = tf.zeros((1, *feature, 20))
    found = st.anchor_target_layer(cls, boxes, info, "anchor_target_layer", seed=7)
    expected = segloss.ctpn_anchor_targets(boxes, info[0, :2], feature, seed=7)[:4]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.numpy(), other) and one.dtype == other.dtype


# ---------------------------------------------------------------- the same curve of losses

# The formulas of the "loss function library" in Keras's operations.


def flat_dice(y_true, y_pred, smooth=1):
    inputs, targets = tf.reshape(tf.sigmoid(y_pred), [-1]), tf.reshape(tf.cast(y_true, tf.float32), [-1])
    intersection = tf.reduce_sum(inputs * targets)
    return 1 - (2.0 * intersection + smooth) / (tf.reduce_sum(inputs) + tf.reduce_sum(targets) + smooth)


def flat_iou(y_true, y_pred, smooth=1):
    inputs, targets = tf.reshape(tf.sigmoid(y_pred), [-1]), tf.reshape(tf.cast(y_true, tf.float32), [-1])
    intersection = tf.reduce_sum(inputs * targets)
    union = tf.reduce_sum(inputs + targets) - intersection
    return 1 - (intersection + smooth) / (union + smooth)


# Rounding of the published formula in float32 is 1e-7 of 1 each step, and each step starts from the last one's weights;
# over 50 steps it stays this near.
CURVE = 5e-6


@pytest.mark.parametrize("ours, theirs", [(st.DiceLoss(), flat_dice), (st.IoULoss(), flat_iou)], ids=["dice", "iou"])
def test_the_same_curve(ours, theirs):
    x, y = squares(8)
    curves = []
    for loss in (ours, theirs):
        net = model()
        net.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss)
        curves.append([float(net.train_on_batch(x, y)) for _ in range(50)])
    assert curves[0][-1] < curves[0][0] - 0.1
    np.testing.assert_allclose(*curves, rtol=0, atol=CURVE)


def test_the_same_curve_of_ctpn():
    boxes, info, feature, rng = anchors()
    image = tf.constant(rng.standard_normal((1, *feature, 8)).astype("f"))
    curves = []
    for ours in (True, False):
        keras.utils.set_random_seed(0)
        heads = [keras.layers.Dense(20), keras.layers.Dense(40)]
        for head in heads:
            head.build(image.shape)
        variables = [v for head in heads for v in head.trainable_variables]
        optimizer = keras.optimizers.SGD(0.05)
        curve = []
        for step in range(50):
            np.random.seed(step)
            with tf.GradientTape() as tape:
                cls, box = (head(image) for head in heads)
                if ours:
                    loss = st.ctpn_loss(box, cls, boxes, info)[1]
            if ours:
                grads = tape.gradient(loss, variables)
            else:
                targets = st.anchor_target_layer(cls, boxes, info)
                entropy, on_boxes, *factors = upstream_tensorflow.ctpn(cls, box, *targets)
                loss = entropy + on_boxes
                grads = tape.gradient([cls, box], variables, output_gradients=factors)
            optimizer.apply(grads, variables)
            curve.append(float(loss))
        curves.append(curve)
    assert curves[0][-1] < curves[0][0] - 0.5
    np.testing.assert_allclose(*curves, rtol=1e-5)


# ---------------------------------------------------------------- threads, memory, what stands in


def test_many_losses_at_once():
    """TensorFlow runs the operations of a graph, and Python threads run graphs, at the same time."""
    batches = [image_batch(seed, n=2, h=200, w=180) for seed in range(8)]
    expected = [segloss.DiceBCELoss().value_and_grad(y_pred, y_true) for y_true, y_pred in batches]

    @tf.function
    def step(batches):
        found = []
        for y_true, y_pred in batches:
            with tf.GradientTape() as tape:
                tape.watch(y_pred)
                loss = st.dice_bce_loss(y_true, y_pred)
            found.append((loss, tape.gradient(loss, y_pred)))
        return found

    batches = [(tf.constant(y_true), tf.constant(y_pred)) for y_true, y_pred in batches]
    step(batches)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: step(batches), range(12)):
            for (loss, grad), (value, expected_grad) in zip(found, expected, strict=True):
                same(loss.numpy(), value)
                same(grad.numpy(), expected_grad)


def test_memory():
    """Of a contiguous input there is no copy, and of the gradient one: TensorFlow's own."""
    done = script("""
        import os
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import tensorflow as tf, segloss.tensorflow as st
        from memory import kilobytes

        def step(y_true, y_pred):
            with tf.GradientTape() as tape:
                tape.watch(y_pred)
                loss = st.dice_bce_loss(y_true, y_pred)
            return tape.gradient(loss, y_pred)

        step(tf.fill([1, 2048, 64, 1], 1.0), tf.fill([1, 2048, 64, 1], 0.5))
        y_true, y_pred = tf.fill([2, 4096, 4096, 1], 1.0), tf.fill([2, 4096, 4096, 1], 0.5)
        for run in (step, tf.function(step, autograph=False)):
            open("/proc/self/clear_refs", "w").write("5")
            before = kilobytes("VmRSS")
            grad = run(y_true, y_pred)
            print(kilobytes("VmHWM") - before)
            del grad
    """)
    assert done.returncode == 0, done.stderr[-2000:]
    gradient = 2 * 4096 * 4096 * 4 / 1024
    for more in map(int, done.stdout.split()):
        assert 0.9 * gradient < more < 1.15 * gradient  # TensorFlow's graph is in it; an input would be as much again


FALLBACK = """
    import os, sys, warnings
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    def refuse(path):
        raise tf.errors.NotFoundError(None, None, "undefined symbol: TF_Something")

    tf.load_op_library = refuse
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        import segloss.tensorflow as st
    assert [w for w in said if "numpy_function" in str(w.message) and "TF_Something" in str(w.message)], said
    assert st._ops.native is None
    sys.path.insert(0, FOLDER)
    import test_tensorflow as t

    for entry in t.ENTRIES:
        if entry.name in ("dice", "cross-entropy-none", "dice-softmax-none", "l1-balance-ce", "db"):
            for function in (False, True):
                for dtype in (t.np.float32, t.bfloat16):
                    case = t.catalog_case(entry, dtype)
                    t.check(case, *case.run(case.keras(), function=function))
    entry = next(e for e in t.ENTRIES if e.name == "dice-bce-labels")
    for function in (False, True):
        t.test_per_sample(entry, function)
        t.test_ctpn_beside_upstream(function)
        t.test_db_step(t.np.float32, 50, function)
    t.test_unknown_extents()
    t.test_fit(st.DiceBCELoss(), False)
    t.test_second_derivatives_are_refused()
    print("as native")
"""


def test_numpy_functions_stand_in():
    done = script(textwrap.dedent(FALLBACK).replace("FOLDER", repr(os.path.dirname(__file__))))
    assert done.returncode == 0 and "as native" in done.stdout, done.stderr[-3000:]


# ---------------------------------------------------------------- guide and example

ROOT = Path(__file__).resolve().parents[3]
SNIPPETS = re.findall(r"^```py\n(.*?)^```", (ROOT / "Guides/TensorFlow.md").read_text(), re.M | re.S)


def test_the_guide_has_snippets():
    assert len(SNIPPETS) >= 5


# Fenced as "py": those that are "python" run in a process that may hold another framework.
@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


def test_the_example_learns(tmp_path):
    for name in ("matplotlib", "scipy", "skimage"):
        if importlib.util.find_spec(name) is None:
            not_run(f"the example in Keras, which needs {name}")
    picture = tmp_path / "coins.png"
    command = [sys.executable, str(ROOT / "Examples/keras_dice_bce.py"), "--quick", "--output", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG") and "held-out" in done.stdout
