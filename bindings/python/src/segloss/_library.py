"""Finds and loads the shared library, and turns its statuses into exceptions."""

import ctypes
import os
import pathlib

_NAME = "libsegloss.so"


def _candidates() -> list[pathlib.Path]:
    """Where the library may be: what SEGLOSS_LIBRARY says, else beside this file, else a checkout's build."""
    if chosen := os.environ.get("SEGLOSS_LIBRARY"):
        return [pathlib.Path(chosen)]
    here = pathlib.Path(__file__).resolve().parent
    places = [here / _NAME]
    if len(here.parents) > 3:
        places.append(here.parents[3] / ".build" / "release" / _NAME)
    return places


def beside(name: str) -> list[pathlib.Path]:
    """Where a library that comes with this one may be: in the same places, or with the package if it is not there."""
    here = pathlib.Path(__file__).resolve().parent
    places = [path.with_name(name) for path in (*_candidates(), here / name)]
    if len(here.parents) > 3:
        places.append(here.parents[3] / ".build" / "release" / name)
    return list(dict.fromkeys(places))


def load() -> ctypes.CDLL:
    tried = []
    for path in _candidates():
        if not path.exists():
            tried.append(f"{path} (not there)")
            continue
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            tried.append(f"{path} ({error})")
    raise ImportError(
        "segloss: its library could not be loaded; tried "
        + ", ".join(tried)
        + ". Reinstall the package, or set SEGLOSS_LIBRARY to a libsegloss.so."
    )
