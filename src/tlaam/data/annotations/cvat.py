"""CVAT's export "CVAT for images 1.1": one XML file of images with their tags and shapes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from tlaam.data.annotations.annotated import labelled_images
from tlaam.data.annotations.documents import Place, head_of, name_of, read_xml
from tlaam.data.annotations.image_files import located, usual_folders
from tlaam.data.annotations.records import Annotated, Object, Source, checked_box, number_of
from tlaam.data.rules import NO_NUMBERS, split_of
from tlaam.data.sample import Box, LabelledImages, Split
from tlaam.utils.collector import collector_paused

FILE = "annotations.xml"
_SHAPES = ("polygon", "polyline", "points", "ellipse", "mask", "cuboid", "skeleton")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")


def is_cvat(path: Path) -> bool:
    """Whether a path is an XML file of annotations, or a folder that holds one under CVAT's name."""
    file = path if path.is_file() else path / FILE
    return file.is_file() and file.suffix.lower() == ".xml" and "<annotations" in head_of(file)


@collector_paused()
def read_cvat(root: str | Path, *, strict: bool = True, crops: bool = False) -> LabelledImages:
    """Read an export of CVAT with its images, which lie in ``images`` beside the file.

    A ``tag`` is an image's label, a ``box`` an object's box; a rotated box is replaced by its extent. Other shapes
    count as objects without a box. The split is the image's ``subset``.

    Args:
        root: the file, or the folder that contains it.
        strict: see `tlaam.data.annotations.coco.read_coco`.
        crops: read each box as an image of its own.

    Raises:
        DataError: the file is damaged, belongs to a video, or declares entities, or images have several labels; also
            whatever `strict` refuses. The message names the file and the image.
    """
    root = Path(root)
    path = root if root.is_file() else root / FILE
    document = read_xml(path)
    if document.tag != "annotations":
        raise Place(path).fault(f"it begins with <{document.tag}>", "Export it as 'CVAT for images 1.1'.")
    if document.find("track") is not None:
        raise Place(path).fault("it is of a video (<track>)", "Export it as 'CVAT for images 1.1'.")
    home = path.parent
    listed = [(image, Place(path, "image", image.get("name") or number)) for number, image in _numbered(document)]
    for image, place in listed:
        if not (image.get("name") or "").strip():
            raise place.fault("it has no name")
    folders = usual_folders(home)
    paths, spelt = located(home, [(_file_name(home, i), p) for i, p in listed], folders, strict=strict)
    annotated = [
        Annotated(
            file, _split(image, place), place, _tags(image, place), tuple(_objects(image, place, strict=strict))
        )
        for file, (image, place) in zip(paths, listed, strict=True)
    ]  # fmt: skip
    source = Source(root, home, "cvat", f"an export of CVAT, '{path.name}'", crops, strict, False, spelt)
    return labelled_images(source, annotated)


def _numbered(document: Element) -> Iterator[tuple[int, Element]]:
    return enumerate(document.findall("image"), start=1)


def _file_name(home: Path, image: Element) -> str:
    """Return the path of an image: in a folder named after its subset, if it is there."""
    name, subset = (image.get("name") or "").strip(), (image.get("subset") or "").strip()
    inside = f"images/{subset}/{name}"
    return inside if subset and os.path.lexists(os.path.join(home, inside)) else name  # noqa: PTH118 (as it is written)


def _split(image: Element, place: Place) -> Split | None:
    """Return the split of an image's subset; None if it has none, or the default one."""
    subset = (image.get("subset") or "").strip()
    if not subset or subset.lower() == "default":
        return None
    split = split_of(subset)
    if split is None:
        raise place.fault(f"its subset is '{subset}', but must be Train, Validation or Test", "Rename the subset.")
    return split


def _tags(image: Element, place: Place) -> tuple[str, ...]:
    return tuple(name_of(tag.get("label"), "the label", place) for tag in image.findall("tag"))


def _objects(image: Element, place: Place, *, strict: bool) -> Iterator[Object]:
    for shape in image:
        if shape.tag == "box":
            label = name_of(shape.get("label"), "the label", place)
            yield Object(label, _box(shape, place, strict=strict))
        elif shape.tag in _SHAPES:
            yield Object(name_of(shape.get("label"), "the label", place))


def _box(shape: Element, place: Place, *, strict: bool) -> Box:
    numbers = [number_of(shape.get(name)) for name in _CORNERS]
    if None in numbers:
        if strict:
            raise place.fault(f"{', '.join(_CORNERS)} of a box must be numbers")
        return NO_NUMBERS
    x0, y0, x1, y1 = (number for number in numbers if number is not None)
    angle = math.radians(number_of(shape.get("rotation", "0")) or 0)
    if angle and math.isfinite(angle):  # around the centre
        across, along = abs(math.cos(angle)), abs(math.sin(angle))
        width, height = (x1 - x0) * across + (y1 - y0) * along, (x1 - x0) * along + (y1 - y0) * across
        middle, centre = (x0 + x1) / 2, (y0 + y1) / 2
        x0, y0, x1, y1 = middle - width / 2, centre - height / 2, middle + width / 2, centre + height / 2
    return checked_box((x0, y0, x1, y1), place, strict=strict)


__all__ = ["FILE", "is_cvat", "read_cvat"]
