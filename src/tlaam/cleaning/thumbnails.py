"""Thumbnails of suspects and their companions, with the boxes of the object and its parts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from tlaam.data.images import ImageError
from tlaam.data.sample import Box, Sample
from tlaam.visualization.annotate import draw_boxes

_SIDE = 240


def thumbnail(
    sample: Sample, object_box: NDArray[np.float32] | None = None, part_boxes: NDArray[np.float32] | None = None
) -> str:
    """Return an image as a small JPEG in a data URI; an empty string if it cannot be read.

    Args:
        sample: the image.
        object_box: ``(4,)``, in fractions of its sides.
        part_boxes: ``(P, 4)``, likewise.
    """
    try:
        picture = sample.picture(_SIDE)
    except ImageError:
        return ""
    edges = np.array([picture.width, picture.height] * 2)
    parts: Sequence[Box] = [] if part_boxes is None else [_box(edges * box) for box in part_boxes]
    whole = None if object_box is None else _box(edges * object_box)
    if whole is not None or parts:
        picture = draw_boxes(picture, whole, parts)
    buffer = BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _box(edges: NDArray[np.floating]) -> Box:
    x0, y0, x1, y1 = (float(edge) for edge in edges)
    return x0, y0, x1, y1
