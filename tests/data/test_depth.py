"""One scene in every form of more than 8 bits: the same picture from all, and night stays night."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deep_files import pfm, png, pnm, tiff
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.check import check
from tlaam.data.collection import dataset_of
from tlaam.data.depth import LEGACY, Depth, Extent
from tlaam.data.images import ImageError, load_image
from tlaam.data.in_memory import rgb_image
from tlaam.data.open import open_dataset
from tlaam.data.survey import with_depth

CASES = Path(__file__).parents[3] / "shared" / "cases" / "depth"


def _scene(seed: int = 0) -> NDArray:
    """Return a rectangle on noise, ``(H, W)`` in 0…1, from black to white."""
    scene = np.random.default_rng(seed).random((20, 30)) * 0.5
    scene[5:12, 8:20] += 0.5
    scene[0, :2] = 0, 1
    return scene


S = _scene()
RGB = np.stack([S, S[::-1], S[:, ::-1]], axis=-1)


def u16(scene: NDArray, white: int = 65535) -> NDArray:
    return np.rint(scene * white).astype(np.uint16)


def _opaque(colours: NDArray, opacity: int) -> NDArray:
    return np.concatenate([colours.reshape(*S.shape, -1), np.full((*S.shape, 1), opacity, np.uint16)], axis=-1)


def _not_numbers(values: NDArray) -> NDArray:
    values = values.astype(np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf  # where it is black, and white
    return values


GREY: dict[str, bytes] = {
    "16 bits": tiff(u16(S)),
    "16 bits, big-endian": tiff(u16(S), big=True),
    "14 in 16": tiff(u16(S, 16383)),
    "12 in 16": tiff(u16(S, 4095)),
    "12 in 16, big-endian": tiff(u16(S, 4095), big=True),
    "12 in 16, compressed": tiff(u16(S, 4095), deflate=True),
    "12 in 16, compressed, big-endian": tiff(u16(S, 4095), deflate=True, big=True),
    "10 in 16": tiff(u16(S, 1023)),
    "8 in 16": tiff(u16(S, 255)),
    "12 in 16 in one plane": tiff(u16(S, 4095), planar=True),
    "12 bits, packed": tiff(u16(S, 4095), bits=12),
    "12 in 16, which MaxSampleValue says": tiff(u16(S, 4095), tags=[(281, 3, (4095,))]),
    "16 bits, MaxSampleValue a lie": tiff(u16(S), tags=[(281, 3, (255,))]),
    "12 in 16, MaxSampleValue a statistic": tiff(u16(S, 4095), tags=[(281, 3, (3000,))]),
    "white is zero": tiff(u16(1 - S), photometric=0),
    "white is zero, 12 in 16": tiff(u16(1 - S, 4095), photometric=0),
    "white is zero, compressed": tiff(u16(1 - S), photometric=0, deflate=True),
    "white is zero, float": tiff((1 - S).astype(np.float32), photometric=0, sample_format=3),
    "float": tiff(S.astype(np.float32), sample_format=3),
    "float, big-endian": tiff(S.astype(np.float32), sample_format=3, big=True),
    "float, a little above 1": tiff((S * 1.001).astype(np.float32), sample_format=3),
    "float, a little below 0": tiff((S * 1.002 - 0.001).astype(np.float32), sample_format=3),
    "float to 255": tiff((S * 255).astype(np.float32), sample_format=3),
    "float to 255.5": tiff((S * 255.5).astype(np.float32), sample_format=3),
    "float to 4095": tiff((S * 4095).astype(np.float32), sample_format=3),
    "float to 65535": tiff((S * 65535).astype(np.float32), sample_format=3),
    "float with what is no number": tiff(_not_numbers(S), sample_format=3),
    "float, which SMaxSampleValue says": tiff(
        (S * 4095).astype(np.float32), sample_format=3, tags=[(341, 11, (4095,))]
    ),
    "uint32 to 4095": tiff(u16(S, 4095).astype(np.uint32)),
    "uint32 to 65535": tiff(u16(S).astype(np.uint32)),
    "uint32 in full": tiff(np.rint(S * (2**32 - 1)).astype(np.uint32), sample_format=1),
    "int32 to 1023": tiff(u16(S, 1023).astype(np.int32), sample_format=2),
    "int16 to 4095": tiff(u16(S, 4095).astype(np.int16), sample_format=2),
    "int16 in full": tiff((u16(S).astype(np.int32) - 32768).astype(np.int16), sample_format=2),
    "int16, big-endian": tiff((u16(S).astype(np.int32) - 32768).astype(np.int16), sample_format=2, big=True),
    "int16, the background subtracted": tiff((S * 4098 - 3).astype(np.int16), sample_format=2),
    "PNG": png(u16(S)),
    "PNG, 12 in 16": png(u16(S, 4095)),
    "PNG, 12 bits are significant and stand below": png(u16(S, 4095), chunks=[(b"sBIT", b"\x0c")]),
    "PNG, 12 bits are significant and stand above": png(u16(S, 4095) << 4, chunks=[(b"sBIT", b"\x0c")]),
    "PNG with opacity": png(_opaque(u16(S), 65535)),
    "PNG with opacity, 12 in 16": png(_opaque(u16(S, 4095), 4095)),
    "PNG, 12 in 16, opaque as of 16": png(_opaque(u16(S, 4095), 65535)),
    "PGM to 65535": pnm(u16(S), 65535),
    "PGM to 4095": pnm(u16(S, 4095), 4095),
    "PGM to 1000": pnm(u16(S, 1000), 1000),
    "PGM to 1023, plain": pnm(u16(S, 1023), 1023, plain=True),
    "PFM": pfm(S),
    "PFM to 255": pfm(S * 255),
}
COLOURS: dict[str, bytes] = {
    "16 bits": tiff(u16(RGB)),
    "16 bits, big-endian": tiff(u16(RGB), big=True),
    "12 in 16": tiff(u16(RGB, 4095)),
    "12 in 16, big-endian": tiff(u16(RGB, 4095), big=True),
    "12 in 16, compressed": tiff(u16(RGB, 4095), deflate=True),
    "12 in 16, compressed, big-endian": tiff(u16(RGB, 4095), deflate=True, big=True),
    "12 in 16, in planes": tiff(u16(RGB, 4095), planar=True),
    "16 bits in planes, big-endian": tiff(u16(RGB), planar=True, big=True),
    "with opacity": tiff(_opaque(u16(RGB), 65535), tags=[(338, 3, (2,))]),
    "12 in 16 with opacity": tiff(_opaque(u16(RGB, 4095), 4095), tags=[(338, 3, (2,))]),
    "12 in 16 with a fourth channel": tiff(_opaque(u16(RGB, 4095), 9), tags=[(338, 3, (0,))]),
    "12 in 16, multiplied by the opacity": tiff(_opaque(u16(RGB * 0.5, 4095), 2048), tags=[(338, 3, (1,))]),
    "PNG": png(u16(RGB)),
    "PNG, 12 in 16": png(u16(RGB, 4095)),
    "PNG, 12 bits are significant": png(u16(RGB, 4095), chunks=[(b"sBIT", b"\x0c\x0c\x0c")]),
    "PNG with opacity, 12 in 16": png(_opaque(u16(RGB, 4095), 4095)),
    "PPM to 65535": pnm(u16(RGB), 65535),
    "PPM to 4095": pnm(u16(RGB, 4095), 4095),
}


def _pixels(path: Path, content: bytes, depth: Depth | None = None) -> NDArray:
    path.write_bytes(content)
    return np.asarray(load_image(path, depth=depth)).astype(int)


def _expected(scene: NDArray) -> NDArray:
    levels = np.rint(scene * 255).astype(int)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=-1)


@pytest.mark.parametrize("name", GREY)
def test_grey_in_every_form_is_one_picture(tmp_path: Path, name: str) -> None:
    found = _pixels(tmp_path / "deep.img", GREY[name])
    assert np.abs(found - _expected(S)).max() <= 1
    assert (found[0, 0, 0], found[0, 1, 0]) == (0, 255)


@pytest.mark.parametrize("name", COLOURS)
def test_colours_in_every_form_are_one_picture(tmp_path: Path, name: str) -> None:
    """But for what is see-through: half of white shines through there."""
    expected = _expected(RGB)
    if "multiplied" in name:
        expected = (expected + 255) // 2
    assert np.abs(_pixels(tmp_path / "deep.img", COLOURS[name]) - expected).max() <= 1


@pytest.mark.parametrize("scene", [S, RGB])
@pytest.mark.parametrize("deflate", [False, True])
def test_deep_images_come_out_upright_and_reduced(tmp_path: Path, scene: NDArray, deflate: bool) -> None:
    content = tiff(u16(scene, 4095), deflate=deflate, tags=[(274, 3, (6,))])
    assert np.abs(_pixels(tmp_path / "turned.tif", content) - np.rot90(_expected(scene), -1)).max() <= 1
    assert load_image(tmp_path / "turned.tif", max_side=15).size == (10, 15)


def test_the_given_files_are_one_picture() -> None:
    if not CASES.is_dir():
        pytest.skip(f"the given files are not at {CASES}")
    pictures = {path.name: np.asarray(load_image(path)).astype(int) for path in sorted(CASES.iterdir())}
    reference = pictures["a-16bit.tif"]
    assert len(pictures) == 8 and (reference.min(), reference.max()) == (0, 255)
    assert {name: np.abs(picture - reference).max() for name, picture in pictures.items()} == pytest.approx(
        dict.fromkeys(pictures, 0), abs=1
    )


@pytest.mark.parametrize(
    "content",
    [
        tiff(u16(S / 16, 4095)),
        tiff(u16(1 - S / 16, 4095), photometric=0),
        tiff(u16(S / 16, 4095).astype(np.uint32)),
        tiff((S / 16 * 4095).astype(np.int16), sample_format=2),
        tiff((S / 16).astype(np.float32), sample_format=3),
        png(u16(S / 16, 4095)),
        tiff(u16(S / 16, 4095), bits=12),
        pnm(u16(S / 16, 4095), 4095),
        pnm(u16(S / 16, 65535), 65535),
    ],
)
def test_night_stays_night_among_other_images(tmp_path: Path, content: bytes) -> None:
    depth = Depth(whole=(0.0, 4095.0), fractions=(0.0, 1.0))
    assert np.abs(_pixels(tmp_path / "night.img", content, depth) - _expected(S / 16)).max() <= 1


@pytest.mark.parametrize(
    "content",
    [
        tiff(u16(S / 16, 4095), bits=12),
        tiff(u16(S / 16, 4095), tags=[(281, 3, (4095,))]),
        png(u16(S / 16, 4095), chunks=[(b"sBIT", b"\x0c")]),
        pnm(u16(S / 16, 4095), 4095),
        tiff((S / 16).astype(np.float32), sample_format=3),
    ],
)
def test_night_stays_night_where_the_file_declares_white(tmp_path: Path, content: bytes) -> None:
    assert np.abs(_pixels(tmp_path / "night.img", content) - _expected(S / 16)).max() <= 1


def test_what_lies_outside_of_the_data_set_is_black_or_white(tmp_path: Path) -> None:
    values = np.array([[0, 2048, 4095, 5000, 65535]], np.uint16)
    found = _pixels(tmp_path / "a.tif", tiff(values), Depth(whole=(0.0, 4095.0)))
    assert found[0, :, 0].tolist() == [0, 128, 255, 255, 255]


def test_opacity_and_the_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    colours = np.array([[[4095, 0, 0], [0, 4095, 0], [1, 2, 3]]], np.uint16)
    see_through = np.concatenate([colours, np.array([[[4095], [0], [2048]]], np.uint16)], axis=-1)
    assert _pixels(tmp_path / "a.png", png(see_through))[0].tolist() == [[255, 0, 0], [255] * 3, [127] * 3]
    named = png(colours, chunks=[(b"tRNS", struct.pack(">3H", 1, 2, 3))])
    assert _pixels(tmp_path / "b.png", named)[0].tolist() == [[255, 0, 0], [0, 255, 0], [255] * 3]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (tiff(S.astype(np.float64), sample_format=3), "TIFF of a kind that is not read"),
        (tiff(u16(S), photometric=0, big=True), "TIFF of a kind that is not read"),
        (tiff(u16(S).astype(np.uint32), big=True), "TIFF of a kind that is not read"),
        (tiff(RGB.astype(np.float32), sample_format=3), "TIFF of a kind that is not read"),
        (tiff(u16(RGB), planar=True, deflate=True), "separate planes"),
        (tiff(S.astype(np.float32), sample_format=3, planar=True, big=True), "separate plane"),
    ],
)
def test_what_would_be_another_picture_is_refused_in_a_line(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "odd.tif").write_bytes(content)
    with pytest.raises(ImageError, match=rf"odd\.tif': .*{fault}.*Convert it") as caught:
        load_image(tmp_path / "odd.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("extent", "levels"),
    [
        (Extent(0, 255), (0, 255)),
        (Extent(3, 256), (0, 1023)),
        (Extent(0, 1024), (0, 4095)),
        (Extent(0, 4096), (0, 16383)),
        (Extent(0, 16384), (0, 65535)),
        (Extent(5, 65536), (5, 65536)),
        (Extent(-1000, 3000), (-1000, 3000)),
        (Extent(-3, 255), (0, 255)),
        (Extent(-70, -70), (-70, -69)),
        (Extent(0, 1.05, True), (0, 1)),
        (Extent(0, 3.0, True), (0, 3)),
        (Extent(0, 20.0, True), (0, 255)),
        (Extent(0, 300.0, True), (0, 1023)),
        (Extent(0, 1e6, True), (0, 1e6)),
        (Extent(is_fraction=True), (0, 1)),
    ],
)
def test_levels_are_those_of_the_smallest_depth(extent: Extent, levels: tuple[float, float]) -> None:
    assert extent.levels() == levels
    assert Depth.from_dict(Depth.of([extent]).to_dict()) == Depth.of([extent])


@pytest.mark.parametrize("damaged", [None, 7, {"white": [0, 1]}, {"whole": 5}, {"whole": [1, 1]}, {"whole": ["0", 9]}])
def test_a_damaged_record_is_none(damaged: object) -> None:
    with pytest.raises(ValueError):
        Depth.from_dict(damaged)


def test_images_in_memory_are_read_as_files(tmp_path: Path) -> None:
    night, depth = u16(S / 16, 4095), Depth(whole=(0.0, 4095.0))
    assert np.abs(np.asarray(rgb_image(Image.fromarray(night), depth)).astype(int) - _expected(S / 16)).max() <= 1
    (tmp_path / "a.tif").write_bytes(tiff(u16(1 - S), photometric=0))
    with Image.open(tmp_path / "a.tif") as opened:
        assert rgb_image(opened) == load_image(tmp_path / "a.tif")


def _write(folder: Path, make: Callable[[NDArray], bytes], nights: int = 1) -> Path:
    """Write eight images of two classes, the first of each by day, the last `nights` of each at night."""
    for label in ("crow", "jay"):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            share = 1 / 16 if number >= 4 - nights else 1.0
            scene = _scene(seed=number + 10 * (label == "jay")) * share
            (folder / label / f"{number}.tif").write_bytes(make(scene))
    return folder


def test_a_data_set_has_one_depth_and_check_names_what_uses_little_of_it(tmp_path: Path) -> None:
    root = _write(tmp_path / "photos", lambda scene: tiff(u16(scene, 4095)))
    images, found = with_depth(open_dataset(root))
    assert images.depth == found.depth == Depth(whole=(0.0, 4095.0))
    assert "8 images of more than 8 bits" in found.line() and "12 bits (0…4095)" in found.line()
    day, *_, night = (np.asarray(sample.picture()) for sample in images.samples[:4])
    assert (day.max(), night.max()) == (255, 16)
    report = check(root)
    assert [(finding.kind, finding.name) for finding in report.findings] == [
        ("narrow-range", "crow/3.tif"),
        ("narrow-range", "jay/3.tif"),
    ]
    assert "Uses 6.3% of the range" in report.findings[0].detail
    assert found.line() in report.table() and report.to_dict()["depth"] == found.line()


def test_check_tells_dark_images_apart(tmp_path: Path) -> None:
    """At a range of 16 bits they would be the same black picture."""
    root = _write(tmp_path / "photos", lambda scene: tiff(u16(scene, 60)), nights=0)
    assert check(root).counts["mislabelled"] == 0


def test_the_largest_value_of_test_images_is_not_looked_at(tmp_path: Path) -> None:
    _write(tmp_path / "train", lambda scene: tiff(u16(scene, 1023)))
    _write(tmp_path / "test", lambda scene: tiff(u16(scene, 4095)))
    images, _ = with_depth(open_dataset(tmp_path))
    assert {sample.depth for sample in images.samples} == {Depth(whole=(0.0, 1023.0))}


def test_8_bit_images_and_declared_ones_leave_nothing_to_say(tmp_path: Path) -> None:
    root = _write(tmp_path / "photos", lambda scene: pnm(u16(scene, 4095), 4095), nights=0)
    Image.fromarray(np.rint(RGB * 255).astype(np.uint8)).save(root / "jay" / "4.png")
    images, found = with_depth(opened := open_dataset(root))
    assert images is opened and found.line() == "" and not images.depth
    assert check(root).findings == ()


def test_deep_images_of_a_list_share_their_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path))
    night = Image.fromarray(u16(_scene(3) / 16, 4095))
    pairs = [(Image.fromarray(u16(S, 4095)), "crow"), (night, "crow"), (Image.new("RGB", (20, 20)), "jay")]
    images, _ = with_depth(dataset_of(pairs))
    assert images.depth == Depth(whole=(0.0, 4095.0))
    assert [int(np.asarray(sample.picture()).max()) for sample in images.samples] == [255, 16, 0]


def test_models_of_earlier_versions_go_on_as_they_learnt(tmp_path: Path) -> None:
    found = _pixels(tmp_path / "a.tif", tiff(u16(S, 4095)), LEGACY)
    assert np.abs(found - _expected(S * 4095 / 65535)).max() <= 1
