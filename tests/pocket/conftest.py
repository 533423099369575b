"""Fixtures of the page's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from served import colour_file

from tlaam.errors import ExportError
from tlaam.pocket.runtime import PACKAGE, VERSION, Runtime, find_runtime
from tlaam.utils.cache import cache_folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that names colours."""
    return colour_file(tmp_path_factory.mktemp("pocket") / "colours.onnx")


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """ONNX Runtime Web, where this machine has it: in the folder TLAAM_RUNTIME or in the cache. Nothing is fetched."""
    folder = Path(os.environ.get("TLAAM_RUNTIME", cache_folder("runtime") / f"{PACKAGE}-{VERSION}"))
    try:
        return find_runtime(folder)
    except ExportError:
        pytest.skip(f"no {PACKAGE} {VERSION} on this machine: TLAAM_RUNTIME may name its folder")
