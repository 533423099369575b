"""Decode a photograph no larger than its canvas needs. Without torch."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tlaam.images import image_size, load_image


def load_for_canvas(path: Path, canvas: int, *, smallest_side: float = 1.0) -> tuple[Image.Image, tuple[int, int]]:
    """Decode an image for `tlaam.canvas.to_canvas`, reduced by a half, quarter or eighth where the canvas allows.

    JPEG decoders give these reductions almost for free. Both sides keep at least `canvas` pixels, or all that they
    have, so that nothing the canvas could show is lost.

    Args:
        canvas: side of the canvas in pixels.
        smallest_side: smallest share of a side that a random crop may keep; the crop, too, keeps `canvas` pixels.

    Returns:
        The RGB image and the ``(width, height)`` of the photograph itself, in whose pixels boxes are given.

    Raises:
        DataError: the file cannot be read as an image.
    """
    width, height = image_size(path)
    needed = canvas / smallest_side
    reduction = next((r for r in (8, 4, 2) if min(width, height) >= r * needed), 1)
    image = load_image(path, max_side=-(-max(width, height) // reduction) if reduction > 1 else None)
    return image, (width, height)
