"""The official layout of CUB-200-2011 (Wah et al. 2011, Caltech-UCSD Birds-200-2011), whole or a subset of it."""

from __future__ import annotations

from pathlib import Path

from tlaam.data.birds import LISTS, read_birds
from tlaam.data.official import home_of, whole_number
from tlaam.data.sample import LabelledImages

FOLDER = "CUB_200_2011"


def is_cub(root: Path) -> bool:
    """Whether `root`, or the folder ``CUB_200_2011`` in it, has the lists of the official layout."""
    return home_of(root, FOLDER, *LISTS) is not None


def read_cub(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of CUB-200-2011 as `read_birds` does; images are neither opened nor looked for.

    Class names stay the official ones (``001.Black_footed_Albatross``), ordered by id.

    Args:
        root: the folder with ``images.txt``, or the one that holds it as ``CUB_200_2011``.
        strict: see `read_birds`.

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or lacking; names file and line.
    """
    home = home_of(Path(root), FOLDER, *LISTS) or Path(root)
    return read_birds(home, "CUB-200-2011", "cub", whole_number, strict=strict)
