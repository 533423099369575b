"""YOLO's detection folders: for each image, a text file of classes and boxes, which are shares of the image.

YOLO's classification folders are class folders and are read as such.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlaam.data.annotations.annotated import labelled_images
from tlaam.data.annotations.documents import Place, name_of, shown
from tlaam.data.annotations.records import Annotated, Object, Source, checked_box, number_of
from tlaam.data.rules import NO_NUMBERS, split_of
from tlaam.data.sample import Box, LabelledImages, Split
from tlaam.data.walk import image_files, visible_files, visible_folders
from tlaam.errors import ConfigError, DataError
from tlaam.utils.collector import collector_paused
from tlaam.utils.reading import read_text
from tlaam.utils.text import shortened
from tlaam.utils.yaml_file import yaml_mapping

_YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
_DARKNET = "obj_train_data"
_OUTSIDE = 0.5  # share of a side that a box may reach outside before its numbers are taken for pixels


def is_yolo(path: Path) -> bool:
    """Whether a path is a YAML file for YOLO, or a folder of images with a text file for each."""
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    return path.is_dir() and any(_has_text(folder) for folder in _label_folders(path))


@collector_paused()
def read_yolo(root: str | Path, *, strict: bool = True, crops: bool = False) -> LabelledImages:
    """Read the images of a folder whose labels lie in ``labels``, parallel to ``images``, or beside the images.

    A line of a text file is a class followed by the centre, width and height of a box, or by the corners of a polygon,
    whose extent is the box. ``data.yaml`` or ``classes.txt`` names the classes. The splits are those that ``data.yaml``
    names or, without it, those that the names of folders state. An image without a text file, or with an empty one, is
    left out.

    Args:
        root: the folder, or its ``data.yaml``.
        strict: see `tlaam.data.annotations.coco.read_coco`.
        crops: read each box as an image of its own.

    Raises:
        DataError: classes have no names, a line is malformed, or images have several categories; also whatever `strict`
            refuses. The message names the file and the line.
    """
    root = Path(root)
    home = root if root.is_dir() else root.parent
    settings = _settings(root)
    names, named_in = _class_names(home, settings)
    split_folders, notes = _split_folders(home, settings)
    has_points = "kpt_shape" in settings[0]
    annotated = []
    for image in sorted(image_files(home)):
        file = _label_file(home, image)
        place = Place(home / file)
        objects = tuple(_objects(home / file, names, place, has_points=has_points, strict=strict))
        annotated.append(Annotated(image, _split(image, split_folders), place, (), objects))
    title = f"YOLO's detection folders, classes of '{named_in.relative_to(home).as_posix()}'"
    source = Source(root, home, "yolo", title, crops, strict, True, [*notes, *_strays(home, annotated)])
    return labelled_images(source, annotated)


def _label_folders(root: Path) -> list[Path]:
    """Return the folders with text files that belong to images: ``labels``, inside splits or around them."""
    inner = [root / _DARKNET, root / "labels"]
    inner += [folder / "labels" for folder in visible_folders(root) if split_of(folder.name)]
    return [folder for folder in inner if folder.is_dir() and (folder.name == _DARKNET or _has_images(folder))]


def _has_images(labels: Path) -> bool:
    return (labels.parent / "images").is_dir()


def _has_text(folder: Path) -> bool:
    return any(file.endswith(".txt") and not file.endswith("classes.txt") for file in visible_files(folder))


def _settings(root: Path) -> tuple[Mapping[str, Any], Path | None]:
    """Return the content of the YAML file, and its path."""
    found = [root] if root.is_file() else [root / name for name in _YAML if (root / name).is_file()]
    if len(found) > 1:
        raise DataError(f"'{root}' holds both '{found[0].name}' and '{found[1].name}'. Give the path of one of them.")
    if not found:
        return {}, None
    try:
        return yaml_mapping(_text(found[0]), f"'{found[0]}'"), found[0]
    except ConfigError as error:
        raise DataError(str(error)) from error


def _class_names(home: Path, settings: tuple[Mapping[str, Any], Path | None]) -> tuple[dict[int, str], Path]:
    """Return the class names by number, and the file that has them.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    values, path = settings
    if path is not None and "names" in values:
        place, names = Place(path), values["names"]
        pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, Mapping) else None
        if pairs is None:
            raise place.fault(f"'names' is {shown(names)}, but must be a list")
        found = {}
        for number, name in pairs:
            key = number_of(number)
            if key is None or not key.is_integer():
                raise place.fault(f"'names' has the number {shown(number)}")
            found[int(key)] = name_of(name, f"the name of class {int(key)}", place)
    else:
        path = next((home / name for name in _LISTS if (home / name).is_file()), None)
        if path is None:
            raise DataError(
                f"'{home}' has labels in YOLO's form, but nothing names their classes. Add 'data.yaml' with 'names', "
                "or 'classes.txt' with a name a line."
            )
        place = Place(path)
        lines = [line for line in _text(path).splitlines() if line.strip()]
        found = {number: name_of(line.strip(), "a class", place) for number, line in enumerate(lines)}
    if repeated := [name for name, count in Counter(found.values()).items() if count > 1]:
        raise place.fault(f"two classes are called '{repeated[0]}'", "Give each a name of its own.")
    return found, path


def _split_folders(home: Path, settings: tuple[Mapping[str, Any], Path | None]) -> tuple[dict[str, Split], list[str]]:
    """Return the folders, relative to `home`, that the YAML file names as splits, and notes on missing ones.

    Raises:
        DataError: it names lists of files, or anything other than folders.
    """
    values, path = settings
    found: dict[str, Split] = {}
    notes: list[str] = []
    for name, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
        given = values.get(name)
        for folder in given if isinstance(given, list) else [given]:
            if path is None or folder in (None, ""):
                continue
            if not isinstance(folder, str):
                raise Place(path).fault(f"'{name}' is {shown(folder)}, but must be a folder")
            if folder.lower().endswith(".txt"):
                raise Place(path).fault(f"'{name}' is a list of files, '{folder}'", "Put each split in a folder.")
            place = _folder_below(home, folder)
            if place is None:
                notes.append(f"The folder '{shortened(folder)}' that '{path.name}' names as {name} is not there.")
            elif found.setdefault(place, split) != split:  # type: ignore[arg-type]
                notes.append(f"'{path.name}' names '{place}' as {name}, too; its images are for training alone.")
    return found, notes


def _folder_below(home: Path, folder: str) -> str | None:
    """Return a folder below `home`, wherever it lay when its path was written; None if there is none."""
    parts = [part for part in folder.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    ends = ["/".join(parts[start:]) for start in range(len(parts)) if start == 0 or len(parts) - start > 1]
    return next((end for end in ends if end and (home / end).is_dir()), None)


def _split(image: str, folders: Mapping[str, Split]) -> Split | None:
    """Return the split of an image: that of its innermost folder that has one."""
    parts = image.split("/")[:-1]
    for end in range(len(parts), 0, -1):
        if (split := folders.get("/".join(parts[:end]))) is not None:
            return split
    named = (split_of(part.rstrip("0123456789")) for part in parts)
    return next((split for split in named if split is not None), None)


def _label_file(home: Path, image: str) -> str:
    """Return the path of an image's text file: ``images`` becomes ``labels``."""
    *folders, name = image.split("/")
    places = [place for place, folder in enumerate(folders) if folder.lower() == "images"]
    if places:
        folders[places[-1]] = "labels"
    return "/".join([*folders, f"{name.rpartition('.')[0]}.txt"])


def _objects(path: Path, names: Mapping[int, str], place: Place, *, has_points: bool, strict: bool) -> Iterator[Object]:
    if not path.is_file():
        return
    for number, line in enumerate(_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        at = Place(path, "line", number)
        values = [number_of(field) for field in fields]
        index = values[0]
        if index is None or not index.is_integer() or int(index) not in names:
            raise at.fault(f"class {shown(fields[0])} is none of the {len(names)} that have names")
        yield Object(names[int(index)], _box(values[1:], at, has_points=has_points, strict=strict))


def boxes_in_file(path: Path, least: float = 0.0) -> Iterator[Box]:
    """Yield the boxes of a text file, xyxy in shares of the image's sides, whatever their classes.

    Args:
        path: the file; a line is a class and a box, perhaps followed by a confidence, or the corners of a polygon.
        least: confidence below which a box is left out.

    Raises:
        DataError: a line is malformed. The message names the file and the line.
    """
    for number, line in enumerate(_text(path).splitlines(), start=1):
        values = [number_of(field) for field in line.split()[1:]]
        at = Place(path, "line", number)
        if not line.strip():
            continue
        box = _box(values, at, has_points=False, strict=True)
        if box is None:
            raise at.fault("it is no class with x, y, width and height")
        confidence = values[4] if len(values) == 5 else None
        if confidence is None or confidence >= least:
            yield box


def _box(numbers: Sequence[float | None], place: Place, *, has_points: bool, strict: bool) -> Box | None:
    """Return the box of the numbers after a class: centre and sides, or the corners of a polygon."""
    if not numbers:
        return None
    written = [number for number in numbers if number is not None]
    is_polygon = len(numbers) >= 6 and len(numbers) % 2 == 0 and not has_points
    if len(written) < len(numbers) or not (len(numbers) in (4, 5) or is_polygon or (has_points and len(numbers) > 4)):
        if strict:
            raise place.fault("it is no class with x, y, width and height, nor with the corners of a polygon")
        return NO_NUMBERS
    if is_polygon:
        box = (min(written[::2]), min(written[1::2]), max(written[::2]), max(written[1::2]))
    else:
        x, y, width, height = written[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if strict and not all(-_OUTSIDE <= value <= 1 + _OUTSIDE for value in box if math.isfinite(value)):
        raise place.fault("the box lies outside the image", "Boxes are shares of width and height, from 0 to 1.")
    return checked_box(box, place, strict=strict)


def _text(path: Path) -> str:
    try:
        return read_text(path).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is no UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}. Check the path and its rights.") from error


def _strays(home: Path, annotated: Sequence[Annotated]) -> list[str]:
    """Return a note on the text files that belong to no image."""
    known = {str(each.place.path) for each in annotated}
    stray = [
        file
        for folder in _label_folders(home)
        for file in visible_files(folder)
        if file.endswith(".txt") and not file.endswith("classes.txt") and str(folder / file) not in known
    ]
    return [f"Left out: {len(stray):,} text files of labels without an image, such as '{stray[0]}'."] if stray else []


__all__ = ["boxes_in_file", "is_yolo", "read_yolo"]
