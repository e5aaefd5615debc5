"""Every loss has the bits that are written down: at every instruction set, with 1 to 16 threads, in any memory, as a
program. (The frameworks' own files check the same bits there: `faces.py`.)"""

import json
import os
import subprocess
import sys

import golden_bits
import numpy as np
import pytest
from faces import run_program
from frameworks import not_run
from support import LAYOUTS
from test_levels import LEVELS, available

WANTED = golden_bits.golden()


def check(got, only=""):
    wanted = {name: bits for name, bits in WANTED.items() if name.endswith(only)}
    assert got.keys() == wanted.keys(), "cases were added or renamed: golden_bits.py --write"
    assert {name for name in got if got[name] != wanted[name]} == set()


@pytest.mark.parametrize("level", LEVELS)
def test_instruction_sets(level):
    if level not in available():
        not_run(f"this processor has no {level}")
    done = subprocess.run(
        [sys.executable, golden_bits.__file__],
        env={**os.environ, "SEGLOSS_ISA": level},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    check(json.loads(done.stdout))


@pytest.mark.parametrize("n", range(1, 17))
def test_threads(n, threads):
    threads(n)
    check(golden_bits.compute(only="large"), "large")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_layouts(layout, threads):
    threads(2)
    # Rows of numbers, which CTPN takes, have neither rows apart nor channels: they lie anywhere.
    check(golden_bits.compute(lambda array: layout(array) if array.ndim > 2 else LAYOUTS["misaligned"](array)))


def test_programs():
    """The functions that run any loss, which frameworks call, give the loss and the gradients of the loss's own."""
    for name, case, inputs in golden_bits.all_inputs():
        loss, gradients = run_program(case.make(), inputs, case.predictions)
        golden_bits.check_rounded(name, loss, gradients)


def test_the_generator_is_splitmix64():
    """The first numbers from state 0, as published."""
    numbers = golden_bits.Integers(0)
    numbers._state = np.uint64(0)
    assert [hex(n) for n in numbers._bits(3).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
