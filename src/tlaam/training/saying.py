"""Messages of a run during training: lines on standard error that do not break progress bars."""

from __future__ import annotations

import sys

from tqdm import tqdm


def say(message: str, progress: bool) -> None:
    """Print a line if `progress` is set."""
    if progress:
        tqdm.write(message, file=sys.stderr)
