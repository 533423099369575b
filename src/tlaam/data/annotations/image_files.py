"""Find the image files that an annotation file names, which rarely lie right beside it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from tlaam.data.annotations.documents import Place, require_encodable
from tlaam.data.locate import ImageFinder, SeveralFilesError, is_address

_TRIED = 100
"""Number of images that are looked for in each folder, in order to choose a folder."""


def located(
    home: Path, written: Sequence[tuple[str, Place]], folders: Sequence[Path], *, strict: bool
) -> tuple[list[str], list[str]]:
    """Return the paths of images, relative to `home` if they lie below it, and notes on their spelling.

    All images are looked for in one folder: the one of `folders` that has most of them as written, or else in other
    spellings (`tlaam.data.locate`). A path that leads to no file stays as written.

    Args:
        home: the data set's folder.
        written: the paths, each with its place in the annotation file.
        folders: where they may lie; the first is the default.
        strict: refuse paths that may mean several files.

    Raises:
        DataError: a path is impossible or a network address, or, if `strict`, may mean several files.
    """
    for image, place in written:
        require_encodable(image, "the path of the image", place)
        if is_address(image):
            raise place.fault(f"the image is the address '{image}'", "Download the images, and name files.")
    base = _best_folder([image for image, _ in written], folders)
    for moves in (True, False):
        finder = ImageFinder(base, moves=moves)
        found = [_found(finder, image, place, strict=strict) for image, place in written]
        if not finder.is_mixed:
            break
    start = (
        base.absolute().relative_to(home.absolute()).as_posix() if base.is_relative_to(home) else str(base.absolute())
    )
    return [_named(home, start, image) for image in found], list(finder.notes())


def usual_folders(home: Path, *names: str) -> list[Path]:
    """Return the existing folders in which a data set's images usually lie: `names` before others.

    Examples:
        >>> usual_folders(Path("/nowhere"), "train")
        [PosixPath('/nowhere')]
    """
    wanted = [*names, *(f"images/{name}" for name in names), "images", "data"]
    return [home, *(home / name for name in wanted if (home / name).is_dir())]


def _best_folder(images: Sequence[str], folders: Sequence[Path]) -> Path:
    tried = images[:: -(-len(images) // _TRIED) or 1]
    counts = [sum(_is_there(folder, image.replace("\\", "/")) for image in tried) for folder in folders]
    if not any(counts):
        counts = [_found_in(folder, tried) for folder in folders]
    return folders[counts.index(max(counts))]


def _is_there(folder: Path, image: str) -> bool:
    return os.path.lexists(os.path.join(folder, image))  # noqa: PTH118 (text, as it is written)


def _found_in(folder: Path, images: Sequence[str]) -> int:
    finder, count = ImageFinder(folder), 0
    for image in images:
        try:
            count += _is_there(folder, finder.find(image))
        except SeveralFilesError:
            count += 1
    return count


def _found(finder: ImageFinder, image: str, place: Place, *, strict: bool) -> str:
    try:
        os.fsencode(image)
    except UnicodeEncodeError:
        other = f"image '{image!a}' cannot be named in this locale, which is not UTF-8"
        raise place.fault(other, "Set PYTHONUTF8=1 (or LC_ALL=C.UTF-8) and run it again.") from None
    try:
        return finder.find(image)
    except SeveralFilesError as error:
        if not strict:
            return image
        several = " or ".join(f"'{name}'" for name in error.args[:3])
        raise place.fault(f"image '{image}' may be {several}", "Write the file's name.") from error


def _named(home: Path, start: str, image: str) -> str:
    """Return a path relative to a folder below `home` as a path relative to `home` itself."""
    joined = posixpath.normpath(posixpath.join(start, image.replace(os.sep, "/")))
    if not joined.startswith("/"):
        return joined
    top = home.absolute().as_posix().rstrip("/") + "/"
    return joined.removeprefix(top)


def home_of(file: Path) -> Path:
    """Return the folder of the data set that an annotation file belongs to."""
    folder = file.parent
    return folder.absolute().parent if folder.absolute().name.lower() in _OF_ANNOTATIONS else folder


def annotation_folders(root: Path) -> Iterator[Path]:
    """Yield the folders in which annotation files lie: the data set's own, and those with a usual name."""
    yield root
    yield from (root / name for name in sorted(_OF_ANNOTATIONS) if (root / name).is_dir())


_OF_ANNOTATIONS = frozenset(("annotations", "annotation", "labels", "json"))

__all__ = ["annotation_folders", "home_of", "located", "usual_folders"]
