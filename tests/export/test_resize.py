"""The input image inside the graph: Pillow's, level for level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from PIL import __version__ as pillow_version

from tlaam.data.input_image import to_input
from tlaam.export.resize import resize_like_pillow


@pytest.mark.parametrize("size", [32, 37, 96, 224])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 9), (8, 8), (60, 80), (80, 60), (96, 96), (97, 95), (333, 500), (500, 200)]
)  # fmt: skip
def test_inputs_are_pillows(size: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(height + width).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    pixels[1] = np.where(pixels[1] < 128, 0, 255)  # edges, and levels half way between two
    found = resize_like_pillow(torch.from_numpy(pixels), size)
    expected = np.stack([to_input(Image.fromarray(photo), size) for photo in pixels])
    assert found.dtype == torch.uint8 and found.shape == (2, 3, size, size)
    # Before release 13 Pillow always began with the width; with another order a level may be rounded to its neighbour.
    allowed = int(int(pillow_version.split(".")[0]) < 13)
    assert np.abs(found.numpy().astype(int) - expected).max() <= allowed
