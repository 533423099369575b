"""What every localiser of the object level is given, and what it answers with."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tlaam.models.heatmaps import LinearHead


class Evidence(NamedTuple):
    """What one forward pass over B network inputs leaves for a localiser to look at.

    Attributes:
        features: A, the last feature map, ``(B, K, H, W)``.
        logits: scores that came from it, ``(B, C)``.
        classes: the class to explain, long ``(B,)``.
        head: the classifier behind the last map.
        layer_maps: the map of `Localizer.layer`, ``(B, K', h, w)``, part of the graph; None where it names none.
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
        heatmaps: what the boxes were read from, ``(B, h, w)``, float32, not negative, without gradient.
        boxes: ``(B, 4)`` xyxy in pixels of the network's input, x1/y1 exclusive, without gradient.
        foreground_logits: of a localiser that learns, what its loss compares with pseudo masks, ``(B, h, w)``.
    """

    heatmaps: Tensor
    boxes: Tensor
    foreground_logits: Tensor | None = None


class Localizer(nn.Module):
    """Base of the localisers: ``forward(evidence, size)`` boxes the object of each image of a batch.

    A new localiser is a subclass in a file of its own and its registration
    (`tlaam.config.registry`).

    Attributes:
        layer: dotted name of a module of the timm network whose map it also looks at, or None.
        needs_gradient: whether it differentiates the scores by that map.
        reads_pyramid: whether it looks at the maps of the last two resolutions.
        learns: whether it has a loss of its own, and so also runs in the epochs that train the raw branch only.
        zoom_steps: how many times the model zooms in; each step looks at the last step's crop anew.
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
