"""The cleaned data set as a manifest, verified by reading it again before it is put in place."""

from __future__ import annotations

import csv
import glob
import io
import os
from collections.abc import Sequence
from pathlib import Path

from tlaam.data.columns import COLUMNS
from tlaam.data.container import Member
from tlaam.data.manifest import read_manifest
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import DataError
from tlaam.utils.atomic import remove_leftovers, write_atomically

Row = tuple[str, str, str, str, tuple[float, ...] | None]


def write_manifest(path: Path, images: LabelledImages, samples: Sequence[Sample]) -> list[str]:
    """Write samples of a data set as a manifest, atomically; return what it cannot express, one line each.

    Paths are relative to the manifest for images below its folder, else absolute. No image is touched.

    Raises:
        DataError: images are inside a container or have names that a manifest cannot contain, or `path` is one of the
            data's own files, another file than such a manifest, or does not end in .csv.
    """
    if path.suffix.lower() != ".csv":
        raise DataError(f"'{path}' is no name of a manifest; end it in .csv.")
    inside = next((sample for sample in samples if isinstance(sample.source, Member)), None)
    if inside is not None:
        raise DataError(
            f"'{inside.path}' holds its images inside, where no manifest can name them; unpack it, and clean that."
        )
    target = Path(os.path.abspath(path))  # noqa: PTH100 (do not resolve links)
    if target.exists() and any(
        target.samefile(file) for file in {s.path for s in samples} | {images.root} if file.exists()
    ):
        raise DataError(f"'{path}' belongs to the data itself; give another name.")
    if target.exists() and not _is_manifest(target):
        raise DataError(f"'{path}' exists and is no manifest of tlaam; give another name, or remove it.")
    content = _content(target.parent, images, samples)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, target.name)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.trial.csv"):  # left by a killed process
        left.unlink(missing_ok=True)
    trial = target.with_name(f".{target.name}.{os.getpid()}.trial.csv")
    try:
        trial.write_bytes(content)
        _require_same(trial, images, samples)
    finally:
        trial.unlink(missing_ok=True)
    write_atomically(target, content)
    return _unsaid(samples)


def _is_manifest(path: Path) -> bool:
    """Return whether a file begins as the manifests that are written here."""
    start = (",".join(COLUMNS) + "\n").encode()
    with path.open("rb") as stream:
        return stream.read(len(start)) == start


def _content(folder: Path, images: LabelledImages, samples: Sequence[Sample]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for sample in samples:
        file = Path(os.path.abspath(sample.path))  # noqa: PTH100
        image = (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()
        box = ("",) * 4 if sample.box is None else tuple(repr(float(edge)) for edge in sample.box)
        table.writerow([image, images.classes[sample.label], sample.split, sample.group or "", *box])
    try:
        return text.getvalue().encode()
    except UnicodeEncodeError as error:
        raise DataError("an image's name is not UTF-8, and cannot stand in a manifest; rename it.") from error


def _require_same(trial: Path, images: LabelledImages, samples: Sequence[Sample]) -> None:
    """Check that the manifest reads back as it was meant to be written."""
    try:
        found = read_manifest(trial)
    except DataError as error:
        reason = str(error).replace(str(trial), "the manifest")
        raise DataError(f"what is left cannot be written as a manifest: {reason}") from error
    same = len(found.samples) == len(samples) and all(
        _row(one, found) == _row(other, images) for one, other in zip(found.samples, samples, strict=True)
    )
    if not same:
        wrong = next(
            (
                other.name
                for one, other in zip(found.samples, samples, strict=False)
                if _row(one, found) != _row(other, images)
            ),
            "its number of lines",
        )
        raise DataError(f"'{wrong}' would be read otherwise from a manifest than from {images.root}; rename it.")


def _row(sample: Sample, images: LabelledImages) -> Row:
    file = os.path.abspath(sample.path)  # noqa: PTH100
    return file, images.classes[sample.label], sample.split, sample.group or "", sample.box


def _unsaid(samples: Sequence[Sample]) -> list[str]:
    lost = {
        "key points of parts": any(sample.keypoints is not None for sample in samples),
        "masks": any(sample.mask is not None for sample in samples),
        "that the lowest rows of images are no part of them": any(sample.banner for sample in samples),
    }
    return [
        f"A manifest cannot say {what}: the cleaned data go without." for what, is_there in lost.items() if is_there
    ]
