"""SE, squeeze and excitation: channel attention through a bottleneck."""

from __future__ import annotations

from torch import Tensor, nn

from tlaam.models.attention.base import ChannelAttention, Gate


class SE(ChannelAttention):
    """Squeeze and excitation (Hu et al. 2018, arXiv 1709.01507): ω = σ( W₂ ReLU( W₁ y ) ), with C / 16 hidden units.

    Narrow layers keep 8 hidden units, since only one or two might be dead from the start.

    Args:
        channels: C.
        gate: ``identity`` is 2σ(·) with W₂ initialised to 0, so that pretrained features are unchanged at first;
            ``sigmoid`` is the paper's σ with the layers' usual random initialisation.
        channel_dim: see `ChannelAttention`.
    """

    reduction = 16

    def __init__(self, channels: int, *, gate: Gate = "identity", channel_dim: int = 1) -> None:
        super().__init__(gate, channel_dim)
        self.squeeze = nn.Linear(channels, max(8, channels // self.reduction))
        self.excite = nn.Linear(self.squeeze.out_features, channels)
        if gate == "identity":
            nn.init.zeros_(self.excite.weight)
            nn.init.zeros_(self.excite.bias)

    def responses(self, y: Tensor) -> Tensor:
        """Return W₂ ReLU(W₁ y) ``(B, C)`` for channel means y ``(B, C)``."""
        excited: Tensor = self.excite(self.squeeze(y).relu())
        return excited
