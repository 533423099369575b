"""Descriptions of what a folder holds besides the images that are read: nothing is left out silently."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tlaam.data.images import HEIF_SUFFIXES, UNSUPPORTED_SUFFIXES, reads_heif
from tlaam.data.walk import is_image_file, is_image_name, visible_files
from tlaam.utils.extras import install_hint

_OF_THE_SYSTEM = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "index.html"))
_SHOWN = 4


def left_out_note(names: Iterable[str], where: object) -> str:
    """Return a note on the files that are left out, by suffix; an empty string if there are none.

    Args:
        names: names of files; images and files that systems create by themselves do not count.
        where: the place that holds them, for the note.

    Examples:
        >>> left_out_note(["1.jpg", "1.xml", "2.xml", "readme.txt"], "photos")
        "Left out of 'photos': 3 files that are no images (2 .xml, 1 .txt)."
    """
    other, unread = _counted(names)
    parts = []
    if unread:
        parts.append(f"{_files(unread)} of a type that is not read ({_types(unread)}; {conversion(unread)})")
    if other:
        are = "is no image" if sum(other.values()) == 1 else "are no images"
        parts.append(f"{_files(other)} that {are} ({_types(other)})")
    return f"Left out of '{where}': {' and '.join(parts)}." if parts else ""


def left_out_of(folder: Path) -> str:
    """Return a note on the files left out at any depth below a folder; an empty string if there are none.

    Raises:
        OSError: a folder cannot be listed.
    """
    others = (file.rpartition("/")[2] for file in visible_files(folder) if not is_image_file(folder, file))
    return left_out_note(others, folder)


def conversion(counts: Mapping[str, int]) -> str:
    """Return what to do about pictures of unsupported types, as in ``convert them to JPEG or PNG``.

    Args:
        counts: number of files by suffix.
    """
    remedy = f"convert {'it' if sum(counts.values()) == 1 else 'them'} to JPEG or PNG"
    if HEIF_SUFFIXES.isdisjoint(counts) or reads_heif():
        return remedy
    return f"{remedy}, or install what reads HEIC ({install_hint('heif')})"


def _counted(names: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    other: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for name in names:
        if not is_image_name(name) and name.lower() not in _OF_THE_SYSTEM:
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 (hot loop)
            (unread if ending in UNSUPPORTED_SUFFIXES else other)[ending] += 1
    return other, unread


def _files(counts: Mapping[str, int]) -> str:
    number = sum(counts.values())
    return f"{number:,} file{'' if number == 1 else 's'}"


def _types(counts: Counter[str]) -> str:
    shown = [f"{number} {ending or 'without ending'}" for ending, number in counts.most_common(_SHOWN)]
    return ", ".join(shown) + (", …" if len(counts) > _SHOWN else "")


__all__ = ["conversion", "left_out_note", "left_out_of"]
