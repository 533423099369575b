"""Parameter groups and the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer

from tlaam.config.defaults import resolved
from tlaam.config.sections import TrainingConfig
from tlaam.errors import ConfigError
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone

LOCALIZER_FACTOR = 10.0
"""Factor of a localiser's learning rate: a small head, trained from scratch on features that it does not change, learns
too slowly at a backbone's rate."""


def parameter_groups(model: Architecture, training: TrainingConfig) -> list[dict[str, Any]]:
    """Return the optimiser's parameter groups: by learning rate, each with and without weight decay.

    The backbone uses `backbone_lr_ratio` times the learning rate, and its stages use less and less towards the input
    (`layer_decay`); a trainable localiser uses `LOCALIZER_FACTOR` times the head's.

    Biases, normalisation and all other parameters with fewer than two dimensions are not decayed. Frozen parameters are
    left out, as are empty groups. Each group keeps its ``base_lr``, which the schedule multiplies (`set_lr`).
    """
    lr, decay, layer_decay = resolved(training.lr), resolved(training.weight_decay), resolved(training.layer_decay)
    head_lr = lr if training.classifier_lr is None else training.classifier_lr
    rates: dict[int, float] = {}
    if layer_decay < 1:
        for stages in _stages(model):
            for behind, stage in enumerate(reversed(stages)):
                rate = lr * training.backbone_lr_ratio * layer_decay**behind
                rates |= {id(parameter): rate for parameter in stage}
    rates |= {id(parameter): head_lr for parameter in model.head_parameters()}
    rates |= {id(parameter): LOCALIZER_FACTOR * head_lr for parameter in model.localizer_parameters()}
    others = lr * training.backbone_lr_ratio
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((rates.get(id(parameter), others), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate,
            "base_lr": rate,
            "weight_decay": decay if decayed else 0.0,
        }
        for (rate, decayed), parameters in groups.items()
    ]


def freeze_stages(model: Architecture, count: int) -> None:
    """Freeze the first stages of every backbone, including the channel attention in them.

    Raises:
        ConfigError: a backbone has fewer stages, or none that timm knows.
    """
    for stages in _stages(model) if count else []:
        if count > len(stages):
            raise ConfigError(f"frozen_stages is {count}; {model.backbone.name} has {len(stages)} stages.")
        for stage in stages[:count]:
            for parameter in stage:
                parameter.requires_grad_(False)


def _stages(model: Architecture) -> list[list[list[nn.Parameter]]]:
    """Return the parameters of each stage of each backbone, starting with its stem.

    Raises:
        ConfigError: timm does not know a network's stages.
    """
    found = []
    for backbone in model.modules():
        if isinstance(backbone, Backbone):
            network = backbone.network
            if not hasattr(network, "group_matcher"):
                raise ConfigError(
                    f"layer_decay and frozen_stages: timm does not tell the stages of {backbone.name} apart."
                )
            groups = group_parameters(network, network.group_matcher(coarse=True), reverse=False)  # type: ignore[operator]
            parameters = dict(network.named_parameters())
            stages = [[parameters[name] for name in names if name in parameters] for _, names in sorted(groups.items())]
            found.append([stage for stage in stages if stage])
    return found


def build_optimizer(model: Architecture, training: TrainingConfig) -> Optimizer:
    """Return SGD with momentum or AdamW over `parameter_groups`."""
    groups = parameter_groups(model, training)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=training.momentum)


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Set the learning rate of every group to its base learning rate times `factor` (`schedule.lr_factor`)."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
