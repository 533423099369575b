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
        ``(B * N, 3, size, size)``, images' dtype, box n of image b at row ``b * N + n``. No gradient to the boxes.
    """
    height, width = images.shape[2:]
    samples = max(1, math.ceil(max(height, width) * reach / size - 1e-6))
    exact = torch.promote_types(images.dtype, torch.float32)
    steps = (torch.arange(size * samples, device=images.device, dtype=exact) + 0.5) / (size * samples)
    x0, y0, x1, y1 = boxes.detach().to(exact).unbind(-1)  # (B, N) each
    x = x0[..., None] + (x1 - x0)[..., None] * steps  # (B, N, size * samples), pixel coordinates with centres at +0.5
    y = y0[..., None] + (y1 - y0)[..., None] * steps
    return _sampled(images, x / width, y / height, samples)


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
    return _sampled(images, _between(x, samples)[:, None], _between(y, samples)[:, None], samples)


def _between(positions: Tensor, samples: int) -> Tensor:
    """Return `samples` positions ``(B, size · samples)`` around each of ``(B, size)``, half way to its neighbours."""
    middles = (positions[:, 1:] + positions[:, :-1]) / 2
    first, last = 2 * positions[:, :1] - middles[:, :1], 2 * positions[:, -1:] - middles[:, -1:]
    edges = torch.cat([first, middles, last], dim=1)[..., None]  # [B, size + 1, 1]
    steps = (torch.arange(samples, device=positions.device) + 0.5) / samples
    return (edges[:, :-1] + (edges[:, 1:] - edges[:, :-1]) * steps).flatten(1)


def _sampled(images: Tensor, x: Tensor, y: Tensor, samples: int) -> Tensor:
    """Sample bilinearly at crossings of x and y ``(B, N, fine)``, shares of the sides, and average samples × samples.

    Returns:
        ``(B * N, 3, fine / samples, fine / samples)``, images' dtype.
    """
    batch, channels = images.shape[:2]
    count, fine = x.shape[1:]
    # grid_sample's coordinates: -1 and 1 are the outer edges of the first and last pixel (align_corners=False).
    grid = torch.stack(
        [
            (2 * x - 1)[:, :, None, :].expand(batch, count, fine, fine),
            (2 * y - 1)[:, :, :, None].expand(batch, count, fine, fine),
        ],
        dim=-1,
    ).reshape(batch, count * fine, fine, 2)  # an image's boxes below each other: one call for all of them
    out = functional.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    out = out.reshape(batch, channels, count, fine, fine).transpose(1, 2).reshape(batch * count, channels, fine, fine)
    return functional.avg_pool2d(out, samples) if samples > 1 else out


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
