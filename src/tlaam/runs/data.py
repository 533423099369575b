"""How to reopen a run's data, whatever it was started with, and the rule by which its splits are cut."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlaam.data.depth import LEGACY, Depth
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.data.split_rule import SplitRule
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.errors import DataError, RunError
from tlaam.runs.folder import RunFolder


def reopenable(source: str | Path | LabelledImages, images: LabelledImages) -> str:
    """Return a text that opens the same data from any working folder: a path with its option, or ``synthetic:...``.

    Args:
        source: the data as given when the run was started.
        images: the same data, opened.
    """
    if images.kind == "synthetic":  # its folder is a cache that does not record the order of the classes
        values = json.loads((images.root / "options.json").read_text(encoding="utf-8"))
        values.pop("drawing_version")
        return str(SyntheticOptions(**values))
    if isinstance(source, LabelledImages):
        return str(source.root.resolve()) + (f":{source.option}" if source.option else "")
    return str(Path(source).expanduser().resolve())  # this keeps the option at the end, if there is one


def opened_again(facts: Mapping[str, Any]) -> LabelledImages:
    """Open the data of a run according to its ``data.json``; its splits are not cut yet.

    Raises:
        DataError: the data can no longer be opened.
        RunError: the data is synthetic and this version draws it differently, or the rule of its splits is damaged.
    """
    if facts["kind"] != "synthetic":
        return as_begun(open_dataset(facts["source"]), facts)
    root = Path(facts["root"])
    images = synthetic_images(SyntheticOptions.parse(facts["source"]), root.parent)
    if images.root.name != root.name:  # the name is a hash of the options and the drawing version
        raise RunError(
            f"The run was begun on '{facts['source']}', which this version draws differently; begin a new run."
        )
    return as_begun(images, facts)


def knows_its_data(model: Path) -> bool:
    """Return whether a model is a run folder with a record of the data that it was trained on."""
    return RunFolder(model).data.is_file()


def own_data(run: Path, command: str) -> LabelledImages:
    """Open the data that a run was trained on, at its original location; its splits are not cut yet.

    Args:
        run: the run folder.
        command: the subcommand of ``tlaam`` that takes another location with ``--data``, for the message.

    Raises:
        DataError: the data cannot be opened there; the message says how to give its new location.
        RunError: the record of the data is missing or damaged.
    """
    folder = RunFolder(run)
    source = folder.read_json(folder.data, "source")["source"]
    try:
        return open_dataset(source, strict=False)
    except DataError as error:
        raise DataError(
            f"The data of this run was at {source} and cannot be opened there: {str(error).rstrip('.')}. "
            f"Say where it lies now: tlaam {command} {shlex.quote(str(run))} --data NEW"
        ) from error


def as_begun(images: LabelledImages, facts: Mapping[str, Any]) -> LabelledImages:
    """Return a data set with the split rule of a run and, for images of more than 8 bits, its depth, as recorded in
    the run's ``data.json``.

    Raises:
        RunError: the record is damaged.
    """
    begun = as_fingerprinted(images, facts.get("source_fingerprint", ""))
    where = Path(facts["root"])
    return replace(begun or images, rule=recorded_rule(facts, where)).with_depth(recorded_depth(facts, where))


def as_fingerprinted(images: LabelledImages, fingerprint: str) -> LabelledImages | None:
    """Return the data set in the form with a fingerprint (older versions ignored groups); None if no form has it."""
    if images.fingerprint() == fingerprint:
        return images
    older = images.without_groups()
    return older if older is not images and older.fingerprint() == fingerprint else None


def recorded_depth(facts: Mapping[str, Any], where: Path) -> Depth:
    """Return the depth recorded in ``data.json``; for arguments and errors see `recorded_rule`.

    Older versions treated all images of more than 8 bits as 16-bit; their runs have no record.
    """
    try:
        return Depth.from_dict(facts["depth"]) if "depth" in facts else LEGACY
    except ValueError as error:
        raise RunError(f"{where}: 'depth' in data.json cannot be used: {error}.") from error


def recorded_rule(facts: Mapping[str, Any], where: Path) -> SplitRule:
    """Return the split rule recorded in ``data.json``; an empty rule if there is none.

    Args:
        facts: the content of ``data.json``.
        where: what to name in an error.

    Raises:
        RunError: the record is damaged.
    """
    try:
        return SplitRule.from_dict(facts.get("split_rule", {}))
    except ValueError as error:
        raise RunError(f"{where}: the rule of its splits in data.json cannot be used: {error}.") from error
