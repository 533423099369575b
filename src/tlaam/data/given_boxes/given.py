"""Boxes by photograph."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tlaam.data.annotations.yolo import boxes_in_file
from tlaam.errors import DataError
from tlaam.utils.checksums import checksum, checksum_of
from tlaam.utils.text import shortened

_OUTSIDE = 0.02
"""Share of a side by which a detector's box may leave its photograph; a larger share means another photograph."""
_ASPECT = 0.02
"""Share by which a photograph's aspect ratio may differ from that of the image that boxes were measured on."""
_MOST = 1000
"""Maximum number of boxes of one photograph."""

Floats = NDArray[np.float64]


class GivenBoxes(Protocol):
    """Boxes by photograph."""

    def of(self, path: str, size: tuple[int, int], number: int = 0) -> Floats:
        """Return the boxes of a photograph of ``(width, height)``, ``(n, 4)`` xyxy in its pixels, in their order.

        Args:
            path: path of the photograph.
            size: ``(width, height)`` of the photograph.
            number: its index among the photographs that are requested.

        Raises:
            DataError: the boxes cannot be used for the photograph, or nobody has looked for objects in it.
        """

    def names(self, path: str) -> bool:
        """Return whether there is an entry for a photograph, even one without a box."""

    def digest(self) -> str:
        """Return a checksum that distinguishes these boxes from others."""


@dataclass(frozen=True)
class Listed:
    """What a file says about one photograph.

    Attributes:
        boxes: xyxy, in pixels or in shares of the sides (`shares`).
        shares: whether boxes are in shares of the sides.
        size: ``(width, height)`` that the file states for the image whose pixels they are in; None if it states none.
        failure: why there are no boxes, if the photograph could not be examined.
    """

    boxes: tuple[tuple[float, float, float, float], ...] = ()
    shares: bool = False
    size: tuple[float, float] | None = None
    failure: str = ""


class BoxTable:
    """Boxes by the paths that a file names.

    An entry is for a photograph if the photograph's path ends in the entry's path, compared by whole folder names; of
    several such entries, the longest counts. What all absolute paths begin with is ignored: the memory card may have
    been elsewhere when the file was written.

    Args:
        entries: by path as written in the file, with ``/`` or ``\\``.
        what: the file, for messages.
        complete: whether the file names every photograph that was examined; if not, those without an entry show
            nothing.

    Raises:
        DataError: two entries mean one photograph.
    """

    def __init__(self, entries: Mapping[str, Listed], what: str, *, complete: bool) -> None:
        self.what, self.complete = what, complete
        self._entries: dict[tuple[str, ...], Listed] = {}
        for parts, listed in zip(_relative(list(entries)), entries.values(), strict=True):
            if self._entries.setdefault(parts, listed) != listed:
                raise DataError(f"{what} names '{shortened('/'.join(parts))}' twice, with different boxes. Correct it.")

    def of(self, path: str, size: tuple[int, int], number: int = 0) -> Floats:
        """See `GivenBoxes`."""
        listed = self._entry(path)
        if listed is None:
            if self.complete:
                raise DataError(f"{self.what} does not name '{path}', so that nobody has looked for objects in it.")
            return np.zeros((0, 4))
        if listed.failure:
            raise DataError(f"{self.what} has no boxes for '{path}', but a failure: {shortened(listed.failure)}.")
        return fitted(listed, path, size, self.what)

    def names(self, path: str) -> bool:
        """See `GivenBoxes`."""
        return self._entry(path) is not None

    def digest(self) -> str:
        """See `GivenBoxes`."""
        lines = (json.dumps([*parts, repr(listed)]).encode() + b"\n" for parts, listed in self._entries.items())
        return checksum_of(lines)

    def _entry(self, path: str) -> Listed | None:
        parts = _parts(str(Path(path).absolute()))
        ends = (parts[start:] for start in range(len(parts)))
        return next((self._entries[end] for end in ends if end in self._entries), None)


class NumberedBoxes:
    """Boxes of images in the order in which the images are requested.

    Args:
        boxes: xyxy in pixels, one list per image.
    """

    def __init__(self, boxes: Sequence[Sequence[Sequence[float]] | Floats]) -> None:
        self._listed = [
            Listed(tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in several))
            for several in boxes
        ]

    def of(self, path: str, size: tuple[int, int], number: int = 0) -> Floats:
        """See `GivenBoxes`."""
        if number >= len(self._listed):
            raise DataError(f"there are boxes for {len(self._listed)} images, and '{path}' is number {number + 1}.")
        return fitted(self._listed[number], path, size, "boxes")

    def names(self, path: str) -> bool:
        """See `GivenBoxes`."""
        return True

    def digest(self) -> str:
        """See `GivenBoxes`."""
        return checksum(repr(self._listed).encode())


class YoloBoxes:
    """Boxes in YOLO text files, one per photograph: ``labels/a/b.txt`` or ``labels/b.txt`` for ``a/b.jpg``.

    A photograph without a file shows nothing, as in YOLO's own programs.

    Args:
        folder: folder of the text files.
        least: confidence, the number after a box, below which a box is ignored.
    """

    def __init__(self, folder: Path, least: float) -> None:
        self.folder, self.least = folder, least

    def of(self, path: str, size: tuple[int, int], number: int = 0) -> Floats:
        """See `GivenBoxes`."""
        file = self._file(path)
        if file is None:
            return np.zeros((0, 4))
        return fitted(Listed(tuple(boxes_in_file(file, self.least)), shares=True), path, size, f"'{file}'")

    def names(self, path: str) -> bool:
        """See `GivenBoxes`."""
        return self._file(path) is not None

    def digest(self) -> str:
        """See `GivenBoxes`."""
        files = sorted(self.folder.rglob("*.txt"))
        names = (str(file.relative_to(self.folder)).encode("utf-8", "surrogateescape") for file in files)
        parts = (part for name, file in zip(names, files, strict=True) for part in (name, b"\0", file.read_bytes()))
        return checksum_of(chain([str(self.least).encode()], parts))

    def _file(self, path: str) -> Path | None:
        parts = _parts(str(Path(path).absolute().with_suffix(".txt")))
        ends = (self.folder.joinpath(*parts[start:]) for start in range(len(parts)))
        return next((file for file in ends if file.is_file()), None)


def fitted(listed: Listed, path: str, size: tuple[int, int], what: str) -> Floats:
    """Return boxes ``(n, 4)`` in pixels of a photograph of ``(width, height)``, clipped to it.

    Raises:
        DataError: there are too many, they are not boxes, or they are those of an image of another aspect ratio.
    """
    width, height = size
    if len(listed.boxes) > _MOST:
        raise DataError(f"{what} has {len(listed.boxes):,} boxes for '{path}'; at most {_MOST:,} are named.")
    boxes = np.array(listed.boxes, dtype=np.float64).reshape(-1, 4)
    if listed.shares:
        boxes = boxes * np.array([width, height, width, height])
    elif listed.size is not None:
        x, y = width / listed.size[0], height / listed.size[1]
        if abs(math.log(x / y)) > _ASPECT:
            raise DataError(
                f"{what} has boxes for '{path}' as an image of {listed.size[0]:g} x {listed.size[1]:g} pixels, but it "
                f"has {width} x {height}, as it is shown. Find them anew, in upright images."
            )
        boxes = boxes * np.array([x, y, x, y])
    limits = np.array([width, height, width, height], dtype=np.float64)
    slack = 2 + _OUTSIDE * limits
    inside = np.clip(boxes, 0, limits)
    for number, (box, cut) in enumerate(zip(boxes, inside, strict=True), start=1):
        if not np.isfinite(box).all() or (cut[2:] - cut[:2] < 1).any() or (np.abs(box - cut) > slack).any():
            written = ", ".join(f"{value:.4g}" for value in box)
            raise DataError(
                f"{what}: box {number} of '{path}', from corner to corner [{written}], is no part of an image of "
                f"{width} x {height} pixels. Correct it."
            )
    return inside


def _relative(paths: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Return the parts of paths, without what all absolute ones begin with."""
    whole = [_parts(path) for path in paths]
    absolute = [parts for path, parts in zip(paths, whole, strict=True) if _is_absolute(path)]
    if not absolute:
        return whole
    shared = min(len(parts) for parts in absolute) - 1
    first = absolute[0]
    shared = next((n for n in range(shared) if any(parts[n] != first[n] for parts in absolute)), shared)
    return [
        parts[shared:] if _is_absolute(path) else parts for path, parts in zip(paths, whole, strict=True)
    ]  # fmt: skip


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "\\")) or path[1:3] in (":\\", ":/")


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "."))


__all__ = ["BoxTable", "GivenBoxes", "Listed", "NumberedBoxes", "YoloBoxes", "fitted"]
