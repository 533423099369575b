"""The rows of a manifest as entries, with every cell checked: a fault names the line and the column."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tlaam.data.columns import BOX, marked
from tlaam.data.labels import LabelFault, holds_boxes, is_missing, label_of
from tlaam.data.locate import ImageFinder, SeveralFilesError, is_address
from tlaam.data.manifest_plan import Plan
from tlaam.data.names import clean_name
from tlaam.data.rules import NO_NUMBERS, SPLIT_NAMES, split_of
from tlaam.data.sample import Box, Split
from tlaam.data.split_columns import ColumnFault
from tlaam.data.table import fault
from tlaam.errors import DataError, did_you_mean

_BOXES_IN_LABELS = "The boxes in column 'label' are not read; those in x_min, y_min, x_max, y_max are."


class Entry(NamedTuple):
    """What one line says about one image."""

    line: int
    image: str
    label: str
    split: Split
    box: Box | None
    group: str | None


def entries(
    path: Path, rows: Iterable[tuple[int, list[str]]], plan: Plan, finder: ImageFinder, *, strict: bool
) -> Iterator[Entry]:
    """Yield the checked rows one at a time, so that a long file takes no more memory than its entries.

    Args:
        path: path of the manifest, for messages.
        rows: the rows, each with its line number.
        plan: where the parts of an entry stand in a row.
        finder: finds the images.
        strict: see `tlaam.data.manifest.read_manifest`.

    Raises:
        DataError: a cell is empty or impossible.
    """
    for line, row in rows:
        if len(row) < plan.width:
            row += [""] * (plan.width - len(row))
        elif len(row) > plan.width and any(row[plan.width :]):
            wide = f"it has {len(row)} fields, but line 1 names {plan.width} columns"
            raise fault(path, line, wide, "Put text that holds the delimiter in double quotes.")
        image = row[plan.image].strip()
        if not image:
            raise fault(path, line, "column 'image' is empty", "Fill it in.")
        label = sys.intern(_label(path, line, row, plan))
        split = _split_of_row(path, line, row, plan)
        box = _box(path, line, [row[at] for at in plan.box], plan.comma, strict=strict) if plan.box else None
        group = sys.intern(row[plan.group].strip()) or None if plan.group is not None else None
        yield Entry(line, file_of(path, line, image, finder, strict=strict), label, split, box, group)


def file_of(path: Path, line: int, image: str, finder: ImageFinder, *, strict: bool) -> str:
    """Return the path of the image that a cell means, or the cell itself if no file is found."""
    if is_address(image):
        raise fault(path, line, f"column 'image' holds the address '{image}'", "Download the images, and name files.")
    if not image.isascii():
        try:
            os.fsencode(image)
        except UnicodeEncodeError:
            other = f"image '{image}' cannot be named in this locale, which is not UTF-8"
            raise fault(path, line, other, "Set PYTHONUTF8=1 (or LC_ALL=C.UTF-8) and run it again.") from None
    try:
        found = finder.find(image)
        if strict and is_missing(image) and not os.path.lexists(os.path.join(path.parent, found)):  # noqa: PTH118
            raise fault(path, line, f"column 'image' holds '{image}', and there is no such file", "Fill it in.")
        return found
    except SeveralFilesError as error:
        if not strict:
            return image
        several = " or ".join(f"'{name}'" for name in error.args[:3])
        raise fault(path, line, f"image '{image}' may be {several}", "Write the file's name.") from error


def _label(path: Path, line: int, row: Sequence[str], plan: Plan) -> str:
    if plan.label is None:
        places = list(marked(row[place] for _, place in plan.classes))
        if len(places) != 1:
            names = ", ".join(f"'{plan.classes[place][0]}'" for place in places[:3]) or "none"
            raise fault(path, line, f"of the classes' columns {names} hold 1", "Mark one class in each line.")
        return plan.classes[places[0]][0]
    cell = row[plan.label].strip()
    if not cell:
        raise fault(path, line, "column 'label' is empty", "Fill it in.")
    if holds_boxes(cell) and _BOXES_IN_LABELS not in plan.notes:
        plan.notes.append(_BOXES_IN_LABELS)
    try:
        return label_of(cell)
    except LabelFault as error:
        raise fault(path, line, f"column 'label' {error.args[0]}", error.args[1]) from error


def _split_of_row(path: Path, line: int, row: Sequence[str], plan: Plan) -> Split:
    if plan.split is not None:
        return _split(path, line, row[plan.split])
    if plan.marks is None:
        return "train"
    columns, places = plan.marks
    try:
        return columns.read([row[place] for place in places])
    except ColumnFault as error:
        raise fault(path, line, error.args[0], error.args[1]) from error


def _split(path: Path, line: int, cell: str) -> Split:
    name = clean_name(cell).strip().lower() or "train"
    split = split_of(name)
    if split is None:
        other = f"column 'split' holds '{cell.strip()}', but must be train, val or test"
        raise fault(path, line, other, "Correct it." + did_you_mean(name, SPLIT_NAMES))
    return split


def _box(path: Path, line: int, cells: list[str], comma: bool, *, strict: bool) -> Box | None:
    """Return the box in four cells, or None if all are empty."""
    if comma and any("," in cell for cell in cells):
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        x_min, y_min, x_max, y_max = map(float, cells)
        if -math.inf < x_min < x_max < math.inf and -math.inf < y_min < y_max < math.inf:
            return x_min, y_min, x_max, y_max
        if not strict:
            finite = all(map(math.isfinite, (x_min, y_min, x_max, y_max)))
            return (x_min, y_min, x_max, y_max) if finite else NO_NUMBERS
    except ValueError:
        if all(is_missing(cell.strip()) for cell in cells):
            return None
        if not strict:
            return NO_NUMBERS
    raise _box_fault(path, line, [cell.strip() for cell in cells])


def _box_fault(path: Path, line: int, texts: list[str]) -> DataError:
    """Return an error that says what is wrong with four cells that are not a box."""
    values = []
    for column, text in zip(BOX, texts, strict=True):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            other = f"column '{column}' holds '{text}', but must be a number of pixels"
            return fault(path, line, other, "Give all four numbers of a box, or none.")
        values.append(value)
    axis, low, high = ("x", values[0], values[2]) if values[2] <= values[0] else ("y", values[1], values[3])
    inverted = f"column '{axis}_max' is {high:g}, but must be greater than '{axis}_min', {low:g}"
    return fault(path, line, inverted, "Boxes are corners, not width and height.")


__all__ = ["Entry", "entries", "file_of"]
