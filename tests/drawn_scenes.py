"""Pictures of random scenes, of which no two are alike, for tests of copies."""

from __future__ import annotations

import numpy as np
from PIL import Image


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Return a picture of soft blobs with some sharp boxes."""
    random = np.random.default_rng(seed)
    cells = random.integers(40, 216, (9, 12, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC))
    for _ in range(6):
        x, y = random.integers(0, size[0] - 20), random.integers(0, size[1] - 20)
        pixels[y : y + random.integers(8, 40), x : x + random.integers(8, 40)] = random.integers(0, 256, 3)
    return Image.fromarray(pixels)
