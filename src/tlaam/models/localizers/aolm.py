"""AOLM, MMAL-Net's attention object location module (Zhang et al. 2021, arXiv 2003.09150): boxes by activation.

With f_k a channel of a feature map and f' the map one block earlier (conv5_c and conv5_b of the paper's ResNet-50):

    A_ij = Σ_k f_k,ij,   ã = Σ_ij A_ij / (HW)
    M_ij = 1 where A_ij > ã, else 0
    mask = largest 8-connected component of M ∩ M'

The box is that of the whole intersection, whether or not it is connected; where it is empty, the whole image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from tlaam.models.localization import heatmap_mask, largest_component, mask_boxes
from tlaam.models.localizers.base import Evidence, Localization, Localizer

if TYPE_CHECKING:
    from typing_extensions import Self

    from tlaam.models.backbone import Backbone


class AOLM(Localizer):
    """Box the region that two successive blocks both activate; the heat map is the last one's channel sum.

    Args:
        layer: module of the timm network one block before the last map (`Backbone.earlier_block`).
        zoom_steps: how many times the model zooms in.
    """

    def __init__(self, layer: str | None, *, zoom_steps: int = 1) -> None:
        super().__init__(zoom_steps)
        self.layer = layer

    @classmethod
    def for_backbone(cls, backbone: Backbone, **arguments: Any) -> Self:
        """Create a localiser for a backbone's last block and the one before it."""
        return cls(backbone.earlier_block(), **arguments)

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return channel sums, with negative ones set to 0, and boxes in pixels of the ``size × size`` input."""
        with torch.no_grad():
            boxes = aolm_boxes(evidence.features, evidence.layer_maps, (size, size))
            return Localization(channel_sum(evidence.features).relu().float(), boxes)


def channel_sum(features: Tensor) -> Tensor:
    """Sum features ``(B, K, H, W)`` over channels: A, ``(B, H, W)``, without gradient, in at least float32."""
    return features.detach().sum(1, dtype=torch.promote_types(features.dtype, torch.float32))


def aolm_masks(last: Tensor, earlier: Tensor | None) -> Tensor:
    """Mask the object: the last map's largest component, where the earlier map is above its own mean too.

    Args:
        last: the backbone's last feature map, ``(B, K, H, W)``.
        earlier: the map one block earlier, ``(B, K', H', W')``; if its resolution differs, its mask is resized by
            nearest neighbour. With None, the component alone is returned.

    Returns:
        bool ``(B, H, W)``; all False if both have nothing in common, or either map is flat.
    """
    component = largest_component(_above_mean(last))
    return component if earlier is None else component & _resize_nearest(_above_mean(earlier), component.shape[1:])


def aolm_boxes(last: Tensor, earlier: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Return the object's box: the tight box of `aolm_masks` around all of the mask's components.

    Args:
        last: see `aolm_masks`.
        earlier: see `aolm_masks`.
        size: ``(height, width)`` in pixels of the image that the maps cover.

    Returns:
        float32 ``(B, 4)`` xyxy, x1/y1 exclusive; the whole image if the mask is empty.
    """
    return mask_boxes(aolm_masks(last, earlier), size)


def _above_mean(features: Tensor) -> Tensor:
    """Mask ``(B, H, W)`` the cells whose channel sum is above its spatial mean; sums that are not finite count as 0."""
    heatmaps = channel_sum(features)
    heatmaps = torch.where(heatmaps.isfinite(), heatmaps, 0)
    # The smallest cell can exceed the mean only by rounding. Without this condition, a flat map would mask all cells or
    # none by chance, and the intersection would be the other map's mask or empty.
    return heatmap_mask(heatmaps) & (heatmaps > heatmaps.amin((1, 2), keepdim=True))


def _resize_nearest(masks: Tensor, size: torch.Size) -> Tensor:
    """Resize masks ``(B, H', W')`` to ``(height, width)``."""
    if masks.shape[1:] == size:
        return masks
    return functional.interpolate(masks[:, None].float(), size=tuple(size), mode="nearest")[:, 0] > 0.5
