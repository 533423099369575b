"""The protocol of weakly supervised localisation: MaxBoxAcc, MaxBoxAccV2 and PxAP (Choe et al. 2020, arXiv 2001.07437).

Numbers equal those of the authors' `wsolevaluation` on the same score maps. Its conventions therefore apply in this
file, and only here: maps of 224 × 224 are quantised to 256 levels, a cell is foreground if it is *above* a threshold,
x1 and y1 of a box count as its last pixels when areas are computed, and the outline of a hole is a box of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from tlaam.errors import DataError

SIDE = 224
"""Side of the score maps on which everything is measured."""
THRESHOLDS = np.arange(0, 1, 0.001)
"""Thresholds at which boxes are drawn, as fractions of a map's maximum."""
LEVELS = (0.3, 0.5, 0.7)
"""Intersections over union that a box must reach."""

_NEIGHBOURS = np.ones((3, 3), dtype=bool)
_NOTHING = np.zeros((1, 4), dtype=np.int64)  # wsolevaluation's box if no cell is foreground


@dataclass(frozen=True)
class BoxAccuracy:
    """Shares of images whose box is right, at every threshold of `THRESHOLDS`.

    Attributes:
        largest: for the outline with the largest area at IoU 0.5, ``(T,)``; MaxBoxAcc is its maximum.
        any: for the best outline at each of `LEVELS`, ``(levels, T)``; MaxBoxAccV2 is computed from it.
    """

    largest: NDArray[np.float64]
    any: NDArray[np.float64]

    @property
    def max_box_acc(self) -> float:
        """MaxBoxAcc; an oracle, because its threshold is the best one for these very images."""
        return float(self.largest.max())

    @property
    def max_box_acc_v2(self) -> float:
        """MaxBoxAccV2, the mean over `LEVELS`; also an oracle, with one threshold per level."""
        return float(self.any.max(1).mean())

    def at_threshold_of(self, validation: BoxAccuracy) -> tuple[float, float]:
        """Return MaxBoxAcc and MaxBoxAccV2 of these images at the thresholds that are best for other images.

        Of equally good thresholds, the middle one is used: with few images many are equally good, and the first is the
        least certain.
        """
        at = [self.any[level, _best(validation.any[level])] for level in range(len(LEVELS))]
        return float(self.largest[_best(validation.largest)]), float(np.mean(at))


def box_accuracy(
    score_maps: Sequence[NDArray[np.floating]], true_boxes: NDArray[np.floating], sizes: NDArray[np.floating]
) -> BoxAccuracy:
    """Draw boxes on score maps at every threshold and compare them with the true boxes.

    Args:
        score_maps: N maps ``(h, w)`` of the whole image, with any range of values (`score_map`).
        true_boxes: ``(N, 4)`` xyxy in pixels of the image.
        sizes: ``(N, 2)`` width and height of each image in pixels.

    Raises:
        DataError: there is no map, or the numbers of maps, boxes and sizes differ.
    """
    if not len(score_maps) == len(true_boxes) == len(sizes):
        raise DataError(
            f"Received {len(score_maps)} score maps, {len(true_boxes)} boxes and {len(sizes)} sizes; there must be one "
            "of each for every image."
        )
    scaled = np.trunc(true_boxes * SIDE / np.tile(sizes, 2)).astype(np.int64)
    largest, best = [], []
    for heatmap, box in zip(score_maps, scaled, strict=True):
        ious = _ious_at_levels(score_map(heatmap), box)
        largest.append(ious.largest >= 0.5)
        best.append([ious.best >= level for level in LEVELS])
    if not best:
        raise DataError("no score map was given; localisation needs at least one image with a box.")
    return BoxAccuracy(np.mean(largest, axis=0), np.mean(best, axis=0))


def score_map(heatmap: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a map ``(h, w)`` bilinearly upsampled to 224 × 224 and scaled to [0, 1]; a flat map becomes 0."""
    finite = torch.from_numpy(np.nan_to_num(np.asarray(heatmap, dtype=np.float64)))[None, None]
    fine = functional.interpolate(finite, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0].numpy()
    span = fine.max() - fine.min()
    scaled: NDArray[np.float32] = ((fine - fine.min()) / (span if span > 0 else 1)).astype(np.float32)
    return scaled


def pixel_average_precision(score_maps: Iterable[NDArray[np.floating]], masks: Iterable[NDArray[np.integer]]) -> float:
    """Return PxAP, the area under the precision-recall curve of the pixels over all thresholds.

    Args:
        score_maps: N maps ``(h, w)``, with any range of values (`score_map`).
        masks: N masks ``(224, 224)``: 1 for the object, 0 for the background, any other value for unknown.

    Raises:
        DataError: a mask has another size, or no mask shows an object.
    """
    pixels = PixelScores()
    for heatmap, mask in zip(score_maps, masks, strict=True):
        pixels.add(heatmap, mask)
    return pixels.average_precision()


class PixelScores:
    """Counts of pixels by score and truth, one image at a time, from which PxAP is computed."""

    _edges = np.append(THRESHOLDS, [1.0, 2.0, 3.0])

    def __init__(self) -> None:
        self._counts = np.zeros((2, len(self._edges) - 1))  # pixels outside and inside, by score

    def add(self, heatmap: NDArray[np.floating], mask: NDArray[np.integer]) -> None:
        """Count the pixels of one map and mask, see `pixel_average_precision`.

        Raises:
            DataError: the mask has another size.
        """
        if mask.shape != (SIDE, SIDE):
            raise DataError(f"a mask of shape {mask.shape} was given; PxAP is measured on {SIDE} × {SIDE} pixels.")
        scores = score_map(heatmap)
        for inside in (0, 1):
            self._counts[inside] += np.histogram(scores[mask == inside], bins=self._edges)[0]

    def average_precision(self) -> float:
        """Return PxAP of all pixels counted so far.

        Raises:
            DataError: no mask showed an object.
        """
        false, true = self._counts[:, ::-1].cumsum(1)  # above each threshold, in descending order
        if not true[-1]:
            raise DataError("no mask shows an object; PxAP needs some.")
        drawn = true + false
        precision = np.divide(true, drawn, out=np.zeros_like(true), where=drawn > 0)
        return float((precision[1:] * np.diff(true / true[-1])).sum())


def _best(shares: NDArray[np.float64]) -> int:
    """Return the index of the largest of the shares ``(T,)``; of several, the middle one."""
    equal = np.flatnonzero(shares == shares.max())
    return int(equal[len(equal) // 2])


class _Ious(NamedTuple):
    largest: NDArray[np.float64]  # of the outline with the largest area, (T,)
    best: NDArray[np.float64]  # of the best outline, (T,)


def _ious_at_levels(scores: NDArray[np.float32], box: NDArray[np.int64]) -> _Ious:
    """Return the intersections over union of one map's outlines with one box, at every threshold."""
    levels = (scores * 255).astype(np.uint8)
    cuts = (THRESHOLDS * int(levels.max())).astype(np.int64)
    occurring, euler = np.unique(levels), _euler_numbers(levels)
    # Several thresholds cut at the same level, and all cuts between two occurring levels leave the same cells.
    lowest = np.append(occurring, 256)[np.searchsorted(occurring, cuts, side="right")]
    largest, best = np.zeros(257), np.zeros(257)
    for level in np.unique(lowest):
        outlines, first = _outlines(levels >= level, euler[level])
        ious = _inclusive_ious(outlines, box)
        largest[level], best[level] = ious[first], ious.max()
    return _Ious(largest[lowest], best[lowest])


def _euler_numbers(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return components minus holes of ``levels >= level``, for each level from 1 to 256.

    By Euler's formula this is vertices minus edges plus faces of the foreground cells, taken as squares. An edge or a
    vertex is present as long as the highest cell that it belongs to is. Row 0 has no meaning.
    """
    padded = np.pad(levels, 1)
    across, down = np.maximum(padded[:, :-1], padded[:, 1:]), np.maximum(padded[:-1], padded[1:])
    corners = np.maximum(across[:-1], across[1:])
    cells = ((corners, 1), (across, -1), (down, -1), (levels, 1))
    changes = np.sum([sign * np.bincount(cell.ravel(), minlength=257) for cell, sign in cells], axis=0)
    numbers: NDArray[np.int64] = changes[::-1].cumsum()[::-1]
    return numbers


def _outlines(mask: NDArray[np.bool_], euler: int) -> tuple[NDArray[np.int64], int]:
    """Return the boxes ``(n, 4)`` of a mask's outlines, including those of holes, and the index of the largest.

    The largest is the one that encloses the largest area. Of equally large ones it is the last in raster order, as with
    OpenCV, which wsolevaluation draws them with.

    Args:
        mask: ``(h, w)``.
        euler: the number of its components minus that of its holes.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return _NOTHING, 0
    # Labelling takes nearly all the time, and little is left to label above a high threshold.
    y, x = rows[0], columns[0]
    mask = np.pad(mask[y : rows[-1] + 1, x : columns[-1] + 1], 1)
    labels, count = ndimage.label(mask, structure=_NEIGHBOURS)
    has_holes = count > euler
    if count > 1:
        places = ndimage.find_objects(labels)
        boxes, largest = _boxes(places), _largest(labels, places, has_holes=has_holes)
    else:
        boxes, largest = np.array([[1, 1, mask.shape[1] - 1, mask.shape[0] - 1]]), 0
    if has_holes:  # the outline of a hole runs along the foreground around it
        # The background is connected by edges only; label 1 is the outside.
        holes, _ = ndimage.label(~mask)
        boxes = np.concatenate([boxes, _boxes(ndimage.find_objects(holes)[1:]) + np.array([-1, -1, 1, 1])])
    return np.minimum(boxes + np.array([x - 1, y - 1, x - 1, y - 1]), [SIDE, SIDE, SIDE - 1, SIDE - 1]), largest


def _boxes(places: Sequence[tuple[slice, slice]]) -> NDArray[np.int64]:
    return np.array([[x.start, y.start, x.stop, y.stop] for y, x in places])


def _largest(labels: NDArray[np.integer], places: Sequence[tuple[slice, slice]], *, has_holes: bool) -> int:
    """Return the index of the component that encloses the largest area; of several, the last one."""
    bounds = [(y.stop - y.start - 1) * (x.stop - x.start - 1) for y, x in places]
    largest, most = 0, -1.0
    for index in sorted(range(len(places)), key=lambda index: bounds[index], reverse=True):
        if bounds[index] < most:
            break  # no later component can be larger
        area = _enclosed_area(labels[places[index]] == index + 1, has_holes=has_holes)
        if area > most or (area == most and index > largest):
            largest, most = index, area
    return largest


def _enclosed_area(component: NDArray[np.bool_], *, has_holes: bool) -> float:
    """Return the area of the polygon through the centres of a component's outermost cells.

    For each 2×2 cells it covers the square between their centres if all four are inside, and half of it if three are.
    """
    filled = (ndimage.binary_fill_holes(component) if has_holes else component).view(np.int8)
    corners = filled[:-1, :-1] + filled[1:, :-1] + filled[:-1, 1:] + filled[1:, 1:]
    return float((corners == 4).sum() + 0.5 * (corners == 3).sum())


def _inclusive_ious(boxes: NDArray[np.int64], box: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the intersections over union of boxes ``(n, 4)`` with one box; x1 and y1 are the last pixels."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.maximum(0, high - low + 1).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1) + (box[2:] - box[:2] + 1).prod() - common
    return np.where(union > 0, common / np.maximum(union, 1), 0.0)
