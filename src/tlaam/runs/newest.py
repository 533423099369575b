"""Finding the run that a command uses if none is named."""

from __future__ import annotations

import json
from pathlib import Path


def newest_run(place: Path = Path("runs")) -> Path | None:
    """Return the run that finished last in a folder or in one of its subfolders; None if there is none.

    Args:
        place: the folder; by default the one that `tlaam train` and `tlaam quickstart` write to.
    """
    finished = []
    for status in (*place.glob("*/run.json"), *place.glob("*/*/run.json")):
        try:
            ended, moment = json.loads(status.read_bytes()).get("state") == "finished", status.stat().st_mtime
        except (OSError, ValueError, AttributeError):
            continue
        if ended:
            finished.append((moment, status.parent))
    return max(finished)[1] if finished else None
