"""Views of the caller's memory: numpy arrays and anything else on the CPU that shares its memory."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _abi, _memory

# DLPack's type code and bits of each element type, by numpy's name (bfloat16 is ml_dtypes').
_CODES = {
    "float32": (2, 32),
    "float64": (2, 64),
    "float16": (2, 16),
    "bfloat16": (4, 16),
    "bool": (6, 8),
    "uint8": (1, 8),
    "int32": (0, 32),
    "int64": (0, 64),
}
_NAMES = {codes: name for name, codes in _CODES.items()}
_FLOATING = {_CODES[name] for name in ("float32", "float64", "float16", "bfloat16")}


class Layout:
    """What a descriptor says of an array beside its memory: arrays alike share one, since describing takes as long as a loss of
    a few elements does."""

    def __init__(
        self, type_: tuple[int, int, int], shape: Any, strides: Any, device: Any = (_abi.DEVICE_CPU, 0)
    ) -> None:
        self.type = type_  # DLPack's code, bits and lanes
        self.shape = tuple(shape)
        self.strides = tuple(strides)  # in elements
        self.device = device
        described = tensor(type_[:2], self.shape, self.strides)
        described.type_lanes = type_[2]
        described.device_type, described.device_id = device
        self.descriptor = bytes(described)

    @functools.cached_property
    def channel(self) -> Layout:
        """Of one channel of an N x C x ... array."""
        shape, strides = self.shape[:1] + self.shape[2:], self.strides[:1] + self.strides[2:]
        return Layout(self.type, shape, strides, self.device)

    @functools.cached_property
    def order(self) -> tuple[list[int], list[int]]:
        """The dimensions from the outermost in memory to the innermost, and where each of them is among these."""
        order = sorted(range(len(self.shape)), key=lambda i: -abs(self.strides[i]))
        return order, sorted(order, key=order.__getitem__)


class View:
    """What a descriptor needs to know of an array, and the array itself so that it stays alive."""

    __slots__ = ("name", "owner", "pointer", "layout")

    def __init__(self, name: str, owner: Any, pointer: int, layout: Layout) -> None:
        self.name = name
        self.owner = owner
        self.pointer = pointer
        self.layout = layout

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype:
        """numpy's type of the elements, for arrays made like this one."""
        code, bits, _ = self.layout.type
        name = _NAMES.get((code, bits))
        if name is None:
            raise TypeError(f"{self.name}: DLPack type code {code} with {bits} bits is not supported")
        if name == "bfloat16":
            try:
                import ml_dtypes
            except ImportError:
                raise TypeError(f"{self.name}: bfloat16 arrays need the package ml_dtypes") from None
            name = ml_dtypes.bfloat16
        return np.dtype(name)

    def channel(self, index: int, name: str) -> View:
        """One channel of an N x C x ... array."""
        layout = self.layout
        step = layout.strides[1] * (layout.type[1] // 8)
        return View(name, self.owner, self.pointer + index * step, layout.channel)

    def descriptor(self) -> _abi.Tensor:
        result = _abi.Tensor.from_buffer_copy(self.layout.descriptor)
        result.data = self.pointer
        return result

    def empty(self) -> np.ndarray:
        """A new array of the same shape, type and order of dimensions in memory."""
        order, place = self.layout.order
        array = _memory.empty([self.shape[i] for i in order], self.dtype)
        return array.transpose(place)


def tensor(type_: tuple[int, int], shape: Sequence[int], strides: Sequence[int] | None = None) -> _abi.Tensor:
    """A descriptor without its memory; strides in elements, None for dense."""
    result = _abi.Tensor(
        device_type=_abi.DEVICE_CPU, type_code=type_[0], type_bits=type_[1], type_lanes=1, rank=len(shape)
    )
    # The library refuses more dimensions than a descriptor has, by the name of the argument.
    rank = min(len(shape), _abi.MAX_RANK)
    result.shape[:rank] = shape[:rank]
    if strides is None:
        result.flags = _abi.DENSE
    else:
        result.strides[:rank] = strides[:rank]
    return result


def prediction(name: str, value: Any) -> View:
    """The view of a differentiable argument."""
    result = view(name, value)
    if result.layout.type[:2] not in _FLOATING:
        expected = "float32, float64, float16 or bfloat16"
        raise TypeError(f"{name}: expected element type {expected}, got {result.dtype}")
    return result


def view(name: str, value: Any, *, writable: bool = False) -> View:
    """The view of an argument; TypeError if it is not an array on the CPU."""
    if isinstance(value, np.ndarray):
        return _numpy_view(name, value, writable)
    if hasattr(value, "__dlpack__"):
        if writable:
            raise TypeError(f"{name}: expected a numpy array to write into, got {type(value).__name__}")
        return _dlpack_view(name, value)
    try:
        array = np.asarray(memoryview(value))
    except TypeError:
        raise TypeError(
            f"{name}: expected a numpy array or another CPU array that shares its memory, got {type(value).__name__}"
        ) from None
    return _numpy_view(name, array, writable)


def _codes(dtype: np.dtype) -> tuple[int, int] | None:
    return _CODES.get(dtype.name) if dtype.isnative else None


@functools.lru_cache(256)
def _numpy_layout(dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...]) -> Layout | None:
    """None if a descriptor cannot say it."""
    codes, size = _codes(dtype), dtype.itemsize
    if codes is None or any(stride % size for stride in strides):
        return None
    return Layout((*codes, 1), shape, [stride // size for stride in strides])


def _numpy_view(name: str, array: np.ndarray, writable: bool) -> View:
    layout = _numpy_layout(array.dtype, array.shape, array.strides)
    if layout is None and _codes(array.dtype) is None:
        expected = "float32, float64, float16, bfloat16, bool, uint8, int32 or int64"
        raise TypeError(f"{name}: expected element type {expected} in native byte order, got {array.dtype}")
    if writable and not array.flags.writeable:
        raise ValueError(f"{name}: expected a writable array, got a read-only one")
    if layout is None:  # a field of a structured array
        if writable:
            raise ValueError(f"{name}: strides {array.strides} are not multiples of the element size {array.itemsize}")
        return _numpy_view(name, np.ascontiguousarray(array), writable)
    return View(name, array, address(array), layout)


def _address_asked(array: np.ndarray) -> int:
    return array.ctypes.data


def _address_read(array: np.ndarray) -> int:
    return ctypes.c_void_p.from_address(id(array) + object.__basicsize__).value or 0


def _address_reader() -> Callable[[np.ndarray], int]:
    # The address is right behind the object's header, where PyArray_DATA of numpy's C interface reads it. Read there too, it is
    # found in a tenth of the 1.6 us that asking takes: with three arrays to a call, a quarter of the call.
    samples = [np.zeros(4)[i:] for i in range(3)]
    if sys.implementation.name == "cpython" and all(_address_read(a) == _address_asked(a) for a in samples):
        return _address_read
    return _address_asked


# Where the elements of an array are.
address = _address_reader()


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule_pointer.restype = ctypes.c_void_p


def _dlpack_view(name: str, value: Any) -> View:
    # Read here rather than by numpy, which has no bfloat16. The capsule is not consumed: it owns the memory.
    try:
        device = tuple(int(i) for i in value.__dlpack_device__())
        if device[0] != _abi.DEVICE_CPU:
            raise ValueError(f"{name}: expected memory of the CPU, got device {device}; copy it to the host first")
        capsule = value.__dlpack__()
        pointer = _capsule_pointer(capsule, b"dltensor")
    except (BufferError, RuntimeError, TypeError) as error:
        raise TypeError(f"{name}: this {type(value).__name__} does not share its memory: {error}") from error
    tensor = _DLTensor.from_address(pointer)
    shape = tensor.shape[: tensor.ndim] if tensor.ndim else []
    if tensor.strides and tensor.ndim:
        strides = tensor.strides[: tensor.ndim]
    else:
        strides = [0] * len(shape)
        step = 1
        for i in reversed(range(len(shape))):
            strides[i] = step
            step *= max(shape[i], 1)
    layout = Layout((tensor.code, tensor.bits, tensor.lanes), shape, strides, device)
    return View(name, (value, capsule), (tensor.data or 0) + tensor.byte_offset, layout)
