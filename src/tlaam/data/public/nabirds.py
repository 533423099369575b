"""The official layout of NABirds (Van Horn et al. 2015)."""

from __future__ import annotations

from pathlib import Path

from tlaam.data.public.birds import LISTS, read_birds
from tlaam.data.public.official import home_of
from tlaam.data.sample import LabelledImages
from tlaam.utils.reading import bounded_lines, require_regular

FOLDER = "nabirds"
_UUID_DASHES = 4


def is_nabirds(root: Path) -> bool:
    """Whether `root`, or the folder ``nabirds`` in it, has the lists of the official layout.

    The lists have the same names as those of CUB-200-2011, but there is a class hierarchy, or at least the images have
    UUIDs instead of numbers.
    """
    home = home_of(root, FOLDER, *LISTS)
    if home is None:
        return False
    return (home / "hierarchy.txt").is_file() or _first_word(home / "images.txt").count("-") == _UUID_DASHES


def read_nabirds(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of NABirds as `read_birds` does; images are neither opened nor looked for.

    The classes are only the 555 that images are labelled with; ``classes.txt`` also names the species, families and
    orders above them. ``hierarchy.txt``, which relates them, is not read.

    Args:
        root: the folder with ``images.txt``, or the one that holds it as ``nabirds``.
        strict: see `read_birds`.

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or missing; the message names file and
            line.
    """
    home = home_of(Path(root), FOLDER, *LISTS) or Path(root)
    return read_birds(home, "NABirds", "nabirds", str, strict=strict)


def _first_word(path: Path) -> str:
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            return next(iter(next(bounded_lines(stream, path), "").split()), "")
    except OSError:  # missing or unreadable, which reading reports
        return ""
