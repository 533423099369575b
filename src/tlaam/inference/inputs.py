"""Which images are meant: resolves files, folders, patterns and CSV manifests to image paths, one by one."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from tlaam.data.folder import unsupported_files, unsupported_types
from tlaam.data.left_out import conversion, left_out_of
from tlaam.data.manifest import image_paths
from tlaam.data.walk import image_files
from tlaam.errors import DataError


def find_images(inputs: str | Path | Iterable[str | Path]) -> list[str]:
    """Return the paths that `iter_images` yields, as a list."""
    return list(iter_images(inputs))


def iter_images(inputs: str | Path | Iterable[str | Path]) -> Iterator[str]:
    """Turn files, folders, glob patterns and CSV manifests into image paths.

    Inputs are processed in the given order. The images in a folder (searched recursively) or matching a pattern are
    sorted by name. A manifest's images (its column ``image``) come in its own order. A single path need not be in a
    list.

    Folders are searched as for training: hidden files and folders and ``__MACOSX`` inside them are left out, links are
    followed, and broken links count. A file is passed on unchecked, so that an unsuitable one gets its own error.

    Args:
        inputs: the paths and patterns.

    Raises:
        DataError: a folder or pattern contains no image, a folder cannot be listed, or a manifest cannot be read.
    """
    for given in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        path = Path(given)
        is_folder, is_there = _kind_of(path)
        if is_there and not is_folder and path.suffix.lower() in (".csv", ".tsv"):
            yield from image_paths(path)
            continue
        if is_folder:
            try:
                inside = sorted(str(path / file) for file in image_files(path))
            except OSError as error:
                raise DataError(
                    f"Cannot list folder '{error.filename or path}': {error.strerror or error}. Check its rights."
                ) from error
        elif not is_there and glob.has_magic(str(given)):
            inside = sorted(p for p in glob.glob(str(given), recursive=True) if Path(p).is_file())  # noqa: PTH207
        else:
            inside = [str(given)]
        if not inside:
            others = unsupported_files(path) if is_folder else {}
            instead = f", but {unsupported_types(others)} ({conversion(others)})" if others else ""
            raise DataError(
                f"{given} holds no image{instead}; give image files, folders of images or a pattern such as '*.jpg'."
            )
        yield from inside


def left_out_of_inputs(inputs: str | Path | Iterable[str | Path]) -> list[str]:
    """Return what the given folders contain that `iter_images` does not yield, one line per folder.

    Raises:
        OSError: a folder cannot be listed.
    """
    several = [inputs] if isinstance(inputs, (str, Path)) else inputs
    folders = [Path(given) for given in several if _kind_of(Path(given))[0]]
    return [note for folder in folders if (note := left_out_of(folder))]


def names_several(given: str | Path) -> bool:
    """Return whether a path stands for several images: a folder, a manifest, or a pattern that is not a file name."""
    path = Path(given)
    is_folder, is_there = _kind_of(path)
    return is_folder or path.suffix.lower() in (".csv", ".tsv") or (not is_there and glob.has_magic(str(given)))


def _kind_of(path: Path) -> tuple[bool, bool]:
    """Return whether a path is a folder, and whether it exists; a path that the system refuses counts as a file."""
    try:
        return path.is_dir(), path.exists()
    except (OSError, ValueError):  # the name is too long, or a parent folder cannot be entered
        return False, True
