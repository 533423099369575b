"""Several objects in a photograph: where they are, and what of the photograph is looked at to name each.

An object is found in two looks. The first, at the whole photograph, gives the components of the foreground that may be
objects; the second looks closely at each, in a cut around it, which parts those that ran together and boxes them more
tightly. docs/field.md says what the numbers were chosen on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.input_image import input_to_image, to_input
from tlaam.inference.backend import Backend, Floats

LEAST = 0.004
"""Share of the photograph that a component covers at least."""
LEAST_BOX = 0.01
"""The same of an object's box: of what is smaller, the map has too few cells to tell."""
CLOSER = 0.4
"""Share of its sides by which a component is widened on each side for the second look."""
PERHAPS, SURE = 0.5, 0.8
"""Of how sure the foreground is, the largest probability at the first look times the mean at the second: least value of
each object, and of the surest object of a photograph that shows any."""
SURROUNDINGS = 0.35
"""Share of an object's longer side that is seen around it on each side where it is one of several."""
SAME, INSIDE = 0.5, 0.7
"""Of two boxes of one object: more than that intersection over union, or that share of the smaller one in the other."""


class Photograph:
    """A decoded photograph, of whose pixels parts are made input images.

    Args:
        image: RGB, perhaps reduced.
        size: ``(width, height)`` of the photograph itself, in whose pixels boxes are.
    """

    def __init__(self, image: Image.Image, size: tuple[int, int]) -> None:
        self.image, self.size = image, size
        self._scale = np.array([image.width / size[0], image.height / size[1]] * 2)

    def input_of(self, cut: Floats, side: int) -> NDArray[np.uint8]:
        """Return the input image ``(3, P, P)`` of a part ``(4,)`` xyxy."""
        limits = np.array([*self.image.size] * 2, dtype=np.float64)
        x0, y0, x1, y1 = (float(value) for value in np.clip(cut * self._scale, 0, limits))
        return to_input(self.image, side, (x0, y0, x1, y1))


def found_in(model: Backend, photographs: Sequence[Photograph], *, most: int, batch_size: int) -> list[Floats]:
    """Return where objects are in each photograph, ``(n, 4)`` xyxy in its pixels, the largest first, at most `most`.

    Args:
        model: that finds several (`Backend.require_objects`).
        photographs: decoded so that a small part still has pixels enough.
        most: objects of a photograph.
        batch_size: images a pass.

    Raises:
        ModelError: as of `Backend.find`.
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
    """Add `margin` of its side on each side of a box ``(4,)``, within an image of ``(width, height)``."""
    by = margin * np.tile(box[2:] - box[:2], 2) * np.array([-1, -1, 1, 1])
    wide: Floats = np.clip(box + by, 0, np.array([*size] * 2, dtype=np.float64))
    return wide


def surroundings(box: Floats, size: tuple[int, int]) -> Floats:
    """Return what is seen of a photograph of ``(width, height)`` where a box ``(4,)`` in it is to be named.

    `SURROUNDINGS` of its longer side on each side: so that the object is as large in it as objects are in photographs
    that show one, and neighbours are mostly out of sight.
    """
    by = SURROUNDINGS * float((box[2:] - box[:2]).max())
    cut: Floats = np.clip(box + by * np.array([-1, -1, 1, 1]), 0, np.array([*size] * 2, dtype=np.float64))
    return cut


class _Components:
    """What was found in one cut, boxes in pixels of the photograph; `size` is the cut's area in them."""

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
    """Return the boxes ``(n, 4)`` of those that are objects: large and sure enough, and none twice."""
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
