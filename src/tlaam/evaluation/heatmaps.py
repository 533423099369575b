"""How well heat maps, rather than boxes, point at the object (SPEC §7): MaxBoxAccV2 and the pointing game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from tlaam.evaluation.localization import IOU_LEVELS, pointing_game

GRID = 112
THRESHOLDS = 100


@dataclass(frozen=True)
class HeatmapReport:
    """Measures of heat maps over the images that have a true box.

    Attributes:
        max_box_acc_v2: mean over the levels of `max_box_acc`.
        max_box_acc: for each IoU level of 0.3, 0.5 and 0.7 the share of images one of whose components' boxes reaches
            it, at the threshold that is best for that level *on these very images*: an oracle, as the protocol has it.
        pointing_game: share of images whose heat map's maximum lies inside the true box.
    """

    max_box_acc_v2: float
    max_box_acc: dict[float, float]
    pointing_game: float

    def summary(self) -> dict[str, float]:
        """Return the measures under the names of the JSON contract."""
        return {"max_box_acc_v2": self.max_box_acc_v2, "pointing_game": self.pointing_game}


def heatmap_report(heatmaps: Sequence[NDArray[np.floating]], true_boxes: Tensor, sizes: Tensor) -> HeatmapReport | None:
    """Measure heat maps after Choe et al. 2020 (arXiv 2001.07437), MaxBoxAccV2, and by the pointing game.

    Maps are scaled to [0, 1] each and upsampled bilinearly to a grid of 112 × 112 cells; at each of 100 evenly spaced
    thresholds every 8-connected component gives a box.

    Args:
        heatmaps: N maps ``(h, w)`` over the whole image.
        true_boxes: ``(N, 4)`` xyxy in pixels of the image; rows of NaN where an image has none.
        sizes: ``(N, 2)`` width and height of each image in pixels.

    Returns:
        The report, or None when no image has a true box.
    """
    scale = (GRID / sizes.double()).repeat(1, 2)
    true = (true_boxes.double() * scale).numpy()
    fine = [_fine(heatmap) for heatmap in heatmaps]
    peaks = [np.unravel_index(int(heatmap.argmax()), heatmap.shape) for heatmap in fine]
    points = torch.tensor([[x + 0.5, y + 0.5] for y, x in peaks], dtype=torch.float64)
    pointed = pointing_game(points, torch.from_numpy(true))
    if pointed is None:
        return None
    best = np.array(
        [_best_ious(heatmap, box) for heatmap, box in zip(fine, true, strict=True) if np.isfinite(box).all()]
    )  # (images, thresholds)
    accuracy = {level: float((best >= level).mean(axis=0).max()) for level in IOU_LEVELS}
    return HeatmapReport(float(np.mean(list(accuracy.values()))), accuracy, pointed)


def _fine(heatmap: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the map on the grid, scaled to [0, 1]; a flat map is all 0."""
    tensor = torch.from_numpy(np.nan_to_num(np.asarray(heatmap, dtype=np.float64)))[None, None]
    fine: NDArray[np.float64] = functional.interpolate(tensor, size=(GRID, GRID), mode="bilinear")[0, 0].numpy()
    span = fine.max() - fine.min()
    scaled: NDArray[np.float64] = (fine - fine.min()) / (span if span > 0 else 1)
    return scaled


def _best_ious(heatmap: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the best IoU of any component's box with `box` at each threshold, ``(THRESHOLDS,)``."""
    best = np.zeros(THRESHOLDS)
    area = (box[2] - box[0]) * (box[3] - box[1])
    for place in range(THRESHOLDS):
        labels, _ = ndimage.label(heatmap >= place / THRESHOLDS, structure=np.ones((3, 3)))
        for y, x in ndimage.find_objects(labels):
            width = min(x.stop, box[2]) - max(x.start, box[0])
            height = min(y.stop, box[3]) - max(y.start, box[1])
            common = max(width, 0.0) * max(height, 0.0)
            best[place] = max(best[place], common / ((x.stop - x.start) * (y.stop - y.start) + area - common))
    return best
