"""Means and weights of channels, and their gradients, against the plain operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tlaam.models.channelwise import spatial_mean, weigh_channels

SHAPES = [(2, 5, 7, 3), (1, 1, 1, 1), (3, 16, 8, 8), (0, 4, 3, 3)]


def plain(x: Tensor, weight: Tensor) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    gates = (x.to(wide).mean((2, 3)) * weight).sigmoid()
    return x * gates[:, :, None, None].to(x.dtype)


def ours(x: Tensor, weight: Tensor) -> Tensor:
    return weigh_channels(x, (spatial_mean(x) * weight).sigmoid())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_values_and_gradients_are_the_plain_operations(
    shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = (torch.randn(shape).to(dtype) + 1).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(shape[1], dtype=torch.promote_types(dtype, torch.float32), requires_grad=True)
    upstream = torch.randn(shape).to(dtype)
    found = []
    for work in (ours, plain):
        y = work(x, weight)
        assert y.dtype == dtype and y.shape == x.shape
        found.append((y, *torch.autograd.grad(y, (x, weight), upstream)))
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 3e-2)
    for mine, expected in zip(*found, strict=True):
        assert mine.dtype == expected.dtype
        torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)


def test_gradients_can_be_differentiated() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x, weight))
    assert torch.autograd.gradgradcheck(ours, (x, weight))


def test_a_large_bfloat16_map_is_summed_in_float32() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 4, 200, 200).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    # 40,000 terms added in bfloat16 would come to a stop at 256.
    torch.testing.assert_close(spatial_mean(x).double(), x.double().mean((2, 3)), rtol=4e-3, atol=0.0)
    assert spatial_mean(x).dtype == torch.float32
