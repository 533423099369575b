"""Several objects in a photograph: where they are, and which part of the photograph to look at to name each.

Objects are found in two passes. The first pass, over the whole photograph, finds the components of the foreground that
may be objects. The second pass looks at a crop around each of them. It separates objects whose components had merged,
and gives tighter boxes. docs/field.md says what the constants were chosen on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.input_image import input_to_image, to_input
from tlaam.inference.backend import Backend, Floats

LEAST = 0.004
"""Smallest share of the photograph that a component must cover."""
LEAST_BOX = 0.01
"""The same for an object's box: below this size, the map has too few cells to decide."""
CLOSER = 0.4
"""Share of its width and height by which a component is widened on each side for the second pass."""
PERHAPS, SURE = 0.5, 0.8
"""Thresholds on the foreground confidence, the largest probability in the first pass times the mean in the second: the
minimum for every object, and for the surest object of a photograph that shows any."""
SURROUNDINGS = 0.35
"""Share of an object's longer side that is included around it on each side if it is one of several."""
SAME, INSIDE = 0.5, 0.7
"""Two boxes are of the same object if their intersection over union is larger than the first value, or if more than the
second share of the smaller one lies in the other."""


class Photograph:
    """A decoded photograph whose parts can be turned into input images.

    Args:
        image: RGB, possibly reduced.
        size: ``(width, height)`` of the original photograph, whose pixels boxes refer to.
    """

    def __init__(self, image: Image.Image, size: tuple[int, int]) -> None:
        self.image, self.size = image, size
        self._scale = np.array([image.width / size[0], image.height / size[1]] * 2)

    def input_of(self, cut: Floats, side: int) -> NDArray[np.uint8]:
        """Return the input image ``(3, P, P)`` of a part of the photograph, ``(4,)`` xyxy."""
        limits = np.array([*self.image.size] * 2, dtype=np.float64)
        x0, y0, x1, y1 = (float(value) for value in np.clip(cut * self._scale, 0, limits))
        return to_input(self.image, side, (x0, y0, x1, y1))


def found_in(model: Backend, photographs: Sequence[Photograph], *, most: int, batch_size: int) -> list[Floats]:
    """Return the boxes of the objects in each photograph, ``(n, 4)`` xyxy in its pixels, the largest first.

    Args:
        model: a model that finds several objects (`Backend.require_objects`).
        photographs: photographs decoded so that a small part still has enough pixels.
        most: largest number of objects per photograph.
        batch_size: images per pass.

    Raises:
        ModelError: see `Backend.find`.
    """
    wholes = [np.array([0.0, 0.0, *photograph.size]) for photograph in photographs]
    first = _looked_at(model, list(zip(photographs, wholes, strict=True)), batch_size)
    seeds = [
        (number, box, sure)
        for number, components in enumerate(first)
        for box, area, sure in zip(components.boxes, components.areas, components.peaks, strict=True)
        if area >= LEAST
    ]
    cuts = [(photographs[number], widened(box, CLOSER, photographs[number].size)) for number, box, _ in seeds]
    found: list[list[tuple[Floats, float, float]]] = [[] for _ in photographs]
    for (number, seed, sure), components in zip(seeds, _looked_at(model, cuts, batch_size), strict=True):
        for box, area, mean in zip(components.boxes, components.areas, components.means, strict=True):
            if area > 0 and _holds_middle(seed, box):
                found[number].append((box, area * components.size, sure * float(mean)))
    return [_settled(several, photographs[number].size, most) for number, several in enumerate(found)]


def widened(box: Floats, margin: float, size: tuple[int, int]) -> Floats:
    """Widen a box ``(4,)`` by `margin` of its width or height on each side, within an image of ``(width, height)``."""
    by = margin * np.tile(box[2:] - box[:2], 2) * np.array([-1, -1, 1, 1])
    wide: Floats = np.clip(box + by, 0, np.array([*size] * 2, dtype=np.float64))
    return wide


def surroundings(box: Floats, size: tuple[int, int]) -> Floats:
    """Return the part of a photograph of ``(width, height)`` that is shown to the model to name a box ``(4,)``.

    It adds `SURROUNDINGS` of the box's longer side on each side. The object is then as large in the part as objects are
    in photographs of a single one, and neighbours are mostly out of sight.
    """
    by = SURROUNDINGS * float((box[2:] - box[:2]).max())
    cut: Floats = np.clip(box + by * np.array([-1, -1, 1, 1]), 0, np.array([*size] * 2, dtype=np.float64))
    return cut


class _Components:
    """Components found in one crop. Boxes are in pixels of the photograph; `size` is the crop's area in pixels."""

    def __init__(self, boxes: Floats, areas: Floats, peaks: Floats, means: Floats, size: float) -> None:
        self.boxes, self.areas, self.peaks, self.means, self.size = boxes, areas, peaks, means, size


def _looked_at(model: Backend, cuts: Sequence[tuple[Photograph, Floats]], batch_size: int) -> list[_Components]:
    """Return what the model finds in parts of photographs."""
    found: list[_Components] = []
    for start in range(0, len(cuts), batch_size):
        batch = cuts[start : start + batch_size]
        objects = model.find(np.stack([photograph.input_of(cut, model.source_size) for photograph, cut in batch]))
        for row, (_, cut) in enumerate(batch):
            width, height = cut[2:] - cut[:2]
            boxes = input_to_image(objects.boxes[row], model.source_size, width, height) + np.tile(cut[:2], 2)
            found.append(
                _Components(boxes, objects.areas[row], objects.peaks[row], objects.means[row], float(width * height))
            )
    return found


def _settled(found: list[tuple[Floats, float, float]], size: tuple[int, int], most: int) -> Floats:
    """Return the boxes ``(n, 4)`` of the objects: large enough, sure enough, and without duplicates."""
    if not any(sure >= SURE for *_, sure in found):
        return np.zeros((0, 4))
    least = LEAST_BOX * size[0] * size[1]
    kept: list[Floats] = []
    for box, _, sure in sorted(found, key=lambda each: -each[1]):
        if sure >= PERHAPS and _area(box) >= least and not any(_is_same(box, other) for other in kept):
            kept.append(box)
    return np.array(kept[:most]).reshape(-1, 4)


def _holds_middle(box: Floats, other: Floats) -> bool:
    middle = (other[:2] + other[2:]) / 2
    return bool((box[:2] <= middle).all() and (middle <= box[2:]).all())


def _is_same(box: Floats, other: Floats) -> bool:
    shared = float(np.prod((np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])).clip(min=0)))
    areas = _area(box), _area(other)
    return shared > SAME * (sum(areas) - shared) or shared > INSIDE * min(areas)


def _area(box: Floats) -> float:
    return float(np.prod(box[2:] - box[:2]))


__all__ = ["Photograph", "found_in", "surroundings", "widened"]
