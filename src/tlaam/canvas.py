"""From a file to the square source image that the network is given: one way for training, evaluation and prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.images import ImageBytes, image_size, load_image

Rectangle = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)`` in pixels, x1 and y1 exclusive."""


def to_canvas(image: Image.Image, size: int, crop: Rectangle | None = None) -> NDArray[np.uint8]:
    """Squash an RGB image to the square source image I of SPEC §1.

    Every later crop is squashed to a square too, so squashing once changes nothing but the number of resamplings, and
    boxes on the canvas are boxes on the photograph, scaled per axis (`canvas_to_image`).

    Args:
        image: any size, mode RGB.
        size: side P of the canvas in pixels.
        crop: the part of the image that fills the canvas; by itself all of it.

    Returns:
        uint8 RGB, shape ``(3, P, P)``.
    """
    canvas = image.resize((size, size), Image.Resampling.BILINEAR, box=crop)  # antialiased when it shrinks
    return np.ascontiguousarray(np.asarray(canvas, dtype=np.uint8).transpose(2, 0, 1))


def canvas_to_image(boxes: NDArray[np.floating], canvas: int, width: int, height: int) -> NDArray[np.float64]:
    """Scale boxes ``(..., 4)`` xyxy from a canvas of side `canvas` to a ``width × height`` image, both in pixels."""
    scale = np.array([width, height, width, height], dtype=np.float64) / canvas
    return boxes.astype(np.float64) * scale


def image_to_canvas(boxes: NDArray[np.floating], canvas: int, width: int, height: int) -> NDArray[np.float64]:
    """Scale boxes ``(..., 4)`` xyxy from a ``width × height`` image to a canvas of side `canvas`, both in pixels."""
    scale = canvas / np.array([width, height, width, height], dtype=np.float64)
    return boxes.astype(np.float64) * scale


def load_for_canvas(
    path: Path | ImageBytes, canvas: int, *, smallest_side: float = 1.0, banner: int = 0
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode an image for `tlaam.canvas.to_canvas`, reduced by a half, quarter or eighth where the canvas allows.

    JPEG decoders give these reductions almost for free. Both sides keep at least `canvas` pixels, or all that they
    have, so that nothing the canvas could show is lost.

    Args:
        canvas: side of the canvas in pixels.
        smallest_side: smallest share of a side that a random crop may keep; the crop, too, keeps `canvas` pixels.
        banner: pixels at the bottom of the file to leave out; the photograph is what remains.

    Returns:
        The RGB image and the ``(width, height)`` of the photograph itself, in whose pixels boxes are given.

    Raises:
        DataError: the file cannot be read as an image.
    """
    width, height = image_size(path, banner=banner)
    needed = canvas / smallest_side
    reduction = next((r for r in (8, 4, 2) if min(width, height) >= r * needed), 1)
    max_side = -(-max(width, height) // reduction) if reduction > 1 else None
    image = load_image(path, max_side=max_side, banner=banner)
    return image, (width, height)
