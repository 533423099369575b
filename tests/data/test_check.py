from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.check import CheckReport, check_images, find_unreadable
from tlaam.data.sample import Box, LabelledImages, Sample, Split
from tlaam.errors import ConfigError


class _Builder:
    """Collects samples whose files it writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.samples: list[Sample] = []

    def add(self, name: str, label: int = 0, split: Split = "train", box: Box | None = None) -> Path:
        self.samples.append(Sample(self.root / name, name, label, split, box))
        return self.root / name

    def image(
        self,
        name: str,
        label: int = 0,
        split: Split = "train",
        box: Box | None = None,
        seed: int | None = None,
        **size: int,
    ) -> None:
        path = self.add(name, label, split, box)
        seed = len(self.samples) if seed is None else seed
        shape = (size.get("height", 24), size.get("width", 32), 3)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)).save(path)

    def done(self, classes: tuple[str, ...] = ("wren", "finch")) -> LabelledImages:
        return LabelledImages("birds", self.root, "folder", classes, tuple(self.samples))


@pytest.fixture
def data(tmp_path: Path) -> _Builder:
    builder = _Builder(tmp_path)
    builder.image("good_wren.png", 0)
    builder.image("good_finch.png", 1)
    return builder


def _found(report: CheckReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.name) for finding in report.findings]


def test_a_sound_data_set(data: _Builder) -> None:
    data.image("t.png", 0, "test")
    report = check_images(data.done())
    assert report.findings == report.unreadable == ()
    assert set(report.counts.values()) == {0}
    assert report.images == {"train": 2, "val": 0, "test": 1}


def _spoil(data: _Builder) -> None:
    data.add("empty.jpg").write_bytes(b"")
    data.add("text.jpg", 1).write_text("no image")
    data.add("missing.jpg", 1, "test")
    os.mkfifo(data.add("pipe.jpg"))
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3), dtype=np.uint8)
    for name, progressive in (("cut.jpg", False), ("cut_progressive.jpg", True)):
        path = data.add(name)
        Image.fromarray(noise).save(path, progressive=progressive)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])


def test_unreadable_and_empty_files(data: _Builder) -> None:
    _spoil(data)
    report = check_images(data.done(), workers=2)
    assert _found(report) == [
        ("unreadable", "text.jpg"),
        ("unreadable", "missing.jpg"),
        ("unreadable", "pipe.jpg"),
        ("unreadable", "cut.jpg"),
        ("unreadable", "cut_progressive.jpg"),
        ("empty", "empty.jpg"),
    ]
    assert [sample.name for sample in report.unreadable] == [
        "empty.jpg",
        "text.jpg",
        "missing.jpg",
        "pipe.jpg",
        "cut.jpg",
        "cut_progressive.jpg",
    ]
    assert "truncated" in report.findings[3].detail


def test_find_unreadable_agrees(data: _Builder) -> None:
    _spoil(data)
    images = data.done()
    found = find_unreadable(images, workers=2)
    assert tuple(sample for sample, _ in found) == check_images(images).unreadable
    assert all(str(sample.path) in fault for sample, fault in found)


def test_class_without_training_image(data: _Builder) -> None:
    data.image("t.png", 2, "test")
    assert _found(check_images(data.done(("wren", "finch", "crow")))) == [("empty", "crow")]


def test_same_pixels_under_two_labels(data: _Builder) -> None:
    data.image("again.png", 1, seed=1)  # good_wren.png has seed 1
    Image.open(data.root / "again.png").save(data.add("other_bytes.bmp", 1))
    report = check_images(data.done())
    assert _found(report) == [("mislabelled", "again.png"), ("mislabelled", "other_bytes.bmp")]
    assert "good_wren.png" in report.findings[0].detail
    assert "'finch' instead of 'wren'" in report.findings[0].detail


def test_class_names_that_differ_in_case_or_space(data: _Builder) -> None:
    data.image("3.png", 2)
    report = check_images(data.done(("House wren", "finch", "house  Wren ")))
    assert _found(report) == [("mislabelled", "house  Wren ")]
    assert "'House wren'" in report.findings[0].detail


def test_duplicates_across_splits(data: _Builder) -> None:
    data.image("t.png", 0, "test", seed=1)
    data.image("v.png", 1, "val", seed=2)
    data.image("same_split.png", 0, "train", seed=1)
    report = check_images(data.done())
    assert _found(report) == [("duplicate-across-split", "t.png"), ("duplicate-across-split", "v.png")]
    assert report.findings[0].detail == "In test, with the same pixels as good_wren.png in train."


def test_same_bytes_of_another_shape_are_no_duplicate(data: _Builder) -> None:
    for name, size, split in (("a.png", (32, 20), "train"), ("b.png", (20, 32), "test")):
        Image.new("RGB", size, (9, 9, 9)).save(data.add(name, 0, split))  # type: ignore[arg-type]
    assert check_images(data.done()).findings == ()


def test_boxes(data: _Builder) -> None:
    boxes = {
        "whole": (0, 0, 32, 24),
        "left": (-1, 0, 32, 24),
        "right": (0, 0, 32.5, 24),
        "below": (0, 0, 32, 25),
        "inside_out": (20, 2, 10, 20),
        "flat": (2, 5, 10, 5),
        "nan": (float("nan"), 5, 10, 15),
        "none": None,
    }
    for name, box in boxes.items():
        data.image(f"{name}.png", 0, "test", box)
    report = check_images(data.done())
    outside = ["left", "right", "below", "inside_out", "flat", "nan"]
    # The training images have no box, none of them: that is a choice and no fault.
    assert _found(report) == [("boxless", "none.png"), *(("box-outside", f"{name}.png") for name in outside)]
    assert "[-1, 0, 32, 24] does not lie within the 32 x 24 image" in report.findings[1].detail


def test_boxes_are_measured_on_the_upright_image(data: _Builder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(data.add("turned.jpg", box=(0, 0, 20, 40), split="test"), exif=exif)
    assert check_images(data.done()).findings == ()


def test_tiny(data: _Builder) -> None:
    data.image("thin.png", width=200, height=15)
    data.image("enough.png", width=16, height=16)
    assert _found(check_images(data.done())) == [("tiny", "thin.png")]


def test_report_as_json_and_text(data: _Builder) -> None:
    for number in range(4):
        data.add(f"bad{number}.jpg").write_text("x")
    report = check_images(data.done())
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["images"] == {"train": 6, "val": 0, "test": 0}
    assert plain["counts"]["unreadable"] == len(plain["findings"]) == 4
    assert set(plain["findings"][0]) == {"kind", "name", "detail"}
    text = report.table(limit=3)
    assert "birds: 6 images (train 6, val 0, test 0) of 2 classes" in text
    assert "bad2.jpg" in text and "bad3.jpg" not in text
    assert text.endswith("unreadable: and 1 more")
    assert "bad3.jpg" in report.table()


@pytest.mark.parametrize("check", [check_images, find_unreadable])
def test_progress_runs_in_the_callers_thread(data: _Builder, check: object) -> None:
    calls: list[tuple[int, int, int]] = []
    check(data.done(), workers=2, progress=lambda done, total: calls.append((done, total, threading.get_ident())))  # type: ignore[operator]
    assert calls == [(1, 2, threading.get_ident()), (2, 2, threading.get_ident())]
    with pytest.raises(ConfigError, match="workers is 0"):
        check(data.done(), workers=0)  # type: ignore[operator]


def test_more_images_than_one_batch_keep_their_order(data: _Builder) -> None:
    for number in range(300):
        data.add(f"{number}.jpg", number % 2)
    found = find_unreadable(data.done(), workers=4)
    assert [sample.name for sample, _ in found] == [f"{number}.jpg" for number in range(300)]


def test_nothing_is_changed(data: _Builder) -> None:
    _spoil(data)
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.root.iterdir()}
    check_images(data.done())
    assert {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.root.iterdir()} == before


def test_real_birds(shared_data: Path) -> None:
    from tlaam.data.cub import read_cub

    report = check_images(read_cub(shared_data / "cub10"))
    assert report.images == {"train": 300, "val": 0, "test": 243}
    assert report.unreadable == ()
    assert report.counts["box-outside"] == report.counts["boxless"] == 0
