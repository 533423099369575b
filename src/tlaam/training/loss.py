"""The training loss (docs/how-it-works.md, 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, cross_entropy, kl_div, pad

from tlaam.models.output import TLAAMOutput


class Losses(NamedTuple):
    """Mean cross-entropies of a batch, scalars; None where a branch was not run.

    Attributes:
        total: the sum of the others, to be minimised.
        raw: of the raw image.
        object: of the object image.
        parts: of all part images.
        foreground: of a learning localiser's cells, against pseudo masks; binary.
        joint: of the joint classifier.
        distilled: divergence of the raw image's and the parts' answers from the object's.
        own: what the network itself wants minimised (`TLAAMOutput.own_loss`).
    """

    total: Tensor
    raw: Tensor
    object: Tensor | None
    parts: Tensor | None
    foreground: Tensor | None = None
    own: Tensor | None = None
    joint: Tensor | None = None
    distilled: Tensor | None = None


def mean_losses(batches: Sequence[Losses], sizes: Sequence[int]) -> Losses:
    """Return the losses of several batches of the same branches as of one.

    >>> one, three = (Losses(torch.tensor(x), torch.tensor(x), None, None) for x in (2.0, 6.0))
    >>> mean_losses([one, three], [1, 3]).total.item()
    5.0
    """
    if len(batches) == 1:
        return batches[0]
    shares = [size / sum(sizes) for size in sizes]
    return Losses._make(
        None if None in values else torch.stack([s * v.detach() for s, v in zip(shares, values, strict=True)]).sum()
        for values in zip(*batches, strict=True)
    )


class TwoLevelLoss(nn.Module):
    """``L = L_raw + L_object + mean over parts L_part``, weights 1; branches that are not run are left out.

    A localiser that learns adds the binary cross-entropy of its cells; it shares no weights with the branches. A
    network with a loss of its own adds that.

    Args:
        label_smoothing: of the cross-entropies.
        distillation: weight of `distillation_loss`; 0 leaves it out.
        log_priors: added to all scores before their cross-entropies, ``(C',)``, of the first C' classes: how frequent
            each class is, which the scores then need not hold (`tlaam.training.balance`). None: nothing.
    """

    log_priors: Tensor | None

    def __init__(
        self, label_smoothing: float = 0.0, distillation: float = 0.0, log_priors: Tensor | None = None
    ) -> None:
        super().__init__()
        self.label_smoothing, self.distillation = label_smoothing, distillation
        self.register_buffer("log_priors", log_priors, persistent=False)

    def forward(self, output: TLAAMOutput, labels: Tensor, masks: Tensor | None = None) -> Losses:
        """Return the losses of a batch.

        Args:
            output: the network's record.
            labels: ``(B,)`` int64.
            masks: pseudo masks ``(B, m, m)``, uint8 (`foreground_loss`); needed where the localiser learns.
        """
        total = raw = self._mean(output.raw_logits, labels)
        of_object = of_parts = None
        if output.object_logits is not None:
            of_object = self._mean(output.object_logits, labels)
            total = total + of_object
        if output.part_logits is not None:
            parts = output.part_logits.shape[1]  # [B, N, C]
            of_parts = self._mean(output.part_logits.flatten(0, 1), labels.repeat_interleave(parts))
            total = total + of_parts
        of_foreground = None
        if output.foreground_logits is not None and masks is not None:
            of_foreground = foreground_loss(output.foreground_logits, masks)
            total = total + of_foreground
        if output.own_loss is not None:
            total = total + output.own_loss
        of_joint = None
        if output.joint_logits is not None:
            of_joint = self._mean(output.joint_logits, labels)
            total = total + of_joint
        distilled = None
        if self.distillation and output.object_logits is not None:
            pupils = [output.raw_logits[:, None], *([] if output.part_logits is None else [output.part_logits])]
            distilled = torch.stack([distillation_loss(pupil, output.object_logits) for pupil in pupils]).sum()
            total = total + self.distillation * distilled
        return Losses(total, raw, of_object, of_parts, of_foreground, output.own_loss, of_joint, distilled)

    def _mean(self, logits: Tensor, labels: Tensor) -> Tensor:
        scores = logits.float()
        if self.log_priors is not None:  # classes behind them are ones without images
            scores = scores + pad(self.log_priors, (0, scores.shape[1] - len(self.log_priors)))
        return cross_entropy(scores, labels, label_smoothing=self.label_smoothing)


def distillation_loss(pupil: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of a pupil's answers from a teacher's, which learns nothing of it.

    Args:
        pupil: scores ``(B, N, C)`` of N pictures an image.
        teacher: scores ``(B, C)``.
    """
    target = teacher.detach().float().log_softmax(-1)[:, None].expand_as(pupil)
    of_each = kl_div(pupil.float().log_softmax(-1), target, reduction="none", log_target=True).sum(-1)
    return of_each.mean()


def foreground_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of cells with the share of each that is foreground of what is decided.

    Args:
        logits: of the foreground, ``(B, h, w)``.
        masks: ``(B, m, m)``, uint8: 255 foreground, 0 background, anything between undecided, which does not count.
    """
    decided = (masks == 0) | (masks == 255)
    kinds = torch.stack([decided, masks == 255], dim=1).to(logits.device, torch.float32)
    height, width = logits.shape[1:]
    counted, marked = adaptive_avg_pool2d(kinds, (height, width)).unbind(1)
    losses = binary_cross_entropy_with_logits(logits.float(), marked / counted.clamp(min=1e-6), reduction="none")
    return (losses * counted).sum() / counted.sum().clamp(min=1e-6)
