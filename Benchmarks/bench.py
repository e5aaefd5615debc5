#!/usr/bin/env python3
"""How long one training step of a loss takes, in segloss and in the frameworks: see README.md."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import plan
import report
from cases import CASES, DTYPES, TARGETS
from measure import MODES, PEERS

HERE = Path(__file__).resolve().parent

# What glibc's malloc is told before the process starts. Fresh, every large block comes new from the kernel and goes
# back when freed, so that each step pays for its page faults: glibc's initial threshold, held there. By default glibc
# moves it as it sees blocks freed, and what a step pays depends on the history of the process. Warm, malloc keeps all
# it has, in huge pages.
MOODS = {
    "fresh": "glibc.malloc.mmap_threshold=131072",
    "default": "",
    "warm": "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=68719476736:glibc.malloc.hugetlb=1",
}

GRACE = 60  # seconds that a process may run over its time before it is ended


def main() -> int:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that what measures ends too
    run = Run(args)
    code = 0
    try:
        with progress() as show:
            for label, done in run.measure():
                show(label, done)
    except KeyboardInterrupt:
        print("\ninterrupted: this is what had been measured", file=sys.stderr)
        code = 130
    finally:
        run.results.close()
    report.show(run.results.rows)
    image = run.results.path.with_suffix(".png")
    with contextlib.suppress(ImportError):
        if report.picture(run.results.rows, image):
            print(f"\n{image}")
    print(run.results.path)
    return code or (1 if run.failures else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "set", nargs="?", choices=plan.SETS, help="what is measured: quick (the default, 5 minutes) or full (40)"
    )
    some = parser.add_argument_group(
        "instead of a set", "everything that these have in common, with compiled code, and no limit of time"
    )
    some.add_argument("--case", type=names(CASES), help=f"any of {','.join(CASES)}")
    some.add_argument("--shape", type=shapes, help="instead of the case's own, e.g. 2x3x320x320,1x3x64x64")
    some.add_argument("--dtype", type=names(DTYPES), help="default: float32")
    some.add_argument("--targets", type=names(TARGETS), help="default: float, which is the type that frameworks want")
    some.add_argument("--mode", type=names(MODES), help="default: step, which is value and gradient")
    some.add_argument("--threads", type=numbers, help="e.g. 1,4; default: all")
    some.add_argument("--mood", type=names(MOODS), help="default: fresh,warm")
    parser.add_argument("--peers", type=names(PEERS[1:]), help=f"beside segloss; default: {','.join(PEERS[1:])}")
    parser.add_argument("--no-studies", action="store_true", help="leave out growth, windows, ratios and threads")
    parser.add_argument("--rounds", type=int, help="in which the contenders take turns")
    parser.add_argument("--budget", type=float, help="seconds for each contender in each table")
    parser.add_argument("--box", type=float, help="seconds that a first call may take")
    parser.add_argument("--minutes", type=float, help="the whole may take")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs; default: 1")
    parser.add_argument("--output", type=Path, help="the CSV; default: results/DATE.csv beside this script")
    args = parser.parse_args()
    args.selects = any(
        value is not None
        for value in (args.case, args.shape, args.dtype, args.targets, args.mode, args.threads, args.mood)
    )
    if args.selects and args.set:
        parser.error(f"{args.set}: a set, or a selection, not both")
    if args.shape and not args.case:
        parser.error("--shape: of which --case?")
    if importlib.util.find_spec("segloss") is None:
        parser.error("segloss is not installed here: python -m pip install bindings/python")
    return args


def names(known):
    def read(text: str) -> list[str]:
        chosen = [part for part in text.split(",") if part]
        if unknown := [part for part in chosen if part not in known]:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; expected any of {', '.join(known)}")
        return chosen

    return read


def shapes(text: str) -> list[tuple[int, ...]]:
    return [tuple(int(side) for side in part.lower().split("x")) for part in text.split(",")]


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


class Run:
    """All measurements of one call of this script, in processes of their own, one after the other."""

    def __init__(self, args: argparse.Namespace):
        self.everyone = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        moods = list(MOODS) if platform.libc_ver()[0] == "glibc" else ["default"]  # the others are glibc's
        if args.selects:
            self.set = "selection"
            effort = plan.EFFORTS["full"]
            self.processes = plan.chosen(
                cases=args.case or list(CASES), shapes=args.shape, dtypes=args.dtype or ["float32"],
                targets=args.targets or ["float"], modes=args.mode or ["step"], threads=args.threads or [plan.ALL],
                moods=args.mood or ["fresh", "warm"],
            )  # fmt: skip
            minutes = args.minutes or 1e6
        else:
            self.set = args.set or "quick"
            effort = plan.EFFORTS[self.set]
            self.processes = plan.SETS[self.set]()
            minutes = args.minutes or effort.minutes
        self.processes = [p for p in self.processes if p.mood in moods] or [
            plan.Process("default", p.threads, p.jobs, p.weight) for p in self.processes[:1]
        ]
        self.effort = effort
        self.has_studies = not (args.selects or args.no_studies)
        self.start = time.monotonic()
        self.end = self.start + 60 * minutes
        self.spec = dict(
            peers=["segloss", *(p for p in PEERS[1:] if args.peers is None or p in args.peers)],
            rounds=args.rounds or effort.rounds,
            budget=args.budget or effort.budget,
            box=args.box or effort.box,
            seed=args.seed,
            studies=None,
        )
        date = datetime.datetime.now().astimezone().replace(microsecond=0)
        self.common = {"date": date.isoformat(), "set": self.set, **machine()}
        self.failures: list[str] = []
        self.results = report.Results(args.output or HERE / "results" / f"{date:%Y%m%d-%H%M%S}.csv")

    def measure(self) -> Iterator[tuple[str, float]]:
        """Runs it all; yields what is being done, and how much of all is."""
        parts = [(p.weight, p.mood, p.threads or self.everyone, p.jobs) for p in self.processes]
        if self.has_studies:
            # Memory as programs have it. In one warm heap arrays lie their own size apart: of 2^28 bytes that is twice the
            # time for anything that streams three of them, numpy's add too.
            parts.append((self.effort.studies, "default", self.everyone, ()))
        total, passed = sum(weight for weight, *_ in parts), 0.0
        for weight, mood, threads, jobs in parts:
            seconds = (self.end - time.monotonic()) * weight / (total - passed)
            spec = {**self.spec, "jobs": [asdict(job) for job in jobs], "mood": mood, "threads": threads,
                    "seconds": max(0.0, seconds)}  # fmt: skip
            if not jobs:
                spec |= {"peers": ["segloss"], "studies": asdict(self.effort)}
            label = f"{mood}, {threads} thread{'s' * (threads > 1)}"
            for event in self.process(spec):
                yield f"{label}: {event['text']}", (passed + weight * event["done"]) / total
            passed += weight

    def process(self, spec: dict) -> Iterator[dict]:
        """Runs the process that measures; yields its progress, keeps its results."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
        environment |= {
            "KMP_BLOCKTIME": "20",  # ms for which Paddle's threads go on spinning; 200 would be waited for in each turn
            "OMP_NUM_THREADS": str(spec["threads"]),
            "OPENBLAS_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no helpers that run on beside the measurement
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if MOODS[spec["mood"]]:
            environment["GLIBC_TUNABLES"] = MOODS[spec["mood"]]
        reader, writer = os.pipe()
        with tempfile.TemporaryFile("w+") as noise:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "measure.py"), json.dumps(spec), str(writer)],
                pass_fds=[writer], stdout=noise, stderr=noise, env=environment,
            )  # fmt: skip
            os.close(writer)
            watchdog = threading.Timer(min(spec["seconds"] + GRACE, threading.TIMEOUT_MAX), process.kill)
            watchdog.start()
            last = ""
            try:
                with os.fdopen(reader) as lines:
                    for line in lines:
                        event = json.loads(line)
                        if event["kind"] == "progress":
                            last = event["text"]
                            yield event
                        else:
                            self.take(event, spec)
                code = process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                watchdog.cancel()
            if code != 0:
                noise.seek(0)
                tail = " ".join(noise.read()[-2000:].split())
                why = f"the process died ({code}) at {last!r}; what came after it is not measured: {tail[-500:]}"
                self.failures.append(why)
                place = {"mood": spec["mood"], "threads": spec["threads"]}
                self.results.add([{**self.common, **place, "contender": "(all)", "status": "failed", "note": why}])
                print(why, file=sys.stderr)

    def take(self, event: dict, spec: dict) -> None:
        kind = event.pop("kind")
        common = {**self.common, "mood": spec["mood"], "threads": spec["threads"]}
        if kind == "versions":
            self.common["versions"] = "; ".join(f"{name} {version}" for name, version in event.items())
        elif kind == "absent":
            self.results.add([{**common, "contender": event["peer"], "status": "absent", "note": event["why"]}])
        elif kind == "skipped":
            if event["status"] == "disagrees":
                self.failures.append(event["why"])
            place = {**event, "shape": "x".join(map(str, event["shape"])), "note": event.pop("why")}
            self.results.add([{**common, **place}])
        elif kind == "study":
            self.results.add(self.study_rows(event, common))
        else:
            self.results.add(self.cell_rows(event, common))

    def cell_rows(self, cell: dict, common: dict) -> Iterator[dict]:
        results = cell["results"]
        own = next(r["median"] for r in results if r["contender"] == report.OWN)
        rivals = [r for r in results if report.is_rival(r["contender"], r["status"])]
        best = min(rivals, key=lambda r: r["median"], default=None)
        for r in results:
            yield {
                **common,
                **{name: cell[name] for name in ("case", "dtype", "targets", "mode", "gradient_bytes")},
                "shape": "x".join(map(str, cell["shape"])),
                **{name: r[name] for name in ("contender", "status", "note", "calls")},
                **milliseconds(r),
                "floor_ms": 1e3 * cell["floor"],
                "times_floor": r["median"] / cell["floor"],
                "times_segloss": r["median"] / own,
                "best_peer": best and best["contender"],
                "times_best_peer": best and r["median"] / best["median"],
                "extra_bytes": r["extra"],
                "page_faults": round(r["faults"]),
                "cores_busy": r["cores"],
                **{n: r[n] for n in ("value", "segloss_value", "value_difference", "gradient_difference")},
                "floor_bytes": cell["bytes"],
                "read_gb_s": cell["speeds"]["read"],
                "update_gb_s": cell["speeds"]["update"],
                "other_cpus": cell["others"],
            }

    def study_rows(self, event: dict, common: dict) -> Iterator[dict]:
        place = {**common, "study": event["study"], "case": event["case"], "contender": report.OWN, "mode": "step",
                 "dtype": "float32", "targets": "float"}  # fmt: skip
        if not event["points"]:
            yield {**place, "status": "skipped", "note": f"not measured: {event['why']}"}
        for point in event["points"]:
            yield {
                **place, "status": "measured", "parameter": point["parameter"], "shape": point["pixels"],
                "threads": point["threads"], "calls": point["calls"], "relative": point["relative"],
                "extra_bytes": point["extra"], **milliseconds(point),
            }  # fmt: skip


def milliseconds(result: dict) -> dict[str, float]:
    columns = {"median_ms": "median", "p20_ms": "p20", "p80_ms": "p80", "min_ms": "minimum"}
    return {column: 1e3 * result[name] for column, name in columns.items()}


def machine() -> dict[str, str]:
    """What a figure depends on."""
    cpu = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    caches = []
    for path in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = ((path / name).read_text().strip() for name in ("level", "type", "size"))
            caches.append(f"L{level}{'' if kind == 'Unified' else kind[0].lower()} {size}")
    huge = "unknown"
    with contextlib.suppress(OSError):
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        huge = text[text.index("[") + 1 : text.index("]")]
    return {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "caches": " ".join(caches),
        "memory_gb": f"{memory / 1e9:.0f}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "huge_pages": huge,
    }


@contextlib.contextmanager
def progress():
    """Yields a function that shows what is being done, and how much of all is."""
    try:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        last = ""

        def show(text: str, done: float) -> None:
            nonlocal last
            text = text.split(", round")[0]
            if text != last:
                print(f"{done:4.0%} {text}", file=sys.stderr, flush=True)
                last = text

        yield show
        return
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda text, done: bar.update(task, description=text, completed=done)


if __name__ == "__main__":
    sys.exit(main())
