from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.check import CheckReport, check, check_images, find_unreadable
from tlaam.data.sample import Box, LabelledImages, Mask, Sample, Split
from tlaam.errors import ConfigError, DataError


class _Builder:
    """Collects samples whose files it writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.samples: list[Sample] = []

    def add(self, name: str, label: int = 0, split: Split = "train", box: Box | None = None) -> Path:
        self.samples.append(Sample(str(self.root / name), name, label, split, box))
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
    assert report.findings[1].detail == "It is missing."


def test_find_unreadable_agrees(data: _Builder) -> None:
    _spoil(data)
    images = data.done()
    found = find_unreadable(images, workers=2)
    assert tuple(sample for sample, _ in found) == check_images(images).unreadable
    assert all(fault.startswith(f"'{sample.name}': ") for sample, fault in found)
    assert dict((sample.name, fault) for sample, fault in found)["missing.jpg"] == "'missing.jpg': it is missing"


def test_class_without_training_image(data: _Builder) -> None:
    data.image("t.png", 2, "test")
    assert _found(check_images(data.done(("wren", "finch", "crow")))) == [("empty", "crow")]


def test_images_to_measure_on_need_no_training_images(data: _Builder) -> None:
    data.samples.clear()
    data.image("a.png", 0, "test")
    data.image("b.png", 1, "test")
    assert check_images(data.done()).findings == ()
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
    assert _found(report) == [
        ("duplicate-across-split", "t.png"),
        ("duplicate-across-split", "v.png"),
        ("copy", "same_split.png"),
    ]
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


def test_of_images_with_a_banner_only_the_picture_counts(data: _Builder) -> None:
    boxes = {
        "picture": (0, 0, 32, 40),
        "into_banner": (0, 0, 32, 60),
        "below": (0, 0, 32, 61),
        "in_banner": (0, 45, 9, 50),
    }
    for name, box in boxes.items():
        data.image(f"{name}.png", 0, "test", box, height=60)
    data.image("low.png", 0, "test", (0, 0, 9, 9), height=20)
    pixels = np.asarray(Image.open(data.root / "picture.png")).copy()
    pixels[-20:] = 0
    Image.fromarray(pixels).save(data.add("other_banner.png", 1, "test", (0, 0, 32, 40)))
    data.samples = [replace(sample, banner=20 if sample.split == "test" else 0) for sample in data.samples]
    report = check_images(data.done(), workers=1)
    assert _found(report) == [
        ("unreadable", "low.png"),
        ("mislabelled", "other_banner.png"),
        ("box-outside", "below.png"),
        ("box-outside", "in_banner.png"),
    ]
    assert "32 x 40 image" in report.findings[2].detail
    assert tuple(sample for sample, _ in find_unreadable(data.done())) == report.unreadable


def test_tiny(data: _Builder) -> None:
    data.image("thin.png", width=200, height=15)
    data.image("enough.png", width=16, height=16)
    assert _found(check_images(data.done())) == [("tiny", "thin.png")]


def test_what_there_is_to_measure_with_is_counted(data: _Builder) -> None:
    data.image("boxed.png", box=(0, 0, 9, 9))
    truth = {"keypoints": ((3.0, 4.0),), "mask": Mask(data.root / "m.png", range(1, 2), range(1))}
    data.samples[1:] = [replace(sample, **truth) for sample in data.samples[1:]]
    report = check_images(data.done())
    assert report.to_dict()["truth"] == {"boxes": 1, "parts": 2, "masks": 2}
    assert "  with boxes: 1, part locations: 2, masks: 2" in report.table()


def test_classes_of_unequally_many_images_are_said(data: _Builder) -> None:
    even = check_images(data.done())
    assert not any("--balance" in note for note in even.notes)
    for number in range(4):
        data.image(f"more{number}.png")
    (note,) = check_images(data.done()).notes
    assert note == (
        "'wren' has 5 training images, 'finch' 1: see --balance, which training sets for data as unequal as this. "
        "1 class has only one image."
    )


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
    assert text.endswith("unreadable: and 1 more; --json FILE.json lists all")
    assert "bad3.jpg" in report.table()


@pytest.mark.parametrize("function", [check_images, find_unreadable])
def test_progress_runs_in_the_callers_thread(data: _Builder, function: object) -> None:
    calls: list[tuple[int, int, int]] = []
    function(data.done(), workers=2, progress=lambda done, total: calls.append((done, total, threading.get_ident())))  # type: ignore[operator]
    assert calls == [(1, 2, threading.get_ident()), (2, 2, threading.get_ident())]
    with pytest.raises(ConfigError, match="workers is 0"):
        function(data.done(), workers=0)  # type: ignore[operator]


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


def _draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)


def test_class_folders_with_several_faults(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/wren/1", "train/finch/1", "test/wren/1", "test/crow/1", "val/finch/1")):
        _draw(tmp_path / f"{name}.png", seed)
    (tmp_path / "train" / "finch" / "2.jpg").write_text("no image")
    for empty in ("train/owl", "train/gull", "test/finch", "val/wren"):
        (tmp_path / empty).mkdir()
    report = check(tmp_path)
    assert _found(report) == [
        ("unreadable", "train/finch/2.jpg"),
        ("empty", "crow"),
        ("empty", "gull"),
        ("empty", "owl"),
        ("empty", "val/wren"),
        ("empty", "test/finch"),
    ]
    assert report.findings[1].detail == "This class has no training image."
    assert report.findings[2].detail == "This class has no image."
    assert report.refusal is not None and "gull" in report.refusal
    assert report.table().endswith(f"Refused for training as it is: {report.refusal}")
    assert report.to_dict()["refusal"] == report.refusal


def test_a_manifest_with_several_faults(tmp_path: Path) -> None:
    for seed, name in enumerate("abcd"):
        _draw(tmp_path / f"{name}.png", seed)
    (tmp_path / "e.png").write_bytes(b"")
    rows = [
        "a.png,x,train,9,2,5,4",
        "b.png,y,train,1,2,three,4",
        "c.png,y,train,0,0,99,4",
        "d.png,x,train,0,0,9,9",
        "d.png,y,test,0,0,9,9",
        "d.png,x,train,0,0,8,8",
        "e.png,z,train,7,7,1,1",
    ]
    (tmp_path / "m.csv").write_text("image,label,split,x_min,y_min,x_max,y_max\n" + "\n".join(rows))
    report = check(tmp_path / "m.csv")
    assert _found(report) == [
        ("empty", "e.png"),
        ("mislabelled", "d.png"),
        ("mislabelled", "d.png"),
        ("duplicate-across-split", "d.png"),
        ("box-outside", "a.png"),
        ("box-outside", "b.png"),
        ("box-outside", "c.png"),
        ("box-outside", "e.png"),
    ]
    details = [finding.detail for finding in report.findings]
    assert "labels 'x' and 'y'" in details[1] and "[0, 0, 9, 9] and [0, 0, 8, 8]" in details[2]
    assert "inside out" in details[4] and "not four numbers" in details[5] and "32 x 24" in details[6]
    assert report.refusal is not None and "line 2" in report.refusal


def test_what_training_refuses_is_never_called_sound(tmp_path: Path) -> None:
    _draw(tmp_path / "only" / "1.png", 0)
    report = check(tmp_path, workers=1)
    assert report.findings == () and report.refusal is not None and "only one class" in report.refusal
    _draw(tmp_path / "other" / "1.png", 1)
    assert check(tmp_path).refusal is None


@pytest.mark.parametrize("split", ["val", "test"])
def test_without_training_images_training_is_refused(tmp_path: Path, split: str) -> None:
    _draw(tmp_path / split / "wren" / "1.png", 0)
    _draw(tmp_path / split / "finch" / "1.png", 1)
    report = check(tmp_path)
    assert report.findings == ()
    assert report.refusal == f"'{tmp_path}' holds no training images, only {split}."


@pytest.mark.usefixtures("without_heif")
def test_pictures_of_a_type_that_is_not_read(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/wren/1.png", "train/finch/1.png")):
        _draw(tmp_path / name, seed)
    for name in ("wren/2.HEIC", "wren/deep/3.heic", "wren/4.CR2", "wren/.5.heic", "wren/notes.txt", "finch/2.heic"):
        (tmp_path / "train" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / name).write_bytes(b"x")
    report = check(tmp_path)
    assert _found(report) == [("unsupported", "train/finch"), ("unsupported", "train/wren")]
    install = ", or install what reads HEIC (pip install '.[heif]' in a copy of tlaam's repository)."
    assert [finding.detail for finding in report.findings] == [
        f"Not read: 1 file of type .heic. Convert it to JPEG or PNG{install}",
        f"Not read: 1 file of type .cr2 and 2 files of type .heic. Convert them to JPEG or PNG{install}",
    ]
    assert report.counts["unsupported"] == 2 and report.refusal is None
    assert report.images["train"] == 2


def test_where_there_is_nothing_to_list_the_fault_is_raised(tmp_path: Path) -> None:
    for source, fault in ((tmp_path / "absent", "no file or folder"), (tmp_path, "expected one of")):
        with pytest.raises(DataError, match=fault):
            check(source)


def test_real_birds(shared_data: Path) -> None:
    from tlaam.data.public.cub import read_cub

    report = check_images(read_cub(shared_data / "cub10"))
    assert report.images == {"train": 300, "val": 0, "test": 243}
    assert report.unreadable == ()
    assert report.counts["box-outside"] == report.counts["boxless"] == 0


def test_names_cannot_break_or_colour_the_lines_of_the_table(tmp_path: Path) -> None:
    for name in ("crow", "jay"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), (len(name), 0, 0)).save(tmp_path / name / "a.png")
    (tmp_path / "crow" / "b\nrefused: nothing\x1b[2J.png").write_bytes(b"no image")
    table = check(tmp_path).table()
    assert "\x1b" not in table
    assert "unreadable: crow/b\\nrefused: nothing\\x1b[2J.png: " in table
