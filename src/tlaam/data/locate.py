"""Find the files that a table names, if its paths were written on another machine or in another program's spelling.

A path that exists as written is never questioned. Any other is resolved if it leads to exactly one file.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from tlaam.data.names import clean_name, folded_name
from tlaam.data.walk import is_image_name

Reason = Literal["ending", "case", "spelling", "place"]
_SAID: dict[Reason, str] = {
    "ending": "without the ending of the file",
    "case": "in another letter case",
    "spelling": "in the spelling of another system or program",
    "place": "with a folder that is not there, or without the one that is",
}
_UPLOADED = re.compile(r".*/data/upload/(?:\d+/)?((?:[0-9a-f]{8}-)?([^/]+))$")
_SERVED = re.compile(r".*/data/local-files/?\?d=(.+)$")
_ADDRESS = re.compile(r"(https?|s3|gs|ftp|az|hdfs)://|data:image/", re.IGNORECASE)


class SeveralFilesError(Exception):
    """A path may mean several files; the arguments are their names."""


def is_address(image: str) -> bool:
    """Whether a string that should be a path is a network address."""
    return _ADDRESS.match(image) is not None


class ImageFinder:
    """Finds the images of one table; each folder is listed only once.

    Args:
        base: the folder that paths are relative to.
        moves: also search folders other than those that the paths name.
    """

    def __init__(self, base: Path, *, moves: bool = True) -> None:
        self._base = base
        self._moves = moves
        self._in_place = 0
        self._moved = 0
        self._listings: dict[str, frozenset[str] | None] = {}
        self._by_name: dict[str, dict[str, list[str]]] = {}
        self._by_stem: dict[str, dict[str, list[str]]] = {}
        self._resolved_folders: dict[str, str | None] = {}
        self._around_folder: dict[str, list[str]] = {}
        self._prefix: str | None = None
        self._inside: list[str] | None = None
        self._counts: Counter[Reason] = Counter()
        self._examples: dict[Reason, tuple[str, str]] = {}

    def find(self, image: str) -> str:
        """Return the path of the file that `image` means, or `image` itself if there is none.

        Raises:
            SeveralFilesError: it may mean several files.
        """
        folder, file = os.path.split(image)
        names = self._listing(folder)
        if not file or (names is not None and file in names):
            self._in_place += 1
            return image
        for spelling in _spellings(image):
            found = self._resolved(spelling)
            self._in_place += found is not None
            if found is None and self._moves:
                found = self._elsewhere(spelling)
                self._moved += found is not None and not _is_absolute(spelling)
            if found is not None:
                self._note(image, spelling, found)
                return found
        return image

    @property
    def is_mixed(self) -> bool:
        """Whether some images lie where relative paths say and others do not: the latter are then probably missing."""
        return self._in_place > 0 and self._moved > 0

    def notes(self) -> Iterator[str]:
        """Yield a line for each way in which files were found that do not exist as written."""
        for reason, count in self._counts.items():
            written, found = self._examples[reason]
            are = "path is" if count == 1 else "paths are"
            yield f"{count} image {are} written {_SAID[reason]}: '{written}' was taken for '{found}'."

    def _note(self, image: str, spelling: str, found: str) -> None:
        if clean_name(image) == clean_name(found):
            return
        reason: Reason = "spelling"
        if folded_name(spelling) == folded_name(found):
            reason = "case" if image == spelling else "spelling"
        elif folded_name(os.path.splitext(found)[0]) == folded_name(spelling):  # noqa: PTH122 (text, not a file)
            reason = "ending"
        elif image == spelling or "\\" in image:
            reason = "place"
        self._counts[reason] += 1
        self._examples.setdefault(reason, (image, found))

    def _elsewhere(self, spelling: str) -> str | None:
        """Find a file below the table's folder whose path begins with a folder that does not exist, or lacks one."""
        if self._in_place and not _is_absolute(spelling):
            return None
        parts = spelling.split("/")
        for cut in range(1, len(parts)):
            prefix = "/".join(parts[:cut])
            if self._prefix is not None and prefix != self._prefix:
                continue
            if prefix and self._resolved_folder(parts[:cut]) is not None:
                continue  # the folder exists, so the file is missing
            if found := self._resolved("/".join(parts[cut:])):
                self._prefix = prefix
                return found
        if spelling.startswith("/") or (len(parts) > 1 and self._resolved_folder(parts[:1]) is not None):
            return None
        found_in = [found for folder in self._around(parts[:-1]) if (found := self._resolved(f"{folder}/{spelling}"))]
        if len(found_in) > 1:
            raise SeveralFilesError(*found_in)
        return found_in[0] if found_in else None

    def _folders(self) -> list[str]:
        """Return the folders beside the table; none if images lie beside it, since paths then refer to those."""
        if self._inside is None:
            names = self._listing("") or frozenset()
            beside = any(map(is_image_name, names))
            folders = [name for name in sorted(names) if not name.startswith((".", "__MACOSX"))]
            self._inside = [] if beside else [name for name in folders if (self._base / name).is_dir()]
        return self._inside

    def _around(self, parts: list[str]) -> list[str]:
        """Return the folders beside the table that contain a folder with these path parts."""
        key = "/".join(parts)
        if key not in self._around_folder:
            found = [folder for folder in self._folders() if self._resolved_folder([folder, *parts]) is not None]
            self._around_folder[key] = found
        return self._around_folder[key]

    def _resolved_folder(self, parts: list[str]) -> str | None:
        """Return a folder by its path parts, each in the spelling in which it exists; None if there is none."""
        key = "/".join(parts)
        if key not in self._resolved_folders:
            self._resolved_folders[key] = self._walked(parts)
        return self._resolved_folders[key]

    def _walked(self, parts: list[str]) -> str | None:
        folder = ""
        for number, part in enumerate(parts):
            if part in ("", ".", ".."):
                folder = "/" if number == 0 and part == "" else _joined(folder, part)
                continue
            name = self._named(folder, part)
            if name is None:
                return None
            folder = _joined(folder, name)
        return folder

    def _resolved(self, path: str) -> str | None:
        *parts, file = path.split("/")
        folder = self._resolved_folder(parts)
        if folder is None or not file:
            return None
        name = self._named(folder, file) or self._completed(folder, file)
        return None if name is None else _joined(folder, name)

    def _named(self, folder: str, name: str) -> str | None:
        """Return how a name is spelt in a folder; None if it is not there."""
        names = self._listing(folder)
        if names is None or name in names:
            return name if names else None
        if folder not in self._by_name:
            self._by_name[folder] = _grouped((folded_name(there), there) for there in names)
        alike = self._by_name[folder].get(folded_name(name), [])
        closest = [there for there in alike if clean_name(there) == clean_name(name)] or alike
        if len(closest) > 1:
            raise SeveralFilesError(*(_joined(folder, there) for there in sorted(closest)))
        return closest[0] if closest else None

    def _completed(self, folder: str, stem: str) -> str | None:
        """Return the name of the image with this stem; None if there is none."""
        names = self._listing(folder)
        if names is None:
            return None
        if folder not in self._by_stem:
            images = filter(is_image_name, names)
            self._by_stem[folder] = _grouped((folded_name(there.rpartition(".")[0]), there) for there in images)
        found = self._by_stem[folder].get(folded_name(stem), [])
        if len(found) > 1:
            raise SeveralFilesError(*(_joined(folder, there) for there in sorted(found)))
        return found[0] if found else None

    def _listing(self, folder: str) -> frozenset[str] | None:
        if folder not in self._listings:
            try:
                with os.scandir(os.path.join(self._base, folder)) as entries:  # noqa: PTH118 (text, as it is written)
                    self._listings[folder] = frozenset(entry.name for entry in entries)
            except (OSError, ValueError):  # a NUL, or a name that the locale cannot encode
                self._listings[folder] = None
        return self._listings[folder]


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "file:")) or path[1:2] == ":"


def _grouped(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return dict(found)


def _joined(folder: str, name: str) -> str:
    return name if not folder else f"{folder.rstrip('/')}/{name}"


def _spellings(image: str) -> Iterator[str]:
    """Yield a path as written, then with the separators, escapes and prefixes of other systems undone."""
    yield image
    plain = image.replace("\\", "/")
    if plain != image:
        yield plain
    if plain.startswith("file://"):
        plain = plain.removeprefix("file://")
        yield plain
    if "%" in plain:
        plain = unquote(plain)
        yield plain
    for pattern in (_SERVED, _UPLOADED):  # paths served by Label Studio, which adds a prefix to uploads
        if found := pattern.fullmatch(plain):
            yield from dict.fromkeys(found.groups())


__all__ = ["ImageFinder", "SeveralFilesError", "is_address"]
