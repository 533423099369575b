"""The operations of channel attention on whole feature maps: the mean of each channel, and a weight for each.

Both are simple, but both read the whole map, so on a CPU they can cost as much as convolutions: PyTorch sums reduced
precision through a float32 copy, and writes out the gradient of a mean for every position. These functions do the same
arithmetic without such copies. In a graph (`torch.compile`, export) they are the plain operations, which a compiler
fuses by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def spatial_mean(x: Tensor) -> Tensor:
    """Return the mean of each channel of ``(B, C, H, W)`` over all positions, ``(B, C)``, in at least float32.

    On a CPU, the mean of a bfloat16 map is summed in float32 and rounded to bfloat16 once.
    """
    if torch.compiler.is_compiling():
        return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
    means: Tensor = _SpatialMean.apply(x)
    return means


def weigh_channels(x: Tensor, weights: Tensor) -> Tensor:
    """Multiply each channel of a map by its weight, in the map's precision.

    Args:
        x: ``(B, C, H, W)``.
        weights: ``(B, C)``.
    """
    if torch.compiler.is_compiling():
        return _weighed(x, weights)
    weighed: Tensor = _WeighChannels.apply(x, weights)
    return weighed


class _SpatialMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        places = ctx.shape[2] * ctx.shape[3]
        # A view of (B, C) numbers: no tensor of the map's size is allocated.
        each: Tensor = (gradient / places).to(ctx.dtype)[:, :, None, None].expand(ctx.shape)
        return each


class _WeighChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights)
        return _weighed(x, weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weights = ctx.saved_tensors
        of_x = _weighed(gradient, weights) if ctx.needs_input_grad[0] else None
        places = x.shape[2] * x.shape[3]
        of_weights = (_mean(gradient * x) * places).to(weights.dtype) if ctx.needs_input_grad[1] else None
        return of_x, of_weights


def _weighed(x: Tensor, weights: Tensor) -> Tensor:
    return x * weights.to(x.dtype)[:, :, None, None]


def _mean(x: Tensor) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.device.type == "cpu" and x.dtype != wide and x.numel():
        return functional.avg_pool2d(x, (x.shape[2], x.shape[3])).flatten(1).to(wide)  # sums in float32
    return x.mean((2, 3), dtype=wide)
