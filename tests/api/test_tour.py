"""The tour of the Python interface runs to its end, with PyTorch here and without it in tests/test_light.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOUR = Path(__file__).parents[2] / "examples" / "api_tour.py"


def test_the_whole_tour(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, TOUR], cwd=tmp_path, capture_output=True, text=True, timeout=500,
        env={**os.environ, "TLAAM_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "HF_TOKEN": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused:") >= 9 and done.stdout.count("report:") == 2
    assert "Traceback" not in done.stderr and "DeprecationWarning" not in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"], "nothing is written where nobody asked"
