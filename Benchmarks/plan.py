"""What a run measures, and in which order: the sets `quick` and `full`, or what the command line asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from cases import CASES, SHAPES, Shape

ALL = 0  # threads: as many as there are

# What is compiled anew for every case takes longer to compile than all the rest to measure.
COMPILED = ("torch.compile", "torch.compile tuned")


@dataclasses.dataclass(frozen=True)
class Job:
    """One loss on one input, by all that have it."""

    case: str
    shape: Shape
    dtype: str = "float32"
    targets: str = "float"
    modes: tuple[str, ...] = ("step",)
    without: tuple[str, ...] = ()
    """Contenders that are left out, to save time."""
    step_only: tuple[str, ...] = ()
    """Contenders that are left out where there is no gradient, to save time."""


@dataclasses.dataclass(frozen=True)
class Process:
    """Jobs in one process: one mood of the allocator, one number of threads. Several of them are a run."""

    mood: str
    threads: int
    jobs: tuple[Job, ...]
    weight: float
    """Its share of the time."""


@dataclasses.dataclass(frozen=True)
class Effort:
    minutes: float
    """The whole run ends by then; what was not measured is named."""
    rounds: int
    budget: float
    """Seconds for each contender in each table, if its calls are short."""
    box: float
    """Seconds that a first call may take, which compiles; who needs longer is left out, and named."""
    growth: tuple[int, ...]
    """Sizes of the study of growing work, as powers of two."""
    growing: tuple[str, ...]
    """Its losses."""
    studies: float
    """The share of time of the studies, beside the processes' weights."""


EFFORTS = {
    "quick": Effort(4.5, rounds=3, budget=0.2, box=12, growth=(18, 24), growing=("dice", "boundary"), studies=0.25),
    "full": Effort(
        39.0, rounds=3, budget=0.2, box=40, growth=(16, 18, 20, 24, 26, 28),
        growing=("bce", "dice", "structure", "contour", "boundary", "db-bce"), studies=0.34,
    ),
}  # fmt: skip

# The same loss in frameworks whose own has its row: where the full set measures whole steps at the first size.
_OWN = ("segloss.paddle", "segloss.jax", "segloss.tensorflow")
# Compiled in the quick set: one of each kind.
_QUICK_COMPILED = ("dice", "bce", "db-bce")
_QUICK = ("dice", "bce", "db-bce", "boundary", "structure", "dice-bce", "focal", "cross-entropy", "contour")
# In all element types and numbers of threads: one of each kind. (Not the boundary loss, of which the peers take seconds.)
_VARIED = (
    "dice", "bce", "db", "db-bce", "dice-bce", "focal", "iou", "cross-entropy", "dice-classes", "structure", "contour",
)  # fmt: skip


def _job(case: str, shape: str | None = None, **values) -> Job:
    return Job(case, SHAPES[shape or CASES[case].shapes[0]], **values)


def _variants(cases: Iterable[str], **values) -> tuple[Job, ...]:
    """bfloat16, and targets in bytes."""
    halves = [_job(name, dtype="bfloat16", **values) for name in cases if not CASES[name].no_bfloat16]
    return (*halves, *(_job(name, targets="u8", **values) for name in cases if CASES[name].whole))


def quick() -> list[Process]:
    few = (*COMPILED, *_OWN)
    # What matters most comes first: where the time is over, the last are named as not measured.
    jobs = (
        *(_job(name, without=_OWN if name in _QUICK_COMPILED else few) for name in _QUICK),
        *_variants(("dice",), without=few),
        _job("dice", "tiny", without=few),
        _job("dice", modes=("forward",), without=few),
        *(_job(name, without=few) for name in ("dice-classes", "db", "ctpn")),
        _job("dice-classes", "volume", without=few),
    )
    return [Process("fresh", ALL, jobs, 1.25), Process("warm", ALL, jobs, 1)]


def full() -> list[Process]:
    few = (*COMPILED, *_OWN)
    first = tuple(_job(name, modes=("step", "forward"), step_only=few) for name in CASES)
    sizes = tuple(_job(name, shape, without=few) for name, case in CASES.items() for shape in case.shapes[1:])
    variants = _variants(_VARIED, without=few)
    single = tuple(_job(name, without=few) for name in _VARIED) + _variants(("dice", "bce"), without=few)
    # Fresh comes first and compiles; the others find that in torch's cache.
    return [
        Process("fresh", ALL, (*first, *sizes, *variants), 1.6),
        Process("warm", ALL, (*first, *sizes, *variants), 1.32),
        Process("fresh", 1, single, 0.37),
        Process("warm", 1, single, 0.37),
    ]


SETS = {"quick": quick, "full": full}


def chosen(*, cases, shapes, dtypes, targets, modes, threads, moods) -> list[Process]:
    """Everything that these have in common, compiled forms too."""
    jobs = []
    for name in cases:
        case = CASES[name]
        for shape in shapes or [SHAPES[known] for known in case.shapes]:
            for dtype in dtypes:
                for target in targets:
                    if (dtype == "bfloat16" and case.no_bfloat16) or (target == "u8" and not case.whole):
                        continue
                    jobs.append(Job(name, shape, dtype, target, tuple(modes)))
    return [Process(mood, count, tuple(jobs), 1) for count in threads for mood in moods]
