"""What the tests of installing share: commands in folders and environments of their own, and the wheel."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from frameworks import not_run

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "bindings" / "python"
SECONDS = 1500  # a whole build on a busy machine


def environment(*folders, **more):
    """A user's environment: none of the variables that tests set, and these folders first on the path."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("SEGLOSS_", "PYTHON", "PYTEST_", "CMAKE_", "PKG_CONFIG", "MAKE")) and k != "VIRTUAL_ENV"
    }
    path = os.pathsep.join([*map(str, folders), sysconfig.get_path("scripts"), kept["PATH"]])
    return {**kept, "PATH": path, **more}


def run(*command, fails=False, **options):
    """What a command prints, both streams; it must end well, or with `fails` badly."""
    options.setdefault("env", environment())
    result = subprocess.run(
        list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, **options
    )
    if (result.returncode != 0) != fails:
        pytest.fail(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}", pytrace=False)
    return result.stdout


def once(tmp_path_factory, name, make):
    """The folder that `make` has filled: once, by the first of pytest's workers that asks for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = base / name, base / f"{name}.made"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def need(*names):
    """The path of the first program that is there."""
    path = environment()["PATH"]
    found = next((found for name in names if (found := shutil.which(name, path=path))), None)
    if found is None:
        not_run(f"none of {', '.join(names)} is installed")
    return found


def build(kind, source, folder):
    """Builds a "wheel" or an "sdist" from a source folder with the backend of this environment."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", folder, source)
    (archive,) = folder.iterdir()
    return archive


def new_environment(folder):
    """A virtual environment in which nothing is installed; returns its Python."""
    venv.create(folder)
    return folder / "bin" / "python"


def pip(python, *arguments):
    """This environment's pip, at work in another one."""
    return run(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments)
