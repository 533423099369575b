"""How an engine is asked to look for several objects, or to name what is in given boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlaam.data.given_boxes import GivenBoxes, NumberedBoxes, read_boxes
from tlaam.errors import ConfigError, InputError
from tlaam.inference.backend import MOST_OBJECTS
from tlaam.inference.engine import Engine

ACCEPTED = (
    "the path of a file of boxes, an array (n, 4) of x0, y0, x1, y1 in pixels for one image, or a list of such arrays, "
    "one an image"
)
"""What boxes can be, in words for messages."""


def look_for(
    engine: Engine,
    objects: Literal["all"] | int | None = None,
    *,
    boxes: Any = None,
    least: float | None = None,
) -> None:
    """Let an engine name several objects of an image from now on; without any of it, one.

    Args:
        engine: of a model that can.
        objects: ``all``, or how many at most.
        boxes: where they are: the path of a file (`tlaam.data.given_boxes.read_boxes`), a list an image of boxes
            ``(n, 4)`` xyxy in pixels, or boxes that were read already. By default they are found.
        least: of a file of boxes with confidences, the least that counts. [0.2]

    Raises:
        ConfigError: the number is impossible.
        DataError: the file cannot be used.
        InputError: boxes are given as what they cannot be.
        ModelError: the model cannot find several, or was exported before it could.
    """
    if objects is not None and objects != "all" and (isinstance(objects, bool) or not isinstance(objects, int)):
        raise ConfigError(f"objects is {objects!r}; it must be 'all' or a whole number above 0.")
    if isinstance(objects, int) and objects < 1:
        raise ConfigError(f"objects is {objects}; it must be 'all' or a whole number above 0.")
    if least is not None and boxes is None:
        raise ConfigError("a least confidence goes with boxes that are given.")
    given: GivenBoxes | None = None
    if isinstance(boxes, (str, Path)):
        given = read_boxes(boxes, least)
    elif boxes is not None:
        given = boxes if hasattr(boxes, "digest") else _numbered(boxes)
    most = (None if given is not None else MOST_OBJECTS) if objects == "all" else objects
    engine.use_objects(most if most is None or given is not None else min(most, MOST_OBJECTS), given)


def one_image(boxes: Any) -> Any:
    """Return the boxes of one image as those of several that are one."""
    return None if boxes is None else [boxes]


def _numbered(boxes: Any) -> NumberedBoxes:
    if isinstance(boxes, (bytes, dict)) or not hasattr(boxes, "__len__"):
        raise InputError(f"boxes cannot be of type {type(boxes).__name__}; give {ACCEPTED}.")
    try:
        several = [np.asarray(each, dtype=np.float64) for each in boxes]
    except (TypeError, ValueError) as error:
        raise InputError(f"these are no boxes; give {ACCEPTED}.") from error
    several = [each.reshape(0, 4) if each.size == 0 else each for each in several]
    if any(each.ndim != 2 or each.shape[1] != 4 for each in several):
        shapes = ", ".join(str(each.shape) for each in several[:3])
        raise InputError(f"boxes have the shapes {shapes}; give {ACCEPTED}.")
    return NumberedBoxes(several)


__all__ = ["ACCEPTED", "look_for", "one_image"]
