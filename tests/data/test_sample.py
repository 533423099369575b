"""A sample's picture: what of the file it is, upright, at any size, and its mask's levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.images import ImageError, load_image
from tlaam.data.sample import Mask, Sample


def sample(path: Path, banner: int = 0, mask: Mask | None = None) -> Sample:
    return Sample(str(path), path.name, 0, "train", banner=banner, mask=mask)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_banner_is_cut_off_at_the_bottom_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x0112] = orientation
    noise(90, 60).save(path, exif=exif)
    whole, picture = load_image(path), sample(path, 20).picture()
    assert picture.size == sample(path, 20).picture_size() == (whole.width, whole.height - 20)
    assert np.array_equal(np.asarray(picture), np.asarray(whole)[:-20])
    assert sample(path).picture_size() == whole.size


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_nothing_of_a_banner_is_left_in_a_reduced_picture(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((700, 1000, 3), 200, dtype=np.uint8)
    pixels[-20:] = 0
    Image.fromarray(pixels).save(tmp_path / f"photo.{suffix}", quality=95)
    reduced = sample(tmp_path / f"photo.{suffix}", 20).picture(max_side=100)
    assert reduced.size == (100, 68)
    assert np.asarray(reduced).min() > 190


def test_an_image_no_higher_than_its_banner_is_refused(tmp_path: Path) -> None:
    noise(40, 20).save(tmp_path / "low.png")
    for read in (Sample.picture, Sample.picture_size):
        with pytest.raises(ImageError, match=r"low\.png': nothing is left of its 20 rows .* the banner of 20"):
            read(sample(tmp_path / "low.png", 20))
        read(sample(tmp_path / "low.png", 19))


def test_a_mask_loses_the_banner_as_its_image_does(tmp_path: Path) -> None:
    levels = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(levels).save(tmp_path / "mask.png")
    mask = Mask(tmp_path / "mask.png", range(1), range(1, 2))
    assert np.array_equal(sample(tmp_path / "a.png", 2, mask).mask_levels(), levels[:-2])
    with pytest.raises(ImageError, match="nothing is left of its 6 rows"):
        sample(tmp_path / "a.png", 6, mask).mask_levels()


def test_pixels_tell_pictures_of_one_file_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert sample(path).pixels == (str(path), 0) != sample(path, 2).pixels
