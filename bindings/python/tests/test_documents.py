"""Every Python snippet of the README and the guides runs, and so does every example in a docstring."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import segloss

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "bindings/python/README.md", *sorted((ROOT / "Guides").glob("*.md"))]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.relative_to(ROOT)}-{i}")
    for page in PAGES
    for i, snippet in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S))
]


def test_there_are_snippets():
    assert len(SNIPPETS) >= 3


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


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
