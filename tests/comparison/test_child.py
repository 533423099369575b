"""A command in a process of its own, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tlaam.comparison.child import run_child

SLOW_TO_STOP = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(1.5)
    pathlib.Path(sys.argv[1]).write_text(str(int(number)))
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1] + ".ready").touch()
time.sleep(60)
"""


def test_the_exit_code_is_the_commands() -> None:
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"]) == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot leave the current folder out")
def test_nothing_in_the_current_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "colorsys.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert subprocess.run([sys.executable, "-m", "colorsys"], check=False).returncode == 7
    assert run_child([sys.executable, "-m", "colorsys"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_its_work_is_waited_for(number: signal.Signals, tmp_path: Path) -> None:
    saved, handler = tmp_path / "saved", signal.getsignal(number)

    def interrupt() -> None:
        while not (tmp_path / "saved.ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    assert run_child([sys.executable, "-c", SLOW_TO_STOP, str(saved)]) == 128 + number
    assert saved.read_text() == str(int(number))
    assert signal.getsignal(number) is handler
