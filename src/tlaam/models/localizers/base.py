"""The interface of every localiser of the object level."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tlaam.models.heatmaps import LinearHead


class Evidence(NamedTuple):
    """The results of one forward pass over B network inputs that a localiser can use.

    Attributes:
        features: A, the last feature map, ``(B, K, H, W)``.
        logits: logits computed from it, ``(B, C)``.
        classes: the class to explain, long ``(B,)``.
        head: the classifier after the last map.
        layer_maps: the map of `Localizer.layer`, ``(B, K', h, w)``, part of the graph; None if no layer is named.
        pyramid: maps of the last two resolutions, finer first (`Backbone.pyramid`); empty unless
            `Localizer.reads_pyramid`.
    """

    features: Tensor
    logits: Tensor
    classes: Tensor
    head: LinearHead
    layer_maps: Tensor | None = None
    pyramid: tuple[Tensor, ...] = ()


class Localization(NamedTuple):
    """Where the object is in each of B network inputs.

    Attributes:
        heatmaps: the maps that the boxes come from, ``(B, h, w)``, float32, non-negative, without gradient.
        boxes: ``(B, 4)`` xyxy in pixels of the network's input, x1/y1 exclusive, without gradient.
        foreground_logits: for a trainable localiser, what its loss compares with pseudo masks, ``(B, h, w)``.
    """

    heatmaps: Tensor
    boxes: Tensor
    foreground_logits: Tensor | None = None


class Localizer(nn.Module):
    """Base class of localisers: ``forward(evidence, size)`` boxes the object in each image of a batch.

    To add a localiser, write a subclass in its own file and register it (`tlaam.config.registry`).

    Attributes:
        layer: dotted name of a module of the timm network whose map it also uses, or None.
        needs_gradient: whether it differentiates the scores with respect to that map.
        reads_pyramid: whether it uses the maps of the last two resolutions.
        learns: whether it has its own loss, and so also runs in the epochs that train only the raw branch.
        zoom_steps: how many times the model zooms in; each step analyses the previous step's crop again.
    """

    layer: str | None = None
    needs_gradient: bool = False
    reads_pyramid: bool = False
    learns: bool = False

    def __init__(self, zoom_steps: int = 1) -> None:
        super().__init__()
        self.zoom_steps = zoom_steps

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return heat maps, and boxes in pixels of the ``size × size`` input."""
        raise NotImplementedError
