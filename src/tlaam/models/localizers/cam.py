"""CAM, Grad-CAM and Grad-CAM++ as localisers: a class's heat map, thresholded as by the authors of each method.

With A the explained feature map, g = ∂Y^c/∂A and V the classifier:

    CAM         L_ij = ReLU( Σ_k V_ck · A_ij^k )                  Zhou et al. 2016, arXiv 1512.04150
    Grad-CAM    L_ij = ReLU( Σ_k mean_ij(g^k) · A_ij^k )          Selvaraju et al. 2017, arXiv 1610.02391
    Grad-CAM++  L_ij = ReLU( Σ_k Σ_ab α_ab^k ReLU(g_ab^k) · A_ij^k )   Chattopadhay et al. 2018, arXiv 1710.11063

Grad-CAM++ differentiates exp(Y^c), which multiplies OAAM's map (`tlaam.models.heatmaps`) by exp(Y^c) and so makes no
difference to a relative threshold. OAAM differs from Grad-CAM++ in its threshold, the map's mean. On the last map,
which feeds global average pooling and one linear layer, g is V/(HW) everywhere and Grad-CAM is CAM divided by HW.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tlaam.models.heatmaps import at_least_float32, class_gradient
from tlaam.models.localization import heatmap_boxes
from tlaam.models.localizers.base import Evidence, Localization, Localizer
from tlaam.models.localizers.oaam import OAAM


class CAM(Localizer):
    """Box the region where the classifier's own weights place the class; always on the last map.

    Args:
        threshold: fraction of the map's maximum; the paper uses 0.2.
        upsample: factor of bilinear upsampling before the threshold.
        zoom_steps: how many times the model zooms in.
    """

    def __init__(self, *, threshold: float, upsample: int, zoom_steps: int = 1) -> None:
        super().__init__(zoom_steps)
        self.threshold, self.upsample = threshold, upsample

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return class activation maps, and boxes in pixels of the ``size × size`` input."""
        heatmaps = cam_heatmap(evidence.features, evidence.classes, evidence.head.weight)
        boxes = heatmap_boxes(heatmaps, (size, size), threshold=self.threshold, rule="max", upsample=self.upsample)
        return Localization(heatmaps, boxes)


class GradCAM(Localizer):
    """Box the region where the features that raise the class's score on average are active.

    Args:
        layer: module of the timm network whose map is explained, by autograd; by default the last map, in closed form.
        threshold: fraction of the map's maximum; the paper uses 0.15.
        upsample: factor of bilinear upsampling before the threshold.
        zoom_steps: how many times the model zooms in.
    """

    needs_gradient = True

    def __init__(self, layer: str | None = None, *, threshold: float, upsample: int, zoom_steps: int = 1) -> None:
        super().__init__(zoom_steps)
        self.layer = layer
        self.threshold, self.upsample = threshold, upsample

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return heat maps of the evidence's classes, and boxes in pixels of the ``size × size`` input."""
        if evidence.layer_maps is None:
            cells = evidence.features.shape[2] * evidence.features.shape[3]
            heatmaps = cam_heatmap(evidence.features, evidence.classes, evidence.head.weight) / cells
        else:
            gradient = class_gradient(
                evidence.layer_maps, evidence.logits, evidence.classes, retain_graph=torch.is_grad_enabled()
            )
            heatmaps = gradcam_heatmap(evidence.layer_maps, gradient)
        boxes = heatmap_boxes(heatmaps, (size, size), threshold=self.threshold, rule="max", upsample=self.upsample)
        return Localization(heatmaps, boxes)


class GradCAMPlusPlus(OAAM):
    """OAAM's map with the threshold of the Grad-CAM++ paper's evaluation.

    Args:
        layer: see `GradCAM`.
        threshold: fraction of the map's maximum; the paper tries 0, 0.25 and 0.5.
        upsample: factor of bilinear upsampling before the threshold.
        zoom_steps: how many times the model zooms in.
    """

    def __init__(self, layer: str | None = None, *, threshold: float, upsample: int, zoom_steps: int = 1) -> None:
        super().__init__(layer, threshold=threshold, rule="max", upsample=upsample, zoom_steps=zoom_steps)


def cam_heatmap(features: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
    """Return the class activation map.

    Args:
        features: A, ``(B, K, H, W)``, the input of global average pooling and the linear layer `weight`.
        classes: class index c of each image, long ``(B,)``.
        weight: V, ``(C, K)``.

    Returns:
        L, ``(B, H, W)``, non-negative, without gradient, in at least float32, also under autocast.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        features = at_least_float32(features.detach())
        return torch.einsum("bk,bkhw->bhw", weight.detach().to(features.dtype)[classes], features).relu()


def gradcam_heatmap(features: Tensor, gradient: Tensor) -> Tensor:
    """Return Grad-CAM's map from features and a class score's gradient with respect to them, both ``(B, K, H, W)``.

    Returns:
        L, ``(B, H, W)``, non-negative, without gradient, in at least float32, also under autocast.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        features = at_least_float32(features.detach())
        return torch.einsum("bk,bkhw->bhw", at_least_float32(gradient).mean((2, 3)), features).relu()
