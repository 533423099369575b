"""What the network answers: one typed record."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TLAAMOutput(NamedTuple):
    """Scores, maps and boxes of a batch of B images with C classes.

    A branch that is switched off, or not run, is `None`. Boxes are ``(x0, y0, x1, y1)`` in pixels of the images given
    to `forward`, x1 and y1 exclusive; they carry no gradient.

    Attributes:
        probabilities: fused class probabilities, the mean of the branches' probabilities, ``(B, C)``.
        raw_logits: scores of the raw image, ``(B, C)``.
        object_logits: scores of the object image, ``(B, C)``.
        part_logits: scores of N part images, ``(B, N, C)``.
        heatmaps: what the object's box was read from, on the raw image: OAAM's heat map (SPEC §2), or another
            localiser's; ``(B, h, w)``, float32, not normalised.
        object_boxes: the object's box, ``(B, 4)``.
        part_boxes: the parts' boxes, ``(B, N, 4)``.
        foreground_logits: of a localiser that learns, for its loss, ``(B, h, w)``; None of any other.
    """

    probabilities: Tensor
    raw_logits: Tensor
    object_logits: Tensor | None
    part_logits: Tensor | None
    heatmaps: Tensor | None
    object_boxes: Tensor | None
    part_boxes: Tensor | None
    foreground_logits: Tensor | None = None

    def branch_probabilities(self) -> dict[str, Tensor]:
        """Return the probabilities ``(B, C)`` of each branch that was run and of their fusion (``fused``)."""
        branches = {"raw": self.raw_logits.softmax(-1)}
        if self.object_logits is not None:
            branches["object"] = self.object_logits.softmax(-1)
        if self.part_logits is not None:
            branches["parts"] = self.part_logits.softmax(-1).mean(1)
        branches["fused"] = self.probabilities
        return branches
