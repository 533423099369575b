"""Positions of the files in a tar archive, found from its headers alone.

`tarfile` keeps an object of more than a thousand bytes for each member and takes half a minute for a million of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.data.container import kept_of
from tlaam.data.tar_headers import Entry, entries
from tlaam.utils.arrays import UNFIT, arrays_of, to_bytes
from tlaam.utils.atomic import full_disk_named, write_atomically
from tlaam.utils.text import printable

KEPT = 20_000
"""Number of files above which an archive's index is kept in the cache."""

_KINDS = {"names": ("|u1", 1), "offsets": ("<i8", 1), "sizes": ("<i8", 1), "notes": ("|u1", 1)}
_BETWEEN = "\0"


class TarIndex(NamedTuple):
    """The regular files of an archive.

    Attributes:
        names: relative paths with forward slashes, each once, in the archive's order.
        offsets: positions of their first bytes, int64.
        sizes: their sizes in bytes, int64.
        notes: what was left out, one line each.
    """

    names: list[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    notes: list[str]


def tar_index(path: Path) -> TarIndex:
    """Return the index of an archive; above `KEPT` files it is cached, and reused while the archive is the same.

    If a name occurs several times, the last file counts, as when the archive is unpacked. A hard link stands for the
    file that it points to. Names are relative: a slash or ``./`` at the beginning is dropped, as tar does.

    Raises:
        DataError: it is compressed, damaged, cut off or not a tar archive, or holds a sparse file.
        OSError: it cannot be read.
    """
    kept = kept_of(path) / "index.npz"
    if (found := _read_kept(kept)) is not None:
        return found
    index = _indexed(path)
    if len(index.names) > KEPT:
        kept.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"names": _packed(index.names), "notes": _packed(index.notes)}
        with full_disk_named(kept.parent):
            write_atomically(kept, to_bytes({**arrays, "offsets": index.offsets, "sizes": index.sizes}, _KINDS))
    return index


@dataclass
class _Found:
    """What has been read of an archive so far: positions by name, and what is left out."""

    places: dict[str, tuple[int, int]]
    left_out: Counter[str]
    example: dict[str, str]

    def leave_out(self, what: str, name: str) -> None:
        self.left_out[what] += 1
        self.example.setdefault(what, name)

    def add(self, entry: Entry) -> None:
        name = _relative(entry.name)
        if name is None:
            self.leave_out("name that leads out of the archive", entry.name)
        elif entry.kind == "file":
            self._put(name, (entry.offset, entry.size))
        elif entry.kind == "hard link":
            place = self.places.get(_relative(entry.target) or "")
            if place is None:
                self.leave_out("hard link to a file that is not before it", name)
            else:
                self._put(name, place)
        else:
            self.leave_out(entry.kind, name)

    def _put(self, name: str, place: tuple[int, int]) -> None:
        before = self.places.get(name)
        if before is not None and before != place:
            self.leave_out("earlier file of the same name", name)
        self.places[name] = place

    def notes(self, path: Path) -> list[str]:
        return [
            f"Left out of '{path}': {what}, {count:,} times, such as '{printable(self.example[what])}'."
            for what, count in sorted(self.left_out.items())
        ]


def _indexed(path: Path) -> TarIndex:
    found, said = _Found({}, Counter(), {}), list[str]()
    for entry in entries(path, said):
        found.add(entry)
    places = np.fromiter((number for place in found.places.values() for number in place), np.int64)
    return TarIndex(list(found.places), places[0::2].copy(), places[1::2].copy(), [*found.notes(path), *said])


def _relative(name: str) -> str | None:
    """Return a member's path relative to the folder that the archive is unpacked in; None if it leads out of it."""
    if not name.startswith(("/", ".")) and "/." not in name and "//" not in name:
        return name
    parts = PurePosixPath(name.lstrip("/")).parts
    return None if ".." in parts or not parts else "/".join(parts)


def _packed(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(_BETWEEN.join(texts).encode("utf-8", "surrogateescape"), np.uint8)


def _unpacked(packed: NDArray[np.uint8]) -> list[str]:
    return packed.tobytes().decode("utf-8", "surrogateescape").split(_BETWEEN) if packed.size else []


def _read_kept(kept: Path) -> TarIndex | None:
    try:
        arrays = arrays_of(kept.read_bytes(), _KINDS)
        index = TarIndex(_unpacked(arrays["names"]), arrays["offsets"], arrays["sizes"], _unpacked(arrays["notes"]))
    except UNFIT:  # none yet, or damaged
        return None
    return index if len(index.names) == len(index.offsets) == len(index.sizes) else None


__all__ = ["KEPT", "TarIndex", "tar_index"]
