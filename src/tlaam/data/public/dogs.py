"""The official layout of Stanford Dogs (Khosla et al. 2011)."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tlaam.data.public.matlab import read_mat, text_value, whole_value
from tlaam.data.public.official import (
    Place,
    box_of,
    home_of,
    inclusive_from_0,
    official_images,
    require_new,
    require_same_name,
)
from tlaam.data.rules import NO_NUMBERS
from tlaam.data.sample import Box, LabelledImages, Sample, Split
from tlaam.errors import DataError
from tlaam.utils.reading import LARGEST_TEXT, require_regular

_TITLE = "Stanford Dogs"
FOLDER = "stanford_dogs"
_LISTS: dict[Split, str] = {"train": "train_list.mat", "test": "test_list.mat"}
_MARKS = (*_LISTS.values(), *(f"lists/{name}" for name in _LISTS.values()))
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def is_dogs(root: Path) -> bool:
    """Whether `root`, or the folder ``stanford_dogs`` in it, has a list of the official layout, or both its folders."""
    return _home(root) is not None


def read_dogs(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists and annotations of Stanford Dogs; images are neither opened nor looked for.

    ``train_list.mat`` and ``test_list.mat`` lie in the folder or in ``lists/``, the images in ``Images/``, and one XML
    file per image, which may be missing, in ``Annotation/``. Classes are named after their folders
    (``n02085620-Chihuahua``), in the order of the labels. The box encloses *all* dogs of an image for which the
    annotation has a box (one in 20 images has several), since it is not known which of them the label means. Boxes are
    given by their first and last column and row, counted from 0. Subsets may leave out rows.

    Args:
        root: the folder with ``Images/``, or the one that holds it as ``stanford_dogs``.
        strict: refuse impossible boxes and classes that cannot be learned (`require_usable_classes`). Otherwise a box
            is kept as written, or as four NaN if it is not four numbers.

    Raises:
        DataError: a list is missing, damaged or lacks a variable; a row of it is malformed, repeated or contradicts
            another; or an annotation is damaged. The message names file and row.
    """
    home = _home(Path(root)) or Path(root)
    breeds: dict[int, str] = {}
    listed: list[tuple[str, int, Split]] = []
    seen: dict[str, Place] = {}
    for split, name in _LISTS.items():
        path = home / name if (home / name).is_file() else home / "lists" / name
        files, labels = read_mat(path, _TITLE, "file_list"), read_mat(path, _TITLE, "labels")
        if len(files) != len(labels):
            raise DataError(
                f"'{path}' has {len(files)} files but {len(labels)} labels. Take it anew from the original archive."
            )
        for row, (name_of_file, label) in enumerate(zip(files, labels, strict=True), start=1):
            place = Place(path, row, "row")
            file = text_value(name_of_file, place)
            class_id = whole_value(label, place)
            require_new(seen, file, place)
            require_same_name(breeds, class_id, file.rpartition("/")[0], place)
            listed.append((file, class_id, split))
    class_ids = sorted(breeds)
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    samples = [
        Sample(
            str(home / "Images" / file),
            f"Images/{file}",
            label_of[class_id],
            split,
            _box(home / "Annotation" / file.removesuffix(".jpg"), strict=strict),
        )
        for file, class_id, split in listed
    ]
    return official_images(home, "dogs", [breeds[class_id] for class_id in class_ids], samples, strict=strict)


def _home(root: Path) -> Path | None:
    home = home_of(root, FOLDER, *_MARKS)
    if home is None and (pictures := home_of(root, FOLDER, "Images")) and (pictures / "Annotation").is_dir():
        return pictures  # only the lists are missing, which reading reports
    return home


def _box(path: Path, *, strict: bool) -> Box | None:
    """Return the box around all objects of an annotation; None if there is no annotation, or no object in it."""
    try:
        require_regular(path, LARGEST_TEXT)
        found = ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError:
        return None
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:  # the last two: unusable encodings
        if not strict:
            return NO_NUMBERS
        raise DataError(f"Cannot read '{path}': {error}. Take it anew from the original archive.") from error
    boxes = [
        box_of(
            [entry.findtext(f"bndbox/{corner}", "") for corner in _CORNERS],
            "xmin ymin xmax ymax",
            inclusive_from_0,
            Place(path, number, "object"),
            strict=strict,
        )
        for number, entry in enumerate(found, start=1)
    ]
    if not boxes:
        return None
    if NO_NUMBERS in boxes:
        return NO_NUMBERS
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
