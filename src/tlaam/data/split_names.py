"""Splits taken from the names and paths of files, if nothing else names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from tlaam.data.rules import SPLIT_NAMES, split_of
from tlaam.data.sample import Sample, Split


def split_in(name: str) -> Split | None:
    """Return the split that a word of a name stands for; None if there is none, or several.

    Examples:
        >>> split_in("instances_train2017"), split_in("valid.coco"), split_in("trainval")
        ('train', 'val', None)
    """
    found = {SPLIT_NAMES[word] for word in re.findall(r"[a-z]+", name.lower()) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def splits_of_paths(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """Return samples with the splits that their paths begin with, if all paths do, and a note about it."""
    found = [split_of(sample.name.partition("/")[0]) if "/" in sample.name else None for sample in samples]
    if None in found or "train" not in found or len(set(found)) == 1:
        return list(samples), []
    moved = [
        sample if split is None or split == "train" else replace(sample, split=split)
        for sample, split in zip(samples, found, strict=True)
    ]
    return moved, ["The splits are those of the folders that all paths begin with."]


__all__ = ["split_in", "splits_of_paths"]
