"""From heat maps to boxes: threshold, largest 8-connected component, tight box; batched, on the device.

See docs/how-it-works.md, 2.

No step loops over images, copies to the host or has control flow that depends on data, so all of it can be captured in
a graph and exported.
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


def heatmap_mask(heatmaps: Tensor, threshold: float | Tensor = 1.0, rule: ThresholdRule = "mean") -> Tensor:
    """Mask the cells above a threshold that may depend on each map's mean or maximum.

    Args:
        heatmaps: ``(B, H, W)``, non-negative. Values that are not finite count as 0.
        threshold: multiple of the map's mean (``mean``; 1 is AOLM's rule), fraction of its maximum (``max``), or the
            same value for all maps (``value``; for maps that are probabilities).
        rule: what `threshold` multiplies.

    Returns:
        bool ``(B, H, W)``. A flat map gives all cells or none (its mean may be rounded); either way its box is the
        whole image.
    """
    heatmaps = torch.where(heatmaps.isfinite(), heatmaps, torch.zeros_like(heatmaps))
    if rule == "value":
        return heatmaps > threshold
    reference = heatmaps.mean((1, 2)) if rule == "mean" else heatmaps.amax((1, 2))
    return heatmaps > threshold * reference[:, None, None]


def label_components(masks: Tensor) -> Tensor:
    """Label the 8-connected components of each mask.

    Cells within a 2×2 block touch each other, so the algorithm joins blocks. At first each block is a tree. In each
    round, every tree hooks onto the largest of the trees that touch it (after Borůvka 1926), and pointer jumping
    (Shiloach and Vishkin 1982) flattens the result. Two trees that chose each other are the only possible cycle: in a
    longer one, the tree that the largest chose also touches the largest, and would have chosen it. So every tree that
    touches another is joined to one in each round, their number halves, and the number of rounds is known in advance.

    Args:
        masks: bool ``(B, H, W)``.

    Returns:
        long ``(B, H, W)``: cells of one component share a positive label, other cells are 0. A component whose first
        cell in raster order comes earlier has the larger label.
    """
    batch, height, width = masks.shape
    rows, columns = math.ceil(height / 2), math.ceil(width / 2)
    edges = _block_edges(masks, rows, columns)
    trees = rows * columns
    own = torch.arange(trees, device=masks.device).expand(batch, trees)
    roots = own
    while trees > 1:
        roots = _join(roots, own, edges, chain=trees)
        trees //= 2
    # From blocks to cells; ids 1..H·W run against raster order, so that a component's largest id is its first cell.
    blocks = roots.reshape(batch, rows, 1, columns, 1).expand(-1, -1, 2, -1, 2).reshape(batch, 2 * rows, 2 * columns)
    blocks, flat = blocks[:, :height, :width].flatten(1), masks.flatten(1)
    ids = torch.where(flat, torch.arange(height * width, 0, -1, device=masks.device), 0)
    first = torch.zeros_like(own).scatter_reduce(1, blocks, ids, reduce="amax")
    return torch.where(flat, first.gather(1, blocks), 0).reshape(batch, height, width)


def _block_edges(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Return whether blocks of 2×2 cells touch those around them, ``(B, rows, columns, 9)``, in `_around`'s order.

    Args:
        masks: bool ``(B, H, W)``.
        rows: number of rows of blocks.
        columns: number of columns of blocks.
    """
    _, height, width = masks.shape
    cells = functional.pad(masks, (2, 2 * columns - width + 2, 2, 2 * rows - height + 2))  # a rim of empty blocks
    a, b, c, d = cells[:, ::2, ::2], cells[:, ::2, 1::2], cells[:, 1::2, ::2], cells[:, 1::2, 1::2]
    top, bottom, left, right = a | b, c | d, a | c, b | d
    mine, theirs = (a, top, b, left, a, right, c, bottom, d), (d, bottom, c, right, a, left, b, top, a)
    there = [side[:, n // 3 : n // 3 + rows, n % 3 : n % 3 + columns] for n, side in enumerate(theirs)]
    return torch.stack(there, dim=3) & torch.stack(mine, dim=3)[:, 1:-1, 1:-1]


def _around(grid: Tensor) -> Tensor:
    """Return the 3×3 neighbourhoods of the inner cells of a grid ``(B, rows + 2, columns + 2)``, in raster order.

    Returns:
        ``(B, rows, columns, 9)``.
    """
    return grid.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)


def _join(roots: Tensor, own: Tensor, edges: Tensor, chain: int) -> Tensor:
    """Hook every tree onto the largest that touches it and flatten the result, chains of at most `chain` trees.

    Args:
        roots: root of each block, ``(B, blocks)``.
        own: the blocks' numbers, in the same shape.
        edges: see `_block_edges`.
        chain: maximum possible number of trees.
    """
    grid = roots.reshape(-1, *edges.shape[1:3])
    near = _around(functional.pad(grid, (1, 1, 1, 1), value=-1))
    touching = torch.where(edges & (near != grid[..., None]), near, -1).amax(3).flatten(1)
    hook = torch.full_like(roots, -1).scatter_reduce(1, roots, touching, reduce="amax")
    back = hook.gather(1, hook.clamp(min=0))
    stays = (hook < 0) | ((back == own) & (own > hook))  # of two that chose each other, the larger stays a root
    parent = torch.where(stays, own, hook)
    for _ in range(math.ceil(math.log2(max(chain, 2)))):
        parent = parent.gather(1, parent)
    return parent.gather(1, roots)


def largest_component(masks: Tensor) -> Tensor:
    """Keep each mask's largest 8-connected component; of equally large ones, the first in raster order.

    Args:
        masks: bool ``(B, H, W)``.

    Returns:
        bool ``(B, H, W)``; all False if the mask is empty.
    """
    batch, height, width = masks.shape
    cells = height * width
    labels = label_components(masks).reshape(batch, cells)
    areas = torch.zeros(batch, cells + 1, dtype=torch.long, device=masks.device)
    areas = areas.scatter_add(1, labels, torch.ones_like(labels))
    areas[:, 0] = 0  # label 0 is the background
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
        float32 ``(B, 4)`` xyxy, x1/y1 exclusive; the whole image if the mask is empty.
    """
    _, height, width = masks.shape
    x0, x1 = _extent(masks.any(1))
    y0, y1 = _extent(masks.any(2))
    x, y = size[1] / width, size[0] / height
    found = masks.any(2).any(1)  # an empty mask has no extent; its box is the whole image
    x1, y1 = x1.where(found, width) * x, y1.where(found, height) * y
    # Because of rounding, the last cell may end slightly beyond the image.
    boxes = [x0.where(found, 0) * x, y0.where(found, 0) * y, x1.clamp(max=size[1]), y1.clamp(max=size[0])]
    return torch.stack(boxes, dim=1)


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first True index along dim 1 and the last one plus 1, float32 ``(B,)`` each."""
    length = occupied.shape[1]
    index = torch.arange(length, device=occupied.device, dtype=torch.float32)
    first = torch.where(occupied, index, float(length)).amin(1)
    last = torch.where(occupied, index, -1.0).amax(1)
    return first, last + 1


def heatmap_boxes(
    heatmaps: Tensor,
    size: tuple[int, int],
    *,
    threshold: float | Tensor = 1.0,
    rule: ThresholdRule = "mean",
    upsample: int = 1,
) -> Tensor:
    """Return the object's box of each heat map: threshold, largest component, tight box (docs/how-it-works.md, 2).

    Args:
        heatmaps: ``(B, H, W)``.
        size: ``(height, width)`` in pixels of the image that the map covers.
        threshold: see `heatmap_mask`.
        rule: see `heatmap_mask`.
        upsample: factor of bilinear upsampling before the threshold.

    Returns:
        float32 ``(B, 4)`` xyxy, x1/y1 exclusive; the whole image if nothing exceeds the threshold.
    """
    masks = heatmap_mask(upsample_heatmap(heatmaps, upsample), threshold, rule)
    return mask_boxes(largest_component(masks), size)


def widen_boxes(boxes: Tensor, margin: float, size: tuple[int, int]) -> Tensor:
    """Widen boxes ``(..., 4)`` on each side by `margin` times that side, within an image of ``(height, width)``."""
    if margin == 0:
        return boxes
    x0, y0, x1, y1 = boxes.unbind(-1)
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    return torch.stack(
        [(x0 - dx).clamp(min=0), (y0 - dy).clamp(min=0), (x1 + dx).clamp(max=size[1]), (y1 + dy).clamp(max=size[0])],
        dim=-1,
    )
