"""Parts at random: what windows are worth that look nowhere in particular."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tlaam.models.parts.base import PartProposer
from tlaam.models.parts.mpalm import pyramid_windows


class RandomWindows(PartProposer):
    """As many windows of the same sizes as `MPALM` proposes, around random places instead of channels' peaks.

    While training the places are drawn anew for each image; otherwise they are the same ones in every image, drawn when
    the model was made and kept with its weights, so that an answer can be repeated.

    Args:
        places: how many places an image; each gets a window of every size.
        windows: window sides as shares of the object image's side.
    """

    centres: Tensor

    def __init__(self, places: int = 2, windows: Sequence[float] = (0.5, 0.75)) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.register_buffer("centres", torch.rand(places, 2))  # [N, 2] xy, shares of the side

    @property
    def count(self) -> int:
        """Number of part boxes an image."""
        return len(self.centres) * len(self.windows)

    @property
    def reach(self) -> float:
        """The longest part's side as a share of the object image's."""
        return max(self.windows)

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Return boxes ``(B, count, 4)`` xyxy in pixels of the ``size × size`` image of features ``(B, K, H, W)``."""
        centres = self.centres.expand(features.shape[0], -1, -1)
        if self.training:
            centres = torch.rand_like(centres)
        return pyramid_windows(centres * size, self.windows, size)
