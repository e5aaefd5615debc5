"""Finds and loads the shared library, and says in a sentence what is wrong with an installation that is broken."""

import ctypes
import os
import re
import struct
from pathlib import Path

#: Of this package, and of the include/losses.h that it was written for.
VERSION = "0.1.0"

_HERE = Path(__file__).resolve().parent
_INSTALLED = _HERE / "lib" / "libsegloss.so.0"
# A checkout, if this file is in one.
_ROOT = next((p for p in _HERE.parents[3:4] if (p / "Package.swift").exists()), None)


def _path() -> Path:
    """The library to load: what SEGLOSS_LIBRARY says, else the package's own, else a checkout's build."""
    if chosen := os.environ.get("SEGLOSS_LIBRARY"):
        return Path(chosen)
    return _ROOT / ".build" / "release" / "libsegloss.so" if _ROOT and not _INSTALLED.exists() else _INSTALLED


def beside(name: str) -> list[Path]:
    """Where a library that comes with this one may be: in the same folder, or with the package if it is not there."""
    places = [_path().with_name(name), _INSTALLED.with_name(name)]
    if _ROOT:
        places.append(_ROOT / ".build" / "release" / name)
    return list(dict.fromkeys(places))


def _prefix() -> Path:
    """The folder with include and lib, for C and C++."""
    if _INSTALLED.exists() or not _ROOT:
        return _HERE
    prefix = _ROOT / ".build" / "prefix"
    if not prefix.exists():
        raise FileNotFoundError(f"{prefix} is missing: run `make install PREFIX={prefix}` in {_ROOT}")
    return prefix


def include_dir() -> Path:
    """The folder of losses.h."""
    return _prefix() / "include"


def lib_dir() -> Path:
    """The folder of libsegloss.so, and of pkgconfig/segloss.pc."""
    return _prefix() / "lib"


def cmake_dir() -> Path:
    """The folder of seglossConfig.cmake, for CMake's segloss_DIR."""
    return _prefix() / "lib" / "cmake" / "segloss"


def load() -> ctypes.CDLL:
    """The library, of this package's version.

    Raises
    ------
    ImportError
        It is not there, is damaged, is made for another processor or a newer system, or is of another version. The
        sentence says which, and what to do.
    """
    path = _path()
    if problem := _problem(path):
        raise broken(problem)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise broken(*_explained(str(error), path)) from None
    try:
        version = library.segloss_version
    except AttributeError:
        raise broken(f"{path} is not segloss's library") from None
    version.restype = ctypes.c_char_p
    found = version().decode()
    # Before 1.0 the C interface may change with the minor version.
    if found.split(".")[:2] != VERSION.split(".")[:2]:
        raise broken(f"{path} has version {found}, this package {VERSION}")
    return library


def broken(problem: str, remedy: str = "") -> ImportError:
    """The error of a broken installation: what is wrong, and what to do about it."""
    if not remedy:
        if os.environ.get("SEGLOSS_LIBRARY"):
            remedy = "let the environment variable SEGLOSS_LIBRARY name another file, or unset it"
        elif _ROOT and not _INSTALLED.exists():
            remedy = f"run `make` in {_ROOT}"
        else:
            remedy = "reinstall the package from where it came (pip install --force-reinstall --no-cache-dir)"
    return ImportError(f"segloss: {problem}: {remedy}")


def _problem(path: Path) -> str | None:
    """What the dynamic loader does not say, or crashes on: no file, a part of a file, another processor."""
    if not path.is_file():
        return f"{path} is missing"
    try:
        with open(path, "rb") as file:
            header, size = file.read(64), os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    try:
        with open("/proc/self/exe", "rb") as file:
            python = file.read(64)
    except OSError:
        python = header  # no /proc here: nothing to compare with
    if len(header) < 64 or not header.startswith(b"\x7fELF"):
        return f"{path} is no shared library, or damaged"
    # Of an ELF header: class and byte order, then the machine.
    if (header[4:6], header[18:20]) != (python[4:6], python[18:20]):
        return f"{path} is made for another processor than this Python"
    # The table of sections stands at the end of the file.
    offset, entry, entries = struct.unpack_from("=Q10xHH", header, 40)
    return f"{path} is cut off" if offset + entry * entries > size else None


def _explained(error: str, path: Path) -> tuple[str, str]:
    """What a sentence of the dynamic loader means, and what to do about it, if that is not the usual."""
    if missing := re.search(r"version `(\w+)_([\d.]+)' not found", error):
        library = {"GLIBC": "glibc", "GLIBCXX": "libstdc++ with GLIBCXX"}.get(missing[1], missing[1])
        return (
            f"{path} needs {library} {missing[2]} or later, which this system lacks",
            "use a newer system, or install the source distribution, which builds the library here with Swift",
        )
    if missing := re.match(r"([^/:]+): cannot open shared object file", error):
        return f"{path} needs {missing[1]}, which this system lacks", "install that with the system's package manager"
    return f"{path} could not be loaded ({error})", ""
