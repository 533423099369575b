"""What a run says while it trains: lines on the error stream that leave progress bars whole."""

from __future__ import annotations

import sys

from tqdm import tqdm


def say(message: str, progress: bool) -> None:
    """Print a line, if wanted."""
    if progress:
        tqdm.write(message, file=sys.stderr)
