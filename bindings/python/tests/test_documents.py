"""Every Python, C and C++ snippet of the README and the guides runs, and so does every example in a docstring. A new guide
is among them by being there."""

import dataclasses
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segloss
import support_table
from segloss._command import names, scenes
from support import PREDICTION_TYPES, TARGET_TYPES
from test_c_boundary import compiler, program, run  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]
# Their snippets run in the framework's own tests, in a process of its own.
OF_FRAMEWORKS = {"PyTorch", "PaddlePaddle", "TensorFlow", "JAX"}
# Compiled as its pages say, in its own test.
OF_INSTALL = {"Cpp"}
# What wants a process of its own: frameworks do not all live in one, and a child of a fork finds its functions in a file.
APART = re.compile(r"^(import|from) (torch|paddle|tensorflow|keras|jax|multiprocessing)\b", re.M)
PAGES = [ROOT / "README.md", ROOT / "bindings/python/README.md", *sorted((ROOT / "Guides").glob("*.md"))]


def snippets(language):
    return [
        pytest.param(snippet, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        if page.stem not in OF_FRAMEWORKS | OF_INSTALL
        for i, snippet in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S))
    ]


SNIPPETS = snippets("python")
C_SNIPPETS = snippets("c")
CPP_SNIPPETS = snippets("cpp")
LOSS_PAGES = sorted({"DB" if name == "L1BalanceCELoss" else name.removesuffix("Loss") for name in segloss.LOSSES})
SECTIONS = ["Formula", "When to use", "Variants", "Options", "Edge cases", "Accuracy", "Speed", "Gradient", "Source"]


def test_there_are_snippets():
    assert len(SNIPPETS) >= 25 and C_SNIPPETS and CPP_SNIPPETS


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet(snippet, tmp_path):
    if APART.search(snippet) is None:
        exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})
        return
    script = tmp_path / "snippet.py"
    script.write_text(snippet)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("snippet", CPP_SNIPPETS)
def test_cpp_snippet(snippet, program, tmp_path):  # noqa: F811
    source = tmp_path / "snippet.cpp"
    source.write_text(snippet)
    output = run([program(source, compiler("CXX", "c++", "g++", "clang++"), "c++11")])
    assert output.strip() and f"// {output.strip()}" in snippet, "what it prints is not what its comment says"


@pytest.mark.parametrize("snippet", C_SNIPPETS)
def test_c_snippet(snippet, program, tmp_path):  # noqa: F811
    source = tmp_path / "snippet.c"
    source.write_text(snippet)
    output = run([program(source, compiler("CC", "cc", "gcc", "clang"), "c99")])
    assert output.strip() and output.strip() in snippet, "what it prints is not what its comment says"


def heading(text):
    """A heading as the fragment of a link."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, fragment in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        place = page.parent / target if target else page
        assert place.exists(), f"{page.name}: {target}"
        if fragment:
            assert fragment in map(heading, re.findall(r"^#+ (.*)", place.read_text(), re.M)), (
                f"{page.name}: #{fragment}"
            )


@pytest.mark.parametrize("name", LOSS_PAGES)
def test_pages_of_losses_have_one_order(name):
    page = (ROOT / "Guides" / f"{name}.md").read_text()
    outside = re.sub(r"^```.*?^```", "", page, flags=re.M | re.S)
    assert re.findall(r"^## (.*)", outside, re.M)[: len(SECTIONS)] == SECTIONS
    assert not re.search(r"^## [^\n]*\n+(?=## )", outside, re.M), "an empty section"
    assert f"images/{name}.png" in page and f"({name}.md)" in (ROOT / "Guides" / "README.md").read_text()


def test_the_index_has_every_guide():
    index = (ROOT / "Guides" / "README.md").read_text()
    for page in (ROOT / "Guides").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_pictures_are_small():
    pictures = [*(ROOT / "Guides" / "images").glob("*.png")]
    assert {f"{name.removesuffix('Loss')}.png" for name in segloss.LOSSES} < {p.name for p in pictures}
    sizes = {p.name: p.stat().st_size for p in pictures}
    assert sizes["gallery.png"] < 400e3 and sum(sizes.values()) < 2e6


def test_the_readme_has_the_table_of_losses():
    """Its rows are the package's; each framework's own tests hold its module to `segloss.LOSSES`."""
    assert support_table.table() in (ROOT / "README.md").read_text(), "not what support_table.py prints"


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", segloss.LOSSES)
def test_every_loss_takes_every_type(name, kind):
    """Of predictions, and of targets, in every variant. That each framework has every loss, and its types, is in its own
    tests."""
    dtype = PREDICTION_TYPES[kind]
    scene = dataclasses.replace(scenes.random((2, 5, 7), np.float64), counts=np.ones((2, 5, 7)))
    for options in names.variants(segloss.LOSSES[name]):
        loss = segloss.LOSSES[name](**options)
        inputs = scenes.arguments(loss, scene)
        predictions = scenes.predictions(loss, inputs)
        for target in TARGET_TYPES.values():
            typed = [
                array.astype(dtype) if i in predictions
                # What names a class stays a whole number.
                else array if array.dtype.kind in "iu" and target.kind not in "iu"
                else array.astype(target)
                for i, array in enumerate(inputs)
            ]  # fmt: skip
            value, gradients = scenes.value_and_gradients(loss, tuple(typed))
            assert np.isfinite(value) and all(g.dtype == dtype for g in gradients)


@pytest.mark.parametrize("name", sorted(p.stem for p in Path(segloss.__path__[0]).glob("[!_]*.py")))
def test_docstrings(name):
    module = importlib.import_module(f"segloss.{name}")
    with np.printoptions(legacy=False):
        results = doctest.testmod(module)
    assert results.attempted > 0 and results.failed == 0
