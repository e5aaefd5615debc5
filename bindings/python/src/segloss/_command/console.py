"""Tables and progress on a terminal: rich's where it is installed, plain text elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_HAS_RICH = importlib.util.find_spec("rich") is not None


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), right: Sequence[int] = ()) -> None:
    """Prints columns; `right` are those of numbers."""
    if _HAS_RICH and sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        grid = Table(box=None, show_header=bool(header), padding=(0, 2, 0, 0), header_style="bold")
        for i in range(len(rows[0])):
            grid.add_column(header[i] if header else "", justify="right" if i in right else "left", overflow="fold")
        for row in rows:
            grid.add_row(*row)
        Console(highlight=False, markup=False).print(grid)
        return
    lines = [header, *rows] if header else rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        print("  ".join(cells).rstrip())


def progress(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, with a bar on the terminal's error stream while they are taken."""
    if not sys.stderr.isatty():
        yield from items
    elif _HAS_RICH:
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=what, console=Console(stderr=True), transient=True)
    else:
        yield from _bar(items, what)


def _bar(items: Sequence[T], what: str) -> Iterable[T]:
    for i, item in enumerate(items):
        done = 30 * i // len(items)
        print(f"\r{what} [{'=' * done}{' ' * (30 - done)}] {i}/{len(items)}", end="", file=sys.stderr, flush=True)
        yield item
    print("\r\033[K", end="", file=sys.stderr, flush=True)
