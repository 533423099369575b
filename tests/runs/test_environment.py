"""What a figure is said to have been measured on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tlaam.runs import environment


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    asked = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that lies where `environment` lies in a checkout."""
    path = tmp_path / "src" / "tlaam" / "runs" / "environment.py"
    path.parent.mkdir(parents=True)
    path.write_text("x = 1\n")
    monkeypatch.setattr(environment, "__file__", str(path))
    return path


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout_and_a_change_is_marked(tmp_path: Path, module: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    revision = git(tmp_path, "rev-parse", "HEAD")[:7]
    assert environment.commit() == revision
    (tmp_path / "notes.txt").write_text("of no consequence")
    assert environment.commit() == revision
    module.write_text("x = 2\n")
    assert environment.commit() == f"{revision}+"


def test_an_installed_package_has_no_commit(module: Path) -> None:
    assert environment.commit() is None
