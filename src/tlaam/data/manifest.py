"""A CSV manifest: one line per image, with its label and, if they are known, its split and box."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tlaam.data.boxes import are_shares, in_pixels
from tlaam.data.columns import COLUMNS
from tlaam.data.labels import joined_labels, same_label, sorted_labels, spellings_of_numbers, worded_labels
from tlaam.data.locate import ImageFinder
from tlaam.data.manifest_plan import other_name, plan_of
from tlaam.data.manifest_rows import Entry, entries, file_of
from tlaam.data.rules import require_usable_classes, split_of
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split_names import splits_of_paths
from tlaam.data.table import Table, encoding_of, fault, listed, read_table
from tlaam.data.walk import files_directly_in, holds_images, images_directly_in, visible_folders
from tlaam.errors import DataError, did_you_mean
from tlaam.utils.collector import collector_paused

FOLDER_NAMES = ("manifest.csv", "annotations.csv", "_classes.csv")
"""Manifests of these names are recognised if the folder that holds one of them is given."""
_OF_LOOSE_IMAGES = re.compile(r"(train|training)([ _-]?(labels?|data|set|metadata))?\.(csv|tsv)|labels?\.(csv|tsv)")


def manifest_in(root: Path) -> Path | None:
    """Return `root` if it is a manifest, or the manifest in it with a usual name; None if there is none.

    Raises:
        DataError: the folder holds several manifests.
    """
    if root.is_file():
        return root if root.suffix.lower() in (".csv", ".tsv") else None
    found = [root / name for name in FOLDER_NAMES if (root / name).is_file()]
    if not found:
        found = _tables_of_loose_images(root)
    if len(found) > 1:
        raise DataError(f"'{root}' holds both '{found[0].name}' and '{found[1].name}'. Give the path of one of them.")
    return found[0] if found else None


def _tables_of_loose_images(root: Path) -> list[Path]:
    """Return the label tables beside a folder ``train`` whose images lie in no class folder, as in Kaggle's layout."""
    folder = next((each for each in visible_folders(root) if split_of(each.name) == "train"), None)
    if folder is None or not images_directly_in(folder) or any(map(holds_images, visible_folders(folder))):
        return []
    return [root / name for name in files_directly_in(root) if _OF_LOOSE_IMAGES.fullmatch(name.lower())]


@collector_paused()
def read_manifest(path: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read a CSV file with the columns ``image,label[,split][,group][,x_min,y_min,x_max,y_max]``.

    The first line names the columns, in any order. The encoding is UTF-8 with or without byte-order mark, or UTF-16;
    the delimiter is a comma, semicolon, tab or bar.

    Image paths are absolute or relative to the file's folder. A path that does not exist is looked for in other
    spellings (`tlaam.data.locate`); images are not opened. An empty split is ``train``; others may be spelt as in
    `SPLIT_NAMES`. Images of one group stay on the same side of every split that is cut; an image whose group is empty
    is a group of its own. A box is xyxy in pixels of the image as `tlaam.data.images.load_image` decodes it, x_max and
    y_max exclusive; all four numbers are given, or none. Boxes in shares of the image are converted. Classes are the
    labels, sorted, by value if all are numbers. A line that repeats another exactly counts once.

    Columns with other names are ignored, unless they stand for a missing one: an image or a label under a usual name,
    classes as columns of 0 and 1, splits in words or as yes and no (`tlaam.data.split_columns`).
    `LabelledImages.notes` says what was read as what.

    Args:
        strict: refuse impossible boxes, images that are listed twice with different content, and classes that cannot
            be learned (`require_usable_classes`). Otherwise all of these are kept: a box as written, or as four NaN if
            it is not four numbers; an image once for each content.

    Raises:
        DataError: a column is missing, misspelt or ambiguous, or a cell is empty or impossible; also whatever `strict`
            refuses. The message names file, line and column.
    """
    path = Path(path)
    if "submission" in path.name.lower():
        raise DataError(
            f"'{path}' is called as a submission, whose labels are placeholders or answers. Give the table of the "
            "training images, or rename this one if its labels are true."
        )
    with opened_table(path) as table:
        plan = plan_of(path, table)
    for moves in (True, False):
        finder = ImageFinder(path.absolute().parent, moves=moves)
        with opened_table(path) as table:
            found = _unique(path, entries(path, table.rows, plan, finder, strict=strict), strict=strict)
        if not finder.is_mixed:
            break
    if not found:
        raise _no_image(path)
    respelt = spellings_of_numbers(entry.label for _, entry in found)
    named = [respelt.get(entry.label, entry.label) for _, entry in found]
    _require_one_label_each(path, found, named)
    classes = sorted_labels(set(named))
    labels = {name: label for label, name in enumerate(classes)}
    samples = [
        Sample(_beside(path, entry.image), name, labels[label], entry.split, entry.box, group=entry.group)
        for (name, entry), label in zip(found, named, strict=True)
    ]
    notes = [*plan.notes, *finder.notes()]
    if plan.split is None and plan.marks is None:
        samples, said = splits_of_paths(samples)
        notes += said
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
    """Yield the paths in the column ``image`` of a CSV file, joined to the file's folder unless they are absolute.

    Other columns are not required: for images to be predicted, nothing else is known. The file is streamed, so its
    length does not matter for memory.

    Raises:
        DataError: the file cannot be read as CSV, has no such column, or a cell of this column is empty.
    """
    path = Path(path)
    finder = ImageFinder(path.absolute().parent)
    with opened_table(path) as table:
        header = table.header
        if header.count("image") > 1:
            raise fault(path, 1, f"column 'image' is named twice; found {listed(header)}", "Keep one of them.")
        name = "image" if "image" in header else other_name(path, "image", header)
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
            yield _beside(path, file_of(path, line, image, finder, strict=False))
        if not count:
            raise _no_image(path)


def columns_of(path: Path) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        DataError: the file cannot be read as CSV.
    """
    with opened_table(path) as table:
        return list(table.header)


@contextmanager
def opened_table(path: Path) -> Iterator[Table]:
    """Open a table; faults of the file, including those met while reading rows, become a DataError that names it."""
    try:
        with path.open(newline="", encoding=encoding_of(path)) as stream:
            yield read_table(path, stream, lambda header: len(set(header).intersection(COLUMNS)))
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error.reason}). Save it as 'CSV UTF-8'.") from error
    except OSError as error:
        raise DataError(f"Cannot read manifest '{path}': {error.strerror or error}. Check the path.") from error


def _unique(path: Path, found: Iterable[Entry], *, strict: bool) -> list[tuple[str, Entry]]:
    """Return the entries with the names of their samples, in the file's order, without exact repetitions."""
    entries: dict[str, Entry] = {}
    others: list[tuple[str, Entry]] = []
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


def _require_one_label_each(path: Path, entries: Sequence[tuple[str, Entry]], labels: Sequence[str]) -> None:
    joined = joined_labels(labels)
    if joined is not None:
        name, parts = joined
        line = next(entry.line for (_, entry), label in zip(entries, labels, strict=True) if label == name)
        several = f"label '{name}' joins {len(parts)} labels, {', '.join(map(repr, parts[:3]))}"
        raise fault(
            path, line, several, "Give each image one label; a class of its own needs a name without that sign."
        )


def _pairs(respelt: dict[str, str]) -> str:
    shown = [f"'{name}' is '{kept}'" for name, kept in list(respelt.items())[:3]]
    return ", ".join(shown) + (" and so on" if len(respelt) > 3 else "")


def _beside(manifest: Path, image: str) -> str:
    """Return ``str(manifest.parent / image)``; plain names bypass `Path`, whose parts Python would keep in memory."""
    odd = "./" in image or "//" in image or image.endswith(("/", "/."))
    if odd or os.sep != "/" or os.path.isabs(image):  # noqa: PTH117 (a million rows)
        return str(manifest.parent / image)
    folder = str(manifest.parent)
    return image if folder == "." else f"{folder.rstrip('/')}/{image}"


def _sample_name(base: Path, image: str) -> str:
    """Return the stable name of an image: its path relative to the manifest's folder if it lies below it."""
    if os.path.isabs(image):  # noqa: PTH117 (a million rows)
        full = Path(image)
        return (full.relative_to(base) if full.is_relative_to(base) else full).as_posix()
    name = image.replace(os.sep, "/")
    return posixpath.normpath(name) if "./" in name or "//" in name else name


def _no_image(path: Path) -> DataError:
    return DataError(f"'{path}' names columns but no image. Add a line for each image.")
