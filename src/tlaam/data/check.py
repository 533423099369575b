"""Look for faults in a data set, without changing anything."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from tlaam.data.boxes import SMALL_SIDE, doubt_of_scale
from tlaam.data.class_list import listed_classes
from tlaam.data.container import size_of
from tlaam.data.folder import class_folders, depth_of, unsupported_files, unsupported_types
from tlaam.data.images import ImageError, load_image
from tlaam.data.left_out import conversion
from tlaam.data.missing import file_instead, note_on_missing
from tlaam.data.names import clean_name
from tlaam.data.open import open_dataset
from tlaam.data.sample import SPLITS, Box, LabelledImages, Sample
from tlaam.data.skew import note_on_skew
from tlaam.data.survey import NARROW, Survey, survey
from tlaam.errors import ConfigError, DataError
from tlaam.utils.text import printable

Kind = Literal[
    "unreadable",
    "unsupported",
    "empty",
    "mislabelled",
    "duplicate-across-split",
    "copy",
    "boxless",
    "box-outside",
    "box-doubtful",
    "tiny",
    "narrow-range",
]
Progress = Callable[[int, int], None]
"""Called in the caller's thread after every image, with the number of images done and the total."""

TINY_SIDE = 16
"""Images whose shorter side has fewer pixels than this are reported."""

_BATCH = 256  # images handed to the threads at a time: an interrupt waits for one batch at most, and memory stays flat
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        kind: what kind of fault.
        name: the sample (`Sample.name`) or class it was found in.
        detail: a human-readable sentence.
    """

    kind: Kind
    name: str
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """All that `check` or `check_images` found.

    Attributes:
        name: the data set's name.
        classes: number of classes.
        images: number of images in each split.
        findings: the faults, by kind in the order of `Kind`, then in the order of the samples.
        unreadable: the samples that cannot be decoded, empty files included.
        notes: what was left out or read under another spelling (`LabelledImages.notes`), whether most of the images
            that a table lists are missing, and whether class sizes are unequal.
        class_images: number of images of each class, in all splits.
        truth: number of images with each kind of ground truth: ``boxes``, ``parts`` (their locations), ``masks``.
        depth: a sentence on the black and white levels assumed for images of more than 8 bits; empty if none are.
        refusal: why the source cannot be used for training as it is (its first fault); None if it can. Data without
            training images can still be used for evaluation.
    """

    name: str
    classes: int
    images: dict[str, int]
    findings: tuple[Finding, ...]
    unreadable: tuple[Sample, ...]
    truth: dict[str, int]
    refusal: str | None = None
    depth: str = ""
    notes: tuple[str, ...] = ()
    class_images: dict[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[Kind, int]:
        """Number of findings of each kind, zeros included."""
        return {kind: sum(finding.kind == kind for finding in self.findings) for kind in get_args(Kind)}

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes (except `unreadable`) and ``counts``, with all findings, as plain values for JSON."""
        return {
            "name": self.name,
            "classes": self.classes,
            "class_images": dict(self.class_images),
            "notes": list(self.notes),
            "images": dict(self.images),
            "truth": dict(self.truth),
            "counts": dict(self.counts),
            "findings": [asdict(finding) for finding in self.findings],
            "refusal": self.refusal,
            "depth": self.depth,
        }

    def table(self, limit: int | None = None) -> str:
        """Return text for a terminal: a summary and one line per finding, at most `limit` of each kind."""
        splits = ", ".join(f"{split} {number}" for split, number in self.images.items())
        lines = [
            f"{printable(self.name)}: {sum(self.images.values())} images ({splits}) of {self.classes} classes",
            f"  {listed_classes(self.class_images)}",
            "  with boxes: {boxes}, part locations: {parts}, masks: {masks}".format(**self.truth),
            *(f"  {printable(note)}" for note in self.notes),
        ]
        lines += [f"  {self.depth}"] if self.depth else []
        lines += [f"  {kind:<23}{number:>8}" for kind, number in self.counts.items()]
        for kind, number in self.counts.items():
            shown = [finding for finding in self.findings if finding.kind == kind][:limit]
            lines += [printable(f"{kind}: {finding.name}: {finding.detail}") for finding in shown]
            if len(shown) < number:
                lines.append(f"{kind}: and {number - len(shown)} more; --json FILE.json lists all")
        if self.refusal is not None:
            lines.append(printable(f"Refused for training as it is: {self.refusal}"))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Scan:
    """The result of decoding one image: its size and a hash of its pixels, or the fault."""

    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    fault: str = ""


def check(source: str | Path, *, workers: int | None = None, progress: Progress | None = None) -> CheckReport:
    """Report everything that is wrong with a source, without changing it.

    The source is opened as by `tlaam.data.open.open_dataset`, which stops at the first fault. Here all of them (empty
    classes, impossible boxes, an image listed twice with different content) are listed, along with what `check_images`
    finds and with class folders that hold pictures of an unsupported type (``unsupported``).

    Args:
        source: any source that `open_dataset` accepts.
        workers: number of threads; None: the number of processors.
        progress: called after every image.

    Raises:
        DataError: there is nothing to list: `source` does not exist, is not a data set, or its table is malformed.
        ConfigError: `workers` is below 1, or an option of ``synthetic`` is wrong.

    Examples:
        >>> tlaam.check("photos").refusal is None
        True
    """
    refusal = None
    try:
        images = open_dataset(source)
    except DataError as error:
        images, refusal = open_dataset(source, strict=False), str(error)
    if refusal is None and not images.split("train"):
        present = " and ".join(split for split in SPLITS if images.split(split))
        refusal = f"'{images.root}' holds no training images, only {present}."
    report = check_images(images, workers=workers, progress=progress)
    findings = [*report.findings, *_empty_class_folders(images, report.findings), *_unsupported(images)]
    return replace(report, findings=_by_kind(findings), refusal=refusal)


def check_images(
    images: LabelledImages, *, workers: int | None = None, progress: Progress | None = None
) -> CheckReport:
    """Decode every image of every split and report what is wrong; nothing is changed.

    The kinds of findings are:

    - ``unreadable``: files that cannot be decoded.
    - ``empty``: files without bytes, classes without an image, and classes without a training image where others have
      some.
    - ``mislabelled``: identical pixels under two labels, a sample listed twice with two labels or boxes, and class
      names that differ only in case or white space.
    - ``duplicate-across-split``: identical pixels, or one sample, in two splits.
    - ``copy``: identical pixels within one split.
    - ``boxless``: samples without a box where others of their split have one.
    - ``box-outside``: boxes that are not numbers, are empty or inside out, or leave the image.
    - ``box-doubtful``: boxes of a few pixels, and boxes that all lie in one corner.
    - ``tiny``: images below `TINY_SIDE` pixels.
    - ``narrow-range``: images of more than 8 bits that use less than an eighth of their range (`tlaam.data.survey`).

    Args:
        workers: number of threads; None: the number of processors.
        progress: called after every image.

    Raises:
        ConfigError: `workers` is below 1.
    """
    found_depth = survey(images.samples, workers=workers)
    images = images.with_depth(found_depth.depth)
    samples = images.samples
    scans = _in_order(_scan, samples, workers, progress)
    found = [
        *_file_findings(samples, scans),
        *_classes_without_images(images),
        *_twin_class_names(images.classes),
        *_twin_findings(images, scans),
        *_box_findings(samples, scans, images.several),
        *_listed_twice(images),
        *_narrow_ranges(found_depth),
    ]
    unreadable = tuple(sample for sample, scan in zip(samples, scans, strict=True) if scan.fault)
    skewed = note_on_skew(images.classes, (sample.label for sample in images.split("train")))
    return CheckReport(
        name=images.name,
        classes=len(images.classes),
        images={split: len(images.split(split)) for split in SPLITS},
        findings=_by_kind(found),
        notes=tuple(filter(None, (*images.notes, note_on_missing(images, unreadable), skewed))),
        class_images=images.class_counts(),
        unreadable=unreadable,
        truth={
            "boxes": sum(sample.box is not None for sample in samples),
            "parts": sum(sample.keypoints is not None for sample in samples),
            "masks": sum(sample.mask is not None for sample in samples),
        },
        depth=found_depth.line(),
    )


def find_unreadable(
    images: LabelledImages, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[tuple[Sample, str], ...]:
    """Return the samples that cannot be decoded, in order, each with a short text of its name and fault.

    All bytes are read and decoded, but JPEG files at a reduced size, so this is much faster than `check_images`.

    Raises:
        ConfigError: `workers` is below 1.
    """
    faults = _in_order(partial(_fault_of, max_side=1), images.samples, workers, progress)
    return tuple((sample, fault) for sample, fault in zip(images.samples, faults, strict=True) if fault)


def _by_kind(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    order = get_args(Kind)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.kind)))


def _in_order(
    function: Callable[[Sample], _T], samples: Sequence[Sample], workers: int | None, progress: Progress | None
) -> list[_T]:
    """Apply a function to all samples in threads (decoding releases the GIL) and keep their order."""
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}, but must be at least 1.")
    results: list[_T] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(samples), _BATCH):
            for result in pool.map(function, samples[start : start + _BATCH]):
                results.append(result)
                if progress is not None:
                    progress(len(results), len(samples))
    return results


def _fault_of(sample: Sample, max_side: int) -> str:
    try:
        load_image(sample.source, max_side=max_side)
        sample.picture_size()  # the header shows whether banner and window leave anything of the image
    except ImageError as error:
        return f"'{sample.name}': {error.fault}"
    return ""


def _scan(sample: Sample) -> _Scan:
    try:
        image = sample.picture()
    except ImageError as error:
        return _Scan(fault=f"{error.fault[:1].upper()}{error.fault[1:]}.")
    digest = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    return _Scan(image.size, digest.digest())


def _file_findings(samples: Sequence[Sample], scans: Sequence[_Scan]) -> Iterator[Finding]:
    for sample, scan in zip(samples, scans, strict=True):
        if scan.fault:
            is_empty = sample.path.is_file() and size_of(sample.source) == 0
            detail = scan.fault + file_instead(sample.path)
            yield Finding("empty" if is_empty else "unreadable", sample.name, detail)
        elif min(scan.size) < TINY_SIDE:
            detail = f"{scan.size[0]} x {scan.size[1]} pixels; below {TINY_SIDE} there is little to see."
            yield Finding("tiny", sample.name, detail)


def _classes_without_images(images: LabelledImages) -> Iterator[Finding]:
    present = {sample.label for sample in images.samples}
    trained = {sample.label for sample in images.split("train")}
    for label, name in enumerate(images.classes):
        if label not in present:
            yield Finding("empty", name, "This class has no image.")
        elif trained and label not in trained:  # data without any training image is for evaluation only
            yield Finding("empty", name, "This class has no training image.")


def _empty_class_folders(images: LabelledImages, known: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the class folders of splits that hold no image, except those of classes that are reported as a whole."""
    if images.kind != "folder":
        return
    reported = {finding.name for finding in known if finding.kind == "empty"}
    filled = {(sample.split, images.classes[sample.label]) for sample in images.samples}
    for split, folder in class_folders(images.root, depth_of(images)):
        name = clean_name(folder.name)
        if (split, name) not in filled and name not in reported:
            yield Finding("empty", folder.relative_to(images.root).as_posix(), "This class folder holds no image.")


def _unsupported(images: LabelledImages) -> Iterator[Finding]:
    if images.kind != "folder":
        return
    for _, folder in class_folders(images.root, depth_of(images)):
        if counts := unsupported_files(folder):
            remedy = conversion(counts)
            detail = f"Not read: {unsupported_types(counts)}. {remedy[0].upper()}{remedy[1:]}."
            yield Finding("unsupported", folder.relative_to(images.root).as_posix(), detail)


def _twin_class_names(classes: Sequence[str]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name in classes:
        twin = first.setdefault(" ".join(name.casefold().split()), name)
        if twin != name:
            yield Finding("mislabelled", name, f"Differs only in case or white space from class '{twin}'.")


def _twin_findings(images: LabelledImages, scans: Sequence[_Scan]) -> Iterator[Finding]:
    """Compare the images of identical pixels with the first of them; training images come first."""
    groups: defaultdict[bytes, list[Sample]] = defaultdict(list)
    for sample, scan in zip(images.samples, scans, strict=True):
        if not scan.fault:
            groups[scan.digest].append(sample)
    for group in groups.values():
        first, *others = sorted(group, key=lambda sample: SPLITS.index(sample.split))
        for other in others:
            if other.name == first.name:
                continue  # reported by `_listed_twice`
            if other.label != first.label:
                here, there = images.classes[other.label], images.classes[first.label]
                detail = f"The same pixels as {first.name}, but labelled '{here}' instead of '{there}'."
                yield Finding("mislabelled", other.name, detail)
            if other.split != first.split:
                detail = f"In {other.split}, with the same pixels as {first.name} in {first.split}."
                yield Finding("duplicate-across-split", other.name, detail)
            elif other.label == first.label:
                detail = f"The same pixels as {first.name}; both stay on one side of every split that is cut."
                yield Finding("copy", other.name, detail)


def _box_findings(samples: Sequence[Sample], scans: Sequence[_Scan], several: Container[str]) -> Iterator[Finding]:
    boxed = {sample.split for sample in samples if sample.box is not None}
    sound: dict[str, tuple[Sample, Box, tuple[int, int]]] = {}
    for sample, scan in zip(samples, scans, strict=True):
        box = sample.box if scan.fault else sample.box_in_picture(scan.size[1])
        if box is None:
            if sample.split in boxed and sample.name not in several:
                yield Finding("boxless", sample.name, f"Has no box, but other {sample.split} images have one.")
        elif fault := _box_fault(box, None if scan.fault else scan.size):
            yield Finding("box-outside", sample.name, fault)
        elif not scan.fault:
            sound.setdefault(sample.name, (sample, box, scan.size))
    if doubt := doubt_of_scale([box for _, box, _ in sound.values()], [size for _, _, size in sound.values()]):
        yield Finding("box-doubtful", "all boxes", doubt)
    for sample, box, _ in sound.values():
        if min(box[2] - box[0], box[3] - box[1]) < SMALL_SIDE:
            detail = f"The box {_corners(box)} is {box[2] - box[0]:g} x {box[3] - box[1]:g} pixels."
            yield Finding("box-doubtful", sample.name, detail)


def _box_fault(box: Box, size: tuple[int, int] | None) -> str:
    """Return what is wrong with a box, given the image size if it is known; an empty string if nothing is."""
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)):
        return "The box is not four numbers of pixels."
    if x0 >= x1 or y0 >= y1:
        return f"The box {_corners(box)} is empty or inside out; boxes are corners: x0 < x1 and y0 < y1."
    if size is not None and not (x0 >= 0 and y0 >= 0 and x1 <= size[0] and y1 <= size[1]):
        return f"The box {_corners(box)} does not lie within the {size[0]} x {size[1]} image."
    return ""


def _narrow_ranges(found: Survey) -> Iterator[Finding]:
    for sample, share in found.narrow:
        detail = f"Uses {share:.1%} of the range from black to white; below {NARROW:.1%} there is little to see."
        yield Finding("narrow-range", sample.name, detail)


def _listed_twice(images: LabelledImages) -> Iterator[Finding]:
    firsts: dict[str, Sample] = {}
    for sample in images.samples:
        first = firsts.setdefault(sample.name, sample)
        if sample.label != first.label:
            here, there = images.classes[sample.label], images.classes[first.label]
            yield Finding("mislabelled", sample.name, f"Listed twice, with the labels '{there}' and '{here}'.")
        if sample.split != first.split:
            detail = f"Listed twice, with the splits {first.split} and {sample.split}."
            yield Finding("duplicate-across-split", sample.name, detail)
        if sample.box != first.box:
            detail = f"Listed twice, with {_corners(first.box)} and {_corners(sample.box)} as its box."
            yield Finding("mislabelled", sample.name, detail)


def _corners(box: Box | None) -> str:
    return "nothing" if box is None else f"[{', '.join(f'{value:g}' for value in box)}]"
