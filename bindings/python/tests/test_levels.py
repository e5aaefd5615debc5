"""The same bits on every instruction set: those this processor has, and two that qemu-user emulates.

The emulated ones run where qemu-x86_64 is found. What did not run is printed; with SEGLOSS_TEST_STRICT=1 it is a failure.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from frameworks import not_run

WORKER = Path(__file__).with_name("levels_worker.py")
LEVELS = ["baseline", "avx2", "avx512"]
X86 = platform.machine().lower() in ("x86_64", "amd64")
QEMU = shutil.which("qemu-x86_64")
EMULATED = {"Nehalem": "baseline", "Haswell": "avx2"}


def available():
    """From the operating system's own account of the processor, so that a wrong detection in the library shows."""
    if not X86:
        return LEVELS[:1]
    info = Path("/proc/cpuinfo").read_text()
    flags = set(next(line for line in info.splitlines() if line.startswith("flags")).split(":")[1].split())
    avx2 = {"avx2", "fma", "bmi1", "bmi2", "f16c"} <= flags
    avx512 = avx2 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    return LEVELS[: 1 + avx2 + avx512]


def work(level=None, command=()):
    environment = {k: v for k, v in os.environ.items() if k != "SEGLOSS_ISA"}
    if level:
        environment["SEGLOSS_ISA"] = level
    done = subprocess.run(
        [*command, sys.executable, str(WORKER)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def native():
    return work()


def test_the_best_level_is_picked(native):
    assert native["instruction_set"] == available()[-1]


@pytest.mark.parametrize("level", LEVELS)
def test_level(level, native):
    if level not in available():
        not_run(f"this processor has no {level}")
    forced = work(level)
    assert forced["instruction_set"] == level
    assert forced["losses"] == native["losses"] and forced["sha256"] == native["sha256"]


@pytest.mark.parametrize("level", ["sse9", "AVX2 ", "", *(level for level in LEVELS if level not in available())])
def test_a_level_that_is_not_there(level):
    """The import says so; it does not carry on with another one. (Unset and empty mean: the best.)"""
    done = subprocess.run(
        [sys.executable, "-c", "import segloss; print(segloss.instruction_set())"],
        env={**os.environ, "SEGLOSS_ISA": level},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if level == "":
        assert done.stdout.strip() == available()[-1]
    else:
        assert done.returncode != 0 and level.strip() in done.stderr and "SEGLOSS_ISA" in done.stderr


@pytest.mark.skipif(not X86, reason="LEVEL NOT RUN: the emulated processors are x86-64")
@pytest.mark.parametrize("cpu", EMULATED)
def test_emulated(cpu, native):
    """A processor without AVX, and one with AVX2 only: the library loads there, picks its level, and computes the
    same."""
    if not QEMU:
        not_run(f"no qemu-x86_64 to emulate {cpu}")
    emulated = work(command=(QEMU, "-cpu", cpu))
    assert emulated["instruction_set"] == EMULATED[cpu]
    assert emulated["losses"] == native["losses"]
