"""The exported computation, from the pixels of a photograph to answers in its pixels, all in tensor operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlaam.export.resize import resize_like_pillow
from tlaam.inference.backend import FOREGROUND, MOST_OBJECTS
from tlaam.models.architecture import Architecture
from tlaam.models.localizers.foreground import Foreground


class Input(nn.Module):
    """First stage: decoded photographs to input images.

    Args:
        size: side P of the input images.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Squash photographs of the same size.

        Args:
            photos: uint8 RGB ``(B, H, W, 3)``, upright.

        Returns:
            uint8 input images ``(B, 3, P, P)``, and ``(W, H, W, H) / P``, the factor that scales boxes on them back.
        """
        height, width = photos.shape[1:3]
        one = torch.ones(1, device=photos.device)
        sides = torch.cat([one * width, one * height, one * width, one * height])
        return resize_like_pillow(photos, self.size), sides / self.size


class Answers(nn.Module):
    """Second stage: input images to answers.

    Args:
        network: the network, in evaluation mode.
    """

    def __init__(self, network: Architecture) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, scale: Tensor, boxes: Tensor | None = None) -> dict[str, Tensor]:
        """Answer for input images ``(B, 3, P, P)`` like `PhotoModel`, with boxes multiplied by `scale` ``(4,)``.

        Args:
            inputs: uint8.
            scale: see `Input`.
            boxes: see `PhotoModel`; only for a network that `takes_boxes`.
        """
        output = self.network(inputs) if boxes is None else self.network(inputs, boxes=boxes / scale)
        branches = {f"{name}_probabilities": rows for name, rows in output.branch_probabilities().items()}
        answers = {"probabilities": branches.pop("fused_probabilities"), **branches}
        if output.heatmaps is not None:
            answers["heatmaps"] = output.heatmaps
        if output.object_boxes is not None:
            answers["object_boxes"] = output.object_boxes * scale
        localizer = getattr(self.network, "localizer", None)
        if isinstance(localizer, Foreground) and output.heatmaps is not None:
            side = inputs.shape[2]
            found = localizer.components(output.heatmaps, side, threshold=FOREGROUND, most=MOST_OBJECTS)
            sure = torch.stack([found.areas, found.peaks, found.means], dim=2)
            answers["objects"] = torch.cat([found.boxes * scale, sure], dim=2)
        if output.part_boxes is not None:
            answers["part_boxes"] = output.part_boxes * scale
        if output.embeddings is not None:
            answers["embeddings"] = output.embeddings
        if output.views is not None:
            answers["pooled"] = output.views
        return {name: values.float() for name, values in answers.items()}


class PhotoModel(nn.Module):
    """A network that takes decoded photographs: the computation of the whole exported file.

    Args:
        network: the network, in evaluation mode.
        source_size: side P of the input image that photographs are squashed to.
    """

    def __init__(self, network: Architecture, source_size: int) -> None:
        super().__init__()
        self.input_image, self.answers = Input(source_size), Answers(network)

    def forward(self, photos: Tensor, boxes: Tensor | None = None) -> dict[str, Tensor]:
        """Answer for a batch of photographs of the same size.

        Args:
            photos: uint8 RGB ``(B, H, W, 3)``, upright.
            boxes: object boxes, ``(B, 4)`` xyxy in pixels of the photographs. Where a box has zero width, and by
                default for all photographs, the network finds the object.

        Returns:
            A dict with those of the following outputs that the model has, all float32. ``probabilities`` ``(B, C)``,
            fused; ``raw_probabilities``, ``object_probabilities`` and ``parts_probabilities`` ``(B, C)``; ``heatmaps``
            ``(B, h, w)``, not normalised, covering the whole photograph; ``object_boxes`` ``(B, 4)`` and ``part_boxes``
            ``(B, N, 4)``, xyxy in pixels of the photograph, x1/y1 exclusive; ``objects`` ``(B, M, 7)``: for each of the
            largest foreground components its box, share of the picture, maximum and mean probability; ``embeddings``
            ``(B, E)``; ``pooled`` ``(B, V, K)``, the branches' pooled features, from which classifiers are learned.
        """
        answers: dict[str, Tensor] = self.answers(*self.input_image(photos), boxes)
        return answers
