"""A trainable localiser: a small head predicts the foreground from the maps that the raw branch computes anyway.

The last map is too coarse to box an object well, and OAAM's heat map peaks on what distinguishes classes, which is
seldom the whole object. This head predicts the probability that a cell belongs to the object. It learns from pseudo
masks that `tlaam.models.localizers.pseudo_masks` computes for the training images, without boxes or labels, in the
spirit of PSOL (Zhang et al. 2020, arXiv 2002.11359): the slow teacher runs once, the student in the raw branch's pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.backbone import pyramid_channels
from tlaam.models.components import Components, map_components
from tlaam.models.localization import heatmap_boxes
from tlaam.models.localizers.base import Evidence, Localization, Localizer

if TYPE_CHECKING:
    from typing_extensions import Self

    from tlaam.models.backbone import Backbone

WIDTH = 64
_THRESHOLD = 0.25


class Foreground(Localizer):
    """Predict the foreground, and box its largest component.

    Args:
        channels: numbers of channels of the backbone's pyramid maps, finer first.
        threshold: probability above which a cell is foreground; with None it is chosen in training
            (`tlaam.training.finder`) and is a quarter until then.
        upsample: factor of bilinear upsampling of the probabilities before the threshold.
        zoom_steps: how many times the model zooms in.
    """

    reads_pyramid = True
    learns = True
    threshold: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        *,
        threshold: float | None = None,
        upsample: int,
        zoom_steps: int = 1,
    ) -> None:
        super().__init__(zoom_steps)
        self.upsample, self.chooses_threshold = upsample, threshold is None
        # Saved with the weights, which it belongs to: another training run has another threshold.
        self.register_buffer("threshold", torch.tensor(_THRESHOLD if threshold is None else threshold))
        self.norms = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in channels)
        self.projections = nn.ModuleList(nn.Conv2d(count, WIDTH, 1) for count in channels)
        self.context = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.score = nn.Conv2d(WIDTH, 1, 1)

    @classmethod
    def for_backbone(cls, backbone: Backbone, **arguments: Any) -> Self:
        """Create a localiser for a backbone's pyramid."""
        return cls(pyramid_channels(backbone, backbone.image_size), **arguments)

    def forward(self, evidence: Evidence, size: int) -> Localization:
        """Return foreground probabilities on the finest map's grid, and boxes in pixels of the input."""
        logits = self.foreground_logits(evidence.pyramid)
        with torch.no_grad():
            heatmaps = logits.detach().sigmoid()
            boxes = heatmap_boxes(
                heatmaps, (size, size), threshold=self.threshold, rule="value", upsample=self.upsample
            )
        return Localization(heatmaps, boxes, logits)

    def components(self, heatmaps: Tensor, size: int, *, threshold: float, most: int) -> Components:
        """Return the largest components of foreground probabilities ``(B, h, w)``, boxes in pixels of the input.

        Args:
            heatmaps: as `forward` returns them.
            size: side of the input.
            threshold: probability above which a cell counts.
            most: number of components.
        """
        return map_components(heatmaps, (size, size), threshold=threshold, most=most, upsample=self.upsample)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        state_dict.setdefault(f"{prefix}threshold", self.threshold)  # version 0.1.0 kept it only in the settings
        super()._load_from_state_dict(state_dict, prefix, *others)  # type: ignore[no-untyped-call]

    def foreground_logits(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return logits ``(B, h, w)``, in at least float32, on the grid of the finest map ``(B, K_i, h_i, w_i)``."""
        grid = pyramid[0].shape[2:]
        mixed: Tensor | None = None
        for maps, norm, projection in zip(pyramid, self.norms, self.projections, strict=True):
            # The backbone learns to distinguish classes; this head reads its maps and sends no gradient back.
            level = projection(norm(maps.detach()))
            if level.shape[2:] != grid:
                level = functional.interpolate(level, size=grid, mode="bilinear", align_corners=False)
            mixed = level if mixed is None else mixed + level
        assert mixed is not None
        logits: Tensor = self.score(functional.relu(self.context(functional.relu(mixed))))
        return logits[:, 0].to(torch.promote_types(logits.dtype, torch.float32))
