"""Decisions on suspects, as downloaded from the page: validated, and applied to a list of samples."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tlaam.cleaning.cells import text_of
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import DataError, did_you_mean
from tlaam.utils.reading import read_text
from tlaam.utils.text import shortened

COLUMNS = ("image", "label", "decision", "new_label", "data")
DECISIONS = ("keep", "relabel", "remove", "unsure")


class Decision(NamedTuple):
    """The decision on one image.

    Attributes:
        line: line number in the file.
        image: name of the sample.
        label: label that it had at the time.
        decision: one of `DECISIONS`.
        new_label: the label of a relabelled image; else empty.
    """

    line: int
    image: str
    label: str
    decision: str
    new_label: str


def read_decisions(path: Path, images: LabelledImages) -> list[Decision]:
    """Read a file of decisions, and check that each fits the data set.

    Raises:
        DataError: the file is not a decisions file, or belongs to another data set or an earlier state of it; or it
            decides on something that does not exist, or contradicts itself. The message names the line.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{path}' cannot be read as decisions: {_first_line(error)}. Give the page's decisions.csv."
        ) from error
    try:
        rows = list(_rows(text.removeprefix("\ufeff")))
    except csv.Error as error:
        raise DataError(f"'{path}' is no table of decisions: {error}. Give the page's decisions.csv.") from error
    if not rows or tuple(rows[0][1]) != COLUMNS:
        found = shortened(", ".join(rows[0][1]) if rows else "nothing", 100)
        raise DataError(f"'{path}' line 1: the columns must be {','.join(COLUMNS)}, but are {found}.")
    fingerprint = images.fingerprint()
    known = {(sample.name, images.classes[sample.label]) for sample in images.samples}
    named = {name for name, _ in known}
    decided: dict[tuple[str, str], Decision] = {}
    for line, row in rows[1:]:
        if len(row) != len(COLUMNS):
            raise _fault(path, line, f"it has {len(row)} cells, and not {len(COLUMNS)}")
        image, label, decision, new_label, data = (text_of(cell) for cell in row)
        if data != fingerprint:
            raise _fault(
                path, line, f"it was decided on other data, or before {images.root} changed; run tlaam clean again"
            )
        if (image, label) not in known:
            other = "has another label" if image in named else "is not in the data"
            raise _fault(path, line, f"image '{shortened(image, 100)}' {other}")
        if decision not in DECISIONS:
            raise _fault(path, line, f"decision '{shortened(decision, 100)}' is none of {', '.join(DECISIONS)}")
        if (decision == "relabel") != bool(new_label):
            raise _fault(path, line, f"new_label is '{shortened(new_label, 100)}', but the decision is {decision}")
        if new_label and new_label not in images.classes:
            hint = did_you_mean(new_label, images.classes)
            raise _fault(
                path, line, f"there is no class '{shortened(new_label, 100)}'{hint and '.' + hint.rstrip('.')}"
            )
        made = Decision(line, image, label, decision, new_label)
        before = decided.setdefault((image, label), made)
        if before[1:] != made[1:]:
            raise _fault(path, line, f"image '{image}' was decided otherwise in line {before.line}")
    return list(decided.values())


class Applied(NamedTuple):
    """A data set after applying decisions.

    Attributes:
        samples: the remaining samples, with new labels.
        removed: number of images removed.
        relabelled: number of images with a new label.
        gone: classes without any remaining image.
    """

    samples: list[Sample]
    removed: int
    relabelled: int
    gone: list[str]


def applied(images: LabelledImages, decisions: Sequence[Decision]) -> Applied:
    """Return the data set that results from decisions.

    Raises:
        DataError: the remaining training images would have fewer than two classes, or miss a class that other images
            have.
    """
    wanted = {(one.image, one.label): one for one in decisions}
    samples: list[Sample] = []
    relabelled = 0
    for sample in images.samples:
        decision = wanted.get((sample.name, images.classes[sample.label]))
        if decision is not None and decision.decision == "remove":
            continue
        if decision is not None and decision.decision == "relabel":
            label = images.classes.index(decision.new_label)
            relabelled += label != sample.label
            sample = replace(sample, label=label)
        samples.append(sample)
    trained = Counter(sample.label for sample in samples if sample.split == "train")
    if len(trained) < 2:
        raise DataError("these decisions leave training images of fewer than two classes; keep some more.")
    left = {sample.label for sample in samples}
    untrained = [images.classes[label] for label in sorted(left - set(trained))]
    if untrained:
        raise DataError(
            f"these decisions leave no training image of '{shortened(untrained[0], 100)}', but others of it; keep one, "
            "or remove all."
        )
    gone = [name for label, name in enumerate(images.classes) if label not in left]
    return Applied(samples, len(images.samples) - len(samples), relabelled, gone)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    return [(reader.line_num, row) for row in reader if row]


def _fault(path: Path, line: int, what: str) -> DataError:
    end = "" if what.endswith("?") else "."
    return DataError(f"'{path}' line {line}: {shortened(what, 400)}{end} Nothing was written.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
