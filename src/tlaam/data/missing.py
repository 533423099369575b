"""Messages about images that a table lists but that do not exist."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tlaam.data.names import folded_name
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.walk import is_image_name

_BESIDE = "The images belong beside it, or into a folder 'images'."
_LISTS = {
    "manifest": "Paths are relative to the manifest's folder.",
    "coco": _BESIDE,
    "label-studio": _BESIDE,
    "cvat": _BESIDE,
}
"""Where the images of each kind of table or list are looked for."""


def note_on_missing(images: LabelledImages, unreadable: Sequence[Sample]) -> str:
    """Return where images were looked for, if most of those that a table lists are missing; else an empty string."""
    missing = [sample for sample in unreadable if not os.path.lexists(sample.path)]
    if images.kind not in _LISTS or len(missing) * 2 <= len(images.samples):
        return ""
    example = missing[0]
    return (
        f"{len(missing):,} of the {len(images.samples):,} images that '{images.root}' lists are not there: "
        f"'{example.name}' was looked for at '{example.path.absolute()}'. {_LISTS[images.kind]}"
    )


def file_instead(path: Path) -> str:
    """Return a note on an image with the name of a missing one but another suffix; an empty string if there is none."""
    if os.path.lexists(path):
        return ""
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir() if is_image_name(entry.name))
    except (OSError, ValueError):  # no such folder, or an impossible name
        return ""
    other = next((name for name in beside if folded_name(Path(name).stem) == folded_name(path.stem)), "")
    return f" There is '{other}'." if other else ""


__all__ = ["file_instead", "note_on_missing"]
