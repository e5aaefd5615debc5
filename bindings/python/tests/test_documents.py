"""Every Python and C snippet of the README and the guides runs, and so does every example in a docstring."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import segloss
from test_c_boundary import compiler, program, run  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]
# Their snippets run in the framework's own tests, in a process of its own.
OF_FRAMEWORKS = {"PyTorch", "PaddlePaddle", "TensorFlow", "JAX"}
PAGES = [ROOT / "README.md", ROOT / "bindings/python/README.md", *sorted((ROOT / "Guides").glob("*.md"))]


def snippets(language):
    return [
        pytest.param(snippet, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        if page.stem not in OF_FRAMEWORKS
        for i, snippet in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S))
    ]


SNIPPETS = snippets("python")
C_SNIPPETS = snippets("c")


def test_there_are_snippets():
    assert len(SNIPPETS) >= 3 and C_SNIPPETS


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("snippet", C_SNIPPETS)
def test_c_snippet(snippet, program, tmp_path):  # noqa: F811
    source = tmp_path / "snippet.c"
    source.write_text(snippet)
    output = run([program(source, compiler("CC", "cc", "gcc", "clang"), "c99")])
    assert output.strip() and output.strip() in snippet, "what it prints is not what its comment says"


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", sorted(p.stem for p in Path(segloss.__path__[0]).glob("[!_]*.py")))
def test_docstrings(name):
    module = importlib.import_module(f"segloss.{name}")
    with np.printoptions(legacy=False):
        results = doctest.testmod(module)
    assert results.attempted > 0 and results.failed == 0
