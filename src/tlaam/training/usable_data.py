"""The images that a run can use: those that can be read, in its splits, reopened when the run is resumed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tlaam.config.schema import Config
from tlaam.data.check import find_unreadable
from tlaam.data.copies import with_copies
from tlaam.data.missing import note_on_missing
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split import cut_splits, cuts_something
from tlaam.data.survey import with_depth
from tlaam.errors import DataError, RunError
from tlaam.runs.data import as_begun, opened_again, reopenable
from tlaam.runs.folder import RunFolder
from tlaam.training.identity import facts_of
from tlaam.training.loop import resume_command
from tlaam.training.saying import say
from tlaam.utils.atomic import write_json
from tlaam.utils.progress import progress_bar

LOOKED_AT = 50_000
"""Above this number of images, a run does not decode each one first: that takes minutes here, hours for a million."""
_NAMED = 3


def with_found_depth(images: LabelledImages, progress: bool) -> LabelledImages:
    """Return the data set with black and white levels for its images with more than 8 bits, and report the levels."""
    with progress_bar("looking for deep images", hidden=not progress) as show:
        images, found = with_depth(images, show)
    if line := found.line():
        say(line, progress)
    return images


def with_splits(images: LabelledImages, config: Config, test_fraction: float) -> LabelledImages:
    return cut_splits(images, test_fraction, config.training.val_fraction, config.training.seed)


def with_equal_images(images: LabelledImages, config: Config, test_fraction: float, progress: bool) -> LabelledImages:
    """Return the data set with images of equal pixels noted in its split rule, if a split is to be cut from it."""
    if images.rule.copies is not None or not cuts_something(images, test_fraction, config.training.val_fraction):
        return images
    with progress_bar("looking for equal images", hidden=not progress) as show:
        return with_copies(images, show)


def readable(images: LabelledImages, skip: bool, progress: bool) -> tuple[LabelledImages, list[dict[str, str]]]:
    """Return the data set without its unreadable images (the test split is not checked), and what was left out."""
    used = images.with_samples([sample for sample in images.samples if sample.split != "test"])
    if len(used.samples) > LOOKED_AT and not skip:
        say(
            f"{len(used.samples):,} images are too many to look at each beforehand; the first that cannot be read will "
            "end the run. `tlaam check` finds them all, --skip-unreadable looks for them now.",
            progress,
        )
        return images, []
    with tqdm(
        total=len(used.samples),
        desc="reading every image once",
        unit="image",
        file=sys.stderr,
        leave=False,
        disable=None if progress else True,  # None: disabled if standard error is not a terminal
    ) as bar:
        faults = find_unreadable(used, progress=lambda done, total: bar.update())
    if not faults:
        return images, []
    named = ", ".join(sample.name for sample, _ in faults[:_NAMED])
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    if not skip:
        if missing := note_on_missing(used, [sample for sample, _ in faults]):
            raise DataError(missing)
        raise DataError(
            f"{len(faults)} image(s) of {images.root} cannot be read ({named}{more}): mend or remove them (`tlaam "
            "check` says what is wrong with each), or train without them by --skip-unreadable."
        )
    say(f"Left out {len(faults)} unreadable image(s), listed in skipped.json: {named}{more}.", progress)
    skipped = [{"name": sample.name, "fault": fault} for sample, fault in faults]
    return without(images, [entry["name"] for entry in skipped]), skipped


def without(images: LabelledImages, names: Sequence[str]) -> LabelledImages:
    left_out = set(names)
    kept: list[Sample] = [sample for sample in images.samples if sample.name not in left_out]
    empty = {sample.label for sample in images.split("train")} - {s.label for s in kept if s.split == "train"}
    if empty:
        names = [images.classes[label] for label in sorted(empty)][:_NAMED]
        raise DataError(f"Without the unreadable images there is nothing left to train on of: {', '.join(names)}.")
    return images.with_samples(kept)


def reopened(folder: RunFolder, source: LabelledImages | str | Path | None, config: Config) -> LabelledImages:
    """Return a run's data in its splits, from its original place or from another one.

    If `source` is a path, it replaces the former one in ``data.json``.

    Raises:
        RunError: it is another data set, or not where it was.
        DataError: it cannot be opened at the other place.
    """
    facts = folder.read_json(folder.data)
    if source is None:
        images = _at_its_place(folder, facts)
    else:
        given = source if isinstance(source, LabelledImages) else open_dataset(source)
        images = replace(as_begun(given, facts), name=facts["name"])
    if folder.skipped.exists():
        images = without(images, [entry["name"] for entry in folder.read_json(folder.skipped)["skipped"]])
    images = with_splits(images, config, facts["test_fraction"])
    if images.fingerprint() != facts["fingerprint"]:
        what = f"{facts['source']} has changed since it was begun" if source is None else f"not of {images.root}"
        raise RunError(
            f"{folder.path} is a run of another data set: {what} "
            f"({facts['images']} images then, {facts_of(images)['images']} now)."
        )
    if isinstance(source, (str, Path)):
        place = reopenable(source, images)
        write_json(folder.data, {**facts, "source": place, "root": str(images.root.resolve())})
    return images


def _at_its_place(folder: RunFolder, facts: Mapping[str, Any]) -> LabelledImages:
    try:
        return opened_again(facts)
    except DataError as error:
        raise RunError(
            f"The data of this run was at {facts['source']} and cannot be opened there: {str(error).rstrip('.')}. "
            f"From another place, NEW, it continues with: {resume_command(folder)} --data NEW"
        ) from error
