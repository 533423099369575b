"""OAAM, the object attention activation module: locates the object by the gradient of the class score.

See docs/how-it-works.md, 2.
"""

from __future__ import annotations

import torch

from tlaam.models.heatmaps import autograd_heatmap, object_heatmap
from tlaam.models.localization import ThresholdRule, heatmap_boxes
from tlaam.models.localizers.base import Evidence, Localization, Localizer


class OAAM(Localizer):
    """Explain a class score by a heat map, and box the heat map's largest component.

    Args:
        layer: module of the timm network whose map is explained, by autograd; by default the last map, for which the
            closed form holds.
        threshold, rule, upsample: see `tlaam.models.localization.heatmap_boxes`.
        zoom_steps: how many times the model zooms in; each step explains the previous step's crop again.
    """

    needs_gradient = True

    def __init__(
        self,
        layer: str | None = None,
        *,
        threshold: float,
        rule: ThresholdRule = "mean",
        upsample: int,
        zoom_steps: int = 1,
    ) -> None:
        super().__init__(zoom_steps)
        self.layer = layer
        self.threshold, self.rule, self.upsample = threshold, rule, upsample

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return heat maps of the evidence's classes, and boxes in pixels of the ``size × size`` input."""
        if evidence.layer_maps is None:
            heatmaps = object_heatmap(evidence.features, evidence.classes, evidence.head)
        else:
            heatmaps = autograd_heatmap(
                evidence.layer_maps, evidence.logits, evidence.classes, retain_graph=torch.is_grad_enabled()
            )
        boxes = heatmap_boxes(heatmaps, (size, size), threshold=self.threshold, rule=self.rule, upsample=self.upsample)
        return Localization(heatmaps, boxes)
