"""Calls as data: the same bits as the calls, the same shapes in Python's arithmetic as in the library's, and programs that
are broken are refused."""

import copy
import ctypes
import pickle

import numpy as np
import pytest
import segloss
import window_cases
from program_cases import cases
from segloss import _abi, _tensor
from segloss._program import Plan
from segloss.db_step import DBStep
from support import PREDICTION_TYPES

CASES = {case.name: case for case in cases()}


def view(array):
    return _tensor.view("array", array)


def plan_of(program, arrays, gradients=None):
    return Plan(program, describe(arrays), gradients, has_parts=True)


def describe(arrays):
    return [view(a).descriptor() for a in arrays]


def run(program, arrays, grad_output=1.0, shards=None):
    """(value, parts, gradients) by the library's functions for programs."""
    gradients = [np.full_like(a, np.nan) for a in arrays[: program.predictions]]
    plan = plan_of(program, arrays, describe(gradients))
    type_ = {(2, 32): np.float32, (2, 64): np.float64, (2, 16): np.float16}.get(plan.value_type, arrays[0].dtype)
    addresses = [view(a).pointer for a in arrays]
    statistics = np.zeros(plan.count)
    value = np.empty(plan.shape, type_)
    parts = plan.forward(addresses, value.ctypes.data, statistics.ctypes.data if plan.count else None)
    if shards is not None:
        statistics = shards(statistics)
    factor = np.array(np.broadcast_to(np.float64(grad_output), value.shape), order="C")
    plan.gradient(
        addresses,
        statistics.ctypes.data if plan.count else None,
        len(statistics),
        factor.ctypes.data,
        [g.ctypes.data for g in gradients],
        factor_type=(2, 64),
    )
    return value, parts, gradients


def flat(inputs):
    """The values of the arguments, levels one by one."""
    return [a for v in inputs.values() for a in (v if isinstance(v, list) else [v])]


DRAWN = {name: flat(case.draw(np.float32)) for name, case in CASES.items()}
WITH_CHANNELS = [name for name, arrays in DRAWN.items() if arrays[0].ndim == 4 and not name.startswith("ctpn")]
WITH_SHARDS = [
    name
    for name, arrays in DRAWN.items()
    if CASES[name].make().statistics_add and all(len(a) > 1 for a in arrays) and not name.startswith("ctpn-rows")
]


def same(got, wanted):
    """Numbers, or dicts of them: parts of levels are dicts again. NaN is a part of some."""
    if isinstance(wanted, dict):
        return list(got) == list(wanted) and all(same(got[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(same, got, wanted))
    return np.float64(got).tobytes() == np.float64(wanted).tobytes()


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", CASES)
def test_same_bits_as_the_call(name, kind):
    case = CASES[name]
    inputs = case.draw(PREDICTION_TYPES[kind])
    loss = case.make()
    program, arrays = loss.program(**inputs)
    value, parts, gradients = run(program, arrays, -1.7)
    wanted, wanted_gradients = case.numpy(PREDICTION_TYPES[kind], -1.7)
    if program.is_reduced:
        number = wanted["loss"] if isinstance(wanted, dict) else wanted
        assert value.tobytes() == np.array(number, value.dtype).tobytes()
        assert value.dtype == (np.float64 if kind == "f64" else np.float32)
        got = program.result(parts[0], parts)
        assert same(got, wanted)
    else:
        assert (
            value.astype(wanted.dtype).tobytes()
            == np.asarray(wanted).astype(value.dtype).astype(wanted.dtype).tobytes()
        )
    for got, want in zip(gradients, wanted_gradients, strict=True):
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_in_one_call(name):
    """The bits of the two calls; gradients that are not wanted are left alone."""
    case = CASES[name]
    program, arrays = case.make().program(**case.draw(np.float32))
    value, parts, gradients = run(program, arrays)
    for wanted in ([True] * len(gradients), [i == 0 for i in range(len(gradients))]):
        number = np.empty_like(value)
        mine = [np.full_like(g, np.nan) for g in gradients]
        plan = plan_of(program, arrays, [view(g).descriptor() if w else None for g, w in zip(mine, wanted)])
        found = plan.value_and_gradient(
            [view(a).pointer for a in arrays],
            number.ctypes.data,
            [g.ctypes.data if w else 0 for g, w in zip(mine, wanted)],
        )
        assert number.tobytes() == value.tobytes()
        assert np.array(found).tobytes() == np.array(parts).tobytes()
        for got, want, is_wanted in zip(mine, gradients, wanted):
            assert got.tobytes() == want.tobytes() if is_wanted else np.isnan(got).all()


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_the_librarys(name):
    case = CASES[name]
    program, arrays = case.make().program(**case.draw(np.float32))
    statistics, parts, value = program.checked(describe(arrays))
    outputs = program.outputs(arrays)
    assert (outputs.statistics, outputs.parts) == (statistics, parts)
    assert outputs.value == tuple(value.shape[: value.rank])
    assert (value.type_code, value.type_bits) == (2, 32)


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_channels_last(name):
    """Predictions, and what has as many dimensions, with their channels in the last: the same numbers."""
    case = CASES[name]
    inputs = case.draw(np.float32)
    arrays = flat(inputs)
    rank = arrays[0].ndim
    # Where channels do not matter, the same numbers in the same order give the same, wherever channels are.
    stays = case.make()._is_flat and all(a.shape == arrays[0].shape for a in arrays)

    def moved(a):
        return np.ascontiguousarray(np.moveaxis(a, 1, -1)) if a.ndim == rank and not stays else a

    given = {k: [moved(a) for a in v] if isinstance(v, list) else moved(v) for k, v in inputs.items()}
    loss = case.make()
    program, arrays = loss.program(**given, channels_last=True)
    value, parts, gradients = run(program, arrays, -1.7)
    wanted, wanted_gradients = case.numpy(np.float32, -1.7)
    if program.is_reduced:
        assert same(program.result(parts[0], parts), wanted)
    else:
        wanted = np.moveaxis(wanted, 1, -1) if wanted.ndim == rank and not stays else wanted
        assert value.shape == program.outputs(arrays).value
        assert np.array_equal(value, np.asarray(wanted).astype(value.dtype))
    for got, want in zip(gradients, wanted_gradients, strict=True):
        assert np.array_equal(got, want if stays else np.moveaxis(want, 1, -1))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("loss", [segloss.DiceLoss(), segloss.BCELoss()], ids=lambda loss: type(loss).__name__)
def test_no_arrays_at_all(loss, channels_last):
    program, arrays = loss.program(None, None, channels_last=channels_last)
    with pytest.raises(ValueError, match="^input: expected a tensor, got NULL"):
        program.checked(describe(arrays))


@pytest.mark.parametrize("name", WITH_SHARDS)
def test_statistics_of_shards_are_added(name):
    """Those of two halves one after the other are those of the whole; the gradient of a half is its half of it."""
    case = CASES[name]
    inputs = case.draw(np.float32)
    loss = case.make()
    halves = [{k: v[i : i + 1] for k, v in inputs.items()} for i in range(2)]
    plans = []
    for half in halves:
        program, arrays = loss.program(**half)
        plan = plan_of(program, arrays)
        statistics = np.zeros(plan.count)
        plan.forward([view(a).pointer for a in arrays], None, statistics.ctypes.data)
        plans.append((plan, arrays, statistics))
    both = np.concatenate([statistics for _, _, statistics in plans])
    value, _, gradients = run(*loss.program(**inputs))
    for i, (plan, arrays, _) in enumerate(plans):
        number = np.empty((), value.dtype)
        plan.value([view(a).pointer for a in arrays], number.ctypes.data, both.ctypes.data, len(both))
        assert number == pytest.approx(value, rel=1e-6)  # one rounding to float32 of nearly the same double
        _, _, parts = run(*loss.program(**halves[i]), shards=lambda _: both)
        for got, want in zip(parts, gradients):
            assert np.allclose(got[0], want[i], rtol=1e-6, atol=1e-6 * np.abs(want).max())


def test_those_that_do_not_add_say_why():
    for name, case in CASES.items():
        loss = case.make()
        assert loss.statistics_add or loss.statistics_add_reason, name


def test_maps_of_the_step_function():
    rng = np.random.default_rng(0)
    p, t, g = rng.random((3, 2, 5, 7)).astype(np.float32)
    value, _, gradients = run(*DBStep(30).program(p, t), g)
    assert np.array_equal(value, segloss.db_step(p, t, 30))
    for got, want in zip(gradients, segloss.db_step_grad(p, t, g, 30)):
        assert np.array_equal(got, want)


def test_a_gradient_that_nothing_is_read_for_is_zero():
    """Two maps of three: the threshold's gradient is written, in any order of dimensions."""
    case = CASES["db-wenmuzhou-2"]
    program, arrays = case.make().program(**case.draw(np.float32))
    _, _, (gradient,) = run(program, arrays)
    assert gradient[:, 0].any() and not gradient[:, 1].any()


def test_equal_programs_are_one():
    x, y = np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.uint8)
    first, _ = segloss.DiceLoss().program(x, y)
    assert segloss.DiceLoss().program(x, y)[0] is first
    assert segloss.DiceLoss().program(x, y, smooth=1.0)[0] is first
    assert segloss.DiceLoss(smooth=0.5).program(x, y)[0] is not first
    assert segloss.DiceLoss().program(x, y, mask=y)[0] is not first
    assert pickle.loads(pickle.dumps(first)) is first and copy.deepcopy(first) is first


def test_options_at_the_call():
    x, y = window_cases.logits(np.random.default_rng(0), (1, 1, 3, 4)), np.ones((1, 1, 3, 4))
    value, _, _ = run(*segloss.DiceLoss().program(x, y, smooth=0.25))
    assert value == segloss.DiceLoss(smooth=0.25)(x, y)
    loss = segloss.DiceLoss()
    for i in range(200):  # remembered ones are forgotten
        value, _, _ = run(*loss.program(x, y, i))
        assert value == loss(x, y, i)


def test_sentences_have_pythons_names():
    pred, mask = np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 1, 4, 5), np.float32)
    with pytest.raises(ValueError, match="^mask: expected shape"):
        run(*segloss.StructureLoss().program(pred, mask))
    with pytest.raises(ValueError, match=r"^pred\[1\]: expected shape"):
        run(*segloss.StructureLoss().program([pred, mask], pred))
    with pytest.raises(ValueError, match="^logits: expected rank"):
        run(*segloss.BoundaryLoss().program(pred[0], mask))


# ---------------------------------------------------------------- broken programs


def outcome(data, arrays, count=None):
    tensors = (_abi.Tensor * len(arrays))(*describe(arrays))
    value, error = _abi.Tensor(), _abi.Error()
    memory = ctypes.create_string_buffer(data, len(data))
    numbers = (ctypes.c_int64 * 2)()
    at = ctypes.addressof
    status = _abi.program_outputs(
        at(memory), len(data), at(tensors), len(arrays) if count is None else count, at(numbers), at(numbers) + 8,
        at(value), at(error),
    )  # fmt: skip
    assert error.status == status
    return status, error.message.decode()


def sample():
    x, y = np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.uint8)
    program, arrays = segloss.DiceLoss(class_weight=[1.0, 2.0, 3.0], classes=[0, 2, 1]).program(x, y)
    return program.data, arrays


def test_cut_programs_are_refused():
    data, arrays = sample()
    assert outcome(data, arrays)[0] == 0
    for size in range(len(data)):
        # The last number of the last array may be left out of it only together with the array's length.
        assert outcome(data[:size], arrays)[0] != 0, size


def test_words_that_say_something_else():
    """Each 4-byte word replaced by numbers that lie: a status each time it is not another valid program."""
    data, arrays = sample()
    refused = 0
    for at in range(0, len(data) - 3, 4):
        for word in (0x7FFFFFF8, 0xFFFFFFFF, len(data), 0x80000000):
            broken = data[:at] + word.to_bytes(4, "little") + data[at + 4 :]
            refused += outcome(broken, arrays)[0] != 0
    assert refused > len(data) // 4


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 2**31 - 1])
def test_another_number_of_arrays(count):
    data, arrays = sample()
    status, sentence = outcome(data, arrays, count)
    assert (status, sentence.split(":")[0]) == (8, "count")


def test_unknown_loss():
    data, arrays = sample()
    at = data.index(b"dice")
    status, sentence = outcome(data[:at] + b"DICE" + data[at + 4 :], arrays)
    assert status == 9 and "DICE" in sentence


def test_nothing():
    error = _abi.Error()
    assert _abi.program_outputs(None, 0, None, 0, None, None, None, ctypes.addressof(error)) == 1
    data, _ = sample()
    memory = ctypes.create_string_buffer(data, len(data))
    at = ctypes.addressof(memory)
    assert _abi.program_outputs(at, len(data), None, 2, None, None, None, None) == 8
    assert _abi.program_forward(at, len(data), None, 2, None, 0, None, 0, None, None) == 8


def test_wrong_lengths():
    data, arrays = sample()
    program, arrays = segloss.DiceLoss().program(*arrays)
    plan = plan_of(program, arrays)
    addresses = [view(a).pointer for a in arrays]
    statistics = np.zeros(7)
    number = np.zeros(())
    for length in (0, 1, 2, 4, 5, 7, -3):
        with pytest.raises(ValueError, match="^statistics: expected 3 entries"):
            plan.value(addresses, number.ctypes.data, statistics.ctypes.data, length)
    with pytest.raises(ValueError, match="^statistics: expected an array"):
        plan.value(addresses, number.ctypes.data, None, 3)


# ---------------------------------------------------------------- calls in a struct


class InAStruct:
    """A call of Dice with its arguments in a struct: by the addresses beside the descriptors, or (`ways`) those in them."""

    def __init__(self, has_addresses=True):
        generator = np.random.default_rng(3)
        self.x = generator.standard_normal((2, 1, 8, 9)).astype(np.float32)
        self.y = (generator.random(self.x.shape) < 0.4).astype(np.uint8)
        self.program, arrays = segloss.DiceLoss().program(self.x, self.y)
        self.value, self.gradient, self.factor = np.zeros((), np.float32), np.zeros_like(self.x), np.full((), 0.5)
        self.statistics, self.parts = np.zeros(3), np.zeros(len(self.program.parts))
        given = [*arrays, self.value, self.gradient]
        self.tensors = (_abi.Tensor * 4)(*describe(given))
        self.number = _abi.Tensor.from_buffer_copy(describe([self.factor])[0])
        self.pointers = (ctypes.c_void_p * 1)(ctypes.addressof(self.tensors[3]))
        self.addresses = (ctypes.c_void_p * 4)(*[array.ctypes.data for array in given])
        self.error = _abi.Error()
        at = ctypes.addressof
        self.call = _abi.ProgramCall(
            task=_abi.PROGRAM_VALUE_AND_GRADIENT, program=self.program.address, size=self.program.size,
            arrays=at(self.tensors), count=2, number=at(self.tensors[2]), gradients=at(self.pointers),
            parts=self.parts.ctypes.data, parts_length=len(self.parts), length=3, statistics=self.statistics.ctypes.data,
        )  # fmt: skip
        if has_addresses:
            self.call.addresses = at(self.addresses)
            for tensor in self.tensors:
                tensor.data = 8  # not looked at

    def run(self, memory=None):
        status = _abi.program_run(ctypes.byref(self.call if memory is None else memory), ctypes.byref(self.error))
        assert self.error.status == status
        return status, self.error.message.decode()

    def expect(self, times):
        value, gradient = segloss.DiceLoss().value_and_grad(self.x, self.y, grad_output=times)
        assert self.value == np.float32(value)
        np.testing.assert_array_equal(self.gradient, gradient)


@pytest.mark.parametrize("has_addresses", [True, False])
def test_a_call_in_a_struct(has_addresses):
    made = InAStruct(has_addresses)
    assert made.run() == (0, "")
    made.expect(1)
    assert made.parts[0] == segloss.DiceLoss()(made.x, made.y)

    statistics = made.statistics.copy()
    made.statistics[:], made.value[...], made.call.task = 0, 0, _abi.PROGRAM_FORWARD
    made.call.gradients = None  # what a task does not take is not looked at
    assert made.run() == (0, "")
    np.testing.assert_array_equal(made.statistics, statistics)

    made.value[...], made.call.task = 0, _abi.PROGRAM_VALUE
    assert made.run() == (0, "")

    made.call.task, made.call.number = _abi.PROGRAM_GRADIENT, ctypes.addressof(made.number)
    made.call.gradients = ctypes.addressof(made.pointers)
    made.addresses[2] = made.factor.ctypes.data
    assert made.run() == (0, "")
    made.expect(0.5)


def test_the_same_descriptors_with_other_addresses():
    made = InAStruct()
    for _ in range(3):
        made.x[...] = np.random.default_rng().standard_normal(made.x.shape)
        made.gradient = np.zeros_like(made.x)
        made.addresses[3] = made.gradient.ctypes.data
        assert made.run() == (0, "")
        made.expect(1)


@pytest.mark.parametrize("task", [-1, 4, 2**31 - 1, -(2**31)])
def test_a_task_that_is_none(task):
    made = InAStruct()
    made.call.task = task
    status, sentence = made.run()
    assert status == 8 and sentence.startswith(f"task: expected 0 to 3 (SEGLOSS_PROGRAM_FORWARD …), got {task}")


@pytest.mark.parametrize("size", [0, 1, 4, ctypes.sizeof(_abi.ProgramCall) - 8, 4097, 2**32 - 1])
def test_a_call_of_another_size(size):
    made = InAStruct()
    made.call.struct_size = size
    status, sentence = made.run()
    assert status == 15 and sentence.startswith(f"call: struct_size is {size}; expected")


def test_a_call_of_a_later_version():
    made = InAStruct()
    longer = bytearray(bytes(made.call) + bytes(16))
    later = _abi.ProgramCall.from_buffer(longer)
    later.struct_size = len(longer)
    assert made.run(later) == (0, "")
    made.expect(1)
    longer[-1] = 1
    assert made.run(later)[0] == 15


@pytest.mark.parametrize("place, name", [(0, "input"), (1, "target"), (2, "value"), (3, "grad_input")])
def test_an_address_that_is_missing(place, name):
    made = InAStruct()
    assert made.run() == (0, "")  # so that a program waits for these descriptors
    made.addresses[place] = None
    before = made.gradient.copy()
    status, sentence = made.run()
    assert status == 1 and sentence.startswith(name)
    np.testing.assert_array_equal(made.gradient, before)


def test_no_call():
    error = _abi.Error()
    assert _abi.program_run(None, ctypes.byref(error)) == 1 and error.message.startswith(b"call: expected a struct")
    assert _abi.program_run(None, None) == 1
