"""Tiny photographs, a tiny network, and settings to match."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests and the process they start share stub_network

from stub_network import SETTINGS

from tlaam.config.schema import Config

CLASSES, PER_CLASS = 3, 9


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 27 small images of three classes that differ in colour."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir()
        for number in range(PER_CLASS):
            pixels = rng.integers(0, 128, (40, 48, 3), dtype=np.uint8)
            pixels[..., label] += 60
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{number}.png")
    return folder


@pytest.fixture
def settings() -> Callable[..., Config]:
    """Make quick settings, some of them replaced."""

    def make(**changes: Any) -> Config:
        return Config.from_flat({**SETTINGS, **changes})

    return make


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs train the stub network."""
    from stub_runs import use_stub

    from tlaam.training import run

    for name, replacement in use_stub().items():
        monkeypatch.setattr(run, name, replacement)
