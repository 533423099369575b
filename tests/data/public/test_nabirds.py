from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.check import check
from tlaam.data.open import open_dataset
from tlaam.data.public.cub import is_cub
from tlaam.data.public.nabirds import is_nabirds, read_nabirds
from tlaam.errors import DataError

A, B, C, D = (f"0000139e-21dc-4d0c-bfe1-4cae3c85c82{digit}" for digit in "9abc")
LISTS = {
    "images.txt": f"{A} 0817/{A}.jpg\n{B} 0295/{B}.jpg\n{C} 0817/{C}.jpg\n{D} 0296/{D}.jpg\n",
    "image_class_labels.txt": f"{A} 817\n{B} 295\n{C} 817\n{D} 296\n",
    "train_test_split.txt": f"{A} 1\n{B} 1\n{C} 0\n{D} 1\n",
    "bounding_boxes.txt": f"{A} 10 20 30 40\n{B} 0 0 5 6\n",
    "classes.txt": "0 Birds\n22 Ducks, Geese, and Swans\n295 Mallard\n296 Mallard\n817 Oak Titmouse\n818 Mallard\n",
    "hierarchy.txt": "22 0\n295 22\n296 22\n817 0\n818 0\n",
    "parts/parts.txt": "0 bill\n1 crown\n",
    "parts/part_locs.txt": f"{A} 0 12 21 1\n{A} 1 -1 -1 0\n{B} 0 -1 -1 0\n{C} 1 7 8 1\n{C} 0 5 6 1\nleft-out bad\n",
}


def _write(root: Path, changes: dict[str, str | None] | None = None) -> Path:
    (root / "parts").mkdir(parents=True)
    for name, text in (LISTS | (changes or {})).items():
        if text is not None:
            (root / name).write_text(text)
    return root


def test_the_lists(tmp_path: Path) -> None:
    root = _write(tmp_path / "nabirds")
    images = read_nabirds(root)
    assert (images.name, images.kind, images.root) == ("nabirds", "nabirds", root)
    # Classes that no image has are left out, and what two of the others share is told apart.
    assert images.classes == ("Mallard (295)", "Mallard (296)", "Oak Titmouse")
    assert [(s.name, s.label, s.split, s.box, s.keypoints) for s in images.samples] == [
        (f"images/0817/{A}.jpg", 2, "train", (10, 20, 40, 60), ((12, 21),)),
        (f"images/0295/{B}.jpg", 0, "train", (0, 0, 5, 6), ()),
        (f"images/0817/{C}.jpg", 2, "test", None, ((7, 8), (5, 6))),
        (f"images/0296/{D}.jpg", 1, "train", None, None),
    ]
    assert all(s.path == root / s.name for s in images.samples)
    assert read_nabirds(tmp_path) == images


def test_a_class_has_the_same_name_in_a_subset(tmp_path: Path) -> None:
    root = _write(tmp_path, {"images.txt": f"{A} 0817/{A}.jpg\n{B} 0295/{B}.jpg\n"})
    assert read_nabirds(root).classes == ("Mallard (295)", "Oak Titmouse")


def test_it_is_told_from_cub(tmp_path: Path) -> None:
    whole = _write(tmp_path / "whole" / "nabirds")
    by_ids = _write(tmp_path / "by_ids", {"hierarchy.txt": None})
    by_hierarchy = _write(tmp_path / "by_hierarchy", {"images.txt": None})
    for root in (whole, whole.parent, by_ids):
        assert is_nabirds(root)
        assert open_dataset(root).kind == "nabirds"
    with pytest.raises(DataError, match=r"looks like NABirds, but 'images.txt' is missing"):
        open_dataset(by_hierarchy)
    cub = _write(
        tmp_path / "cub", {"hierarchy.txt": None, "images.txt": "1 001.Black-footed-long-winged-Albatross/a.jpg\n"}
    )
    assert is_cub(cub) and not is_nabirds(cub)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"classes.txt": None}, "looks like NABirds, but 'classes.txt' is missing"),
        ({"image_class_labels.txt": f"{A} 817\n"}, f"has no line for image {B} of images.txt line 2"),
        ({"image_class_labels.txt": f"{A} x\n"}, "image_class_labels.txt' line 1: 'x' is not an id"),
        ({"classes.txt": "817 Oak Titmouse\n"}, "has no line for class 295 of image_class_labels.txt line 2"),
        ({"images.txt": f"{A} a.jpg\n{A} b.jpg\n"}, f"images.txt' line 2: id {A} is there already, in line 1"),
        ({"bounding_boxes.txt": f"{A} 1 2 0 4\n"}, "bounding_boxes.txt' line 1: .*no positive"),
        ({"train_test_split.txt": f"{A} 1\n{B} 0\n{C} 0\n{D} 1\n"}, r"Class 'Mallard \(295\)'.*no training image"),
        ({"parts/part_locs.txt": f"{A} 0 12 21\n"}, "part_locs.txt' line 1: '.* 0 12 21' is not of the form"),
        ({"parts/part_locs.txt": f"{A} 0 12 21 1\n{B} 0 1 1 2\n"}, "part_locs.txt' line 2: .* is not of the form"),
        ({"parts/part_locs.txt": f"{A} 0 nan 21 1\n"}, "part_locs.txt' line 1: .* is not of the form"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, changes: dict[str, str | None], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_nabirds(_write(tmp_path, changes))


def test_check(tmp_path: Path) -> None:
    images = open_dataset(_write(tmp_path, {"bounding_boxes.txt": None}))
    for seed, sample in enumerate(images.samples):
        sample.path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(sample.path)
    report = check(tmp_path)
    assert report.findings == () and report.refusal is None
