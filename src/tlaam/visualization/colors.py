"""The colours of pictures, and the colour map of heat maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
# Nine even steps of the "inferno" map (N. Smith and S. van der Walt; public domain, CC0). Its lightness rises steadily,
# so that equal steps of the map look about equally large, also in greyscale print.
_ANCHORS = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (188, 55, 84),
        (227, 89, 51),
        (249, 142, 9),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float64,
)
OBJECT_COLOR: Color = (255, 176, 0)
PART_COLORS: tuple[Color, ...] = ((94, 200, 255), (255, 110, 180), (120, 230, 160), (180, 150, 255))
"""Colours of part boxes from the smallest window size to the largest; repeated if there are more sizes."""
OUTLINE: Color = (20, 20, 24)
WHITE: Color = (255, 255, 255)
PAPER: Color = (250, 250, 247)
INK: Color = (32, 34, 38)
GREY: Color = (112, 116, 122)
TILE: Color = (236, 236, 231)


def colormap(heatmap: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Map values between 0 (black) and 1 (pale yellow) to colours, so that equal steps look about equally large.

    Args:
        heatmap: ``(H, W)``; values outside [0, 1] are clipped, NaN counts as 0.

    Returns:
        ``(H, W, 3)`` RGB.
    """
    values = np.clip(np.nan_to_num(heatmap.astype(np.float64), nan=0.0), 0, 1)
    positions = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(values, positions, _ANCHORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
