"""From annotations of images to labelled images: one label per image, or each box as an image of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tlaam.data.annotations.crops import CROPS, crops_of
from tlaam.data.annotations.documents import Place
from tlaam.data.annotations.records import Annotated, Draft, Source, counted_images
from tlaam.data.boxes import are_shares, in_pixels
from tlaam.data.labels import sorted_labels
from tlaam.data.rules import require_usable_classes
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split_names import splits_of_paths
from tlaam.errors import DataError


def labelled_images(source: Source, annotated: Sequence[Annotated]) -> LabelledImages:
    """Return the data set that annotations describe.

    If any image has a tag, an image's label is its tag; otherwise it is the one category of its objects. Its box is
    that of its only object. Images without a label are left out, and `LabelledImages.notes` says so. With
    `Source.crops`, each box is a sample with a `Sample.window`; the samples of one image are one group.

    Raises:
        DataError: images have several labels, or nothing is left. If the source is strict, also: an image is listed
            twice with different content, or classes cannot be learned.
    """
    by_tags = not source.crops and any(each.tags for each in annotated)
    notes = [f"Read as {source.title}.", *source.notes]
    several: set[str] = set()
    made = crops_of(source, annotated, notes) if source.crops else _whole(source, annotated, by_tags, notes, several)
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
    name, option = _title(source.root), CROPS if source.crops else ""
    images = LabelledImages(
        f"{name}-crops" if source.crops else name, source.root, source.kind, names, tuple(samples), option,
        notes=tuple(notes), several=frozenset(several),
    )  # fmt: skip
    return require_usable_classes(images) if source.strict else images


def _whole(
    source: Source, annotated: Sequence[Annotated], by_tags: bool, notes: list[str], unboxed: set[str]
) -> list[Draft]:
    several: list[tuple[Annotated, list[str]]] = []
    unlabelled = 0
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
            if boxes and not is_one:
                unboxed.add(each.image)
            box = boxes[0] if boxes and is_one else None
            made.append(Draft(labels[0], each, each.image, box, each.group))
    if several:
        raise _several(source, several, len(annotated), by_tags)
    if by_tags and any(each.objects for each in annotated):
        notes.append("The labels are those of whole images; boxes are only measured.")
    if unlabelled:
        notes.append(f"Left out: {counted_images(unlabelled)} without a label.")
    if unboxed:
        notes.append(f"Boxes are not measured of {counted_images(len(unboxed))} with several objects.")
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
        f"{len(several):,} of {counted_images(total)} {have} several {what}, such as '{example.image}' "
        f"({', '.join(map(repr, labels[:3]))})",
        remedy,
    )


def _unique(source: Source, made: Iterable[Draft], classes: Sequence[str]) -> list[Sample]:
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
        notes.append(f"Boxes of {counted_images(lost)} are left out, since the files cannot be read.")
    return samples


def _title(root: Path) -> str:
    """Return the name of a data set: that of its folder, or of its file if it has a name of its own."""
    if root.is_dir():
        return root.resolve().name or str(root)
    stem = root.stem
    folder = root.resolve().parent
    folder = folder.parent if folder.name.lower() in ("annotations", "annotation", "labels") else folder
    return folder.name or stem if stem.lower() in _PLAIN_STEMS else stem


_PLAIN_STEMS = frozenset(("annotations", "_annotations.coco", "annotation", "data", "dataset", "result", "labels"))

__all__ = ["labelled_images"]
