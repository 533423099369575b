"""Evaluate a network on the validation split during training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor

from tlaam.config.names import BRANCHES
from tlaam.inference.pytorch import infer
from tlaam.models.architecture import Architecture
from tlaam.training.dataset import Item

TEMPERATURES: tuple[float, ...] = tuple(2 ** (step / 4) for step in range(-8, 13))
"""Temperatures of the joint classifier, from 1/4 to 8; each network is compared at its best one."""


class Validation(NamedTuple):
    """A network's results on N validation images.

    Attributes:
        measures: ``loss_<branch>`` and ``top1_<branch>`` of every branch that runs; the loss is the mean negative
            log-likelihood of a branch's probabilities (for the parts: of their mean).
        losses: negative log-likelihood of each image under the fused prediction, float32: ``(N, T)``, one for each of
            `TEMPERATURES`, if there is a joint classifier; ``(N, 1)`` for a mean of probabilities, which has no
            temperature.
        answers: predicted class of the fused prediction, int64 ``(N,)``.
    """

    measures: dict[str, float]
    losses: Tensor
    answers: Tensor

    def calibrated(self, weights: Tensor | None = None) -> tuple[Tensor, float]:
        """Return each image's loss ``(N,)`` at the temperature with the lowest mean loss, and that temperature.

        Args:
            weights: weights of the images in that mean, ``(N,)``; by default all the same.
        """
        losses = self.losses if weights is None else self.losses * weights[:, None]
        best = int(losses.mean(0).argmin())
        return self.losses[:, best], TEMPERATURES[best] if self.losses.shape[1] > 1 else 1.0


def validate(fabric: Fabric, model: Architecture, batches: Iterable[Item], images: int) -> Validation:
    """Evaluate a network. Each device passes its own batches, which are disjoint and together cover the whole split.

    Sums are added up over devices, so every image counts once.

    Args:
        fabric: launched.
        model: the plain network, not the wrapped one: devices may have different numbers of batches.
        batches: this device's batches.
        images: N, the number of images on all devices.
    """
    sums = torch.zeros(len(BRANCHES), 3, device=fabric.device)  # [branch, (loss, hits, images)]
    joint = getattr(model, "joint", None) is not None
    losses = torch.zeros(images, len(TEMPERATURES) if joint else 1, device=fabric.device)
    answers = torch.zeros(images, dtype=torch.int64, device=fabric.device)
    with fabric.autocast():
        for batch in batches:
            output = infer(model, batch.input_image)
            branches = output.branch_probabilities()
            for row, name in enumerate(BRANCHES):
                if name in branches:
                    sums[row] += _measured(branches[name].float(), batch.label)
            answers[batch.position] = branches["fused"].argmax(1)
            if output.joint_logits is not None:
                losses[batch.position] = _at_temperatures(output.joint_logits.float(), batch.label)
            else:
                losses[batch.position] = -_likelihood(branches["fused"].float(), batch.label).log()[:, None]
    sums = fabric.all_reduce(sums, reduce_op="sum")
    measures = {}
    for name, (loss, hits, count) in zip(BRANCHES, sums.tolist(), strict=True):
        if count:
            measures[f"loss_{name}"] = loss / count
            measures[f"top1_{name}"] = hits / count
    losses, answers = (fabric.all_reduce(of_each, reduce_op="sum").cpu() for of_each in (losses, answers))
    return Validation(measures, losses, answers)


def _at_temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the losses ``(B, T)`` of logits ``(B, C)`` at `TEMPERATURES`."""
    temperatures = logits.new_tensor(TEMPERATURES)
    scaled = (logits[:, None] / temperatures[:, None]).log_softmax(-1)
    return -scaled.gather(2, labels[:, None, None].expand(-1, len(TEMPERATURES), 1))[..., 0]


def better(new: Tensor, old: Tensor, weights: Tensor | None = None) -> bool:
    """Return whether losses ``(N,)`` are lower on average than others of the same images; never so for one image.

    Losses below what N images can distinguish, −log(1 − 1 / (N + 2)), are raised to it: two networks that predict all
    images correctly are equally good, however confident they are.

    Args:
        new, old: the losses.
        weights: weights of the images, ``(N,)``, 1 on average; by default all the same.

    Examples:
        >>> old = torch.tensor([1.0, 2.0, 1.5, 1.0])
        >>> better(old - 0.1, old), better(old + 0.1, old), better(torch.full((4,), 1e-3), torch.full((4,), 1e-2))
        (True, False, False)
    """
    least = -math.log1p(-1 / (len(new) + 2))
    gain = old.double().clamp(min=least) - new.double().clamp(min=least)
    gain = gain if weights is None else gain * weights
    return len(gain) > 1 and float(gain.mean()) > 0


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of values ``(N,)``; infinity for a single value."""
    return float(values.double().std()) / len(values) ** 0.5 if len(values) > 1 else float("inf")


def _measured(probabilities: Tensor, labels: Tensor) -> Tensor:
    hits = (probabilities.argmax(1) == labels).sum()
    losses = -_likelihood(probabilities, labels).log()
    return torch.stack([losses.sum(), hits, torch.tensor(len(labels), device=hits.device)])


def _likelihood(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the labels' probabilities ``(B,)``, clamped so that the logarithm is finite."""
    return probabilities.gather(1, labels[:, None])[:, 0].clamp(min=torch.finfo(probabilities.dtype).tiny)
