"""The process that measures: one mood of the allocator, one number of threads, every contender side by side.

`bench.py` starts it as `measure.py SPEC FD` and reads one JSON object per line from FD.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from cases import CASES

PEERS = ("segloss", "torch", "paddle")
MODES = {"forward": "value", "step": "value + gradient"}

# How far from segloss a value (relative) and a gradient (of its largest entry) may be: float32 results in a good order.
TOLERANCE = (5e-6, 1e-5)


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


class Contender:
    def __init__(self, name: str, call: Callable[[], object], settle: float):
        self.name = name
        self.call = call
        self.settle = settle
        self.seconds: list[float] = []
        self.cpu = 0.0
        self.faults = 0
        start = time.perf_counter()
        call()
        self.estimate = time.perf_counter() - start

    def visit(self, budget: float) -> None:
        """Some calls in a row, the first of them untimed where it is short: it brings caches and pages back."""
        if self.estimate < 0.1:
            self.call()
        for _ in range(max(1, min(20, round(budget / self.estimate)))):
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


def peak_extra_bytes(call: Callable[[], object], clear: Callable[[], None]) -> int | None:
    """What the process grows by, at most, during one call; None where the system does not tell."""
    try:
        clear()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # memory that the allocator keeps would hide what a call needs
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        held = call()
        peak = _status("VmHWM")
        del held
        return max(0, peak - before)
    except (OSError, AttributeError):
        return None


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


def agreement(runner, reference_value: float, reference: list[np.ndarray]) -> tuple[float, float, float]:
    """Difference of the value, relative; the gradient's largest, in units of its largest entry, after leaving out one
    entry in 100000 (pixels tied at the K-th place, where each implementation takes others); and with all of them."""
    value = runner.value(runner.step())
    value_difference = abs(value - reference_value) / max(abs(reference_value), 1e-3)
    usual = largest = 0.0
    for mine, theirs in zip(runner.gradients(), reference, strict=True):
        difference = np.abs(mine.reshape(theirs.shape) - theirs).ravel() / np.abs(theirs).max()
        allowed = difference.size // 100000 + 1
        usual = max(usual, float(np.partition(difference, -allowed - 1)[-allowed - 1]))
        largest = max(largest, float(difference.max()))
    runner.clear()
    return value_difference, usual, largest


class Worker:
    def __init__(self, spec: dict, out):
        self.spec = spec
        self.out = out
        self.streams = Streams(spec["threads"])
        self.peers = []

    def say(self, kind: str, **values) -> None:
        self.out.write(json.dumps({"kind": kind, **values}) + "\n")
        self.out.flush()

    def run(self) -> None:
        versions = {"numpy": np.__version__, "python": sys.version.split()[0]}
        for name in self.spec["peers"]:
            self.say("progress", text=f"importing {name}", done=0)
            try:
                peer = importlib.import_module("peers_" + name)
            except ImportError as error:
                if name == "segloss":
                    raise
                self.say("absent", peer=name, why=str(error))
                continue
            peer.start(self.spec["threads"])
            versions |= peer.versions()
            self.peers.append(peer)
        self.say("versions", **versions)
        cells = [(name, tuple(shape)) for name in self.spec["cases"] for shape in self.shapes(name)]
        for i, (name, shape) in enumerate(cells):
            self.case(CASES[name], shape, i / len(cells), 1 / len(cells))

    def shapes(self, name: str):
        return self.spec["shapes"] or [CASES[name].shape]

    def case(self, case, shape, done: float, share: float) -> None:
        self.say("progress", text=f"{case.name}: inputs", done=done)
        inputs = case.inputs(shape, self.spec["seed"])
        runners, settle, differences = {}, {}, {}
        reference = None
        for peer in self.peers:
            for name, make in peer.CONTENDERS.items():
                self.say("progress", text=f"{case.name}: first call of {name}", done=done)
                try:
                    runner = make(case, inputs, self.spec["mood"])
                    if runner is None:
                        continue
                    if reference is None:  # segloss comes first
                        reference = runner.value(runner.step()), [g.copy() for g in runner.gradients()]
                    differences[name] = agreement(runner, *reference)
                except Exception as error:  # a peer that does not run here (no C++ compiler, say) is not in the race
                    if peer.NAME == "segloss":
                        raise
                    self.say("absent", peer=name, why=f"{case.name}: {type(error).__name__}: {error}"[:500])
                    continue
                value, gradient, largest = differences[name]
                bounds = peer.TOLERANCE.get(name, TOLERANCE)
                agrees = value <= bounds[0] and gradient <= bounds[1]
                self.say(
                    "agreement", case=case.name, contender=name, value=value, gradient=gradient, largest=largest,
                    agrees=agrees,
                )
                if agrees:
                    runners[name], settle[name] = runner, peer.SETTLE
        del reference
        for j, mode in enumerate(self.spec["modes"]):
            part = share / len(self.spec["modes"])
            self.cell(case, shape, inputs, mode, runners, settle, differences, done + j * part, part)

    def cell(self, case, shape, inputs, mode, runners, settle, differences, done, share) -> None:
        streams = {kind: Contender(kind, getattr(self.streams, kind), 0) for kind in ("read", "update")}
        contenders = []
        for name, runner in runners.items():
            call = getattr(runner, mode)
            call()  # compiles, where compiling is late
            contenders.append(Contender(name, call, settle[name]))
        rounds = self.spec["rounds"]
        busy, cpu, wall = _busy(), time.process_time(), time.perf_counter()
        gc.collect()
        gc.disable()
        for i in range(rounds):
            text = f"{case.name}: {MODES[mode]}, round {i + 1} of {rounds}"
            self.say("progress", text=text, done=done + share * i / rounds)
            for stream in streams.values():
                stream.visit(0.05)
            turn = i % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                contender.visit(self.spec["budget"] / rounds)
        gc.enable()
        wall = time.perf_counter() - wall
        others = (_busy() - busy - (time.process_time() - cpu)) / wall
        floor = self.streams.floor(case.passes(mode), inputs, {k: s.quantile(0.5) for k, s in streams.items()})
        speeds = {k: self.streams.bytes[k] / s.quantile(0.5) / 1e9 for k, s in streams.items()}
        self.say(
            "cell", case=case.name, shape=shape, mode=mode, floor=floor, speeds=speeds, others=max(0.0, others),
            bytes=sum(p.bytes(inputs) for p in case.passes(mode)),
            gradient_bytes=sum(inputs[name].nbytes for name in case.predictions) if mode == "step" else 0,
        )
        for contender in contenders:
            runner = runners[contender.name]
            calls = len(contender.seconds)
            value, gradient, _ = differences[contender.name]
            self.say(
                "result", case=case.name, shape=shape, mode=mode, contender=contender.name, calls=calls,
                median=contender.quantile(0.5), p20=contender.quantile(0.2), p80=contender.quantile(0.8),
                minimum=min(contender.seconds), cores=contender.cpu / sum(contender.seconds),
                faults=contender.faults / calls, extra=peak_extra_bytes(contender.call, runner.clear),
                value_difference=value, gradient_difference=gradient,
            )
            runner.clear()


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w") as out:
        Worker(json.loads(sys.argv[1]), out).run()
