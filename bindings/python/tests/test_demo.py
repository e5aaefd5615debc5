"""The demo learns: fewer steps than `make demo` takes, and its own verdict."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "Examples"
DEMO = EXAMPLES / "text_detector.py"


def test_the_detector_beats_the_thresholds(tmp_path):
    picture = tmp_path / "demo.png"
    done = subprocess.run(
        [sys.executable, str(DEMO), "--quick", "--output", str(picture)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "held-out" in done.stdout


def test_the_anchors_of_a_page(tmp_path):
    picture = tmp_path / "ctpn.png"
    command = [sys.executable, str(EXAMPLES / "ctpn_targets.py"), "--quick", "--output", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert picture.read_bytes().startswith(b"\x89PNG") and "rpn_loss_side" in done.stdout
