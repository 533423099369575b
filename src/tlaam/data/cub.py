"""The official layout of CUB-200-2011 (Wah et al. 2011, Caltech-UCSD Birds-200-2011), whole or a subset of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from tlaam.data.rules import NO_NUMBERS, require_usable_classes
from tlaam.data.sample import Box, LabelledImages, Sample, Split
from tlaam.errors import DataError

_FOLDER = "CUB_200_2011"
_SPLITS: dict[str, Split] = {"1": "train", "0": "test"}


def is_cub(root: Path) -> bool:
    """Whether `root`, or the folder ``CUB_200_2011`` in it, has the lists of the official layout."""
    return any((_home(root) / name).is_file() for name in ("images.txt", "image_class_labels.txt"))


def read_cub(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of CUB-200-2011; images are neither opened nor looked for.

    Subsets may leave out images and classes; ids need not be contiguous. What other lists say about images that
    ``images.txt`` leaves out is ignored, and so are classes without any image. Class names stay the official ones
    (``001.Black_footed_Albatross``), ordered by id. Boxes (``bounding_boxes.txt``, optional as a file) are turned from
    x, y, width, height into xyxy pixels.

    Args:
        root: the folder with ``images.txt``, or the one that holds it as ``CUB_200_2011``.
        strict: refuse impossible boxes and classes that cannot be learned (`require_usable_classes`). Otherwise a box
            is kept as it is written, and is four NaN where it is not four numbers.

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or lacking; names file and line.
    """
    home = _home(Path(root))
    files = _read_list(home / "images.txt")
    label_ids = _read_list(home / "image_class_labels.txt")
    in_train = _read_list(home / "train_test_split.txt")
    boxes = _read_list(home / "bounding_boxes.txt") if (home / "bounding_boxes.txt").exists() else {}
    names = _read_list(home / "classes.txt")

    class_of: dict[int, int] = {}
    for image_id, (line, _) in files.items():
        label_line, label = _entry(label_ids, image_id, home / "image_class_labels.txt", line)
        class_of[image_id] = class_id = _id(label, home / "image_class_labels.txt", label_line)
        _entry(names, class_id, home / "classes.txt", label_line, of="class", source="image_class_labels.txt")
    class_ids = sorted(set(class_of.values()))
    labels = {class_id: label for label, class_id in enumerate(class_ids)}

    samples = []
    for image_id, (line, file) in files.items():
        split_line, flag = _entry(in_train, image_id, home / "train_test_split.txt", line)
        if flag not in _SPLITS:
            raise _fault(home / "train_test_split.txt", split_line, f"'{flag}' is neither 1 (train) nor 0 (test)")
        box = _box(*boxes[image_id], home / "bounding_boxes.txt", strict=strict) if image_id in boxes else None
        name = f"images/{file}"
        samples.append(Sample(home / name, name, labels[class_of[image_id]], _SPLITS[flag], box))
    classes = tuple(names[class_id][1] for class_id in class_ids)
    images = LabelledImages(home.resolve().name, home, "cub", classes, tuple(samples))
    return require_usable_classes(images) if strict else images


def _home(root: Path) -> Path:
    inner = root / _FOLDER
    return inner if inner.is_dir() and not (root / "images.txt").is_file() else root


def _read_list(path: Path) -> dict[int, tuple[int, str]]:
    """Return ``{id: (line number, rest of the line)}`` of a file with lines ``<id> <rest>``, in the file's order."""
    entries: dict[int, tuple[int, str]] = {}
    for line, text in _lines(path):
        fields = text.split(maxsplit=1)
        if len(fields) != 2:
            raise _fault(path, line, f"'{text}' is not of the form '<id> <value>'")
        number = _id(fields[0], path, line)
        if number in entries:
            raise _fault(path, line, f"id {number} is there already, in line {entries[number][0]}")
        entries[number] = line, fields[1]
    if not entries:
        raise DataError(f"'{path}' is empty; one line '<id> <value>' for each image or class is expected.")
    return entries


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for line, text in enumerate(stream, start=1):
                if text.strip():
                    yield line, text.strip()
    except FileNotFoundError as error:
        raise DataError(
            f"'{path.parent}' looks like CUB-200-2011, but '{path.name}' is missing. Take it from the original archive."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read '{path}': {error}. Take it anew from the original archive.") from error


def _entry(
    entries: dict[int, tuple[int, str]],
    number: int,
    path: Path,
    line: int,
    *,
    of: str = "image",
    source: str = "images.txt",
) -> tuple[int, str]:
    """Look up an id, naming the list that lacks it and the line that asked for it."""
    if number not in entries:
        raise DataError(f"'{path}' has no line for {of} {number} of {source} line {line}. Add it, or leave out both.")
    return entries[number]


def _id(text: str, path: Path, line: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _fault(path, line, f"'{text}' is not an id (a whole number)")
    return int(text)


def _box(line: int, text: str, path: Path, *, strict: bool) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split())
    except ValueError as error:
        if not strict:
            return NO_NUMBERS
        raise _fault(path, line, f"'{text}' is not a box 'x y width height'") from error
    if strict and not (all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0):
        raise _fault(path, line, f"box '{text}' has no positive, finite width and height")
    return x, y, x + width, y + height


def _fault(path: Path, line: int, fault: str) -> DataError:
    return DataError(f"'{path}' line {line}: {fault}. Correct the line.")
