"""The interface of every channel attention module."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tlaam.models.channelwise import spatial_mean, weigh_channels

Gate = Literal["identity", "sigmoid"]


class ChannelAttention(nn.Module):
    """Base class: multiply each channel by a gate ω computed from all channels' spatial means y; the output is ω ⊙ x.

    Args:
        gate: ``identity`` is 2σ(·), exactly 1 while its input is 0; ``sigmoid`` is σ.
        channel_dim: axis of the channels in the input; 1 for ``(B, C, H, W)``, -1 for ``(B, H, W, C)``, ``(B, N, C)``.
    """

    def __init__(self, gate: Gate, channel_dim: int) -> None:
        super().__init__()
        self.gate, self.channel_dim = gate, channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return ω ⊙ x, in x's shape: ``(B, C, H, W)``, or ``(B, …, C)`` with ``channel_dim=-1``."""
        device = x.device.type
        if torch.is_autocast_enabled(device):
            # Gates are computed in full precision, for which autocast would copy the whole map.
            with torch.autocast(device, enabled=False):
                return self._attended(x)
        return self._attended(x)

    def _attended(self, x: Tensor) -> Tensor:
        if self.channel_dim == 1 and x.ndim == 4:
            return weigh_channels(x, self.gates(spatial_mean(x)))
        spatial = tuple(range(2, x.ndim)) if self.channel_dim == 1 else tuple(range(1, x.ndim - 1))
        means = x.mean(spatial, dtype=torch.promote_types(x.dtype, torch.float32))
        gates = self.gates(means).to(x.dtype)  # maps stay in their precision
        shape = [x.shape[0]] + [1] * (x.ndim - 1)
        shape[self.channel_dim] = gates.shape[1]
        return x * gates.reshape(shape)

    def gates(self, y: Tensor) -> Tensor:
        """Return ω ``(B, C)`` for channel means y ``(B, C)``."""
        gates = self.responses(y).sigmoid()
        return 2 * gates if self.gate == "identity" else gates

    def responses(self, y: Tensor) -> Tensor:
        """Return the input of the gate's sigmoid, ``(B, C)``, for channel means y ``(B, C)``."""
        raise NotImplementedError
