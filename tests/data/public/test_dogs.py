from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tlaam.data.check import check
from tlaam.data.open import open_dataset
from tlaam.data.public.dogs import is_dogs, read_dogs
from tlaam.errors import DataError

TRAIN = (("n02-Chihuahua/n02_1.jpg", 1), ("n02-Chihuahua/n02_2.jpg", 1), ("n03-Shih-Tzu/n03_1.jpg", 2))
TEST = (("n03-Shih-Tzu/n03_2.jpg", 2),)


def _save(path: Path, rows: Sequence[tuple[str, float]], labels: int | None = None) -> None:
    """Write a list as the official ones are: columns of cells and of numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = np.array([[file] for file, _ in rows], dtype=object)
    stems = np.array([[file.removesuffix(".jpg")] for file, _ in rows], dtype=object)
    numbers = np.array([[float(label)] for _, label in rows][:labels])
    savemat(path, {"file_list": files, "annotation_list": stems, "labels": numbers})


def _annotate(root: Path, stem: str, *boxes: tuple[object, object, object, object]) -> None:
    path = root / "Annotation" / stem
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(
        f"<object><name>dog</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
        "</object>"
        for x0, y0, x1, y1 in boxes
    )
    path.write_text(f"<annotation><size><width>50</width></size>{objects}</annotation>")


def _write(root: Path, train: Sequence[tuple[str, float]] = TRAIN, test: Sequence[tuple[str, float]] = TEST) -> Path:
    _save(root / "train_list.mat", train)
    _save(root / "test_list.mat", test)
    return root


def test_lists_and_annotations(tmp_path: Path) -> None:
    root = _write(tmp_path / "stanford_dogs")
    _annotate(root, "n02-Chihuahua/n02_1", (5, 6, 29, 39))
    _annotate(root, "n02-Chihuahua/n02_2", (5, 6, 29, 39), (0, 8, 9, 49), (7, 7, 8, 8))
    _annotate(root, "n03-Shih-Tzu/n03_1")
    images = read_dogs(root)
    assert (images.name, images.kind, images.root) == ("stanford_dogs", "dogs", root)
    assert images.classes == ("n02-Chihuahua", "n03-Shih-Tzu")
    assert [(s.name, s.label, s.split, s.box) for s in images.samples] == [
        ("Images/n02-Chihuahua/n02_1.jpg", 0, "train", (5, 6, 30, 40)),
        ("Images/n02-Chihuahua/n02_2.jpg", 0, "train", (0, 6, 30, 50)),  # around all three
        ("Images/n03-Shih-Tzu/n03_1.jpg", 1, "train", None),
        ("Images/n03-Shih-Tzu/n03_2.jpg", 1, "test", None),
    ]
    assert all(s.path == root / s.name for s in images.samples)
    assert read_dogs(tmp_path) == open_dataset(root) == open_dataset(tmp_path) == images
    assert is_dogs(root) and is_dogs(tmp_path) and not is_dogs(tmp_path / "absent")
    (root / "lists").mkdir()
    for name in ("train_list.mat", "test_list.mat"):
        (root / name).rename(root / "lists" / name)
    assert open_dataset(root) == images


@pytest.mark.parametrize(
    ("train", "test", "fault"),
    [
        (
            TRAIN,
            (*TEST, TRAIN[0]),
            r"test_list.mat' row 2: image 'n02-Chihuahua/n02_1.jpg' is listed already, in .*row 1",
        ),
        (TRAIN, (("n03-Shih-Tzu/n03_2.jpg", 1),), "test_list.mat' row 1: class 1 is 'n03-Shih-Tzu' here, but 'n02-Chi"),
        (TRAIN, (("n03-Shih-Tzu/n03_2.jpg", 3),), "Two classes of .* are called 'n03-Shih-Tzu'"),
        (TRAIN, (("n03-Shih-Tzu/n03_2.jpg", math.nan),), "test_list.mat' row 1: 'nan' is not a whole number"),
        (TRAIN, (("n04-Pug/n04_2.jpg", 3),), "Class 'n04-Pug'.*no training image"),
    ],
)
def test_faults_name_file_and_row(
    tmp_path: Path, train: Sequence[tuple[str, float]], test: Sequence[tuple[str, float]], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        read_dogs(_write(tmp_path, train, test))


def test_missing_and_uneven_lists_are_named(tmp_path: Path) -> None:
    for folder in ("Images/n02-Chihuahua", "Annotation"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "Images/n02-Chihuahua/n02_1.jpg")
    with pytest.raises(DataError, match=r"looks like Stanford Dogs, but 'train_list.mat' is missing"):
        open_dataset(tmp_path)
    _save(tmp_path / "train_list.mat", TRAIN, labels=2)
    with pytest.raises(DataError, match=r"train_list.mat' has 3 files but 2 labels"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((5, 6, 29, "x"), "n02_1' object 2: '5 6 29 x' is not a box 'xmin ymin xmax ymax'"),
        ((5, 6, "", 9), "n02_1' object 2: .* is not a box"),
        ((5, 6, 3, 9), "n02_1' object 2: box '5 6 3 9' has no positive"),
    ],
)
def test_annotations_without_a_box_are_refused_or_kept(
    tmp_path: Path, box: tuple[object, object, object, object], fault: str
) -> None:
    _annotate(_write(tmp_path), "n02-Chihuahua/n02_1", (1, 2, 3, 4), box)
    with pytest.raises(DataError, match=fault):
        read_dogs(tmp_path)
    kept = read_dogs(tmp_path, strict=False).samples[0].box
    assert kept == (1, 2, 4, 10) if box[3] == 9 and box[2] == 3 else kept is not None and all(map(math.isnan, kept))


def test_a_damaged_annotation_is_refused_or_kept(tmp_path: Path) -> None:
    _annotate(_write(tmp_path), "n02-Chihuahua/n02_1", (1, 2, 3, 4))
    path = tmp_path / "Annotation/n02-Chihuahua/n02_1"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError, match=r"Cannot read '.*n02_1'"):
        read_dogs(tmp_path)
    kept = read_dogs(tmp_path, strict=False).samples[0].box
    assert kept is not None and all(map(math.isnan, kept))


def test_check(tmp_path: Path) -> None:
    root = _write(tmp_path)
    for seed, (file, _) in enumerate((*TRAIN, *TEST)):
        path = root / "Images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
        _annotate(root, file.removesuffix(".jpg"), (0, 0, 49, 39))
    report = check(root)
    assert report.findings == () and report.refusal is None


def test_real_annotations(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "formats" / "stanford_dogs" / "Annotation"
    if not real.is_dir():
        pytest.skip(f"real annotations, which the README of formats promises, not found at {real}")
    (tmp_path / "Annotation").symlink_to(real)
    breeds = sorted(path.name for path in real.iterdir())
    rows = [
        (f"{path.parent.name}/{path.name}.jpg", breeds.index(path.parent.name) + 1) for path in sorted(real.glob("*/*"))
    ]
    images = open_dataset(_write(tmp_path, rows[::2], rows[1::2]))
    assert (len(images.classes), len(images.samples)) == (5, 996)
    assert images.samples[0].box == (25, 10, 277, 499)
    assert all(s.box is not None and 0 <= s.box[0] < s.box[2] and 0 <= s.box[1] < s.box[3] for s in images.samples)
