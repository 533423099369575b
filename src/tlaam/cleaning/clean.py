"""Finding the suspects of a data set, and applying the decisions on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlaam.cleaning.background import background_findings
from tlaam.cleaning.copies import copy_findings, exact_pairs
from tlaam.cleaning.decisions import Applied, applied, read_decisions
from tlaam.cleaning.labels import label_findings
from tlaam.cleaning.leaks import leak_findings
from tlaam.cleaning.looking import Looked, looked, probe_settings
from tlaam.cleaning.manifest import write_manifest
from tlaam.cleaning.page import SHOWN, write_cleaning_page
from tlaam.cleaning.quality import Measured, measured, quality_faults
from tlaam.cleaning.report import CleaningReport
from tlaam.cleaning.suspects import Finding, Suspect, ranked
from tlaam.cleaning.thumbnails import thumbnail
from tlaam.cleaning.unlike import unlike_findings
from tlaam.data.copies import find_copies
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.data.survey import with_depth
from tlaam.errors import DataError, RunError
from tlaam.utils.atomic import remove_leftovers
from tlaam.utils.extras import require_extra
from tlaam.utils.progress import progress_bar

_SMALL_CLASS = 10
"""Number of training images below which a class is reported as too small."""
_NAMED = 5
_CHANCE_TIMES = 3.0
"""Factor over chance from which the accuracy of backgrounds alone is reported."""


def clean(
    data: str | Path | LabelledImages,
    out: str | Path,
    *,
    background: bool = True,
    progress: bool = True,
    **settings: Any,
) -> CleaningReport:
    """List the suspects in a data set, and write the same files as ``tlaam clean``.

    A probe answers out of fold for the images of all splits. The data is not changed.

    Args:
        data: see `tlaam.open_dataset`, or an opened data set.
        out: folder for ``suspects.csv`` and ``page.html``; created if it is missing; existing files are replaced.
        background: also examine all images with their objects hidden.
        progress: show progress bars if standard error is a terminal.
        **settings: settings of the probe by name, see `tlaam.fit`: ``backbone="resnet50"``.

    Raises:
        ConfigError: a setting is not valid.
        DataError: the data cannot be used.
        ModelError: the network or its weights cannot be loaded.
        RunError: `out` cannot be written to.
        MissingPackageError: the extra ``clean`` is not installed.

    Examples:
        >>> small = {"backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96}
        >>> report = tlaam.clean("photos", "suspects", progress=False, **small)
        >>> Path("suspects/page.html").exists()
        True
    """
    require_extra("tlaam.clean", "clean")
    config = probe_settings(settings)
    folder = _folder(out)
    every = data if isinstance(data, LabelledImages) else open_dataset(data)
    with progress_bar("looking for deep images", hidden=not progress) as show:
        every, _ = with_depth(every, show)
    with progress_bar("measuring images", hidden=not progress) as show:
        of_every = measured(every.samples, show)
    read = [place for place, fault in enumerate(of_every.faults) if not fault]
    findings = [Finding(place, "unreadable", 1.0, fault) for place, fault in enumerate(of_every.faults) if fault]
    images, found = every.with_samples([every.samples[place] for place in read]), _rows(of_every, read)
    if len({sample.label for sample in images.samples}) < 2:
        raise DataError(
            f"{every.root}: fewer than two classes have images that can be read; tlaam check names the others."
        )
    seen = looked(images, found, config, progress=progress)
    with progress_bar("looking for equal images", hidden=not progress) as show:
        exact = exact_pairs(images.samples, find_copies(images.samples, show))
    labels = np.array([sample.label for sample in images.samples])
    of_read = [
        *label_findings(labels, seen),
        *copy_findings(images, exact, seen.near),
        *leak_findings(images, found.takens),
        *unlike_findings(seen.whole),
        *(Finding(fault.place, fault.kind, 0.5 * fault.score, fault.reason) for fault in quality_faults(found)),
    ]
    alone = None
    if background:
        named, alone = background_findings(images.samples, labels, len(images.classes), seen, progress=progress)
        of_read += named
    findings += [_in_every(finding, read) for finding in of_read]
    report = CleaningReport(
        every.name, len(every.samples), every.fingerprint(), every.classes, tuple(ranked(every, findings)),
        tuple(_notes(images, labels, alone)), seen.probe.facts.out_of_fold_top1, folder,
    )  # fmt: skip
    try:
        remove_leftovers(folder)
        report.write_csv()
        write_cleaning_page(report, _thumbnails(images, report.suspects[:SHOWN], seen))
    except OSError as error:
        raise RunError(f"{folder} cannot be written to: {error.strerror or error}. Choose another folder.") from error
    return report


class Cleaned(NamedTuple):
    """The result of applying decisions.

    Attributes:
        manifest: the manifest file.
        result: its samples, and what was changed.
        notes: what the manifest cannot express, one line each.
    """

    manifest: Path
    result: Applied
    notes: list[str]


def apply_decisions(data: str | Path | LabelledImages, decisions: str | Path, manifest: str | Path) -> Cleaned:
    """Write the manifest that results from applying decisions to a data set. No image is opened or changed.

    Args:
        data: the data set that the decisions were made on.
        decisions: the page's ``decisions.csv``.
        manifest: the file to write.

    Raises:
        DataError: the decisions are not valid or belong to other data, or a manifest cannot express the result.
        RunError: the manifest cannot be written.
    """
    images = data if isinstance(data, LabelledImages) else open_dataset(data)
    made = read_decisions(Path(decisions), images)
    try:
        result = applied(images, made)
    except DataError as error:
        raise DataError(f"'{decisions}' cannot be applied: {error}") from error
    try:
        notes = write_manifest(Path(manifest), images, result.samples)
    except OSError as error:
        raise RunError(f"'{manifest}' cannot be written: {error.strerror or error}. Choose another place.") from error
    return Cleaned(Path(manifest), result, notes)


def _folder(out: str | Path) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror or error}. Choose another folder.") from error
    return folder


def _rows(found: Measured, read: Sequence[int]) -> Measured:
    rows = np.array(read, dtype=np.int64)
    return Measured(
        [found.faults[place] for place in read], found.dark[rows], found.light[rows], found.sharpness[rows],
        found.sides[rows], found.greys[rows], found.hashes[rows], [found.takens[place] for place in read],
    )  # fmt: skip


def _in_every(finding: Finding, read: Sequence[int]) -> Finding:
    """Return a finding on the readable images with places that count all images."""
    beside = tuple((read[other], role) for other, role in finding.beside)
    return finding._replace(place=read[finding.place], beside=beside)


def _notes(images: LabelledImages, labels: np.ndarray[Any, Any], alone: float | None) -> list[str]:
    notes = []
    counts = images.class_counts("train")
    small = sorted((count, name) for name, count in counts.items() if count < _SMALL_CLASS)
    if small:
        named = ", ".join(f"'{name}' ({count})" for count, name in small[:_NAMED])
        more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
        notes.append(f"Classes of fewer than {_SMALL_CLASS} training images: {named}{more}.")
    if alone is not None:
        chance = max(Counter(labels.tolist()).values()) / len(labels)
        if alone > min(_CHANCE_TIMES * chance, (1 + chance) / 2):
            notes.append(
                f"With objects hidden, backgrounds alone give {alone:.0%} of the labels; always the largest class "
                f"{chance:.0%}."
            )
    return notes


def _thumbnails(images: LabelledImages, suspects: Sequence[Suspect], seen: Looked) -> dict[str, str]:
    wanted = {suspect.name for suspect in suspects}
    wanted |= {one.name for suspect in suspects for one in suspect.companions}
    objects, parts = seen.probe.object_boxes, seen.probe.part_boxes
    return {
        sample.name: thumbnail(
            sample, None if objects is None else objects[place], None if parts is None else parts[place]
        )
        for place, sample in enumerate(images.samples)
        if sample.name in wanted
    }
