"""Waits are shown on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
import time

import pytest

from tlaam.utils.progress import progress_bar, waiting


class Terminal(io.StringIO):
    """A standard error that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_step_of_unknown_length_shows_what_it_is_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with waiting("loading PyTorch"):
        time.sleep(2.2)
    shown = sys.stderr.getvalue()
    assert "loading PyTorch ... 00:00" in shown and "loading PyTorch ... 00:02" in shown
    assert shown.endswith("\r")  # and is gone


def test_a_bar_counts_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("downloading x", unit="B") as show:
        time.sleep(0.15)  # it is drawn ten times a second at most
        show(1_500_000, 3_000_000)
    assert "1.50M/3.00M" in sys.stderr.getvalue()


def test_an_error_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ValueError, match="no such model"), waiting("loading the model"):
        raise ValueError("no such model")
    before = sys.stderr.getvalue()
    time.sleep(1.2)
    assert sys.stderr.getvalue() == before


def test_nothing_is_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("loading PyTorch"):
        time.sleep(1.2)
    with progress_bar("drawing") as show:
        show(1, 2)
    assert capsys.readouterr().err == ""
