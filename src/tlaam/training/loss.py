"""The training loss (docs/how-it-works.md, 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, cross_entropy, kl_div, pad

from tlaam.models.output import TLAAMOutput


class Losses(NamedTuple):
    """Mean cross-entropies of a batch, scalars; None if a branch did not run.

    Attributes:
        total: the loss to minimise: the sum of the others, `distilled` times its weight.
        raw: cross-entropy of the raw image.
        object: cross-entropy of the object image.
        parts: cross-entropy of all part images.
        foreground: binary cross-entropy of a trainable localiser's cells with pseudo masks.
        joint: cross-entropy of the joint classifier.
        distilled: divergence of the predictions for the raw image and the parts from those for the object.
        own: the network's own loss (`TLAAMOutput.own_loss`).
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
    """Return the losses of several batches with the same branches as if they were one batch.

    Examples:
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
    """``L = L_raw + L_object + mean over parts L_part``, weights 1; branches that do not run are left out.

    A trainable localiser adds the binary cross-entropy of its cells; it shares no weights with the branches. A joint
    classifier adds its cross-entropy. A network with its own loss adds that.

    Args:
        label_smoothing: label smoothing of the cross-entropies.
        distillation: weight of `distillation_loss`; 0 leaves it out.
        log_priors: added to all logits before their cross-entropies, ``(C',)``, for the first C' classes: the frequency
            of each class, which the logits then need not express (`tlaam.training.balance`). None adds nothing.
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
            output: the network's output.
            labels: ``(B,)`` int64.
            masks: pseudo masks ``(B, m, m)``, uint8 (`foreground_loss`); needed if the localiser is trainable.
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
        if self.log_priors is not None:  # classes after these have no images
            scores = scores + pad(self.log_priors, (0, scores.shape[1] - len(self.log_priors)))
        return cross_entropy(scores, labels, label_smoothing=self.label_smoothing)


def distillation_loss(pupil: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of a student's predictions from a teacher's, which get no gradient.

    Args:
        pupil: the student's logits ``(B, N, C)`` for N crops per image.
        teacher: the teacher's logits ``(B, C)``.
    """
    target = teacher.detach().float().log_softmax(-1)[:, None].expand_as(pupil)
    of_each = kl_div(pupil.float().log_softmax(-1), target, reduction="none", log_target=True).sum(-1)
    return of_each.mean()


def foreground_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of cells; a cell's target is the foreground share of its decided part.

    Args:
        logits: foreground logits, ``(B, h, w)``.
        masks: ``(B, m, m)``, uint8: 255 foreground, 0 background, anything between is undecided and does not count.
    """
    decided = (masks == 0) | (masks == 255)
    kinds = torch.stack([decided, masks == 255], dim=1).to(logits.device, torch.float32)
    height, width = logits.shape[1:]
    counted, marked = adaptive_avg_pool2d(kinds, (height, width)).unbind(1)
    losses = binary_cross_entropy_with_logits(logits.float(), marked / counted.clamp(min=1e-6), reduction="none")
    return (losses * counted).sum() / counted.sum().clamp(min=1e-6)
