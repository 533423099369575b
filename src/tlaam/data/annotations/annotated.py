"""From what annotations say of images to labelled images: one label for each, or each box as an image of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tlaam.data.annotations.documents import Place
from tlaam.data.boxes import are_shares, in_pixels
from tlaam.data.images import ImageError, image_size
from tlaam.data.labels import sorted_labels
from tlaam.data.rules import NO_NUMBERS, require_usable_classes
from tlaam.data.sample import Box, LabelledImages, Sample, Split, Window
from tlaam.data.split_names import splits_of_paths
from tlaam.errors import DataError

CROPS = "crops=1"
"""Behind a path: each box is an image of its own."""
_LARGEST = 1e9  # pixels of a side that a box may have


class Object(NamedTuple):
    """One object of an image.

    Attributes:
        label: its category.
        box: xyxy in pixels of the upright image, or shares of its sides (`Source.shares`); None where there is none.
        is_crowd: whether it stands for several.
    """

    label: str
    box: Box | None = None
    is_crowd: bool = False


class Annotated(NamedTuple):
    """What a source says of one image.

    Attributes:
        image: its path, relative to `Source.home` or absolute.
        split: None where the source does not say.
        place: where it is written.
        tags: labels of the image as a whole.
        objects: in the order in which they are written.
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
        home: the folder that paths of images are relative to.
        kind: `LabelledImages.kind`.
        title: what is said of it: ``COCO JSON 'a.json'``.
        crops: take each box as an image of its own.
        strict: as of `tlaam.data.open.open_dataset`.
        shares: boxes are shares of width and height; None: they are if all lie between 0 and 1.
        notes: what was found out already.
    """

    root: Path
    home: Path
    kind: str
    title: str
    crops: bool
    strict: bool
    shares: bool | None = False
    notes: list[str] = field(default_factory=list)


def labelled_images(source: Source, annotated: Sequence[Annotated]) -> LabelledImages:
    """Return the data set that annotations describe.

    An image's label is its tag where any image has one, else the one category of its objects. Its box is that of its
    only object. Images without a label are left out, which `LabelledImages.notes` says. With `Source.crops` each box
    is a sample with a `Sample.window`; those of one image are one group.

    Raises:
        DataError: images have several labels, nothing is left, or an image is listed twice with different content or
            classes cannot be learned and the source is strict.
    """
    by_tags = not source.crops and any(each.tags for each in annotated)
    notes = [f"Read as {source.title}.", *source.notes]
    made = _crops(source, annotated, notes) if source.crops else _whole(source, annotated, by_tags, notes)
    if not made:
        what = "box with a label" if source.crops else "image with a label"
        raise DataError(f"'{source.root}' holds no {what}. Label some, and export them again.")
    names = sorted_labels({draft.label for draft in made})
    samples = _unique(source, made, names)
    if source.shares is not False and not source.crops:
        samples = _with_pixels(source, samples, notes)
    if all(each.split is None for each in annotated):
        samples, said = splits_of_paths(samples)
        notes += said
    option = CROPS if source.crops else ""
    images = LabelledImages(
        _title(source.root), source.root, source.kind, names, tuple(samples), option, notes=tuple(notes)
    )
    return require_usable_classes(images) if source.strict else images


class _Draft(NamedTuple):
    """A sample before classes have numbers."""

    label: str
    of: Annotated
    name: str
    box: Box | None = None
    group: str | None = None
    window: Window | None = None


def _whole(source: Source, annotated: Sequence[Annotated], by_tags: bool, notes: list[str]) -> list[_Draft]:
    several: list[tuple[Annotated, list[str]]] = []
    unlabelled, unmeasured = 0, 0
    made = []
    for each in annotated:
        labels = list(dict.fromkeys(each.tags if by_tags else (found.label for found in each.objects)))
        if len(labels) > 1:
            several.append((each, labels))
        elif not labels:
            unlabelled += 1
        else:
            boxes = [found.box for found in each.objects if found.box is not None]
            is_one = len(each.objects) == 1 and not each.objects[0].is_crowd
            unmeasured += bool(boxes) and not is_one
            box = boxes[0] if boxes and is_one else None
            made.append(_Draft(labels[0], each, each.image, box, each.group))
    if several:
        raise _several(source, several, len(annotated), by_tags)
    if by_tags and any(each.objects for each in annotated):
        notes.append("The labels are those of whole images; boxes are only measured.")
    if unlabelled:
        notes.append(f"Left out: {_images(unlabelled)} without a label.")
    if unmeasured:
        notes.append(f"Boxes are not measured of {_images(unmeasured)} with several objects.")
    return made


def _several(source: Source, several: Sequence[tuple[Annotated, list[str]]], total: int, by_tags: bool) -> DataError:
    example, labels = several[0]
    have = "has" if len(several) == 1 else "have"
    boxed = any(found.box is not None for each, _ in several for found in each.objects)
    remedy = (
        f"Give each image one, or take each box as an image of its own: '{source.root}:{CROPS}'."
        if boxed and not by_tags
        else "Give each image one label."
    )
    what = "labels" if by_tags or not boxed else "categories of objects"
    return example.place.fault(
        f"{len(several):,} of {_images(total)} {have} several {what}, such as '{example.image}' "
        f"({', '.join(map(repr, labels[:3]))})",
        remedy,
    )


def _crops(source: Source, annotated: Sequence[Annotated], notes: list[str]) -> list[_Draft]:
    shares = source.shares
    if shares is None:
        shares = are_shares([found.box for each in annotated for found in each.objects if found.box is not None])
    without, crowds, empty = 0, 0, 0
    made = []
    for each in annotated:
        crowds += sum(found.is_crowd for found in each.objects)
        boxed = [found for found in each.objects if found.box is not None and not found.is_crowd]
        without += len(each.objects) - sum(found.is_crowd for found in each.objects) - len(boxed)
        empty += not each.objects
        size = _size(source, each) if shares and boxed else None
        group = each.group or (each.image if len(boxed) > 1 else None)
        for count, found in enumerate(boxed, start=1):
            if shares and size is None:  # an image that cannot be read is found by `tlaam.data.check`
                made.append(_Draft(found.label, each, f"{each.image}#{count}", None, group))
                continue
            assert found.box is not None
            window = _window(found.box, size)
            if window is None:
                if source.strict:
                    raise each.place.fault(f"a box of '{each.image}' cannot be cut out")
                without += 1
                continue
            name = f"{each.image}[{','.join(map(str, window))}]"
            made.append(_Draft(found.label, each, name, None, group, window))
    for count, what in (
        (empty, f"{_images(empty)} without objects"),
        (without, f"{without:,} object{'' if without == 1 else 's'} without a box"),
        (crowds, f"{crowds:,} box{'' if crowds == 1 else 'es'} around crowds"),
    ):
        if count:
            notes.append(f"Left out: {what}.")
    return made


def _window(box: Box, size: tuple[int, int] | None) -> Window | None:
    """Return the pixels that a box touches; None of one without an area."""
    width, height = size or (1, 1)
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    if not (all(abs(value) < _LARGEST for value in (x0, y0, x1, y1)) and x0 < x1 and y0 < y1):
        return None
    # Shares are written with few digits: what reaches a thousandth into a pixel does not touch it.
    slack = 0.0 if size is None else 1e-3
    return math.floor(x0 + slack), math.floor(y0 + slack), math.ceil(x1 - slack), math.ceil(y1 - slack)


def _size(source: Source, each: Annotated) -> tuple[int, int] | None:
    try:
        return image_size(source.home / each.image)
    except ImageError:
        return None


def _unique(source: Source, made: Iterable[_Draft], classes: Sequence[str]) -> list[Sample]:
    """Return samples without exact repetitions."""
    number = {name: label for label, name in enumerate(classes)}
    firsts: dict[str, tuple[Sample, Place]] = {}
    others: dict[Sample, None] = {}
    for label, of, name, box, group, window in made:
        file = os.path.join(source.home, of.image)  # noqa: PTH118 (a million images)
        sample = Sample(file, name, number[label], of.split or "train", box, group=group, window=window)
        first, before = firsts.setdefault(name, (sample, of.place))
        if first is sample or first == sample:
            continue
        if source.strict:
            for what, here, there in (
                ("label", label, classes[first.label]),
                ("split", sample.split, first.split),
                ("box", box, first.box),
                ("group", group, first.group),
            ):
                if here != there:
                    fault = f"image '{name}' has the {what} '{here}' here, but '{there}' in {before}"
                    raise of.place.fault(fault, "Keep one.")
        others[sample] = None
    return [*(sample for sample, _ in firsts.values()), *others]


def _with_pixels(source: Source, samples: list[Sample], notes: list[str]) -> list[Sample]:
    boxes = [sample.box for sample in samples if sample.box is not None]
    if source.shares is None and not are_shares(boxes):
        return samples
    samples, lost = in_pixels(samples)
    if source.shares is None:
        notes.append("All boxes lie between 0 and 1: they are read as shares of each image's width and height.")
    if lost:
        notes.append(f"Boxes of {_images(lost)} are left out, since the files cannot be read.")
    return samples


def checked_box(box: Box, place: Place, *, strict: bool) -> Box:
    """Return a box, xyxy; one that is not four finite numbers as four NaN.

    Raises:
        DataError: it has no positive, finite sides, and `strict`.
    """
    is_finite = all(map(math.isfinite, box))
    if strict and not (is_finite and box[0] < box[2] and box[1] < box[3]):
        written = ", ".join(f"{value:g}" for value in box)
        raise place.fault(f"the box from corner to corner, [{written}], has no positive, finite width and height")
    return box if is_finite else NO_NUMBERS


def number_of(value: object) -> float | None:
    """Return a number, or the text of one; None of anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _title(root: Path) -> str:
    """Return what to call a data set: its folder, or its file where that has a name of its own."""
    if root.is_dir():
        return root.resolve().name or str(root)
    stem = root.stem
    folder = root.resolve().parent
    folder = folder.parent if folder.name.lower() in ("annotations", "annotation", "labels") else folder
    return folder.name or stem if stem.lower() in _PLAIN_STEMS else stem


_PLAIN_STEMS = frozenset(("annotations", "_annotations.coco", "annotation", "data", "dataset", "result", "labels"))

__all__ = ["CROPS", "Annotated", "Object", "Source", "checked_box", "labelled_images", "number_of"]
