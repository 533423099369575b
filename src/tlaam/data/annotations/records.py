"""What annotations say about images and their objects, whichever tool wrote them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tlaam.data.annotations.documents import Place
from tlaam.data.rules import NO_NUMBERS
from tlaam.data.sample import Box, Split, Window


class Object(NamedTuple):
    """One object of an image.

    Attributes:
        label: its category.
        box: xyxy in pixels of the upright image, or in shares of its sides (`Source.shares`); None if there is none.
        is_crowd: whether it stands for several objects.
    """

    label: str
    box: Box | None = None
    is_crowd: bool = False


class Annotated(NamedTuple):
    """What a source says about one image.

    Attributes:
        image: its path, relative to `Source.home` or absolute.
        split: its split; None if the source does not say.
        place: where the source says it.
        tags: labels of the image as a whole.
        objects: its objects, in the order in which they are written.
        group: `Sample.group`.
    """

    image: str
    split: Split | None
    place: Place
    tags: tuple[str, ...] = ()
    objects: tuple[Object, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class Source:
    """Where annotations come from, and how they are to be read.

    Attributes:
        root: the path that was given.
        home: the folder that image paths are relative to.
        kind: `LabelledImages.kind`.
        title: a description of the source: ``COCO JSON 'a.json'``.
        crops: read each box as an image of its own.
        strict: see `tlaam.data.open.open_dataset`.
        shares: whether boxes are shares of width and height; None: they are if all lie between 0 and 1.
        notes: the notes made so far.
    """

    root: Path
    home: Path
    kind: str
    title: str
    crops: bool
    strict: bool
    shares: bool | None = False
    notes: list[str] = field(default_factory=list)


class Draft(NamedTuple):
    """A sample before class indices are assigned."""

    label: str
    of: Annotated
    name: str
    box: Box | None = None
    group: str | None = None
    window: Window | None = None


def checked_box(box: Box, place: Place, *, strict: bool) -> Box:
    """Return a box, xyxy; a box that is not four finite numbers becomes four NaN.

    Raises:
        DataError: `strict`, and it has no positive, finite sides.
    """
    is_finite = all(map(math.isfinite, box))
    if strict and not (is_finite and box[0] < box[2] and box[1] < box[3]):
        written = ", ".join(f"{value:g}" for value in box)
        raise place.fault(f"the box from corner to corner, [{written}], has no positive, finite width and height")
    return box if is_finite else NO_NUMBERS


def number_of(value: object) -> float | None:
    """Return a number, or the number that a text stands for; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def counted_images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


__all__ = ["Annotated", "Draft", "Object", "Source", "checked_box", "counted_images", "number_of"]
