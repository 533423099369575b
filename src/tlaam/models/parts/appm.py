"""APPM, MMAL-Net's attention part proposal module (Zhang et al. 2021, arXiv 2003.09150): parts by sliding windows.

A window's score is the mean over its H_w × W_w cells of the channel sum A of the object image's feature map:

    a_w = Σ_{y<H_w} Σ_{x<W_w} A(y, x) / (H_w · W_w)

In each scale, the highest-scoring windows that overlap little become parts (non-maximum suppression).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from tlaam.errors import ModelError
from tlaam.models.localizers.aolm import channel_sum
from tlaam.models.parts.base import PartProposer

Windows = tuple[tuple[tuple[float, float], ...], ...]


def _of_14_cells(*scales: Sequence[tuple[int, int]]) -> Windows:
    """Turn window sides in cells of the paper's 14×14 map into shares of the image's side."""
    return tuple(tuple((height / 14, width / 14) for height, width in scale) for scale in scales)


# (height, width) of the windows of each scale, and how many of each scale are parts: birds, then cars and aircraft.
CUB_WINDOWS = _of_14_cells(
    [(4, 4), (3, 5), (5, 3)],
    [(6, 6), (5, 7), (7, 5)],
    [(8, 8), (6, 10), (10, 6), (7, 9), (9, 7), (7, 10), (10, 7)],
)
CUB_COUNTS = (2, 3, 2)
VEHICLE_WINDOWS = _of_14_cells(
    [(6, 6), (5, 7), (7, 5)],
    [(8, 8), (6, 10), (10, 6), (7, 9), (9, 7)],
    [(10, 10), (9, 11), (11, 9), (8, 12), (12, 8)],
)
VEHICLE_COUNTS = (3, 2, 1)


class APPM(PartProposer):
    """Choose in each scale the windows with the highest mean activation that overlap little.

    Args:
        windows: for each scale, the ``(height, width)`` of its windows as shares of the object image's side.
        counts: for each scale, how many windows become parts.
        iou: if the intersection over union of two windows of a scale reaches this, the weaker one is dropped.

    Raises:
        ModelError: there is not one count per scale, or a share, a count or `iou` is out of range.
    """

    def __init__(
        self,
        windows: Sequence[Sequence[tuple[float, float]]] = CUB_WINDOWS,
        counts: Sequence[int] = CUB_COUNTS,
        iou: float = 0.25,
    ) -> None:
        super().__init__()
        self.windows: Windows = tuple(tuple((height, width) for height, width in scale) for scale in windows)
        self.counts, self.iou = tuple(counts), iou
        _check(self.windows, self.counts, iou)

    @property
    def count(self) -> int:
        """Number of part boxes per image."""
        return sum(self.counts)

    @property
    def reach(self) -> float:
        """Longest window side as a share of the object image's side; rounding to cells may add up to half a cell."""
        return max(side for scale in self.windows for window in scale for side in window)

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Return part boxes.

        Args:
            features: the object image's feature map, ``(B, K, H, W)``.
            size: side of the object image in pixels.

        Returns:
            float32 ``(B, Σ counts, 4)`` xyxy in pixels of the object image, inside it, x1/y1 exclusive; scales in
            their order, windows of a scale by decreasing score. If a scale has fewer windows that overlap little than
            requested, the last of them is repeated.
        """
        height, width = features.shape[2:]
        heatmaps = channel_sum(features)
        chosen = []
        for scale, count in zip(self.windows, self.counts, strict=True):
            sides = window_cells(scale, height, width)
            boxes = sliding_windows(sides, height, width, features.device)
            chosen.append(boxes[strongest_apart(window_scores(heatmaps, sides), boxes, count, self.iou)])
        x0, y0, x1, y1 = torch.cat(chosen, dim=1).unbind(2)
        # Multiplied before dividing, so that the last cell's edge is exactly the image's edge.
        return torch.stack([x0 * size / width, y0 * size / height, x1 * size / width, y1 * size / height], dim=2)


class APPMForVehicles(APPM):
    """`APPM` with its windows for cars and aircraft."""

    def __init__(self) -> None:
        super().__init__(VEHICLE_WINDOWS, VEHICLE_COUNTS)


def window_cells(shares: Sequence[tuple[float, float]], height: int, width: int) -> list[tuple[int, int]]:
    """Return window sides in whole cells of a ``height × width`` map, each size once.

    Args:
        shares: ``(height, width)`` of each window as shares of the map's.
        height, width: of the map in cells.

    Returns:
        ``(height, width)`` of each size, rounded, at least one cell and at most the map, in the order of `shares`.
    """
    return list(dict.fromkeys((_cells(share[0], height), _cells(share[1], width)) for share in shares))


def _cells(share: float, length: int) -> int:
    # Halves are rounded up, also those that float arithmetic makes slightly too small. Rounding to even, as `round`
    # does, would turn both 3 and 5 of 14 cells into 2 of 7.
    return min(length, max(1, math.floor(share * length + 0.5 + 1e-6)))


def sliding_windows(sides: Sequence[tuple[int, int]], height: int, width: int, device: torch.device) -> Tensor:
    """Return every position of every window on a ``height × width`` map.

    Args:
        sides: ``(height, width)`` of each window in cells.
        height, width: of the map in cells.
        device: device of the result.

    Returns:
        float32 ``(N, 4)`` xyxy in cells, x1/y1 exclusive; sizes in their order, positions in raster order.
    """
    boxes = []
    for high, wide in sides:
        # Filled on the device: a tensor created from numbers would be copied there, and the host would wait.
        y, x = torch.meshgrid(
            torch.arange(height - high + 1, device=device, dtype=torch.float32),
            torch.arange(width - wide + 1, device=device, dtype=torch.float32),
            indexing="ij",
        )
        boxes.append(torch.stack([x, y, x + wide, y + high], dim=2).flatten(0, 1))
    return torch.cat(boxes)


def window_scores(heatmaps: Tensor, sides: Sequence[tuple[int, int]]) -> Tensor:
    """Return the mean of heat maps ``(B, H, W)`` over each window, ``(B, N)`` in the order of `sliding_windows`."""
    return torch.cat([functional.avg_pool2d(heatmaps[:, None], side, stride=1).flatten(1) for side in sides], dim=1)


def strongest_apart(scores: Tensor, boxes: Tensor, count: int, iou: float) -> Tensor:
    """Choose the highest-scoring boxes that overlap little: non-maximum suppression in `count` rounds.

    An IoU of exactly the threshold suppresses, as in the authors' code. There, inclusive pixel coordinates make windows
    a little larger than their cells; with this rule, nearly all pairs of windows on the 14×14 map are judged alike.

    Args:
        scores: ``(B, N)``.
        boxes: ``(N, 4)`` xyxy, the same for each image.
        count: number of boxes to choose.
        iou: the intersection over union from which the weaker of two boxes is suppressed.

    Returns:
        long ``(B, count)`` indices by decreasing score, the first of equal scores; if no box is left, the last chosen
        one is repeated.
    """
    chosen: list[Tensor] = []
    for _ in range(count):
        best, index = scores.max(1)
        if chosen:
            index = torch.where(best == -torch.inf, chosen[-1], index)
        chosen.append(index)
        scores = scores.masked_fill(box_iou(boxes[index], boxes) >= iou, -torch.inf)
    return torch.stack(chosen, dim=1)


def _check(windows: Windows, counts: Sequence[int], iou: float) -> None:
    """Raise ModelError if settings are impossible."""
    if not windows or len(windows) != len(counts):
        raise ModelError(f"APPM got {len(windows)} scales of windows and {len(counts)} counts; give one count a scale.")
    for scale in windows:
        if not scale or not all(0 < side <= 1 for window in scale for side in window):
            raise ModelError(
                f"APPM got windows {scale}; each scale needs at least one, with sides above 0 and at most 1."
            )
    if min(counts) < 1:
        raise ModelError(
            f"APPM got counts {tuple(counts)}; each must be at least 1, so leave out scales without parts."
        )
    if not 0 < iou <= 1:
        raise ModelError(f"APPM got an IoU of {iou}; it must be above 0 and at most 1.")
