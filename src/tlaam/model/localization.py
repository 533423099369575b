"""From heat maps to boxes (SPEC §2): threshold, largest 8-connected component, tight box; batched, on the device.

No step loops over images, copies to the host or depends on data in its control flow, so the whole of it can be
captured in a graph and exported.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ThresholdRule = Literal["mean", "max", "value"]


def upsample_heatmap(heatmaps: Tensor, factor: int) -> Tensor:
    """Upsample heat maps ``(B, H, W)`` bilinearly by a whole factor."""
    if factor == 1:
        return heatmaps
    size = (heatmaps.shape[1] * factor, heatmaps.shape[2] * factor)
    return functional.interpolate(heatmaps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def heatmap_mask(heatmaps: Tensor, threshold: float = 1.0, rule: ThresholdRule = "mean") -> Tensor:
    """Mask the cells above a threshold that each map sets for itself.

    Args:
        heatmaps: ``(B, H, W)``, not negative. Values that are not finite count as 0.
        threshold: multiple of the map's mean (``mean``; 1 is AOLM's rule), fraction of its maximum (``max``), or the
            same value for all maps (``value``; for maps that are probabilities).
        rule: what `threshold` multiplies.

    Returns:
        bool ``(B, H, W)``. A flat map gives all cells or none (its mean may be rounded); either way the whole image.
    """
    heatmaps = torch.where(heatmaps.isfinite(), heatmaps, torch.zeros_like(heatmaps))
    if rule == "value":
        return heatmaps > threshold
    reference = heatmaps.mean((1, 2)) if rule == "mean" else heatmaps.amax((1, 2))
    return heatmaps > threshold * reference[:, None, None]


def label_components(masks: Tensor) -> Tensor:
    """Label the 8-connected components of each mask.

    Union by hooking and pointer jumping (after Shiloach and Vishkin 1982) in a fixed number of rounds. Every tree that
    is not a local maximum among its neighbours hooks onto a larger one in each round, and one that is has, two rounds
    later, either hooked too or swallowed a neighbour: the number of trees at least halves every two rounds, starting
    from at most one tree in each 2×2 cells.

    Args:
        masks: bool ``(B, H, W)``.

    Returns:
        long ``(B, H, W)``: cells of one component share a positive label, other cells are 0. A component whose first
        cell in raster order comes earlier has the larger label.
    """
    batch, height, width = masks.shape
    cells = height * width
    flat = masks.reshape(batch, cells)
    # Node ids 1..cells run against raster order, so that a component's largest id is its first cell; id 0 is outside.
    own = torch.arange(cells, 0, -1, device=masks.device).expand(batch, cells)
    parent = torch.cat([torch.zeros_like(own[:, :1]), torch.where(flat, own, 0).flip(1)], dim=1)  # indexed by id
    trees = math.ceil(height / 2) * math.ceil(width / 2)
    parent = _hook_and_jump(parent, flat, height, width, chain=cells)
    while trees > 1:
        for _ in range(2):
            parent = _hook_and_jump(parent, flat, height, width, chain=trees)
        trees //= 2
    return parent[:, 1:].flip(1).reshape(batch, height, width)


def _hook_and_jump(parent: Tensor, flat: Tensor, height: int, width: int, chain: int) -> Tensor:
    """Hook every tree onto the largest tree that touches it, then flatten trees of up to `chain` levels to stars."""
    batch = parent.shape[0]
    roots = parent[:, 1:].flip(1)  # (B, cells) in raster order; every node points at its root
    # max_pool2d has no integer form everywhere; ids below 2^24 are exact in float32.
    grid = roots.reshape(batch, 1, height, width).float()
    touching = functional.max_pool2d(grid, kernel_size=3, stride=1, padding=1).reshape(batch, -1).long()
    touching = torch.where(flat, touching, 0)
    parent = parent.scatter_reduce(1, roots, touching, reduce="amax", include_self=True)
    for _ in range(max(1, math.ceil(math.log2(max(chain, 2))))):
        parent = parent.gather(1, parent)
    return parent


def largest_component(masks: Tensor) -> Tensor:
    """Keep each mask's largest 8-connected component; of equally large ones the first in raster order.

    Args:
        masks: bool ``(B, H, W)``.

    Returns:
        bool ``(B, H, W)``; all False where the mask is empty.
    """
    batch, height, width = masks.shape
    cells = height * width
    labels = label_components(masks).reshape(batch, cells)
    areas = torch.zeros(batch, cells + 1, dtype=torch.long, device=masks.device)
    areas = areas.scatter_add(1, labels, torch.ones_like(labels))
    areas[:, 0] = 0  # label 0 is what no mask covers
    # One key orders by area, then by label (larger label: earlier in raster order).
    key = areas * (cells + 1) + torch.arange(cells + 1, device=masks.device)
    largest = key.argmax(1, keepdim=True)
    return ((labels == largest) & masks.reshape(batch, cells)).reshape(batch, height, width)


def mask_boxes(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the tight box of each mask, scaled from cells to pixels.

    Args:
        masks: bool ``(B, H, W)``.
        size: ``(height, width)`` in pixels of the image that the mask covers.

    Returns:
        float32 ``(B, 4)`` xyxy, x1/y1 exclusive; the whole image where the mask is empty.
    """
    _, height, width = masks.shape
    x0, x1 = _extent(masks.any(1))
    y0, y1 = _extent(masks.any(2))
    x, y = size[1] / width, size[0] / height
    found = masks.any(2).any(1)  # an empty mask has no extent; its box is the whole image
    boxes = [x0.where(found, 0) * x, y0.where(found, 0) * y, x1.where(found, width) * x, y1.where(found, height) * y]
    return torch.stack(boxes, dim=1)


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and one past last index that is True along dim 1, float32 ``(B,)`` each."""
    length = occupied.shape[1]
    index = torch.arange(length, device=occupied.device, dtype=torch.float32)
    first = torch.where(occupied, index, float(length)).amin(1)
    last = torch.where(occupied, index, -1.0).amax(1)
    return first, last + 1


def heatmap_boxes(
    heatmaps: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 1.0,
    rule: ThresholdRule = "mean",
    upsample: int = 1,
) -> Tensor:
    """Return the object's box of each heat map: threshold, largest component, tight box (SPEC §2).

    Args:
        heatmaps: ``(B, H, W)``.
        size: ``(height, width)`` in pixels of the image that the map covers.
        threshold: see `heatmap_mask`.
        rule: see `heatmap_mask`.
        upsample: factor of bilinear upsampling before the threshold.

    Returns:
        float32 ``(B, 4)`` xyxy, x1/y1 exclusive; the whole image where nothing exceeds the threshold.
    """
    masks = heatmap_mask(upsample_heatmap(heatmaps, upsample), threshold, rule)
    return mask_boxes(largest_component(masks), size)


def widen_boxes(boxes: Tensor, margin: float, size: tuple[int, int]) -> Tensor:
    """Add `margin` of its side on each side of boxes ``(..., 4)``, within an image of ``(height, width)``."""
    if margin == 0:
        return boxes
    x0, y0, x1, y1 = boxes.unbind(-1)
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    return torch.stack(
        [(x0 - dx).clamp(min=0), (y0 - dy).clamp(min=0), (x1 + dx).clamp(max=size[1]), (y1 + dy).clamp(max=size[0])],
        dim=-1,
    )
