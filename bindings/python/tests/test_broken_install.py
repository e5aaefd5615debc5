"""An installation that is broken says so when it is imported: in one sentence, with the remedy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import segloss._library
from test_c_boundary import LIBRARY, compiler, run

PACKAGE = Path(segloss.__path__[0])
REINSTALL = "reinstall the package from where it came (pip install --force-reinstall --no-cache-dir)"


@pytest.fixture
def package(tmp_path):
    """A copy of the package outside any checkout; its library is the test's to put there."""
    copy = tmp_path / "site" / "segloss"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "lib", "include"))
    (copy / "lib").mkdir()
    return copy


def imported(package, library=None):
    """What `import segloss` ends with, and nothing else about the library: the error of one line."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGLOSS_")}
    environment["PYTHONPATH"] = str(package.parent)
    if library is not None:
        environment["SEGLOSS_LIBRARY"] = str(library)
    done = subprocess.run([sys.executable, "-c", "import segloss"], env=environment, text=True, capture_output=True)
    assert done.returncode == 1, done.stderr  # an exception: neither success nor a crash
    *_, error = done.stderr.splitlines()
    assert error.startswith("ImportError: segloss: ")
    assert "During handling of" not in done.stderr and "direct cause" not in done.stderr
    return error.removeprefix("ImportError: segloss: ")


@pytest.fixture
def library(package):
    """Where the copy's library belongs."""
    return package / "lib" / "libsegloss.so.0"


def compile_library(target, source, *flags):
    (target.parent / "source.c").write_text(source)
    run([compiler("CC", "cc", "gcc", "clang"), "-shared", "-fPIC", target.parent / "source.c", "-o", target, *flags])


def test_the_copy_works(package, library):
    """What the tests below break is whole before."""
    shutil.copyfile(LIBRARY, library)
    done = subprocess.run(
        [sys.executable, "-c", "import segloss; print(segloss.__file__, segloss._abi.lib._name)"],
        env={**os.environ, "PYTHONPATH": str(package.parent), "SEGLOSS_LIBRARY": ""},
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(package / "__init__.py"), str(library)]


def test_missing(package, library):
    assert imported(package) == f"{library} is missing: {REINSTALL}"


def test_missing_in_a_checkout(tmp_path):
    """There the remedy is to build it."""
    source = tmp_path / "bindings" / "python" / "src" / "segloss"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", "lib", "include"))
    (tmp_path / "Package.swift").touch()
    library = tmp_path / ".build" / "release" / "libsegloss.so"
    assert imported(source) == f"{library} is missing: run `make` in {tmp_path}"


def test_missing_where_the_variable_says(package, tmp_path):
    library = tmp_path / "elsewhere.so"
    remedy = "let the environment variable SEGLOSS_LIBRARY name another file, or unset it"
    assert imported(package, library) == f"{library} is missing: {remedy}"


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"<html>404</html>" * 100])
def test_no_library(package, library, content):
    library.write_bytes(content)
    assert imported(package) == f"{library} is no shared library, or damaged: {REINSTALL}"


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_cut_off(package, library, part):
    """The dynamic loader would map the whole of it, and die of a bus error."""
    whole = LIBRARY.read_bytes()
    library.write_bytes(whole[: int(part * len(whole))])
    assert imported(package) == f"{library} is cut off: {REINSTALL}"


@pytest.mark.parametrize("offset, value", [(4, 1), (5, 2), (18, 183)], ids=["32 bits", "big-endian", "AArch64"])
def test_another_processor(package, library, offset, value):
    content = bytearray(LIBRARY.read_bytes())
    assert content[offset] != value
    content[offset] = value
    library.write_bytes(content)
    assert imported(package) == f"{library} is made for another processor than this Python: {REINSTALL}"


def test_too_old_a_glibc(package, library):
    """The version that it asks for is renamed to one that no system has yet."""
    content = LIBRARY.read_bytes()
    newest = max(re.findall(rb"\0GLIBC_(2\.\d\d)\0", content))
    library.write_bytes(content.replace(b"\0GLIBC_%s\0" % newest, b"\0GLIBC_2.99\0"))
    assert imported(package) == (
        f"{library} needs glibc 2.99 or later, which this system lacks: use a newer system, or install the source "
        "distribution, which builds the library here with Swift"
    )


def test_a_library_that_it_needs_is_missing(package, library, tmp_path):
    needed = tmp_path / "libneeded.so"
    compile_library(needed, "int needed(void) { return 1; }", "-Wl,-soname,libneeded.so.3")
    compile_library(library, "int needed(void); int uses(void) { return needed(); }", needed)
    needed.unlink()
    assert imported(package) == (
        f"{library} needs libneeded.so.3, which this system lacks: install that with the system's package manager"
    )


def test_another_library(package, library):
    compile_library(library, "int unrelated;")
    assert imported(package) == f"{library} is not segloss's library: {REINSTALL}"


def test_another_version(package, library):
    compile_library(library, 'const char *segloss_version(void) { return "9.1.0"; }')
    version = segloss._library.VERSION
    assert imported(package) == f"{library} has version 9.1.0, this package {version}: {REINSTALL}"


def test_a_function_is_missing(package, library):
    version = segloss._library.VERSION
    compile_library(library, f'const char *segloss_version(void) {{ return "{version}"; }}')
    error = imported(package)
    assert re.fullmatch(
        rf"{re.escape(str(library))} lacks segloss_\w+, so it is older than this package: {re.escape(REINSTALL)}", error
    )


def test_what_the_loader_says_of_the_rest(package, library):
    """A symbol that nothing defines: the loader's own sentence, and the remedy."""
    compile_library(library, "int nowhere(void); int (*uses)(void) = nowhere;")
    assert imported(package) == f"{library} could not be loaded ({library}: undefined symbol: nowhere): {REINSTALL}"
