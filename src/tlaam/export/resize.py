"""Pillow's bilinear resize in tensor operations, exact to the grey level, for the input image in an exported graph.

ONNX has an antialiased Resize, but a runtime's result may differ from Pillow's by one level. A heat map cell near its
threshold, or a peak with a close rival, may then fall on the other side. This module therefore reproduces Pillow's
arithmetic: one axis after the other, rounded to 8 bits after each, with weights that are integer multiples of 2⁻²², so
that float64 represents every sum exactly.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

_UNITS = 1 << 22
"""The integer that represents a weight of 1 in Pillow's fixed-point arithmetic."""
_BLOCK = 16
"""Maximum number of output pixels per matrix product, each product using only the few input pixels they depend on."""


def resize_like_pillow(photos: Tensor, size: int) -> Tensor:
    """Squash photographs to square input images, like `tlaam.data.input_image.to_input`.

    Args:
        photos: uint8 RGB ``(B, H, W, 3)``, any H and W.
        size: side P of the input images.

    Returns:
        uint8 ``(B, 3, P, P)``.
    """
    height, width = photos.shape[1:3]
    # Since release 13, Pillow starts with the height if it shrinks by more than twice as many pixels as the width.
    rows_first = (height > size) & (height - size > 2 * (width - size))
    inputs: Tensor = torch.cond(
        rows_first,
        partial(_squash, size=size, rows_first=True),
        partial(_squash, size=size, rows_first=False),
        (photos,),
    )
    return inputs


def _squash(photos: Tensor, size: int, rows_first: bool) -> Tensor:
    """Resize uint8 ``(B, H, W, 3)`` to ``(B, 3, size, size)``, one axis after the other.

    Colour planes are processed separately, since runtimes transpose planes fast and three-byte pixels slowly.
    """
    planes = photos.permute(0, 3, 1, 2).flatten(0, 1)  # [B * 3, H, W]
    turned = planes if rows_first else planes.transpose(1, 2)
    once = _resample(turned, size).transpose(1, 2)  # bring the other axis to dim 1
    twice = _resample(once, size)  # [B * 3, P, P]
    return (twice.transpose(1, 2) if rows_first else twice).reshape(-1, 3, size, size).contiguous()


def _resample(pixels: Tensor, size: int) -> Tensor:
    """Resize uint8 ``(B, n, M)`` along dim 1 to uint8 ``(B, size, M)``."""
    length = pixels.shape[1]
    block = max(count for count in range(1, _BLOCK + 1) if size % count == 0)
    taps, weights = _weights(length, size, block, pixels.device)  # [N, L], [N, block, L]
    seen = pixels.index_select(1, taps.clamp(max=length - 1).flatten()).double()
    levels = weights @ seen.reshape(-1, taps.shape[0], taps.shape[1], pixels.shape[2])  # [B, N, block, M]
    return (levels + 0.5).to(torch.uint8).reshape(-1, size, pixels.shape[2])


def _weights(length: int, size: int, block: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return which of `length` pixels each block of outputs depends on, and their weights.

    Returns:
        Long indices ``(N, L)``, the last of which may lie beyond the end, and float64 weights ``(N, block, L)``, which
        are integer multiples of 2⁻²² and 0 beyond the end. The N blocks together have `size` outputs.
    """
    step = torch.arange(size, device=device, dtype=torch.float64)
    scale = torch.full_like(step[:1], length) / size  # a tensor, since the length may be symbolic
    support = scale.clamp(min=1)
    centres = ((step + 0.5) * scale).reshape(-1, block)  # [N, block], pixel coordinates, centres at + 0.5
    first = (centres[:, :1] - support + 0.5).floor().clamp(min=0).long()
    most = (block + 1) * length // size + 4  # an upper bound on the pixels under the filters of one block
    taps = first + torch.arange(most, device=device)  # [N, L]
    weights = (1 - ((taps[:, None] - centres[..., None] + 0.5) * (1 / support)).abs()).clamp(min=0)
    weights = torch.where(taps[:, None] < length, weights, 0)
    weights = weights / weights.sum(2, keepdim=True)
    return taps, (weights * _UNITS + 0.5).floor() / _UNITS
