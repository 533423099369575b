"""The page's scripts, for tests that run them in Node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "src" / "tlaam" / "pocket" / "page"
Run = Callable[..., Any]
