from __future__ import annotations

from typing import Any

import torch
from stub_network import StubNetwork

from tlaam.config.sections import TrainingConfig
from tlaam.training.optimizer import build_optimizer, parameter_groups, set_lr


def test_every_parameter_has_its_rate_and_decay() -> None:
    model: Any = StubNetwork(3)
    groups = parameter_groups(model, lr=0.1, head_lr=0.5, weight_decay=1e-3)
    of = {id(p): group for group in groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))
    convolution, norm = model.backbone[0], model.backbone[1]
    for parameter, lr, decay in (
        (convolution.weight, 0.1, 1e-3),
        (convolution.bias, 0.1, 0.0),
        (norm.weight, 0.1, 0.0),
        (model.classifier.weight, 0.5, 1e-3),
        (model.classifier.bias, 0.5, 0.0),
    ):
        assert (of[id(parameter)]["lr"], of[id(parameter)]["weight_decay"]) == (lr, decay)


def test_frozen_parameters_are_left_out() -> None:
    model: Any = StubNetwork(3)
    model.backbone.requires_grad_(False)
    assert all(group["lr"] == 0.5 for group in parameter_groups(model, 0.1, 0.5, 0.0))


def test_optimisers_and_rates() -> None:
    model: Any = StubNetwork(3)
    sgd = build_optimizer(model, TrainingConfig(lr=0.2, momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert not sgd.param_groups[0]["nesterov"]
    assert {group["lr"] for group in sgd.param_groups} == {0.2}
    assert isinstance(build_optimizer(model, TrainingConfig(optimizer="adamw")), torch.optim.AdamW)
    both = build_optimizer(model, TrainingConfig(lr=0.2, classifier_lr=1.0))
    set_lr(both, 0.5)
    set_lr(both, 0.5)  # does not accumulate
    assert sorted({group["lr"] for group in both.param_groups}) == [0.1, 0.5]
