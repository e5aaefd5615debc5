"""The library as C and C++ see it: the programs of Tests/CTests, compiled strictly against the header, linked and run; and
what the fuzzer of Tests/Fuzz has found, run again."""

import base64
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import segloss._abi
from frameworks import not_run
from test_levels import available

ROOT = pathlib.Path(__file__).resolve().parents[3]
SOURCES = ROOT / "Tests" / "CTests"
LIBRARY = pathlib.Path(os.environ.get("SEGLOSS_LIBRARY") or segloss._abi.lib._name).resolve()

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
SECONDS = 120  # each program takes a few, and ends what hangs by itself


def compiler(variable, *names):
    """The compiler that the environment names, else the first there is."""
    found = next((path for name in (os.environ.get(variable), *names) if name and (path := shutil.which(name))), None)
    if found is None:
        not_run(f"no compiler: none of {', '.join(names)} is installed, and {variable} is not set")
    return found


def run(command):
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    if result.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}", pytrace=False)
    return result.stdout


@pytest.fixture
def program(tmp_path):
    """Compiles a source file against the header and the library; returns the program."""
    for name in ("libsegloss.so", "libsegloss.so.0"):  # to link with, and what the linked program looks for
        (tmp_path / name).symlink_to(LIBRARY)

    def build(source, compiler, standard, flags=STRICT):
        target = tmp_path / pathlib.Path(source).stem
        run(
            [
                compiler,
                f"-std={standard}",
                *flags,
                "-O2",
                f"-I{ROOT / 'include'}",
                SOURCES / source,
                "-o",
                target,
                f"-L{tmp_path}",
                "-lsegloss",
                f"-Wl,-rpath,{tmp_path}",
                "-lm",
                "-lpthread",
            ]
        )
        return target

    return build


def report(output, capsys):
    with capsys.disabled():
        print("", *output.rstrip().splitlines(), sep="\n  ", end=" ")


@pytest.mark.parametrize("name", ["both_forms", "guard", "hostile", "concurrent"])
def test_c99(name, program, capsys):
    report(run([program(f"{name}.c", compiler("CC", "cc", "gcc", "clang"), "c99")]), capsys)


def test_the_fuzzers_inputs(program, tmp_path, monkeypatch, capsys):
    """Its corpus, which reaches every function of the header, and each input that something was found with."""
    fuzz = ROOT / "Tests" / "Fuzz"
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for i, line in enumerate((fuzz / "corpus.txt").read_text().splitlines()):
        (corpus / f"line {i + 1}").write_bytes(base64.b64decode(line))
    (tmp_path / "calls.h").write_text(run([sys.executable, fuzz / "generate.py", ROOT / "include" / "losses.h"]))
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{tmp_path}"]
    replay = program(fuzz / "replay.c", compiler("CC", "cc", "gcc", "clang"), "gnu11", flags)
    inputs = [*sorted(corpus.iterdir()), *sorted((fuzz / "findings").iterdir())]
    for level in available():
        monkeypatch.setenv("SEGLOSS_ISA", level)
        report(run([replay, "--all", *inputs]), capsys)


def test_cxx11(program, capsys):
    report(run([program("cxx11.cpp", compiler("CXX", "c++", "g++", "clang++"), "c++11")]), capsys)
