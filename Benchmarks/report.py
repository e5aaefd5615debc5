#!/usr/bin/env python3
"""What a run says: the CSV, the tables of the terminal and the picture, the latter two made of the CSV's rows alone.

python report.py RESULTS.csv            # the tables again
python report.py RESULTS.csv --picture OUT.png
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

from cases import CASES

MODES = {"forward": "value", "step": "value + gradient"}
OWN = "segloss"
# CPUs that other programs may take before a table says so; frameworks' thread teams suffer more from them than segloss.
BUSY = 0.2

PLACE = ("case", "shape", "dtype", "targets", "mode", "threads")
COLUMNS = (
    "date", "set", "study", *PLACE, "mood", "parameter", "contender", "status", "note",
    "calls", "median_ms", "p20_ms", "p80_ms", "min_ms",
    "floor_ms", "times_floor", "times_segloss", "best_peer", "times_best_peer", "relative",
    "extra_bytes", "gradient_bytes", "page_faults", "cores_busy",
    "value", "segloss_value", "value_difference", "gradient_difference",
    "floor_bytes", "read_gb_s", "update_gb_s", "other_cpus",
    "cpu", "cores", "caches", "memory_gb", "system", "huge_pages", "versions",
)  # fmt: skip

Row = dict[str, str]

STUDIES = {
    "growth": "Cost as work grows: time per pixel, in units of that of 2^22 pixels",
    "growth-serial": "The same on one thread, which is what small inputs have",
    "window": "Boundary: time by the windows θ0/θ, in units of the default's",
    "ratio": "Hard negatives: time by their ratio to the positives, in units of the default's",
    "threads": "Threads: time in units of that of one; 1/n would be perfect",
    "crossover": "Small inputs: time on all threads in units of that on one; a call stays on one while it is 1",
}


class Results:
    """The rows of a run. Each is in the file as soon as it is known, so that what interrupts a run costs no row."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows: list[Row] = []
        self._file = path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS, restval="")
        self._writer.writeheader()
        self._file.flush()

    def add(self, rows: Iterable[dict]) -> None:
        for values in rows:
            row = {name: _text(values.get(name)) for name in COLUMNS}
            self.rows.append(row)
            self._writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _text(value) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def is_peer(contender: str) -> bool:
    return not contender.startswith(OWN)


def is_rival(contender: str, status: str) -> bool:
    """Whether "best peer" may mean it: the same formula, in a form that somebody publishes."""
    return is_peer(contender) and status == "measured" and not contender.endswith("tuned")


# ---- Terminal --------------------------------------------------------------------------------------------------------


def show(rows: list[Row]) -> None:
    """Everything, rich where it is installed and plain text elsewhere."""
    if not rows:
        print("nothing was measured")
        return
    measured = [row for row in rows if not row["study"]]
    for place, group in _grouped(measured, PLACE):
        _show_place(place, list(group))
    _show_studies([row for row in rows if row["study"]])
    _show_summary(measured)
    _show_differences(measured)
    _show_missing(measured)
    print()
    for name in ("cpu", "cores", "caches", "memory_gb", "system", "huge_pages", "versions", "date"):
        print(f"{name.replace('_', ' ')}: {rows[-1][name]}")


def _grouped(rows: list[Row], names: tuple[str, ...]):
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups.items()


def _moods(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["mood"] for row in rows))


def _title(place: tuple[str, ...]) -> str:
    case, shape, dtype, targets, mode, threads = place
    bytes_ = ", targets in bytes" if targets == "u8" else ""
    return f"{MODES[mode]}, {_sizes(shape)} {dtype}{bytes_}, {threads} thread{'s' * (threads != '1')}"


def _show_place(place: tuple[str, ...], rows: list[Row]) -> None:
    moods = _moods(rows)
    found = {(row["mood"], row["contender"]): row for row in rows if row["median_ms"]}
    contenders = list(dict.fromkeys(contender for _, contender in found))
    if not contenders:
        return  # what is missing is said below
    header = ["", *itertools.chain(*((f"{mood} ms", "±", "× floor", "× best", "+ MB") for mood in moods))]
    lines = []
    for contender in contenders:
        line = [contender]
        for mood in moods:
            row = found.get((mood, contender))
            line += _cells(row) if row else ["–", "", "", "", ""]
        differs = any(row["status"] == "different formula" for (_, c), row in found.items() if c == contender)
        line[0] += " ≠" if differs else ""
        lines.append(line)
    notes = []
    for mood in moods:
        row = next((row for (m, _), row in found.items() if m == mood), None)
        if row is None:
            continue
        notes.append(
            f"{mood}: floor {_ms(row['floor_ms'])} ms = {float(row['floor_bytes']) / 1e6:.3g} MB at "
            f"{float(row['read_gb_s']):.0f} GB/s (read) and {float(row['update_gb_s']):.0f} GB/s (read and write)"
        )
        if float(row["other_cpus"]) > BUSY:
            notes.append(
                f"{mood}: NOT TO BE TRUSTED, other programs took {float(row['other_cpus']):.1f} CPUs meanwhile"
            )
    notes += dict.fromkeys(f"{row['contender']}: {row['note']}" for row in rows if row["note"])
    _table(f"{CASES[place[0]].title}\n{_title(place)}", header, lines, notes)


def _cells(row: Row) -> list[str]:
    median, low, high = (float(row[name]) for name in ("median_ms", "p20_ms", "p80_ms"))
    return [
        _ms(median),
        f"{50 * (high - low) / median:.0f}%",
        _times(row["times_floor"]),
        _times(row["times_best_peer"]),
        f"{float(row['extra_bytes']) / 1e6:.0f}" if row["extra_bytes"] else "?",
    ]


def _show_studies(rows: list[Row]) -> None:
    """A table for each study: its points side by side, of each loss what is relative and, below it, the time."""
    for (study,), group in _grouped(rows, ("study",)):
        points = sorted((row for row in group if row["median_ms"]), key=lambda row: int(row["shape"]))
        if study in ("window", "ratio"):  # the first is the default
            points = [row for row in group if row["median_ms"]]
        header = ["", "", *dict.fromkeys(row["parameter"] for row in points)]
        lines = []
        for case in dict.fromkeys(row["case"] for row in points):
            # Where a parameter has several rows, the last is on all threads.
            found = {row["parameter"]: row for row in points if row["case"] == case}
            here = [found.get(parameter) for parameter in header[2:]]
            lines.append([case, "relative", *(f"{float(row['relative']):.2f}" if row else "" for row in here)])
            lines.append(["", "ms", *(_ms(row["median_ms"]) if row else "" for row in here)])
        notes = dict.fromkeys(f"{row['case']}: {row['note']}" for row in group if not row["median_ms"])
        _table(STUDIES[study], header, lines, notes, left=2)


def _show_summary(rows: list[Row]) -> None:
    """segloss against the best peer, each place a line."""
    moods = _moods(rows)
    header = ["", "", *itertools.chain(*((f"{mood} ×", "best peer") for mood in moods))]
    lines = []
    for place, group in _grouped(rows, PLACE):
        line = [place[0], _title(place)]
        for mood in moods:
            own = next((r for r in group if r["mood"] == mood and r["contender"] == OWN and r["times_best_peer"]), None)
            line += [_times(1 / float(own["times_best_peer"])), own["best_peer"]] if own else ["–", ""]
        if any(cell not in ("–", "") for cell in line[2:]):
            lines.append(line)
    if lines:
        _table("How many times faster segloss is than the best peer", header, lines, [], left=2)


def _show_differences(rows: list[Row]) -> None:
    """How far each contender's values were from segloss's, at most."""
    lines = []
    for (contender,), group in _grouped([r for r in rows if r["value_difference"]], ("contender",)):
        same = [row for row in group if row["status"] == "measured"]
        for dtype in dict.fromkeys(row["dtype"] for row in same):
            typed = [row for row in same if row["dtype"] == dtype]
            worst = [max(float(row[name]) for row in typed) for name in ("value_difference", "gradient_difference")]
            lines.append([contender, dtype, str(len(typed)), f"{worst[0]:.0e}", f"{worst[1]:.0e}"])
    if lines:
        _table("Difference from segloss on numpy arrays, at most", ["", "", "rows", "value", "gradient"], lines, [])


def _show_missing(rows: list[Row]) -> None:
    """What is not there, and why, each reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if not row["median_ms"]:
            seen = reasons.setdefault((row["contender"], row["note"]), [])
            if row["case"] not in seen:
                seen.append(row["case"])
    if reasons:
        print("\nNot measured:")
    for (contender, note), cases in reasons.items():
        print(f"  {contender}, {', '.join(filter(None, cases)) or 'all'}: {note}")


def _ms(value) -> str:
    value = float(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _times(value) -> str:
    if value == "":
        return ""
    value = float(value)
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def _table(title: str, header: list[str], lines: list[list[str]], notes: Iterable[str], left: int = 1) -> None:
    print()
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
        print(title)
        for line in [header, *lines]:
            cells = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
            print("  " + "  ".join(cells))
    else:
        out = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for i, name in enumerate(header):
            out.add_column(name, justify="left" if i < left or name == "best peer" else "right", no_wrap=True)
        for line in lines:
            out.add_row(*line, style="green" if line[0].startswith(OWN) else None)
        console = Console()
        # Piped into a file there is no width to keep to.
        (console if console.is_terminal else Console(width=140)).print(out)
    for note in notes:
        print("  " + note)


# ---- Picture ---------------------------------------------------------------------------------------------------------

_COLOURS = {
    "torch eager": "#f4a582", "torch.compile": "#d6604d", "kornia": "#b2abd2", "smp": "#8073ac", "monai": "#542788",
    "paddle dygraph": "#4393c3", "jax jit": "#e6ab02", "tf.function": "#a6761d",
}  # fmt: skip
_MARKS = dict(zip(_COLOURS, "o^sDvPXh"))
_INK, _GREEN, _RED = "#222222", "#1b7837", "#b2182b"


def picture(rows: list[Row], path: Path) -> bool:
    """Each loss a line, each contender a mark, time in units of the floor; one panel for each mood. All threads,
    float32, value and gradient, at the case's first shape or the only one measured. False where nothing can be drawn."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import FuncFormatter, NullFormatter
    from PIL import Image

    rows = [row for row in rows if row["median_ms"] and not row["study"]]
    if not rows:
        return False
    everyone = max(int(row["threads"]) for row in rows)
    rows = [
        r for r in rows
        if (r["dtype"], r["targets"], r["mode"], int(r["threads"])) == ("float32", "float", "step", everyone)
    ]  # fmt: skip
    shapes: dict[str, str] = {}
    for row in rows:
        shapes.setdefault(row["case"], row["shape"])
    rows = [row for row in rows if row["shape"] == shapes[row["case"]]]
    lines = [name for name in CASES if name in shapes]
    moods = [mood for mood in ("fresh", "default", "warm") if any(row["mood"] == mood for row in rows)]
    if not lines:
        return False

    height = 2.2 + 0.46 * len(lines)
    with plt.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": _INK}):
        figure, axes = plt.subplots(
            1, len(moods), figsize=(3.6 + 4.8 * len(moods), height), sharey=True, sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        handles = {}
        for ax, mood in zip(axes[0], moods):
            right = ax.get_yaxis_transform()
            ax.text(1.01, -0.85, "segloss\nis faster by", transform=right, va="center", fontsize=7.5, color="#777777")
            for y, case in enumerate(lines):
                here = [row for row in rows if row["case"] == case and row["mood"] == mood]
                own = next((row for row in here if row["contender"] == OWN), None)
                if own is None:
                    ax.text(1.01, y, "not measured", transform=right, va="center", fontsize=7.5, color="#777777")
                    continue
                mine = float(own["times_floor"])
                rivals = [float(r["times_floor"]) for r in here if is_rival(r["contender"], r["status"])]
                if rivals:
                    best = min(rivals)
                    colour = _GREEN if best >= mine else _RED
                    ax.plot(
                        [mine, best], [y, y], color=colour, linewidth=5, alpha=0.22, solid_capstyle="butt", zorder=1
                    )
                    ax.text(
                        1.01, y, f"{_times(best / mine)}×", transform=right, va="center", color=colour,
                        fontweight="bold", fontsize=10,
                    )  # fmt: skip
                for row in here:
                    name = row["contender"]
                    if name in _COLOURS and row["status"] == "measured":
                        mark = ax.scatter(
                            float(row["times_floor"]), y, s=40, marker=_MARKS[name], color=_COLOURS[name],
                            edgecolor="white", linewidth=0.6, zorder=3,
                        )  # fmt: skip
                        handles.setdefault(name, mark)
                mark = ax.scatter(mine, y, s=95, color=_GREEN, edgecolor="white", linewidth=0.9, zorder=4)
                handles.setdefault(OWN, mark)
                ax.annotate(
                    f"{_ms(own['median_ms'])} ms", (mine, y), xytext=(-2, 6), textcoords="offset points", ha="left",
                    va="bottom", fontsize=7.5, color=_GREEN, zorder=5, path_effects=[withStroke(linewidth=2, foreground="white")],
                )  # fmt: skip
            ax.axvline(1, color=_INK, linewidth=1.4, zorder=2)
            ax.set_xscale("log")
            what = {"fresh": "fresh: pages are new in each step", "warm": "warm: memory is kept and reused"}
            ax.set_title(what.get(mood, "glibc as it is"), fontsize=10, loc="left", pad=14)
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "floor" if x == 1 else f"{x:g}×"))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.grid(axis="x", which="major", color="#dddddd", linewidth=0.8)
            ax.grid(axis="y", color="#eeeeee", linewidth=0.8)
            ax.set_axisbelow(True)
            ax.tick_params(which="both", length=0)
            for side in ax.spines.values():
                side.set_visible(False)
            ax.set_xlabel("time of a step; its floor is what must be read and written, at the speed of memory")
            ax.xaxis.label.set(fontsize=8, color="#777777")
        axes[0][0].set_yticks(
            range(len(lines)), [f"{CASES[name].title.split(' (')[0]}\n{_sizes(shapes[name])}" for name in lines]
        )
        axes[0][0].set_ylim(len(lines) - 0.5, -0.8)
        order = [OWN, *(name for name in _COLOURS if name in handles)]
        figure.legend(
            [handles[name] for name in order], order, loc="outside lower center", ncols=5 * len(moods), frameon=False,
            fontsize=9, handletextpad=0.2, columnspacing=1.4,
        )  # fmt: skip
        processors = f"{everyone} thread{'s' * (everyone > 1)} of {rows[-1]['cpu']}"
        figure.suptitle(
            "Value and gradient of a loss, in segloss and its peers\n\n",
            x=0.01, ha="left", fontsize=13, fontweight="bold",
        )  # fmt: skip
        figure.text(
            0.01, 1 - 0.42 / height, f"float32, median, {processors}, {rows[-1]['date'][:10]}; all in one process, in turns",
            va="top", fontsize=8.5, color="#777777",
        )  # fmt: skip
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=150, facecolor="white")
        plt.close(figure)
    # In a palette: a third of the size.
    flat = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    flat.save(path, optimize=True)
    return True


def _sizes(shape: str) -> str:
    return shape.replace("x", "×")


def main() -> None:
    parser = argparse.ArgumentParser(description="The tables and the picture of a run that is over.")
    parser.add_argument("results", type=Path, help="the CSV")
    parser.add_argument("--picture", type=Path, help="draw it here instead of printing the tables")
    args = parser.parse_args()
    with args.results.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if args.picture is None:
        show(rows)
    elif not picture(rows, args.picture):
        sys.exit("nothing in it that the picture shows: float32, value and gradient, on all threads")


if __name__ == "__main__":
    main()
