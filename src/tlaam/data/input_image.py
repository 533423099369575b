"""From a photograph to the network's square input image: the same path for training, evaluation and prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.container import Member
from tlaam.data.depth import Depth
from tlaam.data.images import ImageBytes, image_size, load_image
from tlaam.data.sample import Sample

Rectangle = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)`` in pixels, x1 and y1 exclusive."""


def to_input(image: Image.Image, size: int, crop: Rectangle | None = None) -> NDArray[np.uint8]:
    """Squash an RGB image to a square, the source image I of the paper.

    Every later crop is squashed to a square too, so squashing here changes only the number of resamplings. Boxes on the
    input image are boxes on the photograph, scaled per axis (`input_to_image`).

    Args:
        image: RGB image of any size.
        size: side P of the input image in pixels.
        crop: the part of the image that fills the input image. [all of it]

    Returns:
        uint8 RGB, shape ``(3, P, P)``.

    Examples:
        >>> to_input(Image.new("RGB", (200, 100)), 64).shape
        (3, 64, 64)
    """
    squashed = image.resize((size, size), Image.Resampling.BILINEAR, box=crop)  # antialiased when it shrinks
    return np.ascontiguousarray(np.asarray(squashed, dtype=np.uint8).transpose(2, 0, 1))


def input_to_image(boxes: NDArray[np.floating], side: int, width: int, height: int) -> NDArray[np.float64]:
    """Scale boxes ``(..., 4)`` xyxy from an input image of that side to a ``width × height`` photograph, in pixels.

    Examples:
        >>> print(input_to_image(np.array([0.0, 0.0, 32.0, 16.0]), 64, 200, 100))
        [  0.   0. 100.  25.]
    """
    scale = np.array([width, height, width, height], dtype=np.float64) / side
    return boxes.astype(np.float64) * scale


def image_to_input(boxes: NDArray[np.floating], side: int, width: int, height: int) -> NDArray[np.float64]:
    """Scale boxes ``(..., 4)`` xyxy from a ``width × height`` photograph to an input image of that side, in pixels.

    Examples:
        >>> print(image_to_input(np.array([0.0, 0.0, 100.0, 25.0]), 64, 200, 100))
        [ 0.  0. 32. 16.]
    """
    scale = side / np.array([width, height, width, height], dtype=np.float64)
    return boxes.astype(np.float64) * scale


def load_for_input(
    source: Sample | Path | Member | ImageBytes, side: int, *, smallest_side: float = 1.0, depth: Depth | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode an image for `to_input`, reduced to a half, quarter or eighth if the input image's side allows it.

    JPEG decoders provide these reductions almost for free. Both sides keep at least `side` pixels, or all that they
    have, so that no detail that the input image could show is lost.

    Args:
        source: a sample of a data set, or an image file.
        side: side P of the input image in pixels.
        smallest_side: smallest share of a side that a random crop may keep; the crop keeps `side` pixels, too.
        depth: see `tlaam.data.images.load_image`; for an image file only, since a sample has its own.

    Returns:
        The RGB image, and the ``(width, height)`` of the photograph itself, whose pixels boxes refer to.

    Raises:
        DataError: the file cannot be read as an image.
    """
    width, height = source.picture_size() if isinstance(source, Sample) else image_size(source)
    reduction = next((r for r in (8, 4, 2) if min(width, height) >= r * side / smallest_side), 1)
    max_side = -(-max(width, height) // reduction) if reduction > 1 else None
    if isinstance(source, Sample):
        return source.picture(max_side), (width, height)
    return load_image(source, max_side=max_side, depth=depth), (width, height)
