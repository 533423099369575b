from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tlaam.data.open import open_dataset
from tlaam.data.public.cars import is_cars, read_cars
from tlaam.errors import DataError

BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
KIT = (*BOX, "class", "fname")
ONE = ("relative_im_path", *BOX, "class", "test")
NAMES = ("Audi A5", "BMW X3", "Fiat 500")


def _save(path: Path, fields: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = np.array([tuple(row) for row in rows], dtype=[(name, object) for name in fields])
    savemat(path, {"annotations": records.reshape(1, -1)})


def _save_names(path: Path, **more: Any) -> None:
    savemat(path, {"class_names": np.array([NAMES], dtype=object), **more})


def _kit(root: Path, train: Sequence[Sequence[Any]] = (), test: Sequence[Sequence[Any]] = ()) -> Path:
    _save(root / "devkit/cars_train_annos.mat", KIT, train or [(1, 2, 30, 40, 3, "1.jpg"), (5, 6, 7, 8, 1, "2.jpg")])
    _save(root / "devkit/cars_test_annos.mat", KIT[:4] + KIT[5:], [(1, 1, 2, 2, "1.jpg")])
    _save_names(root / "devkit/cars_meta.mat")
    if test:
        _save(root / "cars_test_annos_withlabels.mat", KIT, test)
    return root


def _one_list(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    rows = [
        ("car_ims/1.jpg", 1, 2, 30, 40, 3, 0),
        ("car_ims/2.jpg", 5, 6, 7, 8, 1, 0),
        ("car_ims/3.jpg", 1, 1, 1, 1, 3, 1),
    ]
    records = np.array(rows, dtype=[(name, object) for name in ONE])
    _save_names(root / "cars_annos.mat", annotations=records.reshape(1, -1))
    return root


def test_the_development_kit(tmp_path: Path) -> None:
    root = _kit(tmp_path / "stanford_cars", test=[(1, 1, 1, 1, 3, "1.jpg")])
    images = read_cars(root)
    assert (images.name, images.kind, images.root) == ("stanford_cars", "cars", root)
    assert images.classes == ("Audi A5", "Fiat 500")  # in the official order; there is no BMW X3
    assert [(s.name, s.label, s.split, s.box) for s in images.samples] == [
        ("cars_train/1.jpg", 1, "train", (0, 1, 30, 40)),
        ("cars_train/2.jpg", 0, "train", (4, 5, 7, 8)),
        ("cars_test/1.jpg", 1, "test", (0, 0, 1, 1)),
    ]
    assert all(s.path == root / s.name for s in images.samples)
    assert read_cars(tmp_path) == open_dataset(root) == open_dataset(tmp_path) == images
    assert is_cars(root) and is_cars(tmp_path) and not is_cars(tmp_path / "absent")
    (root / "cars_test_annos_withlabels.mat").rename(root / "devkit" / "cars_test_annos_withlabels.mat")
    assert read_cars(root) == images


def test_without_labels_there_is_no_test_split(tmp_path: Path) -> None:
    images = read_cars(_kit(tmp_path))
    assert len(images.split("train")) == 2 and not images.split("test")


def test_the_one_list(tmp_path: Path) -> None:
    images = read_cars(_one_list(tmp_path / "stanford_cars"))
    assert images.classes == ("Audi A5", "Fiat 500")
    assert [(s.name, s.label, s.split, s.box) for s in images.samples] == [
        ("car_ims/1.jpg", 1, "train", (0, 1, 30, 40)),
        ("car_ims/2.jpg", 0, "train", (4, 5, 7, 8)),
        ("car_ims/3.jpg", 1, "test", (0, 0, 1, 1)),
    ]
    assert open_dataset(tmp_path) == images


def test_of_both_forms_the_one_whose_images_are_there(tmp_path: Path) -> None:
    _one_list(_kit(tmp_path))
    assert read_cars(tmp_path).samples[0].name == "cars_train/1.jpg"
    (tmp_path / "car_ims").mkdir()
    assert read_cars(tmp_path).samples[0].name == "car_ims/1.jpg"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ((5, 6, 7, 8, 4, "2.jpg"), "cars_train_annos.mat' row 2: class 4 is none of the 3"),
        ((5, 6, 7, 8, 0, "2.jpg"), "row 2: class 0 is none of the 3"),
        ((5, 6, 7, 8, 1.5, "2.jpg"), "row 2: '1.5' is not a whole number"),
        ((5, 6, 7, 8, "x", "2.jpg"), "row 2: 'x' is not a whole number"),
        ((5, 6, 7, 8, 1, "1.jpg"), r"row 2: image 'cars_train/1.jpg' is listed already, in .*row 1"),
        ((5, 6, 4, 8, 1, "2.jpg"), "row 2: box '5 6 4 8' has no positive"),
        ((5, 6, "x", 8, 1, "2.jpg"), "row 2: '5 6 x 8' is not a box 'x1 y1 x2 y2'"),
    ],
)
def test_faults_name_file_and_row(tmp_path: Path, row: Sequence[Any], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_cars(_kit(tmp_path, train=[(1, 2, 30, 40, 3, "1.jpg"), row]))


def test_faulty_files_are_named(tmp_path: Path) -> None:
    root = _kit(tmp_path / "a")
    (root / "devkit" / "cars_meta.mat").unlink()
    with pytest.raises(DataError, match=r"looks like Stanford Cars, but 'cars_meta.mat' is missing"):
        open_dataset(root)
    savemat(root / "devkit" / "cars_meta.mat", {"names": [1]})
    with pytest.raises(DataError, match=r"cars_meta.mat' has no variable 'class_names'"):
        read_cars(root)
    _save_names(root / "devkit" / "cars_meta.mat")
    _save(root / "devkit" / "cars_train_annos.mat", KIT[1:], [(2, 3, 4, 1, "1.jpg")])
    with pytest.raises(DataError, match=r"'annotations' in '.*cars_train_annos.mat' has no field 'bbox_x1'"):
        read_cars(root)
    damaged = (root / "devkit" / "cars_train_annos.mat").read_bytes()[:-60]
    (root / "devkit" / "cars_train_annos.mat").write_bytes(damaged)
    with pytest.raises(DataError, match=r"Cannot read '.*cars_train_annos.mat'"):
        read_cars(root)


def test_leniently_impossible_boxes_and_untrained_classes_are_kept(tmp_path: Path) -> None:
    root = _kit(tmp_path, [(5, 6, 4, 8, 1, "1.jpg"), (5, 6, "x", 8, 1, "2.jpg")], [(1, 1, 2, 2, 2, "1.jpg")])
    images = read_cars(root, strict=False)
    assert images.samples[0].box == (4, 5, 4, 8)
    assert images.samples[1].box is not None and all(map(math.isnan, images.samples[1].box))
    assert images.classes == ("Audi A5", "BMW X3")
    with pytest.raises(DataError, match="no positive"):
        read_cars(root)


def test_the_real_development_kit_as_torchvision_reads_it(shared_data: Path, tmp_path: Path) -> None:
    from torchvision.datasets import StanfordCars

    real, root = shared_data / "formats" / "stanford_cars", tmp_path / "stanford_cars"
    for folder in ("cars_train", "cars_test"):
        (root / folder).mkdir(parents=True)
    for name in ("devkit", "cars_test_annos_withlabels.mat"):
        (root / name).symlink_to(real / name)
    images = open_dataset(tmp_path)
    assert (len(images.classes), len(images.split("train")), len(images.split("test"))) == (196, 8144, 8041)
    for split in ("train", "test"):
        reference = StanfordCars(tmp_path, split=split)
        assert list(images.classes) == reference.classes
        assert [(str(sample.path), sample.label) for sample in images.split(split)] == reference._samples
    assert images.samples[0].box == (38, 115, 569, 375)
    assert all(s.box is not None and 0 <= s.box[0] < s.box[2] and 0 <= s.box[1] < s.box[3] for s in images.samples)


def test_the_real_one_list(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "cars_annos.mat").symlink_to(shared_data / "formats" / "stanford_cars" / "cars_annos.mat")
    images = open_dataset(tmp_path)
    assert (len(images.classes), len(images.split("train")), len(images.split("test"))) == (196, 8144, 8041)
    first, last = images.samples[0], images.samples[-1]
    assert (first.name, images.classes[first.label], first.split, first.box) == (
        "car_ims/000001.jpg", "AM General Hummer SUV 2000", "train", (111, 6, 853, 717),
    )  # fmt: skip
    assert (last.name, images.classes[last.label], last.split, last.box) == (
        "car_ims/016185.jpg", "smart fortwo Convertible 2012", "test", (0, 0, 200, 131),
    )  # fmt: skip
    kit = open_dataset(shared_data / "formats" / "stanford_cars")
    assert kit.classes == images.classes
    for split in ("train", "test"):  # the same images in another order, under other names
        assert sorted((s.label, s.box or ()) for s in kit.split(split)) == sorted(
            (s.label, s.box or ()) for s in images.split(split)
        )


@pytest.mark.parametrize("kit", ["car_devkit/devkit", "car_devkit"])
def test_the_nested_folders_of_copies(tmp_path: Path, kit: str) -> None:
    root = _kit(tmp_path / "cars", test=[(1, 1, 1, 1, 3, "1.jpg")])
    (root / kit).parent.mkdir(exist_ok=True)
    (root / "devkit").rename(root / kit)
    for folder in ("cars_train", "cars_test"):
        (root / folder / folder).mkdir(parents=True)
    images = open_dataset(root)
    names = ["cars_train/cars_train/1.jpg", "cars_train/cars_train/2.jpg", "cars_test/cars_test/1.jpg"]
    assert images.kind == "cars" and [sample.name for sample in images.samples] == names


def test_one_list_beside_the_images_of_the_other_form_is_refused(tmp_path: Path) -> None:
    root = _one_list(tmp_path / "cars")
    (root / "cars_train" / "cars_train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"lists the images of 'car_ims', which is not there.*Add the folder 'devkit'"):
        open_dataset(root)
