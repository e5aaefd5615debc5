"""Lays the built library out as C and C++ expect it: `make install` calls this, and so does the wheel's build.

    include/losses.h                             lib/pkgconfig/segloss.pc
    lib/libsegloss.so.0.1.0, .so.0, .so          lib/cmake/segloss/seglossConfig.cmake, seglossConfigVersion.cmake
    lib/libsegloss_tensorflow.so

No file names the prefix, so the tree can be moved, and packaged from a staging folder.

    python3 install.py PREFIX [--build .build/release]
"""

import argparse
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def install(build: Path, prefix: Path, *, links: bool = True) -> None:
    """Copies header and libraries of a build below `prefix` and writes what pkg-config and CMake read.

    Without `links` (an archive that cannot hold any, such as a wheel) the library is one file with its soname, and what
    -lsegloss finds is a line of text that tells the linker so.
    """
    header = (ROOT / "include" / "losses.h").read_text()
    major, minor, patch = (
        re.search(rf"^#define SEGLOSS_VERSION_{part} (\d+)$", header, re.M)[1] for part in ("MAJOR", "MINOR", "PATCH")
    )
    version, soname = f"{major}.{minor}.{patch}", f"libsegloss.so.{major}"

    for folder in ("include", "lib/pkgconfig", "lib/cmake/segloss"):
        (prefix / folder).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "include" / "losses.h", prefix / "include" / "losses.h")

    lib = prefix / "lib"
    _copy(build / "libsegloss_tensorflow.so", lib / "libsegloss_tensorflow.so")
    if links:
        _copy(build / "libsegloss.so", lib / f"libsegloss.so.{version}")
        _replace(lib / soname).symlink_to(f"libsegloss.so.{version}")
        _replace(lib / "libsegloss.so").symlink_to(soname)
    else:
        _copy(build / "libsegloss.so", lib / soname)
        _replace(lib / "libsegloss.so").write_text(f"INPUT({soname})\n")

    values = {"VERSION": version, "MAJOR": major, "MINOR": minor, "SONAME": soname}
    for folder, template in (
        ("pkgconfig", "segloss.pc.in"),
        ("cmake/segloss", "seglossConfig.cmake.in"),
        ("cmake/segloss", "seglossConfigVersion.cmake.in"),
    ):
        text = re.sub(r"@(\w+)@", lambda match: values[match[1]], (HERE / template).read_text())
        (lib / folder / template.removesuffix(".in")).write_text(text)


def _copy(source: Path, target: Path) -> None:
    """Copies a library without its debugging names, under a new file: a running program keeps the old one."""
    if not source.exists():
        raise FileNotFoundError(f"{source} is missing: build it with `make`")
    shutil.copyfile(source, _replace(target))
    target.chmod(0o755)
    if strip := shutil.which("strip"):
        subprocess.run([strip, "--strip-unneeded", target], check=True)


def _replace(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Install header, library, pkg-config file and CMake package.")
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--build", type=Path, default=ROOT / ".build" / "release", help="where the libraries are")
    arguments = parser.parse_args()
    try:
        install(arguments.build, arguments.prefix)
    except OSError as error:
        raise SystemExit(f"segloss is not installed: {error}") from None
    print(f"segloss is installed in {arguments.prefix}")
