"""Crop boxes from source images and resize them to the network's input size, in one batched operation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 16
"""Maximum number of output pixels that one matrix product computes from the few input pixels that they depend on."""


def crop_and_resize(images: Tensor, boxes: Tensor, size: int, *, reach: float = 1.0) -> Tensor:
    """Crop N boxes from each image and resize them to squares (the aspect ratio is not kept, docs/how-it-works.md, 3).

    Each output pixel is the mean of n×n bilinear samples spread evenly over its share of the box. n is large enough
    that no source pixel is skipped, however much a box shrinks, so antialiasing needs no decision per image. If the box
    is the whole image and the image is n times the size of the output, the result is the exact n×n block means.

    Args:
        images: source images, ``(B, 3, P, P')``, floating point.
        boxes: ``(B, N, 4)`` xyxy in pixels of the images, x1/y1 exclusive.
        size: side of the output in pixels.
        reach: largest share of the image's side that a box can span; a smaller value saves samples.

    Returns:
        ``(B * N, 3, size, size)`` in channels-last memory format and the images' dtype; box n of image b is at row
        ``b * N + n``. No gradient flows to the boxes.
    """
    samples = max(1, math.ceil(max(images.shape[2:]) * reach / size - 1e-6))
    exact = torch.promote_types(images.dtype, torch.float32)
    steps = (torch.arange(size * samples, device=images.device, dtype=exact) + 0.5) / (size * samples)
    x0, y0, x1, y1 = boxes.detach().to(exact).unbind(-1)  # (B, N) each
    x = x0[..., None] + (x1 - x0)[..., None] * steps  # (B, N, size * samples), pixel coordinates with centres at +0.5
    y = y0[..., None] + (y1 - y0)[..., None] * steps
    return _sampled(images, x, y, samples, reach)


def resize_whole(images: Tensor, size: int) -> Tensor:
    """Resize whole images ``(B, 3, P, P')`` to ``(B, 3, size, size)`` as `crop_and_resize` would.

    In a graph, if each output pixel covers exactly n×n source pixels, their mean is taken directly, without sampling.
    """
    height, width = images.shape[2:]
    if torch.compiler.is_compiling() and height == width and height % size == 0:
        return functional.avg_pool2d(images, height // size)
    return crop_and_resize(images, whole_image_boxes(images)[:, None], size)


def sample_grid(images: Tensor, x: Tensor, y: Tensor, size: int) -> Tensor:
    """Sample each image at the crossings of columns and rows that need not be evenly spaced.

    Between two columns or rows, as many samples are averaged as even sampling would need to skip no source pixel.

    Args:
        images: ``(B, 3, P, P')``, floating point.
        x: positions of the columns, ``(B, size)``, as shares of the width, increasing.
        y: positions of the rows, ``(B, size)``, as shares of the height, increasing.
        size: side of the output in pixels.

    Returns:
        ``(B, 3, size, size)``, in the images' dtype.
    """
    samples = max(1, math.ceil(max(images.shape[2:]) / size - 1e-6))
    height, width = images.shape[2:]
    columns, rows = _between(x, samples) * width, _between(y, samples) * height
    return _sampled(images, columns[:, None], rows[:, None], samples)


def _between(positions: Tensor, samples: int) -> Tensor:
    """Return `samples` positions around each of ``(B, size)``, half way to its neighbours: ``(B, size · samples)``."""
    middles = (positions[:, 1:] + positions[:, :-1]) / 2
    first, last = 2 * positions[:, :1] - middles[:, :1], 2 * positions[:, -1:] - middles[:, -1:]
    edges = torch.cat([first, middles, last], dim=1)[..., None]  # [B, size + 1, 1]
    steps = (torch.arange(samples, device=positions.device) + 0.5) / samples
    return (edges[:, :-1] + (edges[:, 1:] - edges[:, :-1]) * steps).flatten(1)


def _sampled(images: Tensor, x: Tensor, y: Tensor, samples: int, reach: float | None = None) -> Tensor:
    """Sample bilinearly at crossings of x and y ``(B, N, fine)``, in pixels, and average samples × samples.

    The mean of bilinear samples on a lattice is one weighted sum along x and then one along y, which costs a sixth of
    sampling at every crossing.

    Args:
        images: ``(B, 3, P, P')``; not copied if they have the memory layout of `by_columns`.
        x: with pixel centres at + 0.5; beyond the edge, the outermost pixel is used.
        y: likewise.
        samples: number of samples averaged along each axis.
        reach: the largest share of the sides that evenly spaced x and y span; None if they are not evenly spaced.

    Returns:
        ``(B * N, 3, fine / samples, fine / samples)``, in the images' dtype; channels-last, except in graphs.
    """
    channels, height, width = images.shape[1:]
    size = x.shape[2] // samples
    # NaN would become an arbitrary index; that a network has diverged shows in its loss.
    x = (x - 0.5).nan_to_num(0.0).clamp(0.0, width - 1.0)
    y = (y - 0.5).nan_to_num(0.0).clamp(0.0, height - 1.0)
    if torch.compiler.is_compiling():
        return _sampled_by_products(images, x, y, samples, reach)
    narrow = _weighted_rows(by_columns(images).flatten(2), *_taps(x, width, samples))  # [B * N * size, P * 3]
    narrow = narrow.reshape(-1, size, height, channels).transpose(1, 2).flatten(2)
    squares = _weighted_rows(narrow, *_taps(y.flatten(0, 1)[:, None], height, samples))
    return squares.reshape(-1, size, size, channels).permute(0, 3, 1, 2)


def by_columns(images: Tensor) -> Tensor:
    """Return images ``(B, 3, P, P')`` as contiguous ``(B, P', P, 3)``, the layout from which crops are read fastest."""
    return images.permute(0, 3, 2, 1).contiguous()


def _taps(positions: Tensor, length: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return the rows that each output is computed from, and their weights.

    Args:
        positions: positions of the samples, ``(B, N, outputs · samples)``, from 0 to `length` - 1.
        length: number of rows.
        samples: number of samples averaged into one output.

    Returns:
        Rows (long) and weights (floating point), both ``(B, N · outputs, 2 · samples)``.
    """
    left = positions.floor().clamp(max=max(length - 2.0, 0.0))
    share = (positions - left).reshape(positions.shape[0], -1, samples)
    left = left.long().reshape(positions.shape[0], -1, samples)
    weights = torch.cat([1 - share, share], dim=2) / samples
    return torch.cat([left, (left + 1).clamp(max=length - 1)], dim=2), weights


def _weighted_rows(pictures: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums ``(B · n, M)`` of rows of pictures ``(B, P, M)``; rows and weights are ``(B, n, taps)``."""
    first = torch.arange(len(pictures), device=rows.device)[:, None, None] * pictures.shape[1]
    return functional.embedding_bag(
        (rows + first).flatten(0, 1),
        pictures.flatten(0, 1),
        mode="sum",
        per_sample_weights=weights.flatten(0, 1).to(pictures.dtype),
    )


def _sampled_by_products(images: Tensor, x: Tensor, y: Tensor, samples: int, reach: float | None) -> Tensor:
    """Do the same as `_sampled`, for graphs: ONNX has no weighted embedding bags, but fast matrix products.

    Samples along y first and along x last, so that values move in whole rows: runtimes are slow to transpose matrices
    of three-channel pixels.

    Args:
        images: ``(B, 3, P, P')``.
        x: positions of the samples, ``(B, N, fine)``, from 0 to P' - 1.
        y: likewise, from 0 to P - 1.
        samples, reach: see `_sampled`.
    """
    channels, width, size = images.shape[1], images.shape[3], x.shape[2] // samples
    low = _resampled(images.transpose(1, 2).flatten(2), y, samples, reach)  # [B, N, size, 3 * P']
    taps, weights = _taps(x.flatten(0, 1)[:, None], width, samples)  # [B * N, size, 2 * samples]
    weights = weights.to(low.dtype).transpose(1, 2)
    along_x = torch.zeros(weights.shape[0], width, size, dtype=low.dtype, device=low.device)
    along_x = along_x.scatter_add(1, taps.transpose(1, 2), weights)
    crops = along_x.shape[0]
    squares = low.reshape(crops, size * channels, width) @ along_x  # [B * N, size * 3, size]
    return squares.reshape(crops, size, channels, size).transpose(1, 2)


def _resampled(pictures: Tensor, positions: Tensor, samples: int, reach: float | None) -> Tensor:
    """Do the same as `_taps` and `_weighted_rows`, by products of small matrices with the few rows that they need.

    Args:
        pictures: ``(B, P, M)``.
        positions: ``(B, N, outputs · samples)``, from 0 to P - 1.
        samples: number of samples averaged into one output.
        reach: the largest share of P that evenly spaced positions span. Each block of them then needs only a few rows.

    Returns:
        ``(B, N, outputs, M)``.
    """
    length, size = pictures.shape[1], positions.shape[2] // samples
    even = reach is not None
    block = next(count for count in range(_BLOCK, 0, -1) if size % count == 0) if even else size
    seen = length if reach is None else min(length, math.ceil(block * length * reach / size) + 2)
    at = positions.reshape(*positions.shape[:2], -1, block * samples)  # [B, N, K, block · samples]
    first = at[..., :1].floor().clamp(max=length - seen) if even else torch.zeros_like(at[..., :1])
    taps = first + torch.arange(seen, device=at.device)  # [B, N, K, L]
    weights = (1 - (at[..., None] - taps[..., None, :]).abs()).clamp(min=0)
    weights = weights.reshape(*at.shape[:3], block, samples, seen).mean(4)  # [B, N, K, block, L]
    picture = torch.arange(pictures.shape[0], device=at.device)[:, None, None, None]
    rows = pictures.flatten(0, 1).index_select(0, (picture * length + taps.long()).flatten())
    rows = rows.reshape(*taps.shape, pictures.shape[2])  # [B, N, K, L, M]
    taken: Tensor = weights.to(rows.dtype) @ rows
    return taken.flatten(2, 3)


def whole_image_boxes(images: Tensor) -> Tensor:
    """Return the box ``(0, 0, P', P)`` of each image of ``(B, 3, P, P')``, float32 ``(B, 4)``."""
    height, width = images.shape[2:]
    # Filled on the device: a tensor created from numbers would be copied there, and the host would wait.
    boxes = torch.zeros(images.shape[0], 4, device=images.device)
    boxes[:, 2], boxes[:, 3] = width, height
    return boxes


def compose_boxes(inner: Tensor, outer: Tensor, size: int) -> Tensor:
    """Convert boxes from pixels of a crop to pixels of the image that the crop was cut from.

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
