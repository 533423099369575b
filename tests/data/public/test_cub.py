from __future__ import annotations

import math
from pathlib import Path

import pytest

from tlaam.data.public.cub import is_cub, read_cub
from tlaam.data.sample import Mask
from tlaam.errors import DataError

LISTS = {
    "images.txt": "7 012.Blackbird/a b.jpg\n40 003.Wren/c.jpg\n9 012.Blackbird/d.jpg\n11 003.Wren/e.jpg\n",
    "image_class_labels.txt": "1 1\n7 12\n9 12\n11 3\n40 3\n",
    "train_test_split.txt": "7 1\n9 0\n11 1\n40 0\n",
    "bounding_boxes.txt": "7 10.0 20.0 30.0 40.5\n40 0 0 5 6\n11 1 1 1 1\n99 bad\n",
    "classes.txt": "12 012.Blackbird\n3 003.Wren\n200 200.Unused\n",
}


def _write(root: Path, **changes: str | None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in LISTS.items():
        text = changes.get(name.removesuffix(".txt"), text)
        if text is not None:
            (root / name).write_text(text)
    return root


def test_a_subset_with_gaps_in_its_ids(tmp_path: Path) -> None:
    root = _write(tmp_path / "CUB_200_2011")
    images = read_cub(root)
    assert (images.name, images.kind, images.root) == ("CUB_200_2011", "cub", root)
    assert images.classes == ("003.Wren", "012.Blackbird")
    assert [(s.name, s.label, s.split, s.box) for s in images.samples] == [
        ("images/012.Blackbird/a b.jpg", 1, "train", (10, 20, 40, 60.5)),
        ("images/003.Wren/c.jpg", 0, "test", (0, 0, 5, 6)),
        ("images/012.Blackbird/d.jpg", 1, "test", None),
        ("images/003.Wren/e.jpg", 0, "train", (1, 1, 2, 2)),
    ]
    assert all(sample.path == root / sample.name for sample in images.samples)
    assert read_cub(tmp_path) == images
    assert is_cub(root) and is_cub(tmp_path) and not is_cub(tmp_path / "absent")


def test_boxes_are_optional(tmp_path: Path) -> None:
    assert all(sample.box is None for sample in read_cub(_write(tmp_path, bounding_boxes=None)).samples)


def test_parts_are_optional_and_only_the_visible_ones_count(tmp_path: Path) -> None:
    root = _write(tmp_path)
    assert all(sample.keypoints is None for sample in read_cub(root).samples)
    (root / "parts").mkdir()
    (root / "parts" / "part_locs.txt").write_text(
        "7 1 0.0 0.0 0\n7 2 312.0 182.5 1\n7 3 1 2 1\n40 1 0.0 0.0 0\n99 1 bad\n"
    )
    assert [sample.keypoints for sample in read_cub(root).samples] == [((312, 182.5), (1, 2)), (), None, None]
    (root / "parts" / "part_locs.txt").write_text("7 1 0.0 0.0 0\nx 2 312.0 182.5 1\n")
    with pytest.raises(DataError, match=r"part_locs\.txt' line 2: 'x' is not an id"):
        read_cub(root)


@pytest.mark.parametrize("beside", [False, True])
def test_masks_lie_in_the_folder_or_beside_it(tmp_path: Path, beside: bool) -> None:
    root = _write(tmp_path / "CUB_200_2011")
    without = read_cub(root)
    assert all(sample.mask is None for sample in without.samples)
    mask = (tmp_path if beside else root) / "segmentations" / "012.Blackbird" / "a b.png"
    mask.parent.mkdir(parents=True)
    mask.touch()
    images = read_cub(root)
    assert [sample.mask for sample in images.samples] == [Mask(mask, range(128, 256), range(128)), None, None, None]
    assert images.fingerprint() == without.fingerprint() and read_cub(tmp_path) == images


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"images": None}, "'images.txt' is missing"),
        ({"classes": None}, "'classes.txt' is missing"),
        ({"train_test_split": None}, "'train_test_split.txt' is missing"),
        ({"images": "\n"}, "images.txt' is empty"),
        ({"images": "7 a.jpg\n8\n"}, "images.txt' line 2: '8' is not of the form"),
        ({"images": "x a.jpg\n"}, "images.txt' line 1: 'x' is not an id"),
        ({"images": "7 a.jpg\n9 b.jpg\n7 c.jpg\n"}, "images.txt' line 3: id 7 is there already, in line 1"),
        ({"image_class_labels": "7 12\n"}, "image_class_labels.txt' has no line for image 40 of images.txt line 2"),
        ({"image_class_labels": "7 twelve\n"}, "image_class_labels.txt' line 1: 'twelve' is not an id"),
        ({"classes": "12 012.Blackbird\n"}, "classes.txt' has no line for class 3 of image_class_labels.txt line 5"),
        ({"train_test_split": "7 1\n9 0\n11 1\n"}, "train_test_split.txt' has no line for image 40"),
        ({"train_test_split": "7 1\n9 0\n11 1\n40 train\n"}, "line 4: 'train' is neither 1"),
        ({"bounding_boxes": "40 0 0 5\n"}, "bounding_boxes.txt' line 1: '0 0 5' is not a box"),
        ({"bounding_boxes": "\n9 0 0 5 0\n"}, "bounding_boxes.txt' line 2: .*no positive"),
        ({"bounding_boxes": "9 nan 0 5 1\n"}, "bounding_boxes.txt' line 1: .*finite"),
        ({"train_test_split": "7 1\n9 1\n11 0\n40 0\n"}, "Class '003.Wren'.*no training image"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, changes: dict[str, str | None], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_cub(_write(tmp_path, **changes))


def test_leniently_impossible_boxes_and_untrained_classes_are_kept(tmp_path: Path) -> None:
    boxes = "7 5 6 -2 3\n40 0 0 5\n"
    root = _write(tmp_path, bounding_boxes=boxes, train_test_split="7 1\n9 1\n11 0\n40 0\n")
    images = read_cub(root, strict=False)
    assert images.samples[0].box == (5, 6, 3, 9)
    assert images.samples[1].box is not None and all(map(math.isnan, images.samples[1].box))
    with pytest.raises(DataError, match=r"'classes\.txt' is missing"):
        (root / "classes.txt").unlink()
        read_cub(root, strict=False)


def test_real_subset(shared_data: Path) -> None:
    images = read_cub(shared_data / "cub10")
    assert (len(images.classes), len(images.split("train")), len(images.split("test"))) == (10, 300, 243)
    assert images.samples[0].box == (57, 26, 57 + 311, 26 + 290)
    assert all(sample.path.is_file() and sample.box is not None for sample in images.samples)
    assert all(sample.keypoints is None for sample in images.samples)  # the subset has no list of parts
    assert all(images.classes[sample.label] == sample.path.parent.name for sample in images.samples)


def test_whole_real_metadata(shared_data: Path) -> None:
    images = read_cub(shared_data / "formats" / "CUB_200_2011")
    assert len(images.samples) == 11788
    assert (len(images.classes), len(images.split("train")), len(images.split("test"))) == (200, 5994, 5794)
    assert images.classes[0] == "001.Black_footed_Albatross"
    assert images.samples[0].box == (60, 27, 60 + 325, 27 + 304)
    first = images.samples[0]
    assert first.keypoints is not None and (len(first.keypoints), first.keypoints[0]) == (6, (312, 182))
    assert sum(len(sample.keypoints or ()) for sample in images.samples) == 141407
    for sample in images.samples:
        assert sample.box is not None and sample.keypoints is not None
        x0, y0, x1, y1 = sample.box
        assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in sample.keypoints)
