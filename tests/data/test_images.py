from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from tlaam.data.images import IMAGE_SUFFIXES, ImageBytes, ImageError, image_size, load_image
from tlaam.errors import DataError


def _picture(width: int = 40, height: int = 24) -> Image.Image:
    """A smooth RGB picture without any symmetry, so that JPEG keeps it and every turn of it is told apart."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 255 * x / (width - 1), 255 * y / (height - 1), 128 + 60 * np.sin(x / 9) * np.cos(y / 7)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _pixels(path: Path, **options: int) -> np.ndarray:
    image = load_image(path, **options)
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = _picture()
    # Inverse turns, written out here so that the test does not lean on the table under test.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation](np.asarray(upright))
    path = tmp_path / f"turned.{suffix}"
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=_exif(orientation), **options)
    loaded = load_image(path)
    assert loaded.size == image_size(path) == upright.size
    assert np.abs(np.asarray(loaded).astype(int) - np.asarray(upright)).max() <= (6 if suffix == "jpg" else 0)
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(loaded)), np.asarray(loaded))  # nothing left to turn again


def test_exif_behind_the_pixels_of_a_png_is_honoured(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    _picture().save(buffer, "PNG")
    data = buffer.getvalue()
    path = tmp_path / "late.png"
    path.write_bytes(data[:-12] + _chunk(b"eXIf", _exif(6).tobytes()[6:]) + data[-12:])
    assert image_size(path) == load_image(path).size == (24, 40)


def test_damaged_exif_does_not_spoil_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "bad_exif.jpg"
    _picture().save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_image(path).size == image_size(path) == (40, 24)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_one_bit(tmp_path: Path, mode: str) -> None:
    grey = _picture().convert(mode)
    grey.save(tmp_path / "grey.png")
    expected = np.repeat(np.asarray(grey.convert("L"))[..., None], 3, axis=-1)
    assert np.array_equal(_pixels(tmp_path / "grey.png"), expected)


def test_palette_with_transparent_entry_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 200])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "index.png", transparency=1)
    image.save(tmp_path / "index.gif", transparency=1)
    image.save(tmp_path / "bytes.png", transparency=bytes([255, 0, 255]))
    assert _pixels(tmp_path / "plain.png").tolist() == [[[10, 20, 30], [200, 0, 0], [0, 0, 200]]]
    for name in ("index.png", "index.gif", "bytes.png"):
        assert _pixels(tmp_path / name).tolist() == [[[10, 20, 30], [255, 255, 255], [0, 0, 200]]]


def test_transparent_colour_of_grey_and_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 90]], np.uint8)).save(tmp_path / "grey.png", transparency=7)
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    assert _pixels(tmp_path / "grey.png").tolist() == [[[255] * 3, [90] * 3]]
    assert _pixels(tmp_path / "rgb.png").tolist() == [[[255] * 3, [4, 5, 6]]]


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(np.array([[[40, 255], [40, 0]]], np.uint8), "LA").save(tmp_path / "la.png")
    pixels = _pixels(tmp_path / "rgba.png")
    assert pixels[0, :2].tolist() == [[200, 100, 0], [255, 255, 255]]
    assert np.abs(pixels[0, 2] - (0.2 * np.array([200, 100, 0]) + 0.8 * 255)).max() <= 1
    assert _pixels(tmp_path / "la.png").tolist() == [[[40] * 3, [255] * 3]]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_not_inverted(tmp_path: Path, suffix: str) -> None:
    flat = Image.new("RGB", (16, 16), (250, 120, 10))
    flat.convert("CMYK").save(tmp_path / f"cmyk.{suffix}")  # Pillow writes JPEG with Adobe's inverted values
    assert Image.open(tmp_path / f"cmyk.{suffix}").mode == "CMYK"
    assert np.abs(_pixels(tmp_path / f"cmyk.{suffix}") - [250, 120, 10]).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 256, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    assert _pixels(tmp_path / f"deep.{suffix}")[0, :, 0].tolist() == [0, 1, 1, 128, 255]


def test_16_bit_transparent_grey(tmp_path: Path) -> None:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
    rows = _chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">2H", 1000, 25700)))
    body = header + _chunk(b"tRNS", struct.pack(">H", 1000)) + rows + _chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert _pixels(tmp_path / "deep.png")[0, :, 0].tolist() == [255, 100]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
        (np.array([[-100, 0, 300]], np.int32), [0, 64, 255]),
        (np.array([[-7, -7]], np.int32), [0, 0]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 25700, 65535]], np.float32), [0, 100, 255]),
        (np.array([[0, 1e6, np.inf, np.nan]], np.float32), [0, 255, 255, 0]),
    ],
)
def test_32_bit_grey(tmp_path: Path, values: np.ndarray, expected: list[int]) -> None:
    Image.fromarray(values).save(tmp_path / "deep.tif")
    assert _pixels(tmp_path / "deep.tif")[0, :, 0].tolist() == expected


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "mpo"])
def test_first_frame_of_several(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in [(250, 0, 0), (0, 250, 0), (0, 0, 250)]]
    frames[0].save(tmp_path / f"many.{suffix}", save_all=True, append_images=frames[1:])
    assert np.abs(_pixels(tmp_path / f"many.{suffix}") - [250, 0, 0]).max() <= 4


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".avif", ".jp2"}))
def test_every_suffix_can_be_read(tmp_path: Path, suffix: str) -> None:
    _picture().convert("1" if suffix == ".pbm" else "L" if suffix == ".pgm" else "RGB").save(tmp_path / f"x{suffix}")
    assert load_image(tmp_path / f"x{suffix}").size == (40, 24)


@pytest.mark.parametrize(("suffix", "max_side"), [("jpg", 100), ("jpg", 333), ("png", 100), ("tif", 100), ("jpg", 1)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_max_side_reduces_with_antialiasing(tmp_path: Path, suffix: str, max_side: int, orientation: int) -> None:
    path = tmp_path / f"large.{suffix}"
    _picture(900, 300).save(path, exif=_exif(orientation))
    whole = load_image(path)
    reduced = load_image(path, max_side=max_side)
    assert max(reduced.size) == max_side
    assert min(reduced.size) == max(1, round(max_side / 3))
    assert (reduced.width > reduced.height) == (whole.width > whole.height) or max_side == 1
    reference = whole.resize(reduced.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(reduced).astype(int) - np.asarray(reference)).mean() < 2


def test_max_side_averages_fine_texture(tmp_path: Path) -> None:
    board = (np.indices((640, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert np.abs(_pixels(tmp_path / "board.png", max_side=64) - 127.5).max() < 8


def test_max_side_never_enlarges(tmp_path: Path) -> None:
    _picture().save(tmp_path / "small.png")
    assert np.array_equal(_pixels(tmp_path / "small.png", max_side=4000), np.asarray(_picture()))
    with pytest.raises(ValueError, match="at least 1"):
        load_image(tmp_path / "small.png", max_side=0)


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert _pixels(tmp_path / "dot.png").tolist() == [[[1, 2, 3]]]


def _truncated(suffix: str, keep: float) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, suffix)
    return buffer.getvalue()[: int(keep * buffer.tell())]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (_truncated("jpeg", 0.6), "truncated"),
        (_truncated("png", 0.6), "truncated"),
        (_truncated("bmp", 0.6), "truncated"),
        (_truncated("webp", 0.6), "x.img"),
        (_png_header(60000, 60000) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b""), "more pixels"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(content)
    for max_side in (None, 8):
        with pytest.raises(DataError, match=fault) as caught:
            load_image(path, max_side=max_side)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["birds.tar", "birds.tar.gz", "birds.zip", "birds.parquet"])
def test_an_archive_is_told_from_a_damaged_image(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(ImageError, match=r"it is an archive, not an image\. Unpack it and name its folder"):
        load_image(path)


def test_own_pixel_limit_holds_where_pillow_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(60000, 60000) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b""))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for read in (load_image, image_size):
        with pytest.raises(DataError, match="60000 x 60000"):
            read(path)


@pytest.mark.usefixtures("without_heif")
def test_a_type_that_is_not_read_is_named(tmp_path: Path) -> None:
    photo = tmp_path / "photo.HEIC"
    photo.write_bytes(b"\0\0\0\x18")
    with pytest.raises(ImageError, match=r"photo.HEIC': files of type \.heic are not read. Convert it") as caught:
        load_image(photo)
    assert caught.value.fault == "files of type .heic are not read"
    again = pickle.loads(pickle.dumps(caught.value))  # as it travels from a worker process
    assert (str(again), again.fault) == (str(caught.value), caught.value.fault)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe, dangling, loop = tmp_path / "pipe.jpg", tmp_path / "dangling.jpg", tmp_path / "loop.jpg"
    os.mkfifo(pipe)
    dangling.symlink_to(tmp_path / "nowhere.jpg")
    loop.symlink_to(loop)
    faults = {
        pipe: "not a regular file",
        Path("/dev/zero"): "not a regular file",
        dangling: "link to a file that does not exist",
        loop: "loop.jpg",
        tmp_path: "is a folder",
        tmp_path / "absent.jpg": "it is missing. Check the path",
    }
    for path, fault in faults.items():
        for read in (load_image, image_size):
            with pytest.raises(DataError, match=fault):
                read(path)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # socket names are limited to some 100 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jpg")
        with pytest.raises(DataError, match="not a regular file"):
            load_image("s.jpg")


def _open_handles() -> int:
    """Number of files this process has open; 0 on systems without ``/proc``."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_no_file_stays_open_and_no_global_state_changes(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    _picture().save(good)
    bad.write_bytes(_truncated("jpeg", 0.5))
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    handles = _open_handles()
    kept = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(5):
            kept += [load_image(good), image_size(good)]
            with pytest.raises(DataError):
                load_image(bad)
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    assert _open_handles() == handles


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    _picture().save(tmp_path / "really.png")
    (tmp_path / "really.png").rename(tmp_path / "named.jpg")
    assert np.array_equal(_pixels(tmp_path / "named.jpg"), np.asarray(_picture()))


@pytest.mark.usefixtures("without_heif")
def test_a_file_in_memory_is_read_as_one_on_the_disk(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20), "teal").save(tmp_path / "a.jpg", exif=turned)
    held = ImageBytes("../b.jpg", (tmp_path / "a.jpg").read_bytes())
    assert image_size(held) == image_size(tmp_path / "a.jpg") == (20, 40)
    assert load_image(held) == load_image(tmp_path / "a.jpg")
    for content, fault in ((b"", "empty"), (b"text", "not an image"), (held.content[:-30], "truncated|broken|cut")):
        with pytest.raises(ImageError, match=rf"'\.\./b\.jpg'.*({fault})"):
            load_image(ImageBytes("../b.jpg", content))
    with pytest.raises(ImageError, match=r"files of type \.heic are not read"):
        load_image(ImageBytes("photo.heic", b"text"))


def test_signalling_nan_is_turned_without_a_word(tmp_path: Path) -> None:
    values = np.full((20, 20), 0.5, np.float32)
    values.view(np.uint32)[3, 4] = 0x7FA00000
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _pixels(tmp_path / "deep.tif")[0, 0, 0] == 128
