"""The campaigns of ``python -m stress``, a few attempts of each, and that a child that dies is found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tortured(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "stress", "--out", "report.json", "--failures", "failures", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert (tmp_path / "report.json").is_file(), done.stderr
    return done.returncode, json.loads((tmp_path / "report.json").read_text())


@pytest.mark.parametrize(("campaign", "attempts"), [
    ("images", 96), ("manifests", 80), ("metadata", 80), ("annotations", 96), ("decisions", 96),
    ("models", 16), ("numbers", 10), ("server", 40),
])  # fmt: skip
def test_all_of_a_campaigns_attempts_end_well(tmp_path: Path, campaign: str, attempts: int) -> None:
    pytest.importorskip("torch")
    code, report = tortured(tmp_path, "--only", campaign, "--attempts", str(attempts), "--seed", "11")
    found = report["campaigns"][campaign]  # type: ignore[index]
    assert found["failures"] == [] and code == 0
    assert found["attempts"] == found["survived"] == attempts


def test_what_dies_hangs_or_swells_is_found_among_its_batch(tmp_path: Path) -> None:
    """By a campaign that does so, in the place of another."""
    (tmp_path / "sitecustomize.py").write_text(
        "import stress.campaigns\n"
        "from stress.attempts import Outcome\n"
        "import os, time\n"
        "class Broken:\n"
        "    name, attempts, batch, seconds, megabytes = 'broken', 8, 8, 2.0, 400\n"
        "    def prepare(self, folder): return None\n"
        "    def attempt(self, prepared, seed, numbers, folder):\n"
        "        for number in numbers:\n"
        "            (folder / 'kind').write_text(f'number {number}')\n"
        "            if number == 2: os._exit(9)\n"
        "            if number == 4: time.sleep(99)\n"
        "            if number == 6:\n"
        "                swollen = bytearray(600 << 20)\n"
        "                swollen[::4096] = b'x' * len(swollen[::4096])\n"
        "                time.sleep(99)\n"
        "        return [Outcome(f'number {number}', 'right') for number in numbers]\n"
        "stress.campaigns.CAMPAIGNS['broken'] = Broken\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "stress", "--only", "broken", "--out", "report.json", "--failures", "failures"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [tmp_path, ROOT / "tests", ROOT / "src"]))},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "report.json").read_text())["campaigns"]["broken"]
    assert found["endings"] == {"right": 5, "crash": 1, "hang": 1, "memory": 1}
    assert {failure["number"]: failure["ending"] for failure in found["failures"]} == {
        2: "crash",
        4: "hang",
        6: "memory",
    }
    assert (tmp_path / "failures" / "broken" / "0-2-crash" / "kind").read_text() == "number 2"
