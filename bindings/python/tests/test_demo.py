"""The demo learns: fewer steps than `make demo` takes, and its own verdict."""

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[3] / "Examples" / "text_detector.py"


def test_the_detector_beats_the_thresholds(tmp_path):
    picture = tmp_path / "demo.png"
    done = subprocess.run(
        [sys.executable, str(DEMO), "--quick", "--output", str(picture)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "held-out" in done.stdout
