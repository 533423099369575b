"""Random parts: a baseline that shows what windows without attention are worth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tlaam.models.parts.base import PartProposer
from tlaam.models.parts.mpalm import pyramid_windows


class RandomWindows(PartProposer):
    """As many windows of the same sizes as `MPALM` proposes, around random positions instead of the channels' peaks.

    During training, the positions are drawn anew for each image. Otherwise they are the same in every image: drawn when
    the model is created and stored with its weights, so that predictions are reproducible.

    Args:
        places: number of positions per image; each gets a window of every size.
        windows: window sides as shares of the object image's side.
    """

    centres: Tensor

    def __init__(self, places: int = 2, windows: Sequence[float] = (0.5, 0.75)) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.register_buffer("centres", torch.rand(places, 2))  # [N, 2] xy, shares of the side

    @property
    def count(self) -> int:
        """Number of part boxes per image."""
        return len(self.centres) * len(self.windows)

    @property
    def reach(self) -> float:
        """Side of the largest part as a share of the object image's."""
        return max(self.windows)

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Return boxes ``(B, count, 4)`` xyxy in pixels of the ``size × size`` image of features ``(B, K, H, W)``."""
        centres = self.centres.expand(features.shape[0], -1, -1)
        if self.training:
            centres = torch.rand_like(centres)
        return pyramid_windows(centres * size, self.windows, size)
