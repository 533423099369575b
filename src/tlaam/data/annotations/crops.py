"""Each box of an image as an image of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlaam.data.annotations.records import Annotated, Draft, Source, counted_images
from tlaam.data.boxes import are_shares
from tlaam.data.images import ImageError, image_size
from tlaam.data.sample import Box, Window

CROPS = "crops=1"
"""Option after a path: each box is read as an image of its own."""
_LARGEST = 1e9  # limit of a box's coordinates in pixels


def crops_of(source: Source, annotated: Sequence[Annotated], notes: list[str]) -> list[Draft]:
    """Return a sample for each box, except boxes around crowds; what is left out is added to `notes`.

    The samples of one image are one group. Boxes in shares need the image's header: if it cannot be read, the sample
    has no window, and is unreadable.

    Raises:
        DataError: a box cannot be cut out, and the source is strict.
    """
    shares = source.shares
    if shares is None:
        shares = are_shares([found.box for each in annotated for found in each.objects if found.box is not None])
    without, crowds, empty = 0, 0, 0
    made = []
    for each in annotated:
        crowds += sum(found.is_crowd for found in each.objects)
        boxed = [found for found in each.objects if found.box is not None and not found.is_crowd]
        without += len(each.objects) - sum(found.is_crowd for found in each.objects) - len(boxed)
        empty += not each.objects
        size = _size(source, each) if shares and boxed else None
        group = each.group or (each.image if len(boxed) > 1 else None)
        for count, found in enumerate(boxed, start=1):
            if shares and size is None:  # an image that cannot be read is reported by `tlaam.data.check`
                made.append(Draft(found.label, each, f"{each.image}#{count}", None, group))
                continue
            assert found.box is not None
            window = _window(found.box, size)
            if window is None:
                if source.strict:
                    raise each.place.fault(f"a box of '{each.image}' cannot be cut out")
                without += 1
                continue
            name = f"{each.image}[{','.join(map(str, window))}]"
            made.append(Draft(found.label, each, name, None, group, window))
    for count, what in (
        (empty, f"{counted_images(empty)} without objects"),
        (without, f"{without:,} object{'' if without == 1 else 's'} without a box"),
        (crowds, f"{crowds:,} box{'' if crowds == 1 else 'es'} around crowds"),
    ):
        if count:
            notes.append(f"Left out: {what}.")
    return made


def _window(box: Box, size: tuple[int, int] | None) -> Window | None:
    """Return the pixels that a box touches; None if it has no area."""
    width, height = size or (1, 1)
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    if not (all(abs(value) < _LARGEST for value in (x0, y0, x1, y1)) and x0 < x1 and y0 < y1):
        return None
    # Shares are written with few digits: reaching a thousandth into a pixel does not count as touching it.
    slack = 0.0 if size is None else 1e-3
    return math.floor(x0 + slack), math.floor(y0 + slack), math.ceil(x1 - slack), math.ceil(y1 - slack)


def _size(source: Source, each: Annotated) -> tuple[int, int] | None:
    try:
        return image_size(source.home / each.image)
    except ImageError:
        return None


__all__ = ["CROPS", "crops_of"]
