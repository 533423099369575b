"""TASN, trilinear attention sampling (Zheng et al. 2019, CVPR, arXiv 1903.06150): attended regions get more pixels.

With X the attention network's features as a matrix ``(K, HW)`` and N a softmax over a matrix's second dimension:

    M = N( N(X) Xᵀ ) X              a map for each channel, from all channels that respond in the same places
    A_s = mean of the maps             the structure: everything that matters
    A_d = one of the maps at random    the details of one part; when predicting, the mean

An image is sampled by a map in the way that random numbers are drawn from a density: along each axis, the map's maxima
are integrated, and rows and columns are placed at even steps of the integral. One network sees both sampled images: as
the master net that of the structure, as the part net that of the details, each with its own linear layer. The master
net also learns from the part net's softened predictions:

    L = L_raw + L_master + L_part + CE( softmax(part / 10), softmax(master / 10) )

The attention network's own classification is this project's raw branch, the master net's is the object branch, and the
part net's is the part branch. The paper predicts with the master net alone; the fusion here uses all three. The
temperature, its weight, the factor before the inner softmax, the squared structure, the bound on the density and the
omission of channels without response follow the authors' public code. Their attention network is a dilated ResNet-18
with 28 × 28 maps; here it is a second backbone of the same kind as the first, with equally coarse maps.
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
"""Factor of the features before the inner softmax."""
DENSEST = 4.0
"""Maximum sampling density of a position, as a multiple of even sampling."""


class TASN(Architecture):
    """An attention network, and a second network that sees the images it samples.

    Args:
        backbone: the attention network.
        sampled: the network that master and part net share.
        classes: C.
        image_size: side S of both networks' input images, in pixels.
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
        """Create the network with one backbone for attention and one for the sampled images.

        Args:
            make_backbone: each call returns a new backbone.
            classes: C.
            drop: dropout before the classifiers.
        """
        backbone, sampled = make_backbone(), make_backbone()
        return start_small(cls(backbone, sampled, classes, image_size=backbone.image_size, drop=drop))

    @property
    def draws_maps(self) -> bool:
        """Always True."""
        return True

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images whole, by structure and by details (see `Architecture.forward` for the arguments)."""
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

    Channels that respond to nothing attend evenly, so their maps are all the same mean of the others' maps.
    """
    return (features.detach().amax((2, 3)) > 0).float()


def one_of(maps: Tensor, alive: Tensor) -> Tensor:
    """Return a random one of the maps ``(B, K, H, W)`` whose channels are `alive` ``(B, K)``, ``(B, H, W)``."""
    chosen = (torch.rand_like(alive) * alive).argmax(1)
    return maps.gather(1, chosen[:, None, None, None].expand(-1, -1, *maps.shape[2:]))[:, 0]


def trilinear_attention(features: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Return M as maps ``(B, K, H, W)``, non-negative, without gradient, in at least float32.

    Args:
        features: X, ``(B, K, H, W)``; negative activations count as 0.
        sharpness: factor of the features before the inner softmax.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        x = at_least_float32(features.detach()).relu().flatten(2)
        alike = torch.bmm((sharpness * x).softmax(2), x.transpose(1, 2)).softmax(2)  # [B, K, K]
        return torch.bmm(alike, x).reshape(features.shape)


def sampling_positions(maps: Tensor, count: int, densest: float = DENSEST) -> tuple[Tensor, Tensor]:
    """Return where to sample an image, so that each cell gets pixels in proportion to its share of a map's maxima.

    Args:
        maps: ``(B, H, W)``, non-negative; a flat map gives even steps.
        count: number of rows and of columns.
        densest: see `DENSEST`.

    Returns:
        x and y, each ``(B, count)``, increasing, as shares of width and height.
    """
    # Upsampled first: a coarse map's steps would show as seams in the sampled image.
    fine = functional.interpolate(maps[:, None], size=(count, count), mode="bilinear", align_corners=False)[:, 0]
    return _inverse(fine.amax(1), count, densest), _inverse(fine.amax(2), count, densest)


def _inverse(density: Tensor, count: int, densest: float) -> Tensor:
    """Return positions ``(B, count)`` at even steps of the integral of a density over cells ``(B, L)``."""
    cells = density.shape[1]
    tiny = torch.finfo(density.dtype).tiny
    density = (density / (density.mean(1, keepdim=True) + tiny)).clamp(max=densest)
    room = densest - density  # what was clipped is moved to where there is room
    density = density + (1 - density.mean(1, keepdim=True)) * room / (room.mean(1, keepdim=True) + tiny)
    integral = density.cumsum(1)
    integral = functional.pad(integral / integral[:, -1:], (1, 0))  # [B, L + 1], from 0 to 1
    steps = (torch.arange(count, device=density.device, dtype=density.dtype) + 0.5) / count
    steps = steps.expand(density.shape[0], -1)
    # Number of values that a step has reached: `torch.searchsorted` from the right, in operators that ONNX also has.
    right = (integral[:, None] <= steps[..., None]).sum(2).clamp(1, cells)
    low, high = integral.gather(1, right - 1), integral.gather(1, right)
    within = ((steps - low) / (high - low).clamp(min=tiny)).clamp(0, 1)
    return (right - 1 + within) / cells


def distillation_loss(teacher_logits: Tensor, student_logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the cross-entropy of softened predictions ``(B, C)`` with the teacher's, which get no gradient."""
    target = (teacher_logits.detach().float() / temperature).softmax(1)
    return functional.cross_entropy(student_logits.float() / temperature, target)
