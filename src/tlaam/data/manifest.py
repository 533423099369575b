"""A CSV manifest: one line for each image, with its label and, where they are known, its split and box."""

from __future__ import annotations

import gc
import math
import os
import posixpath
import re
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from tlaam.data.boxes import are_shares, in_pixels
from tlaam.data.columns import (
    BOX,
    COLUMNS,
    REQUIRED,
    AmbiguousColumnsError,
    marked,
    one_hot,
    surveyed,
    taken_for,
    unread_boxes,
)
from tlaam.data.labels import (
    LabelFault,
    holds_boxes,
    is_missing,
    joined_labels,
    label_of,
    same_label,
    spellings_of_numbers,
    worded_labels,
)
from tlaam.data.locate import ImageFinder, SeveralFilesError, is_address
from tlaam.data.names import clean_name
from tlaam.data.rules import NO_NUMBERS, SPLIT_NAMES, require_usable_classes, split_of
from tlaam.data.sample import Box, LabelledImages, Sample, Split
from tlaam.data.split_columns import ColumnFault, SplitColumns, split_columns
from tlaam.data.table import Table, encoding_of, fault, listed, read_table
from tlaam.errors import DataError, did_you_mean

FOLDER_NAMES = ("manifest.csv", "annotations.csv")
"""Manifests of these names are recognised when the folder that holds one of them is given."""

_BOXES_IN_LABELS = "The boxes in column 'label' are not read; those in x_min, y_min, x_max, y_max are."
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


class _Entry(NamedTuple):
    line: int
    image: str
    label: str
    split: Split
    box: Box | None
    group: str | None


@dataclass
class _Plan:
    """Where the parts of an entry stand in a row.

    Attributes:
        width: columns that the header names.
        image: place of the path.
        label: place of the label; None where classes are columns of their own.
        classes: these columns, and their places.
        split: place of the column ``split``.
        marks: how other columns name splits, and their places.
        group: place of the group.
        box: places of the four numbers; empty where there are none.
        comma: whether numbers may have a decimal comma.
        notes: what was taken for what.
    """

    width: int
    image: int
    label: int | None
    classes: list[tuple[str, int]] = field(default_factory=list)
    split: int | None = None
    marks: tuple[SplitColumns, list[int]] | None = None
    group: int | None = None
    box: list[int] = field(default_factory=list)
    comma: bool = False
    notes: list[str] = field(default_factory=list)


def manifest_in(root: Path) -> Path | None:
    """Return the manifest that `root` is or holds under a usual name; None where there is none.

    Raises:
        DataError: the folder holds several.
    """
    if root.is_file():
        return root if root.suffix.lower() in (".csv", ".tsv") else None
    found = [root / name for name in FOLDER_NAMES if (root / name).is_file()]
    if len(found) > 1:
        raise DataError(f"'{root}' holds both '{found[0].name}' and '{found[1].name}'. Give the path of one of them.")
    return found[0] if found else None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python from searching for garbage cycles meanwhile: a third of the time where millions of objects last."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_collector_paused()
def read_manifest(path: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read a CSV file with the columns ``image,label[,split][,group][,x_min,y_min,x_max,y_max]``.

    The first line names the columns, in any order. UTF-8 with or without byte-order mark, or UTF-16; comma, semicolon,
    tab or bar. Image paths are relative to the file's folder, or absolute; one that is not there is looked for in other
    spellings (`tlaam.data.locate`), and images are not opened. An empty split is ``train``; others may be spelt as in
    `SPLIT_NAMES`. Images of one group never stand on two sides of a split that is cut; an image whose group is empty is
    a group of its own. A box is xyxy in pixels of the image as `tlaam.data.images.load_image` decodes it, x_max and
    y_max exclusive; all four numbers or none. Boxes that are shares of the image are converted. Classes are the labels,
    sorted, by value if all are numbers. A line that repeats another exactly counts once.

    Columns of other names are ignored, unless they are what is missing: an image or a label under a usual name, classes
    as columns of 0 and 1, splits in words or as yes and no (`tlaam.data.split_columns`). `LabelledImages.notes` says
    what was taken for what.

    Args:
        strict: refuse impossible boxes, images that are listed twice with different content, and classes that cannot
            be learned (`require_usable_classes`). Otherwise all of them are kept: a box as it is written, or four NaN
            where it is not four numbers; an image once for each content.

    Raises:
        DataError: naming file, line and column: a column is missing, misspelt or ambiguous, or a cell is empty or
            impossible; and whatever `strict` refuses.
    """
    path = Path(path)
    finder = ImageFinder(path.absolute().parent)
    with _open(path) as table:
        plan = _plan(path, table)
    with _open(path) as table:
        entries = _unique(path, _entries(path, table.rows, plan, finder, strict=strict), strict=strict)
    if not entries:
        raise _no_image(path)
    respelt = spellings_of_numbers(entry.label for _, entry in entries)
    named = [respelt.get(entry.label, entry.label) for _, entry in entries]
    _require_one_label_each(path, entries, named)
    classes = _sorted_labels(set(named))
    labels = {name: label for label, name in enumerate(classes)}
    samples = [
        Sample(_beside(path, entry.image), name, labels[label], entry.split, entry.box, group=entry.group)
        for (name, entry), label in zip(entries, named, strict=True)
    ]
    notes = [*plan.notes, *finder.notes()]
    if plan.split is None and plan.marks is None:
        samples, found = _splits_of_paths(samples)
        notes += found
    notes += [f"Labels that are one number are one class: {_pairs(respelt)}."] if respelt else []
    if worded := worded_labels(classes):
        notes.append(f"Label '{worded}' is a class of its own, though each of its words is one, too.")
    if are_shares([sample.box for sample in samples if sample.box is not None]):
        samples, lost = in_pixels(samples)
        but = f"; {lost} of them are left out, since their images cannot be read" if lost else ""
        notes.append(f"All boxes lie between 0 and 1: they are read as shares of each image's width and height{but}.")
    title = path.resolve().parent.name if path.name in FOLDER_NAMES else path.stem
    images = LabelledImages(title or path.stem, path, "manifest", classes, tuple(samples), notes=tuple(notes))
    return require_usable_classes(images) if strict else images


def image_paths(path: str | Path) -> Iterator[str]:
    """Yield the column ``image`` of a CSV file, one path after the other, relative to the file's folder or absolute.

    Other columns need not be there: for images that are to be predicted nothing else is known. Nothing is held in
    memory, however long the file.

    Raises:
        DataError: the file cannot be read as CSV, or has no such column, or a cell of it is empty.
    """
    path = Path(path)
    finder = ImageFinder(path.absolute().parent)
    with _open(path) as table:
        header = table.header
        if header.count("image") > 1:
            raise fault(path, 1, f"column 'image' is named twice; found {listed(header)}", "Keep one of them.")
        name = "image" if "image" in header else _other_name(path, "image", header)
        if name is None:
            hint = next(filter(None, (did_you_mean(name, ["image"]) for name in header)), "")
            found = f"column 'image' is missing; found {listed(header)}"
            raise fault(path, 1, found, f"Name the columns in line 1.{hint}")
        place, count = header.index(name), 0
        for line, row in table.rows:
            image = row[place].strip() if place < len(row) else ""
            if not image:
                raise fault(path, line, f"column '{name}' is empty", "Fill it in.")
            count += 1
            yield _beside(path, _found(path, line, image, finder, strict=False))
        if not count:
            raise _no_image(path)


@contextmanager
def _open(path: Path) -> Iterator[Table]:
    """Open a table; what is wrong with the file is a DataError that names it, also while its rows are read."""
    try:
        with path.open(newline="", encoding=encoding_of(path)) as stream:
            yield read_table(path, stream, lambda header: len(set(header).intersection(COLUMNS)))
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error.reason}). Save it as 'CSV UTF-8'.") from error
    except OSError as error:
        raise DataError(f"Cannot read manifest '{path}': {error.strerror or error}. Check the path.") from error


def _plan(path: Path, table: Table) -> _Plan:
    """Find out what the columns are; those that are not called as ours are looked at before anything is read."""
    header = table.header
    _check_header(path, header)
    notes: list[str] = []
    names: dict[str, str] = {name: name for name in COLUMNS if name in header}
    for wanted in REQUIRED:
        if wanted not in names and (other := _other_name(path, wanted, header)):
            names[wanted] = other
            notes.append(f"Column '{other}' is read as '{wanted}'.")
    taken = set(names.values())
    others = {name: place for place, name in enumerate(header) if name and name not in taken}
    seen = surveyed((row for _, row in table.rows), others) if others else {}
    marks = None
    if "split" not in names:
        try:
            values, shares = {n: s.values for n, s in seen.items()}, {n: s.true_share for n, s in seen.items()}
            marks = split_columns(values, shares)
        except ColumnFault as error:
            raise fault(path, 1, error.args[0], error.args[1]) from error
    if marks is not None:
        named = " and ".join(f"'{name}'" for name in marks.columns)
        notes.append(
            f"Column{'s' if len(marks.columns) > 1 else ''} {named} {_do(marks.columns)} taken for the splits."
        )
    classes = [] if "label" in names else one_hot(seen, marks.columns if marks else ())
    if classes:
        notes.append(f"The columns {listed(classes)} are read as classes, of which each line marks one.")
    _require_columns(path, header, names, bool(classes))
    if not set(BOX) & set(header) and (unread := unread_boxes(others)):
        notes.append(f"The columns {listed(unread)} look like boxes, but only x_min, y_min, x_max, y_max are read.")
    place = {name: header.index(other) for name, other in names.items()}
    return _Plan(
        width=len(header),
        image=place["image"],
        label=place.get("label"),
        classes=[(name, others[name]) for name in classes],
        split=place.get("split"),
        marks=None if marks is None else (marks, [others[name] for name in marks.columns]),
        group=place.get("group"),
        box=[place[name] for name in BOX] if BOX[0] in place else [],
        comma=table.delimiter != ",",
        notes=notes,
    )


def _unique(path: Path, found: Iterable[_Entry], *, strict: bool) -> list[tuple[str, _Entry]]:
    """Return the entries with their samples' names, in the file's order, without exact repetitions."""
    entries: dict[str, _Entry] = {}
    others: list[tuple[str, _Entry]] = []
    base = path.absolute().parent
    for entry in found:
        name = _sample_name(base, entry.image)
        first = entries.setdefault(name, entry)
        if first is entry:
            continue
        if not strict:
            others.append((name, entry))
            continue
        for column, here, there in (
            ("label", entry.label, first.label),
            ("split", entry.split, first.split),
            ("group", entry.group, first.group),
            ("box", entry.box, first.box),
        ):
            if here != there and not (column == "label" and same_label(str(here), str(there))):
                differs = f"image '{name}' has the {column} '{here}' here, but '{there}' in line {first.line}"
                raise fault(path, entry.line, differs, "Keep one of them.")
    if not others:
        return list(entries.items())
    contents = {(name, entry.label, entry.split, entry.box): entry for name, entry in [*others[::-1], *entries.items()]}
    return sorted(((name, entry) for (name, *_), entry in contents.items()), key=lambda pair: pair[1].line)


def _entries(
    path: Path, rows: Iterable[tuple[int, list[str]]], plan: _Plan, finder: ImageFinder, *, strict: bool
) -> Iterator[_Entry]:
    """Yield the checked rows, one by one, so that a long file costs no more memory than its entries."""
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
        yield _Entry(line, _found(path, line, image, finder, strict=strict), label, split, box, group)


def _found(path: Path, line: int, image: str, finder: ImageFinder, *, strict: bool) -> str:
    """Return the path of the image that a cell means; the cell's own where nothing is there."""
    if is_address(image):
        raise fault(path, line, f"column 'image' holds the address '{image}'", "Download the images, and name files.")
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


def _label(path: Path, line: int, row: Sequence[str], plan: _Plan) -> str:
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


def _split_of_row(path: Path, line: int, row: Sequence[str], plan: _Plan) -> Split:
    if plan.split is not None:
        return _split(path, line, row[plan.split])
    if plan.marks is None:
        return "train"
    columns, places = plan.marks
    try:
        return columns.read([row[place] for place in places])
    except ColumnFault as error:
        raise fault(path, line, error.args[0], error.args[1]) from error


def _require_one_label_each(path: Path, entries: Sequence[tuple[str, _Entry]], labels: Sequence[str]) -> None:
    joined = joined_labels(labels)
    if joined is not None:
        name, parts = joined
        line = next(entry.line for (_, entry), label in zip(entries, labels, strict=True) if label == name)
        several = f"label '{name}' joins {len(parts)} labels, {', '.join(map(repr, parts[:3]))}"
        raise fault(
            path, line, several, "Give each image one label; a class of its own needs a name without that sign."
        )


def _splits_of_paths(samples: list[Sample]) -> tuple[list[Sample], list[str]]:
    """Return samples with the splits that their paths begin with, if all of them do, and what is to be said of it."""
    found = [split_of(sample.name.partition("/")[0]) if "/" in sample.name else None for sample in samples]
    if None in found or "train" not in found or len(set(found)) == 1:
        return samples, []
    moved = [
        sample if split is None or split == "train" else _in_split(sample, split)
        for sample, split in zip(samples, found, strict=True)
    ]
    return moved, ["The splits are those of the folders that all paths begin with."]


def _in_split(sample: Sample, split: Split) -> Sample:
    return replace(sample, split=split)


def _pairs(respelt: dict[str, str]) -> str:
    shown = [f"'{name}' is '{kept}'" for name, kept in list(respelt.items())[:3]]
    return ", ".join(shown) + (" and so on" if len(respelt) > 3 else "")


def _do(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _other_name(path: Path, wanted: str, header: Sequence[str]) -> str | None:
    try:
        return taken_for(wanted, header)
    except AmbiguousColumnsError as error:
        missing, *names = error.args
        several = f"column '{missing}' is missing, and {' and '.join(repr(name) for name in names)} may be it"
        raise fault(path, 1, several, f"Call one of them '{missing}'.") from error


def _check_header(path: Path, header: list[str]) -> None:
    repeated = next((name for name in COLUMNS if header.count(name) > 1), None)
    if repeated:
        raise fault(path, 1, f"column '{repeated}' is named twice", "Keep one of them.")
    missing = [name for name in COLUMNS if name not in header]
    # Other columns are the user's own, but one that is nearly ours is a slip, and ignoring it would lose its content.
    for name in (name for name in header if name and name not in COLUMNS):
        if get_close_matches(name, missing, n=1, cutoff=0.8):
            hint = did_you_mean(name, missing).strip()
            raise fault(path, 1, f"unknown column '{name}'", f"{hint} Rename it.")


def _require_columns(path: Path, header: list[str], names: Container[str], has_classes: bool) -> None:
    boxed = bool(set(BOX) & set(header))
    needed = [
        name
        for name in COLUMNS
        if name not in names
        and ((name in REQUIRED and not (name == "label" and has_classes)) or (name in BOX and boxed))
    ]
    if needed:
        extra = [name for name in header if name and name not in COLUMNS]
        hint = next(filter(None, (did_you_mean(name, needed) for name in extra)), "")
        missing = f"column '{needed[0]}' is missing; found {listed(header)}"
        raise fault(path, 1, missing, f"Name the columns in line 1.{hint}")


def _split(path: Path, line: int, cell: str) -> Split:
    name = clean_name(cell).strip().lower() or "train"
    split = split_of(name)
    if split is None:
        other = f"column 'split' holds '{cell.strip()}', but must be train, val or test"
        raise fault(path, line, other, "Correct it." + did_you_mean(name, SPLIT_NAMES))
    return split


def _box(path: Path, line: int, cells: list[str], comma: bool, *, strict: bool) -> Box | None:
    """Return the box of four cells, or None where all are empty."""
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
    """Find out what is wrong with four cells that are no box."""
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


def _beside(manifest: Path, image: str) -> str:
    """Return ``str(manifest.parent / image)``; of a plain name without a `Path`, whose parts Python would keep."""
    odd = "./" in image or "//" in image or image.endswith(("/", "/."))
    if odd or os.sep != "/" or os.path.isabs(image):  # noqa: PTH117 (a million rows)
        return str(manifest.parent / image)
    folder = str(manifest.parent)
    return image if folder == "." else f"{folder.rstrip('/')}/{image}"


def _sample_name(base: Path, image: str) -> str:
    """Return the stable name of an image: relative to the manifest's folder where it lies below it."""
    if os.path.isabs(image):  # noqa: PTH117 (a million rows)
        full = Path(image)
        return (full.relative_to(base) if full.is_relative_to(base) else full).as_posix()
    name = image.replace(os.sep, "/")
    return posixpath.normpath(name) if "./" in name or "//" in name else name


def _sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    names = sorted(labels)
    if all(_NUMBER.fullmatch(name) for name in names):
        names.sort(key=float)
    return tuple(names)


def _no_image(path: Path) -> DataError:
    return DataError(f"'{path}' names columns but no image. Add a line for each image.")
