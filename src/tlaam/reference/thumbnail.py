"""Thumbnails of the images in a reference index."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

THUMBNAIL_SIDE = 160
MAX_THUMBNAIL_SIDE = 512
"""Longer side of a thumbnail in pixels: of those that are written, and at most of those that are shown."""
_QUALITY = 80


def thumbnail(image: Image.Image) -> bytes:
    """Return an image as a small JPEG file. It is encoded again, so it contains no camera or location metadata.

    Examples:
        >>> len(thumbnail(Image.new("RGB", (400, 300)))) < 2000
        True
    """
    stream, small = BytesIO(), image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    small.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
