"""What is exported: from a photograph's pixels to answers in its pixels, all of it tensor arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlaam.export.resize import resize_like_pillow
from tlaam.model.architecture import Architecture


class PhotoModel(nn.Module):
    """A network that takes photographs as they were decoded.

    Args:
        network: in evaluation mode.
        source_size: side P of the canvas that photographs are squashed to.
    """

    def __init__(self, network: Architecture, source_size: int) -> None:
        super().__init__()
        self.network, self.source_size = network, source_size

    def forward(self, photos: Tensor) -> dict[str, Tensor]:
        """Answer for a batch of photographs of one size.

        Args:
            photos: uint8 RGB ``(B, H, W, 3)``, upright.

        Returns:
            By name, those that the model has: ``probabilities`` ``(B, C)``, the fused ones; ``raw_probabilities``,
            ``object_probabilities`` and ``parts_probabilities`` ``(B, C)``; ``heatmaps`` ``(B, h, w)``, not
            normalised, over the whole photograph; ``object_boxes`` ``(B, 4)`` and ``part_boxes`` ``(B, N, 4)``, xyxy
            in pixels of the photograph, x1/y1 exclusive. All float32.
        """
        output = self.network(resize_like_pillow(photos, self.source_size))
        branches = {f"{name}_probabilities": rows for name, rows in output.branch_probabilities().items()}
        answers = {"probabilities": branches.pop("fused_probabilities"), **branches}
        if output.heatmaps is not None:
            answers["heatmaps"] = output.heatmaps
        scale = _sides_of(photos) / self.source_size
        if output.object_boxes is not None:
            answers["object_boxes"] = output.object_boxes * scale
        if output.part_boxes is not None:
            answers["part_boxes"] = output.part_boxes * scale
        return {name: values.float() for name, values in answers.items()}


def _sides_of(photos: Tensor) -> Tensor:
    """Return ``(W, H, W, H)`` of photographs ``(B, H, W, 3)``, float32, of sides that may be symbols."""
    height, width = photos.shape[1:3]
    one = torch.ones(1, device=photos.device)
    return torch.cat([one * width, one * height, one * width, one * height])
