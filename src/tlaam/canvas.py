"""From a decoded photograph to the square source image that the network is given: one function for every use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_canvas(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Squash an RGB image to the square source image I of SPEC §1.

    Every later crop is squashed to a square too, so squashing once changes nothing but the number of resamplings, and
    boxes on the canvas are boxes on the photograph, scaled per axis (`canvas_to_image`).

    Args:
        image: any size, mode RGB.
        size: side P of the canvas in pixels.

    Returns:
        uint8 RGB, shape ``(3, P, P)``.
    """
    canvas = image.resize((size, size), Image.Resampling.BILINEAR)  # antialiased when it shrinks
    return np.ascontiguousarray(np.asarray(canvas, dtype=np.uint8).transpose(2, 0, 1))


def canvas_to_image(boxes: NDArray[np.floating], canvas: int, width: int, height: int) -> NDArray[np.float64]:
    """Scale boxes ``(..., 4)`` xyxy from pixels of a canvas of side `canvas` to pixels of a ``width × height`` image."""
    scale = np.array([width, height, width, height], dtype=np.float64) / canvas
    return boxes.astype(np.float64) * scale


def image_to_canvas(boxes: NDArray[np.floating], canvas: int, width: int, height: int) -> NDArray[np.float64]:
    """Scale boxes ``(..., 4)`` xyxy from pixels of a ``width × height`` image to pixels of a canvas of side `canvas`."""
    scale = canvas / np.array([width, height, width, height], dtype=np.float64)
    return boxes.astype(np.float64) * scale
