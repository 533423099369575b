"""Parameter groups and the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tlaam.config import TrainingConfig
from tlaam.model.network import TLAAM


def parameter_groups(model: TLAAM, lr: float, head_lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimiser's groups: backbone and head, each with and without weight decay.

    Biases, normalisation and every other parameter of fewer than two dimensions are not decayed. Frozen parameters are
    left out, as are empty groups. Each group keeps its ``base_lr``, which the schedule multiplies (`set_lr`).
    """
    head = {id(parameter) for parameter in model.head_parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in head, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": head_lr if is_head else lr,
            "base_lr": head_lr if is_head else lr,
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (is_head, decayed), parameters in groups.items()
    ]


def build_optimizer(model: TLAAM, training: TrainingConfig) -> Optimizer:
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
