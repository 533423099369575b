"""Several objects in one map: its largest components, each with its box and its confidence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tlaam.models.localization import heatmap_mask, label_components, mask_boxes, upsample_heatmap


class Components(NamedTuple):
    """The M largest components of each of B probability maps, the largest first.

    Attributes:
        boxes: ``(B, M, 4)`` xyxy, x1/y1 exclusive, in pixels of the image that the map covers.
        areas: share of the map that each covers, ``(B, M)``; 0 if there are fewer components than M.
        peaks: largest probability in each, ``(B, M)``; 0 likewise.
        means: mean probability in each, ``(B, M)``; 0 likewise.
    """

    boxes: Tensor
    areas: Tensor
    peaks: Tensor
    means: Tensor


def map_components(
    heatmaps: Tensor, size: tuple[int, int], *, threshold: float | Tensor, most: int, upsample: int = 1
) -> Components:
    """Return the largest 8-connected components of cells above a threshold; batched, independent of the values.

    Args:
        heatmaps: probabilities ``(B, H, W)``.
        size: ``(height, width)`` in pixels of the image that the map covers.
        threshold: probability above which a cell counts.
        most: M, the number of components.
        upsample: factor of bilinear upsampling before the threshold.
    """
    maps = upsample_heatmap(heatmaps, upsample)
    masks = heatmap_mask(maps, threshold, "value")
    batch, height, width = masks.shape
    cells = height * width
    labels, values = label_components(masks).reshape(batch, cells), maps.reshape(batch, 1, cells)
    counts = torch.zeros(batch, cells + most, dtype=torch.long, device=masks.device)
    counts = counts.scatter_add(1, labels, torch.ones_like(labels))
    counts[:, 0] = 0  # label 0 is the background
    # One key orders by area, then by label (larger label: earlier in raster order).
    key = counts * (cells + most) + torch.arange(cells + most, device=masks.device)
    chosen = key.topk(most, dim=1).indices  # [B, M]
    counted = counts.gather(1, chosen)
    members = (labels[:, None] == chosen[..., None]) & (counted > 0)[..., None]  # [B, M, H·W]
    inside = torch.where(members, values, 0)
    boxes = mask_boxes(members.reshape(batch * most, height, width), size).reshape(batch, most, 4)
    return Components(boxes, counted / cells, inside.amax(2), inside.sum(2) / counted.clamp(min=1))
