"""SCDA, selective convolutional descriptor aggregation (Wei et al. 2017, arXiv 1604.04994): object and descriptor.

    A_ij = Σ_k f_k,ij;   M_ij = 1 where A_ij > mean(A);   mask = largest 8-connected component of M

The box is the mask's. The paper's descriptor for image retrieval pools only the features under the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tlaam.models.heatmaps import at_least_float32
from tlaam.models.localization import mask_boxes
from tlaam.models.localizers.aolm import aolm_masks, channel_sum
from tlaam.models.localizers.base import Evidence, Localization, Localizer


class SCDA(Localizer):
    """Box the largest region with above-average activation; the heat map is the channel sum."""

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return channel sums, with negative ones set to 0, and boxes in pixels of the ``size × size`` input."""
        with torch.no_grad():
            boxes = mask_boxes(scda_masks(evidence.features), (size, size))
            return Localization(channel_sum(evidence.features).relu().float(), boxes)


def scda_masks(features: Tensor) -> Tensor:
    """Mask the object in features ``(B, K, H, W)``: bool ``(B, H, W)``, all False where the map is flat."""
    return aolm_masks(features, None)


def scda_descriptor(features: Tensor) -> Tensor:
    """Return the paper's descriptor for retrieval: mean and maximum of the selected cells' features.

    Args:
        features: ``(B, K, H, W)``.

    Returns:
        ``(B, 2K)``, in at least float32: the mean, then the maximum, each with L2 norm 1 (0 if the features are 0). For
        a flat map, which selects nothing, all cells are pooled.
    """
    with torch.no_grad():
        features = at_least_float32(features.detach())
        masks = scda_masks(features)
        masks = masks | ~masks.any(2).any(1)[:, None, None]
        selected = masks[:, None]  # [B, 1, H, W]
        mean = (features * selected).sum((2, 3)) / selected.sum((2, 3))
        largest = features.masked_fill(~selected, -torch.inf).amax((2, 3))
        return torch.cat([functional.normalize(mean), functional.normalize(largest)], dim=1)
