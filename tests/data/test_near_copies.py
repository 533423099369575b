"""Near copies: what was done to a picture does not hide it, and other pictures are left alone."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from drawn_scenes import scene
from PIL import Image

from tlaam.data.near_copies import SIDE, both_ways, matches, near_copies, small_grey


def jpeg(image: Image.Image, quality: int = 40) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": jpeg,
    "resized by 0.7": lambda image: jpeg(image.resize((112, 84))),
    "cropped at the left and top": lambda image: image.crop((13, 10, 160, 120)),
    "cropped all around": lambda image: image.crop((6, 5, 154, 115)),
    "mirrored": lambda image: jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "mirrored and cropped": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((0, 0, 148, 111)),
    "darker": lambda image: image.point(lambda level: 0.6 * level + 10),
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_picture_is_found_among_others(how: str) -> None:
    pictures = [scene(seed) for seed in range(12)]
    found = near_copies(np.stack([small_grey(one) for one in [*pictures, ALTERED[how](pictures[3])]]))
    assert [match[:2] for match in found] == [(3, 12)]
    assert found[0].mirrored is ("mirrored" in how) and 0.95 <= found[0].likeness <= 1


def test_the_same_scene_with_another_object_is_another_picture() -> None:
    """Two birds before one sky: nearly all pixels agree, but not what is to be seen."""
    pictures = []
    for width, height in ((10, 60), (50, 12)):
        sky = np.tile(np.linspace(120, 220, 120)[:, None, None], (1, 160, 3)).astype(np.uint8)
        sky[40 : 40 + height, 60 : 60 + width] = 100
        pictures.append(small_grey(Image.fromarray(sky)))
    assert near_copies(np.stack(pictures)) == []


def test_flat_pictures_are_no_copies_of_each_other() -> None:
    flat = [small_grey(Image.new("RGB", (50, 50), (level,) * 3)) for level in (0, 0, 128, 255)]
    assert matches(np.stack(flat), both_ways([(0, 1), (1, 2), (2, 3)])) == []


def test_pairs_count_once_in_whatever_order() -> None:
    greys = np.stack([small_grey(scene(1)), small_grey(scene(1)), small_grey(scene(2))])
    assert greys.shape == (3, SIDE, SIDE)
    assert [match[:2] for match in matches(greys, both_ways([(1, 0), (0, 1), (2, 0)]))] == [(0, 1)]
    assert near_copies(greys[:1]) == [] and near_copies(greys[:0]) == []
