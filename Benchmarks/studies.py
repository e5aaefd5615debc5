"""Of segloss alone: how its time depends on the size, the window, the ratio of hard negatives and the threads.

Points of a group take turns, and each is shown beside the first of them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import segloss
from cases import CASES, Inputs

REFERENCE = 22  # of growth: 2**22 pixels
PAGE = 256  # pixels of a side


@dataclasses.dataclass
class Point:
    parameter: str
    call: Callable[[], Any]
    pixels: int
    threads: int


@dataclasses.dataclass
class Group:
    study: str
    case: str
    points: list[Point]
    why: str = ""
    """Why there are none."""


def pages(case: str, count: int) -> Inputs:
    """Inputs of 256 x 256."""
    return CASES[case].inputs((count, {"boundary": 2, "db-bce": 3}.get(case, 1), PAGE, PAGE), 1)


def inputs_of(case: str, pixels: int) -> Inputs:
    """Pages until there are as many pixels; 32 different ones at most."""
    count = pixels // PAGE**2
    return {name: np.concatenate([a] * -(-count // len(a)))[:count] for name, a in pages(case, min(count, 32)).items()}


def fits(case: str, pixels: int) -> bool:
    """Whether inputs and gradient are at most two thirds of the memory that is free."""
    sizes = [array.nbytes for array in pages(case, 1).values()]
    free = int(re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    return pixels // PAGE**2 * (sum(sizes) + sizes[0]) <= free * 2 / 3


def step(case: str, inputs: Inputs, threads: int, **options: Any) -> Callable[[], Any]:
    """A call of value and gradient, the gradient in memory that is kept."""
    loss = getattr(segloss, CASES[case].loss)(**{**CASES[case].options, **options})
    arrays = list(inputs.values())
    out = np.zeros_like(arrays[0])

    def call():
        segloss.set_num_threads(threads)  # 0.2 µs
        return loss.value_and_grad(*arrays, out=out)

    return call


def _growth(study: str, case: str, growth: Sequence[int], threads: int) -> Iterator[Group]:
    reference = step(case, inputs_of(case, 2**REFERENCE), threads)
    for power in growth:
        if not fits(case, 2**power):
            yield Group(study, case, [], f"2^{power} pixels do not fit into the memory that is free")
            continue
        points = [Point(f"2^{REFERENCE}", reference, 2**REFERENCE, threads)]
        points.append(Point(f"2^{power}", step(case, inputs_of(case, 2**power), threads), 2**power, threads))
        yield Group(study, case, points)


def groups(growth: tuple[int, ...], growing: tuple[str, ...], everyone: int) -> Iterator[Group]:
    for case in growing:
        yield from _growth("growth", case, growth, everyone)
    if everyone > 1:
        for case in growing:
            yield from _growth("growth-serial", case, [power for power in growth if power < REFERENCE], 1)
    pixels = 2**21
    inputs = inputs_of("boundary", pixels)
    yield Group(
        "window", "boundary",
        [
            Point(f"{a}/{b}", step("boundary", inputs, everyone, theta0=a, theta=b), pixels, everyone)
            for a, b in ((3, 5), (3, 31), (31, 31), (63, 63))
        ],
    )  # fmt: skip
    inputs = inputs_of("db-bce", pixels)
    yield Group(
        "ratio", "db-bce",
        [
            Point(f"{ratio}", step("db-bce", inputs, everyone, ohem_ratio=ratio), pixels, everyone)
            for ratio in (3, 1, 10, 100)
        ],
    )  # fmt: skip
    for case in ("dice", "bce", "boundary", "db-bce"):
        inputs = inputs_of(case, 2**22)
        counts = sorted({min(2**k, everyone) for k in range(everyone.bit_length() + 1)})
        yield Group("threads", case, [Point(f"{n}", step(case, inputs, n), 2**22, n) for n in counts])
    if everyone > 1:
        for case in ("dice", "bce"):
            for power in range(12, 21):
                inputs = CASES[case].inputs((1, 1, 2 ** (power // 2), 2 ** (power - power // 2)), 1)
                points = [Point(f"2^{power}", step(case, inputs, n), 2**power, n) for n in (1, everyone)]
                yield Group("crossover", case, points)
