"""`python -m segloss bench`: value and gradient of each loss at one real size, beside the speed of memory.

A glance, on numpy arrays; `Benchmarks/bench.py` of the repository compares with the frameworks' own, in turns.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import segloss

from . import console, names, scenes


def _median(call: Callable[[], object], seconds: float, least: int = 3) -> float:
    """Of calls that take so long together, after one that is not timed."""
    call()
    taken: list[float] = []
    while len(taken) < least or sum(taken) < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def streaming_speed(seconds: float) -> float:
    """Bytes a second: numpy adds two arrays, far larger than caches, into a third, on one thread for each of ours."""
    from concurrent.futures import ThreadPoolExecutor

    threads, size = segloss.num_threads(), 1 << 25
    a, b, c = (np.ones(size, np.float32) for _ in range(3))
    cuts = [slice(size * i // threads, size * (i + 1) // threads) for i in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        took = _median(lambda: list(pool.map(lambda s: np.add(a[s], b[s], out=c[s]), cuts)), seconds)
    return 3 * a.nbytes / took


def floor_bytes(inputs: tuple[scenes.Array, ...], predictions: tuple[int, ...]) -> int:
    """What has to move: all inputs twice, for the statistics and for the gradient, and the gradients once."""
    return 2 * sum(array.nbytes for array in inputs) + sum(inputs[i].nbytes for i in predictions)


def run(chosen: Sequence[str], size: int, seconds: float) -> None:
    classes: list[Any] = [names.find_loss(name) for name in chosen] or list(segloss.LOSSES.values())
    if size < 8:
        raise ValueError(f"--size: expected at least 8, got {size}")
    scene = scenes.random((8, size, size), np.float32)
    speed = streaming_speed(seconds)
    print(
        f"8 x {size} x {size} in float32, value and gradient; {segloss.instruction_set()}, "
        f"{segloss.num_threads()} threads; memory streams at {speed / 1e9:.0f} GB/s"
    )
    rows = []
    for cls in console.progress(classes, "measuring"):
        loss: Any = cls()
        inputs = scenes.arguments(loss, scene)
        predictions = scenes.predictions(loss, inputs)
        out: Any = tuple(np.empty_like(inputs[i]) for i in predictions)
        if len(out) == 1 and not isinstance(loss, segloss.CTPNLoss):
            (out,) = out
        warm = _median(lambda: loss.value_and_grad(*inputs, out=out), seconds)
        fresh = _median(lambda: _fresh(loss, inputs), seconds)
        floor = floor_bytes(inputs, predictions) / speed
        rows.append((cls.__name__, *(f"{1e3 * t:.1f}" for t in (fresh, warm, floor)), f"{warm / floor:.1f}"))
    console.table(rows, ("loss", "fresh ms", "warm ms", "floor ms", "warm / floor"), right=(1, 2, 3, 4))
    print("fresh: a new gradient each time, in pages new from the system; warm: the same gradient again (out=)")


def _fresh(loss: Any, inputs: tuple[scenes.Array, ...]) -> None:
    _, gradients = scenes.value_and_gradients(loss, inputs)
    del gradients
    # What was freed goes back to the system, where the allocator has kept it.
    _trim(0)


try:
    _trim: Any = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError):  # another C library than glibc

    def _trim(_: int) -> None:
        pass
