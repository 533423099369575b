"""RA-CNN, the recurrent attention network (Fu, Zheng and Mei 2017, CVPR): zooms in repeatedly where it helps.

Each scale has its own network and classifier. From a scale's feature map, an attention proposal network predicts a
square (t_x, t_y, t_l), its centre and half side; the next scale sees that square, enlarged:

    M(x, y) = [h(x - t_x + t_l) - h(x - t_x - t_l)] · [h(y - t_y + t_l) - h(y - t_y - t_l)],   h(z) = 1 / (1 + exp(-kz))
    X^att = X ⊙ M, cut to the square and resized bilinearly
    L_rank = max(0, p_t^(s) - p_t^(s+1) + margin),   p_t the probability of the right class

They learn in turns (`TakesTurns`): networks and classifiers from cross-entropies with the squares fixed, then the
proposal networks from L_rank with everything else frozen. The coarser scale's probability is the reference for the
finer one and gets no gradient: otherwise the first square would be trained to make its own scale less certain. Before
that, a proposal network learns to predict the square of half the side around the peak of its feature map.

The scales are this project's raw, object and part branches, fused by the mean of their probabilities; the paper trains
a classifier on the concatenated features of all scales. Every scale's input has S pixels. The proposal networks read
128 channels of the last map: the paper's two fully connected layers after `pool5` would have 64 million parameters
here. A square has at least a third of the side and never leaves the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.architecture import TakesTurns
from tlaam.models.backbone import Backbone, probe_shape
from tlaam.models.crops import compose_boxes, crop_and_resize, resize_whole, whole_image_boxes
from tlaam.models.heatmaps import LinearHead, start_small
from tlaam.models.output import TLAAMOutput, fuse
from tlaam.models.parts.mpalm import peak_positions

if TYPE_CHECKING:
    from typing_extensions import Self

SCALES = 3
MARGIN = 0.05
STEEPNESS = 10.0
"""k, for coordinates in pixels of the network's input."""
SMALLEST = 1 / 3
"""Smallest side of a square, as a share of the side of the image it is cut from."""


class AttentionProposal(nn.Module):
    """Predicts one square in an image from its feature map.

    Args:
        channels: K of the map.
        cells: ``(H, W)`` of the map.
    """

    def __init__(self, channels: int, cells: tuple[int, int]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 128, kernel_size=1)
        self.hidden = nn.Linear(128 * cells[0] * cells[1], 256)
        self.square = nn.Linear(256, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, K, H, W)`` to squares ``(B, 3)``: centre x, centre y and half side, as shares of the side.

        The square lies inside the image and has at least `SMALLEST` of its side.
        """
        hidden = self.hidden(self.reduce(features).relu().flatten(1)).tanh()
        x, y, length = self.square(hidden).float().sigmoid().unbind(1)
        half = 0.5 * (SMALLEST + (1 - SMALLEST) * length)
        return torch.stack([half + (1 - 2 * half) * x, half + (1 - 2 * half) * y, half], dim=1)


class RACNN(TakesTurns):
    """Three scales, each with its own network, and two proposal networks between them.

    Args:
        backbones: one for each scale, coarsest first.
        proposals: one between each pair of successive scales.
        classes: C.
        image_size: side S of every scale's input image, in pixels.
        drop: dropout before the classifiers.
    """

    attention = "proposals"

    def __init__(
        self,
        backbones: Sequence[Backbone],
        proposals: Sequence[AttentionProposal],
        classes: int,
        *,
        image_size: int,
        drop: float = 0.0,
    ) -> None:
        super().__init__(backbones[0], image_size)
        self.finer = nn.ModuleList(backbones[1:])
        self.classifiers = nn.ModuleList(LinearHead(b.channels, classes, drop=drop) for b in backbones)
        self.proposals = nn.ModuleList(proposals)

    @classmethod
    def from_backbones(cls, make_backbone: Callable[[], Backbone], classes: int, *, drop: float = 0.0) -> Self:
        """Create the network with one backbone for each scale.

        Args:
            make_backbone: each call returns a new backbone.
            classes: C.
            drop: dropout before the classifiers.
        """
        scales = [make_backbone() for _ in range(SCALES)]
        size = scales[0].image_size
        channels, height, width = probe_shape(scales[0], size)
        proposals = [AttentionProposal(channels, (height, width)) for _ in scales[1:]]
        return start_small(cls(scales, proposals, classes, image_size=size, drop=drop))

    @property
    def draws_maps(self) -> bool:
        """Always True."""
        return True

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images at every scale (see `Architecture.forward` for the arguments).

        During training, `raw_only` epochs teach the proposal networks their first squares. In the proposal networks'
        own turn, logits are detached and only the squares get a gradient.
        """
        ranking = self.training and self.attention_turn
        source = self.normalise(images)
        crop = whole_image_boxes(source)
        scores: list[Tensor] = []
        boxes: list[Tensor] = []
        own_losses: list[Tensor] = []
        heatmaps: Tensor | None = None
        embeddings: Tensor | None = None
        square: Tensor | None = None
        for scale, backbone in enumerate([self.backbone, *self.finer]):
            if square is None:
                x = resize_whole(source, self.image_size)
            else:
                x = crop_and_resize(source, crop[:, None], self.image_size)
            if square is not None and ranking:
                x = x * boxcar(square, self.image_size)
            features: Tensor = backbone(x)
            classifier = self.classifiers[scale]
            assert isinstance(classifier, LinearHead)
            scores.append(classifier(features))
            if scale == 1 and not (self.training or raw_only):
                embeddings = classifier.pooled(features.detach())
            if heatmaps is None:
                heatmaps = features.detach().float().sum(1).relu()
            if scale < len(self.proposals):
                square = self.proposals[scale](features.detach())
                if self.training and raw_only:
                    own_losses.append(functional.smooth_l1_loss(square, first_squares(features.detach())))
                    square = first_squares(features.detach())
                inner = square_boxes(square.detach()) * self.image_size
                crop = compose_boxes(inner[:, None], crop, self.image_size)[:, 0]
                boxes.append(crop)
        if ranking and labels is not None:
            own_losses.append(rank_loss(scores, labels))
        if ranking:  # cross-entropies must not move the squares
            scores = [logits.detach() for logits in scores]
        raw, middle, fine = scores
        return TLAAMOutput(
            probabilities=fuse(raw, middle, fine[:, None]),
            raw_logits=raw,
            object_logits=middle,
            part_logits=fine[:, None],
            heatmaps=heatmaps,
            object_boxes=boxes[0],
            part_boxes=boxes[1][:, None],
            own_loss=sum(own_losses, start=torch.zeros((), device=source.device)) if own_losses else None,
            embeddings=embeddings,
        )


def square_boxes(squares: Tensor) -> Tensor:
    """Return boxes ``(B, 4)`` xyxy of squares ``(B, 3)``: centre x, centre y, half side; in the same unit."""
    x, y, half = squares.unbind(1)
    return torch.stack([x - half, y - half, x + half, y + half], dim=1)


def boxcar(squares: Tensor, size: int) -> Tensor:
    """Return the paper's mask M at the positions of an enlarged square's pixels in the image that it is cut from.

    It is nearly 1 everywhere, but less at the edges, and it is the only path for a gradient to the squares.

    Args:
        squares: ``(B, 3)``, as shares of the side.
        size: side in pixels of that image, and of the enlarged one.

    Returns:
        ``(B, 1, size, size)``.
    """
    centre, half = squares[:, :2] * size, squares[:, 2:] * size  # [B, 2], [B, 1]
    steps = (torch.arange(size, device=squares.device) + 0.5) / size
    fixed_centre, fixed_half = centre.detach(), half.detach()
    at = fixed_centre[..., None] + fixed_half[..., None] * (2 * steps - 1)  # [B, 2, size] pixels
    low, high = at - (centre - half)[..., None], at - (centre + half)[..., None]
    inside = (STEEPNESS * low).sigmoid() - (STEEPNESS * high).sigmoid()
    return (inside[:, 1, :, None] * inside[:, 0, None, :])[:, None]


def first_squares(features: Tensor) -> Tensor:
    """Return squares of half the side around the peak of features ``(B, K, H, W)``, inside the image, ``(B, 3)``."""
    peaks = peak_positions(features.float().sum(1, keepdim=True), 1)[:, 0].clamp(0.25, 0.75)
    return torch.cat([peaks, torch.full_like(peaks[:, :1], 0.25)], dim=1)


def rank_loss(scores: Sequence[Tensor], labels: Tensor, margin: float = MARGIN) -> Tensor:
    """Return L_rank, summed over successive scales, mean over images; only the finer scale of a pair gets gradients.

    Args:
        scores: logits of each scale ``(B, C)``, coarsest first.
        labels: ``(B,)``.
        margin: how much more probable the finer scale should find the right class.
    """
    certain = [logits.float().softmax(1).gather(1, labels[:, None])[:, 0] for logits in scores]
    return torch.stack([(coarse.detach() - fine + margin).relu().mean() for coarse, fine in pairwise(certain)]).sum()
