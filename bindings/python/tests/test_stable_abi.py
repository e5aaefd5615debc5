"""Programs that were compiled against an older header keep working: include/losses.h against the frozen Tests/ABI/losses-0.1.h.

The comparison itself is held to what it must catch, and to what it must let pass.
"""

import pathlib
import re
import subprocess
import sys

import pytest
import segloss._abi

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "Tests"), str(ROOT / "Tests" / "ABI")]
from compare import differences  # noqa: E402
from header import compiler, read  # noqa: E402

FROZEN = ROOT / "Tests" / "ABI" / "losses-0.1.h"
CURRENT = ROOT / "include" / "losses.h"


def test_nothing_has_changed_for_older_programs():
    assert differences(FROZEN, CURRENT) == []


def test_the_library_has_every_function_of_the_frozen_header():
    for name in read(FROZEN).functions:
        assert hasattr(segloss._abi.lib, name), name


# What a change of the text does, and what the comparison says to it.
BREAKING = {
    "a parameter's type": ("int32_t levels", "int64_t levels", "segloss_structure was"),
    "another of the same size": ("double image_height", "int64_t image_height", "segloss_ctpn_anchor_targets was"),
    "a result": ("int32_t segloss_num_threads(void)", "int64_t segloss_num_threads(void)", "segloss_num_threads was"),
    "a parameter more": ("void segloss_shutdown(void)", "void segloss_shutdown(int32_t n)", "segloss_shutdown was"),
    "a function less": ("void segloss_shutdown(void);", "", "segloss_shutdown is gone"),
    "another order of an enum": (
        r"SEGLOSS_MICRO = 0(.*?)SEGLOSS_MACRO = 1", r"SEGLOSS_MICRO = 1\1SEGLOSS_MACRO = 0", "SEGLOSS_MICRO was 0, is 1",
    ),
    "an enumerator less": (r"SEGLOSS_DEVICE = 6,.*?\n", "", "SEGLOSS_DEVICE was 6, is None"),
    "fields changed over": (
        r"double alpha;(.*?\n)  double beta;", r"double beta;\1  double alpha;", r"segloss_db_options.alpha was double at",
    ),
    "a field's type": ("int64_t theta0;", "double theta0;", "segloss_boundary_options.theta0 was int64_t"),
    "a field less": (r"uint32_t reserved; /\* 0 \*/\n  double k;", "double k;", "segloss_db_step_options.reserved is gone"),
    "a field in the middle": (
        "double eps;        /* 1e-6; finite */", "double more;\n  double eps;", "segloss_mask_dice_options.eps was double at 8",
    ),
    "a longer struct that has no size": (
        "int64_t strides[SEGLOSS_MAX_RANK];", "int64_t strides[SEGLOSS_MAX_RANK]; int64_t more;",
        "segloss_tensor has got more",
    ),
    "a number that arrays have": ("#define SEGLOSS_MAX_RANK 6", "#define SEGLOSS_MAX_RANK 8", "SEGLOSS_MAX_RANK was 6"),
    "a callback": ("void (*segloss_task)(void *", "void (*segloss_task)(int32_t n, void *", "segloss_task was"),
    "a struct less": (r"typedef struct segloss_mt19937 \{.*?\} segloss_mt19937;", "typedef int32_t segloss_mt19937;",
                      "segloss_mt19937 is gone"),
}  # fmt: skip
ALLOWED = {
    "a function more": ("void segloss_shutdown(void);", "void segloss_shutdown(void);\nvoid segloss_more(void);"),
    "an enumerator more": ("SEGLOSS_MACRO = 1", "SEGLOSS_MACRO = 1, SEGLOSS_MORE = 2"),
    "an option more": ("} segloss_boundary_options;", "  double more;\n} segloss_boundary_options;"),
    "a later version": ("#define SEGLOSS_VERSION_MINOR 1", "#define SEGLOSS_VERSION_MINOR 2"),
    "another name of a parameter": (
        "void segloss_set_num_threads(int32_t n)",
        "void segloss_set_num_threads(int32_t count)",
    ),
}


def changed(folder, old, new):
    """The frozen header with its first `old`, as text or as an expression, become `new`."""
    text = FROZEN.read_text()
    if old in text:
        after = text.replace(old, new, 1)
    else:
        after = re.sub(old, new, text, count=1, flags=re.S)
    assert after != text, f"nothing to change: {old}"
    path = folder / "losses.h"
    path.write_text(after)
    return path


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_is_caught(change, tmp_path):
    old, new, sentence = BREAKING[change]
    assert any(sentence in found for found in differences(FROZEN, changed(tmp_path, old, new)))


@pytest.mark.parametrize("change", ALLOWED)
def test_an_addition_is_allowed(change, tmp_path):
    assert differences(FROZEN, changed(tmp_path, *ALLOWED[change])) == []


def test_an_older_program_runs(tmp_path):
    """One of its own, compiled with the frozen header alone."""
    library = pathlib.Path(segloss._abi.lib._name).resolve()
    for name in ("libsegloss.so", "libsegloss.so.0"):
        (tmp_path / name).symlink_to(library)
    program = tmp_path / "client"
    subprocess.run(
        [
            compiler(), "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", ROOT / "Tests" / "ABI" / "client-0.1.c",
            "-o", program, f"-L{tmp_path}", "-lsegloss", f"-Wl,-rpath,{tmp_path}", "-lm",
        ],
        check=True,
    )  # fmt: skip
    done = subprocess.run([program], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
