"""Parameter groups and the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tlaam.config.sections import TrainingConfig
from tlaam.models.architecture import Architecture

LOCALIZER_FACTOR = 10.0
"""A small head from nothing on features that it does not change learns too slowly at a backbone's rate."""


def parameter_groups(model: Architecture, lr: float, head_lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimiser's groups: backbone, head and learning localiser, each with and without weight decay.

    A localiser that learns takes `LOCALIZER_FACTOR` times the head's rate.

    Biases, normalisation and every other parameter of fewer than two dimensions are not decayed. Frozen parameters are
    left out, as are empty groups. Each group keeps its ``base_lr``, which the schedule multiplies (`set_lr`).
    """
    rates = {id(parameter): head_lr for parameter in model.head_parameters()}
    rates |= {id(parameter): LOCALIZER_FACTOR * head_lr for parameter in model.localizer_parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((rates.get(id(parameter), lr), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate,
            "base_lr": rate,
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (rate, decayed), parameters in groups.items()
    ]


def build_optimizer(model: Architecture, training: TrainingConfig) -> Optimizer:
    """Return SGD with momentum or AdamW over `parameter_groups`."""
    head_lr = training.lr if training.classifier_lr is None else training.classifier_lr
    groups = parameter_groups(model, training.lr, head_lr, training.weight_decay)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.lr)
    return torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum)


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Give every group its base learning rate times `factor` (`schedule.lr_factor`)."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
