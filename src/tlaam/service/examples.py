"""Example pictures that the demo page offers."""

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
    """An example picture: JPEG files without metadata, one of the picture and one of its thumbnail."""

    name: str
    picture: bytes = field(repr=False)
    thumbnail: bytes = field(repr=False)


def examples_from(paths: Sequence[str | Path], depth: Depth | None = None) -> list[Example]:
    """Return examples from readable images, spread evenly over the files: a folder may hold one subfolder per class.

    Args:
        paths: files, folders and patterns.
        depth: black and white levels of the model that will receive the images.

    Raises:
        DataError: no image was found that can be read.
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
    """Return the built-in examples: drawn creatures if the model was trained on them, else none."""
    names = set(classes)
    try:
        options = SyntheticOptions(classes=len(names))
    except ConfigError:  # a single class, or more classes than can be drawn
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
