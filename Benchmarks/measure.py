"""The process that measures: one mood of the allocator, one number of threads, every contender side by side.

`bench.py` starts it as `measure.py SPEC FD` and reads one JSON object per line from FD.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from cases import CASES

# In this order: Paddle imported after TensorFlow kills the process.
PEERS = ("segloss", "torch", "kornia", "smp", "monai", "paddle", "jax", "tensorflow")
MODES = {"forward": "value", "step": "value + gradient"}

# How far from segloss a value (relative) and a gradient (of its largest entry) may be. float32: sums in a good order.
# bfloat16: it rounds to 8 bits after each operation, by 0.2 % at most, where segloss rounds once at the end; so values, of
# ten to twenty operations, stay within 4 % and gradients, of some more, within 5, or they differ in more than rounding.
TOLERANCE = {"float32": (5e-6, 1e-5), "bfloat16": (4e-2, 5e-2)}
SAVED = "not in this set, to save time"
OVER = "the run's time was over"
LONG = 0.5  # seconds: such a call is timed from its first repetition on


class Streams:
    """The speed of memory: loops over buffers far larger than the caches, cut into one slice per thread.

    Two speeds, since writing costs more than reading: `read` goes over two buffers, `update` adds them into a third.
    Bytes are counted as the program sees them; what a store fetches first belongs to the speed. The pages are there
    already, in either mood: a floor has no page faults.
    """

    def __init__(self, threads: int):
        self.size = max(1 << 25, min(largest_cache(), 1 << 28))  # float32 elements: four times the largest cache
        self._buffers = [np.ones(self.size, np.float32) for _ in range(3)]
        self._pool = ThreadPoolExecutor(threads)
        cuts = [self.size * i // threads // 2 * 2 for i in range(threads + 1)]
        self._slices = [slice(a, b) for a, b in zip(cuts, cuts[1:])]
        self.bytes = {"read": 8 * self.size, "update": 12 * self.size}

    def read(self) -> None:
        a, b, _ = (buffer.view(np.int64) for buffer in self._buffers)  # numpy's fastest reduction

        def loop(s: slice) -> None:
            half = slice(s.start // 2, s.stop // 2)
            np.bitwise_or.reduce(a[half])
            np.bitwise_or.reduce(b[half])

        list(self._pool.map(loop, self._slices))

    def update(self) -> None:
        a, b, c = self._buffers
        list(self._pool.map(lambda s: np.add(a[s], b[s], out=c[s]), self._slices))

    def floor(self, passes, inputs, seconds: dict[str, float]) -> float:
        """The time that the passes take at these speeds."""
        total = 0.0
        for p in passes:
            kind = "update" if p.writes else "read"
            total += p.bytes(inputs) * seconds[kind] / self.bytes[kind]
        return total


def largest_cache() -> int:
    """In bytes, of one processor."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.append(int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20}[text[-1]])
    return max(sizes)


class TooLong(BaseException):
    """A first call took longer than its box. Not an `Exception`, so that no compiler takes it for an error of its own."""


@contextlib.contextmanager
def time_box(seconds: float):
    """Ends what is inside by `TooLong`, a call into C once it returns; 0 is no limit."""

    def ring(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Contender:
    def __init__(self, name: str, call: Callable[[], object], settle: float = 0.0):
        self.name = name
        self.call = call
        self.settle = settle
        self.seconds: list[float] = []
        self.cpu = 0.0
        self.faults = 0
        self.extra: int | None = None
        self.estimate = 0.0

    def prepare(self, clear: Callable[[], None], is_new: bool) -> None:
        """The untimed calls: what is late compiles, memory is counted, and how long a call takes is guessed."""
        if is_new:
            self.call()
        self.extra, self.estimate = peak_extra_bytes(self.call, clear)

    def rounds(self, rounds: int, budget: float) -> int:
        """In how many of the rounds it takes part: long calls in two at least, those of a second and more in one."""
        least = 2 if self.estimate < 1 else 1
        return rounds if self.estimate * rounds <= budget else min(rounds, max(least, int(3 * budget / self.estimate)))

    def visit(self, budget: float) -> None:
        """Some calls in a row, the first of them untimed where it is short: it brings caches and pages back."""
        if self.estimate < LONG:
            start = time.perf_counter()
            self.call()
            self.estimate = time.perf_counter() - start
        for _ in range(max(1, min(20, round(budget / max(self.estimate, 1e-6))))):
            faults, cpu = _page_faults(), time.process_time()
            start = time.perf_counter()
            self.call()
            self.seconds.append(time.perf_counter() - start)
            self.cpu += time.process_time() - cpu
            self.faults += _page_faults() - faults
        time.sleep(self.settle)

    def quantile(self, q: float) -> float:
        return float(np.quantile(self.seconds, q))


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def peak_extra_bytes(call: Callable[[], object], clear: Callable[[], None]) -> tuple[int | None, float]:
    """What the process grows by, at most, during one call, None where the system does not tell; and the call's seconds."""
    try:
        clear()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # memory that the allocator keeps would hide what a call needs
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except (OSError, AttributeError):
        before = None
    start = time.perf_counter()
    held = call()
    seconds = time.perf_counter() - start
    extra = None if before is None else max(0, _status("VmHWM") - before)
    del held
    return extra, seconds


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(field)


def _busy() -> float:
    """CPU seconds that all processes have used, and the host has taken away."""
    fields = [int(f) for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def agreement(runner, value: float, reference: tuple[float, list[np.ndarray]]) -> tuple[float, float]:
    """Difference of the value, relative; the gradient's largest, in units of its largest entry, after leaving out one
    entry in 50000: ties, of which each implementation takes others (pixels at the K-th place; neighbours of which a peer
    rounds 1 - p to one number)."""
    worst = 0.0
    for mine, theirs in zip(runner.gradients(), reference[1], strict=True):
        difference = np.abs(mine.reshape(theirs.shape) - theirs).ravel()
        largest, unit = difference.max(), max(theirs.max(), -theirs.min())
        if largest > 1e-6 * unit:  # sorting out costs more than looking
            allowed = difference.size // 50000 + 1
            largest = np.partition(difference, -allowed - 1)[-allowed - 1]
        worst = max(worst, float(largest / unit))
    return abs(value - reference[0]) / max(abs(reference[0]), 1e-3), worst


class Worker:
    def __init__(self, spec: dict, out):
        self.spec = spec
        self.out = out
        self.end = time.perf_counter() + spec["seconds"]
        self.peers = []

    def say(self, kind: str, **values) -> None:
        self.out.write(json.dumps({"kind": kind, **values}) + "\n")
        self.out.flush()

    @property
    def is_over(self) -> bool:
        return time.perf_counter() > self.end

    def run(self) -> None:
        if self.spec["threads"] < len(os.sched_getaffinity(0)):
            # Some frameworks know no other way to have one thread.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.spec["threads"]])
        versions = {"numpy": np.__version__, "python": sys.version.split()[0]}
        for name in self.spec["peers"]:
            self.say("progress", text=f"importing {name}", done=0)
            try:
                peer = importlib.import_module("peers_" + name)
            except ImportError as error:
                if name == "segloss":
                    raise
                self.say("absent", peer=name, why=str(error).splitlines()[0])
                continue
            peer.start(self.spec["threads"])
            versions |= peer.versions()
            self.peers.append(peer)
        self.say("versions", **versions)
        jobs = self.spec["jobs"]
        for peer in self.peers:
            if hasattr(peer, "warm_up") and any("torch.compile" not in job["without"] for job in jobs):
                self.say("progress", text=f"{peer.NAME}: what it compiles once", done=0)
                with contextlib.suppress(Exception, TooLong), time_box(2 * self.spec["box"]):
                    peer.warm_up()  # what is wrong with it, the first case will say
        gc.freeze()  # all that is imported: going through it before each count of memory took a quarter of the run
        if jobs:
            self.streams = Streams(self.spec["threads"])
        for i, job in enumerate(jobs):
            if self.is_over:
                for mode in job["modes"]:
                    self.skip(job, mode, "(all)", OVER)
                continue
            self.job(job, i / len(jobs), 1 / len(jobs))
        if self.spec["studies"]:
            self.studies()

    def skip(self, job: dict, mode: str, contender: str, why: str, status: str = "skipped", **values) -> None:
        self.say("skipped", **_place(job, mode), contender=contender, why=why, status=status, **values)

    def job(self, job: dict, done: float, share: float) -> None:
        """First what everyone computes, then how long it takes, in each mode."""
        case, shape = CASES[job["case"]], tuple(job["shape"])
        title = f"{case.name} {'x'.join(map(str, shape))} {job['dtype']}, targets {job['targets']}"
        self.say("progress", text=f"{title}: inputs", done=done)
        inputs = case.inputs(shape, self.spec["seed"], job["dtype"], job["targets"])
        entrants: list[Entrant] = []
        reference = None
        for peer in self.peers:
            for name, make in peer.CONTENDERS.items():
                if name in job["without"]:
                    if _has(peer, case, name):
                        for mode in job["modes"]:
                            self.skip(job, mode, name, SAVED)
                    continue
                if self.is_over and reference is not None:
                    if _has(peer, case, name):
                        for mode in job["modes"]:
                            self.skip(job, mode, name, OVER)
                    continue
                self.say("progress", text=f"{title}: first call of {name}", done=done)
                entrant = Entrant(peer, name)
                # segloss comes first, and what all are held against has the time that it needs.
                seconds = self.spec["box"] if reference else 0
                try:
                    with time_box(seconds):
                        entrant.runner = make(case, inputs, self.spec["mood"])
                        if entrant.runner is None:
                            continue
                        entrant.value = entrant.runner.value(entrant.runner.step())
                    if reference is None:
                        reference = entrant.value, [g.astype(np.float32) for g in entrant.runner.gradients()]
                    entrant.compare(reference, peer.TOLERANCE.get(name, (0, 0)), TOLERANCE[job["dtype"]])
                    entrant.runner.clear()
                except (Exception, TooLong) as error:  # a peer that does not run here is not in the race
                    if peer.NAME == "segloss":
                        raise
                    why = _why(error, seconds)
                    for mode in job["modes"]:
                        self.skip(job, mode, name, why, "skipped" if isinstance(error, TooLong) else "failed")
                    continue
                if entrant.status == "disagrees":
                    for mode in job["modes"]:
                        self.skip(job, mode, name, entrant.note, entrant.status, **entrant.differences(reference))
                else:
                    entrants.append(entrant)
        for j, mode in enumerate(job["modes"]):
            part = share / len(job["modes"])
            self.cell(job, case, inputs, mode, entrants, reference, title, done + j * part, part)

    def cell(self, job, case, inputs, mode, entrants, reference, title, done, share) -> None:
        streams = {kind: Contender(kind, getattr(self.streams, kind)) for kind in ("read", "update")}
        contenders = []
        for entrant in entrants:
            if mode == "forward" and entrant.name in job["step_only"]:
                self.skip(job, mode, entrant.name, SAVED)
                continue
            self.say("progress", text=f"{title}: {MODES[mode]}, {entrant.name}", done=done)
            contender = Contender(entrant.name, getattr(entrant.runner, mode), entrant.peer.SETTLE)
            contender.entrant = entrant
            try:
                with time_box(self.spec["box"]):
                    contender.prepare(entrant.runner.clear, is_new=mode != "step")
            except (Exception, TooLong) as error:
                if entrant.peer.NAME == "segloss":
                    raise
                self.skip(job, mode, entrant.name, _why(error, self.spec["box"]))
                continue
            contenders.append(contender)
        rounds, budget = self.spec["rounds"], self.spec["budget"]
        shares = {contender.name: contender.rounds(rounds, budget) for contender in contenders}
        busy, cpu, wall = _busy(), time.process_time(), time.perf_counter()
        gc.collect()
        gc.disable()
        for i in range(rounds):
            self.say("progress", text=f"{title}: {MODES[mode]}, round {i + 1} of {rounds}",
                     done=done + share * i / rounds)  # fmt: skip
            for stream in streams.values():
                stream.visit(0.03)
            turn = i % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                if i < shares[contender.name] and not (self.is_over and contender.seconds):
                    contender.visit(budget / rounds)
        gc.enable()
        wall = time.perf_counter() - wall
        others = (_busy() - busy - (time.process_time() - cpu)) / wall
        place = _place(job, mode)
        self.say(
            "cell", **place, others=max(0.0, others),
            floor=self.streams.floor(case.passes(mode), inputs, {k: s.quantile(0.5) for k, s in streams.items()}),
            speeds={k: self.streams.bytes[k] / s.quantile(0.5) / 1e9 for k, s in streams.items()},
            bytes=sum(p.bytes(inputs) for p in case.passes(mode)),
            gradient_bytes=sum(inputs[name].nbytes for name in case.predictions) if mode == "step" else 0,
            results=[
                {
                    "contender": c.name, "status": c.entrant.status, "note": c.entrant.note,
                    "calls": len(c.seconds), "median": c.quantile(0.5), "p20": c.quantile(0.2),
                    "p80": c.quantile(0.8), "minimum": min(c.seconds), "cores": c.cpu / sum(c.seconds),
                    "faults": c.faults / len(c.seconds), "extra": c.extra, **c.entrant.differences(reference),
                }
                for c in contenders
            ],
        )  # fmt: skip

    def studies(self) -> None:
        import studies

        todo = self.spec["studies"]
        for i, group in enumerate(studies.groups(tuple(todo["growth"]), tuple(todo["growing"]), self.spec["threads"])):
            text = f"{group.study}: {group.case} {group.points[-1].parameter if group.points else ''}"
            self.say("progress", text=text, done=min(0.99, i / 75))
            why = OVER if self.is_over else group.why
            if why:
                self.say("study", study=group.study, case=group.case, points=[], why=why)
                continue
            contenders = [Contender(point.parameter, point.call) for point in group.points]
            for contender in contenders:
                contender.prepare(lambda: None, is_new=True)
            for turn in range(self.spec["rounds"]):
                turn %= len(contenders)
                for contender in contenders[turn:] + contenders[:turn]:
                    contender.visit(self.spec["budget"] / self.spec["rounds"])
            first = contenders[0].quantile(0.5) / group.points[0].pixels
            self.say("study", study=group.study, case=group.case, points=[
                {
                    "parameter": p.parameter, "threads": p.threads, "pixels": p.pixels, "calls": len(c.seconds),
                    "median": c.quantile(0.5), "p20": c.quantile(0.2), "p80": c.quantile(0.8),
                    "minimum": min(c.seconds), "relative": c.quantile(0.5) / p.pixels / first, "extra": c.extra,
                }
                for p, c in zip(group.points, contenders)
            ])  # fmt: skip


class Entrant:
    """A contender in one job: its runner, and how it compares with segloss."""

    def __init__(self, peer, name: str):
        self.peer = peer
        self.name = name
        self.runner = None
        self.value = float("nan")
        self.value_difference = self.gradient_difference = 0.0
        self.status, self.note = "measured", ""

    def compare(self, reference, own: tuple[float, float], general: tuple[float, float]) -> None:
        self.value_difference, self.gradient_difference = agreement(self.runner, self.value, reference)
        bounds = max(own[0], general[0]), max(own[1], general[1])
        agrees = self.value_difference <= bounds[0] and self.gradient_difference <= bounds[1]
        if why := getattr(self.runner, "differs", ""):
            self.status, self.note = "different formula", f"{why}: {self.value:.6g}, segloss {reference[0]:.6g}"
        elif not agrees:
            self.status = "disagrees"
            self.note = (
                f"not measured, it disagrees: value {self.value:.6g}, segloss {reference[0]:.6g}; gradient off by "
                f"{self.gradient_difference:.1e} of its largest entry, {bounds[1]:.0e} allowed"
            )

    def differences(self, reference) -> dict[str, float]:
        return {
            "value": self.value, "segloss_value": reference[0], "value_difference": self.value_difference,
            "gradient_difference": self.gradient_difference,
        }  # fmt: skip


def _has(peer, case, contender: str) -> bool:
    """Whether a contender that was not asked would have had the loss."""
    return case.name in getattr(peer, "LOSSES", ()) and not contender.endswith("tuned")


def _place(job: dict, mode: str) -> dict:
    return {**{name: job[name] for name in ("case", "shape", "dtype", "targets")}, "mode": mode}


def _why(error: BaseException, box: float) -> str:
    if isinstance(error, TooLong):
        return f"its first call took longer than {box:g} s"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w") as out:
        Worker(json.loads(sys.argv[1]), out).run()
