"""Pictures that a page offers to begin with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from tlaam.data.depth import Depth
from tlaam.data.images import load_image
from tlaam.data.synthetic import SyntheticOptions, class_names, render
from tlaam.errors import ConfigError, DataError
from tlaam.inference.inputs import find_images

MOST = 8
_SIDE, _THUMBNAIL_SIDE = 1280, 240  # pixels


@dataclass(frozen=True)
class Example:
    """A picture as a page gets it: JPEG files without metadata, the picture and a small one."""

    name: str
    picture: bytes = field(repr=False)
    thumbnail: bytes = field(repr=False)


def examples_from(paths: Sequence[str | Path], depth: Depth | None = None) -> list[Example]:
    """Take pictures of files and folders that can be read, from all over them: a folder may have one for each class.

    Args:
        paths: files, folders and patterns.
        depth: of the model that they are for.

    Raises:
        DataError: there is none.
    """
    found: list[Example] = []
    listed = find_images(paths)
    spread = listed[:: max(1, len(listed) // MOST)]
    for path in spread:
        try:
            found.append(_example(Path(path).name, load_image(path, max_side=_SIDE, depth=depth)))
        except DataError:
            continue
        if len(found) == MOST:
            break
    if not found:
        raise DataError(f"--examples: no image in {', '.join(map(str, paths))} can be read.")
    return found


def default_examples(classes: Iterable[str]) -> list[Example]:
    """Return what is at hand without being given any: drawn creatures for a model of these, else nothing."""
    names = set(classes)
    try:
        options = SyntheticOptions(classes=len(names))
    except ConfigError:  # more classes than can be drawn, or one
        return []
    if set(class_names(options)) != names:
        return []
    drawn = (render(options, "test", index).image for index in range(min(MOST, 6)))
    return [_example(f"creature {number}", image) for number, image in enumerate(drawn, 1)]


def _example(name: str, image: Image.Image) -> Example:
    small = image.copy()
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return Example(name, _jpeg(image), _jpeg(small))


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
