"""How well heat maps, rather than boxes, point at the object: MaxBoxAcc and the pointing game (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlaam.evaluation.localization import pointing_game
from tlaam.evaluation.wsol import SIDE, BoxAccuracy, box_accuracy, score_map


@dataclass(frozen=True)
class HeatmapReport:
    """Measures of heat maps over the images that have a true box.

    Attributes:
        accuracy: how often boxes drawn from the maps are right, at every threshold.
        pointing_game: share of images whose heat map has its maximum inside the true box.
        validation: how often boxes drawn from the maps of validation images are right, at every threshold; None if no
            validation images with boxes were used.
    """

    accuracy: BoxAccuracy = field(repr=False)
    pointing_game: float
    validation: BoxAccuracy | None = field(default=None, repr=False)

    def summary(self) -> dict[str, float]:
        """Return the measures under the names of the JSON contract."""
        measures = {"max_box_acc": self.accuracy.max_box_acc, "max_box_acc_v2": self.accuracy.max_box_acc_v2}
        if self.validation is not None:
            largest, best = self.accuracy.at_threshold_of(self.validation)
            measures |= {"box_acc_val_threshold": largest, "box_acc_v2_val_threshold": best}
        return {**measures, "pointing_game": self.pointing_game}


def heatmap_report(heatmaps: Sequence[NDArray[np.floating]], true_boxes: Tensor, sizes: Tensor) -> HeatmapReport | None:
    """Measure heat maps by the protocol of `tlaam.evaluation.wsol` and by the pointing game.

    Args:
        heatmaps: N maps ``(h, w)`` of the whole image.
        true_boxes: ``(N, 4)`` xyxy in pixels of the image; rows of NaN for images without a box.
        sizes: ``(N, 2)`` width and height of each image in pixels.

    Returns:
        The report, or None if no image has a true box.
    """
    true, size = true_boxes.double().numpy(), sizes.double().numpy()
    known = np.flatnonzero(np.isfinite(true).all(1))
    if not known.size:
        return None
    fine = [score_map(heatmaps[image]) for image in known.tolist()]
    true, size = true[known], size[known]
    # Upsampling makes an edge cell equally high up to the image's edge, so the middle of all maxima is taken.
    peaks = [np.argwhere(heatmap == heatmap.max()).mean(axis=0) for heatmap in fine]
    points = torch.tensor([[x + 0.5, y + 0.5] for y, x in peaks], dtype=torch.float64) * torch.from_numpy(size) / SIDE
    pointed = pointing_game(points, torch.from_numpy(true))
    assert pointed is not None
    return HeatmapReport(box_accuracy(fine, true, size), pointed)
