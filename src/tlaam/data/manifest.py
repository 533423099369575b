"""A CSV manifest: one line for each image, with its label and, where they are known, its split and box."""

from __future__ import annotations

import codecs
import csv
import gc
import math
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, TextIO

from tlaam.data.rules import NO_NUMBERS, SPLIT_NAMES, require_usable_classes
from tlaam.data.sample import Box, LabelledImages, Sample, Split
from tlaam.errors import DataError, did_you_mean
from tlaam.utils.reading import bounded_lines, require_regular
from tlaam.utils.text import shortened

FOLDER_NAMES = ("manifest.csv", "annotations.csv")
"""Manifests of these names are recognised when the folder that holds one of them is given."""

_REQUIRED = ("image", "label")
_BOX = ("x_min", "y_min", "x_max", "y_max")
_COLUMNS = (*_REQUIRED, "split", "group", *_BOX)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


class _Entry(NamedTuple):
    line: int
    image: str
    label: str
    split: Split
    box: Box | None
    group: str | None


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

    The first line names the columns, in any order; others are ignored. UTF-8 with or without byte-order mark, or UTF-16
    with one; comma, semicolon or tab. Image paths are relative to the file's folder, or absolute; images are neither
    opened nor looked for. An empty split is ``train``; others may be spelt as in `SPLIT_NAMES`. Images of one group
    never stand on two sides of a split that is cut; an image whose group is empty is a group of its own. A box is xyxy
    in pixels of the image as `tlaam.data.images.load_image` decodes it, x_max and y_max exclusive; all four numbers or
    none. Classes are the labels, sorted, by value if all are numbers. A line that repeats another exactly counts once.

    Args:
        strict: refuse impossible boxes, images that are listed twice with different content, and classes that cannot
            be learned (`require_usable_classes`). Otherwise all of them are kept: a box as it is written, or four NaN
            where it is not four numbers; an image once for each content.

    Raises:
        DataError: naming file, line and column: a column is missing or misspelt, or a cell is empty or impossible; and
            whatever `strict` refuses.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding=_encoding(path)) as stream:
            entries = _unique(path, stream, strict=strict)
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error.reason}). Save it as 'CSV UTF-8'.") from error
    except OSError as error:
        raise DataError(f"Cannot read manifest '{path}': {error.strerror or error}. Check the path.") from error
    if not entries:
        raise _no_image(path)
    classes = _sorted_labels({entry.label for _, entry in entries})
    labels = {name: label for label, name in enumerate(classes)}
    samples = tuple(
        Sample(_beside(path, entry.image), name, labels[entry.label], entry.split, entry.box, group=entry.group)
        for name, entry in entries
    )
    title = path.resolve().parent.name if path.name in FOLDER_NAMES else path.stem
    images = LabelledImages(title or path.stem, path, "manifest", classes, samples)
    return require_usable_classes(images) if strict else images


def image_paths(path: str | Path) -> Iterator[str]:
    """Yield the column ``image`` of a CSV file, one path after the other, relative to the file's folder or absolute.

    Other columns need not be there: for images that are to be predicted nothing else is known. Nothing is held in
    memory, however long the file.

    Raises:
        DataError: the file cannot be read as CSV, or has no such column, or a cell of it is empty.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding=_encoding(path)) as stream:
            lines = bounded_lines(stream, path)
            header, delimiter = _header(path, next(lines, ""))
            if header.count("image") != 1:
                fault = (
                    f"column 'image' is {'named twice' if 'image' in header else 'missing'}; found {_listed(header)}"
                )
                hint = next(filter(None, (did_you_mean(name, ["image"]) for name in header)), "")
                raise _fault(path, 1, fault, f"Name the columns in line 1.{hint}")
            place, count = header.index("image"), 0
            reader = csv.reader(lines, delimiter=delimiter)
            try:
                for row in reader:
                    if not any(row):
                        continue
                    image = row[place].strip() if place < len(row) else ""
                    if not image:
                        raise _fault(path, reader.line_num + 1, "column 'image' is empty", "Fill it in.")
                    count += 1
                    yield _beside(path, image)
            except csv.Error as error:
                raise _fault(path, reader.line_num + 1, str(error), "Correct the quotes of the line.") from error
            if not count:
                raise _no_image(path)
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error.reason}). Save it as 'CSV UTF-8'.") from error
    except OSError as error:
        raise DataError(f"Cannot read manifest '{path}': {error.strerror or error}. Check the path.") from error


def _encoding(path: Path) -> str:
    require_regular(path)
    with path.open("rb") as stream:
        # Spreadsheets that save "Unicode text" write UTF-16, and always with this mark.
        return "utf-16" if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _unique(path: Path, stream: TextIO, *, strict: bool) -> list[tuple[str, _Entry]]:
    """Return the entries with their samples' names, in the file's order, without exact repetitions."""
    entries: dict[str, _Entry] = {}
    others: list[tuple[str, _Entry]] = []
    base = path.absolute().parent
    for entry in _entries(path, stream, strict=strict):
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
            if here != there:
                fault = f"image '{name}' has the {column} '{here}' here, but '{there}' in line {first.line}"
                raise _fault(path, entry.line, fault, "Keep one of them.")
    if not others:
        return list(entries.items())
    contents = {(name, entry.label, entry.split, entry.box): entry for name, entry in [*others[::-1], *entries.items()]}
    return sorted(((name, entry) for (name, *_), entry in contents.items()), key=lambda pair: pair[1].line)


def _entries(path: Path, stream: TextIO, *, strict: bool) -> Iterator[_Entry]:
    """Yield the checked rows, one by one, so that a long file costs no more memory than its entries."""
    lines = bounded_lines(stream, path)
    header, delimiter = _header(path, next(lines, ""))
    _check_header(path, header)
    position = {name: header.index(name) for name in _COLUMNS if name in header}
    image_at, label_at = position["image"], position["label"]
    split_at, group_at = position.get("split"), position.get("group")
    box_at = [position[name] for name in _BOX] if _BOX[0] in position else []
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            if not any(row):
                continue
            line = reader.line_num + 1  # the header was read beside the reader
            if len(row) < len(header):
                row += [""] * (len(header) - len(row))
            elif len(row) > len(header) and any(row[len(header) :]):
                fault = f"it has {len(row)} fields, but line 1 names {len(header)} columns"
                raise _fault(path, line, fault, "Put text that holds the delimiter in double quotes.")
            image, label = row[image_at].strip(), row[label_at].strip()
            if not image or not label:
                raise _fault(path, line, f"column '{'label' if image else 'image'}' is empty", "Fill it in.")
            split = _split(path, line, row[split_at]) if split_at is not None else "train"
            box = _box(path, line, [row[at] for at in box_at], strict=strict) if box_at else None
            group = sys.intern(row[group_at].strip()) or None if group_at is not None else None
            yield _Entry(line, image, sys.intern(label), split, box, group)
    except csv.Error as error:
        raise _fault(path, reader.line_num + 1, str(error), "Correct the quotes of the line.") from error


def _header(path: Path, line: str) -> tuple[list[str], str]:
    """Return the names of the columns, in lower case, and what stands between them."""
    try:
        delimiter = max(",;\t", key=lambda character: _familiarity(_cells(line, character)))
        return [name.strip().lower() for name in _cells(line, delimiter)], delimiter
    except csv.Error as error:
        raise _fault(path, 1, str(error), "Name the columns in line 1.") from error


def _listed(header: list[str]) -> str:
    """Return the names of columns for a message, as far as they are of bearable length."""
    return shortened(", ".join(f"'{name}'" for name in header) or "nothing")


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _familiarity(header: list[str]) -> tuple[int, int]:
    """Rank a way to cut the header: by the columns that are known, then by how many there are."""
    return len({name.strip().lower() for name in header}.intersection(_COLUMNS)), len(header)


def _check_header(path: Path, header: list[str]) -> None:
    repeated = next((name for name in _COLUMNS if header.count(name) > 1), None)
    if repeated:
        raise _fault(path, 1, f"column '{repeated}' is named twice", "Keep one of them.")
    missing = [name for name in _COLUMNS if name not in header]
    extra = [name for name in header if name and name not in _COLUMNS]
    # Other columns are the user's own, but one that is nearly ours is a slip, and ignoring it would lose its content.
    for name in extra:
        if get_close_matches(name, missing, n=1, cutoff=0.8):
            raise _fault(path, 1, f"unknown column '{name}'", did_you_mean(name, missing).strip() + " Rename it.")
    needed = [name for name in missing if name in _REQUIRED or (name in _BOX and set(_BOX) & set(header))]
    if needed:
        hint = next(filter(None, (did_you_mean(name, needed) for name in extra)), "")
        raise _fault(
            path, 1, f"column '{needed[0]}' is missing; found {_listed(header)}", f"Name the columns in line 1.{hint}"
        )


def _split(path: Path, line: int, cell: str) -> Split:
    name = cell.strip().lower() or "train"
    if name not in SPLIT_NAMES:
        fault = f"column 'split' holds '{cell.strip()}', but must be train, val or test"
        raise _fault(path, line, fault, "Correct it." + did_you_mean(name, SPLIT_NAMES))
    return SPLIT_NAMES[name]


def _box(path: Path, line: int, cells: list[str], *, strict: bool) -> Box | None:
    """Return the box of four cells, or None where all are empty."""
    try:
        x_min, y_min, x_max, y_max = map(float, cells)
        if -math.inf < x_min < x_max < math.inf and -math.inf < y_min < y_max < math.inf:
            return x_min, y_min, x_max, y_max
        if not strict:
            finite = all(map(math.isfinite, (x_min, y_min, x_max, y_max)))
            return (x_min, y_min, x_max, y_max) if finite else NO_NUMBERS
    except ValueError:
        if not any(map(str.strip, cells)):
            return None
        if not strict:
            return NO_NUMBERS
    raise _box_fault(path, line, [cell.strip() for cell in cells])


def _box_fault(path: Path, line: int, texts: list[str]) -> DataError:
    """Find out what is wrong with four cells that are no box."""
    values = []
    for column, text in zip(_BOX, texts, strict=True):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            fault = f"column '{column}' holds '{text}', but must be a number of pixels"
            return _fault(path, line, fault, "Give all four numbers of a box, or none.")
        values.append(value)
    axis, low, high = ("x", values[0], values[2]) if values[2] <= values[0] else ("y", values[1], values[3])
    fault = f"column '{axis}_max' is {high:g}, but must be greater than '{axis}_min', {low:g}"
    return _fault(path, line, fault, "Boxes are corners, not width and height.")


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


def _fault(path: Path, line: int, fault: str, remedy: str) -> DataError:
    return DataError(f"'{path}' line {line}: {shortened(fault, 1000)}. {remedy}")
