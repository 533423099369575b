"""OAAM, the object attention activation module (SPEC §2): where the object is, from the class score's gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlaam.model.heatmaps import LinearHead, autograd_heatmap, object_heatmap
from tlaam.model.localization import ThresholdRule, heatmap_boxes


class OAAM(nn.Module):
    """Explain a class score by a heat map, and box the heat map's largest component.

    Args:
        layer: module of the timm network whose map is explained, taken by autograd; by itself the last map, where
            the closed form holds.
        threshold, rule, upsample, margin: see `tlaam.model.localization.heatmap_boxes`.
        zoom_steps: how many times the model zooms in; each step explains the last step's crop anew.
    """

    def __init__(
        self,
        layer: str | None = None,
        *,
        threshold: float = 1.0,
        rule: ThresholdRule = "mean",
        upsample: int = 1,
        margin: float = 0.0,
        zoom_steps: int = 1,
    ) -> None:
        super().__init__()
        self.layer, self.zoom_steps = layer, zoom_steps
        self.threshold, self.rule, self.upsample, self.margin = threshold, rule, upsample, margin

    def forward(self, maps: Tensor, logits: Tensor, classes: Tensor, head: LinearHead) -> Tensor:
        """Return heat maps ``(B, h, w)`` of the classes ``(B,)``.

        Args:
            maps: the explained layer's maps, ``(B, K, h, w)``.
            logits: scores that came from these maps, ``(B, C)``.
            classes: class index of each image.
            head: the classifier behind the last map.
        """
        if self.layer is None:
            return object_heatmap(maps, classes, head)
        return autograd_heatmap(maps, logits, classes, retain_graph=torch.is_grad_enabled())

    def boxes(self, heatmaps: Tensor, size: int) -> Tensor:
        """Return boxes ``(B, 4)`` xyxy in pixels of the ``size × size`` image that the maps cover."""
        return heatmap_boxes(
            heatmaps,
            (size, size),
            threshold=self.threshold,
            rule=self.rule,
            upsample=self.upsample,
            margin=self.margin,
        )
