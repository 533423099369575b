"""The trivial localisers that every other has to beat: the same box in every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tlaam.model.localizer import Evidence, Localization, Localizer

if TYPE_CHECKING:
    from tlaam.config import ModelConfig
    from tlaam.model.backbone import Backbone

CENTER_SHARE = 0.7
"""Side of the central box as a share of the image's (SPEC §7)."""

FIXED_BOXES = {"full": 1.0, "center": CENTER_SHARE}
"""The names of these localisers among the settings, and the boxes' sides as shares of the image's."""


class FixedBox(Localizer):
    """A centred box, whatever the image shows; it looks at nothing.

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


def make_center(config: ModelConfig, backbone: Backbone) -> FixedBox:
    """Make the central box by settings."""
    return FixedBox(FIXED_BOXES["center"], zoom_steps=config.zoom_steps)


def make_full(config: ModelConfig, backbone: Backbone) -> FixedBox:
    """Make the full image's box by settings."""
    return FixedBox(FIXED_BOXES["full"], zoom_steps=config.zoom_steps)
