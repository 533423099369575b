"""The trivial localisers that every other one has to beat: the same box in every image."""

from __future__ import annotations

import torch
from torch import Tensor

from tlaam.models.localizers.base import Evidence, Localization, Localizer

CENTER_SHARE = 0.7
"""Side of the central box as a share of the image's (docs/json.md)."""

FIXED_BOXES = {"full": 1.0, "center": CENTER_SHARE}
"""The names of these localisers in the settings, and the boxes' sides as shares of the image's."""


class FixedBox(Localizer):
    """A centred box that does not depend on the image.

    Args:
        share: its sides as shares of the image's; 1 is the whole image.
        zoom_steps: how many times the model zooms in.
    """

    def __init__(self, share: float = 1.0, *, zoom_steps: int = 1) -> None:
        super().__init__(zoom_steps)
        self.share = share

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return maps that are 1 where a cell's centre lies in the box, else 0, and the boxes."""
        batch, _, height, width = evidence.features.shape
        inside = self._inside(height, evidence.features)[:, None] & self._inside(width, evidence.features)
        margin = (1 - self.share) / 2
        boxes = torch.full((batch, 4), margin * size, device=evidence.features.device)
        boxes[:, 2:] = (1 - margin) * size
        return Localization(inside.float().expand(batch, -1, -1), boxes)

    def _inside(self, cells: int, like: Tensor) -> Tensor:
        centres = (torch.arange(cells, device=like.device) + 0.5) / cells
        return (centres - 0.5).abs() <= self.share / 2


class CenterBox(FixedBox):
    """The central box, `CENTER_SHARE` of the image's sides.

    Args:
        zoom_steps: see `FixedBox`.
    """

    def __init__(self, *, zoom_steps: int = 1) -> None:
        super().__init__(FIXED_BOXES["center"], zoom_steps=zoom_steps)


class FullBox(FixedBox):
    """The whole image.

    Args:
        zoom_steps: see `FixedBox`.
    """

    def __init__(self, *, zoom_steps: int = 1) -> None:
        super().__init__(FIXED_BOXES["full"], zoom_steps=zoom_steps)
