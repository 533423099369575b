"""How well part windows point at annotated parts, compared with equally large windows that need no model.

In the pointing game of Zhang et al. 2016 (arXiv 1608.00507) a method hits if the maximum of its map lies within the
object, or at most 15 pixels from it. Part windows do not name a part and have an extent. A window therefore hits if any
annotated part lies in it, without a tolerance. Large windows hit by chance. The report therefore also has the share of
parts that are in any window, and the same two shares for windows that need no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tlaam.data.sample import Point
from tlaam.errors import DataError

PLACES = 32
"""Number of positions along each axis that stand for all possible positions of a random window."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class PartReport:
    """Measures of part windows over the images with at least one annotated visible part.

    Attributes:
        images: number of such images.
        hit: share of the windows, of all images, that contain at least one annotated part.
        recall: share of the annotated visible parts, of all images, that lie in at least one window.
        trivial: the same for as many equally large windows within the object box that the model found: ``random``, the
            expected shares for windows placed anywhere in it independently; ``center``, all windows in its middle.
            Empty in their own reports.
    """

    images: int
    hit: float
    recall: float
    trivial: Mapping[str, PartReport] = field(default_factory=dict)

    def measures(self) -> dict[str, float]:
        """Return the two shares of these windows only, under the names of the JSON contract."""
        return {"hit": self.hit, "recall": self.recall}

    def summary(self) -> dict[str, int | float | dict[str, dict[str, float]]]:
        """Return all measures under the names of the JSON contract."""
        trivial = {name: report.measures() for name, report in self.trivial.items()}
        return {"images": self.images, **self.measures(), "trivial": trivial}


def part_report(
    windows: Sequence[Floats], object_boxes: Sequence[Floats], keypoints: Sequence[Sequence[Point] | None]
) -> PartReport | None:
    """Measure the part windows of images, and two trivial arrangements of equally large windows.

    Args:
        windows: for each image ``(N, 4)`` xyxy in pixels of the image, N ≥ 1.
        object_boxes: for each image ``(4,)`` xyxy, the object box that the model found; trivial windows are placed in
            it.
        keypoints: (x, y) of each image's visible parts in the same pixels; None if they are not known. Images without
            any do not count.

    Returns:
        The report, or None if no image has a known visible part.

    Raises:
        DataError: the numbers of images differ, or an array has another shape.
    """
    if not len(windows) == len(object_boxes) == len(keypoints):
        raise DataError(
            f"Received windows of {len(windows)} images, {len(object_boxes)} object boxes and parts of "
            f"{len(keypoints)} images; there must be one of each for every image."
        )
    found: dict[str, list[_Shares]] = {"": [], "random": [], "center": []}
    for boxes, around, parts in zip(windows, object_boxes, keypoints, strict=True):
        if boxes.shape != (len(boxes), 4) or not len(boxes) or around.shape != (4,):
            raise DataError(
                f"Received part windows of shape {boxes.shape} and an object box of shape {around.shape}; they must "
                "be (N, 4) with at least one window, and (4,)."
            )
        if parts:
            points = np.array(parts, dtype=np.float64)  # [K, 2]
            found[""].append(_at(boxes[:, None, :2], boxes, points))
            sizes = boxes[:, 2:] - boxes[:, :2]  # [N, 2]
            found["random"].append(_at(_all_corners(around, sizes), boxes, points))
            found["center"].append(_at((around[:2] + around[2:] - sizes)[:, None] / 2, boxes, points))
    if not found[""]:
        return None
    own, random, center = (_pooled(shares) for shares in found.values())
    return PartReport(own.images, own.hit, own.recall, {"random": random, "center": center})


@dataclass(frozen=True)
class _Shares:
    """For one image: the probability that each window hits, ``(N,)``, and that each part is seen, ``(K,)``."""

    hit: Floats
    seen: Floats


def _at(corners: Floats, boxes: Floats, points: Floats) -> _Shares:
    """Return the probabilities for windows as large as `boxes` ``(N, 4)``.

    All corners ``(N, places, 2)`` of a window are equally likely.
    """
    low, size = corners[:, :, None], (boxes[:, 2:] - boxes[:, :2])[:, None, None]
    inside = np.all((points >= low) & (points < low + size), axis=3)  # [N, places, K]
    return _Shares(inside.any(axis=2).mean(1), 1 - (1 - inside.mean(1)).prod(0))


def _all_corners(around: Floats, sizes: Floats) -> Floats:
    """Return the corners ``(N, PLACES², 2)`` that windows of `sizes` ``(N, 2)`` can have within a box ``(4,)``.

    A window that is longer than the box may be anywhere that covers the box's whole length.
    """
    steps = (np.arange(PLACES) + 0.5) / PLACES
    shares = np.stack(np.meshgrid(steps, steps), axis=2).reshape(-1, 2)
    room = around[2:] - around[:2] - sizes  # [N, 2], below 0 for a longer window
    return np.asarray(around[:2] + room[:, None] * shares)


def _pooled(shares: Sequence[_Shares]) -> PartReport:
    hit, seen = np.concatenate([one.hit for one in shares]), np.concatenate([one.seen for one in shares])
    return PartReport(len(shares), float(hit.mean()), float(seen.mean()))
