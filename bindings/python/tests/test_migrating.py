"""Other libraries' losses beside ours: those that are installed, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import migrating
import pytest
from frameworks import framework_elsewhere

GUIDE = (Path(__file__).resolve().parents[3] / "Guides" / "Migrating.md").read_text()


@pytest.mark.parametrize("framework, chosen", [("torch", migrating.TORCH), ("tensorflow", [migrating.KERAS])])
def test_rows(framework, chosen, capsys):
    framework_elsewhere(framework)
    command = [sys.executable, migrating.__file__, *(["keras"] if framework == "tensorflow" else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    for library in chosen:
        if migrating.is_installed(library):
            assert all(f": {row.there}\n" in done.stdout for row in library.rows)
        else:
            with capsys.disabled():
                print(f"\nNOT RUN: {library.distribution} {library.version} is not installed", end=" ")


@pytest.mark.parametrize("library", migrating.LIBRARIES, ids=lambda library: library.distribution)
def test_the_guide_has_the_rows(library):
    assert migrating.table(library) in GUIDE, "Guides/Migrating.md is not what migrating.py prints"
