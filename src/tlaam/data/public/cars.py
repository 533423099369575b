"""The official layouts of Stanford Cars (Krause et al. 2013).

It was published in two forms: a development kit with one list for each split, and one list of all images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tlaam.data.public.matlab import read_mat, text_value, whole_value
from tlaam.data.public.official import Place, box_of, home_of, inclusive_from_1, official_images, require_new
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import DataError

_TITLE = "Stanford Cars"
FOLDER = "stanford_cars"
_ONE_LIST = "cars_annos.mat"
_KITS = ("devkit", "car_devkit/devkit", "car_devkit", "cars_devkit/devkit")  # the others are nested as in copies
_TRAIN_LIST = "cars_train_annos.mat"
_META = "cars_meta.mat"
_TEST_LIST = "cars_test_annos_withlabels.mat"
_MARKS = (_ONE_LIST, *(f"{kit}/{name}" for kit in _KITS for name in (_TRAIN_LIST, _META)))
_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class _Row(NamedTuple):
    place: Place
    image: str
    split: Split
    record: Any


def is_cars(root: Path) -> bool:
    """Whether `root`, or the folder ``stanford_cars`` in it, has the lists of one of the official layouts."""
    return home_of(root, FOLDER, *_MARKS) is not None


def read_cars(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of Stanford Cars in either form; images are neither opened nor looked for.

    The development kit is ``devkit/cars_meta.mat``, ``devkit/cars_train_annos.mat`` with the images in ``cars_train/``,
    and ``cars_test_annos_withlabels.mat`` (beside or inside ``devkit/``) with those in ``cars_test/``. If only the
    kit's own list of test images is there, which has no labels, there is no test split. The single list is
    ``cars_annos.mat``, with the images in ``car_ims/``. A folder that holds both is read as the kit, unless
    ``car_ims/`` is there.

    Copies that nest these folders are read as well: ``car_devkit/devkit/``, ``cars_train/cars_train/``.

    Boxes are given by their first and last column and row, counted from 1. Subsets may leave out rows.

    Args:
        root: the folder with ``devkit/`` or ``cars_annos.mat``, or the one that holds it as ``stanford_cars``.
        strict: refuse impossible boxes and classes that cannot be learned (`require_usable_classes`). Otherwise a box
            is kept as written, or as four NaN if it is not four numbers.

    Raises:
        DataError: only images of the other form are there; a file is missing, damaged or lacks a variable; or a row is
            repeated or of an unknown class. The message names file and row.
    """
    home = home_of(Path(root), FOLDER, *_MARKS) or Path(root)
    kit = next((home / name for name in _KITS if (home / name).is_dir() and any((home / name).glob("*.mat"))), None)
    as_one_list = (home / _ONE_LIST).is_file() and ((home / "car_ims").is_dir() or kit is None)
    if as_one_list and not (home / "car_ims").is_dir() and (home / "cars_train").is_dir():
        raise DataError(
            f"'{home / _ONE_LIST}' lists the images of 'car_ims', which is not there, and 'cars_train' is numbered "
            "otherwise. Add the folder 'devkit' of the original archive, or 'car_ims'."
        )
    kit = kit or home / _KITS[0]
    meta = home / _ONE_LIST if as_one_list else kit / _META
    names = enumerate(read_mat(meta, _TITLE, "class_names"), start=1)
    classes = [text_value(name, Place(meta, number, "class_names row")) for number, name in names]
    samples = []
    seen: dict[str, Place] = {}
    for place, image, split, record in _one_list(home) if as_one_list else _development_kit(home, kit):
        require_new(seen, image, place)
        class_id = whole_value(record["class"], place)
        if not 1 <= class_id <= len(classes):
            raise place.fault(f"class {class_id} is none of the {len(classes)} that have a name")
        corners = [record[name] for name in _BOX]
        box = box_of(corners, "x1 y1 x2 y2", inclusive_from_1, place, strict=strict)
        samples.append(Sample(str(home / image), image, class_id - 1, split, box))
    return official_images(home, "cars", classes, samples, strict=strict)


def _one_list(home: Path) -> Iterator[_Row]:
    path = home / _ONE_LIST
    records = read_mat(path, _TITLE, "annotations", "relative_im_path", *_BOX, "class", "test")
    for number, record in enumerate(records, start=1):
        place = Place(path, number, "row")
        split: Split = "test" if whole_value(record["test"], place) else "train"
        yield _Row(place, text_value(record["relative_im_path"], place), split, record)


def _development_kit(home: Path, kit: Path) -> Iterator[_Row]:
    lists: list[tuple[Split, Path]] = [("train", kit / _TRAIN_LIST)]
    lists += [("test", folder / _TEST_LIST) for folder in (home, kit, kit.parent) if (folder / _TEST_LIST).exists()][:1]
    for split, path in lists:
        folder = f"cars_{split}"
        if (home / folder / folder).is_dir():
            folder = f"{folder}/{folder}"
        records = read_mat(path, _TITLE, "annotations", "fname", *_BOX, "class")
        for number, record in enumerate(records, start=1):
            place = Place(path, number, "row")
            yield _Row(place, f"{folder}/{text_value(record['fname'], place)}", split, record)
