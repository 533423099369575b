"""Fixtures of the service's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import SlowEngine, colour_file


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that names colours."""
    return colour_file(tmp_path_factory.mktemp("served") / "colours.onnx")


@pytest.fixture
def predictor(colours: Path) -> SlowEngine:
    """It, loaded; `seconds` makes it slow."""
    return SlowEngine(colours)
