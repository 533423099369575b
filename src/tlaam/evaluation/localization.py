"""How well predicted boxes match the true ones, compared with two boxes that need no model (docs/json.md).

All boxes are ``(x0, y0, x1, y1)`` in pixels of their image, x1 and y1 exclusive. A row of NaN among the true boxes
means that the image has none; such images are left out of every measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tlaam.errors import DataError
from tlaam.models.localizers.fixed_box import CENTER_SHARE

IOU_LEVELS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class LocalizationReport:
    """Measures of one set of boxes over the images that have a true box; shares lie between 0 and 1.

    Attributes:
        images: number of images with a true box.
        mean_iou: mean intersection over union.
        gt_known: for each level of `IOU_LEVELS` the share of images whose IoU reaches it, whatever class was predicted.
        top1_loc: share of images whose IoU reaches 0.5 and whose predicted class is right.
        trivial: the same measures for the boxes of `trivial_boxes`; empty in their own reports.
    """

    images: int
    mean_iou: float
    gt_known: Mapping[float, float]
    top1_loc: float
    trivial: Mapping[str, LocalizationReport] = field(default_factory=dict)

    def measures(self) -> dict[str, float]:
        """Return the measures of these boxes only, under the names of the JSON contract."""
        shares = {f"gt_known_{level}": share for level, share in self.gt_known.items()}
        return {"mean_iou": self.mean_iou, **shares, "top1_loc_0.5": self.top1_loc}

    def summary(self) -> dict[str, float | dict[str, dict[str, float]]]:
        """Return `measures` and, under ``trivial``, the measures of each trivial box."""
        return {**self.measures(), "trivial": {name: report.measures() for name, report in self.trivial.items()}}


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of each box with the box in the same row of the other tensor.

    (`torchvision.ops.box_iou` compares every box with every other, which gives N² values where N are needed.)

    Args:
        boxes: ``(N, 4)`` xyxy.
        others: ``(N, 4)`` xyxy, in pixels of the same images.

    Returns:
        ``(N,)`` floating point; 0 if neither box has an area. NaN coordinates give NaN.
    """
    low = torch.maximum(boxes[:, :2], others[:, :2])
    high = torch.minimum(boxes[:, 2:], others[:, 2:])
    intersection = _area(low, high)
    union = _area(boxes[:, :2], boxes[:, 2:]) + _area(others[:, :2], others[:, 2:]) - intersection
    return intersection / torch.where(union == 0, 1, union)


def trivial_boxes(sizes: Tensor) -> dict[str, Tensor]:
    """Return the boxes that every localiser has to beat: the whole image and its centre.

    Args:
        sizes: ``(N, 2)`` width and height of each image in pixels.

    Returns:
        ``full`` and ``center_0.7`` (0.7 of the width and of the height), each ``(N, 4)`` xyxy.
    """
    sizes = sizes * 1.0  # integers become floating point, floating point keeps its precision
    margin = sizes * (1 - CENTER_SHARE) / 2
    return {
        "full": torch.cat([torch.zeros_like(sizes), sizes], dim=1),
        f"center_{CENTER_SHARE}": torch.cat([margin, sizes - margin], dim=1),
    }


def localization_report(boxes: Tensor, true_boxes: Tensor, correct: Tensor, sizes: Tensor) -> LocalizationReport | None:
    """Measure one predicted box per image, and the trivial boxes for comparison.

    Args:
        boxes: ``(N, 4)`` predicted boxes, xyxy, finite.
        true_boxes: ``(N, 4)`` xyxy; rows of NaN for images without a box.
        correct: ``(N,)`` bool, whether the predicted class is the label (the same for all boxes compared).
        sizes: ``(N, 2)`` width and height of each image in pixels.

    Returns:
        The report, or None if no image has a true box.

    Raises:
        DataError: shapes differ, a predicted box is not finite, or a true box is neither finite nor wholly NaN.
    """
    count = len(boxes)
    received = [tuple(tensor.shape) for tensor in (boxes, true_boxes, correct, sizes)]
    if received != [(count, 4), (count, 4), (count,), (count, 2)]:
        raise DataError(
            f"Received boxes, true boxes, correct and sizes of shapes {', '.join(map(str, received))}; "
            "they must be (N, 4), (N, 4), (N,) and (N, 2)."
        )
    known = _known(true_boxes)
    if not known.any():
        return None
    known = known.cpu()
    boxes, true_boxes, sizes = (t.detach().cpu().double()[known] for t in (boxes, true_boxes, sizes))
    correct = correct.detach().cpu().bool()[known]
    if not boxes.isfinite().all():
        raise DataError("Predicted boxes must be finite; leave failed predictions out before measuring.")
    trivial = {name: _measure(box, true_boxes, correct, {}) for name, box in trivial_boxes(sizes).items()}
    return _measure(boxes, true_boxes, correct, trivial)


def pointing_game(points: Tensor, true_boxes: Tensor) -> float | None:
    """Return the share of points that lie inside the true box.

    This is the pointing game of Zhang et al. 2016 (arXiv 1608.00507) without its tolerance of 15 pixels around the
    object.

    Args:
        points: ``(N, 2)`` x and y of each heat map's maximum, in pixels of the image.
        true_boxes: ``(N, 4)`` xyxy; rows of NaN for images without a box.

    Returns:
        The share, or None if no image has a true box.

    Raises:
        DataError: shapes differ, or a true box is neither finite nor wholly NaN.
    """
    if points.shape != (len(points), 2) or true_boxes.shape != (len(points), 4):
        raise DataError(
            f"Received points of shape {tuple(points.shape)} and true boxes of shape {tuple(true_boxes.shape)}; "
            "they must be (N, 2) and (N, 4)."
        )
    known = _known(true_boxes)
    if not known.any():
        return None
    points, true_boxes = points.to(known.device)[known], true_boxes[known]
    inside = (points >= true_boxes[:, :2]) & (points < true_boxes[:, 2:])
    return inside.all(dim=1).double().mean().item()


def _measure(
    boxes: Tensor, true_boxes: Tensor, correct: Tensor, trivial: Mapping[str, LocalizationReport]
) -> LocalizationReport:
    iou = box_iou(boxes, true_boxes)
    return LocalizationReport(
        images=len(iou),
        mean_iou=iou.mean().item(),
        gt_known={level: (iou >= level).double().mean().item() for level in IOU_LEVELS},
        top1_loc=((iou >= 0.5) & correct).double().mean().item(),
        trivial=trivial,
    )


def _known(true_boxes: Tensor) -> Tensor:
    """Return ``(N,)`` bool: which images have a true box."""
    known = true_boxes.isfinite().all(dim=1)
    if not (known | true_boxes.isnan().all(dim=1)).all():
        row = int((~(known | true_boxes.isnan().all(dim=1))).nonzero()[0])
        raise DataError(
            f"True box {row} is {true_boxes[row].tolist()}; give four finite numbers, or four NaN for an image without."
        )
    return known


def _area(low: Tensor, high: Tensor) -> Tensor:
    """Return ``(N,)`` areas between ``(N, 2)`` corners; 0 for a box with swapped corners."""
    return (high - low).clamp(min=0).prod(dim=1)
