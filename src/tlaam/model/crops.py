"""Cutting boxes out of source images and resizing them to the network's input, in one batched operation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def crop_and_resize(images: Tensor, boxes: Tensor, size: int, *, reach: float = 1.0) -> Tensor:
    """Cut N boxes out of each image and resize them to squares (the aspect is not kept, as in SPEC §5).

    Each output pixel is the mean of n×n bilinear samples spread evenly over its share of the box, with n large enough
    that no source pixel is skipped however much a box shrinks: antialiasing that needs no decision an image. A box
    that is the whole image, on an image n times the output, comes out as the exact n×n block means.

    Args:
        images: source images, ``(B, 3, P, P')``, floating point.
        boxes: ``(B, N, 4)`` xyxy in pixels of the images, x1/y1 exclusive.
        size: side of the output in pixels.
        reach: largest share of the image's side that a box can span; a smaller one saves samples.

    Returns:
        ``(B * N, 3, size, size)`` in channels-last memory, images' dtype, box n of image b at row ``b * N + n``. No
        gradient to the boxes.
    """
    samples = max(1, math.ceil(max(images.shape[2:]) * reach / size - 1e-6))
    exact = torch.promote_types(images.dtype, torch.float32)
    steps = (torch.arange(size * samples, device=images.device, dtype=exact) + 0.5) / (size * samples)
    x0, y0, x1, y1 = boxes.detach().to(exact).unbind(-1)  # (B, N) each
    x = x0[..., None] + (x1 - x0)[..., None] * steps  # (B, N, size * samples), pixel coordinates with centres at +0.5
    y = y0[..., None] + (y1 - y0)[..., None] * steps
    return _sampled(images, x, y, samples)


def sample_grid(images: Tensor, x: Tensor, y: Tensor, size: int) -> Tensor:
    """Sample each image at the crossings of columns and rows that need not be evenly spaced.

    Between two columns or rows as many samples are averaged as an even sampling needs to skip no source pixel.

    Args:
        images: ``(B, 3, P, P')``, floating point.
        x: of the columns, ``(B, size)``, shares of the width, rising.
        y: of the rows, ``(B, size)``, shares of the height, rising.
        size: side of the output in pixels.

    Returns:
        ``(B, 3, size, size)``, images' dtype.
    """
    samples = max(1, math.ceil(max(images.shape[2:]) / size - 1e-6))
    height, width = images.shape[2:]
    columns, rows = _between(x, samples) * width, _between(y, samples) * height
    return _sampled(images, columns[:, None], rows[:, None], samples)


def _between(positions: Tensor, samples: int) -> Tensor:
    """Return `samples` positions ``(B, size · samples)`` around each of ``(B, size)``, half way to its neighbours."""
    middles = (positions[:, 1:] + positions[:, :-1]) / 2
    first, last = 2 * positions[:, :1] - middles[:, :1], 2 * positions[:, -1:] - middles[:, -1:]
    edges = torch.cat([first, middles, last], dim=1)[..., None]  # [B, size + 1, 1]
    steps = (torch.arange(samples, device=positions.device) + 0.5) / samples
    return (edges[:, :-1] + (edges[:, 1:] - edges[:, :-1]) * steps).flatten(1)


def _sampled(images: Tensor, x: Tensor, y: Tensor, samples: int) -> Tensor:
    """Sample bilinearly at crossings of x and y ``(B, N, fine)``, in pixels, and average samples × samples.

    The mean of bilinear samples on a lattice is one weighted sum along x and then one along y, which costs a sixth of
    sampling at every crossing.

    Args:
        images: ``(B, 3, P, P')``; without a copy where memory runs as `by_columns` lays it.

    Returns:
        ``(B * N, 3, fine / samples, fine / samples)``, images' dtype, channels-last.
    """
    batch, channels, height, width = images.shape
    count, size = x.shape[1], x.shape[2] // samples
    crops = batch * count
    first = torch.arange(crops, device=images.device)[:, None, None]
    columns, weights = _taps(x.flatten(0, 1), width, samples)  # [B * N, size, taps]
    table = by_columns(images).reshape(batch * width, height * channels)
    narrow = _weighted_rows(table, columns + first // count * width, weights)  # [B * N * size, P * 3]
    narrow = narrow.reshape(crops, size, height, channels).transpose(1, 2)
    rows, weights = _taps(y.flatten(0, 1), height, samples)
    squares = _weighted_rows(narrow.reshape(crops * height, size * channels), rows + first * height, weights)
    return squares.reshape(crops, size, size, channels).permute(0, 3, 1, 2)


def by_columns(images: Tensor) -> Tensor:
    """Return images ``(B, 3, P, P')`` as contiguous ``(B, P', P, 3)``: the memory that crops are read from fastest."""
    return images.permute(0, 3, 2, 1).contiguous()


def _taps(positions: Tensor, length: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return which of `length` pixels each output is made of, and by which weights.

    Args:
        positions: of the samples, ``(M, outputs · samples)``, in pixels with centres at + 0.5; beyond the edge the
            last pixel counts.
        length: number of pixels.
        samples: how many are averaged into an output.

    Returns:
        long and floating point ``(M, outputs, 2 · samples)``.
    """
    # What is no number would be an index from anywhere; a network that has diverged says so by its loss.
    positions = (positions - 0.5).nan_to_num(0.0).clamp(0.0, length - 1.0)
    left = positions.floor().clamp(max=max(length - 2.0, 0.0))
    share = (positions - left).reshape(len(positions), -1, samples)
    left = left.long().reshape(len(positions), -1, samples)
    weights = torch.cat([1 - share, share], dim=2) / samples
    return torch.cat([left, (left + 1).clamp(max=length - 1)], dim=2), weights


def _weighted_rows(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums ``(M · n, K)`` of rows of a table ``(R, K)``; index and weights are ``(M, n, taps)``."""
    index, weights = index.flatten(0, 1), weights.flatten(0, 1).to(table.dtype)
    if torch.compiler.is_compiling():  # a compiler joins these operations, and ONNX has no bags
        mixed = table.index_select(0, index[:, 0]) * weights[:, :1]
        for tap in range(1, index.shape[1]):
            mixed = mixed + table.index_select(0, index[:, tap]) * weights[:, tap : tap + 1]
        return mixed
    return functional.embedding_bag(index, table, mode="sum", per_sample_weights=weights)


def whole_image_boxes(images: Tensor) -> Tensor:
    """Return the box ``(0, 0, P', P)`` of each image of ``(B, 3, P, P')``, float32 ``(B, 4)``."""
    height, width = images.shape[2:]
    # Filled on the device: a tensor made from numbers would be copied there, and the host would wait.
    boxes = torch.zeros(images.shape[0], 4, device=images.device)
    boxes[:, 2], boxes[:, 3] = width, height
    return boxes


def compose_boxes(inner: Tensor, outer: Tensor, size: int) -> Tensor:
    """Express boxes that lie in a crop in the pixels of the image that the crop was cut from.

    Args:
        inner: ``(B, N, 4)`` xyxy in pixels of the crop, which is ``size × size``.
        outer: ``(B, 4)`` xyxy of the crop in pixels of the image.
        size: side of the crop.

    Returns:
        ``(B, N, 4)`` xyxy in pixels of the image.
    """
    origin = outer[:, None, :2].repeat(1, 1, 2)
    scale = (outer[:, None, 2:].repeat(1, 1, 2) - origin) / size
    return origin + inner * scale
