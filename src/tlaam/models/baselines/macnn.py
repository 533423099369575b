"""MA-CNN, the multi-attention network (Zheng et al. 2017, ICCV): channels that peak together make a part.

    d_i = f_i(F)                    weights of the K channels for part i, from two fully connected layers on pooled F
    M_i = σ( Σ_k d_ik F_k )         part i's attention map, (H, W)
    P_i = mean_xy( F ⊙ M_i )        part i's features, classified by their own classifier
    Dis(M_i) = Σ_xy m_i(x, y) (|x - x̂|² + |y - ŷ|²)             a part is compact, around its peak (x̂, ŷ)
    Div(M_i) = Σ_xy m_i(x, y) max( 0, max_{j≠i} m_j(x, y) - mrg )    parts lie apart
    L_cng = Σ_i Dis(M_i) + λ Div(M_i)

They learn in turns (`TakesTurns`): the network and the classifiers from cross-entropies with the grouping frozen, then
the grouping layers from L_cng with everything else frozen. Before that, the grouping layers learn which channels peak
in the same places, image by image, over the training images so far.

The raw branch classifies F itself. The parts are the part branch; in pictures, a window around its peak represents each
part. Where the paper is silent or tied to VGG-19 at 448 pixels, this implementation chooses: a map's weighted sum is
standardised to mean 0 and standard deviation 1 before σ; distances and maps are averaged over cells, so that λ and the
margin do not depend on the map's size; channels are grouped by k-medoids of the distances between their peaks, which
mirrored images do not change, while the paper uses k-means of the peaks themselves; the paper's further networks on
cropped parts are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.architecture import TakesTurns
from tlaam.models.backbone import Backbone
from tlaam.models.crops import compose_boxes, resize_whole, whole_image_boxes
from tlaam.models.heatmaps import LinearHead, at_least_float32, start_small
from tlaam.models.output import TLAAMOutput, fuse
from tlaam.models.parts.mpalm import peak_positions, pyramid_windows

if TYPE_CHECKING:
    from typing_extensions import Self

PARTS = 4
DIVERSITY = 2.0
"""λ."""
MARGIN = 0.02
"""mrg."""
WINDOW = 96 / 448
"""Side of the window around a part's peak, as a share of the image's."""


class ChannelGrouping(nn.Module):
    """Weights the channels of a feature map for each of N parts.

    Args:
        channels: K.
        parts: N.
    """

    def __init__(self, channels: int, parts: int = PARTS) -> None:
        super().__init__()
        hidden = max(32, channels // 4)
        self.groups = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Linear(hidden, channels), nn.Sigmoid())
            for _ in range(parts)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, K, H, W)`` to weights in [0, 1], ``(B, N, K)``."""
        pooled = features.mean((2, 3))
        return torch.stack([group(pooled) for group in self.groups], dim=1)


class MACNN(TakesTurns):
    """One network with N groups of channels, a classifier for the whole map and one for each part.

    Args:
        backbone: computes feature maps.
        classes: C.
        image_size: side S of the network's input image, in pixels.
        drop: dropout before the classifiers.
    """

    attention = "grouping"
    apart: Tensor
    medoids: Tensor

    def __init__(self, backbone: Backbone, classes: int, *, image_size: int, drop: float = 0.0) -> None:
        super().__init__(backbone, image_size)
        self.classifier = LinearHead(backbone.channels, classes, drop=drop)
        self.classifiers = nn.ModuleList(LinearHead(backbone.channels, classes, drop=drop) for _ in range(PARTS))
        self.grouping = ChannelGrouping(backbone.channels)
        # Squared distances between the peaks of each two channels, summed over images; and the medoid of each part.
        self.register_buffer("apart", torch.zeros(backbone.channels, backbone.channels))
        self.register_buffer("medoids", torch.full((PARTS,), -1))

    @classmethod
    def from_backbones(cls, make_backbone: Callable[[], Backbone], classes: int, *, drop: float = 0.0) -> Self:
        """Create the network with one backbone.

        Args:
            make_backbone: each call returns a new backbone.
            classes: C.
            drop: dropout before the classifiers.
        """
        backbone = make_backbone()
        return start_small(cls(backbone, classes, image_size=backbone.image_size, drop=drop))

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images whole and by parts (see `Architecture.forward` for the arguments)."""
        source = self.normalise(images)
        crop = whole_image_boxes(source)
        features = self.backbone(resize_whole(source, self.image_size))
        # Attention in full precision: sums over hundreds of channels give maps that are flat but for small differences.
        with torch.autocast(features.device.type, enabled=False):
            seen = at_least_float32(features.detach())
            weights = self.grouping(seen)
            maps = part_maps(seen, weights)  # [B, N, H, W]
            own_loss: Tensor | None = None
            if self.training and raw_only:
                own_loss = functional.binary_cross_entropy(weights.mean(0), self._indicators(seen))
            elif self.training and self.attention_turn:
                own_loss = grouping_loss(maps)
        parts = part_features(features, maps.detach())  # [B, N, K]
        raw_logits = self.classifier(features)
        part_logits = torch.stack(
            [
                classifier(part[..., None, None])
                for classifier, part in zip(self.classifiers, parts.unbind(1), strict=True)
            ],
            dim=1,
        )
        if self.training and self.attention_turn:  # cross-entropies wait for their turn
            raw_logits, part_logits = raw_logits.detach(), part_logits.detach()
        windows = pyramid_windows(peak_of(maps.detach()) * self.image_size, (WINDOW,), self.image_size)
        return TLAAMOutput(
            probabilities=fuse(raw_logits, None, part_logits),
            raw_logits=raw_logits,
            object_logits=None,
            part_logits=part_logits,
            heatmaps=None,
            object_boxes=None,
            part_boxes=compose_boxes(windows, crop, self.image_size),
            own_loss=own_loss,
            embeddings=None if self.training or raw_only else self.classifier.pooled(features.detach()),
        )

    @torch.no_grad()
    def _indicators(self, features: Tensor) -> Tensor:
        """Return which channels belong to which part, from all images so far with these, ``(N, K)`` of 0 and 1."""
        peaks = peak_of(features)  # [B, K, 2]
        self.apart += torch.cdist(peaks, peaks).square().sum(0)
        self.medoids.copy_(torch.where(self.medoids < 0, spread_out(self.apart, PARTS), self.medoids))
        groups, medoids = cluster(self.apart, self.medoids)  # starts from the last ones, to keep parts the same
        self.medoids.copy_(medoids)
        return functional.one_hot(groups, PARTS).T.to(features.dtype)


def part_maps(features: Tensor, weights: Tensor) -> Tensor:
    """Return the parts' attention maps, ``(B, N, H, W)`` in [0, 1].

    A map's weighted sum is standardised to mean 0 and standard deviation 1 over its cells before σ: sums over hundreds
    of non-negative channels would saturate it everywhere.

    Args:
        features: F, ``(B, K, H, W)``.
        weights: d, ``(B, N, K)``.
    """
    sums = torch.einsum("bnk,bkhw->bnhw", weights, features)
    mean, deviation = sums.mean((2, 3), keepdim=True), sums.std((2, 3), keepdim=True, correction=0)
    return ((sums - mean) / (deviation + 1e-6)).sigmoid()


def part_features(features: Tensor, maps: Tensor) -> Tensor:
    """Return the mean of features ``(B, K, H, W)`` weighted by each of N maps ``(B, N, H, W)``: ``(B, N, K)``."""
    shares = maps / maps.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return torch.einsum("bnhw,bkhw->bnk", shares.to(features.dtype), features)


def peak_of(maps: Tensor) -> Tensor:
    """Return where each map of ``(B, N, H, W)`` has its maximum: ``(B, N, 2)``, xy, as shares of width and height."""
    batch, count = maps.shape[:2]
    return peak_positions(maps.flatten(0, 1)[:, None], 1).reshape(batch, count, 2)


def grouping_loss(maps: Tensor, diversity: float = DIVERSITY, margin: float = MARGIN) -> Tensor:
    """Return L_cng, summed over parts and averaged over images and cells.

    Args:
        maps: M, ``(B, N, H, W)``; distances are measured in shares of the map's sides.
        diversity: λ.
        margin: mrg.
    """
    height, width = maps.shape[2:]
    peaks = peak_of(maps.detach())  # [B, N, 2]
    x = (torch.arange(width, device=maps.device) + 0.5) / width
    y = (torch.arange(height, device=maps.device) + 0.5) / height
    distance = (x - peaks[..., :1]).square()[:, :, None, :] + (y - peaks[..., 1:]).square()[..., None]
    compact = (maps * distance).mean((2, 3)).sum(1)
    itself = torch.eye(maps.shape[1], dtype=torch.bool, device=maps.device)[None, :, :, None, None]
    others = maps[:, None].masked_fill(itself, -torch.inf).amax(2)  # [B, N, H, W], the strongest other part
    apart = (maps * (others - margin).relu()).mean((2, 3)).sum(1)
    return (compact + diversity * apart).mean()


def spread_out(distances: Tensor, count: int) -> Tensor:
    """Return `count` of K items that are far apart by their distances ``(K, K)``, farthest first: long ``(count,)``."""
    chosen = distances.sum(1).argmax()[None]
    for _ in range(count - 1):
        chosen = torch.cat([chosen, distances.index_select(0, chosen).amin(0).argmax()[None]])
    return chosen


def cluster(distances: Tensor, medoids: Tensor, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """Group K items around medoids, and move the medoids to the centres of their groups (k-medoids).

    Args:
        distances: ``(K, K)``.
        medoids: indices of the items to start from, ``(N,)``.
        rounds: number of times that the medoids move.

    Returns:
        the group of each item, long ``(K,)``, and the groups' medoids, ``(N,)``.
    """
    groups = distances.index_select(0, medoids).argmin(0)
    for _ in range(rounds):
        members = functional.one_hot(groups, len(medoids)).to(distances.dtype)  # [K, N]
        within = (distances @ members).masked_fill(members == 0, torch.inf)  # of members to the rest of their group
        medoids = torch.where(members.sum(0) > 0, within.argmin(0), medoids)
        groups = distances.index_select(0, medoids).argmin(0)
    return groups, medoids
