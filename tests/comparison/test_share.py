"""Several processes that work in one folder."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlaam.comparison.results import RunResult
from tlaam.comparison.runs import wait_for_leftover
from tlaam.comparison.share import SharedFolder
from tlaam.errors import RunError

RESULT = RunResult("plain", 0, {"fused.top1": 0.5}, {"fused": [True, False]}, ["a", "b"])

HOLD = """
import sys, pathlib, time
from tlaam.comparison.share import SharedFolder
from tlaam.errors import RunError
folder = SharedFolder(pathlib.Path(sys.argv[1]))
with folder.claimed("plain-0") as mine, folder.alone():
    print(mine, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def test_a_run_is_one_processs_and_free_once_that_is_killed(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path / "compared")
    other = hold(folder.path, 60)
    with folder.claimed("plain-0") as mine, folder.claimed("plain-1") as next_one:
        assert not mine and next_one
    other.kill()
    other.wait()
    with folder.claimed("plain-0") as mine:
        assert mine


def test_the_folders_own_files_are_waited_for(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path / "compared")
    began = time.monotonic()
    other = hold(folder.path, 1)
    with folder.alone():
        assert time.monotonic() - began > 0.9
    assert other.wait() == 0


def test_results_are_kept_and_a_foreign_folder_is_known(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path)
    with folder.alone():
        assert not folder.is_strange()
    (tmp_path / "notes.txt").touch()
    assert folder.is_strange() and not folder.has_result("plain-0")
    folder.keep("plain-0", RESULT)
    assert folder.has_result("plain-0") and folder.result("plain-0") == RESULT


def test_a_damaged_result_is_as_good_as_none(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path / "compared")
    folder.keep("plain-0", RESULT)
    assert folder.result("plain-0") == RESULT and not folder.is_damaged("plain-0")
    path = tmp_path / "compared" / "results" / "plain-0.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    assert folder.is_damaged("plain-0") and not folder.has_result("plain-0")
    with pytest.raises(RunError, match=r"plain-0\.json is missing or damaged"):
        folder.result("plain-0")


def test_a_training_that_outlived_its_comparison_is_waited_for(tmp_path: Path) -> None:
    run = tmp_path / "compared" / "runs" / "plain-0"
    run.mkdir(parents=True)
    held = "import sys, tlaam.utils.lock, pathlib, time; p = pathlib.Path(sys.argv[1])\n"
    held += "with tlaam.utils.lock.locked(p, p): print('', flush=True); time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", held, str(run / ".lock")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        said: list[str] = []
        wait_for_leftover(run, said.append)
        assert other.wait(0.5) == 0
    assert len(said) == 1 and f"(process {other.pid})" in said[0] and "Waiting for it" in said[0]
