"""``python -m segloss``: what is installed, explanations, a self-test, a benchmark, and a gallery of gradients."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m segloss",
        description="What is installed and how it runs; without a command, a summary.",
    )
    from . import __version__

    parser.add_argument("--version", action="version", version=f"segloss {__version__}")
    for name, what in (
        ("includedir", "the folder of losses.h"),
        ("libdir", "the folder of libsegloss.so"),
        ("cmakedir", "the folder of seglossConfig.cmake, for CMAKE_PREFIX_PATH or segloss_DIR"),
    ):
        parser.add_argument(f"--{name}", action="store_true", help=f"print {what}, for C and C++, and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    explain = commands.add_parser("explain", help="formula, options, variants and source of a loss")
    explain.add_argument("loss", nargs="?", help="such as dice, DiceLoss or dice_loss; without it, a line for each")

    commands.add_parser("check", help="test the library on this machine: golden values, gradients, same bits")

    bench = commands.add_parser("bench", help="time each loss at one real size, beside the speed of memory")
    bench.add_argument("losses", nargs="*", metavar="LOSS", help="only these")
    bench.add_argument("--size", type=int, default=640, help="height and width of 8 images (default 640)")
    bench.add_argument("--seconds", type=float, default=0.3, help="for each figure (default 0.3)")

    gallery = commands.add_parser("gallery", help="draw where each loss pushes a prediction of a photograph")
    gallery.add_argument("output", metavar="OUT.png")
    gallery.add_argument("--loss", help="the variants of this one only")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; what it returns is the exit status."""
    parsed = _parser().parse_args(arguments)
    folders = [name for name in ("includedir", "libdir", "cmakedir") if getattr(parsed, name)]
    try:
        if folders:
            from . import _library

            places = {
                "includedir": _library.include_dir,
                "libdir": _library.lib_dir,
                "cmakedir": _library.cmake_dir,
            }
            for name in folders:
                print(places[name]())
        elif parsed.command is None:
            from ._command import overview

            overview.show()
        elif parsed.command == "explain":
            from ._command import explain

            explain.show(parsed.loss)
        elif parsed.command == "check":
            from ._command import check

            return check.run()
        elif parsed.command == "bench":
            from ._command import bench

            bench.run(parsed.losses, parsed.size, parsed.seconds)
        elif parsed.command == "gallery":
            from ._command import gallery

            gallery.run(parsed.output, parsed.loss)
    except LookupError as error:
        print(f"segloss: {error.args[0]}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError, ValueError) as error:
        print(f"segloss: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
