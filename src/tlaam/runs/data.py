"""Which words open a run's data again, whatever it was begun with, and by which rule its splits are cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlaam.data.depth import LEGACY, Depth
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.data.split_rule import SplitRule
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.errors import RunError


def reopenable(source: str | Path | LabelledImages, images: LabelledImages) -> str:
    """Return what opens the same data again from any working folder: a path with its option, or ``synthetic:...``.

    Args:
        source: what the run was begun with.
        images: the same, opened.
    """
    if images.kind == "synthetic":  # its folder is a cache, in which the order of the classes is not written down
        values = json.loads((images.root / "options.json").read_text(encoding="utf-8"))
        values.pop("drawing_version")
        return str(SyntheticOptions(**values))
    if isinstance(source, LabelledImages):
        return str(source.root.resolve()) + (f":{source.option}" if source.option else "")
    return str(Path(source).expanduser().resolve())  # with the option behind it, where there is one


def opened_again(facts: Mapping[str, Any]) -> LabelledImages:
    """Open the data of a run by its ``data.json``; its splits are still to be cut.

    Raises:
        DataError: it can no longer be opened.
        RunError: it is drawn, and this version draws it differently; or the rule of its splits is damaged.
    """
    if facts["kind"] != "synthetic":
        return as_begun(open_dataset(facts["source"]), facts)
    root = Path(facts["root"])
    images = synthetic_images(SyntheticOptions.parse(facts["source"]), root.parent)
    if images.root.name != root.name:  # named by a hash of options and drawing version
        raise RunError(
            f"The run was begun on '{facts['source']}', which this version draws differently; begin a new run."
        )
    return as_begun(images, facts)


def as_begun(images: LabelledImages, facts: Mapping[str, Any]) -> LabelledImages:
    """Return a data set with the rule by which a run cut its splits and the depth by which it read images of more than
    8 bits, as its ``data.json`` says them.

    Raises:
        RunError: that is damaged.
    """
    begun = as_fingerprinted(images, facts.get("source_fingerprint", ""))
    where = Path(facts["root"])
    return replace(begun or images, rule=recorded_rule(facts, where)).with_depth(recorded_depth(facts, where))


def as_fingerprinted(images: LabelledImages, fingerprint: str) -> LabelledImages | None:
    """Return a data set as it has a fingerprint, or None: versions that knew no groups read it without them."""
    if images.fingerprint() == fingerprint:
        return images
    older = images.without_groups()
    return older if older is not images and older.fingerprint() == fingerprint else None


def recorded_depth(facts: Mapping[str, Any], where: Path) -> Depth:
    """Return the depth that ``data.json`` holds; arguments and errors as of `recorded_rule`.

    Runs of versions that took all images of more than 8 bits for 16 do not say.
    """
    try:
        return Depth.from_dict(facts["depth"]) if "depth" in facts else LEGACY
    except ValueError as error:
        raise RunError(f"{where}: 'depth' in data.json cannot be used: {error}.") from error


def recorded_rule(facts: Mapping[str, Any], where: Path) -> SplitRule:
    """Return the rule that ``data.json`` holds; one that says nothing of runs that have none.

    Args:
        facts: its content.
        where: what to name in an error.

    Raises:
        RunError: it is damaged.
    """
    try:
        return SplitRule.from_dict(facts.get("split_rule", {}))
    except ValueError as error:
        raise RunError(f"{where}: the rule of its splits in data.json cannot be used: {error}.") from error
