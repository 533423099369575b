"""Parameter groups and the optimiser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from tlaam.config import TrainingConfig


class HasHead(Protocol):
    """A network whose classifier and attention parameters may have a learning rate of their own."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return all parameters."""

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Return those that `TrainingConfig.classifier_lr` applies to."""


def parameter_groups(model: HasHead, lr: float, head_lr: float, weight_decay: float) -> list[dict[str, Any]]:
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


def build_optimizer(model: HasHead, training: TrainingConfig) -> Optimizer:
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
