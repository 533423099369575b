"""Measure a network on the validation split while it trains."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.fabric import Fabric
from torch import Tensor

from tlaam.config.names import BRANCHES
from tlaam.inference.pytorch import infer
from tlaam.models.architecture import Architecture
from tlaam.training.dataset import Item


def validate(fabric: Fabric, model: Architecture, batches: Iterable[Item]) -> dict[str, float]:
    """Return ``loss_<branch>`` and ``top1_<branch>`` for every branch that is run.

    The loss is the mean negative log-likelihood of a branch's probabilities (of the parts: of their mean). Each device
    passes its own batches, disjoint and together the whole split; sums are added up over devices, so every image counts
    once.

    Args:
        model: the plain network, not the wrapped one: devices may have unequal numbers of batches.
    """
    sums = torch.zeros(len(BRANCHES), 3, device=fabric.device)  # [branch, (loss, hits, images)]
    with fabric.autocast():
        for batch in batches:
            branches = infer(model, batch.input_image).branch_probabilities()
            for row, name in enumerate(BRANCHES):
                if name in branches:
                    sums[row] += _measured(branches[name].float(), batch.label)
    sums = fabric.all_reduce(sums, reduce_op="sum")
    measures = {}
    for name, (loss, hits, images) in zip(BRANCHES, sums.tolist(), strict=True):
        if images:
            measures[f"loss_{name}"] = loss / images
            measures[f"top1_{name}"] = hits / images
    return measures


def _measured(probabilities: Tensor, labels: Tensor) -> Tensor:
    tiny = torch.finfo(probabilities.dtype).tiny
    likelihood = probabilities.gather(1, labels[:, None])[:, 0]
    hits = (probabilities.argmax(1) == labels).sum()
    return torch.stack([-likelihood.clamp(min=tiny).log().sum(), hits, torch.tensor(len(labels), device=hits.device)])
