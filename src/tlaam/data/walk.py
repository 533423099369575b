"""The user's own files and folders below a folder; hidden ones do not count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tlaam.data.images import IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES, is_disguised


def visible_folders(root: Path | None) -> list[Path]:
    """Return the visible folders directly inside `root`, sorted by name; an empty list for None."""
    if root is None:
        return []
    with os.scandir(root) as entries:
        return sorted(root / entry.name for entry in entries if not _is_hidden(entry.name) and _is_folder(entry))


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not _is_hidden(name) and _ending(name) in IMAGE_SUFFIXES


def is_image_file(folder: Path, file: str) -> bool:
    """Whether a visible file at a path below a folder is taken for an image.

    A file whose suffix stands for an unsupported type counts if its content is an image that can be read
    (`tlaam.data.images`'s `is_disguised`), such as a JPEG file called ``.HEIC``.
    """
    ending = _ending(file)
    return ending in IMAGE_SUFFIXES or (ending in UNSUPPORTED_SUFFIXES and is_disguised(folder / file))


def image_files(top: Path) -> Iterator[str]:
    """Yield the images at any depth below `top` as relative paths with forward slashes, in no particular order.

    Hidden files and folders and ``__MACOSX`` are left out. Broken links and pipes with the name of an image count as
    images, so that they are reported and not overlooked (`is_image_file`).

    Raises:
        OSError: a folder cannot be listed.
    """
    return (file for file in visible_files(top) if is_image_file(top, file))


def visible_files(top: Path) -> Iterator[str]:
    """Yield all visible files at any depth below `top`, in the form of `image_files`."""
    visited: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        prefix = pending.pop()
        folder = top / prefix
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            continue  # a link that leads back
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    pending.append(f"{prefix}{entry.name}/")
                else:
                    yield prefix + entry.name


def files_directly_in(folder: Path) -> list[str]:
    """Return the names of the visible files in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not _is_hidden(entry.name) and not _is_folder(entry))


def holds_images(folder: Path) -> bool:
    """Whether there is an image at any depth below a folder."""
    return next(image_files(folder), None) is not None


def images_directly_in(folder: Path) -> bool:
    """Whether there is an image in a folder itself."""
    return any(is_image_file(folder, name) for name in files_directly_in(folder))


def stems(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's images, at any depth, without their endings."""
    return (file.rpartition("/")[2].rpartition(".")[0] for file in image_files(folder))


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (hot loop)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


__all__ = [
    "files_directly_in",
    "holds_images",
    "image_files",
    "images_directly_in",
    "is_image_file",
    "is_image_name",
    "stems",
    "visible_files",
    "visible_folders",
]
