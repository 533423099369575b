"""The training loss (SPEC §5)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tlaam.model.output import TLAAMOutput


class Losses(NamedTuple):
    """Mean cross-entropies of a batch, scalars; None where a branch was not run.

    Attributes:
        total: the sum of the others, to be minimised.
        raw: of the raw image.
        object: of the object image.
        parts: of all part images.
    """

    total: Tensor
    raw: Tensor
    object: Tensor | None
    parts: Tensor | None


class TwoLevelLoss(nn.Module):
    """``L = L_raw + L_object + mean over parts L_part``, weights 1 (SPEC §5); branches not run are left out."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, output: TLAAMOutput, labels: Tensor) -> Losses:
        """Return the losses of a batch; `labels` is ``(B,)`` int64."""
        total = raw = self._mean(output.raw_logits, labels)
        of_object = of_parts = None
        if output.object_logits is not None:
            of_object = self._mean(output.object_logits, labels)
            total = total + of_object
        if output.part_logits is not None:
            parts = output.part_logits.shape[1]  # [B, N, C]
            of_parts = self._mean(output.part_logits.flatten(0, 1), labels.repeat_interleave(parts))
            total = total + of_parts
        return Losses(total, raw, of_object, of_parts)

    def _mean(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
