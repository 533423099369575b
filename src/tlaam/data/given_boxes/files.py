"""Files of boxes: MegaDetector's JSON, COCO, a folder of YOLO text files, and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlaam.data.annotations.documents import Place, entries_of, id_of, mappings, read_json, shown
from tlaam.data.annotations.records import number_of
from tlaam.data.columns import AmbiguousColumnsError, taken_for
from tlaam.data.given_boxes.given import BoxTable, GivenBoxes, Listed, YoloBoxes
from tlaam.data.manifest import opened_table
from tlaam.data.table import fault, listed
from tlaam.errors import ConfigError, DataError

LEAST = 0.2
"""Confidence below which a detector's box is ignored, as MegaDetector advises; boxes without one always count."""
NOT_NAMED = ("person", "vehicle")
"""Categories of detections that are not to be named."""

_CORNERS = (("x_min", "y_min", "x_max", "y_max"), ("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))
_SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"))
_CONFIDENCE = ("confidence", "conf", "score")

Box = tuple[float, float, float, float]


def read_boxes(path: str | Path, least: float | None = None) -> GivenBoxes:
    """Read the boxes that another program has found.

    Args:
        path: MegaDetector's JSON, COCO JSON, a folder of YOLO text files, or a table with an image column and the four
            columns of a box, in pixels.
        least: confidence below which a box is ignored. [0.2]

    Raises:
        DataError: the file is none of these, or is damaged; the message names the place.
        ConfigError: `least` is not between 0 and 1.
    """
    path = Path(path)
    least = LEAST if least is None else least
    if not 0 <= least <= 1:
        raise ConfigError(f"a confidence is from 0 to 1; {least} is not.")
    if path.is_dir():
        return _yolo(path, least)
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _table(path, least)
    content = read_json(path)
    if isinstance(content, Mapping) and "annotations" in content:
        return BoxTable(_of_coco(path, content, least), f"'{path}'", complete=True)
    if isinstance(content, Mapping) and "images" in content:
        return BoxTable(_of_megadetector(path, content, least), f"'{path}'", complete=True)
    raise DataError(
        f"'{path}' holds neither MegaDetector's results (images with detections) nor COCO's (images and annotations). "
        "Give one of these, a folder of YOLO's text files, or a CSV file with image, x_min, y_min, x_max and y_max."
    )


def _yolo(folder: Path, least: float) -> YoloBoxes:
    inner = folder / "labels"
    folder = inner if inner.is_dir() else folder
    if next(folder.rglob("*.txt"), None) is None:
        raise DataError(f"'{folder}' holds no text files of YOLO's. Give the folder of labels.")
    return YoloBoxes(folder, least)


def _of_megadetector(path: Path, content: Mapping[str, Any], least: float) -> dict[str, Listed]:
    categories = content.get("detection_categories") or {}
    if not isinstance(categories, Mapping):
        raise Place(path).fault(f"'detection_categories' is {shown(categories)}, but must be an object")
    others = {str(key) for key, name in categories.items() if str(name).strip().lower() in NOT_NAMED}
    found: dict[str, Listed] = {}
    for number, entry in enumerate(entries_of(content, "images", path), start=1):
        place = Place(path, "image", number)
        file = _file(entry.get("file"), "file", place)
        detections = entry.get("detections")
        if detections is None:
            failure = entry.get("failure")
            found[file] = Listed(failure=str(failure) if failure else "nobody has looked at it")
            continue
        boxes = []
        for detection in mappings(detections, "detections", path):
            if str(detection.get("category")) in others or not _counts(detection.get("conf"), least, place):
                continue
            x, y, width, height = _four(detection.get("bbox"), place)
            boxes.append((x, y, x + width, y + height))
        _add(found, file, Listed(tuple(boxes), shares=True), place)
    return found


def _of_coco(path: Path, content: Mapping[str, Any], least: float) -> dict[str, Listed]:
    images: dict[str, tuple[str, tuple[float, float] | None]] = {}
    for number, entry in enumerate(entries_of(content, "images", path), start=1):
        place = Place(path, "image", number)
        sides = [number_of(entry.get(name)) for name in ("width", "height")]
        known = [side for side in sides if side is not None and math.isfinite(side) and side > 0]
        size = (known[0], known[1]) if len(known) == 2 else None
        key = id_of(entry, "id", place)
        if key in images:
            raise place.fault(f"two images have the id {key}", "Give each an id of its own.")
        images[key] = _file(entry.get("file_name"), "file_name", place), size
    boxes: dict[str, list[Box]] = {key: [] for key in images}
    for number, entry in enumerate(entries_of(content, "annotations", path), start=1):
        place = Place(path, "annotation", number)
        key = id_of(entry, "image_id", place)
        if key not in images or entry.get("iscrowd") or not _counts(entry.get("score"), least, place):
            continue
        x, y, width, height = _four(entry.get("bbox"), place)
        boxes[key].append((x, y, x + width, y + height))
    found: dict[str, Listed] = {}
    for key, (file, size) in images.items():
        _add(found, file, Listed(tuple(boxes[key]), size=size), Place(path, "image", key))
    return found


def _table(path: Path, least: float) -> BoxTable:
    """Read a table: one row per box, or a row without a box for a photograph that shows nothing."""
    found: dict[str, list[Box]] = {}
    with opened_table(path) as table:
        header = table.header
        try:
            image = "image" if "image" in header else taken_for("image", header)
        except AmbiguousColumnsError as error:
            several = " and ".join(f"'{name}'" for name in error.args[1:])
            raise DataError(f"'{path}' has columns {several}; call the one with the images image.") from error
        kind = next((names for names in (*_CORNERS, *_SIDES) if set(names) <= set(header)), None)
        if image is None or kind is None:
            raise DataError(
                f"'{path}' has the columns {listed(header)}; boxes need image, and x_min, y_min, x_max and y_max."
            )
        at, sure = [header.index(name) for name in kind], [header.index(n) for n in _CONFIDENCE if n in header][:1]
        for line, row in table.rows:
            cells = [row[place].strip() if place < len(row) else "" for place in (header.index(image), *at, *sure)]
            if not cells[0]:
                raise fault(path, line, "it names no image", "Name one.")
            boxes = found.setdefault(cells[0], [])
            if not any(cells[1:5]):
                continue
            numbers = [number_of(cell) for cell in cells[1:5]]
            x0, y0, x1, y1 = (math.nan if number is None else number for number in numbers)
            if not all(map(math.isfinite, (x0, y0, x1, y1))):
                raise fault(path, line, f"{', '.join(map(shown, cells[1:5]))} are no four numbers", "Correct them.")
            if cells[5:] and cells[5] and not _counts(cells[5], least, Place(path, "line", line)):
                continue
            boxes.append((x0, y0, x0 + x1, y0 + y1) if kind in _SIDES else (x0, y0, x1, y1))
    return BoxTable({name: Listed(tuple(of_image)) for name, of_image in found.items()}, f"'{path}'", complete=False)


def _add(found: dict[str, Listed], file: str, entry: Listed, place: Place) -> None:
    if found.setdefault(file, entry) != entry:
        raise place.fault(f"'{file}' is listed twice, with different boxes", "Give each image one entry.")


def _file(value: Any, name: str, place: Place) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise place.fault(f"it has no '{name}'" if value is None else f"'{name}' is {shown(value)}, but must be a path")
    return value.strip()


def _four(value: Any, place: Place) -> Box:
    numbers: Sequence[float | None] = [number_of(each) for each in value] if isinstance(value, list) else []
    finite = [number for number in numbers if number is not None and math.isfinite(number)]
    if len(numbers) != 4 or len(finite) != 4:
        raise place.fault(f"'bbox' is {shown(value)}, but must be four numbers, x, y, width and height")
    return finite[0], finite[1], finite[2], finite[3]


def _counts(value: Any, least: float, place: Place) -> bool:
    """Return whether a box of this confidence counts; a box without one always does."""
    if value is None:
        return True
    number = number_of(value)
    if number is None or not math.isfinite(number):
        raise place.fault(f"the confidence is {shown(value)}, but must be a number")
    return number >= least


__all__ = ["LEAST", "NOT_NAMED", "read_boxes"]
