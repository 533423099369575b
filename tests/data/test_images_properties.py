"""Whatever bytes an image file holds, it is decoded to what its header says, or refused in a line that names it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as some

from tlaam.data.images import ImageError, image_size, load_image

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")


def saved(kind: str, mode: str, width: int, height: int) -> bytes:
    pixels = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    try:
        image.convert(mode).save(stream, kind)
    except (OSError, ValueError):  # not every format has every mode
        stream = io.BytesIO()
        image.save(stream, kind)
    return stream.getvalue()


def read(content: bytes, max_side: int | None = None) -> Image.Image | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "an image.jpg"
        path.write_bytes(content)
        try:
            image = load_image(path, max_side=max_side)
        except ImageError as error:
            said = str(error)
            assert str(path) in said and "\n" not in said and len(said) < 1000
            return None
        if max_side is None:
            assert image_size(path) == image.size
        assert image.mode == "RGB" and image.info == {}
        return image


_IMAGES = some.builds(
    saved,
    some.sampled_from(_FORMATS),
    some.sampled_from(["RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16"]),
    some.integers(1, 40),
    some.integers(1, 40),
)


@settings(max_examples=200, deadline=None)
@given(content=_IMAGES, data=some.data())
def test_damaged_images_are_decoded_or_refused(content: bytes, data: some.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(some.integers(1, 8))):
        damaged[data.draw(some.integers(0, len(damaged) - 1))] = data.draw(some.integers(0, 255))
    end = data.draw(some.integers(0, len(damaged)))
    for max_side in (None, 8):
        read(bytes(damaged), max_side)
        read(bytes(damaged[:end]), max_side)


@settings(max_examples=100, deadline=None)
@given(kind=some.sampled_from(["PNG", "BMP", "TIFF", "PPM"]), width=some.integers(1, 60), height=some.integers(1, 60))
def test_whole_images_are_decoded_exactly(kind: str, width: int, height: int) -> None:
    image = read(saved(kind, "RGB", width, height))
    assert image is not None
    wanted = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(image), wanted)


@settings(max_examples=150, deadline=None)
@given(
    content=some.binary(max_size=200),
    head=some.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"MM\0*",
            b"P6\n",
            b"RIFF\0\0\0\0WEBP",
            b"\0\0\0\x0cjP  \r\n\x87\n",
            b"\0\0\0\x20ftypavif",
        ]
    ),
)
def test_any_bytes_are_decoded_or_refused(content: bytes, head: bytes) -> None:
    read(head + content)
