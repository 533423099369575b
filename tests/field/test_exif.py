"""What photographs say of themselves, whatever they say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from cards import exif_of, photograph

from tlaam.data.images import Exif
from tlaam.field.exif import Shot, read_shot


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_time_camera_and_place_are_read(tmp_path: Path, name: str) -> None:
    shot = read_shot(photograph(tmp_path / name, exif=exif_of()))
    # 11° 15' 36" west are 11 + 15/60 + 36/3600 degrees
    assert shot == Shot("2024-05-01T06:07:08.50+02:00", "ACME Trail 2", 48.5, -11.26)


def test_a_heic_photograph_is_read_like_others() -> None:
    pytest.importorskip("pi_heif")
    assert isinstance(read_shot(Path(__file__).parents[1] / "fixtures" / "heic" / "turned.heic"), Shot)


@pytest.mark.parametrize(
    ("inner", "time"),
    [
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "2024:06:31 06:07:08"}, None),  # June has thirty days
        ({0x9003: "    :  :     :  :  "}, None),
        ({0x9003: "2024:05:01 06:07:08\0\0", 0x9291: "5 ", 0x9011: "+99:00"}, "2024-05-01T06:07:08.5"),
        ({0x9003: "2024-05-01 06:07:08", 0x9291: "", 0x9011: "   :  "}, "2024-05-01T06:07:08"),
        ({0x9003: "nonsense", 0x9004: "2020:01:02 03:04:05"}, "2020-01-02T03:04:05"),
    ],
)
def test_a_time_that_is_none_is_left_out(tmp_path: Path, inner: dict[int, str], time: str | None) -> None:
    assert read_shot(photograph(tmp_path / "a.jpg", exif=exif_of(inner=inner))).time == time


@pytest.mark.parametrize(
    "place",
    [
        {9: "V"}, {1: "X"}, {1: b"\xff"}, {1: 5}, {2: (91.0, 0.0, 0.0)}, {4: (11.0, -3.0, 0.0)}, {2: 48.5}, {2: None},
        {2: (float("nan"), 0.0, 0.0)}, {2: (float("inf"), 0.0, 0.0)}, {2: ("a", "b", "c")}, {2: ()},
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_left_out(monkeypatch: pytest.MonkeyPatch, place: dict[int, object]) -> None:
    good = {1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (11.0, 15.0, 36.0)}
    for told, expected in ((good, (48.5, -11.26)), ({**good, **place}, (None, None))):
        monkeypatch.setattr("tlaam.field.exif.load_exif", lambda path, told=told: Exif({}, {}, told))
        shot = read_shot("a.jpg")
        assert (shot.latitude, shot.longitude) == expected


def test_the_name_of_a_camera_is_one_short_line(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "A\ncme\x07", "T" * 500
    camera = read_shot(photograph(tmp_path / "a.jpg", exif=exif)).camera
    assert camera is not None and camera.startswith("A cme TTT") and len(camera) == 100


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\x00\x20Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_a_file_that_is_no_photograph_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_shot(tmp_path / "a.jpg") == read_shot(tmp_path / "missing.jpg") == Shot()


def test_damaged_metadata_cost_nothing_but_themselves(tmp_path: Path) -> None:
    good = photograph(tmp_path / "a.jpg", exif=exif_of()).read_bytes()
    start = good.index(b"Exif\0\0") + 6
    for place in range(start, start + 200, 3):
        (tmp_path / "b.jpg").write_bytes(good[:place] + b"\xff" + good[place + 1 :])
        shot = read_shot(tmp_path / "b.jpg")
        assert shot.latitude is None or -90 <= shot.latitude <= 90
