"""Thumbnails of photographs for tables and pages."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from tlaam.data.images import load_image
from tlaam.errors import DataError

Where = Callable[[str], Path]
"""Returns the current location of a file named in an answer, which may have been moved since."""


def thumbnail(path: Path, side: int) -> tuple[bytes, int, int] | None:
    """Return a photograph as a small JPEG file with its width and height; None if it cannot be read.

    Args:
        path: the photograph.
        side: maximum length of the longer side in pixels.
    """
    try:
        image = load_image(path, max_side=side)
    except DataError:
        return None
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=68, optimize=True)
    return stream.getvalue(), image.width, image.height
