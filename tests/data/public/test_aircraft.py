from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.check import check
from tlaam.data.open import open_dataset
from tlaam.data.public.aircraft import BANNER, CLASS_LISTS, Level, is_aircraft, read_aircraft
from tlaam.errors import DataError

LISTS = {
    "variants": "707-320\nA B\n747-100\n",
    "families": "Boeing 707\nA\n",
    "manufacturers": "Boeing\nA\n",
    "images_box": "0001 0 9 29 39\n0003 5 5 5 5\n0099 bad\n",
    "images_variant_train": "0001 A B\n0002 707-320\n",
    "images_variant_val": "0003 A B\n",
    "images_variant_test": "0004 707-320\n",
    "images_family_train": "0001 A\n0002 Boeing 707\n",
    "images_family_val": "0003 A\n",
    "images_family_test": "0004 Boeing 707\n",
}


def _write(root: Path, **changes: str | None) -> Path:
    (root / "data").mkdir(parents=True)
    for name, text in (LISTS | changes).items():
        if text is not None:
            (root / "data" / f"{name}.txt").write_text(text)
    return root


def test_a_subset(tmp_path: Path) -> None:
    root = _write(tmp_path / "fgvc-aircraft-2013b")
    images = read_aircraft(root)
    assert (images.name, images.kind, images.root, images.option) == ("fgvc-aircraft-2013b", "aircraft", root, "")
    assert images.classes == ("707-320", "A B")  # in the official order; 747-100 has no image
    assert [(s.name, s.label, s.split, s.box) for s in images.samples] == [
        ("data/images/0001.jpg", 1, "train", (0, 9, 30, 40)),
        ("data/images/0002.jpg", 0, "train", None),
        ("data/images/0003.jpg", 1, "val", (5, 5, 6, 6)),
        ("data/images/0004.jpg", 0, "test", None),
    ]
    assert all(s.banner == BANNER == 20 and s.path == root / s.name and s.keypoints is None for s in images.samples)
    assert read_aircraft(tmp_path) == images
    assert is_aircraft(root) and is_aircraft(tmp_path) and not is_aircraft(tmp_path / "absent")


def test_levels_are_chosen_behind_the_path(tmp_path: Path) -> None:
    root = _write(tmp_path / "fgvc-aircraft-2013b")
    for source in (root, tmp_path, f"{root}:level=variant"):
        assert open_dataset(source) == read_aircraft(root)
    for source in (f"{root}:level=family", f"{tmp_path}:level=family"):
        images = open_dataset(source)
        assert images == read_aircraft(root, level="family")
        assert (images.name, images.option) == ("fgvc-aircraft-2013b-family", "level=family")
        assert images.classes == ("Boeing 707", "A")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"variants": None}, "looks like FGVC-Aircraft, but 'variants.txt' is missing"),
        ({"images_variant_val": None}, "'images_variant_val.txt' is missing"),
        ({"images_variant_test": "\n"}, "images_variant_test.txt' is empty"),
        ({"images_variant_train": "0001 A B\n0002\n"}, "images_variant_train.txt' line 2: '0002' is not of the form"),
        ({"images_variant_train": "0001 A B\n0002 A C\n"}, "line 2: 'A C' is none of the classes in 'variants.txt'"),
        ({"images_variant_train": "0001 A B\n0001 A B\n"}, "line 2: id 0001 is there already, in line 1"),
        (
            {"images_variant_test": "0004 707-320\n0001 A B\n"},
            "images_variant_test.txt' line 2: image '0001' is listed already, in .*images_variant_train.txt' line 1",
        ),
        ({"images_box": "0001 0 9 29\n"}, "images_box.txt' line 1: '0 9 29' is not a box 'xmin ymin xmax ymax'"),
        ({"images_box": "\n0002 5 9 4 9\n"}, "images_box.txt' line 2: .*no positive"),
        ({"images_variant_test": "0004 747-100\n"}, "Class '747-100'.*no training image"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, changes: dict[str, str | None], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_aircraft(_write(tmp_path, **changes))


def test_leniently_impossible_boxes_and_untrained_classes_are_kept(tmp_path: Path) -> None:
    root = _write(tmp_path, images_box="0001 5 9 2 9\n0002 1 2 3\n", images_variant_test="0004 747-100\n")
    images = read_aircraft(root, strict=False)
    assert images.samples[0].box == (5, 9, 3, 10)
    assert images.samples[1].box is not None and all(map(math.isnan, images.samples[1].box))
    assert images.classes == ("707-320", "A B", "747-100")


def test_checking_sees_the_pictures_without_their_banners(tmp_path: Path) -> None:
    root = _write(tmp_path, images_box="0001 0 9 29 59\n0002 0 0 9 9\n0003 0 0 30 9\n0004 0 0 9 9\n")
    (root / "data" / "images").mkdir()
    for number in range(1, 5):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "data" / "images" / f"000{number}.jpg")
    report = check(root)
    assert [(finding.kind, finding.name) for finding in report.findings] == [("box-outside", "data/images/0003.jpg")]
    assert "30 x 40 image" in report.findings[0].detail
    assert report.refusal is None and report.images == {"train": 2, "val": 1, "test": 1}


@pytest.mark.parametrize(("level", "classes"), [("variant", 100), ("family", 70), ("manufacturer", 30)])
def test_real_metadata_as_torchvision_reads_it(shared_data: Path, level: Level, classes: int) -> None:
    from torchvision.datasets import FGVCAircraft

    formats = shared_data / "formats"
    images = open_dataset(f"{formats / 'fgvc-aircraft-2013b'}:level={level}")
    assert len(images.classes) == classes
    assert [len(images.split(split)) for split in ("train", "val", "test")] == [3334, 3333, 3333]
    for split in ("train", "val", "test"):
        reference = FGVCAircraft(formats, split=split, annotation_level=level)
        assert list(images.classes) == reference.classes
        ours = [(str(sample.path), sample.label) for sample in images.split(split)]
        assert ours == list(zip(reference._image_files, reference._labels, strict=True))


def test_real_boxes(shared_data: Path) -> None:
    images = read_aircraft(shared_data / "formats" / "fgvc-aircraft-2013b")
    boxes = {sample.path.stem: sample.box for sample in images.samples}
    assert boxes["1025794"] == (3, 144, 999, 432)
    assert boxes["1530788"] == (0, 0, 1024, 686)
    assert all(box is not None and 0 <= box[0] < box[2] and 0 <= box[1] < box[3] for box in boxes.values())


def test_every_level_has_its_list(shared_data: Path) -> None:
    assert all((shared_data / "formats/fgvc-aircraft-2013b/data" / name).is_file() for name in CLASS_LISTS.values())
