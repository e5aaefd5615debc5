"""A call as data: what frameworks carry through their graphs, and how it is run on their memory.

Every loss looks the same here: arrays in, a value and a few parts out, gradients of the first arrays back.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import math
import struct
import weakref
from collections.abc import Sequence
from ctypes import addressof, sizeof
from typing import TYPE_CHECKING, Any

from . import _abi

if TYPE_CHECKING:
    from ._loss import Loss

# Elements up to which value and gradient are one call.
_SMALL = 4096


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a program makes of arrays of certain shapes."""

    statistics: Any  # how many doubles
    parts: int  # how many doubles
    value: tuple[Any, ...]  # the shape
    is_map: bool  # whether the value has the prediction's type; else float32, or float64 for float64 predictions


class Program:
    """A loss with its options and the arrangement of its arrays; equal ones are one object.

    Attributes
    ----------
    loss : Loss
    data : bytes
        What the library runs, as `segloss_program` of the header.
    name : str
        The loss in C's names.
    predictions : int
        How many of the arrays, the first ones, have gradients.
    parts : tuple of str
        Names of the parts, the loss first; none for a loss without a reduction.
    """

    def __init__(self, loss: Loss, data: bytes, slots: list[tuple[int, int]], channels_last: list[bool], levels: int):
        header = _abi.Program.from_buffer_copy(data)
        self.loss = loss
        self.data = data
        self.name = header.loss.decode()
        self.arrays = header.arrays
        self.predictions = header.predictions
        self.is_reduced = not header.items
        self._slots = slots
        self._channels_last = channels_last
        self._levels = levels
        self.parts: tuple[str, ...] = ()
        if self.is_reduced:
            self.parts = _abi.part_names(loss._description)
            if levels:
                self.parts += tuple(loss._level_names(levels))
        self._index = {name: i for i, name in enumerate(self.parts)}
        self.size = len(data)
        self._memory = ctypes.create_string_buffer(data, len(data))
        self.address = addressof(self._memory)

    def __repr__(self) -> Any:
        return f"Program({self.loss!r})"

    def __reduce__(self) -> Any:
        return _again, (self.loss, self.data, self._slots, self._channels_last, self._levels)

    def outputs(self, arrays: Sequence[Any]) -> Outputs:
        """Shapes of what a call gives, by arithmetic on the arrays' shapes alone, which may be symbolic."""
        shapes: list[Any] = []
        for array, channel in self._slots:
            if array < 0:
                shapes.append(None)
                continue
            shape = tuple(arrays[array].shape)
            if self._channels_last[array]:
                shape = (shape[0], shape[-1], *shape[1:-1])
            shapes.append(shape[:1] + shape[2:] if channel >= 0 else shape)
        if self.is_reduced:
            return Outputs(self.loss._statistics(shapes), len(self.parts), (), False)
        value = self.loss._items(shapes[0])
        is_map = self.loss._has_map
        if is_map and self._channels_last[0] and len(value) == len(shapes[0]):
            value = (value[0], *value[2:], value[1])
        return Outputs(0, 0, value, is_map)

    def result(self, value: Any, parts: Any) -> Any:
        """What a call returns: the value, or a dict of it and its parts, which may be indexed."""
        return self.loss._result(value, lambda name: parts[self._index[name]], self._levels)

    @property
    def returns_parts(self) -> bool:
        """Whether `result` reads them."""
        return self.is_reduced and self.loss._returned is not None

    def check(self, status: int, error: _abi.Error) -> None:
        """Raises what a status means, with Python's names of the arguments."""
        if status:
            _abi.check(status, error, self.loss._program_names(self._levels if self._levels > 1 else 0))

    def checked(self, tensors: Sequence[_abi.Tensor]) -> tuple[int, int, _abi.Tensor]:
        """Statistics, parts and value of arrays that are described without their memory; refused as in a call."""
        arrays = (_abi.Tensor * max(1, len(tensors)))(*tensors)
        statistics, parts = ctypes.c_int64(), ctypes.c_int64()
        value, error = _abi.Tensor(), _abi.Error()
        status = _abi.program_outputs(
            self.address,
            self.size,
            addressof(arrays),
            len(tensors),
            *map(ctypes.byref, (statistics, parts, value, error)),
        )
        self.check(status, error)
        return statistics.value, parts.value, value

    def passes(self, tensors: Sequence[_abi.Tensor]) -> int:
        """How many passes over such arrays value and gradient take in one call."""
        arrays = (_abi.Tensor * max(1, len(tensors)))(*tensors)
        passes, error = ctypes.c_int32(), _abi.Error()
        status = _abi.program_passes(
            self.address, self.size, addressof(arrays), len(tensors), ctypes.byref(passes), ctypes.byref(error)
        )
        self.check(status, error)
        return passes.value


class Plan:
    """A program on arrays of certain types, shapes and strides, with gradients of certain strides: what is looked up once and
    used at every step.

    Attributes
    ----------
    program : Program
    count : int
        How many statistics there are.
    statistics : type
        A ctypes array for them.
    shape : tuple of int
        The value's.
    value_type : tuple of int
        The value's, as DLPack's code and bits.
    has_parts : bool
        Whether calls give the parts.
    is_small : bool
        Whether a second call would cost more than a second pass over these elements.
    at_once : bool
        Whether value and gradient are one call: then, or where one pass gives both; as long as no factor from above asks for
        another gradient.
    """

    def __init__(
        self,
        program: Program,
        tensors: Sequence[_abi.Tensor],
        gradients: Sequence[_abi.Tensor | None] | None = None,
        has_parts: bool | None = None,
    ):
        """Gradients are laid out as the predictions unless they are given, with None for one that is not wanted; parts are
        given where the program returns them unless that is said."""
        self.program = program
        elements = sum([math.prod(tensor.shape[: tensor.rank]) for tensor in tensors])
        self.is_small = program.is_reduced and elements <= _SMALL
        self.at_once = self.is_small or (program.is_reduced and program.passes(tensors) == 1)
        self.has_parts = program.returns_parts if has_parts is None else has_parts
        self._run = _abi.program_run_held if self.is_small else _abi.program_run
        self._tensors = tensors
        self._gradients = tensors[: program.predictions] if gradients is None else gradients
        frame = _Frame(program, tensors, self._gradients)
        self._free = [frame]
        self.count = frame.count
        self.statistics = ctypes.c_double * max(1, frame.count)
        self.shape = tuple(frame.value.shape[: frame.value.rank])
        self.value_type = frame.value.type_code, frame.value.type_bits

    def forward(self, arrays: Sequence[int], value: int | None, statistics: int | None) -> Sequence[float]:
        """Writes the value and the statistics, each to an address if there is one; the parts."""
        frame = self._frame()
        length = self.count if statistics else 0
        return self._evaluate(frame, frame.for_forward, arrays, value, statistics, length)

    def value(self, arrays: Sequence[int], value: int | None, statistics: int | None, length: int) -> Sequence[float]:
        """Writes the value of statistics, of one batch or of several one after the other; the parts."""
        frame = self._frame()
        return self._evaluate(frame, frame.for_value, arrays, value, statistics, length)

    def value_and_gradient(self, arrays: Sequence[int], value: int, gradients: Sequence[int]) -> Sequence[float]:
        """Writes the value, and gradients as below for a factor of 1; the parts."""
        frame = self._frame()
        return self._finish(frame, frame.for_both, (0, *arrays, value, *gradients))

    def gradient(
        self,
        arrays: Sequence[int],
        statistics: int | None,
        length: int,
        factor: int,
        gradients: Sequence[int],
        factor_type: tuple[int, int] | None = None,
        factor_strides: Sequence[int] | None = None,
    ) -> None:
        """Writes gradients times the factor at an address, each to its own; to 0 those that are not wanted."""
        frame = self._frame()
        described = frame.factor
        described.type_code, described.type_bits = factor_type or self.value_type
        if factor_strides is not None:
            described.flags = 0
            described.strides[: len(factor_strides)] = factor_strides
        frame.for_gradient.call.length = length
        self._finish(frame, frame.for_gradient, (statistics or 0, *arrays, factor, *gradients))

    def _evaluate(
        self,
        frame: _Frame,
        task: _Task,
        arrays: Sequence[int],
        value: int | None,
        statistics: int | None,
        length: int,
    ) -> Sequence[float]:
        task.call.number = None if value is None else addressof(frame.value)
        task.call.length = length
        return self._finish(frame, task, (statistics or 0, *arrays, value or 0))

    def _finish(self, frame: _Frame, task: _Task, addresses: Sequence[int]) -> Sequence[float]:
        task.place(*addresses)
        if status := self._run(*task.arguments):
            self.program.check(status, frame.error)
        parts = frame.parts[:] if self.has_parts else ()
        self._free.append(frame)
        return parts

    def _frame(self) -> _Frame:
        """One that nobody else uses, until it is free again."""
        try:
            return self._free.pop()
        except IndexError:
            return _Frame(self.program, self._tensors, self._gradients)


class _Frame:
    """Descriptors and results of one call at a time, of which a plan fills in addresses.

    Attributes
    ----------
    count : int
        How many statistics there are.
    parts : ctypes array of double
    value, factor : Tensor
    error : Error
    for_forward, for_both, for_value, for_gradient : _Task
    """

    __slots__ = (
        "_arrays", "_gradients", "_pointers", "count", "error", "factor", "for_both", "for_forward", "for_gradient",
        "for_value", "parts", "value",
    )  # fmt: skip

    def __init__(self, program: Program, tensors: Sequence[_abi.Tensor], gradients: Sequence[_abi.Tensor | None]):
        self.count, parts, self.value = program.checked(tensors)
        self.parts = (ctypes.c_double * parts)()
        self.factor = _abi.Tensor.from_buffer_copy(self.value)
        self.error = _abi.Error()
        self._arrays = (_abi.Tensor * len(tensors))(*tensors)
        self._gradients = [None if g is None else _abi.Tensor.from_buffer_copy(g) for g in gradients]
        self._pointers = (ctypes.c_void_p * max(1, len(gradients)))(
            *[None if g is None else addressof(g) for g in self._gradients]
        )

        def task(kind: int, number: _abi.Tensor = self.value, gradients: int = 0) -> _Task:
            call = _abi.ProgramCall(
                task=kind, program=program.address, size=program.size, arrays=addressof(self._arrays),
                count=len(tensors), number=addressof(number), gradients=addressof(self._pointers),
                parts=addressof(self.parts) if parts else None, parts_length=parts, length=self.count,
            )  # fmt: skip
            return _Task(call, len(tensors) + 1 + gradients, self.error)

        self.for_forward = task(_abi.PROGRAM_FORWARD)
        self.for_both = task(_abi.PROGRAM_VALUE_AND_GRADIENT, gradients=len(gradients))
        self.for_value = task(_abi.PROGRAM_VALUE)
        self.for_gradient = task(_abi.PROGRAM_GRADIENT, self.factor, len(gradients))


class _Task:
    """One kind of call on a frame's descriptors.

    Attributes
    ----------
    call : ProgramCall
    place : callable
        Takes all addresses, since to write each by itself takes as long as to write them all: of the statistics, the arrays,
        the value or the factor, and the gradients if it makes them. They stand behind the struct, whose last member is the
        first of them.
    arguments : tuple
        What `segloss_program_run` takes.
    """

    __slots__ = ("arguments", "call", "place")

    def __init__(self, call: _abi.ProgramCall, places: int, error: _abi.Error):
        layout = struct.Struct(f"{1 + places}N")
        memory = bytearray(bytes(call)[:_STATISTICS] + bytes(layout.size))
        self.call = _abi.ProgramCall.from_buffer(memory)
        self.call.addresses = addressof(self.call) + sizeof(call)
        self.place = functools.partial(layout.pack_into, memory, _STATISTICS)
        self.arguments = ctypes.byref(self.call), ctypes.byref(error)


_STATISTICS = _abi.ProgramCall.statistics.offset


def make(loss: Loss, options: ctypes.Structure, ordered: tuple[Any, ...], channels_last: bool) -> Program:
    """The program of a loss for a call's arguments, of which only shapes and None are looked at."""
    given = [i for i, array in enumerate(ordered) if array is not None]
    place = {argument: array for array, argument in enumerate(given)}
    slots = [(place.get(argument, -1), channel) for argument, channel in loss._slots(ordered, channels_last)]
    predictions = len(slots) - len(loss._description.constants)
    first = len(ordered[given[0]].shape) if given else 0
    last = [channels_last and loss._moves_channels and len(ordered[i].shape) == first > 1 for i in given]
    levels = predictions if loss._description.is_list and loss._is_reduced else 0

    packed, pointers = _packed(options)
    tensors = [_abi.ProgramTensor(array, channel, array >= 0 and last[array]) for array, channel in slots]
    head = sizeof(_abi.Program) + len(slots) * sizeof(_abi.ProgramTensor)
    options_at = head + len(pointers) * sizeof(_abi.ProgramPointer)
    header = _abi.Program(
        struct_size=sizeof(_abi.Program),
        non_finite=loss._execution.non_finite,
        loss=loss._program_name.encode(),
        items=not loss._is_reduced,
        arrays=len(given),
        predictions=sum(argument < loss._leading(ordered) for argument in given),
        tensors=len(slots),
        pointers=len(pointers),
        options_at=options_at,
    )
    moved = [
        _abi.ProgramPointer(at + options_at, target + options_at, size, count_at + options_at if count_at else 0)
        for at, target, size, count_at in pointers
    ]
    data = b"".join(map(bytes, (header, *tensors, *moved))) + packed
    return _again(loss, data, slots, last, levels)


_known: weakref.WeakValueDictionary[Any, Program] = weakref.WeakValueDictionary()


def _again(loss: Loss, data: bytes, slots: list[tuple[int, int]], channels_last: list[bool], levels: int) -> Program:
    # Not by the data alone: what a call returns is the loss's.
    key = type(loss), loss._returned, data
    program = _known.get(key)
    if program is None:
        program = _known.setdefault(key, Program(loss, data, slots, channels_last, levels))
    return program


def _packed(options: ctypes.Structure) -> tuple[bytes, list[tuple[int, int, int, int]]]:
    """A struct with what it points to behind it, and its pointers: at, target, bytes, where their number is (0: none)."""
    kind = type(options)
    pieces = bytearray(options)
    pieces.extend(bytes(-len(pieces) % 8))
    pointers = []
    for name, field_type, *_ in kind._fields_:
        if not issubclass(field_type, ctypes._Pointer):
            continue
        at = getattr(kind, name).offset
        pieces[at : at + 8] = bytes(8)
        pointer = getattr(options, name)
        if not pointer:
            continue
        target = len(pieces)
        if issubclass(field_type._type_, ctypes.Structure):
            content, inner = _packed(pointer.contents)
            pointers.append((at, target, len(content), 0))
            pointers += [(a + target, t + target, n, c + target if c else 0) for a, t, n, c in inner]
        else:
            count = getattr(options, name + "_length")
            content = ctypes.string_at(pointer, count * sizeof(field_type._type_))
            pointers.append((at, target, len(content), getattr(kind, name + "_length").offset))
            content = content or bytes(8)
        pieces += content
    return bytes(pieces), pointers
