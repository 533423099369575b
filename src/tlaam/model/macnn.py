"""MA-CNN, the multi-attention network (Zheng et al. 2017, ICCV): channels that peak together make a part.

    d_i = f_i(F)                    weights of the K channels for part i, from two fully connected layers on pooled F
    M_i = σ( Σ_k d_ik F_k )         part i's attention map, (H, W)
    P_i = mean_xy( F ⊙ M_i )        part i's features, classified by a classifier of its own
    Dis(M_i) = Σ_xy m_i(x, y) (|x - x̂|² + |y - ŷ|²)             a part is compact, around its peak (x̂, ŷ)
    Div(M_i) = Σ_xy m_i(x, y) max( 0, max_{j≠i} m_j(x, y) - mrg )    parts lie apart
    L_cng = Σ_i Dis(M_i) + λ Div(M_i)

They learn in turns: network and classifiers from cross-entropies with the grouping as it is, then the grouping layers
from L_cng with all else as it is. Before that, the grouping layers are shown indicators of channels whose peaks lie
together over the training images (k-means of the peaks' places).

The raw branch classifies F itself; the parts are the part branch, a window around each peak standing for it in
pictures. Where the paper is silent or bound to VGG-19 at 448 pixels: a map's weighted sum is brought to mean 0 and
deviation 1 before σ; distances and maps are averaged over cells, so that λ and the margin do not depend on the map's
size; a channel's place is its mean peak over the images seen so far; two epochs of cross-entropies are followed by one
of L_cng; the paper's further networks on cropped parts are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.model.architecture import Architecture
from tlaam.model.backbone import Backbone
from tlaam.model.crops import compose_boxes, crop_and_resize, whole_image_boxes
from tlaam.model.heatmaps import LinearHead
from tlaam.model.output import TLAAMOutput, fuse
from tlaam.model.parts import peak_positions, pyramid_windows

PARTS = 4
DIVERSITY = 2.0
"""λ."""
MARGIN = 0.02
"""mrg."""
WINDOW = 96 / 448
"""Side of the window around a part's peak, a share of the image's."""
CYCLE = 3
"""Of as many epochs, the last one trains the grouping layers."""


class ChannelGrouping(nn.Module):
    """Weighs the channels of a feature map for each of N parts.

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


class MACNN(Architecture):
    """One network, N groups of its channels, a classifier for all of it and one for each part.

    Args:
        backbone: makes feature maps.
        classes: C.
        image_size: side S of the image as the network sees it.
        drop: dropout before the classifiers.
    """

    peaks: Tensor
    seen: Tensor

    def __init__(self, backbone: Backbone, classes: int, *, image_size: int, drop: float = 0.0) -> None:
        super().__init__(backbone, image_size)
        self.classifier = LinearHead(backbone.channels, classes, drop=drop)
        self.classifiers = nn.ModuleList(LinearHead(backbone.channels, classes, drop=drop) for _ in range(PARTS))
        self.grouping = ChannelGrouping(backbone.channels)
        self.register_buffer("peaks", torch.zeros(backbone.channels, 2))  # sums of places, shares of the side
        self.register_buffer("seen", torch.zeros(()))
        self._grouping_learns = False

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images whole and by parts (arguments as of `Architecture.forward`)."""
        source = self.normalise(images)
        crop = whole_image_boxes(source)
        features = self.backbone(crop_and_resize(source, crop[:, None], self.image_size))
        weights = self.grouping(features.detach())
        own_loss: Tensor | None = None
        if self.training and raw_only:
            self._remember(features.detach())
            own_loss = functional.binary_cross_entropy(weights.float().mean(0), self._indicators())
        maps = part_maps(features.detach(), weights)  # [B, N, H, W]
        if self.training and self._grouping_learns and not raw_only:
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
        if self.training and self._grouping_learns:  # cross-entropies wait for their turn
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
        )

    def begin_epoch(self, epoch: int, raw_only: bool) -> None:
        """Let the grouping layers learn in every `CYCLE`-th epoch, everything else in the others; first all."""
        self._grouping_learns = not raw_only and epoch % CYCLE == CYCLE - 1
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(raw_only or name.startswith("grouping") is self._grouping_learns)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the classifiers' and the grouping layers' parameters."""
        yield from super().head_parameters()
        yield from self.grouping.parameters()

    @torch.no_grad()
    def _remember(self, features: Tensor) -> None:
        self.peaks += peak_of(features).sum(0)
        self.seen += len(features)

    @torch.no_grad()
    def _indicators(self) -> Tensor:
        """Return which channels belong to which part, ``(N, K)`` of 0 and 1, by where they peak on average."""
        groups = cluster(self.peaks / self.seen.clamp(min=1), PARTS)
        return functional.one_hot(groups, PARTS).T.float()


def part_maps(features: Tensor, weights: Tensor) -> Tensor:
    """Return the parts' attention maps, ``(B, N, H, W)`` in [0, 1].

    A map's weighted sum is brought to mean 0 and deviation 1 over its cells before σ: sums over hundreds of channels
    that are not negative would saturate it everywhere.

    Args:
        features: F, ``(B, K, H, W)``.
        weights: d, ``(B, N, K)``.
    """
    sums = torch.einsum("bnk,bkhw->bnhw", weights.float(), features.float())
    mean, deviation = sums.mean((2, 3), keepdim=True), sums.std((2, 3), keepdim=True, correction=0)
    return ((sums - mean) / (deviation + 1e-6)).sigmoid()


def part_features(features: Tensor, maps: Tensor) -> Tensor:
    """Return features ``(B, K, H, W)`` averaged under each of N maps ``(B, N, H, W)``, ``(B, N, K)``."""
    shares = maps / maps.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return torch.einsum("bnhw,bkhw->bnk", shares.to(features.dtype), features)


def peak_of(maps: Tensor) -> Tensor:
    """Return where each map of ``(B, N, H, W)`` has its maximum: ``(B, N, 2)``, xy, shares of width and height."""
    batch, count = maps.shape[:2]
    return peak_positions(maps.flatten(0, 1)[:, None], 1).reshape(batch, count, 2)


def grouping_loss(maps: Tensor, diversity: float = DIVERSITY, margin: float = MARGIN) -> Tensor:
    """Return L_cng summed over parts, averaged over images and cells.

    Args:
        maps: M, ``(B, N, H, W)``; distances are shares of the map's sides.
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


def cluster(places: Tensor, count: int, rounds: int = 20) -> Tensor:
    """Return to which of `count` groups each of K places ``(K, 2)`` belongs, long ``(K,)``: k-means, farthest first."""
    centres = places[:1]
    for _ in range(count - 1):
        far = torch.cdist(places, centres).amin(1).argmax()
        centres = torch.cat([centres, places.index_select(0, far[None])])
    groups = torch.cdist(places, centres).argmin(1)
    for _ in range(rounds):
        members = functional.one_hot(groups, count).to(places.dtype)  # [K, N]
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ places / sizes.clamp(min=1), centres)
        groups = torch.cdist(places, centres).argmin(1)
    return groups
