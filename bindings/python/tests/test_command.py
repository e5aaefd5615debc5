"""`python -m segloss`, as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segloss
from segloss import __main__ as command
from segloss._command import check, golden, names, scenes


def run(*arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "segloss", *arguments], capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == status, done.stderr[-2000:]
    return done.stdout if status == 0 else done.stderr


def test_what_is_installed():
    out = run()
    assert segloss.__version__ in out and segloss.instruction_set() in out and "libsegloss" in out
    assert all(name in out for name in segloss.LOSSES)
    assert all(name in out for name in ("torch", "paddle", "tensorflow", "jax"))


def test_nothing_heavy_is_imported():
    program = (
        "import sys; from segloss.__main__ import main; main([]); main(['explain', 'dice']); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert not re.findall(r"'(torch|paddle|tensorflow|jax|keras|matplotlib|skimage|scipy)'", loaded)


def test_import_does_not_load_the_commands():
    program = "import sys, segloss; print([m for m in sys.modules if '_command' in m or m == 'argparse'])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


# ---------------------------------------------------------------- explain


@pytest.mark.parametrize("name", names.documented())
def test_explain(name, capsys):
    assert command.main(["explain", name]) == 0
    out = capsys.readouterr().out
    of = names.documented()[name]
    for parameter in names.parameters(of):
        assert re.search(rf"^  (\w+, )*{parameter}(,| :|$)", out, re.M), f"{parameter} is not documented"
    assert "Source" in out
    for options in names.variants(of) if name in segloss.LOSSES else ():
        assert all(f"{key}={value!r}" in out for key, value in options.items())


@pytest.mark.parametrize("name", ["dice", "Dice", "DiceLoss", "dice_loss", "DICE-LOSS"])
def test_any_usual_name(name):
    assert names.find(name) is segloss.DiceLoss


@pytest.mark.parametrize(
    "name, wanted", [("dicee", "DiceLoss"), ("boundry", "BoundaryLoss"), ("focaltverski", "FocalTverskyLoss")]
)
def test_a_typo(name, wanted, capsys):
    assert command.main(["explain", name]) == 2
    assert f"did you mean {wanted}" in capsys.readouterr().err


def test_a_name_like_none(capsys):
    assert command.main(["explain", "xyzzy"]) == 2
    assert "there are ActiveContourLoss" in capsys.readouterr().err


@pytest.mark.parametrize("name", segloss.LOSSES)
def test_documented_choices_are_the_real_ones(name):
    """What a docstring lists in braces, the class takes; and the list is complete."""
    cls = segloss.LOSSES[name]
    for option in names.options(cls):
        if not option.choices:
            continue
        with pytest.raises(ValueError, match=f"^{option.name}: ") as refused:
            cls(**{option.name: "no such"})
        listed = re.search("expected one of (.*), got", str(refused.value))
        if listed:
            refused_names = set(re.findall(r"'(\w+)'", listed[1]))
            assert set(option.choices) <= refused_names
        if option.name in ("variant", "main_loss_type"):
            assert set(option.choices) == refused_names
            assert [cls(**{option.name: choice}) for choice in option.choices]


# ---------------------------------------------------------------- check


def test_check():
    out = run("check")
    assert re.search(r"passed in \d+ s", out) and "FAIL" not in out
    for name in segloss.LOSSES:
        assert re.search(rf"^{name} +\d+ +\S+ +same +ok$", out, re.M), name
    assert f"{segloss.instruction_set()}: ran, on 1 and" in out and "baseline: ran" in out


def test_check_sees_a_wrong_value(monkeypatch):
    case = next(case for case in golden.CASES if case.name == "dice")
    wrong = golden.Case("dice", case.loss, case.inputs, "0.7275958686", case.gradients)
    assert not check.work_of(segloss.DiceLoss)["failures"]
    monkeypatch.setattr(golden, "CASES", [wrong])
    wrong_value = golden.Case("dice", case.loss, case.inputs, "0.7275958786", case.gradients)
    assert not check.work_of(segloss.DiceLoss)["failures"], "the same number with fewer digits"
    monkeypatch.setattr(golden, "CASES", [wrong_value])
    (failure,) = check.work_of(segloss.DiceLoss)["failures"]
    assert "0.7275958786" in failure


def test_check_sees_a_wrong_gradient(monkeypatch):
    real = segloss.DiceLoss.value_and_grad
    monkeypatch.setattr(golden, "CASES", [])
    monkeypatch.setattr(
        segloss.DiceLoss, "value_and_grad", lambda self, *a, **k: (lambda v, g: (v, g * 1.0001))(*real(self, *a, **k))
    )
    (failure,) = check.work_of(segloss.DiceLoss)["failures"]
    assert "finite differences" in failure


@pytest.mark.parametrize("what", ["bits", "broken"])
def test_check_fails_aloud(what, monkeypatch, capsys):
    def at(level, threads):
        if what == "broken" and level == "avx2":
            return {"broken": "Illegal instruction"}
        digest = "other" if (level, threads) == ("avx2", 1) else "same"
        return {"losses": {n: {"failures": [], "difference": 1e-9, "bits": [digest]} for n in segloss.LOSSES}}

    monkeypatch.setattr(check, "_at", at)
    assert command.main(["check"]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out and ("differ" if what == "bits" else "avx2: BROKEN") in out


# ---------------------------------------------------------------- bench, gallery, folders


def test_bench():
    out = run("bench", "dice", "mask_l1", "--size", "64", "--seconds", "0.01")
    assert re.search(r"^DiceLoss( +[\d.]+){4}$", out, re.M) and re.search(r"^MaskL1Loss ", out, re.M)


def test_gallery(tmp_path):
    for arguments in ((), ("--loss", "focal")):
        picture = tmp_path / "out.png"
        run("gallery", str(picture), *arguments)
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert 20e3 < picture.stat().st_size < 400e3
        picture.unlink()


def test_gallery_refuses(tmp_path, capsys, monkeypatch):
    assert command.main(["gallery", str(tmp_path / "no" / "out.png")]) == 1
    assert "a folder that exists" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert command.main(["gallery", str(tmp_path / "out.png")]) == 1
    assert "pip install 'libsegloss[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", segloss.LOSSES)
def test_gradients_by_logits(name):
    """The gallery's maps are the derivative of the loss by the logits that made its inputs."""
    loss, scene = segloss.LOSSES[name](), scenes.random((1, 6, 7), np.float64)
    value, gradient = scenes.by_logit(loss, scene)
    assert gradient.shape == scene.logits.shape

    def moved(step, at):
        logits = scene.logits.copy()
        logits[at] += step
        inputs = scenes.arguments(loss, scenes.Scene(logits, scene.target, scene.counts))
        if name == "CTPNLoss":  # the boxes of this scene follow the logits, but are another output
            inputs = inputs[:1] + scenes.arguments(loss, scene)[1:]
        got = loss(*inputs)
        return got["loss"] if isinstance(got, dict) else got

    assert value == moved(0, (0, 0, 0))
    for at in ((0, 0, 0), (0, 2, 3), (0, 5, 6)):
        slope = (moved(1e-6, at) - moved(-1e-6, at)) / 2e-6
        # The step's third derivative is 50² times the first; central differences keep five digits of it.
        assert slope == pytest.approx(gradient[at], rel=1e-5, abs=1e-7 * abs(gradient).max())


@pytest.mark.parametrize("option", ["--includedir", "--libdir", "--cmakedir"])
def test_folders(option):
    if not (Path(segloss.__path__[0]) / "lib").is_dir():  # a checkout, which may have no such folders yet
        done = subprocess.run([sys.executable, "-m", "segloss", option], capture_output=True, text=True)
        if done.returncode != 0:
            assert "make install" in done.stderr and "Traceback" not in done.stderr
            return
    (folder,) = run(option).splitlines()
    wanted = {"--includedir": "losses.h", "--libdir": "libsegloss.so", "--cmakedir": "seglossConfig.cmake"}[option]
    assert (Path(folder) / wanted).exists()
