#!/usr/bin/env python3
"""How long one training step of a loss takes, in segloss and in the frameworks: see README.md."""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cases import CASES
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

# CPUs that other programs may take before a table says so; frameworks' thread teams suffer more from them than segloss.
BUSY = 0.2

QUICK = dict(cases=("db", "db-bce"), single=False, rounds=5, budget=1.0)
FULL = dict(cases=tuple(CASES), single=True, rounds=10, budget=3.0)


def main() -> int:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that what measures ends too
    run = Run(args)
    with contextlib.ExitStack() as stack:
        show = stack.enter_context(progress())
        total = len(run.threads) * len(run.moods)
        for i, (threads, mood) in enumerate((t, m) for t in run.threads for m in run.moods):
            for event in run.measure(threads, mood):
                label = f"{mood}, {count(threads, 'thread')}: {event['text']}"
                show(label, (i + event["done"]) / total)
        show("done", 1.0)
    run.report()
    path = run.save()
    print(f"\n{path}")
    return 1 if run.disagreements else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="the main cases on all threads (the default)")
    size.add_argument("--full", action="store_true", help="every case, on one thread and on all, more repetitions")
    parser.add_argument("--case", action="append", choices=CASES, help="only this case; may be repeated")
    parser.add_argument("--shape", action="append", type=shape, help="e.g. 2x3x320x320; may be repeated")
    parser.add_argument("--threads", type=numbers, help="e.g. 1,4")
    parser.add_argument("--mood", choices=MOODS, help="only this mood of the allocator")
    parser.add_argument("--mode", choices=MODES, help="only forward, or only step")
    parser.add_argument("--peers", help=f"beside segloss, any of {','.join(PEERS[1:])}; default: what is installed")
    parser.add_argument("--budget", type=float, help="seconds for each contender in each measurement")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs; default: 1")
    parser.add_argument("--output", type=Path, help="the CSV; default: results/DATE.csv beside this script")
    args = parser.parse_args()
    known = set(PEERS[1:])
    if args.peers is not None and (unknown := set(filter(None, args.peers.split(","))) - known):
        parser.error(f"--peers: unknown {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("segloss") is None:
        parser.error("segloss is not installed here: python -m pip install bindings/python")
    return args


def shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.lower().split("x"))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


class Run:
    """All measurements of one call of this script."""

    def __init__(self, args: argparse.Namespace):
        defaults = FULL if args.full else QUICK
        everyone = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = args.threads or sorted({1, everyone} if defaults["single"] else {everyone})
        self.moods = [args.mood] if args.mood else list(MOODS)
        if platform.libc_ver()[0] != "glibc":
            self.moods = ["default"]  # the others are glibc's
        peers = PEERS[1:] if args.peers is None else [p for p in PEERS[1:] if p in args.peers.split(",")]
        self.spec = dict(
            cases=args.case or defaults["cases"],
            shapes=args.shape or [],
            modes=[args.mode] if args.mode else list(MODES),
            peers=["segloss", *peers],
            rounds=defaults["rounds"],
            budget=args.budget or defaults["budget"],
            seed=args.seed,
        )
        self.output = args.output
        self.date = datetime.datetime.now().astimezone().replace(microsecond=0)
        self.machine = machine()
        self.versions: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        self.agreements: dict[tuple[str, str], dict] = {}
        self.disagreements: list[dict] = []
        self.cells: dict[tuple, dict] = {}  # by (threads, case, shape, mode), mood
        self.results: dict[tuple, dict] = {}  # by the same and contender

    def measure(self, threads: int, mood: str) -> Iterator[dict]:
        """Runs the process that measures; yields its progress."""
        spec = {**self.spec, "threads": threads, "mood": mood}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
        environment |= {
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no helpers that run on beside the measurement
        }
        if MOODS[mood]:
            environment["GLIBC_TUNABLES"] = MOODS[mood]
        reader, writer = os.pipe()
        with tempfile.TemporaryFile("w+") as noise:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "measure.py"), json.dumps(spec), str(writer)],
                pass_fds=[writer], stdout=noise, stderr=noise, env=environment,
            )
            os.close(writer)
            try:
                with os.fdopen(reader) as lines:
                    for line in lines:
                        event = json.loads(line)
                        if event["kind"] == "progress":
                            yield event
                        else:
                            self.take(event, threads, mood)
                code = process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
            if code != 0:
                noise.seek(0)
                raise SystemExit(f"measuring failed ({mood}, {count(threads, 'thread')}):\n{noise.read()[-4000:]}")

    def take(self, event: dict, threads: int, mood: str) -> None:
        kind = event.pop("kind")
        if kind == "versions":
            self.versions |= event
        elif kind == "absent":
            self.absent[event["peer"]] = event["why"]
        elif kind == "agreement":
            self.agreements[event["case"], event["contender"]] = event
            if not event["agrees"]:
                self.disagreements.append(event)
        else:
            key = (threads, event["case"], tuple(event["shape"]), event["mode"], mood)
            if kind == "cell":
                self.cells[key] = event
            else:
                self.results[*key, event["contender"]] = event

    def contenders(self, *place) -> list[str]:
        """Those measured at (threads, case, shape, mode), whatever the mood."""
        return list(dict.fromkeys(key[5] for key in self.results if key[:4] == place))

    def best_peer(self, *place, tuned: bool = False) -> dict | None:
        """The fastest but segloss at (threads, case, shape, mode, mood), among published forms or among tuned ones."""
        peers = [
            r for key, r in self.results.items()
            if key[:5] == place and key[5] != "segloss" and key[5].endswith(" tuned") == tuned
        ]
        return min(peers, key=lambda r: r["median"], default=None)

    # What is shown and kept.

    def report(self) -> None:
        m = self.machine
        print(f"\n{m['cpu']}, {m['cores']} cores, {m['caches']}, {m['memory_gb']} GB; {m['system']}; "
              f"huge pages {m['huge_pages']}; {self.date.isoformat()}")
        print(", ".join(f"{name} {version}" for name, version in self.versions.items()))
        for peer, why in self.absent.items():
            print(f"not measured: {peer} ({why.splitlines()[0]})")
        peers = {key: a for key, a in self.agreements.items() if key[1] != "segloss"}
        if peers:
            print("\nDifference from segloss, value / gradient (of its largest entry):")
        for (case, contender), a in peers.items():
            mark = "" if a["agrees"] else "   DISAGREES: not measured"
            print(f"  {case:14} {contender:22} {a['value']:.1e} / {a['gradient']:.1e}{mark}")
        for place in dict.fromkeys(key[:4] for key in self.cells):
            self.report_place(*place)
        self.summary()

    def report_place(self, threads: int, case: str, shape: tuple, mode: str) -> None:
        place = (threads, case, shape, mode)
        title = f"{CASES[case].title}\n{MODES[mode]}, {'×'.join(map(str, shape))} float32, {count(threads, 'thread')}"
        header = ["pages", "", "ms", "p20–p80", "× floor", "× segloss", "+ MB", "page faults"]
        groups, notes = [], []
        for mood in self.moods:
            cell = self.cells.get((*place, mood))
            if cell is None:
                continue
            own = self.results[*place, mood, "segloss"]["median"]
            rows = []
            for contender in self.contenders(*place):
                if (r := self.results.get((*place, mood, contender))) is None:
                    continue
                rows.append([
                    "" if rows else mood,
                    contender,
                    milliseconds(r["median"]),
                    f"{milliseconds(r['p20'])}–{milliseconds(r['p80'])}",
                    f"{r['median'] / cell['floor']:.1f}",
                    f"{r['median'] / own:.1f}",
                    "?" if r["extra"] is None else f"{r['extra'] / 1e6:.0f}",
                    f"{r['faults']:.0f}",
                ])
            groups.append(rows)
            speeds = cell["speeds"]
            notes.append(
                f"{mood}: floor {milliseconds(cell['floor'])} ms = {cell['bytes'] / 1e6:.0f} MB at "
                f"{speeds['read']:.0f} GB/s (read) and {speeds['update']:.0f} GB/s (read and write)"
            )
            if cell["others"] > BUSY:
                notes.append(f"{mood}: NOT TO BE TRUSTED, other programs took {cell['others']:.1f} CPUs meanwhile")
        table(title, header, groups, notes)

    def summary(self) -> None:
        places = [place for place in dict.fromkeys(key[:4] for key in self.cells) if len(self.contenders(*place)) > 1]
        if places:
            print("\nsegloss against the fastest peer:")
        for place in places:
            threads, case, shape, mode = place
            parts = []
            for mood in self.moods:
                own = self.results.get((*place, mood, "segloss"))
                best, tuned = self.best_peer(*place, mood), self.best_peer(*place, mood, tuned=True)
                if own and best:
                    text = f"{mood} {best['median'] / own['median']:.1f}× ({best['contender']}"
                    parts.append(text + (f"; tuned {tuned['median'] / own['median']:.1f}×)" if tuned else ")"))
            size = "×".join(map(str, shape))
            print(f"  {case:14} {size:14} {MODES[mode]:17} {count(threads, 'thread'):10} {'   '.join(parts)}")

    def save(self) -> Path:
        path = self.output or HERE / "results" / f"{self.date:%Y%m%d-%H%M%S}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        versions = "; ".join(f"{name} {version}" for name, version in self.versions.items())
        with path.open("w", newline="") as file:
            writer = None
            for (threads, case, shape, mode, mood, contender), r in self.results.items():
                cell = self.cells[threads, case, shape, mode, mood]
                best = self.best_peer(threads, case, shape, mode, mood)
                row = {
                    "date": self.date.isoformat(),
                    "case": case,
                    "shape": "x".join(map(str, shape)),
                    "dtype": "float32",
                    "mode": mode,
                    "threads": threads,
                    "mood": mood,
                    "contender": contender,
                    "calls": r["calls"],
                    "median_ms": f"{1e3 * r['median']:.4g}",
                    "p20_ms": f"{1e3 * r['p20']:.4g}",
                    "p80_ms": f"{1e3 * r['p80']:.4g}",
                    "min_ms": f"{1e3 * r['minimum']:.4g}",
                    "floor_ms": f"{1e3 * cell['floor']:.4g}",
                    "times_floor": f"{r['median'] / cell['floor']:.3g}",
                    "best_peer": best["contender"] if best else "",
                    "times_best_peer": f"{r['median'] / best['median']:.3g}" if best else "",
                    "extra_bytes": "" if r["extra"] is None else r["extra"],
                    "gradient_bytes": cell["gradient_bytes"],
                    "page_faults": f"{r['faults']:.0f}",
                    "cores_busy": f"{r['cores']:.2f}",
                    "value_difference": f"{r['value_difference']:.2g}",
                    "gradient_difference": f"{r['gradient_difference']:.2g}",
                    "floor_bytes": cell["bytes"],
                    "read_gb_s": f"{cell['speeds']['read']:.3g}",
                    "update_gb_s": f"{cell['speeds']['update']:.3g}",
                    "other_cpus": f"{cell['others']:.2f}",
                    **self.machine,
                    "versions": versions,
                }
                if writer is None:
                    writer = csv.DictWriter(file, row)
                    writer.writeheader()
                writer.writerow(row)
        return path


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


# Terminal: rich where it is installed, plain text elsewhere.


def count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


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


def table(title: str, header: list[str], groups: list[list[list[str]]], notes: list[str]) -> None:
    print()
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        rows = [header, *(row for group in groups for row in group)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        print(title)
        for row in rows:
            cells = (c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
            print("  " + "  ".join(cells))
    else:
        out = Table(title=title, title_justify="left", title_style="bold")
        for i, name in enumerate(header):
            out.add_column(name, justify="left" if i < 2 else "right", no_wrap=True)
        for group in groups:
            for row in group:
                out.add_row(*row, style="green" if row[1] == "segloss" else None)
            out.add_section()
        console = Console()
        # Piped into a file there is no width to keep to.
        (console if console.is_terminal else Console(width=120)).print(out)
    for note in notes:
        print("  " + note)


if __name__ == "__main__":
    sys.exit(main())
