"""The output of a network as one typed record."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TLAAMOutput(NamedTuple):
    """Logits, maps and boxes of a batch of B images with C classes.

    The fields of a branch that is switched off or not run are `None`. Boxes are ``(x0, y0, x1, y1)`` in pixels of the
    images given to `forward`, x1 and y1 exclusive; they carry no gradient.

    Attributes:
        probabilities: fused class probabilities, ``(B, C)``: the joint classifier's, or the mean of the branches'.
        raw_logits: logits of the raw image, ``(B, C)``.
        object_logits: logits of the object image, ``(B, C)``.
        part_logits: logits of N part images, ``(B, N, C)``.
        heatmaps: the heat maps of the raw image that the object boxes come from: OAAM's (docs/how-it-works.md, 2), or
            another localiser's; ``(B, h, w)``, float32, not normalised.
        object_boxes: the object's box, ``(B, 4)``.
        part_boxes: the parts' boxes, ``(B, N, 4)``.
        foreground_logits: logits of a trainable localiser, for its loss, ``(B, h, w)``; None for any other.
        own_loss: during training, a scalar loss that a network minimises in addition to the branches' cross-entropies.
        embeddings: pooled features of the object image, or of the raw image if there is no object branch,
            ``(B, E)``, not normalised. Images that look alike to the network have nearly the same direction. None
            during training, and if only the raw branch runs.
        joint_logits: logits of the joint classifier, ``(B, C)``; None if the network has none.
        views: pooled features of the raw image, the object and the parts' mean, as far as the network has them,
            ``(B, V, K)``; None during training, and if only the raw branch runs.
    """

    probabilities: Tensor
    raw_logits: Tensor
    object_logits: Tensor | None
    part_logits: Tensor | None
    heatmaps: Tensor | None
    object_boxes: Tensor | None
    part_boxes: Tensor | None
    foreground_logits: Tensor | None = None
    own_loss: Tensor | None = None
    embeddings: Tensor | None = None
    joint_logits: Tensor | None = None
    views: Tensor | None = None

    def branch_probabilities(self) -> dict[str, Tensor]:
        """Return the probabilities ``(B, C)`` of each branch that ran and of their fusion (``fused``).

        Examples:
            >>> config = tlaam.ModelConfig(backbone="test_resnet", pretrained="none", image_size=64, source_size=96)
            >>> output = tlaam.build_model(config, 3).eval()(torch.zeros(2, 3, 96, 96))
            >>> sorted(output.branch_probabilities())
            ['fused', 'object', 'parts', 'raw']
        """
        branches = _branch_probabilities(self.raw_logits, self.object_logits, self.part_logits)
        return {**branches, "fused": self.probabilities}


def fuse(raw_logits: Tensor, object_logits: Tensor | None, part_logits: Tensor | None) -> Tensor:
    """Return the mean of the branches' probabilities, ``(B, C)``; the parts' own mean counts as one branch.

    Args:
        raw_logits: ``(B, C)``.
        object_logits: ``(B, C)``, or None.
        part_logits: ``(B, N, C)``, or None.
    """
    return torch.stack([*_branch_probabilities(raw_logits, object_logits, part_logits).values()]).mean(0)


def _branch_probabilities(
    raw_logits: Tensor, object_logits: Tensor | None, part_logits: Tensor | None
) -> dict[str, Tensor]:
    branches = {"raw": raw_logits.softmax(-1)}
    if object_logits is not None:
        branches["object"] = object_logits.softmax(-1)
    if part_logits is not None:
        branches["parts"] = part_logits.softmax(-1).mean(1)
    return branches
