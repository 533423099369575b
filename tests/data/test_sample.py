"""A sample's picture: what of the file it is, upright, at any size, and its mask's levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.images import ImageError, load_image
from tlaam.data.input_image import load_for_input
from tlaam.data.sample import Mask, Sample, Window


def sample(path: Path, banner: int = 0, mask: Mask | None = None, window: Window | None = None) -> Sample:
    return Sample(str(path), path.name, 0, "train", banner=banner, mask=mask, window=window)


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


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_window_is_a_part_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x0112] = orientation
    noise(90, 60).save(path, exif=exif)
    pixels = np.asarray(load_image(path))
    part = sample(path, window=(5, 10, 35, 50))
    assert part.picture().size == part.picture_size() == (30, 40)
    assert np.array_equal(np.asarray(part.picture()), pixels[10:50, 5:35])


def test_a_window_ends_at_the_edge_and_above_the_banner(tmp_path: Path) -> None:
    noise(90, 60).save(tmp_path / "photo.png")
    pixels = np.asarray(load_image(tmp_path / "photo.png"))
    part = sample(tmp_path / "photo.png", 20, window=(-7, 30, 200, 55))
    assert part.picture_size() == part.picture().size == (90, 10)
    assert np.array_equal(np.asarray(part.picture()), pixels[30:40])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_nothing_beside_a_window_is_left_in_a_reduced_picture(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((700, 1000, 3), dtype=np.uint8)
    pixels[101:501, 203:603] = 200
    Image.fromarray(pixels).save(tmp_path / f"photo.{suffix}", quality=100, subsampling=0)
    part = sample(tmp_path / f"photo.{suffix}", window=(203, 101, 603, 501))
    reduced = part.picture(max_side=100)
    assert reduced.size == (100, 100) and np.asarray(reduced).min() > 190
    assert load_for_input(part, 64)[1] == (400, 400)


@pytest.mark.parametrize("window", [(90, 0, 99, 9), (0, 40, 9, 50), (-9, 0, 0, 9), (5, 5, 5, 9)])
def test_a_window_outside_the_picture_is_refused(tmp_path: Path, window: Window) -> None:
    noise(90, 60).save(tmp_path / "photo.png")
    for read in (Sample.picture, Sample.picture_size):
        with pytest.raises(ImageError, match=r"photo\.png': its part \[.*\] lies outside its 90 x 40 pixels"):
            read(sample(tmp_path / "photo.png", 20, window=window))


def test_a_mask_has_the_window_of_its_image(tmp_path: Path) -> None:
    levels = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(levels).save(tmp_path / "mask.png")
    mask = Mask(tmp_path / "mask.png", range(1), range(1, 2))
    assert np.array_equal(sample(tmp_path / "a.png", 0, mask, (2, 1, 7, 4)).mask_levels(), levels[1:4, 2:7])


def test_pixels_tell_pictures_of_one_file_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert sample(path).pixels == (str(path), 0) != sample(path, 2).pixels
    parts = {sample(path, window=window).pixels for window in (None, (0, 0, 4, 4), (0, 0, 4, 5))}
    assert len(parts) == 3
