"""Examples in docstrings do what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import tlaam

ROOT = Path(tlaam.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_run(path: Path) -> None:
    name = ".".join(("tlaam", *path.relative_to(ROOT).with_suffix("").parts))
    failed, tried = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried and not failed


def test_there_are_some() -> None:
    assert len(FILES) >= 8
