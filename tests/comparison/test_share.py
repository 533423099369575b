"""Several processes that work in one folder."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tlaam.comparison.results import RunResult
from tlaam.comparison.share import SharedFolder

RESULT = RunResult("plain", 0, {"fused.top1": 0.5}, {"fused": [True, False]}, ["a", "b"])

HOLD = """
import sys, pathlib, time
from tlaam.comparison.share import SharedFolder
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
