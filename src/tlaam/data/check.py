"""Look for what is wrong with a data set, without changing anything."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypeVar, get_args

from tlaam.data.sample import SPLITS, Box, LabelledImages, Sample
from tlaam.errors import ConfigError, DataError
from tlaam.images import load_image

Kind = Literal["unreadable", "empty", "mislabelled", "duplicate-across-split", "boxless", "box-outside", "tiny"]
Progress = Callable[[int, int], None]
"""Called in the caller's thread after every image, with the images done and their total."""

TINY_SIDE = 16
"""Images whose shorter side has fewer pixels than this are reported."""

_BATCH = 256  # so many images are handed to the threads at a time: an interrupt waits for no more, memory stays flat
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        kind: what kind of fault.
        name: the sample (`Sample.name`) or class it was found in.
        detail: a sentence for people.
    """

    kind: Kind
    name: str
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """All that `check_images` found.

    Attributes:
        name: the data set's name.
        classes: number of classes.
        images: number of images in each split.
        findings: the faults, by kind in the order of `Kind`, then in the order of the samples.
        unreadable: the samples that cannot be decoded, empty files included.
    """

    name: str
    classes: int
    images: dict[str, int]
    findings: tuple[Finding, ...]
    unreadable: tuple[Sample, ...]

    @property
    def counts(self) -> dict[Kind, int]:
        """Number of findings of each kind, zeros included."""
        return {kind: sum(finding.kind == kind for finding in self.findings) for kind in get_args(Kind)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: ``name``, ``classes``, ``images``, ``counts`` and ``findings``."""
        return {
            "name": self.name,
            "classes": self.classes,
            "images": dict(self.images),
            "counts": dict(self.counts),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def table(self, limit: int | None = None) -> str:
        """Return text for a terminal: a summary and one line for each finding, `limit` at most of each kind."""
        splits = ", ".join(f"{split} {number}" for split, number in self.images.items())
        lines = [f"{self.name}: {sum(self.images.values())} images ({splits}) of {self.classes} classes"]
        lines += [f"  {kind:<23}{number:>8}" for kind, number in self.counts.items()]
        for kind, number in self.counts.items():
            shown = [finding for finding in self.findings if finding.kind == kind][:limit]
            lines += [f"{kind}: {finding.name}: {finding.detail}" for finding in shown]
            if len(shown) < number:
                lines.append(f"{kind}: and {number - len(shown)} more")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Scan:
    """What decoding one image showed: its size and a hash of its pixels, or the fault."""

    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    fault: str = ""


def check_images(
    images: LabelledImages, *, workers: int | None = None, progress: Progress | None = None
) -> CheckReport:
    """Decode every image of every split and report what is wrong; nothing is changed.

    Reported are: files that cannot be decoded (``unreadable``; ``empty`` if they have no bytes) and classes without a
    training image (``empty``); identical pixels under two labels and class names that differ only in case or white
    space (``mislabelled``); identical pixels in two splits (``duplicate-across-split``); samples without a box where
    others of their split have one (``boxless``); boxes that are empty, inside out or leave the image
    (``box-outside``); images below `TINY_SIDE` pixels (``tiny``).

    Args:
        workers: number of threads; as many as there are processors where None.
        progress: called after every image.

    Raises:
        ConfigError: `workers` is below 1.
    """
    samples = images.samples
    scans = _in_order(_scan, samples, workers, progress)
    found = [
        *_file_findings(samples, scans),
        *_classes_without_training_image(images),
        *_twin_class_names(images.classes),
        *_twin_findings(images, scans),
        *_box_findings(samples, scans),
    ]
    order = get_args(Kind)
    return CheckReport(
        name=images.name,
        classes=len(images.classes),
        images={split: len(images.split(split)) for split in SPLITS},
        findings=tuple(sorted(found, key=lambda finding: order.index(finding.kind))),
        unreadable=tuple(sample for sample, scan in zip(samples, scans, strict=True) if scan.fault),
    )


def find_unreadable(
    images: LabelledImages, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[tuple[Sample, str], ...]:
    """Return the samples that cannot be decoded, each with its fault, in order.

    All bytes are read and decoded, but JPEG files at a reduced size, so this is much quicker than `check_images`.

    Raises:
        ConfigError: `workers` is below 1.
    """
    faults = _in_order(partial(_fault_of, max_side=1), images.samples, workers, progress)
    return tuple((sample, fault) for sample, fault in zip(images.samples, faults, strict=True) if fault)


def _in_order(
    function: Callable[[Sample], _T], samples: Sequence[Sample], workers: int | None, progress: Progress | None
) -> list[_T]:
    """Apply a function to all samples in threads (decoding frees the interpreter) and keep their order."""
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
        load_image(sample.path, max_side=max_side)
    except DataError as error:
        return str(error)
    return ""


def _scan(sample: Sample) -> _Scan:
    try:
        image = load_image(sample.path)
    except DataError as error:
        return _Scan(fault=str(error))
    digest = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    return _Scan(image.size, digest.digest())


def _file_findings(samples: Sequence[Sample], scans: Sequence[_Scan]) -> Iterator[Finding]:
    for sample, scan in zip(samples, scans, strict=True):
        if scan.fault:
            is_empty = sample.path.is_file() and sample.path.stat().st_size == 0
            yield Finding("empty" if is_empty else "unreadable", sample.name, scan.fault)
        elif min(scan.size) < TINY_SIDE:
            detail = f"{scan.size[0]} x {scan.size[1]} pixels; below {TINY_SIDE} there is little to see."
            yield Finding("tiny", sample.name, detail)


def _classes_without_training_image(images: LabelledImages) -> Iterator[Finding]:
    trained = {sample.label for sample in images.split("train")}
    for label, name in enumerate(images.classes):
        if label not in trained:
            yield Finding("empty", name, "This class has no training image.")


def _twin_class_names(classes: Sequence[str]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name in classes:
        twin = first.setdefault(" ".join(name.casefold().split()), name)
        if twin != name:
            yield Finding("mislabelled", name, f"Differs only in case or white space from class '{twin}'.")


def _twin_findings(images: LabelledImages, scans: Sequence[_Scan]) -> Iterator[Finding]:
    """Compare the images of identical pixels with the first of them, training images coming first."""
    groups: defaultdict[bytes, list[Sample]] = defaultdict(list)
    for sample, scan in zip(images.samples, scans, strict=True):
        if not scan.fault:
            groups[scan.digest].append(sample)
    for group in groups.values():
        first, *others = sorted(group, key=lambda sample: SPLITS.index(sample.split))
        for other in others:
            if other.label != first.label:
                here, there = images.classes[other.label], images.classes[first.label]
                detail = f"The same pixels as {first.name}, but labelled '{here}' instead of '{there}'."
                yield Finding("mislabelled", other.name, detail)
            if other.split != first.split:
                detail = f"In {other.split}, with the same pixels as {first.name} in {first.split}."
                yield Finding("duplicate-across-split", other.name, detail)


def _box_findings(samples: Sequence[Sample], scans: Sequence[_Scan]) -> Iterator[Finding]:
    boxed = {sample.split for sample in samples if sample.box is not None}
    for sample, scan in zip(samples, scans, strict=True):
        if sample.box is None:
            if sample.split in boxed:
                yield Finding("boxless", sample.name, f"Has no box, but other {sample.split} images have one.")
        elif not scan.fault and not _is_inside(sample.box, scan.size):
            corners = ", ".join(f"{value:g}" for value in sample.box)
            detail = f"The box [{corners}] does not lie within the {scan.size[0]} x {scan.size[1]} image."
            yield Finding("box-outside", sample.name, detail)


def _is_inside(box: Box, size: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = box
    return all(map(math.isfinite, box)) and 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
