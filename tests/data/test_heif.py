"""Images are what their content is, whatever their names end in; HEIC needs an extra, and is not left out unsaid."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.check import check
from tlaam.data.folder import unsupported_files
from tlaam.data.images import ImageBytes, ImageError, image_size, load_image
from tlaam.data.open import open_dataset
from tlaam.data.signature import signature
from tlaam.inference.inputs import find_images, left_out_of_inputs

HEIC = Path(__file__).parents[1] / "fixtures" / "heic" / "turned.heic"
"""64 x 48 pixels as it is shown; stored turned, which both the container and EXIF say."""
CASES = Path(__file__).parents[3] / "shared" / "cases" / "heic"


def _shown() -> np.ndarray:
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([255 * x / 63, 255 * y / 47, 128 + 60 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)


def _photos(root: Path) -> Path:
    """Write two classes with JPEG files of all endings, and one HEIC file in each."""
    for seed, label in enumerate(("crow", "jay")):
        (root / label).mkdir(parents=True)
        for number, ending in enumerate(("jpg", "HEIC", "heif", "cr2")):
            pixels = np.random.default_rng(10 * seed + number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.{ending}", "JPEG")
        (root / label / "4.HEIC").write_bytes(HEIC.read_bytes())
    return root


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF89a", "GIF"),
        (b"BM\0\0", "BMP"),
        (b"MM\0*", "TIFF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"P5\n64 64\n255\n", "PPM"),
        (b"PK\x03\x04", None),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", None),
        (b"", None),
    ],
)
def test_files_are_told_by_how_they_begin(head: bytes, name: str | None) -> None:
    assert signature(head) == name


@pytest.mark.usefixtures("without_heif")
def test_without_the_extra_heic_is_left_out_and_said(tmp_path: Path) -> None:
    images = open_dataset(_photos(tmp_path))
    endings = Counter(sample.path.suffix for sample in images.samples)
    assert endings == {".jpg": 2, ".HEIC": 2, ".heif": 2, ".cr2": 2}
    assert len(images.notes) == 1 and images.notes[0].endswith(
        "2 files of a type that is not read (2 .heic; convert them to JPEG or PNG, or install what reads HEIC "
        "(pip install '.[heif]' in a copy of tlaam's repository))."
    )
    assert [finding.kind for finding in check(tmp_path).findings] == ["unsupported", "unsupported"]
    assert len(find_images(tmp_path)) == 8 and "2 .heic" in "".join(left_out_of_inputs(tmp_path))
    assert all(np.asarray(sample.picture()).std() > 20 for sample in images.samples)


@pytest.mark.usefixtures("without_heif")
def test_without_the_extra_heic_called_jpg_is_named_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(HEIC.read_bytes())
    for read in (load_image, image_size):
        with pytest.raises(ImageError, match=r"photo\.jpg': it is a HEIC photograph, which needs pi-heif.*\[heif\]"):
            read(tmp_path / "photo.jpg")


def test_raw_photographs_and_pipes_are_not_taken_for_images(tmp_path: Path) -> None:
    root = _photos(tmp_path)
    (root / "crow" / "raw.nef").write_bytes(b"II*\0")
    os.mkfifo(root / "crow" / "pipe.dng")
    assert {name: number for name, number in unsupported_files(root).items() if name != ".heic"} == {
        ".dng": 1,
        ".nef": 1,
    }


def test_with_the_extra_heic_is_read_and_turned_once(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="the extra heif is not installed")
    for name in ("photo.heic", "photo.HEIC", "photo.jpg"):
        path = tmp_path / name
        path.write_bytes(HEIC.read_bytes())
        assert image_size(path) == (64, 48)
        assert np.abs(np.asarray(load_image(path)) - _shown()).mean() < 4
    assert load_image(ImageBytes("upload", HEIC.read_bytes())).size == (64, 48)
    assert load_image(HEIC, max_side=32).size == (32, 24)


def test_with_the_extra_nothing_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="the extra heif is not installed")
    images = open_dataset(_photos(tmp_path))
    assert (len(images.samples), images.notes) == (10, ())
    assert [finding.kind for finding in check(tmp_path).findings] == ["mislabelled"]  # the same photo in both


@pytest.mark.parametrize("kept", [24, 400, 1000])
def test_with_the_extra_a_broken_one_is_named(tmp_path: Path, kept: int) -> None:
    pytest.importorskip("pi_heif", reason="the extra heif is not installed")
    path = tmp_path / "cut.heic"
    path.write_bytes(HEIC.read_bytes()[:kept])
    with pytest.raises(ImageError, match=r"cut\.heic'") as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


def test_the_given_folder_is_read_whole() -> None:
    if not CASES.is_dir():
        pytest.skip(f"the given files are not at {CASES}")
    images = open_dataset(CASES / "inputs")
    assert len(images.samples) == len(find_images(CASES / "inputs")) == 20 and images.notes == ()
    assert check(CASES / "inputs").unreadable == ()
    assert load_image(CASES / "jpeg-as.HEIC").size == (96, 80)
    for name in ("heic-as.HEIC", "heic-as.jpg"):  # no more than a beginning
        with pytest.raises(ImageError, match="HEIC photograph"):
            load_image(CASES / name)
