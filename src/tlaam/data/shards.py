"""Data sets in one file or in a folder of numbered files, such as ``data/train-00000-of-00002.parquet``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tlaam.data.rules import SPLIT_NAMES
from tlaam.data.sample import Split
from tlaam.data.walk import is_image_name, visible_files
from tlaam.errors import DataError

_DEPTH = 3
_NUMBERED = re.compile(r".*-\d{5}-of-\d{5}")


class Shard(NamedTuple):
    """One file of a data set.

    Attributes:
        path: its path.
        name: its path relative to the data set's folder.
        split: the split that its name or a folder around it states; None if neither does.
    """

    path: Path
    name: str
    split: Split | None


def holds_shards(root: Path, endings: tuple[str, ...]) -> bool:
    """Whether a folder holds files with these suffixes (lower case), and no images that are a data set themselves."""
    if not root.is_dir():
        return False
    found = [file for file in visible_files(root) if file.count("/") < _DEPTH]
    ours = [file for file in found if file.lower().endswith(endings)]
    return bool(ours) and (
        any(_NUMBERED.fullmatch(Path(file).stem) for file in ours)
        or not any(is_image_name(file.rpartition("/")[2]) for file in found if "/" in file)
    )


def shards_of(root: Path, endings: tuple[str, ...]) -> tuple[list[Shard], list[str]]:
    """Return the files of a data set, sorted by name, and notes on other files in its folder.

    Raises:
        DataError: a name stands for two splits, only some names stand for splits, or the files lie in several folders
            that are not splits.
    """
    if root.is_file():
        return [Shard(root, root.name, None)], []
    files = sorted(visible_files(root))
    ours = [file for file in files if file.lower().endswith(endings)]
    shards = [Shard(root / file, file, _split(root / file, file)) for file in ours]
    without = next((shard for shard in shards if shard.split is None), None)
    if without is not None and any(shard.split for shard in shards):
        raise DataError(
            f"'{without.path}' does not say of which split it is, as others in '{root}' do. Begin its name with train, "
            "val or test."
        )
    homes = sorted({"/".join(_others(shard.name)) for shard in shards})
    if len(homes) > 1:
        raise DataError(
            f"'{root}' holds several data sets: {', '.join(repr(home or '.') for home in homes)}. Give the path of one."
        )
    left = len(files) - len(ours)
    notes = [f"Left out of '{root}': {left:,} other file{'' if left == 1 else 's'} beside the {len(ours):,} read."]
    return shards, notes if left else []


def _split(path: Path, name: str) -> Split | None:
    *folders, file = name.lower().split("/")
    words = [*folders, *re.split(r"[^a-z]+", file.partition(".")[0])]
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    if len(found) > 1:
        raise DataError(f"'{path}' names {' and '.join(sorted(found))}; which split it is, is not certain. Rename it.")
    return next(iter(found), None)


def _others(name: str) -> list[str]:
    """Return the folders around a file that are not splits."""
    return [folder for folder in name.split("/")[:-1] if folder.lower() not in SPLIT_NAMES]


__all__ = ["Shard", "holds_shards", "shards_of"]
