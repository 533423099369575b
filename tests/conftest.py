"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real development data; tests that need it skip, loudly, where it is absent."""
    folder = Path(os.environ.get("TLAAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set TLAAM_DATA to its folder to run this test")
    return folder
