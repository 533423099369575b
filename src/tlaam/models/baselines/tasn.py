"""TASN, trilinear attention sampling (Zheng et al. 2019, CVPR, arXiv 1903.06150): what is attended gets more pixels.

With X the attention network's features as a matrix ``(K, HW)`` and N a softmax over a matrix's second dimension:

    M = N( N(X) Xᵀ ) X              a map for each channel, from all channels that respond in the same places
    A_s = mean of the maps             the structure: everything that matters
    A_d = one of the maps at random    the details of one part; when predicting, the mean

An image is sampled after a map as a random number is after a density: along each axis the map's maxima are integrated,
and rows and columns are taken at even steps of the integral. One network sees both samplings: the master net the
structure's, the part net the details', with a linear layer each; the master learns the part net's softened answers:

    L = L_raw + L_master + L_part + CE( softmax(part / 10), softmax(master / 10) )

The attention network's own classification is this project's raw branch, the master net's the object branch, the part
net's the part branch; the paper answers with the master net alone, the fusion here counts all three. Temperature, its
weight, the factor in front of the inner softmax, the squared structure, the bound on the density and that channels
without response are left out are the authors' public code's. Their attention network is a dilated ResNet-18 with maps
of 28 × 28; here it is a second backbone of the same kind as the first, with maps as coarse as its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone
from tlaam.models.crops import resize_whole, sample_grid
from tlaam.models.heatmaps import LinearHead, at_least_float32, start_small
from tlaam.models.localization import heatmap_boxes
from tlaam.models.output import TLAAMOutput, fuse

if TYPE_CHECKING:
    from typing_extensions import Self

TEMPERATURE = 10.0
SHARPNESS = 7.0
"""What features are multiplied by before the inner softmax."""
DENSEST = 4.0
"""How many times as densely as an even sampling a place is sampled at most."""


class TASN(Architecture):
    """An attention network, and one network that sees what it samples.

    Args:
        backbone: the attention network.
        sampled: the network behind master and part net.
        classes: C.
        image_size: side S of the images as both networks see them.
        drop: dropout before the classifiers.
    """

    def __init__(
        self, backbone: Backbone, sampled: Backbone, classes: int, *, image_size: int, drop: float = 0.0
    ) -> None:
        super().__init__(backbone, image_size)
        self.sampled = sampled
        self.classifier = LinearHead(backbone.channels, classes, drop=drop)
        self.classifier_master = LinearHead(sampled.channels, classes, drop=drop)
        self.classifier_part = LinearHead(sampled.channels, classes, drop=drop)

    @classmethod
    def from_backbones(cls, make_backbone: Callable[[], Backbone], classes: int, *, drop: float = 0.0) -> Self:
        """Make one with a backbone for attention and one for what it samples.

        Args:
            make_backbone: each call returns a new backbone.
            classes: C.
            drop: dropout before the classifiers.
        """
        backbone, sampled = make_backbone(), make_backbone()
        return start_small(cls(backbone, sampled, classes, image_size=backbone.image_size, drop=drop))

    @property
    def draws_maps(self) -> bool:
        """Always."""
        return True

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images as they are, by structure and by details (arguments as of `Architecture.forward`)."""
        source = self.normalise(images)
        features = self.backbone(resize_whole(source, self.image_size))
        raw_logits = self.classifier(features)
        if raw_only:
            return TLAAMOutput(fuse(raw_logits, None, None), raw_logits, None, None, None, None, None)
        maps = trilinear_attention(features)
        alive = responding(features)
        structure = (maps * alive[:, :, None, None]).sum(1) / alive.sum(1).clamp(min=1)[:, None, None]
        details = one_of(maps, alive) if self.training else structure
        both = torch.cat([
            sample_grid(source, *sampling_positions(structure.square(), self.image_size), self.image_size),
            sample_grid(source, *sampling_positions(details, self.image_size), self.image_size),
        ])  # fmt: skip
        by_structure, by_details = self.sampled(both).unflatten(0, (2, -1)).unbind(0)
        master_logits = self.classifier_master(by_structure)
        part_logits = self.classifier_part(by_details)
        size = (source.shape[2], source.shape[3])
        return TLAAMOutput(
            probabilities=fuse(raw_logits, master_logits, part_logits[:, None]),
            raw_logits=raw_logits,
            object_logits=master_logits,
            part_logits=part_logits[:, None],
            heatmaps=structure,
            object_boxes=heatmap_boxes(structure, size),
            part_boxes=heatmap_boxes(details, size)[:, None],
            own_loss=distillation_loss(part_logits, master_logits) if self.training else None,
            embeddings=None if self.training else self.classifier_master.pooled(by_structure.detach()),
        )


def responding(features: Tensor) -> Tensor:
    """Return which channels of features ``(B, K, H, W)`` respond to anything: 0 or 1 in float32, ``(B, K)``.

    Those that do not attend evenly, so that their maps are all the same mean of the others'.
    """
    return (features.detach().amax((2, 3)) > 0).float()


def one_of(maps: Tensor, alive: Tensor) -> Tensor:
    """Return one of the maps ``(B, K, H, W)`` of channels that are `alive` ``(B, K)`` at random, ``(B, H, W)``."""
    chosen = (torch.rand_like(alive) * alive).argmax(1)
    return maps.gather(1, chosen[:, None, None, None].expand(-1, -1, *maps.shape[2:]))[:, 0]


def trilinear_attention(features: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Return M as maps ``(B, K, H, W)``, not negative, without gradient, in float32 at least.

    Args:
        features: X, ``(B, K, H, W)``; negative activations count as 0.
        sharpness: what features are multiplied by before the inner softmax.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        x = at_least_float32(features.detach()).relu().flatten(2)
        alike = torch.bmm((sharpness * x).softmax(2), x.transpose(1, 2)).softmax(2)  # [B, K, K]
        return torch.bmm(alike, x).reshape(features.shape)


def sampling_positions(maps: Tensor, count: int, densest: float = DENSEST) -> tuple[Tensor, Tensor]:
    """Return where an image is to be sampled, so that each cell gets pixels by its share of a map's maxima.

    Args:
        maps: ``(B, H, W)``, not negative; a flat one gives even steps.
        count: how many rows and columns.
        densest: see `DENSEST`.

    Returns:
        x and y, each ``(B, count)``, rising, shares of width and height.
    """
    # Upsampled first: a coarse map's steps would show as seams in the picture.
    fine = functional.interpolate(maps[:, None], size=(count, count), mode="bilinear", align_corners=False)[:, 0]
    return _inverse(fine.amax(1), count, densest), _inverse(fine.amax(2), count, densest)


def _inverse(density: Tensor, count: int, densest: float) -> Tensor:
    """Return positions ``(B, count)`` at even steps of the integral of a density over cells ``(B, L)``."""
    cells = density.shape[1]
    tiny = torch.finfo(density.dtype).tiny
    density = (density / (density.mean(1, keepdim=True) + tiny)).clamp(max=densest)
    room = densest - density  # what was cut off goes where there is room
    density = density + (1 - density.mean(1, keepdim=True)) * room / (room.mean(1, keepdim=True) + tiny)
    integral = density.cumsum(1)
    integral = functional.pad(integral / integral[:, -1:], (1, 0))  # [B, L + 1], from 0 to 1
    steps = (torch.arange(count, device=density.device, dtype=density.dtype) + 0.5) / count
    steps = steps.expand(density.shape[0], -1)
    # How many values a step has reached: `torch.searchsorted` from the right, as operators that ONNX has too.
    right = (integral[:, None] <= steps[..., None]).sum(2).clamp(1, cells)
    low, high = integral.gather(1, right - 1), integral.gather(1, right)
    within = ((steps - low) / (high - low).clamp(min=tiny)).clamp(0, 1)
    return (right - 1 + within) / cells


def distillation_loss(teacher_logits: Tensor, student_logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the cross-entropy of softened answers ``(B, C)`` with the teacher's, which get no gradient."""
    target = (teacher_logits.detach().float() / temperature).softmax(1)
    return functional.cross_entropy(student_logits.float() / temperature, target)
