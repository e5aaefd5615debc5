"""Memory of gradients that is used again.

A large block that is freed goes back to the system, and the next one of its size comes with a fault for every page, which takes
as long as the loss itself. So the memory of a gradient waits here once nobody holds the array or tensor that it was, and the
next gradient of about its size gets it. What somebody still holds, a view of it included, is never written again.
"""

from __future__ import annotations

import math
import mmap
import weakref

import numpy as np
from numpy.typing import DTypeLike

# Smaller blocks stay with malloc.
LEAST = 1 << 20
# Bytes that wait at most.
_MOST = 1 << 29

# By identity. Without a lock, which a forked child would find taken: each step is one operation of a dict.
_waiting: dict[int, mmap.mmap] = {}


def take(size: int) -> np.ndarray:
    """So many bytes, with anything in them; they come back when the last reference to this array, or to views of it, goes."""
    block = None
    for key, waiting in reversed(list(_waiting.items())):  # the newest is likeliest to be in a cache
        if size <= len(waiting) <= size + size // 8:
            block = _waiting.pop(key, None)
            if block is not None:
                break
    if block is None:
        block = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Its base is no array: so it is itself the base of its views, and lives as long as they do.
    array: np.ndarray = np.frombuffer(block, np.uint8, size)
    weakref.finalize(array, _give_back, block)
    return array


def empty(shape: list[int], dtype: DTypeLike) -> np.ndarray:
    """As `numpy.empty`."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.empty(shape, dtype) if size < LEAST else take(size).view(dtype).reshape(shape)


def release() -> None:
    """What waits goes back to the system."""
    _waiting.clear()


def _give_back(block: mmap.mmap) -> None:
    _waiting[id(block)] = block
    while sum(map(len, list(_waiting.values()))) > _MOST:
        oldest = next(iter(list(_waiting)), None)
        if oldest is not None:
            _waiting.pop(oldest, None)
