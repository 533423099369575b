"""How to make an engine look for several objects, or name what is in given boxes."""

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
"""The accepted forms of boxes, in words for messages."""


def look_for(
    engine: Engine,
    objects: Literal["all"] | int | None = None,
    *,
    boxes: Any = None,
    least: float | None = None,
) -> None:
    """Let an engine name several objects per image from now on; without any argument, it names one.

    Args:
        engine: the engine of a model that supports this.
        objects: ``all``, or the largest number of objects.
        boxes: where they are: the path of a file (`tlaam.data.given_boxes.read_boxes`), a list with the boxes
            ``(n, 4)`` xyxy in pixels of each image, or boxes that were read already. By default the model finds them.
        least: the lowest confidence that counts, for a file of boxes with confidences. [0.2]

    Raises:
        ConfigError: the number is impossible.
        DataError: the file cannot be used.
        InputError: boxes are given in a form that is not accepted.
        ModelError: the model cannot find several objects, or was exported by a version that could not.
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
    """Return the boxes of one image as a list for a single image."""
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
