"""Code shared by the readers of official layouts: finding the folder, reading lists, and locating faults.

torchvision has readers of some of these data sets, too. They return only labels and paths: no boxes, no parts, no
subsets of the classes, and no hint at which line of which list is wrong. The tests compare our readers with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tlaam.data.rules import NO_NUMBERS, require_usable_classes
from tlaam.data.sample import Box, LabelledImages, Mask, Sample
from tlaam.errors import DataError
from tlaam.utils.reading import bounded_lines, require_regular
from tlaam.utils.text import shortened

Key = TypeVar("Key", int, str)


class Place(NamedTuple):
    """A place in a file: a line of a list, or a row of an array."""

    path: Path
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"'{self.path}' {self.unit} {self.number}"

    def fault(self, fault: str) -> DataError:
        """Return an error that names this place and what is wrong there."""
        return DataError(f"{self}: {shortened(fault)}. Correct the {self.unit}.")


def home_of(root: Path, folder: str, *marks: str) -> Path | None:
    """Return `root`, or else the `folder` in it, if it holds one of the files or folders `marks`; None if neither does.

    One mark is enough, so that a missing list is reported, and the folder is not taken for another layout.
    """
    return next((home for home in (root, root / folder) if any((home / mark).exists() for mark in marks)), None)


def missing_part(path: Path, title: str) -> DataError:
    """Return the error for a missing file that the layout `title` needs."""
    return DataError(
        f"'{path.parent}' looks like {title}, but '{path.name}' is missing. Take it from the original archive."
    )


def read_lines(path: Path, title: str) -> Iterator[tuple[int, str]]:
    """Yield the non-empty lines of a text file, each with its number and without surrounding space.

    Raises:
        DataError: the file is missing or not UTF-8 text.
    """
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig") as stream:
            for line, text in enumerate(bounded_lines(stream, path), start=1):
                if stripped := text.strip():
                    yield line, stripped
    except FileNotFoundError as error:
        raise missing_part(path, title) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read '{path}': {error}. Take it anew from the original archive.") from error


def read_list(path: Path, title: str, parse_id: Callable[[str], Key]) -> dict[Key, tuple[int, str]]:
    """Return ``{id: (line number, rest of the line)}`` of a file with lines ``<id> <rest>``, in the file's order.

    Args:
        title: title of the layout, for errors.
        parse_id: converts the text of an id; raises ValueError for anything else.

    Raises:
        DataError: the file is missing or empty, or a line is malformed or repeats an id.
    """
    entries: dict[Key, tuple[int, str]] = {}
    for line, text in read_lines(path, title):
        fields = text.split(maxsplit=1)
        if len(fields) != 2:
            raise Place(path, line).fault(f"'{text}' is not of the form '<id> <value>'")
        key = id_of(fields[0], parse_id, path, line)
        if key in entries:
            raise Place(path, line).fault(f"id {key} is there already, in line {entries[key][0]}")
        entries[key] = line, fields[1]
    if not entries:
        raise DataError(f"'{path}' is empty; one line '<id> <value>' for each image or class is expected.")
    return entries


def whole_number(text: str) -> int:
    """Return the number that the digits of `text` form.

    Raises:
        ValueError: it contains anything else.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def id_of(text: str, parse_id: Callable[[str], Key], path: Path, line: int) -> Key:
    """Return the id in `text`.

    Raises:
        DataError: `parse_id` raises ValueError; the message names the given file and line.
    """
    try:
        return parse_id(text)
    except ValueError as error:
        raise Place(path, line).fault(f"'{text}' is not an id (a whole number)") from error


def box_of(
    numbers: Sequence[Any],
    form: str,
    to_xyxy: Callable[[float, float, float, float], Box],
    place: Place,
    *,
    strict: bool,
) -> Box:
    """Return a box, xyxy in pixels, x1 and y1 exclusive, from four numbers or texts of numbers.

    Args:
        numbers: the numbers as written.
        form: their meaning in words, for errors, such as ``x y width height``.
        to_xyxy: converts them to our convention.
        place: where they are written.
        strict: refuse what is not a box. Otherwise it is kept as written, or as four NaN if it is not four numbers.

    Raises:
        DataError: `strict`, and they are not four finite numbers that enclose an area.
    """
    written = " ".join(map(str, numbers))
    try:
        box = to_xyxy(*map(float, numbers))
    except (TypeError, ValueError) as error:
        if not strict:
            return NO_NUMBERS
        raise place.fault(f"'{written}' is not a box '{form}'") from error
    x0, y0, x1, y1 = box
    if strict and not (all(map(math.isfinite, box)) and x0 < x1 and y0 < y1):
        raise place.fault(f"box '{written}' has no positive, finite width and height")
    return box


def inclusive_from_0(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Return our box for one that is given by its first and last column and row, counted from 0."""
    return x0, y0, x1 + 1, y1 + 1


def inclusive_from_1(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Return our box for one that is given by its first and last column and row, counted from 1 as in MATLAB."""
    return x0 - 1, y0 - 1, x1, y1


def require_new(seen: dict[str, Place], image: str, place: Place) -> None:
    """Record where an image is listed.

    Raises:
        DataError: it is already in `seen`.
    """
    if image in seen:
        raise place.fault(f"image '{image}' is listed already, in {seen[image]}")
    seen[image] = place


def require_same_name(names: dict[int, str], number: int, name: str, place: Place) -> None:
    """Record the name of a class.

    Raises:
        DataError: it already has another name in `names`.
    """
    if names.setdefault(number, name) != name:
        raise place.fault(f"class {number} is '{name}' here, but '{names[number]}' before")


def mask_at(path: Path, object_levels: range, background_levels: range) -> Mask | None:
    """Return the mask at `path`; None if there is none, since masks are optional."""
    return Mask(path, object_levels, background_levels) if path.is_file() else None


def official_images(
    home: Path,
    kind: str,
    classes: Sequence[str],
    samples: Sequence[Sample],
    *,
    strict: bool,
    name: str | None = None,
    option: str = "",
) -> LabelledImages:
    """Return the data set of an official layout, without the classes that have no image, as in a subset.

    Args:
        home: the folder that was read.
        kind: `LabelledImages.kind`.
        classes: all class names in the official order.
        samples: the samples; their labels index `classes`.
        strict: refuse classes that cannot be learned (`require_usable_classes`).
        name: name of the data set; by default that of `home`.
        option: `LabelledImages.option`.

    Raises:
        DataError: there are no images, or two classes have the same name; also whatever `strict` refuses.
    """
    if not samples:
        raise DataError(f"The lists of '{home}' name no image. Take them anew from the original archive.")
    present = sorted({sample.label for sample in samples})
    names = tuple(classes[label] for label in present)
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"Two classes of '{home}' are called '{repeated}'. Give each a name of its own.")
    if len(present) < len(classes):
        label_of = {official: label for label, official in enumerate(present)}
        samples = [replace(sample, label=label_of[sample.label]) for sample in samples]
    images = LabelledImages(name or home.resolve().name, home, kind, names, tuple(samples), option)
    return require_usable_classes(images) if strict else images
