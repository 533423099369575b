"""YOLO's folders: of detection with text files, of classification as class folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_files import PHOTOS, photographs, read, said, written

from tlaam.data.open import open_dataset
from tlaam.errors import DataError

LINES = {
    "crow1": "0 0.5 0.5 0.25 0.5\n",
    "crow2": "0 0.5 0.5 1 1\n",
    "jay1": "1 0.25 0.5 0.5 0.2\n",
    "jay2": "1 0.5 0.5 0.1 0.1\n",
}
YAML = "path: ../datasets/birds\ntrain: images\nval: images\nnames:\n  0: crow\n  1: jay\n"


def flat(root: Path, names: str | None = YAML) -> Path:
    photographs(root / "images")
    for stem, line in LINES.items():
        written(root / "labels" / f"{stem}.txt", line)
    if names is not None:
        written(root / "data.yaml", names)
    return root


def test_boxes_are_shares_around_their_middle(tmp_path: Path) -> None:
    for path in (flat(tmp_path / "birds"), tmp_path / "birds" / "data.yaml"):
        images = open_dataset(path)
        assert images.kind == "yolo" and images.classes == ("crow", "jay")
        assert read(path)["images/crow1.jpg"] == ("crow", "train", (15, 7.5, 25, 22.5))
        assert read(path)["images/jay1.jpg"] == ("jay", "train", pytest.approx((0, 12, 20, 18)))
        assert said(images, "names 'images' as val, too; its images are for training alone")


def test_several_classes_in_an_image_and_crops(tmp_path: Path) -> None:
    root = flat(tmp_path)
    written(root / "labels" / "crow1.txt", LINES["crow1"] + "1 0.1 0.1 0.1 0.1\n")
    with pytest.raises(DataError, match=r"'images/crow1.jpg' \('crow', 'jay'\)\. .*:crops=1'"):
        open_dataset(root)
    crops = open_dataset(f"{root}:crops=1").samples
    assert [s.window for s in crops[:3]] == [(15, 7, 25, 23), (2, 1, 6, 5), (0, 0, 40, 30)]
    assert crops[0].group == crops[1].group == "images/crow1.jpg" and crops[2].group is None


@pytest.mark.parametrize("split_first", [True, False])
def test_splits_above_and_below(tmp_path: Path, split_first: bool) -> None:
    for split, stems in {"train": ("crow1", "jay1"), "valid": ("crow2", "jay2")}.items():
        for stem in stems:
            pictures, labels = (
                f"{split}/{name}" if split_first else f"{name}/{split}" for name in ("images", "labels")
            )
            photographs(tmp_path / pictures, [f"{stem}.jpg"])
            written(tmp_path / labels / f"{stem}.txt", LINES[stem])
    written(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['crow', 'jay']\n")
    found = read(tmp_path)
    assert {name.rpartition("/")[2]: split for name, (_, split, _) in found.items()} == {
        "crow1.jpg": "train", "jay1.jpg": "train", "crow2.jpg": "val", "jay2.jpg": "val",
    }  # fmt: skip


def test_splits_by_the_folders_that_the_yaml_file_names(tmp_path: Path) -> None:
    for part, stems in {"part1": ("crow1", "jay1"), "part2": ("crow2", "jay2")}.items():
        for stem in stems:
            photographs(tmp_path / "images" / part, [f"{stem}.jpg"])
            written(tmp_path / "labels" / part / f"{stem}.txt", LINES[stem])
    written(tmp_path / "data.yaml", "train: images/part1\nval: images/part2\nnames: [crow, jay]\n")
    assert read(tmp_path)["images/part2/jay2.jpg"][:2] == ("jay", "val")
    assert read(tmp_path)["images/part1/jay1.jpg"][:2] == ("jay", "train")


def test_the_folder_of_darknet_and_lists_of_names(tmp_path: Path) -> None:
    photographs(tmp_path / "obj_train_data")
    for stem, line in LINES.items():
        written(tmp_path / "obj_train_data" / f"{stem}.txt", line)
    written(tmp_path / "obj.names", "crow\njay\n")
    assert read(tmp_path)["obj_train_data/crow1.jpg"] == ("crow", "train", (15, 7.5, 25, 22.5))
    flat(tmp_path / "other", None)
    written(tmp_path / "other" / "classes.txt", "crow\njay\n")
    assert read(tmp_path / "other")["images/jay2.jpg"][0] == "jay"


def test_images_without_labels_and_labels_without_images_are_said(tmp_path: Path) -> None:
    root = flat(tmp_path)
    photographs(root / "images", ["empty.jpg", "none.jpg"])
    written(root / "labels" / "empty.txt", "\n")
    written(root / "labels" / "stray.txt", LINES["jay1"])
    images = open_dataset(root)
    assert len(images.samples) == 4 and said(images, "Left out: 2 images without a label.")
    assert said(images, "1 text files of labels without an image, such as 'stray.txt'")


def test_polygons_have_their_extent(tmp_path: Path) -> None:
    root = flat(tmp_path)
    written(root / "labels" / "crow1.txt", "0 0.25 0.5 0.75 0.4 0.5 0.9\n")
    assert read(root)["images/crow1.jpg"][2] == (10, 12, 30, 27)


@pytest.mark.parametrize(("line", "fault"), [
    ("7 0.5 0.5 0.1 0.1", "line 2: class '7' is none of the 2"),
    ("crow 0.5 0.5 0.1 0.1", "line 2: class 'crow'"),
    ("0 0.5 0.5 0.1", "line 2: it is no class with x, y"),
    ("0 0.5 x 0.1 0.1", "line 2: it is no class with x, y"),
    ("0 0.5 0.5 0 0.1", "no positive"),
    ("0 0.5 nan 0.1 0.1", "no positive"),
    ("0 200 100 20 20", "outside the image"),
    ("9" * 5000, "class"),
])  # fmt: skip
def test_a_wrong_line_is_refused(tmp_path: Path, line: str, fault: str) -> None:
    written(flat(tmp_path) / "labels" / "crow1.txt", f"{LINES['crow1']}{line}\n")
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path)
    assert fault in str(error.value) and "crow1.txt" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("yaml", "fault"), [
    (None, "nothing names their classes"),
    ("nc: 2\n", "nothing names their classes"),
    ("names: 3\n", "'names' is 3"),
    ("names: [crow, [jay]]\n", "the name of class 1 is a list"),
    ("names: {a: crow}\n", "'names' has the number 'a'"),
    ("names: [crow, crow]\n", "two classes are called 'crow'"),
    ("names: [crow, jay]\ntrain: train.txt\n", "is a list of files"),
    ("names: [crow, jay]\ntrain: {a: b}\n", "'train' is an object"),
    ("names: [crow\n", "is not YAML"),
    ("- 1\n", "holds a list"),
    ("a: &a [*a]\n", "stands for more than"),
])  # fmt: skip
def test_a_wrong_yaml_file_is_refused(tmp_path: Path, yaml: str | None, fault: str) -> None:
    with pytest.raises(DataError) as error:
        open_dataset(flat(tmp_path, yaml))
    assert fault in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_classification_folders_are_class_folders(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        photographs(tmp_path / split, [f"crow/{PHOTOS[0]}", f"jay/{PHOTOS[2]}"])
    written(tmp_path / "data.yaml", "train: train\nval: val\nnames: [crow, jay]\n")
    images = open_dataset(tmp_path)
    assert images.kind == "folder" and images.classes == ("crow", "jay")
    assert {split: len(images.split(split)) for split in ("train", "val", "test")} == {"train": 2, "val": 2, "test": 2}
