"""LCAM, the local cross-channel attention module (docs/how-it-works.md, 5), with ECA as its special case."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.errors import ModelError
from tlaam.models.attention.base import ChannelAttention, Gate


def neighbourhood(channels: int) -> int:
    """Return ECA's odd neighbourhood size t = |log2(C)/2 + 1/2|_odd (Wang et al. 2020, arXiv 1910.03151)."""
    t = int(abs(math.log2(channels) / 2 + 0.5))
    return t if t % 2 else t + 1


class LCAM(ChannelAttention):
    """Weight each channel by the responses of its t neighbours in channel order (docs/how-it-works.md, 5).

        ω_i = σ( Σ_{j∈Ω_t(i)} w_i^j y_j ),  y the spatial mean; the output is ω ⊙ x

    The band matrix W_t is stored as its t·C entries and applied as a depthwise convolution over the unfolded
    neighbourhood; beyond the first and last channel, y is taken as 0.

    Args:
        channels: C.
        kernel: t, odd; by default `neighbourhood(channels)`.
        shared: one set of t weights for all channels, which is ECA (Wang et al. 2020).
        gate: ``identity`` is 2σ(·) with weights initialised to 0, so that the gate is exactly 1 at first and pretrained
            features are unchanged; ``sigmoid`` is the paper's σ with a convolution's usual random initialisation.
        channel_dim: see `ChannelAttention`.

    Raises:
        ModelError: `kernel` is even.
    """

    def __init__(
        self,
        channels: int,
        kernel: int | None = None,
        *,
        shared: bool = False,
        gate: Gate = "identity",
        channel_dim: int = 1,
    ) -> None:
        super().__init__(gate, channel_dim)
        kernel = neighbourhood(channels) if kernel is None else kernel
        if kernel % 2 == 0:
            raise ModelError(f"attention_kernel is {kernel}; it must be odd, as many on each side.")
        self.kernel = kernel
        self.weight = nn.Parameter(torch.zeros(1 if shared else channels, kernel))
        if gate == "sigmoid":
            nn.init.uniform_(self.weight, -(kernel**-0.5), kernel**-0.5)

    def responses(self, y: Tensor) -> Tensor:
        """Return W_t y ``(B, C)`` for channel means y ``(B, C)``."""
        half = self.kernel // 2
        neighbours = functional.pad(y, (half, half)).unfold(1, self.kernel, 1)  # (B, C, t)
        return (neighbours * self.weight).sum(2)

    def extra_repr(self) -> str:
        """Return the settings that the module shows when printed."""
        return f"weight={tuple(self.weight.shape)}, gate={self.gate}"


class ECA(LCAM):
    """Efficient channel attention (Wang et al. 2020, arXiv 1910.03151): `LCAM` with weights shared by all channels.

    Args:
        channels, kernel, gate, channel_dim: see `LCAM`.
    """

    def __init__(
        self, channels: int, kernel: int | None = None, *, gate: Gate = "identity", channel_dim: int = 1
    ) -> None:
        super().__init__(channels, kernel, shared=True, gate=gate, channel_dim=channel_dim)
