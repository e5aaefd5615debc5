"""The accuracy table in small: Tests/Accuracy/accuracy.py at two sizes, where all of its bounds hold."""

import subprocess
import sys
from pathlib import Path

from frameworks import skip_if_left_out

SCRIPT = Path(__file__).resolve().parents[3] / "Tests" / "Accuracy" / "accuracy.py"


skip_if_left_out("torch")


def test_the_bounds_hold(tmp_path):
    sizes = ["--sizes", "9", "13", "--huge", "300000"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *sizes, "--output", str(tmp_path / "accuracy.csv")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.rstrip().endswith(" 0 beyond their bounds")
    assert len((tmp_path / "accuracy.csv").read_text().splitlines()) > 800
