"""The folder for cached content."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the cache folder for one kind of content: ``$TLAAM_CACHE/<name>``, or ``tlaam/<name>`` in the user's."""
    chosen = os.environ.get("TLAAM_CACHE")
    if chosen:
        return Path(chosen).expanduser() / name
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tlaam" / name
